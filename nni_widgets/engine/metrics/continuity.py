"""Measures that change the picture a little: does the explanation change a lot?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nni_widgets.engine.methods.noise import noise
from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject
from nni_widgets.errors import invalid
from nni_widgets.params import param

_ROWS = 32


class Nearby(Metric):
    """Base of the measures that are the largest change of the map over pictures near x.

    A subclass makes the pictures and says how large a change is. The target is decided once, on x.
    """

    asks_again: ClassVar[bool] = True

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        x, before = subject.x, subject.attribution
        nearby = self._moves(x)
        worst = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        done = 0
        for moves in nearby.split(max(1, _ROWS // len(x))):
            pictures = self._pictures(x, moves)
            sample = torch.arange(len(x)).repeat(len(moves))
            maps = subject.attributions(pictures.flatten(0, 1), sample).unflatten(0, (-1, len(x)))
            worst = torch.maximum(worst, self._change(x, before, pictures, maps).amax(0))
            done += len(moves)
            yield Measured(worst, passes=done * subject.result.passes, done=done, of=len(nearby))

    def _moves(self, x: Tensor) -> Tensor:
        """What makes each of the n pictures near x, (n, ...)."""
        raise NotImplementedError

    def _pictures(self, x: Tensor, moves: Tensor) -> Tensor:
        """The pictures near x that some of the moves make, (moves, *x.shape)."""
        raise NotImplementedError

    def _change(self, x: Tensor, before: Tensor, pictures: Tensor, maps: Tensor) -> Tensor:
        """How far the maps of these pictures are from that of x, (moves, N)."""
        raise NotImplementedError


class Continuity(Nearby):
    """Continuity: the largest change of the map per change of the picture, over small shifts.

    ``max_x′ ‖R(x) − R(x′)‖₁ / ‖x − x′‖₂``, x′ being x moved by up to ``pixels`` along every axis
    behind the channels, (2 · pixels + 1)² − 1 pictures (of features ``(N, D)``, along D). What
    moves in repeats the edge or, with ``"wrap"``, is what has moved out. An x′ that equals x is
    left out; if all do, the score is 0.

    Unit: that of R per unit of the pixels: maps on different scales cannot be compared. Raises
    ``ValueError`` for shifts as large as the picture. Cost: 1 R + 1 R per shift.
    Source: Montavon, Samek, Müller 2018, sec. 7.1.

    Quantus gives the scores of patches along one long slide, where it and the paper differ.
    """

    title: ClassVar[str] = "Continuity"
    card: ClassVar[MetricCard] = MetricCard(
        question="Does the map change a lot when the picture is moved by a pixel?",
        better="lower",
        range="0 and above",
        cost="1 R + 1 R per shift",
        drawbacks="depends on the scale of the map; a constant map is perfect; a model that itself "
        "is not continuous is held against the method",
    )
    pixels: int = param(1, "largest shift along an axis, in pixels", low=1, slider=(1, 4))
    border: Literal["edge", "wrap"] = param(
        "edge", "what moves in at a border", choices=("edge", "wrap")
    )

    def _moves(self, x: Tensor) -> Tensor:
        axes = _axes(x)
        shortest = min(x.shape[axis] for axis in axes)
        if self.pixels >= shortest:
            expected = f"smaller than the picture's shortest side, {shortest}"
            action = "Choose a smaller shift" if shortest > 1 else "Choose another measure"
            raise invalid("Continuity", "pixels", expected, self.pixels, action)
        steps = range(-self.pixels, self.pixels + 1)
        return torch.tensor([by for by in itertools.product(steps, repeat=len(axes)) if any(by)])

    def _pictures(self, x: Tensor, moves: Tensor) -> Tensor:
        return torch.stack([self._moved(x, by) for by in moves.tolist()])

    def _moved(self, x: Tensor, by: list[int]) -> Tensor:
        for axis, step in zip(_axes(x), by, strict=True):
            length = x.shape[axis]
            places = torch.arange(length, device=x.device) - step
            wraps = self.border == "wrap"
            places = places.remainder(length) if wraps else places.clamp(0, length - 1)
            x = x.index_select(axis, places)
        return x

    def _change(self, x: Tensor, before: Tensor, pictures: Tensor, maps: Tensor) -> Tensor:
        moved = (pictures.double() - x.double()).flatten(2).norm(dim=2)
        changed = (maps - before).flatten(2).abs().sum(2)
        return torch.where(moved > 0, changed / moved, 0.0)


class MaxSensitivity(Nearby):
    """Max-sensitivity: the largest relative change of the map, over noise too small to matter.

    ``max_x′ ‖R(x′) − R(x)‖₂ / ‖R(x)‖₂`` over ``n_samples`` pictures x′, drawn uniformly from all
    with ‖x′ − x‖ ≤ ``radius``. ``"max"``: no pixel changes by more than the radius; ``"l2"``: the
    Euclidean norm does not. A map that is 0 everywhere is divided by 1. Every sample of a batch
    gets the same noise. The maximum over samples is a lower bound of that over all x′.

    Unit: none; ``radius`` has that of the pixels. Cost: 1 R + 1 R per sample of the noise.
    Source: Yeh et al. 2019, sec. 3; the division by ‖R(x)‖ is that of the authors' code and of
    Captum. The authors' code divides what it has again at every sample, which is not meant here.
    """

    title: ClassVar[str] = "Max-sensitivity"
    card: ClassVar[MetricCard] = MetricCard(
        question="Does the map change a lot when noise changes the picture invisibly?",
        better="lower",
        range="0 and above",
        cost="1 R + 1 R per sample of the noise",
        drawbacks="a constant map is perfect; few samples find too small a maximum; a radius in "
        "one model's pixels says nothing about another's",
    )
    radius: float = param(0.02, "largest change of x, in its own unit", low=0, slider=(0, 0.2))
    ball: Literal["max", "l2"] = param("max", "norm of that change", choices=("max", "l2"))
    n_samples: int = param(10, "pictures near x", low=1, high=10_000, slider=(1, 50))
    seed: int = param(0, "seed of the noise", low=0, high=2**31, slider=(0, 20))

    def _moves(self, x: Tensor) -> Tensor:
        return torch.arange(self.n_samples)

    def _pictures(self, x: Tensor, moves: Tensor) -> Tensor:
        if self.ball == "max":
            change = 2 * noise(moves, x, self.seed, torch.rand) - 1
        else:
            change = self._inside_a_sphere(x, moves)
        return x + self.radius * change[:, None]

    def _inside_a_sphere(self, x: Tensor, moves: Tensor) -> Tensor:
        """Uniform in the unit ball: points on a sphere of two more dimensions, those left out."""
        size = x[0].numel()
        normal = noise(moves, x.new_empty(1, size + 2), self.seed)
        on_sphere: Tensor = normal / normal.norm(dim=1, keepdim=True)
        return on_sphere[:, :size].reshape(-1, *x.shape[1:])

    def _change(self, x: Tensor, before: Tensor, pictures: Tensor, maps: Tensor) -> Tensor:
        size: Tensor = before.flatten(1).norm(dim=1)
        changed: Tensor = (maps - before).flatten(2).norm(dim=2)
        return changed / torch.where(size > 0, size, 1.0)


def _axes(x: Tensor) -> range:
    """The axes along which there are places: those behind the channels, if there are channels."""
    return range(min(2, x.ndim - 1), x.ndim)
