"""How like its first self each map stays, over the layers that are drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bqplot
import numpy as np

from nni_widgets.widgets.parts.axes import axis, clicked, figure

_COLOURS = ("#e66101", "#5e3c99", "#009e73", "#0072b2", "#cc79a7", "#8c6d1f", "#56b4e9", "#666666")
_STROKES = ("solid", "dashed", "dotted", "dash_dotted")
_MARKERS = {"circle": "●", "square": "■", "triangle-up": "▲", "diamond": "◆", "triangle-down": "▼"}
_LEVEL = "#9aa5b1"
_MOST_TICKS = 12
_POINT, _SMALL_POINT = 48, 12
_HEIGHTS = (-1.0, -0.5, 0.0, 0.5, 1.0)

Curve = Sequence[float | None]


def colour_of(number: int) -> str:
    """The colour of a curve."""
    return _COLOURS[number % len(_COLOURS)]


def marker_of(number: int) -> str:
    """The shape of a curve's points, as a letter."""
    return list(_MARKERS.values())[number % len(_MARKERS)]


class LikenessChart:
    """A curve for each of ``count`` maps, known or not at 0, 1, … layers, and where one stands.

    Curves differ in colour, stroke and the shape of their points. A click above a number of layers
    chooses it: ``on_choose(level)``. ``widget`` is the chart.
    """

    def __init__(self, count: int, on_choose: Callable[[int], None]) -> None:
        self._on_choose, self._levels = on_choose, 0
        self._shown: list[dict[int, float]] = [{}] * count
        self._marked: tuple[int, int, float] | None = None
        self._across, self._up = bqplot.OrdinalScale(), bqplot.LinearScale(min=0.0, max=1.0)
        scales = {"x": self._across, "y": self._up}
        self._lines = [
            bqplot.Lines(
                x=[],
                y=[],
                scales=scales,
                colors=[colour_of(number)],
                line_style=_STROKES[number % len(_STROKES)],
                marker=list(_MARKERS)[number % len(_MARKERS)],
                marker_size=_POINT,
                stroke_width=2,
            )
            for number in range(count)
        ]
        self._columns = bqplot.Bars(
            x=[], y=[], scales=scales, colors=[_LEVEL], padding=0.0, opacities=[0.0]
        )
        self._columns.on_element_click(self._clicked)
        self._ticks = axis(self._across, "bottom", "layers drawn anew")
        self._heights = axis(
            self._up, "left", tick_format=".1f", tick_values=_HEIGHTS[2:], grid_lines="solid"
        )
        self.widget = figure(
            "nn-likeness",
            [*self._lines, self._columns],
            [self._ticks, self._heights],
            (300, 230),
            margin=(8, 10, 44, 40),
            padding=(0, 0.04),
        )

    def show(self, curves: Sequence[Curve], level: int) -> None:
        """Show what is known of these curves, and mark the level."""
        known = [_known(curve) for curve in curves]
        values = [value for points in known for value in points.values()]
        low = float(np.floor(5 * min(values, default=0.0)) / 5)
        self._count(max(map(len, curves)))
        self._mark(level, min(low, 0.0))
        for number, points in enumerate(known):
            self._draw(number, points)

    def clear(self) -> None:
        """Show no curve."""
        for number in range(len(self._lines)):
            self._draw(number, {})
        self._columns.opacities, self._marked = [0.0] * max(self._levels, 1), None

    def _draw(self, number: int, points: dict[int, float]) -> None:
        """Show these points, if they are others."""
        if points != self._shown[number]:
            self._shown[number] = points
            line = self._lines[number]
            with line.hold_sync():
                line.x, line.y = [str(at) for at in points], list(points.values())

    def _mark(self, level: int, low: float) -> None:
        """Mark the level above the lower end of the scale, if they are others."""
        if self._marked == (level, self._levels, low):
            return
        self._marked = level, self._levels, low
        self._up.min = low
        self._heights.tick_values = [height for height in _HEIGHTS if height >= low]
        with self._columns.hold_sync():
            self._columns.base = low
            self._columns.opacities = [0.25 if at == level else 0.0 for at in range(self._levels)]

    def _count(self, levels: int) -> None:
        """Have so many places across."""
        if levels == self._levels:
            return
        self._levels = levels
        self._across.domain = names = [str(at) for at in range(levels)]
        self._ticks.num_ticks = _ticks_for(levels)
        for line in self._lines:
            line.marker_size = _POINT if levels <= 2 * _MOST_TICKS else _SMALL_POINT
        with self._columns.hold_sync():
            self._columns.x, self._columns.y = names, np.ones(levels)

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = clicked(event)
        if index is not None and index < self._levels:
            self._on_choose(index)


def _ticks_for(levels: int) -> int:
    """The number with which bqplot's page writes every n-th of these levels, at most twelve or so.

    The page reads no ``tick_values`` for names; it takes n = levels / (number - 1), rounded down.
    """
    step = -(-levels // _MOST_TICKS)
    return levels // step + 1


def _known(curve: Curve) -> dict[int, float]:
    """The known points of a curve by their place."""
    return {at: value for at, value in enumerate(curve) if value is not None}
