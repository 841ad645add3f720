"""The model doctor: what would make an explanation wrong or undefined, and what to do about it.

Every method call refuses what is wrong, one thing at a time (``checks``). The doctor looks at
everything at once, before any attribution is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.composites import assign
from nni_widgets.engine.methods.base import (
    AnyMethod,
    FunctionMethod,
    Method,
    as_method,
    input_gradient,
    logits_of,
)
from nni_widgets.engine.methods.guided import GuidedBackprop
from nni_widgets.engine.methods.lrp import LRP
from nni_widgets.engine.methods.smooth import SmoothGrad
from nni_widgets.engine.operations import family, operand_bias
from nni_widgets.engine.rules import ZBox
from nni_widgets.engine.tape import Tape, record
from nni_widgets.errors import UnsupportedOperation


@dataclass(frozen=True)
class Finding:
    """One thing that was found: an ``error`` stops the method, a ``warning`` bends its meaning."""

    severity: Literal["error", "warning", "note"]
    text: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"


@dataclass(frozen=True)
class Report:
    """The findings, most severe first; ``healthy`` if nothing stops the method."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether the method can be used."""
        return all(finding.severity != "error" for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "nothing to say: the model suits the method"

    __repr__ = __str__


def diagnose(model: nn.Module, x: Tensor, method: AnyMethod | None = None) -> Report:
    """Examine a model and an input for a method (default: LRP).

    What is wrong with the model or the input is not raised but in the report, with what to do.
    Cost: that of one explanation, without repetitions for SmoothGrad, and one forward pass.
    """
    method = LRP() if method is None else as_method(method)
    who = type(method).__name__
    while isinstance(method, SmoothGrad):
        method = as_method(method.of)
    try:
        check_model(who, model)
        check_input(who, model, x)
        found = _examine(method, who, model, x)
    except (ValueError, UnsupportedOperation) as error:
        return Report((Finding("error", str(error)),))
    order = ("error", "warning", "note")
    return Report(tuple(sorted(found, key=lambda finding: order.index(finding.severity))))


def _examine(method: Method, who: str, model: nn.Module, x: Tensor) -> list[Finding]:
    if isinstance(method, LRP):
        method(model, x)
        return _for_lrp(method, canonical(record(model, x, who)))
    if isinstance(method, GuidedBackprop):
        return _for_guided(record(model, x, who))
    if isinstance(method, FunctionMethod):
        logits_of(method.name, model, x)
    else:
        input_gradient(who, model, x, None)
    return []


def _for_guided(tape: Tape) -> list[Finding]:
    if any(family(op) == "activation" for op in tape.ops):
        return []
    text = "GuidedBackprop: the model has no activation, so it equals the plain gradient."
    return [Finding("warning", text)]


def _for_lrp(method: LRP, tape: Tape) -> list[Finding]:
    rules = assign(method.rules, tape)  # type: ignore[arg-type]
    found = []
    for op in tape.ops:
        rule = rules[op.label]
        if isinstance(rule, ZBox) and not _inside(rule, op.values[0]):
            text = f"LRP: pixels at {op.label!r} lie outside the box {rule.low} … {rule.high}. "
            found.append(Finding("warning", text + "Set low and high to the range of the data."))
    biased = [
        op.label for op in tape.ops if family(op) == "affine" and operand_bias(op) is not None
    ]
    if biased:
        text = f"LRP: {len(biased)} layers have a bias, which keeps a share of the relevance: "
        found.append(Finding("note", text + ", ".join(biased) + "."))
    return found


def _inside(rule: ZBox, x: Tensor) -> bool:
    shape = (1, -1, *[1] * (x.ndim - 2))
    low, high = (x.new_tensor(bound).reshape(-1) for bound in (rule.low, rule.high))
    return bool((x >= low.reshape(shape)).all() and (x <= high.reshape(shape)).all())
