"""Methods that change what a backward pass does at the ReLUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import Method, Result
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.operations import family
from nni_widgets.engine.propagation import Ledger, propagate
from nni_widgets.engine.rules import Derivative, GuidedReLU, Rule
from nni_widgets.engine.tape import record
from nni_widgets.engine.targets import Target, resolve


class GuidedBackprop(Method):
    """Guided backpropagation: the gradient, with negative signals stopped at every ReLU.

    ``R ← 1[a > 0] · 1[R > 0] · R`` at each activation, functional and reused ones too. Sharp
    pictures of what excites the units on the way; nearly the same for every class, so look twice.

    Shape: as x, signed. Unit: logit per unit of a pixel, roughly. Cost: 1 forward, 1 backward pass.
    Source: Springenberg et al. 2015, sec. 3.4; Adebayo et al. 2018 for the warning.
    """

    title: ClassVar[str] = "Guided backprop"
    card = Card(
        kind="backward rule",
        question="Which fine structure excites the units that lead to this class?",
        cost="1 F + 1 B",
        needs="ReLU-like activations",
        drawbacks="nearly the same picture for every class, and for random weights; "
        "does not add up to anything",
    )

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        selection = resolve(target, tape.logits, who)
        rules: dict[str, Rule] = {
            op.label: GuidedReLU() if family(op) == "activation" else Derivative()
            for op in tape.ops
        }
        logits, start = tape.logits, selection.gradient(tape.logits)
        ledger = Ledger(start) if layers else None
        values = propagate(tape, start, rules, ledger)
        yield Result(
            values, selection, logits, passes=2, layers=tuple(ledger.layers) if ledger else ()
        )

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        if any(family(op) == "activation" for op in record(model, x, type(self).__name__).ops):
            return []
        text = "GuidedBackprop: the model has no activation, so it equals the plain gradient."
        return [Finding("warning", text)]
