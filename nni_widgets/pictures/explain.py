"""From a model, an input and a method to an explanation, at once or better and better."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, TypeGuard

from torch import Tensor, nn

from nni_widgets.engine.composites import EpsilonGammaBox
from nni_widgets.engine.methods import LRP, Method
from nni_widgets.engine.methods.base import AnyMethod, Result, as_method, final
from nni_widgets.engine.targets import Target
from nni_widgets.pictures.explanation import Explanation
from nni_widgets.pictures.render import Level

__all__ = [
    "Explanation",
    "class_names",
    "default_method",
    "explain",
    "explanation_of",
    "explanations",
    "output_names",
    "picture_range",
]


def explain(
    model: nn.Module,
    x: Tensor,
    method: AnyMethod | None = None,
    target: Target = None,
    layer: str = "",
) -> Explanation:
    """The explanation of the model's answers to x, by a method (default: LRP).

    ``method`` may be a plain function of ``(model, x, target)``; ``target`` is the predicted class
    unless given; ``layer`` shows the relevance at that layer in place of the input. If the model
    has the attributes ``classes`` (names), ``low`` and ``high`` (pixels that are black and white),
    they are used to show it. Raises as the method does.
    """
    return final(explanations(model, x, method, target)).at(layer)


def explanations(
    model: nn.Module, x: Tensor, method: AnyMethod | None = None, target: Target = None
) -> Iterator[Explanation]:
    """Better and better explanations, one per result of the method; the last is complete."""
    chosen = default_method(model) if method is None else as_method(method)
    kept: Tensor | None = None
    for result in chosen.steps(model, x, target, layers=True):
        if kept is None:
            kept = x.detach().clone()
        yield explanation_of(model, kept, chosen, result)


def explanation_of(model: nn.Module, x: Tensor, method: Method, result: Result) -> Explanation:
    """What a method found out about a model's answers to x, with what is needed to show it."""
    classes = output_names(model, result.logits.shape[1])
    return Explanation(x, method, result, classes, *picture_range(model, x))


def default_method(model: nn.Module) -> Method:
    """LRP for images, its box that of the model's pixels if the model says what they are."""
    levels = _levels(model)
    return LRP(rules=EpsilonGammaBox(low=levels[0], high=levels[1])) if levels else LRP()


def class_names(model: nn.Module) -> tuple[str, ...]:
    """The names of the model's classes, if it has a list of them as ``classes``; else none."""
    names: Any = getattr(model, "classes", None)
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    return tuple(map(str, names)) if listed else ()


def output_names(model: nn.Module, count: int) -> tuple[str, ...]:
    """The names of the model's classes if it has one for each of its outputs; else numbers."""
    names = class_names(model)
    return names if len(names) == count else tuple(map(str, range(count)))


def picture_range(model: nn.Module, x: Tensor) -> tuple[Level, Level]:
    """Black and white: the model's ``low`` and ``high`` if they are levels, else the data's."""
    return _levels(model) or (float(x.min()), float(x.max()))


def _levels(model: nn.Module) -> tuple[Level, Level] | None:
    low, high = getattr(model, "low", None), getattr(model, "high", None)
    return (low, high) if _is_level(low) and _is_level(high) else None


def _is_level(value: Any) -> TypeGuard[Level]:
    numbers = value if isinstance(value, (tuple, list)) else (value,)
    return bool(numbers) and all(
        isinstance(number, Real) and math.isfinite(number) for number in numbers
    )
