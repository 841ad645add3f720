"""The class scores of a picture before and after a change, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bqplot
import numpy as np

from nni_widgets.widgets.parts.axes import axis, class_ticks, clicked, figure

_MOST, _WIDTH, _HEIGHT = 10, 196, 184
_COLOURS = "#7b8794", "#e66101"


class BeforeAfter:
    """Two bars for each of at most ten classes; a click above a class chooses it.

    Names that would overlap are slanted. ``on_choose(index)`` is called with the class of the
    clicked bars.
    """

    def __init__(self, classes: Sequence[str], on_choose: Callable[[int], None]) -> None:
        self._shown = np.arange(min(len(classes), _MOST))
        ticks = class_ticks(classes, len(self._shown), _WIDTH)
        self._all_names, self._on_choose = ticks.names, on_choose
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
                axis(names, "bottom", **ticks.looks),
                axis(shares, "left", num_ticks=3, tick_format=".1f"),
            ],
            (252, _HEIGHT + ticks.room),
            margin=(8, 6, ticks.room, 34),
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
        """The names of the classes shown."""
        return [self._all_names[k] for k in self._shown]

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = clicked(event)
        if index is not None:
            self._on_choose(int(self._shown[index]))


def key(number: int) -> str:
    """The colour of the bars before (0) or after (1), as HTML."""
    return f'<span style="color: {_COLOURS[number]}">■</span>'
