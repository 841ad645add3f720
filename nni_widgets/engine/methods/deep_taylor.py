"""Deep Taylor decomposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.composites import Composite, assign
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import AddsUpTo, Method, Result
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.lrp import outside_the_box, relevance
from nni_widgets.engine.operations import family, operand_bias
from nni_widgets.engine.rules import WSquare, ZBox, ZPlus, declared_high, declared_low
from nni_widgets.engine.tape import Op, Tape, record
from nni_widgets.engine.targets import Target
from nni_widgets.params import param


class DeepTaylor(Method):
    """Deep Taylor decomposition: a Taylor expansion of each neuron at a root point of its own.

    ``R_j = Σ_k a_j w_jk⁺ / (Σ_j a_j w_jk⁺) R_k`` inside, where activations are not negative: the
    z⁺-rule. Each rule follows from where the root point may lie. At the pixels: the zᴮ-rule for a
    box ``low … high`` (numbers, or one per channel), the w²-rule for ``input="unbounded"``. Read it
    as: how much of the evidence came from here? For a positive score all relevance is positive,
    and counter-evidence does not show.

    Shape: as x. Unit: logit. Cost: 1 forward and 1 to 3 backward passes. Raises ``ValueError`` if
    low is not below high, :class:`UnsupportedOperation` for an operation without a rule.
    Source: Montavon et al. 2017 (deep Taylor decomposition), sec. 4 (the rules, from root points;
    biases that are not positive) and 5 (several layers).
    """

    title: ClassVar[str] = "Deep Taylor"
    card = Card(
        kind="propagation",
        question="How much of the evidence for this score came from each pixel?",
        cost="1 F + 2 B",
        needs="ReLU-like activations, a positive score, biases that are not positive",
        drawbacks="shows no counter-evidence; relevance is lost where nothing speaks for a unit",
    )
    adds_up_to: ClassVar[AddsUpTo] = "score"
    input: Literal["box", "unbounded"] = param(
        "box", "where a pixel may lie: in a box, or anywhere", choices=("box", "unbounded")
    )
    low: float | Sequence[float] = declared_low()
    high: float | Sequence[float] = declared_high()

    def validate(self) -> None:
        self.composite()

    def composite(self) -> Composite:
        """The rules as a table, as :class:`LRP` takes it."""
        box = ZBox(low=self.low, high=self.high)
        return Composite(table={":first": box if self.input == "box" else WSquare(), "*": ZPlus()})

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        yield relevance(type(self).__name__, self.composite(), model, x, target, layers)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        self(model, x)
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        rules = assign(self.composite(), tape, who)
        return [
            *outside_the_box(who, tape, rules),
            *_positive_biases(who, tape),
            *_negative_inputs(who, [op for op in tape.ops if isinstance(rules[op.label], ZPlus)]),
            *_negative_scores(who, tape),
        ]


def _positive_biases(who: str, tape: Tape) -> list[Finding]:
    labels = []
    for op in tape.ops:
        bias = operand_bias(op) if family(op) == "affine" else None
        if bias is not None and bool((bias > 0).any()):
            labels.append(op.label)
    if not labels:
        return []
    text = (
        f"{who}: biases above 0 in {', '.join(labels)}, so that a unit may be active without any "
        "evidence: what they add is spread over the inputs. Train with biases of at most 0."
    )
    return [Finding("warning", text)]


def _negative_inputs(who: str, inner: list[Op]) -> list[Finding]:
    labels = [op.label for op in inner if bool(op.values[0].min() < 0)]
    if not labels:
        return []
    text = (
        f"{who}: inputs below 0 at {', '.join(labels)}, where the z⁺-rule is derived for inputs "
        "that are not negative. Use ReLU before these layers, or LRP."
    )
    return [Finding("warning", text)]


def _negative_scores(who: str, tape: Tape) -> list[Finding]:
    count = int((tape.logits.amax(1) <= 0).sum())
    if not count:
        return []
    text = (
        f"{who}: the largest logit of {count} samples is not above 0, so that there is no evidence "
        "to decompose. Explain a difference of two classes, or use LRP."
    )
    return [Finding("warning", text)]
