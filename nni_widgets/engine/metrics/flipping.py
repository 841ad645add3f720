"""Measures that take away, or put in, what an explanation calls relevant: does the score follow?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nni_widgets.engine.methods.baselines import Blur, Constant
from nni_widgets.engine.methods.chunks import rows_without_graph
from nni_widgets.engine.methods.fills import FILLS, Fill, as_fill, filled
from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject, places
from nni_widgets.errors import invalid
from nni_widgets.params import param


class Flipping(Metric):
    """Base of the measures that change a picture patch by patch, the most relevant patches first.

    A subclass says with which pictures the change begins and ends. The curve is what the model
    says after each step, over the share of the patches that are changed; the score is its area.
    """

    patch: int = param(4, "side of a patch, in pixels", low=1, slider=(1, 14))
    n_steps: int = param(0, "how many steps; 0: one for every patch", low=0, slider=(0, 100))
    fill: Fill = param(Constant(), "what stands in for a removed patch", options=lambda: FILLS)
    of: Literal["logit", "probability"] = param(
        "logit", "what the curve shows of the target", choices=("logit", "probability")
    )

    def validate(self) -> None:
        object.__setattr__(self, "fill", as_fill(type(self).__name__, self.fill))

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures before the first step and after the last."""
        raise NotImplementedError

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        x = subject.x
        patches = Patches(type(self).__name__, x, self.patch)
        start, end = self._ends(x)
        counts = self._counts(patches.count).to(x.device)
        curve = torch.full((len(x), len(counts)), math.nan, dtype=torch.float64, device=x.device)
        shares = counts.double() / patches.count
        size = rows_without_graph(subject.who, subject.model, x)
        rows = torch.arange(curve.numel(), device=x.device)
        done = 0
        for order in self._orders(subject, patches, counts, start, end):
            rank = patches.ranks(order)
            known = int((counts <= order.shape[1]).sum()) * len(x)
            for row in rows[done:known].split(size):
                step, sample = row // len(x), row % len(x)
                changed = patches.mask(rank[sample] < counts[step, None])
                pictures = torch.where(changed, end[sample], start[sample])
                softmax = self.of == "probability"
                curve[sample, step] = subject.scores(pictures, sample, softmax)
                done += len(row)
                area = torch.trapezoid(curve, shares, dim=1)
                yield Measured(area, len(counts), curve.clone(), shares, done, len(rows))

    def _orders(
        self, subject: Subject, patches: Patches, counts: Tensor, start: Tensor, end: Tensor
    ) -> Iterator[Tensor]:
        """The patches in the order of their change (N, k); more and more of them."""
        yield patches.sums(places(subject.attribution)).argsort(dim=1, descending=True, stable=True)

    def _counts(self, patches: int) -> Tensor:
        """How many patches are changed after each step, from none to all."""
        steps = min(self.n_steps or patches, patches)
        return (torch.arange(steps + 1) * patches + steps // 2) // steps


class Selectivity(Flipping):
    """Selectivity, or pixel flipping: how fast the score falls as relevant patches are removed.

    ``∫ f(x with the share s of its patches removed) ds``, the most relevant patches first, by the
    trapezoidal rule over s from 0 to 1. The relevance of a patch is the sum over its pixels. The
    faster the score falls, the smaller the area: lower is better. Patches of equal relevance go in
    the order of reading. With ``again`` the picture that is left is explained anew after each step.
    The AOPC of Samek et al. is f(x) less a mean of the same curve.

    Unit: that of the score (``of="logit"``), or a probability. Compare methods on the same pictures
    only: a larger f(x) is a larger area. Quantus' PixelFlipping removes single pixels and starts
    its curve after the first removal; its area is over steps, not shares.
    Raises ``ValueError`` for a patch larger than the picture; with ``again``, for an attribution.
    Cost: 1 R + 1 F per step; with ``again`` 1 R per step too.
    Source: Bach et al. 2015, section on pixel flipping; Samek et al. 2017 (patches); Montavon,
    Samek, Müller 2018, sec. 7.2 (``again``).
    """

    title: ClassVar[str] = "Selectivity"
    card = MetricCard(
        question="How fast does the score fall when what is called relevant is removed?",
        better="lower",
        range="that of the score",
        cost="1 R + 1 F per step",
        drawbacks="pictures with holes are unlike any that the model has seen; the ranking of "
        "methods depends on fill and patch; only the order of the patches counts",
    )
    again: bool = param(False, "explain what is left after each step, and choose the next patches")

    @property
    def asks_again(self) -> bool:  # type: ignore[override]
        """Whether it explains what is left after a step."""
        return self.again

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, filled(type(self).__name__, self.fill, x)

    def _orders(
        self, subject: Subject, patches: Patches, counts: Tensor, start: Tensor, end: Tensor
    ) -> Iterator[Tensor]:
        if not self.again:
            yield from super()._orders(subject, patches, counts, start, end)
            return
        every = torch.arange(len(start), device=start.device)
        order = every.new_empty(len(every), 0)
        values = subject.attribution
        for before, after in pairwise(counts.tolist()):
            if before:
                changed = patches.mask(patches.ranks(order) < before)
                values = subject.attributions(torch.where(changed, end, start), every)
            left = patches.sums(places(values)).scatter(1, order, -math.inf)
            following = left.argsort(dim=1, descending=True, stable=True)[:, : after - before]
            order = torch.cat([order, following], dim=1)
            yield order


class Deletion(Flipping):
    """Deletion: the target's probability while its relevant pixels are deleted.

    ``∫ p(x with the share s of its pixels set to fill) ds``, the most relevant pixels first, by the
    trapezoidal rule over s from 0 to 1: lower is better. It is `Selectivity` of the probability,
    with single pixels, some at a time.

    Unit: a probability. Raises ``ValueError`` for a patch larger than the picture.
    Cost: 1 R + 1 F per step.
    Source: Petsiuk, Das, Saenko 2018, section on causal metrics.
    """

    title: ClassVar[str] = "Deletion"
    card = MetricCard(
        question="How fast does the probability fall when the relevant pixels are deleted?",
        better="lower",
        range="0 to 1",
        cost="1 R + 1 F per step",
        drawbacks="scattered pixels deleted act like noise made to fool the model, so that noisy "
        "maps can win; the ranking depends on fill",
    )
    patch: int = param(1, "side of a patch, in pixels", low=1, slider=(1, 14))
    n_steps: int = param(28, "how many steps; 0: one for every patch", low=0, slider=(0, 100))
    of: Literal["logit", "probability"] = param(
        "probability", "what the curve shows of the target", choices=("logit", "probability")
    )

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, filled(type(self).__name__, self.fill, x)


class Insertion(Flipping):
    """Insertion: the target's probability while its relevant pixels are put into a blurred picture.

    ``∫ p(blurred x with the share s of the pixels of x) ds``, the most relevant pixels first, by
    the trapezoidal rule over s from 0 to 1: higher is better.

    Unit: a probability. Raises ``ValueError`` for a patch larger than the picture, and for features
    (N, F), which have no neighbours to be blurred with, unless another ``fill`` is chosen.
    Cost: 1 R + 1 F per step.
    Source: Petsiuk, Das, Saenko 2018, section on causal metrics.
    """

    title: ClassVar[str] = "Insertion"
    card = MetricCard(
        question="How fast does the probability rise when the relevant pixels are put in?",
        better="higher",
        range="0 to 1",
        cost="1 R + 1 F per step",
        drawbacks="a blurred picture may already be enough for the model; the ranking depends on "
        "the blur; only the order of the pixels counts",
    )
    patch: int = param(1, "side of a patch, in pixels", low=1, slider=(1, 14))
    n_steps: int = param(28, "how many steps; 0: one for every patch", low=0, slider=(0, 100))
    fill: Fill = param(Blur(), "what the pixels are put into", options=lambda: FILLS)
    of: Literal["logit", "probability"] = param(
        "probability", "what the curve shows of the target", choices=("logit", "probability")
    )

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return filled(type(self).__name__, self.fill, x), x


class Patches:
    """The patches that tile pictures like x, in the order of reading; the last are cut off.

    Numbers per patch are (N, K). The channels of a place belong to one patch.
    """

    def __init__(self, who: str, x: Tensor, patch: int) -> None:
        self._channels = (1,) if x.ndim > 2 else ()
        self.sides = tuple(x.shape[1 + len(self._channels) :])
        if patch > min(self.sides):
            expected = f"at most {min(self.sides)}, the picture's side"
            raise invalid(who, "patch", expected, repr(patch), "Choose a smaller one")
        self._shape = tuple(-(-side // patch) for side in self.sides)
        of_place = torch.zeros((), dtype=torch.long)
        for side, along in zip(self.sides, self._shape, strict=True):
            of_place = of_place[..., None] * along + torch.arange(side) // patch
        self._of_place = of_place.flatten().to(x.device)

    @property
    def count(self) -> int:
        """How many there are, K."""
        return math.prod(self._shape)

    def sums(self, values: Tensor) -> Tensor:
        """The sum over each patch of the numbers per place (N, places): (N, K)."""
        return values.new_zeros(len(values), self.count).index_add(1, self._of_place, values)

    def mask(self, chosen: Tensor) -> Tensor:
        """What the chosen patches (N, K) cover: booleans that broadcast over the pictures."""
        return chosen[:, self._of_place].reshape(len(chosen), *self._channels, *self.sides)

    def ranks(self, order: Tensor) -> Tensor:
        """The place of each patch in the order (N, k), from 0: (N, K); K if it is not in it."""
        rank = order.new_full((len(order), self.count), self.count)
        place = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return rank.scatter(1, order, place)
