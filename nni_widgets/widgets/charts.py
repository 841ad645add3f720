"""Charts: the class scores, whose bars can be clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bqplot
import numpy as np

_MOST = 10
_PLAIN, _CHOSEN = "#9aa5b1", "#e66101"


class ClassBars:
    """The probability of each class as a bar; a click on a bar, or above it, chooses the class.

    With more than ten classes the most probable ones are shown. ``on_choose(index)`` is called
    with the class of the clicked bar.
    """

    def __init__(self, classes: Sequence[str], on_choose: Callable[[int], None]) -> None:
        self._classes, self._on_choose = tuple(classes), on_choose
        self._shown = np.arange(min(len(self._classes), _MOST))
        names, shares = bqplot.OrdinalScale(), bqplot.LinearScale(min=0, max=1)
        self._bars, self._columns = (
            bqplot.Bars(
                x=[self._classes[i] for i in self._shown],
                y=np.full(len(self._shown), height),
                scales={"x": names, "y": shares},
                colors=[_PLAIN] * len(self._shown),
                opacities=[opacity],
                padding=0.2,
            )
            for height, opacity in ((0.0, 1.0), (1.0, 0.0))
        )
        self._columns.on_element_click(self._clicked)
        text = {"font-size": "12px", "fill": "var(--jp-ui-font-color1, #222)"}
        self.widget = bqplot.Figure(
            marks=[self._bars, self._columns],
            axes=[
                bqplot.Axis(scale=names, tick_style=text, grid_lines="none"),
                bqplot.Axis(
                    scale=shares,
                    side="left",
                    tick_style=text,
                    num_ticks=3,
                    tick_format=".1f",
                    grid_lines="none",
                ),
            ],
            fig_margin={"top": 8, "bottom": 26, "left": 34, "right": 6},
            background_style={"fill": "transparent"},
            animation_duration=0,
            display_toolbar=False,
            min_aspect_ratio=0.5,
            max_aspect_ratio=4,
        )
        self.widget.layout.width, self.widget.layout.height = "236px", "150px"
        self.widget.add_class("nn-scores")

    def show(self, probabilities: np.ndarray[Any, Any], chosen: int | None) -> None:
        """Show these probabilities ``(K,)``, with the explained class in its colour."""
        if len(probabilities) > _MOST:
            shown = np.argsort(-probabilities, kind="stable")[:_MOST]
            if chosen is not None and chosen not in shown:
                shown[-1] = chosen
        else:
            shown = np.arange(len(probabilities))
        with self._bars.hold_sync():
            if not np.array_equal(shown, self._shown):
                self._shown = shown
                self._bars.x = self._columns.x = [self._classes[i] for i in shown]
            self._bars.y = probabilities[shown]
            self._bars.colors = [_CHOSEN if i == chosen else _PLAIN for i in shown]

    def clear(self) -> None:
        """Show no score."""
        self._bars.y = np.zeros(len(self._shown))

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = event.get("data", {}).get("index")
        if index is not None:
            self._on_choose(int(self._shown[index]))
