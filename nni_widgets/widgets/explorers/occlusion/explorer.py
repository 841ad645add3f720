"""The Occlusion explorer: cover a part of the picture by hand, and see how far the score falls."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods import Occlusion
from nni_widgets.engine.methods.base import Result, logits_of
from nni_widgets.engine.targets import Selection, Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code
from nni_widgets.pictures.explain import Explanation, explanation_of, explanations
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import picture_png
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.occlusion.windows import (
    Corner,
    Starts,
    as_corners,
    grid,
    in_words,
    on_grid,
    placed,
)
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.fitting import occlusion_for, sizes_of
from nni_widgets.widgets.parts.frame import FramedPicture
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.subject import Subject, subject

_WHO, _AT_ONCE = "Occlusion", 16


@dataclass(frozen=True, eq=False)
class Tried:
    """A picture's logits, what of them is explained, and the logits with each window covered."""

    logits: Tensor
    selection: Selection
    covered: dict[Corner, Tensor] = field(default_factory=dict)

    def fall(self, corner: Corner) -> Tensor:
        """How far the score falls when the window at this corner is covered."""
        return (self.selection(self.logits) - self.selection(self.covered[corner]))[0]


@dataclass(frozen=True, eq=False)
class Covered:
    """The map so far, the picture with one window covered, and how far each window lets f fall.

    ``falls`` has the windows that were visited, that at ``corner`` among them; ``starts`` is where
    windows begin along each axis; ``is_whole``: the map is, or becomes, that of all windows.
    """

    map: Explanation
    covered: Explanation
    corner: Corner
    falls: Mapping[Corner, Tensor]
    starts: Starts
    is_whole: bool


