"""Methods that read the gradient on the straight way from a baseline to the input."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
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
from nni_widgets.engine.methods.chunks import in_chunks, rows_at_once, totals
from nni_widgets.engine.targets import Selection, Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import param


class IntegratedGradients(Method):
    """Integrated gradients: the gradient averaged on the way from a baseline x′, times the way.

    ``R_i = (x_i − x′_i) ∫₀¹ ∂f/∂x_i (x′ + t (x − x′)) dt``, by Gauss-Legendre quadrature with
    ``n_steps`` nodes; the mean over the B pictures of the baseline, where it has several. It sums
    to f(x) − f(x′); the gap is the error of the quadrature.

    Shape: as x, signed. Unit: logit. Raises ``ValueError`` if the baseline does not broadcast to x.
    Cost: B n_steps forward and backward passes, 1 + B forward passes; memory bounded by a chunk.
    Source: Sundararajan et al. 2017, sec. 3, eq. 1; completeness prop. 1. Several baselines:
    Erion et al. 2021 (expected gradients), here with all nodes for each instead of one at random.
    """

    title: ClassVar[str] = "Integrated gradients"
    card = Card(
        kind="path",
        question="What does each pixel add on the straight way from a baseline to the picture?",
        cost="n_steps (F + B) + 2 F; times the number of baselines",
        needs="a differentiable model and a baseline that means 'nothing there'",
        drawbacks="the answer depends on the baseline; pixels equal to it get nothing; noisy",
    )
    adds_up_to: ClassVar[AddsUpTo] = "difference"
    n_steps: int = param(
        32, "number of points on the way", low=1, high=2000, slider=(1, 256), log=True
    )
    baseline: AnyBaseline = param(
        Constant(), "x′: a number, a picture, or how to make one", options=lambda: BASELINES
    )

    def validate(self) -> None:
        object.__setattr__(self, "baseline", as_baseline(type(self).__name__, self.baseline))

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        starts = self._starts(x)
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        reference_score = scores_of(who, model, starts, selection).mean(0)
        nodes = _quadrature(self.n_steps)
        for values, done in integrate(who, model, x, starts, selection, nodes):
            yield Result(
                values,
                selection,
                logits,
                passes=1 + len(starts) + 2 * done / len(x),
                reference_score=reference_score,
                done=done // (len(starts) * len(x)),
                of=self.n_steps,
            )

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        found, who = super().examine(model, x), type(self).__name__
        if bool((self._starts(x) == x).all()):
            text = f"{who}: the baseline is the picture itself, so every pixel gets 0."
            found.append(Finding("warning", text))
        return found

    def _starts(self, x: Tensor) -> Tensor:
        who = type(self).__name__
        return as_baseline(who, self.baseline)(x, who)

    def _baseline_like(self, x: Tensor) -> Tensor:
        """The one picture x′ of each sample, for who looks at a single way; refuses several."""
        starts = self._starts(x)
        if len(starts) > 1:
            expected = "one picture for each sample, to look at the way from it"
            given, action = f"{len(starts)} pictures", "Choose one of them"
            raise invalid(type(self).__name__, "baseline", expected, given, action)
        return starts[0]


def integrate(
    who: str,
    model: nn.Module,
    x: Tensor,
    starts: Tensor,
    selection: Selection,
    quadrature: tuple[Tensor, Tensor],
) -> Iterator[tuple[Tensor, int]]:
    """The mean gradient on the ways from ``starts`` to x, times the way, better and better.

    ``starts`` is ``(B, N, ...)``; the mean over the B is what is asked for. ``quadrature`` has the
    nodes and weights of the mean over t from 0 to 1. Yields the attribution and the number of
    gradients so far. Cost: a forward and a backward pass for each start, sample and node.
    """
    start = starts.flatten(0, 1)
    way = x.expand_as(starts).flatten(0, 1) - start
    total = totals(start)
    nodes, weights = quadrature[0].to(x), quadrature[1].to(total)
    seen = total.new_zeros(len(start))
    like_x = (-1, *[1] * (x.ndim - 1))

    def accumulate(rows: Tensor) -> None:
        step, line = rows // len(start), (rows % len(start)).to(x.device)
        points = start[line] + nodes[step].reshape(like_x) * way[line]
        gradient, _, _ = input_gradient(who, model, points, selection.rows(line % len(x)))
        total.index_add_(0, line, gradient * weights[step].reshape(like_x))
        seen.index_add_(0, line, weights[step])

    lines = torch.arange(len(start))
    order = (_scattered(len(nodes))[:, None] * len(start) + lines).flatten()
    first = torch.zeros(1, dtype=torch.long)
    size = rows_at_once(
        model, x, who, lambda: input_gradient(who, model, x[:1], selection.rows(first))
    )
    for done in in_chunks(order, len(start), size, accumulate):
        if bool((seen > 0).all()):
            values = (way * (total / seen.reshape(like_x))).reshape(starts.shape).mean(0)
            yield values.to(x.dtype), done


@functools.lru_cache(maxsize=16)
def _quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@functools.lru_cache(maxsize=16)
def _scattered(n: int) -> Tensor:
    """0 … n−1 in an order whose every beginning is spread over the range: good first pictures."""
    return torch.arange(n, dtype=torch.float64).mul((5**0.5 - 1) / 2).frac().argsort()
