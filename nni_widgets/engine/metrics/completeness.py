"""Does an attribution sum to what it says it should?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject
from nni_widgets.params import param


class Completeness(Metric):
    """Completeness, or conservation: how much of what should be explained is missing.

    ``|ΣR − e| / |e|``, where e is what the method says its attribution adds up to: f(x), or
    f(x) − f(x′) at its own baseline. 0: nothing is missing or too much (also if e and ΣR are both
    0); infinite if only e is 0. A method that claims no sum is not measured: NaN, shown as a dash.
    With ``to="score"`` every method is measured against f(x), whether it claims that or not.

    Unit: a share. Lower is better. Quantus compares the two for equality as floats, True or False,
    and takes f(x) − f(0) for every method.
    Cost: 1 R, no pass.
    Source: Bach et al. 2015, eq. 1 (the sum is f(x)); Sundararajan, Taly, Yan 2017, section on
    completeness (the difference).
    """

    title: ClassVar[str] = "Completeness gap"
    card = MetricCard(
        question="Does the attribution sum to what it says it should?",
        better="lower",
        range="0 and more",
        cost="1 R",
        drawbacks="the sum says nothing about places; a method that claims no sum is not measured",
    )
    to: Literal["claim", "score"] = param(
        "claim", "what the sum is compared with", choices=("claim", "score")
    )

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        expected = self._expected(subject)
        gap = (subject.attribution.flatten(1).sum(1) - expected).abs()
        yield Measured(torch.where(gap == 0, 0.0, gap / expected.abs()), passes=0)

    def _expected(self, subject: Subject) -> Tensor:
        claim, reference = subject.method.adds_up_to, subject.result.reference_score
        if self.to == "score" or claim == "score":
            return subject.score
        if claim == "difference" and reference is not None:
            return subject.score - reference.double()
        return torch.full_like(subject.score, torch.nan)