class OcclusionExplorer(Scaffold[Covered]):
    """Shows what happens when a window of the picture is covered; made by `explore_occlusion`.

    ``method`` is the Occlusion that is explored; ``corner`` is where the covered window begins,
    (top, left); ``visited`` are the corners of all windows covered so far, this one last; with
    ``whole`` the map is completed by all the others.
    """

    opener = "nni.explore_occlusion"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-covered": "the picture with one window covered",
        "nn-occlusion-map": "heatmap: how far the score falls when a place is covered",
    }

    def __init__(self, subject: Subject, method: Occlusion, usual: Occlusion) -> None:
        self._first, self._quiet = checked(method), Quiet()
        self._visited: tuple[Corner, ...] = ()
        self._last_tried: Last[Tried] = Last(subject.model)
        self._last_whole: Last[Explanation] = Last(subject.model)
        self._panel = ParameterPanel(method, self._changed, self._refuse, usual=sizes_of(usual))
        self._picture = FramedPicture(
            "drag the window; the bars follow",
            "nn-covered",
            "the window that is covered",
            self._moved,
        )
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-covered-words")
        self._map = MapView("how far the score falls", "nn-occlusion-map")
        self._whole = widgets.Checkbox(
            description="complete the map", indent=False, layout={"width": "auto"}
        )
        self._whole.add_class("nn-whole")
        self._whole.observe(lambda _: None if self._quiet else self._ask(), "value")
        self._forget_button = button("Forget windows", self._forget_windows)
        super().__init__(subject)

    @property
    def method(self) -> Occlusion:
        """The method with its parameters."""
        return cast(Occlusion, self._panel.value)

    @method.setter
    def method(self, method: Occlusion) -> None:
        self._panel.show(checked(method))
        self._ask()

    @property
    def visited(self) -> tuple[Corner, ...]:
        """The corners of the windows that were covered, the last one last. To set it waits."""
        starts = self._starts()
        return placed(self._visited, starts) if starts else self._visited

    @visited.setter
    def visited(self, corners: Sequence[Corner]) -> None:
        self.drain()
        given, starts = as_corners(corners), self._starts()
        wrong = [corner for corner in given if starts and not on_grid(corner, starts)]
        if wrong:
            expected = f"one where a window begins: {in_words(starts)}"
            raise invalid("OcclusionExplorer", "a corner", expected, repr(wrong[0]), "Correct it")
        self._visited = given
        self._ask()

    @property
    def corner(self) -> Corner:
        """Where the covered window begins: (top, left). To set it waits and covers that window.

        Empty as long as none is.
        """
        return self.visited[-1] if self.visited else ()

    @corner.setter
    def corner(self, corner: Corner) -> None:
        self.drain()
        self.visited = self._with(corner)

    def _with(self, corner: Corner) -> tuple[Corner, ...]:
        before = self._visited or self.visited
        return (*(known for known in before if known != corner), corner)

    @property
    def whole(self) -> bool:
        """Whether the map is completed by the windows that were not visited."""
        return bool(self._whole.value)

    @whole.setter
    def whole(self, whole: bool) -> None:
        self._whole.value = whole

    def _parts(self) -> Parts:
        covered = widgets.VBox([self._picture.view, self._words])
        choices = widgets.HBox([self._whole, self._forget_button])
        progress = widgets.VBox([self._map.view, choices])
        return Parts(maps=[self._map], pictures=[covered, progress], controls=[self._panel.box])

    def _selected(self) -> tuple[Occlusion, tuple[Corner, ...], bool]:
        return self.method, self._visited, self.whole

    def _work(
        self, x: Tensor, target: Target, selected: tuple[Occlusion, tuple[Corner, ...], bool]
    ) -> Iterator[Step[Covered]]:
        method, visited, is_whole = selected
        starts = grid(method, x)
        *others, corner = placed(visited, starts)
        corners = [corner, *others]
        tried = self._tried(x, target, method)
        to_come = method.windows(x).count if is_whole else 0
        of = len(corners) + to_come
        for done in self._cover(x, method, tried, corners):
            falls = {each: tried.fall(each) for each in corners[:done]}
            made = self._so_far(x, method, tried, falls)
            covered = self._scores_of(x, method, tried, corner)
            shown = Covered(made, covered, corner, falls, starts, is_whole)
            yield Step(shown, done, of)
        if is_whole:
            for made in self._all(x, target, method):
                share = to_come * made.result.done // made.result.of
                whole = Covered(made, covered, corner, falls, starts, is_whole)
                yield Step(whole, len(corners) + share, of)

    def _tried(self, x: Tensor, target: Target, method: Occlusion) -> Tried:
        tried = self._last_tried.get((method, target), x)
        if tried is None:
            check_model(_WHO, self._model)
            check_input(_WHO, self._model, x)
            logits = logits_of(_WHO, self._model, x)
            tried = Tried(logits, resolve(target, logits, _WHO))
            self._last_tried.keep((method, target), x, tried)
        return tried

    def _cover(
        self, x: Tensor, method: Occlusion, tried: Tried, corners: list[Corner]
    ) -> Iterator[int]:
        """Try these windows, the first one by itself and then some at once: how many are done."""
        done = 0
        while done < len(corners):
            some = corners[done : done + _AT_ONCE] if done else corners[:1]
            new = [corner for corner in some if corner not in tried.covered]
            if new:
                pictures = torch.cat([method.cover(x, *corner) for corner in new])
                logits = logits_of(_WHO, self._model, pictures)
                tried.covered.update(zip(new, logits.split(1), strict=True))
            done += len(some)
            yield done

    def _so_far(
        self, x: Tensor, method: Occlusion, tried: Tried, falls: Mapping[Corner, Tensor]
    ) -> Explanation:
        """The mean fall, at every place, of the visited windows that cover it."""
        total, times = torch.zeros_like(x), torch.zeros_like(x)
        for corner, fall in falls.items():
            place: Any = (..., *(slice(start, start + method.window) for start in corner))
            total[place] += fall.to(x)
            times[place] += 1
        return self._explanation(x, method, tried, tried.logits, total / times.clamp(min=1))

    def _scores_of(self, x: Tensor, method: Occlusion, tried: Tried, corner: Corner) -> Explanation:
        covered = method.cover(x, *corner)
        logits = tried.covered[corner]
        return self._explanation(covered, method, tried, logits, torch.zeros_like(x))

    def _explanation(
        self, x: Tensor, method: Occlusion, tried: Tried, logits: Tensor, values: Tensor
    ) -> Explanation:
        result = Result(values, tried.selection, logits, passes=1 + len(tried.covered))
        return explanation_of(self._model, x.detach().clone(), method, result)

    def _all(self, x: Tensor, target: Target, method: Occlusion) -> Iterator[Explanation]:
        whole = self._last_whole.get((method, target), x)
        if whole is not None:
            yield whole
            return
        for made in explanations(self._model, x, method, target):
            if made.result.done == made.result.of:
                self._last_whole.keep((method, target), x, made)
            yield made

    def _explained(self, shown: Covered) -> Sequence[Explanation]:
        return (shown.map,)

    def _scored(self, shown: Covered) -> Explanation:
        return shown.covered

    def _paint(self, shown: Covered) -> None:
        covered, values = shown.covered, shown.map.heatmap()
        self._picture.paint(picture_png(covered.x[0], shown.map.low, shown.map.high))
        self._fit(shown)
        self._words.value = f'<p role="status">{html.escape(window_in_words(shown))}</p>'
        self._map.paint(shown.map, values, words=f"{map_in_words(shown)}.")

    def _fit(self, shown: Covered) -> None:
        """The frame stands where the user has put it last, which may be further already."""
        corner = placed(self._visited, shown.starts)[-1]
        tops, lefts = ((0,), *shown.starts)[-2:]
        top, left = (0, *corner)[-2:]
        sides = (1, *shown.map.x.shape[-len(corner) :])[-2:]
        window = shown.map.method.window  # type: ignore[attr-defined]
        size = min(window, sides[0]), window
        place = tops.index(top), lefts.index(left)
        self._picture.fit(tops, lefts, size, (sides[0], sides[1]), place)

    def _text_of(self, shown: Covered) -> str:
        return "\n".join([shown.map.digest(), map_in_words(shown), window_in_words(shown)])

    def _pngs(self, shown: Covered) -> dict[str, bytes]:
        covered = picture_png(shown.covered.x[0], shown.map.low, shown.map.high, magnify=8)
        return {**super()._pngs(shown), "covered.png": covered}

    def _npzs(self, shown: Covered) -> dict[str, bytes]:
        corners = torch.tensor(list(shown.falls))
        falls = torch.stack(list(shown.falls.values()))
        return {**super()._npzs(shown), "windows.npz": npz(corners=corners, falls=falls)}

    def _arguments(self, names: Names) -> list[str]:
        return [names.method(self.method)]

    def _settings(self, names: Names) -> dict[str, str]:
        settings = {"visited": as_code(list(self.visited))} if self._visited else {}
        return settings | ({"whole": "True"} if self.whole else {})

    def _at_work(self) -> str:
        return self.method.title

    def _blank(self) -> None:
        self._picture.clear()
        self._words.value = ""

    def _forget(self) -> None:
        self._panel.reset(self._first)
        self._visited = ()
        with self._quiet:
            self._whole.value = False

    def _forget_windows(self) -> None:
        self._visited = self._visited[-1:]
        self._ask()

    def _changed(self, _: Declared) -> None:
        self._ask()

    def _moved(self) -> None:
        outcome = self._outcome
        if outcome is not None:
            starts = outcome.value.starts
            place = self._picture.place[-len(starts) :]
            corner = tuple(at[number] for at, number in zip(starts, place, strict=True))
            self._visited = self._with(corner)
            self._ask()

    def _starts(self) -> Starts:
        """Where windows begin on the picture that is shown; nowhere if there is none."""
        return () if self._outcome is None else self._outcome.value.starts


