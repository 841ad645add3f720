"""Methods that integrate the gradient along a path from a baseline to the input."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import AddsUpTo, Method, Result, input_gradient, logits_of
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.chunks import in_chunks, rows_at_once
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import param


class IntegratedGradients(Method):
    """Integrated gradients: the gradient averaged on the way from a baseline x′, times the way.

    ``R_i = (x_i − x′_i) ∫₀¹ ∂f/∂x_i (x′ + t (x − x′)) dt``, by Gauss-Legendre quadrature with
    ``n_steps`` nodes. It sums to f(x) − f(x′); the gap is the error of the quadrature.

    Shape: as x, signed. Unit: logit. Raises ``ValueError`` if the baseline does not broadcast to x.
    Cost: n_steps forward and backward passes, 2 forward passes; memory bounded by a chunk.
    Source: Sundararajan et al. 2017, sec. 3, eq. 1; completeness prop. 1.
    """

    title: ClassVar[str] = "Integrated gradients"
    card = Card(
        kind="path",
        question="What does each pixel add on the straight way from a baseline to the picture?",
        cost="n_steps (F + B) + 2 F",
        needs="a differentiable model and a baseline that means 'nothing there'",
        drawbacks="the answer depends on the baseline; pixels equal to it get nothing; noisy",
    )
    adds_up_to: ClassVar[AddsUpTo] = "difference"
    n_steps: int = param(
        32, "number of points on the way", low=1, high=2000, slider=(1, 256), log=True
    )
    baseline: float | Tensor = param(
        0.0, "x′: one value for all pixels, or a tensor like x", slider=(0, 1), array=True
    )

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        start = self._baseline_like(x)
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        reference_score = selection(logits_of(who, model, start))
        nodes, weights = (values.to(x) for values in _quadrature(self.n_steps))
        total, seen = torch.zeros_like(x), x.new_zeros(len(x))
        like_x = (-1, *[1] * (x.ndim - 1))

        def accumulate(rows: Tensor) -> None:
            step, sample = rows // len(x), rows % len(x)
            t = nodes[step].reshape(like_x)
            points = start[sample] + t * (x - start)[sample]
            gradient, _, _ = input_gradient(who, model, points, selection.rows(sample))
            total.index_add_(0, sample, gradient * weights[step].reshape(like_x))
            seen.index_add_(0, sample, weights[step])

        samples = torch.arange(len(x))
        order = (_scattered(self.n_steps)[:, None] * len(x) + samples).flatten()
        first = torch.zeros(1, dtype=torch.long)
        size = rows_at_once(
            model, x, who, lambda: input_gradient(who, model, x[:1], selection.rows(first))
        )
        for done in in_chunks(order, len(x), size, accumulate):
            if bool((seen > 0).all()):
                average = total / seen.reshape(like_x)
                yield Result(
                    (x - start) * average,
                    selection,
                    logits,
                    passes=2 + 2 * done / len(x),
                    reference_score=reference_score,
                    done=done // len(x),
                    of=self.n_steps,
                )

    def _baseline_like(self, x: Tensor) -> Tensor:
        baseline = torch.as_tensor(self.baseline, dtype=x.dtype, device=x.device)
        if not bool(baseline.isfinite().all()):
            given = "NaN or infinite numbers"
            raise invalid(type(self).__name__, "baseline", "finite", given, "Clean it")
        try:
            return baseline.expand_as(x)
        except RuntimeError as error:
            expected = f"a number or a tensor that broadcasts to x, {tuple(x.shape)}"
            given = f"shape {tuple(baseline.shape)}"
            raise invalid(type(self).__name__, "baseline", expected, given, "Reshape it") from error


@functools.lru_cache(maxsize=16)
def _quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@functools.lru_cache(maxsize=16)
def _scattered(n: int) -> Tensor:
    """0 … n−1 in an order whose every beginning is spread over the range: good first pictures."""
    return torch.arange(n, dtype=torch.float64).mul((5**0.5 - 1) / 2).frac().argsort()
