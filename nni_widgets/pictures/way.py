"""The way of relevance through a network, told layer by layer on one scale of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nni_widgets.pictures.explanation import Explanation
from nni_widgets.pictures.flow import FlowRow
from nni_widgets.pictures.numbers import number

_WORTH_SHOWING = 0.005


@dataclass(frozen=True)
class Way:
    """What arrived at each layer and what was lost there, from the output down."""

    rows: Mapping[str, FlowRow]
    weighted: frozenset[str]
    largest: float

    @classmethod
    def of(cls, made: Explanation) -> Way:
        """The way of an explanation."""
        flow = made.flow()
        weighted = frozenset(row.label for row in made.result.layers if row.has_weights)
        largest = max((abs(row.arrived) for row in flow), default=0.0)
        return cls({row.label: row for row in flow}, weighted, largest)

    def told(self) -> list[FlowRow]:
        """The layers with weights, and others that lose something; too small losses left out."""
        rows = [replace(row, lost=self._seen(row.lost)) for row in self.rows.values()]
        return [row for row in rows if row.label in self.weighted or row.lost]

    def in_words(self, label: str) -> str:
        """What arrived at a layer, and what was lost there, by cause."""
        row = self.rows[label]
        lost = [f"{cause} {self.number(amount)}" for cause, amount in self._seen(row.lost).items()]
        end = f"lost: {', '.join(lost)}" if lost else "next to nothing lost"
        return f"{self.number(row.arrived)} arrived, {end}"

    def lost(self) -> dict[str, float]:
        """What all layers together lost, by cause."""
        causes = dict.fromkeys(cause for row in self.rows.values() for cause in row.lost)
        total = {
            cause: sum(row.lost.get(cause, 0.0) for row in self.rows.values()) for cause in causes
        }
        return self._seen(total)

    def number(self, value: float) -> str:
        """A sum with the decimals that all sums on this way have."""
        return number(value, self.largest)

    def _seen(self, lost: Mapping[str, float]) -> dict[str, float]:
        """The losses that are large enough to be seen."""
        least = _WORTH_SHOWING * self.largest
        return {cause: amount for cause, amount in lost.items() if abs(amount) > least}
