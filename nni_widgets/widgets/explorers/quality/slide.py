"""The picture slides by a few pixels: how far do the maps change with it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import Result, logits_of, model_lock
from nni_widgets.engine.metrics.base import Subject
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param
from nni_widgets.pictures.explain import Explanation, explanation_of, picture_range
from nni_widgets.pictures.render import Level
from nni_widgets.widgets.explorers.quality.game import WHO, Methods
from nni_widgets.widgets.parts.last import Last

FARTHEST = 8


class Slide(Declared):
    """Which way the picture slides, what moves in behind it, and on which scale maps are."""

    along: Literal["across", "down"] = param(
        "across", "the way the picture slides", choices=("across", "down")
    )
    border: Literal["edge", "wrap", "black"] = param(
        "edge", "what moves in: the edge again, what moved out, or black",
        choices=("edge", "wrap", "black"),
    )  # fmt: skip
    scaled: bool = param(False, "divide each map by Σ|R(x)|, so that methods can be compared")


@dataclass(frozen=True, eq=False)
class Slid:
    """The picture at a shift, the maps there, and how far they have changed at shifts so far.

    ``changes`` has, for each shift that was visited, ‖R(x) − R(x′)‖₁ / ‖x − x′‖₂ of each method
    that is ``made`` there.
    """

    slide: Slide
    shift: int
    distance: float
    moved: Explanation
    names: tuple[str, ...]
    made: tuple[Explanation, ...]
    changes: Mapping[int, tuple[float, ...]]
    passes: float

    def change(self, number: int) -> float:
        """How far the map of a method has changed at this shift."""
        return self.changes[self.shift][number]

    def largest(self, number: int) -> tuple[float, int]:
        """The largest change of a method so far, and the shift where it is, the shortest one."""
        found = [(v[number], shift) for shift, v in self.changes.items() if number < len(v)]
        return max(found, key=lambda each: (each[0], -abs(each[1]), each[1]), default=(0.0, 0))


class Rail:
    """Slides a picture on a model; the maps at every shift that was visited are kept."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._last: Last[_Ride] = Last(model)

    def go(
        self, x: Tensor, target: Target, methods: Methods, slide: Slide, seen: Sequence[int]
    ) -> Iterator[tuple[Slid, int, int]]:
        """Stand at the last of these shifts: one map more at every step: (slid, done, of).

        Then come the changes of the maps at the shifts before.
        """
        ride = self._last.get((methods, target, slide), x)
        if ride is None:
            ride = _Ride(self._model, x, target, methods, slide)
            self._last.keep((methods, target, slide), x, ride)
        shift, before = seen[-1], [each for each in seen[:-1] if each != seen[-1]]
        of = len(methods) + len(before)
        names = tuple(name for name, _ in methods)
        known = {each: ride.changes(each) for each in before if ride.knows(each)}
        answer, made = ride.answer(shift), []
        for number in range(len(methods)):
            made.append(ride.explanation(number, shift, answer))
            known[shift] = ride.changes(shift, number + 1)
            now = Slid(slide, shift, ride.distance(shift), answer, names, tuple(made), dict(known),
                       ride.passes)  # fmt: skip
            yield now, number + 1, of
        for done, each in enumerate(before, len(methods) + 1):
            known[each] = ride.changes(each)
            yield replace(now, changes=dict(known), passes=ride.passes), done, of


class _Ride:
    """One picture, and what is known of it at every shift."""

    def __init__(
        self, model: nn.Module, x: Tensor, target: Target, methods: Methods, slide: Slide
    ) -> None:
        if slide.along == "down" and x.ndim != 4:
            given = f"'down' for x of shape {tuple(x.shape)}"
            raise invalid(WHO, "along", "'across' where there is no height", given, "Choose across")
        self._model, self._x, self._slide = model, x.detach(), slide
        with model_lock:
            self._subjects = [Subject(model, x, method, target) for _, method in methods]
        self._low = picture_range(model, x)[0]
        self._maps: dict[tuple[int, int], Tensor] = {}
        self._changes: dict[tuple[int, int], float] = {}
        self.passes = float(len(methods))

    def answer(self, shift: int) -> Explanation:
        """The model's answer to the picture at this shift."""
        picture, first = self._picture(shift), self._subjects[0]
        with model_lock:
            logits = logits_of(WHO, self._model, picture)
        self.passes += 1
        result = Result(torch.zeros_like(picture), first.selection, logits, passes=1)
        return explanation_of(self._model, picture, first.method, result)

    def explanation(self, number: int, shift: int, answer: Explanation) -> Explanation:
        """The explanation of the picture at this shift by a method, for the target of x."""
        values = self._map(number, shift).to(answer.x)
        method = self._subjects[number].method
        result = replace(answer.result, values=values, passes=self._subjects[number].result.passes)
        return explanation_of(self._model, answer.x, method, result)

    def distance(self, shift: int) -> float:
        """‖x − x′‖₂."""
        return float((self._picture(shift).double() - self._x.double()).norm())

    def knows(self, shift: int) -> bool:
        """Whether the change of every map there is known."""
        return all((number, shift) in self._changes for number in range(len(self._subjects)))

    def changes(self, shift: int, count: int | None = None) -> tuple[float, ...]:
        """‖R(x) − R(x′)‖₁ / ‖x − x′‖₂ of the first methods, or of all; 0 where x′ is x."""
        return tuple(self._change(number, shift) for number in range(len(self._subjects))[:count])

    def _change(self, number: int, shift: int) -> float:
        if (number, shift) not in self._changes:
            distance = self.distance(shift)
            changed = self._changed(number, shift) / distance if distance else 0.0
            self._changes[number, shift] = changed
        return self._changes[number, shift]

    def _changed(self, number: int, shift: int) -> float:
        before = self._subjects[number].attribution
        size = float(before.abs().sum()) if self._slide.scaled else 1.0
        return float((self._map(number, shift) - before).abs().sum()) / (size or 1.0)

    def _map(self, number: int, shift: int) -> Tensor:
        """R(x′) of a method, float64."""
        if (number, shift) not in self._maps:
            subject = self._subjects[number]
            first = torch.zeros(1, dtype=torch.long)
            self._maps[number, shift] = subject.attributions(self._picture(shift), first)
            self.passes += subject.result.passes
        return self._maps[number, shift]

    def _picture(self, shift: int) -> Tensor:
        return moved(self._x, shift, self._slide, self._low)


def moved(x: Tensor, by: int, slide: Slide, low: Level) -> Tensor:
    """The picture moved by so many pixels to the right, or down; ``low`` is its black."""
    axis = x.ndim - (1 if slide.along == "across" else 2)
    length = x.shape[axis]
    places = torch.arange(length, device=x.device) - by
    if slide.border == "wrap":
        return x.index_select(axis, places.remainder(length))
    shifted = x.index_select(axis, places.clamp(0, length - 1))
    if slide.border == "edge":
        return shifted
    inside = ((places >= 0) & (places < length)).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    channels = (1, -1, *(1,) * (x.ndim - 2))
    black = torch.as_tensor(low, dtype=x.dtype, device=x.device).reshape(channels)
    return torch.where(inside, shifted, black)
