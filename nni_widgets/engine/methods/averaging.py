"""Statistics of another method's attribution over changed copies of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.channels import Channels
from nni_widgets.engine.methods.base import AnyMethod, Method, Result, as_method, final, logits_of
from nni_widgets.engine.methods.chunks import in_chunks, rows_at_once, totals
from nni_widgets.engine.targets import Target, resolve


@dataclass(frozen=True)
class Copies:
    """``number`` changed copies of each sample, made a few rows at a time.

    ``made(sample, copy)`` gives the copies with these numbers of the samples with these numbers;
    ``undone(values, copy)`` puts their attributions back to where the sample's pixels are.
    """

    number: int
    made: Callable[[Tensor, Tensor], Tensor]
    undone: Callable[[Tensor, Tensor], Tensor] = lambda values, _: values


class Mean:
    """The mean of attributions that come in any order, some for each sample at a time."""

    def __init__(self, x: Tensor) -> None:
        self.total = totals(x)

    def add(self, values: Tensor, sample: Tensor, copy: Tensor) -> None:
        """Count these attributions of copies of the samples with these numbers."""
        self.total.index_add_(0, sample.to(values.device), values)

    def of(self, copies: Tensor) -> Tensor:
        """The statistic, where each sample has had so many copies."""
        return self.total / copies


class MeanSquare(Mean):
    """The mean of the squares."""

    def add(self, values: Tensor, sample: Tensor, copy: Tensor) -> None:
        super().add(values.square(), sample, copy)


class Variance(Mean):
    """The variance, from differences to the first copy, so that no digits cancel."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.first, self.squares = totals(x), MeanSquare(x)

    def add(self, values: Tensor, sample: Tensor, copy: Tensor) -> None:
        is_first = copy == 0
        self.first[sample[is_first]] = values[is_first]
        differences = values - self.first[sample]
        super().add(differences, sample, copy)
        self.squares.add(differences, sample, copy)

    def of(self, copies: Tensor) -> Tensor:
        return (self.squares.of(copies) - super().of(copies).square()).clamp(min=0)


class Averaging(Method):
    """Base of the methods that explain changed copies of the input with another method, ``of``.

    The target is decided once, on the input itself. A subclass declares ``of`` and says in
    ``_copies`` how the copies are made.
    """

    _statistic: ClassVar[type[Mean]] = Mean
    if TYPE_CHECKING:  # each has a default of its own
        of: AnyMethod

    def validate(self) -> None:
        object.__setattr__(self, "of", as_method(self.of, type(self).__name__, "of"))

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether ``of`` is."""
        return as_method(self.of).signed

    @property
    def channels(self) -> Channels:  # type: ignore[override]
        """As ``of`` joins them."""
        return as_method(self.of).channels

    def _copies(self, x: Tensor) -> Copies:
        raise NotImplementedError

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        method, copies = as_method(self.of), self._copies(x)
        logits = logits_of(type(self).__name__, model, x)
        selection = resolve(target, logits, type(self).__name__)
        statistic, cost = self._statistic(x), 0.0
        like_x = (-1, *[1] * (x.ndim - 1))

        def explain(samples: Tensor, sample: Tensor) -> Result:
            return final(method._steps(model, samples, selection.rows(sample), False))

        def accumulate(rows: Tensor) -> None:
            nonlocal cost
            copy, sample = rows // len(x), rows % len(x)
            last = explain(copies.made(sample, copy), sample)
            statistic.add(copies.undone(last.values.to(statistic.total), copy), sample, copy)
            cost += last.passes * len(rows) / len(x)

        order = torch.arange(copies.number * len(x))
        first = torch.zeros(1, dtype=torch.long)
        size = rows_at_once(model, x, ("copies", method.name), lambda: explain(x[:1], first))
        for done in in_chunks(order, len(x), size, accumulate):
            if done >= len(x):
                seen = (done + len(x) - 1 - torch.arange(len(x))) // len(x)
                yield Result(
                    statistic.of(seen.to(statistic.total).reshape(like_x)).to(x.dtype),
                    selection,
                    logits,
                    passes=1 + cost,
                    done=done // len(x),
                    of=copies.number,
                )
