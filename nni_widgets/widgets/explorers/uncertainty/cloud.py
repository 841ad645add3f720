"""The cloud: what each sample gives to each class, as points above the class."""

from __future__ import annotations

from collections.abc import Sequence

import bqplot
import numpy as np

from nni_widgets.engine.uncertainty import Dirichlet, Prediction
from nni_widgets.widgets.explorers.uncertainty.colours import CHOSEN, PLAIN, SECOND
from nni_widgets.widgets.parts.axes import INK, LEVEL_ROOM, axis, class_ticks, figure

_MOST_CLASSES, _MOST_POINTS = 10, 50
_SPREAD = 0.32
_WIDTH, _HEIGHT, _LEFT, _RIGHT = 404, 174, 48, 12


class Cloud:
    """A strip of points for each class, at most ten, and a diamond at the mean of each.

    At most fifty samples are shown, the same for all classes; all count in the mean. The points of
    the predicted class have its colour. For an evidential model a bar shows the standard deviation
    of each probability under its Dirichlet distribution.
    """

    def __init__(self) -> None:
        classes = bqplot.LinearScale(min=-0.6, max=_MOST_CLASSES - 0.4)
        shares = bqplot.LinearScale(min=-0.02, max=1.02)
        scales = {"x": classes, "y": shares}
        nothing: dict[str, list[float]] = {"x": [], "y": []}
        looks = {"scales": scales, "opacities": [0.45], "default_size": 18}
        self._others = bqplot.Scatter(**nothing, **looks, colors=[PLAIN])
        self._predicted = bqplot.Scatter(**nothing, **looks, colors=[CHOSEN])
        self._means = bqplot.Scatter(
            **nothing, scales=scales, colors=[SECOND], marker="diamond", default_size=70, stroke=INK
        )
        self._beliefs = bqplot.Lines(
            x=[0.0, 0.0], y=[0.0, 0.0], scales=scales, colors=[SECOND], stroke_width=3
        )
        self._names = axis(classes, "bottom", tick_values=[])
        heights = axis(shares, "left", "probability", tick_format=".1f", tick_values=[0, 0.5, 1])
        self.widget = figure(
            "nn-cloud",
            [self._beliefs, self._others, self._predicted, self._means],
            [self._names, heights],
            (_WIDTH, _HEIGHT + LEVEL_ROOM),
            margin=(10, _RIGHT, LEVEL_ROOM, _LEFT),
        )

    def show(
        self, prediction: Prediction, belief: Dirichlet | None, classes: Sequence[str]
    ) -> None:
        """Show the samples of one picture, and what an evidential model believes of it."""
        means = prediction.probabilities[0].numpy()
        shown = np.sort(np.argsort(-means, kind="stable")[:_MOST_CLASSES])
        samples = prediction.samples[:, 0].numpy()
        picked = samples[np.linspace(0, len(samples) - 1, min(len(samples), _MOST_POINTS)).round()
                         .astype(int)]  # fmt: skip
        predicted = int(prediction.predicted[0])
        self._label(shown, classes)
        aside = _aside(len(picked))
        for mark, wanted in ((self._predicted, True), (self._others, False)):
            places = [at for at, k in enumerate(shown) if (k == predicted) == wanted]
            x = np.concatenate([at + aside for at in places]) if places else np.zeros(0)
            y = picked[:, shown[places]].T.ravel() if places else np.zeros(0)
            with mark.hold_sync():
                mark.x, mark.y = x, y
        with self._means.hold_sync():
            self._means.x, self._means.y = np.arange(len(shown)), means[shown]
        if belief is not None:
            self._show_belief(belief, shown)

    def clear(self) -> None:
        """Show no sample."""
        for mark in (self._predicted, self._others, self._means):
            mark.x = mark.y = np.zeros(0)
        self._beliefs.x = self._beliefs.y = np.zeros(2)

    def _show_belief(self, belief: Dirichlet, shown: np.ndarray) -> None:
        """A bar over the standard deviation of each probability, around its mean."""
        mean, spread = (
            each[0].double().cpu().numpy()[shown]
            for each in (belief.probabilities, belief.deviation)
        )
        ends = np.stack([mean - spread, mean + spread], 1).clip(0, 1)
        with self._beliefs.hold_sync():
            self._beliefs.x = np.arange(len(shown))[:, None].repeat(2, 1)
            self._beliefs.y = ends

    def _label(self, shown: np.ndarray, classes: Sequence[str]) -> None:
        ticks = class_ticks(classes, len(shown), _WIDTH - _LEFT - _RIGHT)
        labels = {str(at): ticks.names[k] for at, k in enumerate(shown)}
        if self._names.tick_labels != labels:
            self._names.scale.max = len(shown) - 0.4
            for trait, look in ticks.looks.items():
                setattr(self._names, trait, look)
            self.widget.fig_margin = {**self.widget.fig_margin, "bottom": ticks.room}
            self.widget.layout.height = f"{_HEIGHT + ticks.room}px"
            self._names.tick_labels = labels
            self._names.tick_values = np.arange(len(shown))


def _aside(count: int) -> np.ndarray:
    """How far each point stands beside the middle of its strip: always the same, well spread."""
    golden = (5**0.5 - 1) / 2
    return (np.arange(count) * golden % 1 - 0.5) * 2 * _SPREAD
