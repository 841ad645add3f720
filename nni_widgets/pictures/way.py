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
    """What arrived at each layer and what was lost there, losses too small to be seen left out."""

    rows: Mapping[str, FlowRow]
    weighted: frozenset[str]
    largest: float

    @classmethod
    def of(cls, made: Explanation) -> Way:
        """The way of an explanation, from the output down."""
        flow = made.flow()
        largest = max((abs(row.arrived) for row in flow), default=0.0)
        least = _WORTH_SHOWING * largest
        seen = [
            replace(
                row, lost={cause: lost for cause, lost in row.lost.items() if abs(lost) > least}
            )
            for row in flow
        ]
        weighted = frozenset(row.label for row in made.result.layers if row.has_weights)
        return cls({row.label: row for row in seen}, weighted, largest)

    def told(self) -> list[FlowRow]:
        """The layers with weights, and any other one that loses something."""
        return [row for row in self.rows.values() if row.label in self.weighted or row.lost]

    def in_words(self, label: str) -> str:
        """What arrived at a layer, and what was lost there, by cause."""
        row = self.rows[label]
        lost = [f"{cause} {self.number(amount)}" for cause, amount in row.lost.items()]
        end = f"lost: {', '.join(lost)}" if lost else "all handed on"
        return f"{self.number(row.arrived)} arrived, {end}"

    def lost(self) -> dict[str, float]:
        """What all layers together lost, by cause."""
        causes = dict.fromkeys(cause for row in self.rows.values() for cause in row.lost)
        return {
            cause: sum(row.lost.get(cause, 0.0) for row in self.rows.values()) for cause in causes
        }

    def number(self, value: float) -> str:
        """A sum with the decimals that all sums on this way have."""
        return number(value, self.largest)
