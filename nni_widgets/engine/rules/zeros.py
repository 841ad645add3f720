"""Which rules give nothing to what is 0; below them nobody asks for what a ReLU has cut off.

Where no relevance is at outputs that are 0, these rules leave none at inputs that are 0. If all
rules of a walk do, none arrives at the negative numbers that a ReLU has set to 0.
"""

from __future__ import annotations

from nni_widgets.engine.operations import family
from nni_widgets.engine.rules.pooling import ProportionalPool, WinnerTakesAll
from nni_widgets.engine.rules.steps import Derivative, NoRelevance, OneToOne, Pass, Proportional
from nni_widgets.engine.rules.weighted import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from nni_widgets.engine.tape import Op

_KEEPING = {
    *(Epsilon, Zero, Gamma, AlphaBeta, ZPlus),
    *(Proportional, ProportionalPool, WinnerTakesAll, NoRelevance),
}
_KNOWN = {*_KEEPING, ZBox, WSquare, Flat, Pass, Derivative, OneToOne}
_ZERO_AT_ZERO = {
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish"),
    *("hardswish", "tanh", "softsign", "tanhshrink", "softshrink", "hardshrink"),
}


def is_known(rule: object) -> bool:
    """Whether it is one of the rules here, which do not read what a ReLU has cut off."""
    return type(rule) in _KNOWN


def keeps_zeros(rule: object, op: Op) -> bool:
    """Whether it gives nothing to what is 0, if nothing is where the operation made 0."""
    kind = type(rule)
    if kind is Pass:
        return op.kind in _ZERO_AT_ZERO
    if kind in _KEEPING and len(op.outputs) == 1:
        return True
    return (kind is Derivative or len(op.outputs) > 1) and family(op) == "move"
