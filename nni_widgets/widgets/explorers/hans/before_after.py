"""The class scores of a picture before and after a change, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bqplot
import numpy as np

from nni_widgets.widgets.parts.axes import TEXT, axis, clicked, figure

_MOST, _LETTERS = 10, 6
_LETTER, _WIDTH, _SLANT = 6.6, 196, -60
_SLANTED: dict[str, Any] = {
    "tick_style": {**TEXT, "text-anchor": "end"},
    "tick_rotate": _SLANT,
}
_COLOURS = "#7b8794", "#e66101"


class BeforeAfter:
    """Two bars for each of at most ten classes; a click above a class chooses it.

    Names that would overlap are slanted. ``on_choose(index)`` is called with the class of the
    clicked bars.
    """

    def __init__(self, classes: Sequence[str], on_choose: Callable[[int], None]) -> None:
        self._classes, self._on_choose = tuple(classes), on_choose
        self._shown = np.arange(min(len(classes), _MOST))
        longest = max(min(len(name), _LETTERS) for name in self._classes)
        slanted = longest * _LETTER * len(self._shown) > _WIDTH
        names, shares = bqplot.OrdinalScale(), bqplot.LinearScale(min=0, max=1)
        looks: dict[str, Any] = {"x": self._names(), "scales": {"x": names, "y": shares}}
        self._bars = bqplot.Bars(
            y=np.zeros((2, len(self._shown))),
            type="grouped",
            colors=list(_COLOURS),
            padding=0.15,
            **looks,
        )
        self._columns = bqplot.Bars(
            y=np.ones(len(self._shown)), opacities=[0.0], padding=0.0, **looks
        )
        self._columns.on_element_click(self._clicked)
        self.widget = figure(
            "nn-scores",
            [self._bars, self._columns],
            [
                axis(names, "bottom", **(_SLANTED if slanted else {})),
                axis(shares, "left", num_ticks=3, tick_format=".1f"),
            ],
            (252, 240 if slanted else 210),
            margin=(8, 6, 56 if slanted else 26, 34),
            padding=(0, 0.025),
        )

    def show(self, before: np.ndarray[Any, Any], after: np.ndarray[Any, Any] | None) -> None:
        """Show the probability of each class ``(K,)``, before and perhaps after."""
        after = np.zeros_like(before) if after is None else after
        largest = np.argsort(-np.maximum(before, after), kind="stable")[:_MOST]
        shown = np.sort(largest)
        with self._bars.hold_sync():
            if not np.array_equal(shown, self._shown):
                self._shown = shown
                self._bars.x = self._columns.x = self._names()
            self._bars.y = np.stack([before[shown], after[shown]])

    def _names(self) -> list[str]:
        """The names of the classes shown, cut if they are long, and no two equal."""
        cut = [self._classes[k][:_LETTERS] for k in self._shown]
        return [
            name if cut.count(name) == 1 else f"{name} {k}"
            for name, k in zip(cut, self._shown, strict=True)
        ]

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = clicked(event)
        if index is not None:
            self._on_choose(int(self._shown[index]))


def key(number: int) -> str:
    """The colour of the bars before (0) or after (1), as HTML."""
    return f'<span style="color: {_COLOURS[number]}">■</span>'
