"""Integrated gradients that keep what they met on the way, to be looked at point by point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import Result, input_gradient, logits_of
from nni_widgets.engine.methods.baselines import scores_of
from nni_widgets.engine.methods.chunks import rows_at_once
from nni_widgets.engine.methods.path import IntegratedGradients, _quadrature
from nni_widgets.engine.targets import Selection, Target, resolve


@dataclass(frozen=True, eq=False, kw_only=True)
class PathTrace(Result):
    """An attribution by integrated gradients with the points of its ways; S of them so far.

    ``starts`` ``(B, N, ...)``: the baselines; with several, all that follows is the mean over them.
    ``places`` ``(S,)``: where the points are, from 0 (a baseline) to 1 (the picture);
    ``scores`` ``(S, N)``: f there; ``added`` ``(S, N, ...)``: what each point adds to the
    attribution, so that their sum is ``values``; ``reached`` ``(S,)``: how far a point's part of
    the way goes.
    """

    starts: Tensor
    places: Tensor
    reached: Tensor
    scores: Tensor
    added: Tensor

    @property
    def sums(self) -> Tensor:
        """The running sum ``(S, N)``: what the attribution up to each point sums to."""
        return self.added.flatten(2).sum(2).cumsum(0)

    def up_to(self, point: int) -> Tensor:
        """The attribution as far as this point, shaped like x."""
        return self.added[: point + 1].sum(0)

    def pictures(self, place: float | Tensor, x: Tensor) -> Tensor:
        """The pictures at a place of the ways to x, ``(B, N, ...)``."""
        return self.starts + place * (x - self.starts)


class TracedPath(IntegratedGradients):
    """Integrated gradients from the baseline on, one :class:`PathTrace` after the other.

    ``R_i = Σ_k w_k (x_i − x′_i) ∂f/∂x_i (x′ + t_k (x − x′))``, with the nodes ``t_k`` and weights
    ``w_k`` of Gauss-Legendre; the running sum after node k belongs to ``t = w_1 + … + w_k``, which
    lies between two nodes, and approaches f there less f(x′).

    Shape: as x, signed. Unit: logit. Cost: as integrated gradients; memory: n_steps times x.
    Source: Sundararajan et al. 2017, sec. 3, eq. 1 and sec. 5.
    """

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        starts = self._starts(x)
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        reference_score = scores_of(who, model, starts, selection).mean(0)
        nodes, weights = (values.to(x) for values in _quadrature(self.n_steps))
        added, scores = x.new_zeros(self.n_steps, *x.shape), x.new_zeros(self.n_steps, len(x))
        ways = x - starts
        first = torch.zeros(1, dtype=torch.long)
        size = rows_at_once(
            model, x, who, lambda: input_gradient(who, model, x[:1], selection.rows(first))
        )
        at_once = max(1, size // len(starts) // len(x))
        like_ways = (-1, *[1] * ways.ndim)
        for begin in range(0, self.n_steps, at_once):
            now = slice(begin, min(begin + at_once, self.n_steps))
            points = starts + nodes[now].reshape(like_ways) * ways
            gradient, score = _looked_at(who, model, points, selection)
            added[now] = (weights[now].reshape(like_ways) * ways * gradient).mean(1)
            scores[now] = score.mean(1)
            yield PathTrace(
                values=added[: now.stop].sum(0),
                selection=selection,
                logits=logits,
                passes=1 + len(starts) * (1 + 2 * now.stop),
                reference_score=reference_score,
                done=now.stop,
                of=self.n_steps,
                starts=starts,
                places=nodes[: now.stop],
                reached=weights[: now.stop].cumsum(0),
                scores=scores[: now.stop],
                added=added[: now.stop],
            )


def _looked_at(
    who: str, model: nn.Module, points: Tensor, selection: Selection
) -> tuple[Tensor, Tensor]:
    """The gradient at points ``(S, B, N, ...)``, shaped like them, and the score there."""
    flat = points.flatten(0, 2)
    rows = selection.rows(torch.arange(len(flat)) % points.shape[2])
    gradient, logits, _ = input_gradient(who, model, flat, rows)
    return gradient.reshape(points.shape), rows(logits).reshape(points.shape[:3])


TracedPath.__name__ = IntegratedGradients.__name__  # errors name what the user has written
