"""Explain neural networks: attribution methods, explorers and a course, for PyTorch and Jupyter.

>>> import nni_widgets as nni
>>> model = nni.models.load("digits-cnn")
>>> x, y = nni.data.digits("test")[7:8]
>>> R = nni.LRP(nni.EpsilonGammaBox())(model, x, target=3)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nni_widgets.engine.composites import (
    Composite,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    Thirds,
    Uniform,
    layers,
)
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import (
    CAM,
    LRP,
    METHODS,
    Baseline,
    Blur,
    Constant,
    DeconvNet,
    DeepLIFT,
    DeepTaylor,
    Fluctuation,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    GuidedGradCAM,
    ImageMean,
    IntegratedGradients,
    LayerCAM,
    Method,
    NearestRoot,
    Noise,
    Occlusion,
    Saliency,
    ScoreCAM,
    Sensitivity,
    Several,
    SimpleTaylor,
    SmoothGrad,
    SmoothGradSquared,
    TranslationAverage,
    UniformNoise,
    VarGrad,
    fluctuation,
    strongest,
)
from nni_widgets.engine.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Pass,
    ProportionalPool,
    Rule,
    Share,
    SignalTakesAll,
    WinnerTakesAll,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from nni_widgets.engine.targets import Difference
from nni_widgets.errors import UnsupportedOperation
from nni_widgets.params import param
from nni_widgets.pictures.cards import card, overview
from nni_widgets.pictures.explain import Explanation, explain
from nni_widgets.zoo import data, models

if TYPE_CHECKING:
    from nni_widgets.widgets import (
        DrawingPad,
        Explorer,
        LayersExplorer,
        NoiseExplorer,
        OcclusionExplorer,
        PathExplorer,
        ReferencesExplorer,
        RulesExplorer,
        draw,
        explore,
        explore_layers,
        explore_noise,
        explore_occlusion,
        explore_path,
        explore_references,
        explore_rules,
    )

__version__ = "0.1.0"

_WIDGETS = (
    "DrawingPad",
    "Explorer",
    "LayersExplorer",
    "NoiseExplorer",
    "OcclusionExplorer",
    "PathExplorer",
    "ReferencesExplorer",
    "RulesExplorer",
    "draw",
    "explore",
    "explore_layers",
    "explore_noise",
    "explore_occlusion",
    "explore_path",
    "explore_references",
    "explore_rules",
)

__all__ = [
    "AlphaBeta",
    "Baseline",
    "Blur",
    "CAM",
    "Composite",
    "Constant",
    "DeconvNet",
    "DeepLIFT",
    "DeepTaylor",
    "Difference",
    "DrawingPad",
    "Epsilon",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "Explanation",
    "Explorer",
    "Flat",
    "Fluctuation",
    "Gamma",
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
    "LayersExplorer",
    "METHODS",
    "Method",
    "NearestRoot",
    "Noise",
    "NoiseExplorer",
    "Occlusion",
    "OcclusionExplorer",
    "Pass",
    "PathExplorer",
    "ProportionalPool",
    "ReferencesExplorer",
    "Rule",
    "RulesExplorer",
    "Saliency",
    "ScoreCAM",
    "Sensitivity",
    "Several",
    "Share",
    "SignalTakesAll",
    "SimpleTaylor",
    "SmoothGrad",
    "SmoothGradSquared",
    "Thirds",
    "TranslationAverage",
    "Uniform",
    "UniformNoise",
    "UnsupportedOperation",
    "VarGrad",
    "WSquare",
    "WinnerTakesAll",
    "ZBox",
    "ZPlus",
    "Zero",
    "card",
    "data",
    "diagnose",
    "draw",
    "explain",
    "explore",
    "explore_layers",
    "explore_noise",
    "explore_occlusion",
    "explore_path",
    "explore_references",
    "explore_rules",
    "fluctuation",
    "layers",
    "models",
    "overview",
    "param",
    "strongest",
]


def __getattr__(name: str) -> Any:
    """Load the widgets only when one of them is asked for."""
    if name in _WIDGETS:
        return getattr(import_module("nni_widgets.widgets"), name)
    raise AttributeError(f"module 'nni_widgets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
