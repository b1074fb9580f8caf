"""The package under the course: solvers, the adjoint, models, data, training, plotting."""
