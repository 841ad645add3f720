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
from nni_widgets.widgets.explorers.method.explorer import Explorer
from nni_widgets.widgets.parts.subject import drawn, given


def explore(
    model: nn.Module,
    x: Tensor,
    method: AnyMethod | None = None,
    target: Target = None,
    *,
    labels: Sequence[int] | Tensor | None = None,
    methods: Sequence[AnyMethod] = (),
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> Explorer:
    """Explore why a model decides as it does on a batch of pictures.

    ``x``: pictures ``(N, ...)`` as the model takes them; ``method``: a method or a function of
    ``(model, x, target)``, LRP at first; ``target``: a class, or ``None`` for the predicted one, or
    any other target; ``labels``: the true classes, to choose pictures by class and by whether the
    model is right; ``methods``: what the picker offers, all methods at first; ``names``: what model
    and x are called in copied code; ``large``: large type, for a projector.

    A model may carry ``classes`` (names), ``low`` and ``high`` (the range of its pixels).
    Raises ``ValueError`` if x is not a batch of pictures, or the targets are not one per picture.
    """
    about = given("explore", model, x, target, labels=labels, names=names, large=large)
    return Explorer(about, *_offered(model, methods, method))


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
    about = drawn(model, target, strokes, large)
    return Explorer(about, *_offered(about.model, methods, method))


def _offered(
    model: nn.Module, methods: Sequence[AnyMethod], method: AnyMethod | None
) -> tuple[list[Method], Method]:
    """The methods of the picker, and the one to begin with."""
    if not isinstance(methods, Iterable):
        given, action = repr(methods), "Write methods=[...], also for a single one"
        raise invalid("Explorer", "methods", "a list of methods", given, action)
    usual = default_method(model)
    all_of_them = [usual, *(kind() for kind in METHODS if kind is not type(usual))]
    offered = [as_method(each, "Explorer") for each in methods] or all_of_them
    return offered, offered[0] if method is None else as_method(method, "Explorer")
