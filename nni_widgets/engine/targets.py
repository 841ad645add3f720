"""Targets: which number of the model's output is to be explained.

A target is a class index, one index per sample, a :class:`Difference` of two classes, or any
function from logits ``(N, K)`` to one score per sample ``(N,)``. ``None`` is each sample's
predicted class, decided once from the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nni_widgets.errors import invalid

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
        return logits.gather(1, self.index[:, None])[:, 0]

    def rows(self, index: Tensor) -> Classes:
        return Classes(self.index[index.to(self.index.device)])

    def gradient(self, logits: Tensor) -> Tensor:
        return torch.zeros_like(logits).scatter_(1, self.index[:, None], 1.0)


@dataclass(frozen=True)
class Score:
    """Any function on logits that treats each row alone."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, logits: Tensor) -> Tensor:
        return self.function(logits)

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
        for given in (self.first, self.second):
            if not isinstance(given, int):
                action = "Give two whole numbers"
                raise invalid("Difference", "each class", "a class index", repr(given), action)

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
        return _checked(Score(target), logits, who)
    if type(target) is int and 0 <= target < logits.shape[1]:
        return Classes(torch.full((len(logits),), target, device=logits.device))
    index = _as_index(target, logits, who)
    index = index.long().expand(len(logits)) if index.ndim == 0 else index.long()
    if index.shape != (len(logits),):
        expected = f"one class or {len(logits)} classes, one per sample"
        raise invalid(who, "target", expected, f"shape {tuple(index.shape)}", "Give one per sample")
    _check_classes(index.tolist(), logits, who)
    return Classes(index)


def _as_index(target: object, logits: Tensor, who: str) -> Tensor:
    try:
        index = torch.as_tensor(target, device=logits.device)
        whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
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


def _checked(score: Score, logits: Tensor, who: str) -> Score:
    expected = f"a function that returns one finite score per sample, shape ({len(logits)},)"
    action = "Index the logits, as in lambda f: f[:, 3]"
    try:
        with torch.enable_grad():
            made = score(logits.detach().requires_grad_())
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise invalid(
            who, "target", expected, f"{type(error).__name__}: {error}", action
        ) from error
    if not isinstance(made, Tensor) or made.shape != (len(logits),):
        given = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise invalid(who, "target", expected, given, action)
    if not made.requires_grad:
        given = "scores without a gradient"
        raise invalid(who, "target", "differentiable in the logits", given, action)
    if not bool(made.detach().isfinite().all()):
        raise invalid(who, "target", expected, "NaN or infinite scores", action)
    return score
