"""Measures that compare the numbers of a map with what the score does when pixels change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nni_widgets.engine.methods.baselines import Constant
from nni_widgets.engine.methods.fills import FILLS, Fill, as_fill, filled
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.methods.occlusion import Windows
from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject, places
from nni_widgets.engine.metrics.similarity import correlation
from nni_widgets.errors import invalid
from nni_widgets.params import param

_ROWS = 128
_MOST = 0.8


class Filling(Metric):
    """Base of the measures that put something in the place of removed pixels."""

    fill: Fill = param(Constant(), "what stands in for removed pixels", options=lambda: FILLS)

    def validate(self) -> None:
        object.__setattr__(self, "fill", as_fill(type(self).__name__, self.fill))


class Infidelity(Filling):
    """Infidelity: how far the map is from telling what a change of the picture does to the score.

    ``E_I (β IᵀR − (f(x) − f(x − I)))²``, the mean over ``n_samples`` random changes.
    ``"square"``: x − I is x with ``fill`` in a square of side ``window``, and IᵀR the relevance in
    it: R counts as contributions, in the unit of the score (LRP, gradient × input, …). ``"noise"``:
    I is normal with σ = noise_level · (max x − min x), and R counts as slopes (the gradient).
    ``normalised``: β is, for each sample, the number that makes the score smallest, so that
    the map's scale and its sign as a whole do not count; else β = 1.

    Unit: that of the score, squared. Every sample of a batch gets the same squares and noise.
    Raises ``ValueError`` for a window larger than x. Cost: 1 R + 1 F per change.
    Source: Yeh et al. 2019, def. 2.1, and its code for the two readings of R and for β.

    Quantus goes on with the changed picture from square to square, and IᵀR there has x in it twice.
    """

    title: ClassVar[str] = "Infidelity"
    card: ClassVar[MetricCard] = MetricCard(
        question="Do the map's numbers foretell how far the score falls?",
        better="lower",
        range="0 and above",
        cost="1 R + n_samples F",
        drawbacks="squares ask for contributions, noise for slopes: the other kind of map fails; "
        "normalised, a map with all signs turned is as good; large scores make it large",
    )
    perturbation: Literal["square", "noise"] = param(
        "square", "how the picture is changed", choices=("square", "noise")
    )
    n_samples: int = param(100, "number of changes", low=1, high=10_000, slider=(10, 500))
    window: int = param(4, "side of a square, in pixels", low=1, slider=(1, 14))
    noise_level: float = param(
        0.2, "standard deviation of the noise, as a share of max − min", low=0, slider=(0, 0.5)
    )
    normalised: bool = param(True, "scale the map as fits best")
    seed: int = param(0, "seed of the changes", low=0, high=2**31, slider=(0, 20))

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        told, falls = [], []
        copies = torch.arange(self.n_samples)
        for some in copies.split(max(1, _ROWS // len(subject.x))):
            changes, pictures = self._changed(subject.x, some)
            told.append((changes * subject.attribution).flatten(2).sum(2))
            falls.append(_falls(subject, pictures))
            values = self._distance(torch.cat(told), torch.cat(falls))
            done = int(some[-1]) + 1
            yield Measured(values, passes=done, done=done, of=self.n_samples)

    def _changed(self, x: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
        """What weighs the map, which broadcasts to (copies, N, ...), and the changed pictures."""
        if self.perturbation == "noise":
            change = deviation(x, self.noise_level) * noise(copies, x, self.seed)[:, None]
            return change.double(), x - change
        windows = self._windows(x)
        draw = noise(copies, x.new_empty(1, 1, dtype=torch.float64), self.seed, torch.rand)
        mask = windows.masks((draw[:, 0] * windows.count).long())[:, None]
        return mask.double(), torch.where(mask, filled(type(self).__name__, self.fill, x), x)

    def _windows(self, x: Tensor) -> Windows:
        shortest = min(_sides(x))
        if self.window > shortest:
            expected = f"at most {shortest}, the picture's side"
            raise invalid("Infidelity", "window", expected, self.window, "Choose a smaller one")
        return Windows(x, self.window, 1)

    def _distance(self, told: Tensor, falls: Tensor) -> Tensor:
        if self.normalised:
            size = told.square().sum(0)
            told = told * ((told * falls).sum(0) / torch.where(size > 0, size, 1.0))
        return (told - falls).square().mean(0)


class SensitivityN(Filling):
    """Sensitivity-n: does the relevance of random pixels go with what their removal costs?

    The correlation of ``Σ_{i∈S} R_i`` with ``f(x) − f(x∖S)`` over ``n_sets`` random sets S of n
    places (Pearson's); all channels of a place go together. The score is the mean over
    ``n_sizes`` sizes n, from 1 to 80 % of the places, each about as many times the last; the
    curve shows them one by one. If neither number varies, the correlation counts as 1, if only one
    does, as 0.

    Unit: none. R counts as contributions, in any unit. Every sample of a batch gets the same sets.
    Cost: 1 R + n_sizes × n_sets F. Source: Ancona et al. 2018, sec. 4.

    Quantus takes no random sets: it removes pixels in the map's own order and correlates over the
    pictures.
    """

    title: ClassVar[str] = "Sensitivity-n"
    card: ClassVar[MetricCard] = MetricCard(
        question="Does the relevance of many pixels go with what their removal costs?",
        better="higher",
        range="−1 to 1",
        cost="1 R + n_sizes × n_sets F",
        drawbacks="scattered holes are unlike any picture that the model has seen; for large sets "
        "all maps look alike; few sets make the correlation noisy",
    )
    n_sizes: int = param(4, "sizes of sets", low=1, high=100, slider=(1, 12))
    n_sets: int = param(64, "sets of each size", low=2, high=10_000, slider=(16, 256))
    seed: int = param(0, "seed of the sets", low=0, high=2**31, slider=(0, 20))

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        relevance = places(subject.attribution)
        count = relevance.shape[1]
        sizes = self._sizes(count)
        found: list[Tensor] = []
        for number, size in enumerate(sizes, 1):
            first = (number - 1) * self.n_sets
            found.append(self._correlation(subject, relevance, first, size))
            yield Measured(
                values=torch.stack(found).mean(0),
                passes=number * self.n_sets,
                curve=torch.stack(found, 1),
                shares=torch.tensor(sizes[:number], dtype=torch.float64) / count,
                done=number,
                of=len(sizes),
            )

    def _sizes(self, count: int) -> list[int]:
        last = math.log(max(1.0, _MOST * count))
        steps = torch.linspace(0, last, self.n_sizes, dtype=torch.float64)
        return sorted({round(size) for size in steps.exp().tolist()})

    def _correlation(self, subject: Subject, relevance: Tensor, first: int, size: int) -> Tensor:
        """That for sets of one size; their numbers, from ``first`` on, decide what is in them."""
        x, fill = subject.x, filled(type(self).__name__, self.fill, subject.x)
        sums, falls = [], []
        for some in torch.arange(first, first + self.n_sets).split(max(1, _ROWS // len(x))):
            draw = noise(some, relevance[:1], self.seed, torch.rand)
            chosen = draw.argsort(1).argsort(1) < size
            sums.append(chosen.double() @ relevance.T)
            channels = (1,) if x.ndim > 2 else ()
            mask = chosen.reshape(len(some), 1, *channels, *_sides(x))
            falls.append(_falls(subject, torch.where(mask, fill, x)))
        return correlation(torch.cat(sums).T, torch.cat(falls).T)


def _sides(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[min(2, x.ndim - 1) :])


def _falls(subject: Subject, pictures: Tensor) -> Tensor:
    """How far the score falls from x to each picture (copies, N, ...): (copies, N).

    A picture that is the same has no fall, not even a rounding error.
    """
    samples = len(subject.x)
    sample = torch.arange(samples).repeat(len(pictures))
    scores = subject.scores(pictures.flatten(0, 1), sample).reshape(len(pictures), samples)
    changed = (pictures != subject.x).flatten(2).any(2)
    return torch.where(changed, subject.score - scores, 0.0)
