"""The charts of quality: f while patches go, and by how much maps change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bqplot
import numpy as np

from nni_widgets.pictures.numbers import round_numbers
from nni_widgets.widgets.explorers.quality.game import Played
from nni_widgets.widgets.parts.axes import LETTER, axis, figure
from nni_widgets.widgets.parts.charts import LINE_COLOURS

MINE, CHANCE = LINE_COLOURS[0], "#8c8c8c"
COLOURS = (*LINE_COLOURS[1:], "#b8860b", "#4c78a8")
_LEAST, _LONGEST = 60, 190
_ROW, _ROWS_MARGIN = 34, 48


class Race:
    """f over the number of removed patches: a line for each method, random, and the user's."""

    def __init__(self) -> None:
        self._across, self._up = bqplot.LinearScale(min=0, max=1), bqplot.LinearScale()
        scales = {"x": self._across, "y": self._up}
        nothing: dict[str, Any] = {"x": [0.0, 1.0], "y": [0.0, 0.0], "scales": scales}
        self._methods = bqplot.Lines(**nothing, stroke_width=1.5, opacities=[0])
        self._chance = bqplot.Lines(
            **nothing, colors=[CHANCE], line_style="dashed", stroke_width=2, opacities=[0]
        )
        self._mine = bqplot.Lines(**nothing, colors=[MINE], stroke_width=3.5, opacities=[0])
        self._dots = bqplot.Scatter(x=[], y=[], scales=scales, colors=[MINE], default_size=50)
        grid: dict[str, Any] = {"grid_lines": "solid"}
        self._ticks = axis(self._across, "bottom", "removed patches", tick_format="d", **grid)
        self.widget = figure(
            "nn-race",
            marks=[self._chance, self._methods, self._mine, self._dots],
            axes=[self._ticks, axis(self._up, "left", tick_format="~g", **grid)],
            size=(400, 270),
            margin=(8, 10, 38, 46),
            padding=(0.02, 0.05),
        )

    def show(self, played: Played) -> None:
        """Show the curves that are known."""
        most = played.most
        self._across.max = max(1, most)
        self._ticks.tick_values = np.arange(0, most + 1, 1 if most <= 6 else 2 if most <= 12 else 4)
        methods = np.stack([player.curve.numpy() for player in played.methods])
        _line(self._methods, methods, COLOURS[: len(methods)])
        chance = played.chance
        _line(self._chance, chance.curve.numpy() if chance else np.zeros(0), [CHANCE])
        mine = played.mine.curve.numpy()
        _line(self._mine, mine, [MINE])
        with self._dots.hold_sync():
            self._dots.x, self._dots.y = np.arange(len(mine)), mine

    def clear(self) -> None:
        """Show no curve."""
        for line in (self._methods, self._chance, self._mine):
            _line(line, np.zeros(0), [MINE])
        self._dots.x = self._dots.y = []


def _line(line: Any, heights: np.ndarray[Any, Any], colours: Sequence[str]) -> None:
    """Show lines ``(T,)`` or ``(L, T)``; one of fewer than two points is hidden."""
    there = heights.shape[-1] > 1
    with line.hold_sync():
        line.x = np.arange(heights.shape[-1] if there else 2)
        line.y = heights if there else np.zeros(2)
        line.colors = list(colours)
        line.opacities = [float(there)] * len(colours)


class ChangeBars:
    """How far the map of each method has changed: at this shift, and pale the largest so far."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        rows, sizes = bqplot.OrdinalScale(reverse=True), bqplot.LinearScale(min=0)
        looks: dict[str, Any] = {
            "x": self._names,
            "y": np.zeros(len(names)),
            "scales": {"x": rows, "y": sizes},
            "orientation": "horizontal",
            "colors": list(COLOURS[: len(names)]),
        }
        self._largest = bqplot.Bars(padding=0.25, opacities=[0.35] * len(names), **looks)
        self._now = bqplot.Bars(padding=0.6, **looks)
        label = "‖R(x) − R(x′)‖₁ / ‖x − x′‖₂"
        self._ticks = axis(sizes, "bottom", label, tick_format="~g", grid_lines="solid")
        left = min(max(round(LETTER * max(map(len, names))) + 16, _LEAST), _LONGEST)
        self.widget = figure(
            "nn-changes",
            marks=[self._largest, self._now],
            axes=[axis(rows, "left"), self._ticks],
            size=(430, _ROWS_MARGIN + _ROW * len(names)),
            margin=(4, 14, 40, left),
        )

    def show(self, now: Sequence[float], largest: Sequence[float]) -> None:
        """Show these sizes."""
        self._ticks.tick_values = round_numbers(0.0, max(largest))
        self._largest.y, self._now.y = np.array(largest), np.array(now)

    def clear(self) -> None:
        """Show no bar."""
        self.show([0.0] * len(self._names), [0.0] * len(self._names))
