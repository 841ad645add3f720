"""The first-order Taylor term between a root point and the input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import AddsUpTo, Method, Result, input_gradient, logits_of
from nni_widgets.engine.methods.baselines import (
    BASELINES,
    AnyBaseline,
    Constant,
    as_baseline,
    scores_of,
)
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.chunks import totals
from nni_widgets.engine.targets import Selection, Target, resolve
from nni_widgets.params import Declared, param

_STATIONS = 32


class Root(NamedTuple):
    """Points to start from, ``(B, N, ...)``; which samples have a root; the passes it took."""

    points: Tensor
    found: Tensor
    passes: int


class NearestRoot(Declared):
    """The first point where the explained score is 0, on the straight way against the gradient.

    From x the way leads down the score where it is positive and up where it is negative; it is
    searched as far as ``reach`` times the distance |f(x)| / ‖∇f(x)‖ at which a linear score is 0,
    first at 32 stations, then by bisection. Where the score keeps its sign, the station with the
    smallest |f| takes the place of the root: f(x̃) is not 0 there, which the sum shows.

    The root of a logit is where the logit is 0. The root of ``Difference(a, b)`` is the boundary
    between two classes: for the nearest decision, explain the difference to the runner-up.

    Cost: 56 forward passes and 1 backward pass in float32. Source: the root on the decision
    boundary Bach et al. 2015, sec. on Taylor-type decomposition; near x Montavon et al. 2017.
    """

    title: ClassVar[str] = "Nearest root"
    reach: float = param(
        4.0,
        "how far to search, in distances to the root of a linear score",
        low=1,
        slider=(1, 32),
        log=True,
    )

    def find(self, who: str, model: nn.Module, x: Tensor, selection: Selection) -> Root:
        """The root of each sample, on the side of x, or what takes its place."""
        gradient, logits, _ = input_gradient(who, model, x, selection)
        score = selection(logits)
        like_x = (-1, *[1] * (x.ndim - 1))
        wide = gradient.to(torch.promote_types(x.dtype, torch.float32))  # squares of halves vanish
        steepness = wide.flatten(1).square().sum(1)
        length = torch.where(steepness > 0, -score / steepness, 0.0)
        way = (length.reshape(like_x) * gradient).to(x.dtype)

        def scores(stations: Tensor) -> Tensor:
            points = x + stations.reshape(-1, len(x), *like_x[1:]) * way
            return scores_of(who, model, points, selection)

        stations = torch.linspace(0, self.reach, _STATIONS + 1).to(x)[:, None].expand(-1, len(x))
        pieces = stations[1:].split(max(1, _STATIONS // len(x)))
        passed = torch.cat([score[None], *map(scores, pieces)])
        before, behind, found = _bracket(stations, passed)
        halvings = _halvings(x)
        for _ in range(halvings):
            middle = (before + behind) / 2
            same_side = scores(middle)[0].sign() * score.sign() > 0
            before, behind = middle.where(same_side, before), behind.where(same_side, middle)
        points = x + before.reshape(like_x) * way
        return Root(points[None], found, passes=2 + _STATIONS + halvings)


AnyRoot = NearestRoot | AnyBaseline


class SimpleTaylor(Method):
    """Simple Taylor decomposition: the first-order term of the score between a root point and x.

    ``R_i = ∂f/∂x_i(x̃) · (x_i − x̃_i)``, to first order f(x) − f(x̃). The root point x̃ should be a
    picture near x without what is explained, f(x̃) = 0. The derivative is the limit from the side
    of x: at the root 0 a network without biases gets gradient × input, as a ReLU has no derivative
    at 0 itself. The mean over several root points, where there are several.

    Shape: as x, signed. Unit: logit. Raises ``ValueError`` if the root does not broadcast to x.
    Cost: 2 forward passes, 1 backward pass for each root point; and those of the search.
    Source: Montavon, Samek, Müller 2018, sec. 4.2; Bach et al. 2015, Taylor-type decomposition.
    """

    title: ClassVar[str] = "Simple Taylor"
    card = Card(
        kind="gradient",
        question="What does each pixel add to the score, to first order, against a root point?",
        cost="2 F + 1 B; with the nearest root 58 F + 2 B",
        needs="a differentiable model and a root point, near x and without what is explained",
        drawbacks="first order only: what is curved between root and picture is missing; "
        "the root on the gradient's way is hardly another picture",
    )
    adds_up_to: ClassVar[AddsUpTo] = "difference"
    root: AnyRoot = param(
        Constant(),
        "x̃: a number, a picture, or how to find one",
        options=lambda: (*BASELINES[:1], NearestRoot, *BASELINES[1:]),
    )

    def validate(self) -> None:
        if not isinstance(self.root, NearestRoot):
            root = as_baseline(type(self).__name__, self.root, "root")
            object.__setattr__(self, "root", root)

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        root = self._root(model, x, selection)
        values, reference_score = totals(x), totals(selection(logits))
        for done, point in enumerate(root.points, 1):
            way = x - point
            near = point + torch.finfo(x.dtype).eps ** 2 * way  # only a root at 0 is left by it
            gradient, there, _ = input_gradient(who, model, near, selection)
            values, reference_score = values + gradient * way, reference_score + selection(there)
            yield Result(
                (values / done).to(x.dtype),
                selection,
                logits,
                passes=1 + root.passes + 2 * done,
                reference_score=(reference_score / done).to(logits.dtype),
                done=done,
                of=len(root.points),
            )

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        found, who = super().examine(model, x), type(self).__name__
        silent = int((self(model, x).flatten(1) == 0).all(1).sum())
        if silent:
            text = (
                f"{who}: for {silent} of {len(x)} samples the gradient is 0 at the root: "
                "every pixel gets 0. Choose a root nearer to the picture, such as NearestRoot()."
            )
            found.append(Finding("warning", text))
        root = self._root(model, x, resolve(None, logits_of(who, model, x), who))
        missed = int((~root.found).sum())
        if missed:
            text = (
                f"{who}: {missed} of {len(x)} samples have no root within reach: the score keeps "
                "its sign, and the point where it is nearest to 0 takes the place of the root. "
                "Raise reach, or explain a Difference, whose root is the boundary of two classes."
            )
            found.append(Finding("warning", text))
        return found

    def _root(self, model: nn.Module, x: Tensor, selection: Selection) -> Root:
        who = type(self).__name__
        if isinstance(self.root, NearestRoot):
            return self.root.find(who, model, x, selection)
        points = as_baseline(who, self.root, "root")(x, who)
        return Root(points, torch.ones(len(x), dtype=torch.bool), passes=0)


def _bracket(stations: Tensor, passed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The stations, ``(N,)``, before and behind the first change of sign, and whether there is one.

    Where there is none, both are the station where the score is nearest to 0.
    """
    changed = passed.sign() * passed[0].sign() <= 0
    found = changed.any(0)
    behind = changed.int().argmax(0).where(found, passed.abs().argmin(0))
    before = (behind - 1).clamp(min=0).where(found, behind)
    near, far = (stations.gather(0, end[None])[0] for end in (before, behind))
    return near, far, found


def _halvings(x: Tensor) -> int:
    """How often an interval can be halved until only rounding is left."""
    return -round(math.log2(torch.finfo(x.dtype).eps))
