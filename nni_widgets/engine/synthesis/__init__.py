"""Synthesis: images made for an objective, in pixels, frequencies or the code of a generator."""

from nni_widgets.engine.synthesis import starts
from nni_widgets.engine.synthesis.images import Code, Fourier, Parametrisation, Pixels
from nni_widgets.engine.synthesis.maximize import ActivationMaximization, ClassModel
from nni_widgets.engine.synthesis.objectives import (
    Channel,
    Direction,
    Energy,
    Logit,
    LogProbability,
    Objective,
    Seen,
    Sum,
    Unit,
)
from nni_widgets.engine.synthesis.priors import L2, CodeNorm, Expert, Match, TotalVariation
from nni_widgets.engine.synthesis.robust import Jitter, Robustness, Rotate, Scale
from nni_widgets.engine.synthesis.synthesis import Synthesis, Synthesizer

OBJECTIVES: tuple[type[Objective], ...] = (
    LogProbability,
    Logit,
    Unit,
    Channel,
    Energy,
    Direction,
)
PRIORS: tuple[type[Objective], ...] = (L2, TotalVariation, CodeNorm, Match, Expert)

__all__ = [
    "ActivationMaximization",
    "Channel",
    "ClassModel",
    "Code",
    "CodeNorm",
    "Direction",
    "Energy",
    "Expert",
    "Fourier",
    "Jitter",
    "L2",
    "LogProbability",
    "Logit",
    "Match",
    "OBJECTIVES",
    "Objective",
    "PRIORS",
    "Parametrisation",
    "Pixels",
    "Robustness",
    "Rotate",
    "Scale",
    "Seen",
    "Sum",
    "Synthesis",
    "Synthesizer",
    "TotalVariation",
    "Unit",
    "starts",
]
