"""What an explorer is about: a model, where its pictures come from, and their names in code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.inputs import BatchInput, DrawingInput, Source
from nni_widgets.widgets.parts.samples import checked_labels
from nni_widgets.widgets.parts.scores import check_count
from nni_widgets.zoo import models


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained, and how an explorer says so.

    ``names``: what model and x are called in copied code, ``preparation``: the lines before them;
    ``large``: large type, for a projector.
    """

    model: nn.Module
    source: Source
    target: Target = None
    names: tuple[str, str] = ("model", "x")
    preparation: str = ""
    large: bool = False


def subject(
    who: str,
    model: nn.Module | None,
    x: Tensor | None,
    target: Target,
    *,
    strokes: Sequence[Any] = (),
    labels: Any = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> Subject:
    """Pictures, or without x a pad to draw on; ``who`` is to be opened. Raises as `given` does."""
    if x is None:
        return drawn(model, target, strokes, large, names)
    return given(who, model, x, target, labels=labels, names=names, large=large)


def given(
    who: str,
    model: nn.Module | None,
    x: Tensor,
    target: Target,
    *,
    labels: Any = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> Subject:
    """Pictures that are given, and perhaps their true classes.

    Raises ``ValueError`` if x is no batch of pictures, or targets or labels not one per picture.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) == 0:
        shape = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise invalid(who, "x", "a batch of pictures (N, ...)", shape, "Use x[None] for one")
    if model is None:
        action = "Name the model that x is for, or leave x out to draw"
        raise invalid(who, "model", "given together with x", "x alone", action)
    check_count(target, len(x))
    source = BatchInput(model, x, checked_labels(labels, len(x)))
    return Subject(model, source, target, names, large=large)


def drawn(
    model: nn.Module | None,
    target: Target,
    strokes: Sequence[Any],
    large: bool,
    names: tuple[str, str] = ("model", "x"),
) -> Subject:
    """A pad to draw on; the model is ``digits-cnn`` unless given."""
    preparation = ""
    if model is None:
        model = models.load("digits-cnn")
        preparation = f'{names[0]} = nni.models.load("digits-cnn")\n'
    check_count(target, 1)
    source = DrawingInput(strokes, model)
    return Subject(model, source, target, names, preparation, large)
