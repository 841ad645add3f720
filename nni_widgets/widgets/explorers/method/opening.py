"""The two ways to open an explorer: on given pictures, and on a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from nni_widgets.engine.methods import METHODS, Occlusion, as_method
from nni_widgets.engine.methods.base import AnyMethod
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import default_method
from nni_widgets.widgets.explorers.method.explorer import Explorer
from nni_widgets.widgets.parts.fitting import occlusion_for, sizes_of
from nni_widgets.widgets.parts.subject import Subject, drawn, given


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
    return _opened(about, x, methods, method)


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
    return _opened(about, None, methods, method)


def _opened(
    about: Subject, x: Tensor | None, methods: Sequence[AnyMethod], method: AnyMethod | None
) -> Explorer:
    """With the methods of the picker, and the one to begin with."""
    if not isinstance(methods, Iterable):
        given, action = repr(methods), "Write methods=[...], also for a single one"
        raise invalid("Explorer", "methods", "a list of methods", given, action)
    usual, occlusion = default_method(about.model), occlusion_for(x)
    others = [occlusion if kind is Occlusion else kind() for kind in METHODS]
    all_of_them = [usual, *(each for each in others if type(each) is not type(usual))]
    offered = [as_method(each, "Explorer") for each in methods] or all_of_them
    first = offered[0] if method is None else as_method(method, "Explorer")
    return Explorer(about, offered, first, sizes_of(occlusion))
