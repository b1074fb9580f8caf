"""Live figures: each solves in the browser, and in Python to the same numbers."""

from course_lib.widgets.adjoint import AdjointExplorer, AdjointSolution
from course_lib.widgets.digit import DigitDepthExplorer, DigitSolution
from course_lib.widgets.field import FlowExplorer
from course_lib.widgets.figure import LiveFigure
from course_lib.widgets.fixed_point import FixedPointExplorer
from course_lib.widgets.graph import GraphExplorer, GraphSolution
from course_lib.widgets.horizon import HorizonExplorer, HorizonSolution
from course_lib.widgets.latent import LatentExplorer, LatentSolution
from course_lib.widgets.noise import NoiseExplorer, NoiseSolution
from course_lib.widgets.particles import DensityFlowExplorer
from course_lib.widgets.path import DrivenPath, PathExplorer, PathSolution
from course_lib.widgets.pendulum import PendulumExplorer, PendulumSolution
from course_lib.widgets.sampler import DigitSampler, SampledDigit
from course_lib.widgets.scaling import ScalingExplorer, ScalingSolution
from course_lib.widgets.step import StepAttempt, StepExplorer
from course_lib.widgets.step_size import StepSizeExplorer
from course_lib.widgets.tolerance import ToleranceExplorer
from course_lib.widgets.train import TrainExplorer

__all__ = [
    "AdjointExplorer",
    "AdjointSolution",
    "DensityFlowExplorer",
    "DigitDepthExplorer",
    "DigitSampler",
    "DigitSolution",
    "DrivenPath",
    "FixedPointExplorer",
    "FlowExplorer",
    "GraphExplorer",
    "GraphSolution",
    "HorizonExplorer",
    "HorizonSolution",
    "LatentExplorer",
    "LatentSolution",
    "LiveFigure",
    "NoiseExplorer",
    "NoiseSolution",
    "PathExplorer",
    "PathSolution",
    "PendulumExplorer",
    "PendulumSolution",
    "SampledDigit",
    "ScalingExplorer",
    "ScalingSolution",
    "StepAttempt",
    "StepExplorer",
    "StepSizeExplorer",
    "ToleranceExplorer",
    "TrainExplorer",
]
