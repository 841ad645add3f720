"""The curve: what the model says of the picture at every angle, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import bqplot
import ipywidgets as widgets
import numpy as np
from torch import Tensor

from nni_widgets.widgets.explorers.uncertainty.colours import PLAIN
from nni_widgets.widgets.explorers.uncertainty.work import ANGLES
from nni_widgets.widgets.parts.axes import axis, figure, legend
from nni_widgets.widgets.parts.charts import LINE_COLOURS

_CLASSES = 3
_COLOURS = LINE_COLOURS[: _CLASSES + 1]


class AngleCurve:
    """The probabilities of the classes that are most probable somewhere, and the doubt, 0 to 1."""

    def __init__(self) -> None:
        self._angles = np.array(ANGLES, dtype=float)
        turn = bqplot.LinearScale(min=float(ANGLES[0]), max=float(ANGLES[-1]))
        scales = {"x": turn, "y": bqplot.LinearScale(min=0, max=1.02)}
        self._nothing = np.zeros((_CLASSES, len(ANGLES)))
        self._lines = bqplot.Lines(
            x=self._angles,
            y=self._nothing,
            scales=scales,
            colors=list(_COLOURS[:_CLASSES]),
            stroke_width=2,
        )
        self._doubt = bqplot.Lines(
            x=self._angles,
            y=self._nothing[0],
            scales=scales,
            colors=[_COLOURS[_CLASSES]],
            line_style="dashed",
            stroke_width=2,
        )
        self._now = bqplot.Lines(
            x=[0, 0], y=[0, 1.02], scales=scales, colors=[PLAIN], stroke_width=1.5
        )
        ticks = [-180, -90, 0, 90, 180]
        self._legend = widgets.HTML().add_class("nn-legend")
        chart = figure(
            "nn-angle-curve",
            [self._now, self._lines, self._doubt],
            [
                axis(turn, "bottom", "turned by, in degrees", tick_values=ticks, tick_format="d"),
                axis(scales["y"], "left", tick_values=[0, 0.5, 1], tick_format=".1f"),
            ],
            (404, 210),
        )

        self.widget = widgets.VBox([self._legend, chart])

    def show(self, probabilities: Tensor, doubt: Tensor, name: str, classes: Sequence[str]) -> None:
        """Show ``(A, K)`` probabilities and ``(A,)`` shares of doubt, called by its name."""
        top = _most_probable(probabilities)
        self._lines.y, self._doubt.y = probabilities[:, top].T.numpy(), doubt.numpy()
        named = [f"p({classes[k]})" for k in top]
        lines = [*zip(named, _COLOURS, strict=False), (f"{name} (dashed)", _COLOURS[_CLASSES])]
        self._legend.value = legend(lines)

    def mark(self, angle: int) -> None:
        """Mark the present angle."""
        self._now.x = [angle, angle]

    def dim(self, is_old: bool) -> None:
        """Mark the lines as those of before, or not."""
        (self.widget.add_class if is_old else self.widget.remove_class)("nn-stale")

    def clear(self) -> None:
        """Show no line."""
        self._lines.y, self._doubt.y = self._nothing, self._nothing[0]
        self._legend.value = ""


def _most_probable(probabilities: Tensor) -> list[int]:
    """The classes with the largest mean over the angles, the largest first."""
    order = probabilities.mean(0).sort(descending=True, stable=True).indices
    return [int(k) for k in order[:_CLASSES]]