def map_in_words(shown: Covered) -> str:
    """How much of the map is there."""
    count = math.prod(map(len, shown.starts))
    result = shown.map.result
    if shown.is_whole and result.of > 1:
        return f"{result.done} of {result.of} windows that hide something, {count} in all"
    if shown.is_whole:
        return f"all {count} windows"
    return f"{len(shown.falls)} of {count} windows visited"


def window_in_words(shown: Covered) -> str:
    """What covering this window does to the score and to the prediction."""
    score = float(shown.map.score[0])
    fall = float(shown.falls[shown.corner])
    after = number(score - fall, score)
    what = f"falls by {number(fall, score)}" if fall >= 0 else f"rises by {number(-fall, score)}"
    probability = number(float(shown.covered.probabilities[0].max()), largest=1)
    return (
        f"window at {shown.corner}: f(x) = {number(score)} {what} to {after}; "
        f"predicted {shown.covered.predicted[0]} ({probability})"
    )


def checked(method: Any) -> Occlusion:
    """The method, if it covers windows; else raises ``ValueError``."""
    if not isinstance(method, Occlusion):
        expected, action = "one that covers windows", "Try nni.Occlusion()"
        raise invalid("OcclusionExplorer", "method", expected, repr(method), action)
    return method


def explore_occlusion(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    method: Occlusion | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> OcclusionExplorer:
    """Explore occlusion: drag a window over the picture, and see how far the score falls.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``method``: an Occlusion with its window, stride and
    fill; unless given its window is a seventh of the picture, its stride half of that. ``target``,
    ``labels``, ``names`` and ``large`` are those of :func:`explore`.
    """
    who = "explore_occlusion"
    about = subject(who, model, x, target, strokes=strokes, labels=labels, names=names, large=large)
    usual = occlusion_for(x)
    return OcclusionExplorer(about, usual if method is None else method, usual)
