"""Rules for steps without weights: activations, sums, moves, products and ReLUs."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from nni_widgets.engine.operations import derivative
from nni_widgets.engine.rules.base import Rule, Share
from nni_widgets.engine.rules.sharing import NEGLIGIBLE, divide, proportional
from nni_widgets.engine.rules.weighted import Zero
from nni_widgets.engine.tape import Op
from nni_widgets.errors import UnsupportedOperation
from nni_widgets.params import param

_ELEMENTWISE = {"mul", "div", "true_divide", "truediv"}

PRODUCTS = {*_ELEMENTWISE, "matmul", "mm", "bmm", "einsum"}
"""The operations that may multiply two signals."""


class Pass(Rule):
    """Hand the relevance on unchanged: for activations, which act on each number alone.

    Raises :class:`UnsupportedOperation` where input and output differ in shape.
    Source: Bach et al. 2015, sec. 2.3.
    """

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        if [value.shape for value in op.values] != [relevance.shape]:
            raise UnsupportedOperation(
                f"LRP: Pass must be the rule of a step that keeps its input's shape; got {op.kind} "
                f"(in {op.label!r}). Name another rule for it in the composite."
            )
        return Share((relevance,))


class Proportional(Zero):
    """Sums, averages and scalings: to each input in proportion to what it contributed.

    What a constant contributed (the shift of a batch-norm without a layer before it) is lost.
    """

    loss: ClassVar[str] = "bias"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return proportional(op, relevance, NEGLIGIBLE)


class OneToOne(Rule):
    """Shifts and scalings by constants: each number is made of one number, which gets everything.

    What a shift adds gets nothing, and black pixels stay as relevant below a scaling as above it.
    """

    loss: ClassVar[str] = "scaled by 0"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        (value,) = op.values
        factor = op.again(torch.ones_like(value)) - op.again(torch.zeros_like(value))
        return Share(op.vjp(divide(relevance, factor)))


class SignalTakesAll(Rule):
    """A product of two signals: one operand gets all of the relevance, its gate gets none.

    For ``x * gate`` (squeeze-excite, LSTM): ``R_x = R``, summed where x was broadcast; for
    ``attention @ value``: in proportion to the contributions, the other operand taken as constant.
    To be named in a table, as in ``{"block.mul": SignalTakesAll(), "*": Epsilon()}``; what leads
    to the gate alone then needs no rule. Raises :class:`UnsupportedOperation` at other operations.

    Unit: that of the logit. Cost: nothing, or one backward pass of a matrix product.
    Source: Arras et al. 2017 (recurrent networks, sentiment analysis), multiplicative connections;
    for attention, whose weights count as constants, Ali et al. 2022 (XAI for transformers).
    """

    loss: ClassVar[str] = "product of 0"
    signal: Literal["first", "second"] = param(
        "first", "the operand that gets the relevance", choices=("first", "second")
    )

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        if len(op.values) != 2 or op.kind not in PRODUCTS:
            raise UnsupportedOperation(
                "LRP: SignalTakesAll must be the rule of a product of two different signals; got "
                f"{op.kind} (in {op.label!r}). Name another rule for it in the composite."
            )
        taker = self._place()
        value = op.values[taker]
        if op.kind in _ELEMENTWISE:
            given = relevance.sum_to_size(value.shape)
        else:
            given = value * op.vjp(divide(relevance, op.results[0]))[taker]
        nothing = torch.zeros_like(op.values[1 - taker])
        return Share((nothing, given) if taker else (given, nothing))

    def feeds(self, count: int) -> tuple[bool, ...]:
        return tuple(place == self._place() for place in range(count))

    def _place(self) -> int:
        return ("first", "second").index(self.signal)


class NoRelevance(Rule):
    """For what leads to a gate alone: no relevance arrives, none is handed on."""

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return Share(tuple(torch.zeros_like(value) for value in op.values))

    def feeds(self, count: int) -> tuple[bool, ...]:
        return (False,) * count


class Derivative(Rule):
    """Multiply by the operation's derivative: for steps that only move, copy or select values."""

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return Share(derivative(op, relevance))


class GuidedReLU(Rule):
    """Guided backpropagation at a ReLU: only positive signals, only where the unit was on.

    ``1[a > 0] · 1[R > 0] · R``. Source: Springenberg et al. 2015, sec. 3.4.
    """

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return Share(derivative(op, relevance.clamp(min=0)))
