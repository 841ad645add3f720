"""How few places an explanation rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject, places


class Sparseness(Metric):
    """Sparseness: the Gini index of the strengths of the places.

    ``G = 1 − 2 Σ_k (v_k / Σ v) · (d − k + 1/2) / d``, v the d absolute values in rising order,
    k = 1 … d, the channels of a place summed before. 0: all places are equally strong (also where
    all are zero); 1 − 1/d: one place has everything.

    Higher is called better, as a short explanation is easier to read; it is no sign that it is
    true. Unit: none, and the scale of the attribution does not matter. Quantus adds 1e-7 to every
    value first, so that there a small attribution seems less sparse.
    Cost: 1 R, no pass.
    Source: Chalasani et al. 2020, section on the Gini index; Hurley, Rickard 2009.
    """

    title: ClassVar[str] = "Sparseness"
    card = MetricCard(
        question="Does the explanation rest on few places?",
        better="higher",
        range="0 to 1",
        cost="1 R",
        drawbacks="asks nothing of the model: a single wrong pixel is as sparse as can be",
    )

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        yield Measured(gini(places(subject.attribution).abs()), passes=0)


def gini(strengths: Tensor) -> Tensor:
    """The Gini index of each row of numbers that are not negative, (N, d): (N,)."""
    rising, count = strengths.sort(1).values, strengths.shape[1]
    place = torch.arange(1, count + 1, dtype=rising.dtype, device=rising.device)
    total = rising.sum(1)
    below = (rising * (count - place + 0.5)).sum(1) / (total * count)
    return torch.where(total > 0, 1 - 2 * below, 0.0)
