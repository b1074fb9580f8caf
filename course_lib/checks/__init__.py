"""Questions in a chapter that the page judges: numbers, predictions, goals for figures."""

from course_lib.checks.check import (
    Check,
    goal,
    number,
    predict,
    script_of_checks,
    style_of_checks,
)

__all__ = ["Check", "goal", "number", "predict", "script_of_checks", "style_of_checks"]
