"""The step that the benchmark compiles is the step of the package."""

import pytest
import torch

from benchmarks.compiled import HOW, STEPS, TOLERANCE, attempt, grid, walk_by
from course_lib.models import MLPDynamics
from course_lib.solvers import odeint, solve


@pytest.mark.parametrize("seed", range(3))
def test_a_solve_of_compilable_steps_takes_those_of_the_package(seed):
    torch.manual_seed(seed)
    f, y = MLPDynamics(2, (50,)).double(), torch.randn(20, 2, dtype=torch.float64)
    with torch.no_grad():
        ours = solve(f, y, [0.0, 1.0], rtol=HOW.rtol, atol=HOW.atol)
        end, taken = walk_by(attempt, f, y)
    assert taken == ours.accepted
    torch.testing.assert_close(end, ours.ys[-1], rtol=0, atol=10 * TOLERANCE)


def test_the_grid_is_a_solve_by_rk4():
    torch.manual_seed(0)
    f, y = MLPDynamics(2, (50,)).double(), torch.randn(20, 2, dtype=torch.float64)
    end = odeint(f, y, [0.0, 1.0], method="rk4", step_size=1 / STEPS)[-1]
    torch.testing.assert_close(grid(f, y), end)
