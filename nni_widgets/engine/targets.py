"""Targets: which number of the model's output is to be explained.

A target is a class index, one index per sample, a :class:`Difference` of two classes, or any
function from logits ``(N, K)`` to one score per sample ``(N,)``. ``None`` is each sample's
predicted class, decided once from the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole

Target = int | Sequence[int] | Tensor | Callable[[Tensor], Tensor] | None


class Selection(Protocol):
    """A resolved target: logits ``(M, K)`` of the rows in turn -> scores ``(M,)``."""

    def __call__(self, logits: Tensor) -> Tensor:
        """The score of each row."""

    def rows(self, index: Tensor) -> Selection:
        """The selection for a batch made of these samples, repeated or chosen."""

    def gradient(self, logits: Tensor) -> Tensor:
        """The derivative of each row's score with respect to its logits."""


@dataclass(frozen=True)
class Classes:
    """One class per sample."""

    index: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        return logits.gather(1, self.index.unsqueeze(1)).squeeze(1)

    def rows(self, index: Tensor) -> Classes:
        return Classes(self.index[index.to(self.index.device)])

    def gradient(self, logits: Tensor) -> Tensor:
        return torch.zeros_like(logits).scatter_(1, self.index.unsqueeze(1), 1.0)


@dataclass(frozen=True)
class Score:
    """Any function on logits that treats each row alone."""

    function: Callable[[Tensor], Tensor]
    who: str = "target"

    def __call__(self, logits: Tensor) -> Tensor:
        made = self.function(logits)
        _check_scores(made, logits, self.who)
        return made

    def rows(self, index: Tensor) -> Score:
        return self

    def gradient(self, logits: Tensor) -> Tensor:
        return _differentiate(self, logits)


@dataclass(frozen=True)
class Difference:
    """What speaks for class ``first`` and against class ``second``: ``f_first − f_second``."""

    first: int
    second: int

    def __post_init__(self) -> None:
        for name, given in (("first", self.first), ("second", self.second)):
            if not is_whole(given):
                action = "Give two whole numbers"
                raise invalid("Difference", "each class", "a class index", repr(given), action)
            object.__setattr__(self, name, int(given))

    def __call__(self, logits: Tensor) -> Tensor:
        for given in (self.first, self.second):
            _check_classes([given], logits, "Difference")
        return logits[:, self.first] - logits[:, self.second]

    def rows(self, index: Tensor) -> Difference:
        return self

    def gradient(self, logits: Tensor) -> Tensor:
        return _differentiate(self, logits)


def _differentiate(score: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(leaf).sum(), leaf, materialize_grads=True)
    return gradient


def resolve(target: Target, logits: Tensor, who: str) -> Selection:
    """The target as a :class:`Selection` for these logits ``(N, K)``.

    Raises ``ValueError`` when a class is out of range, the number of targets is not N, or a
    function does not return one finite score per sample.
    """
    if target is None:
        return Classes(logits.argmax(1))
    if isinstance(target, (Classes, Difference)):
        return target
    if callable(target):
        function = target.function if isinstance(target, Score) else target
        return _checked(Score(function, who), logits)
    samples, classes = logits.shape
    if type(target) is int and 0 <= target < classes:
        return Classes(torch.full((samples,), target, device=logits.device))
    index = _as_index(target, logits, who)
    if index.ndim == 0:
        index = index.expand(samples)
    if index.shape != (samples,):
        expected = f"one class or {samples} classes, one per sample"
        raise invalid(who, "target", expected, f"shape {tuple(index.shape)}", "Give one per sample")
    _check_classes(index.tolist(), logits, who)
    return Classes(index.to(torch.int64, copy=True))  # the caller may write to what was given


def _as_index(target: object, logits: Tensor, who: str) -> Tensor:
    try:
        index = torch.as_tensor(target, device=logits.device)
        kind = index.dtype
        whole = not (kind.is_floating_point or kind.is_complex or kind == torch.bool)
    except (TypeError, ValueError, RuntimeError):
        whole = False
    if not whole:
        expected = "a class index, one per sample, or a function on the logits"
        raise invalid(who, "target", expected, repr(target), "Use whole numbers")
    return index


def _check_classes(index: list[int], logits: Tensor, who: str) -> None:
    classes = logits.shape[1]
    for given in (min(index), max(index)):
        if not 0 <= given < classes:
            expected = f"a class from 0 to {classes - 1}"
            raise invalid(who, "target", expected, str(given), "Choose one of the classes")


def _checked(score: Score, logits: Tensor) -> Score:
    try:
        with torch.enable_grad():
            made = score.function(logits.detach().requires_grad_())
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        given = f"{type(error).__name__}: {error}"
        raise _no_scores(score.who, logits, given) from error
    _check_scores(made, logits, score.who)
    if not made.requires_grad:
        given = "scores without a gradient"
        raise invalid(score.who, "target", "differentiable in the logits", given, _INDEX)
    if not bool(made.detach().isfinite().all()):
        raise _no_scores(score.who, logits, "NaN or infinite scores")
    return score


def _check_scores(made: Any, logits: Tensor, who: str) -> None:
    if not isinstance(made, Tensor) or made.shape != logits.shape[:1]:
        given = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise _no_scores(who, logits, given)


def _no_scores(who: str, logits: Tensor, given: str) -> ValueError:
    expected = f"a function that returns one finite score per sample, shape ({len(logits)},)"
    return invalid(who, "target", expected, given, _INDEX)


_INDEX = "Index the logits, as in lambda f: f[:, 3]"
