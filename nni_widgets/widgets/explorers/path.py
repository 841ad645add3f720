"""The Path explorer: what integrated gradients meet on the way from a baseline to the picture."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import IntegratedGradients
from nni_widgets.engine.methods.path_trace import PathTrace, TracedPath
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.pictures.heatmap import heatmap
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import picture_png
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.parts.axes import legend
from nni_widgets.widgets.parts.charts import LINE_COLOURS, LineChart
from nni_widgets.widgets.parts.controls import Stepper
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.maps import BLANK, MapView, PictureView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.subject import Subject, subject

_FRAMES, _MOST_WAYS = 9, 4
_QUARTERS = (0.25, 0.5, 0.75, 1.0)
_LINES = "running sum", "f − f(x′)"


class PathExplorer(Scaffold[Explanation]):
    """Shows integrated gradients point by point; made by :func:`explore_path`.

    ``method`` is the IntegratedGradients that is explored, ``point`` the number of the point of the
    path that is looked at; the last one, with the whole attribution, at first.
    """

    opener = "nni.explore_path"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-point-picture": "the picture at the chosen point of the path",
        "nn-strip": "pictures along the path, from the baseline to the picture that is explained",
        "nn-point-map": "heatmap: what the chosen point adds",
        "nn-sum-map": "heatmap: the sum up to the chosen point",
    }

    def __init__(self, subject: Subject, method: IntegratedGradients) -> None:
        self._first = checked(method)
        self._panel = ParameterPanel(method, self._changed, self._refuse)
        self._picture = PictureView("a point of the path", "nn-point-picture")
        self._strip = widgets.Image(value=BLANK, width="504").add_class("nn-strip")
        self._strip.add_class("nn-px")
        self._one = MapView("what this point adds", "nn-point-map")
        self._sum = MapView("the sum up to here", "nn-sum-map")
        self._line = LineChart(len(_LINES), "nn-running")
        self._legend = widgets.HTML(legend(zip(_LINES, LINE_COLOURS, strict=False)))
        self._legend.add_class("nn-legend")
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-running-words")
        self._painted: Explanation | None = None
        self._point = Stepper("point", method.n_steps, self._look)
        self._point.fit(method.n_steps, method.n_steps - 1)
        super().__init__(subject)

    @property
    def method(self) -> IntegratedGradients:
        """The method with its parameters."""
        return cast(IntegratedGradients, self._panel.value)

    @method.setter
    def method(self, method: IntegratedGradients) -> None:
        self._panel.show(checked(method))
        self._changed(method)

    @property
    def point(self) -> int:
        """Which point of the path is looked at, from 0."""
        return self._point.value

    @point.setter
    def point(self, number: int) -> None:
        self._point.value = number

    def _parts(self) -> Parts:
        line = [self._legend, self._line.widget, self._words]
        point = widgets.VBox([self._picture.view, self._point.widget, *line])
        maps = widgets.HBox([self._one.view, self._sum.view]).add_class("nn-row")
        return Parts(
            maps=[self._one, self._sum],
            pictures=[point, widgets.VBox([self._strip, maps])],
            controls=[self._panel.box],
        )

    def _selected(self) -> IntegratedGradients:
        return self.method

    def _work(
        self, x: Tensor, target: Target, selected: IntegratedGradients
    ) -> Iterator[Step[Explanation]]:
        traced = TracedPath(n_steps=selected.n_steps, baseline=selected.baseline)
        for made in explanations(self._model, x, traced, target):
            yield Step(replace(made, method=selected), made.result.done, made.result.of)

    def _explained(self, shown: Explanation) -> Sequence[Explanation]:
        return (shown,)

    def _size_of(self, shown: Explanation) -> int:
        return _trace(shown).added.numel() * shown.x.element_size()

    def _paint(self, shown: Explanation) -> None:
        trace = _trace(shown)
        point = self._point_of(trace)
        place = trace.places[point]
        share = number(float(place), largest=1, digits=2)
        ways = len(trace.starts)
        many = f", mean of {ways} ways" if ways > 1 else ""
        self._picture.entitle(f"point {point}, {share} of the way{many}")
        picture = trace.pictures(place, shown.x).mean(0)[0]
        self._picture.paint(picture, shown.low, shown.high)
        if shown is not self._painted:
            self._painted = shown
            self._paint_way(shown)
        self._paint_maps(shown, point)
        places, lines = _curves(trace)
        self._line.point(places[0, point + 1], lines[0, point + 1])

    def _paint_way(self, shown: Explanation) -> None:
        trace = _trace(shown)
        if shown.x.ndim <= 4:
            places = torch.linspace(0, 1, _FRAMES).to(shown.x)
            frames = torch.cat([trace.pictures(t, shown.x)[:_MOST_WAYS, 0] for t in places], -1)
            below = torch.cat(tuple(frames), -2) if shown.x.ndim == 4 else frames[0]
            self._strip.value = picture_png(below, shown.low, shown.high)
        self._line.show(*_curves(trace))
        self._words.value = f"<small>{html.escape(running(trace))}</small>"

    def _paint_maps(self, shown: Explanation, point: int) -> None:
        trace, channels = _trace(shown), shown.method.channels
        (adds,) = heatmap(trace.added[point], channels)
        self._one.paint(shown, adds, words=f"This point adds {number(float(adds.sum()))}.")
        (so_far,) = heatmap(trace.up_to(point), channels)
        whole = point == trace.done - 1
        words = shown.adds_up() if whole else f"So far ΣR = {number(float(so_far.sum()))}."
        self._sum.paint(shown, so_far, shown.scale_for(shown.heatmap()), words=words)

    def _point_of(self, trace: PathTrace) -> int:
        """The chosen point, or the last one that is there."""
        return min(self.point, trace.done - 1)

    def _text_of(self, shown: Explanation) -> str:
        trace = _trace(shown)
        point = self._point_of(trace)
        so_far = number(float(trace.sums[point, 0]))
        return f"{shown.digest()}\n{running(trace)}\nup to point {point}: {so_far}"

    def _npzs(self, shown: Explanation) -> dict[str, bytes]:
        trace = _trace(shown)
        path = npz(
            places=trace.places,
            scores=trace.scores[:, 0],
            reached=trace.reached,
            sums=trace.sums[:, 0],
            added=trace.added[:, 0],
        )
        return {**super()._npzs(shown), "path.npz": path}

    def _arguments(self, names: Names) -> list[str]:
        return [names.method(self.method)]

    def _settings(self, names: Names) -> dict[str, str]:
        return {} if self.point == self.method.n_steps - 1 else {"point": as_code(self.point)}

    def _at_work(self) -> str:
        return self.method.title

    def _blank(self) -> None:
        self._picture.clear()
        self._line.clear()
        self._strip.value, self._words.value = BLANK, ""
        self._painted = None

    def _forget(self) -> None:
        self._panel.reset(self._first)
        self._point.fit(self._first.n_steps, self._first.n_steps - 1)

    def _changed(self, method: IntegratedGradients) -> None:
        """Stay at the same share of the way when the number of points changes."""
        last = self._point.count - 1
        share = self.point / last if last else 1
        self._point.fit(method.n_steps, round(share * (method.n_steps - 1)))
        self._ask()


def checked(method: Any) -> IntegratedGradients:
    """The method, if it goes along a path; else raises ``ValueError``."""
    if not isinstance(method, IntegratedGradients):
        expected, action = "one that goes along a path", "Try nni.IntegratedGradients()"
        raise invalid("PathExplorer", "method", expected, repr(method), action)
    return method


def running(trace: PathTrace) -> str:
    """The running sum at the quarters of the way, in words."""
    places, lines = _curves(trace)
    ends = lines[1, -1]
    sums = (
        number(float(np.interp(q, places[0], lines[0])), largest=float(ends)) for q in _QUARTERS
    )
    told = ", ".join(f"{value} at {q:g}" for value, q in zip(sums, _QUARTERS, strict=True))
    return f"running sum: {told}; f(x) − f(x′) = {number(float(ends))}"


def _trace(made: Explanation) -> PathTrace:
    return cast(PathTrace, made.result)


def _curves(trace: PathTrace) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The places and heights of the running sum, and of f − f(x′) from end to end: ``(2, T)``."""
    reference = trace.reference_score[:1] if trace.reference_score is not None else 0
    gained = torch.cat([trace.scores[:, 0], trace.score[:1]]) - reference
    sums = trace.sums[:, 0]
    zero, one = sums.new_zeros(1), sums.new_ones(1)
    places = [torch.cat([zero, trace.reached, trace.reached[-1:]])]
    places.append(torch.cat([zero, trace.places, one]))
    heights = [torch.cat([zero, sums, sums[-1:]]), torch.cat([zero, gained])]
    return torch.stack(places).cpu().numpy(), torch.stack(heights).cpu().numpy()


def explore_path(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    method: IntegratedGradients | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> PathExplorer:
    """Explore integrated gradients: pictures on the way, and the sum that grows to f(x) − f(x′).

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``method``: integrated gradients with their steps and
    baseline; ``target``, ``labels``, ``names`` and ``large`` are those of :func:`explore`.
    """
    about = subject(
        "explore_path", model, x, target, strokes=strokes, labels=labels, names=names, large=large
    )
    return PathExplorer(about, IntegratedGradients() if method is None else method)
