"""What the browser shares: solvers, systems, networks, plots, and the host."""

__all__ = ["html", "module"]
