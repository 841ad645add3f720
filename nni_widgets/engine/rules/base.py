"""What a rule is, and the parameters that several rules declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from nni_widgets.engine.tape import Op
from nni_widgets.params import Declared, param


class Share(NamedTuple):
    """What a rule gives to each input; ``bias()`` is what the bias kept, per sample."""

    inputs: tuple[Tensor, ...]
    bias: Callable[[], Tensor] | None = None


class Rule(Declared):
    """Base of the rules. ``loss`` names what swallows relevance besides the bias."""

    loss: ClassVar[str] = "rounding"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        """Hand the relevance at the output of ``op`` down to its inputs."""
        raise NotImplementedError

    def feeds(self, count: int) -> tuple[bool, ...]:
        """Which of the ``count`` inputs of an operation can get relevance at all."""
        return (True,) * count


def declared_epsilon() -> Any:
    """The one declaration of ε."""
    return param(0.01, "stabiliser, in the unit of z", low=0, slider=(1e-6, 10), log=True)


def declared_gamma() -> Any:
    """The one declaration of γ."""
    return param(0.25, "how strongly positive weights are favoured", low=0, slider=(0, 1))


def declared_low() -> Any:
    """The one declaration of the lower end of the pixels' box."""
    return param(0.0, "smallest legal pixel (or one per channel)", slider=(-1, 0), per_channel=True)


def declared_high() -> Any:
    """The one declaration of the upper end of the pixels' box."""
    return param(1.0, "largest legal pixel (or one per channel)", slider=(1, 3), per_channel=True)
