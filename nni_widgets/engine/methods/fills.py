"""What covers a removed part of a picture: one picture for each sample, made from it or given."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from nni_widgets.engine.methods.baselines import (
    AnyBaseline,
    Baseline,
    Blur,
    Constant,
    ImageMean,
    as_baseline,
)
from nni_widgets.errors import invalid

Fill = AnyBaseline | Literal["mean", "blur"]

FILLS: tuple[type[Baseline], ...] = (Constant, ImageMean, Blur)
_WORDS: dict[str, Baseline] = {"mean": ImageMean(), "blur": Blur()}


def as_fill(who: str, fill: Fill) -> Baseline:
    """A number, a tensor, ``"mean"`` or ``"blur"`` as the baseline that it means."""
    if isinstance(fill, str) and fill in _WORDS:
        return _WORDS[fill]
    return as_baseline(who, fill, "fill")


def filled(who: str, fill: Fill, x: Tensor) -> Tensor:
    """The picture that covers x, shaped like x. Raises ``ValueError`` where there are several."""
    pictures = as_fill(who, fill)(x, who)
    if len(pictures) != 1:
        expected, given = "one picture for each sample", f"{len(pictures)} pictures"
        raise invalid(who, "fill", expected, given, "Choose one, such as nni.Blur()")
    return pictures[0]
