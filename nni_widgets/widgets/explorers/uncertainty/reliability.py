"""The reliability diagram: is a model that says 0.8 right eight times of ten?"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

import bqplot
import ipywidgets as widgets
import numpy as np

from nni_widgets.engine.uncertainty import Reliability, fit_temperature, nll, reliability
from nni_widgets.pictures.numbers import number, percent
from nni_widgets.widgets.explorers.uncertainty.colours import CHOSEN, PLAIN, SECOND
from nni_widgets.widgets.explorers.uncertainty.work import HeldOut
from nni_widgets.widgets.parts.axes import axis, figure
from nni_widgets.widgets.parts.controls import button

_BINS = 10
_NOTHING = "Give held_out=(pictures, labels) to see whether the confidence can be believed."


@dataclass(frozen=True, eq=False)
class Belief:
    """How well a temperature fits every other picture held out; those between are for fitting."""

    temperature: float
    bins: Reliability
    nll: float
    accuracy: float
    count: int

    @classmethod
    def of(cls, held_out: HeldOut, temperature: float) -> Belief:
        """The figures at this temperature."""
        logits, labels = held_out.logits[1::2] / temperature, held_out.labels[1::2]
        right = (logits.argmax(1) == labels).double().mean()
        bins = reliability(logits.softmax(1), labels, _BINS)
        return cls(temperature, bins, nll(logits, labels), float(right), len(labels))

    def __str__(self) -> str:
        return (
            f"temperature {number(self.temperature)}: ECE {percent(self.bins.ece)}, "
            f"NLL {number(self.nll)}, accuracy {percent(self.accuracy)} of {self.count:,} pictures"
        )


def fitted(held_out: HeldOut) -> float:
    """The temperature fitted on every other picture. Raises as :func:`fit_temperature`."""
    return fit_temperature(held_out.logits[::2], held_out.labels[::2])


class ReliabilityView:
    """Accuracy against confidence in bins, the diagonal, and how many pictures each bin has."""

    def __init__(self, on_fit: Callable[[], None]) -> None:
        shares = bqplot.LinearScale(min=0, max=1), bqplot.LinearScale(min=0, max=1)
        scales = dict(zip("xy", shares, strict=True))
        middles = (np.arange(_BINS) + 0.5) / _BINS
        self._bars = bqplot.Bars(
            x=middles, y=np.zeros(_BINS), scales=scales, colors=[PLAIN], padding=0.1
        )
        diagonal = bqplot.Lines(
            x=[0, 1], y=[0, 1], scales=scales, colors=[SECOND], line_style="dashed"
        )
        self._dots = bqplot.Scatter(
            x=[], y=[], scales=scales, colors=[CHOSEN], marker="diamond", default_size=50
        )
        ends = {"tick_values": [0, 0.5, 1], "tick_format": ".1f"}
        diagram = figure(
            "nn-reliability",
            [self._bars, diagonal, self._dots],
            [
                axis(shares[0], "bottom", "confidence", **ends),
                axis(shares[1], "left", "accuracy", **ends),
            ],
            (252, 220),
        )
        counts = bqplot.LinearScale(min=0)
        self._counts = bqplot.Bars(
            x=middles,
            y=np.zeros(_BINS),
            scales={"x": shares[0], "y": counts},
            colors=[PLAIN],
            padding=0.1,
        )
        histogram = figure(
            "nn-confidence",
            [self._counts],
            [
                axis(shares[0], "bottom", visible=False),
                axis(counts, "left", "pictures", num_ticks=2, tick_format="~s"),
            ],
            (252, 80),
            margin=(6, 12, 6, 48),
        )
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-calibration-words")
        self._fit = button("Fit temperature", on_fit)
        self.widget = widgets.VBox([histogram, diagram, self._words, self._fit])
        self.widget.add_class("nn-view")
        self.clear()

    def show(self, belief: Belief) -> None:
        """Show the figures of a temperature."""
        bins = belief.bins
        filled = bins.counts > 0
        self._bars.y = bins.accuracy.nan_to_num().numpy()
        self._counts.y = bins.counts.double().numpy()
        with self._dots.hold_sync():
            self._dots.x = bins.confidence[filled].numpy()
            self._dots.y = bins.accuracy[filled].numpy()
        self._say(str(belief), True)

    def clear(self, words: str = _NOTHING) -> None:
        """Show no figure, but say why."""
        self._bars.y = self._counts.y = np.zeros(_BINS)
        self._dots.x = self._dots.y = np.zeros(0)
        self._say(words, False)

    def _say(self, words: str, can_fit: bool) -> None:
        self._words.value = f"<small>{html.escape(words)}</small>"
        self._fit.disabled = not can_fit
