"""What can be asked of an uncertain model, as declared parameters: their controls follow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from operator import index
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_model
from nni_widgets.engine.methods import (
    LRP,
    METHODS,
    Gradient,
    GradientTimesInput,
    IntegratedGradients,
    Occlusion,
)
from nni_widgets.engine.methods.base import AnyMethod, model_lock
from nni_widgets.engine.uncertainty import Ensemble, InputNoise, MCDropout, Source, Thinned
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param
from nni_widgets.widgets.explorers.uncertainty.motion import Motion

Explained = int | Literal["each"] | None
DOUBTS = (GradientTimesInput, Gradient, IntegratedGradients, Occlusion)


class Question(Declared):
    """What makes the model uncertain, and by which methods its answer and its doubt are explained.

    The doubt is an entropy: only methods that need no rule for a logarithm explain it.
    """

    cause: Source = param(
        MCDropout(),
        "what makes the model uncertain",
        options=lambda: (MCDropout, Ensemble, InputNoise),
    )
    method: AnyMethod = param(LRP(), "what explains the answer", options=lambda: METHODS)
    doubt: AnyMethod = param(
        GradientTimesInput(), "what explains the entropy", options=lambda: DOUBTS
    )

    def validate(self) -> None:
        if not isinstance(self.cause, Source):
            action = "Try nni.MCDropout()"
            raise invalid("UncertaintyExplorer", "source", "a source of uncertainty",
                          repr(self.cause), action)  # fmt: skip


class Calibration(Declared):
    """By how much the logits are divided."""

    temperature: float = param(
        1.0, "the logits are divided by it", low=0.01, high=100, slider=(0.25, 4.0), log=True
    )


@dataclass(frozen=True)
class Selected:
    """All that determines the numbers: the motion, the other picture, the question, the target."""

    motion: Motion
    other: int
    question: Question
    target: Explained


def source_for(model: nn.Module, x: Tensor | None) -> Source:
    """The source that suits a model: its members, its dropout, or noise in the picture."""
    if hasattr(model, "members"):
        return Ensemble()
    drops = [part for part in model.modules() if "Dropout" in type(part).__name__]
    has_dropout = any(getattr(part, "p", 0) for part in drops) or _calls_dropout(model, x)
    return MCDropout() if has_dropout else InputNoise()


def _calls_dropout(model: nn.Module, x: Tensor | None) -> bool:
    """Whether its forward calls dropout as a function; what else is wrong, the explorer says."""
    if x is None:
        return False
    thinned = Thinned(model)
    with suppress(Exception), model_lock, torch.inference_mode(False), torch.no_grad():
        check_model("explore_uncertainty", model)
        thinned(x[:1].clone())
    return thinned.met > 0


def checked_target(target: Any) -> Explained:
    """The target, if it is a class, ``"each"`` or ``None``; else raises ``ValueError``."""
    if target is None or (isinstance(target, str) and target == "each"):
        return target  # type: ignore[return-value]
    try:
        number = None if isinstance(target, bool) else index(target)
    except TypeError:
        number = None
    if number is None:
        expected, action = 'a class, None or "each"', "Try None, the class of the mean prediction"
        raise invalid("UncertaintyExplorer", "target", expected, repr(target), action)
    return number
