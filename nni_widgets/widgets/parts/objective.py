"""How far a synthesis has come: its objective in words, and as a curve over the steps."""

from __future__ import annotations

import html
from dataclasses import replace

import numpy as np
from torch import Tensor

from nni_widgets.engine.synthesis import Synthesis
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.parts.charts import LINE_COLOURS, LineChart
from nni_widgets.widgets.parts.film import Film


class ObjectiveCurve:
    """The objective over the steps, a line for each of ``count`` pictures, and a dot at a frame.

    ``widget`` has the CSS class ``nn-objective-curve``. Lines have the colours of ``marked``
    titles, in their order.
    """

    def __init__(self, count: int = 1) -> None:
        self._chart = LineChart(count, "nn-objective-curve", across="share of the steps")
        self.widget = self._chart.widget

    def show(self, frame: Synthesis, film: Film[Synthesis]) -> None:
        """Show all steps made so far, and where this frame is among them."""
        heights = film.frames[-1].objective.T.float().cpu().numpy()
        lines = np.repeat(heights, 2, axis=1) if heights.shape[1] < 2 else heights
        self._chart.show(np.arange(lines.shape[1]) / frame.of, lines)
        self._chart.point(frame.step / frame.of, *heights[:, frame.step].tolist())


def marked(title: str, number: int) -> str:
    """A title with the colour of the line of this number, as the content of an HTML widget."""
    colour = LINE_COLOURS[number % len(LINE_COLOURS)]
    return f'<b><i style="background: {colour}"></i>{html.escape(title)}</b>'


def steps_a_frame(n_steps: int) -> int:
    """How many steps lead to the next frame: few, but no more than some hundred frames in all."""
    return max(1, min(10, n_steps // 40), n_steps // 400)


def without_state(frame: Synthesis) -> Synthesis:
    """A synthesis that is only looked at: to resume takes the state, several times its images."""
    return replace(frame, frames=(), state=None)


def short(value: Tensor) -> str:
    """Three digits, but no more than two decimals: what is smaller differs by machine."""
    return number(float(value), largest=max(1.0, abs(float(value))))
