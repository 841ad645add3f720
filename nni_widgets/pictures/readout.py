"""The sums of an explanation in words, and its digest: text that is short, true and repeatable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nni_widgets.engine.targets import Classes, Difference, Score, Selection
from nni_widgets.pictures.heatmap import Map, finite
from nni_widgets.pictures.numbers import number, percent, rounded

_WORTH_NAMING = 0.01
_LEVELS = 8
_BLOCKS, _BLOCKS_OF_A_STRIP = 4, 16


@dataclass(frozen=True)
class Sums:
    """What the attribution of one sample sums to and, for a decomposition, what it should.

    ``reference`` is f(x′), where there is a baseline x′; ``lost`` tells by cause what is missing.
    """

    total: float
    score: float
    reference: float | None
    expected: float | None
    lost: Mapping[str, float]

    @property
    def gap(self) -> float | None:
        """What is missing: expected − total."""
        return None if self.expected is None else self.expected - self.total

    def __str__(self) -> str:
        """The sum, what it should be, and the gap between them."""
        if self.gap is None or self.expected is None:
            return f"ΣR = {number(self.total)}, f(x) = {number(self.score)}"
        total, score = self._number(self.total), self._number(self.score)
        gap = self._number(self.gap)
        if self.expected and any(digit in gap for digit in "123456789"):
            gap += f" ({percent(abs(self.gap / self.expected))})"
        if self.reference is None:
            return f"ΣR = {total} of f(x) = {score}; gap {gap}"
        sign = "+" if self.reference < 0 else "−"
        difference = f"{score} {sign} {self._number(abs(self.reference))}"
        return f"ΣR = {total}, f(x) − f(x′) = {difference}; gap {gap}"

    def causes(self) -> str:
        """What kept how much, the largest first; what does not matter is left out."""
        least = _WORTH_NAMING * max(abs(self.total), abs(self.expected or 0.0))
        lost = sorted(self.lost.items(), key=lambda item: -abs(item[1]))
        named = [(cause, value) for cause, value in lost if abs(value) > least]
        return ", ".join(f"{cause} {self._number(value)}" for cause, value in named)

    def _number(self, value: float) -> str:
        largest = max(abs(self.total), abs(self.score), abs(self.reference or 0.0))
        return number(value, largest)


def names_of(selection: Selection, classes: Sequence[str], count: int) -> tuple[str, ...]:
    """What is explained, in words, for each of ``count`` samples."""
    if isinstance(selection, Classes):
        return tuple(classes[k] for k in selection.index.tolist())
    if isinstance(selection, Difference):
        return (f"{classes[selection.first]} − {classes[selection.second]}",) * count
    function = selection.function if isinstance(selection, Score) else selection
    name = getattr(function, "__name__", type(function).__name__)
    return ("a function" if name == "<lambda>" else name,) * count


def block_lines(values: Map) -> tuple[str, list[str]]:
    """The map as rows of block means in 8 steps each way, and what a step of 8 stands for.

    4 × 4 blocks, 16 for a strip; the largest block is ±8.
    """
    array = finite(values)
    rows = min(_BLOCKS, array.shape[0])
    columns = min(_BLOCKS if array.shape[0] > 1 else _BLOCKS_OF_A_STRIP, array.shape[1])
    means = np.array(
        [
            [block.mean() for block in np.array_split(band, columns, axis=1)]
            for band in np.array_split(array, rows, axis=0)
        ]
    )
    largest = float(np.abs(means).max(initial=0.0))
    shares = means / largest if largest else means
    lines = [" ".join(f"{_level(share):>2}" for share in band) for band in shares]
    return number(largest, digits=2), lines


def _level(share: float) -> str:
    level = rounded(_LEVELS * share)
    return f"{level:+d}" if level else "0"
