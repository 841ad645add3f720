"""The two ways to open an explorer: on given pictures, and on a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from nni_widgets.engine.methods import METHODS, Method, as_method
from nni_widgets.engine.methods.base import AnyMethod
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import default_method
from nni_widgets.widgets.explorer import Explorer
from nni_widgets.widgets.inputs import BatchInput, DrawingInput
from nni_widgets.widgets.scores import check_count
from nni_widgets.zoo import models


def explore(
    model: nn.Module,
    x: Tensor,
    method: AnyMethod | None = None,
    target: Target = None,
    *,
    methods: Sequence[AnyMethod] = (),
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> Explorer:
    """Explore why a model decides as it does on a batch of pictures.

    ``x``: pictures ``(N, ...)`` as the model takes them; ``method``: a method or a function of
    ``(model, x, target)``, LRP at first; ``target``: a class, or ``None`` for the predicted one, or
    any other target; ``methods``: what the picker offers, all methods at first; ``names``: what
    model and x are called in copied code; ``large``: large type, for a projector.

    A model may carry ``classes`` (names), ``low`` and ``high`` (the range of its pixels).
    Raises ``ValueError`` if x is not a batch of pictures, or the targets are not one per picture.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) == 0:
        given = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise invalid("explore", "x", "a batch of pictures (N, ...)", given, "Use x[None] for one")
    offered, first = _offered(model, methods, method)
    check_count(target, len(x))
    source = BatchInput(model, x)
    return Explorer(model, source, offered, first, target, names, large=large)


def draw(
    model: nn.Module | None = None,
    method: AnyMethod | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    methods: Sequence[AnyMethod] = (),
    large: bool = False,
) -> Explorer:
    """Draw a digit and see what the model thinks, and why, while you draw.

    ``model``: takes ``(1, 1, 28, 28)`` pixels from 0 to 1; ``digits-cnn`` if none is given.
    ``strokes``: a drawing to begin with. The other parameters are those of :func:`explore`.
    """
    preparation = ""
    if model is None:
        model = models.load("digits-cnn")
        preparation = 'model = nni.models.load("digits-cnn")\n'
    offered, first = _offered(model, methods, method)
    check_count(target, 1)
    source = DrawingInput(strokes)
    return Explorer(model, source, offered, first, target, preparation=preparation, large=large)


def _offered(
    model: nn.Module, methods: Sequence[AnyMethod], method: AnyMethod | None
) -> tuple[list[Method], Method]:
    """The methods of the picker, and the one to begin with."""
    if not isinstance(methods, Iterable):
        given, action = repr(methods), "Write methods=[...], also for a single one"
        raise invalid("Explorer", "methods", "a list of methods", given, action)
    usual = default_method(model)
    all_of_them = [usual, *(kind() for kind in METHODS if kind is not type(usual))]
    offered = [as_method(each) for each in methods] or all_of_them
    return offered, offered[0] if method is None else as_method(method)
