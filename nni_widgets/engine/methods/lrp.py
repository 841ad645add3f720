"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from torch import Tensor, nn

from nni_widgets.engine.boxes import in_units
from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.composites import (
    PRESETS,
    EpsilonGammaBox,
    Preset,
    as_composite,
    assign,
    assign_lean,
)
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import AddsUpTo, Method, Result
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.operations import family, operand_bias
from nni_widgets.engine.propagation import Ledger, propagate
from nni_widgets.engine.rules import Rule, ZBox
from nni_widgets.engine.tape import Tape, record
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.engine.through import Through, checked_through, propagate_through
from nni_widgets.params import param


class LRP(Method):
    """Layer-wise relevance propagation: hand the score down, layer by layer, to the pixels.

    ``R_j = Σ_k (share of j in k) R_k``: each layer shares what it got, as ``rules`` tells it: a
    composite, one rule for all layers, or a table ``{where: rule}``. What a rule conserves, the
    pixels get; what biases and stabilisers swallow is reported per layer. ``through`` lets only
    one channel of one layer hand its relevance on: what this feature contributed, and where.

    Shape: as x, signed. Unit: logit. Cost: 1 forward and 1 to 3 backward passes, by rule.
    Raises :class:`UnsupportedOperation` for an operation without a rule (softmax, gates),
    ``ValueError`` for a layer or channel that the model does not have.
    Source: Bach et al. 2015; Montavon et al. 2019 (LRP overview); for ``through`` Achtibat et al.
    2023 (concept relevance propagation), sec. Methods.
    """

    title: ClassVar[str] = "LRP"
    card = Card(
        kind="propagation",
        question="What does each pixel, and each neuron on the way, contribute to the score?",
        cost="1 F + 1 to 3 B, by rule",
        needs="a rule for every operation (all but softmax and gates have one)",
        drawbacks="the rules must be chosen; biases and stabilisers keep a share",
    )
    adds_up_to: ClassVar[AddsUpTo] = "score"
    rules: Preset | Rule | Mapping[str, Rule] = param(
        EpsilonGammaBox(), "a composite: which rule for which layer", options=lambda: PRESETS
    )
    through: Through | None = param(None, "(layer, channel) that all relevance must pass through")

    def validate(self) -> None:
        object.__setattr__(self, "rules", as_composite(self.rules))
        object.__setattr__(self, "through", checked_through("LRP", self.through))

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        rules = as_composite(self.rules)
        yield relevance(type(self).__name__, rules, model, x, target, layers, self.through)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        self(model, x)
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        found = outside_the_box(who, tape, assign(as_composite(self.rules), tape))
        biased = [
            op.label for op in tape.ops if family(op) == "affine" and operand_bias(op) is not None
        ]
        if biased:
            text = f"LRP: {len(biased)} layers have a bias, which keeps a share of the relevance: "
            found.append(Finding("note", text + ", ".join(biased) + "."))
        return found


def relevance(
    who: str,
    composite: Preset,
    model: nn.Module,
    x: Tensor,
    target: Target,
    layers: bool,
    through: Through | None = None,
) -> Result:
    """The relevance of the pixels by a composite. Cost: 1 forward, 1 to 3 backward passes."""
    tape = canonical(record(model, x, who, lean=True))
    rules = in_units(tape, assign_lean(composite, tape, who))
    selection = resolve(target, tape.logits, who)
    logits = tape.logits
    start = logits * selection.gradient(logits)
    if through is not None:
        values, told = propagate_through(tape, start, rules, through, who)
        return Result(values, selection, logits, passes=2, layers=told if layers else ())
    ledger = Ledger(start) if layers else None
    values = propagate(tape, start, rules, ledger)
    return Result(
        values, selection, logits, passes=2, layers=tuple(ledger.layers) if ledger else ()
    )


def outside_the_box(who: str, tape: Tape, rules: Mapping[str, Rule]) -> list[Finding]:
    """A warning for each layer whose inputs are not in the box that its rule was given."""
    found, there = [], in_units(tape, rules)
    for op in tape.ops:
        rule, box = rules[op.label], there[op.label]
        if isinstance(rule, ZBox) and isinstance(box, ZBox) and not box.holds(op.values[0]):
            text = f"{who}: pixels at {op.label!r} lie outside the box {rule.low} … {rule.high}. "
            found.append(Finding("warning", text + "Set low and high to the range of the data."))
    return found
