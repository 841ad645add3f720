"""The attribution methods, one file per family; ``METHODS`` is the one list of them."""

from nni_widgets.engine.methods.base import FunctionMethod, Method, Result, as_method
from nni_widgets.engine.methods.baselines import (
    Baseline,
    Blur,
    Constant,
    ImageMean,
    Noise,
    Several,
    UniformNoise,
)
from nni_widgets.engine.methods.cam import CAM, GradCAM, GradCAMPlusPlus, GuidedGradCAM, LayerCAM
from nni_widgets.engine.methods.deep_taylor import DeepTaylor
from nni_widgets.engine.methods.deeplift import DeepLIFT
from nni_widgets.engine.methods.fluctuation import Fluctuation, fluctuation
from nni_widgets.engine.methods.gradients import (
    Gradient,
    GradientTimesInput,
    Saliency,
    Sensitivity,
)
from nni_widgets.engine.methods.guided import DeconvNet, GuidedBackprop, strongest
from nni_widgets.engine.methods.lrp import LRP
from nni_widgets.engine.methods.occlusion import Occlusion
from nni_widgets.engine.methods.path import IntegratedGradients
from nni_widgets.engine.methods.score_cam import ScoreCAM
from nni_widgets.engine.methods.smooth import SmoothGrad, SmoothGradSquared, VarGrad
from nni_widgets.engine.methods.taylor import NearestRoot, SimpleTaylor
from nni_widgets.engine.methods.translate import TranslationAverage

METHODS: tuple[type[Method], ...] = (
    LRP,
    DeepTaylor,
    DeepLIFT,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
    TranslationAverage,
    GuidedBackprop,
    DeconvNet,
    Occlusion,
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    LayerCAM,
    ScoreCAM,
    GuidedGradCAM,
    SimpleTaylor,
    GradientTimesInput,
    Gradient,
    Sensitivity,
    Saliency,
)

__all__ = [
    "Baseline",
    "Blur",
    "CAM",
    "Constant",
    "DeconvNet",
    "DeepLIFT",
    "DeepTaylor",
    "Fluctuation",
    "FunctionMethod",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GradientTimesInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "ImageMean",
    "IntegratedGradients",
    "LRP",
    "LayerCAM",
    "METHODS",
    "Method",
    "NearestRoot",
    "Noise",
    "Occlusion",
    "Result",
    "Saliency",
    "ScoreCAM",
    "Sensitivity",
    "Several",
    "SimpleTaylor",
    "SmoothGrad",
    "SmoothGradSquared",
    "TranslationAverage",
    "UniformNoise",
    "VarGrad",
    "as_method",
    "fluctuation",
    "strongest",
]
