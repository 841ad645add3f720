"""The attribution methods, one file per family; ``METHODS`` is the one list of them."""

from nni_widgets.engine.methods.base import FunctionMethod, Method, Result, as_method
from nni_widgets.engine.methods.gradients import Gradient, GradientTimesInput, Saliency
from nni_widgets.engine.methods.guided import GuidedBackprop
from nni_widgets.engine.methods.lrp import LRP
from nni_widgets.engine.methods.path import IntegratedGradients
from nni_widgets.engine.methods.smooth import SmoothGrad

METHODS: tuple[type[Method], ...] = (
    LRP,
    IntegratedGradients,
    SmoothGrad,
    GuidedBackprop,
    GradientTimesInput,
    Gradient,
    Saliency,
)

__all__ = [
    "METHODS",
    "LRP",
    "FunctionMethod",
    "Gradient",
    "GradientTimesInput",
    "GuidedBackprop",
    "IntegratedGradients",
    "Method",
    "Result",
    "Saliency",
    "SmoothGrad",
    "as_method",
]
