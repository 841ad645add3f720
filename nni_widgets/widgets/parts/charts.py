"""Charts: the class scores, whose bars can be clicked, lines, and the way of the relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bqplot
import numpy as np

from nni_widgets.pictures.flow import FlowRow
from nni_widgets.pictures.numbers import round_numbers
from nni_widgets.widgets.parts.axes import LETTER, axis, class_ticks, clicked, figure

_MOST = 10
_PLAIN, _CHOSEN = "#9aa5b1", "#e66101"
LINE_COLOURS = (_CHOSEN, "#5e3c99", "#009e73", "#56b4e9", "#cc79a7")
HANDED_ON = "handed on"
_ON = "#4c78a8"
_CAUSES = ("#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9", "#f0e442", "#7f3c8d")
_ROW_HEIGHT, _ROWS_ABOVE, _ROWS_BELOW, _ROWS_MARGIN = 22, 4, 26, 34
_LEAST_LABEL, _LONGEST_LABEL = 50, 200
_BARS_WIDTH, _BARS_HEIGHT = 196, 124


class ClassBars:
    """The probability of each class as a bar; a click on a bar, or above it, chooses the class.

    With more than ten classes the most probable ones are shown. Names that would overlap are
    slanted, and cut if they are long; of equal ones each has its number. ``on_choose(index)`` is
    called with the class of the clicked bar.
    """

    def __init__(self, classes: Sequence[str], on_choose: Callable[[int], None]) -> None:
        count = min(len(classes), _MOST)
        ticks = class_ticks(classes, count, _BARS_WIDTH)
        self._names, self._on_choose = ticks.names, on_choose
        self._shown = np.arange(count)
        names, shares = bqplot.OrdinalScale(), bqplot.LinearScale(min=0, max=1)
        self._bars, self._columns = (
            bqplot.Bars(
                x=[self._names[i] for i in self._shown],
                y=np.full(len(self._shown), height),
                scales={"x": names, "y": shares},
                colors=[_PLAIN] * len(self._shown),
                opacities=[opacity],
                padding=padding,
            )
            for height, opacity, padding in ((0.0, 1.0, 0.2), (1.0, 0.0, 0.0))
        )
        self._columns.on_element_click(self._clicked)
        self.widget = figure(
            "nn-scores",
            marks=[self._bars, self._columns],
            axes=[
                axis(names, "bottom", **ticks.looks),
                axis(shares, "left", num_ticks=3, tick_format=".1f"),
            ],
            size=(236, _BARS_HEIGHT + ticks.room),
            margin=(8, 6, ticks.room, 34),
        )

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
                self._bars.x = self._columns.x = [self._names[i] for i in shown]
            self._bars.y = probabilities[shown]
            self._bars.colors = [_CHOSEN if i == chosen else _PLAIN for i in shown]

    def clear(self) -> None:
        """Show no score."""
        self._bars.y = np.zeros(len(self._shown))

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = clicked(event)
        if index is not None:
            self._on_choose(int(self._shown[index]))


class LineChart:
    """``count`` lines over a way from 0 to 1, in `LINE_COLOURS`, and dots where one looks.

    ``name`` is the CSS class, ``heights`` the ends of the scale; they fit the lines unless given.
    ``across`` says what the way is.
    """

    def __init__(
        self,
        count: int,
        name: str,
        heights: tuple[float, float] | None = None,
        across: str = "share of the way",
    ) -> None:
        low, high = heights or (None, None)
        way, up = bqplot.LinearScale(min=0, max=1), bqplot.LinearScale(min=low, max=high)
        scales = {"x": way, "y": up}
        colours = list(LINE_COLOURS[:count])
        self._nothing = np.zeros((count, 2))
        self._lines = bqplot.Lines(
            x=[0.0, 1.0],
            y=self._nothing,
            scales=scales,
            colors=colours,
            stroke_width=2,
        )
        self._dots = bqplot.Scatter(x=[], y=[], scales=scales, colors=colours, default_size=60)
        grid: dict[str, Any] = {"grid_lines": "solid"}
        self._heights = axis(up, "left", tick_format="~g", tick_values=heights, **grid)
        self.widget = figure(
            name,
            marks=[self._lines, self._dots],
            axes=[axis(way, "bottom", across, tick_values=[0, 0.5, 1], **grid), self._heights],
            size=(252, 190),
            margin=(8, 10, 38, 44),
            padding=(0, 0.05),
        )

    def show(self, x: np.ndarray[Any, Any], lines: np.ndarray[Any, Any]) -> None:
        """Show lines ``(L, T)`` at places ``(T,)``, or ``(L, T)`` if each has its own."""
        with self._lines.hold_sync():
            self._lines.x, self._lines.y = x, lines
        scale = self._heights.scale
        low = lines.min() if scale.min is None else scale.min
        high = lines.max() if scale.max is None else scale.max
        self._heights.tick_values = round_numbers(float(low), float(high))

    def point(self, x: float, *heights: float) -> None:
        """Put a dot here, or one on each of the first lines."""
        with self._dots.hold_sync():
            self._dots.x, self._dots.y = [x] * len(heights), list(heights)

    def clear(self) -> None:
        """Show no line."""
        self.show(np.array([0.0, 1.0]), self._nothing)
        self._dots.x = self._dots.y = []


class FlowChart:
    """What arrived at each layer as a bar: the part handed on, then what was lost, by cause.

    A cause that added relevance points to the other side. A click on a row chooses its layer:
    ``on_choose(label)``; ``name`` is the CSS class. ``colours`` are those of the causes so far:
    each keeps its own.
    """

    def __init__(self, name: str, on_choose: Callable[[str], None]) -> None:
        self._on_choose = on_choose
        self._labels: tuple[str, ...] = ()
        self.colours: dict[str, str] = {HANDED_ON: _ON}
        rows, sums = bqplot.OrdinalScale(reverse=True), bqplot.LinearScale()
        looks: dict[str, Any] = {
            "x": [""],
            "scales": {"x": rows, "y": sums},
            "orientation": "horizontal",
        }
        self._bars = bqplot.Bars(y=[0.0], colors=[_ON], padding=0.3, **looks)
        self._rows = bqplot.Bars(y=[0.0], colors=[_PLAIN], padding=0.0, **looks)
        self._rows.on_element_click(self._clicked)
        self._ticks = axis(sums, "bottom", tick_format="~g")
        self.widget = figure(
            name,
            marks=[self._bars, self._rows],
            axes=[axis(rows, "left"), self._ticks],
            size=(430, _ROWS_MARGIN + _ROW_HEIGHT),
            margin=(_ROWS_ABOVE, 14, _ROWS_BELOW, _LEAST_LABEL),
        )
        self.clear()

    def show(self, rows: Sequence[FlowRow], chosen: str) -> None:
        """Show these rows, from above, with that of the chosen layer marked."""
        causes = list(dict.fromkeys(cause for row in rows for cause in row.lost))
        lost = np.array([[row.lost.get(cause, 0.0) for row in rows] for cause in causes])
        lost = lost.reshape(len(causes), len(rows))
        parts = np.vstack([[row.arrived for row in rows] - lost.sum(0), lost])
        low, high = np.minimum(parts, 0).sum(0).min(), np.maximum(parts, 0).sum(0).max()
        self._labels = tuple(row.label for row in rows)
        self._ticks.tick_values = round_numbers(float(low), float(high))
        self.widget.layout.height = f"{_ROWS_MARGIN + _ROW_HEIGHT * len(rows)}px"
        self.widget.fig_margin = {**self.widget.fig_margin, "left": self._margin()}
        with self._bars.hold_sync():
            self._bars.x, self._bars.y = self._labels, parts
            self._bars.colors = [_ON, *map(self.colour, causes)]
        with self._rows.hold_sync():
            self._rows.x, self._rows.base = self._labels, float(low)
            self._rows.y = np.full(len(rows), float(high))
        self.mark(chosen)

    def mark(self, chosen: str) -> None:
        """Mark the row of this layer."""
        self._rows.opacities = [0.2 if label == chosen else 0.0 for label in self._labels] or [0.0]

    def _margin(self) -> int:
        """As much as the longest label needs."""
        longest = round(LETTER * max(map(len, self._labels), default=0)) + 16
        return min(max(longest, _LEAST_LABEL), _LONGEST_LABEL)

    def colour(self, cause: str) -> str:
        """The colour of a cause."""
        return self.colours.setdefault(cause, _CAUSES[(len(self.colours) - 1) % len(_CAUSES)])

    def clear(self) -> None:
        """Show no bar."""
        self._labels = ()
        self._bars.y = self._rows.y = np.zeros(1)
        self._bars.x = self._rows.x = [""]
        self._rows.opacities = [0.0]

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = clicked(event)
        if index is not None and index < len(self._labels):
            self._on_choose(self._labels[index])
