"""Live figures: each solves and draws in the browser, and answers in Python with the
same numbers.
"""

from course_lib.widgets.figure import (
    AdjointExplorer,
    AdjointSolution,
    DensityFlowExplorer,
    DigitDepthExplorer,
    DigitSolution,
    FlowExplorer,
    LatentExplorer,
    LatentSolution,
    LiveFigure,
    StepSizeExplorer,
    ToleranceExplorer,
)

__all__ = [
    "AdjointExplorer",
    "AdjointSolution",
    "DensityFlowExplorer",
    "DigitDepthExplorer",
    "DigitSolution",
    "FlowExplorer",
    "LatentExplorer",
    "LatentSolution",
    "LiveFigure",
    "StepSizeExplorer",
    "ToleranceExplorer",
]
