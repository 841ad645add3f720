"""Which rules give nothing to what is 0: below them nobody asks for what a ReLU has cut off.

Where no relevance is at outputs that are 0, these rules leave none at inputs that are 0. As long as
all rules of a walk do so, none arrives at the negative numbers that a ReLU has set to 0.
"""

from __future__ import annotations

from nni_widgets.engine.operations import Family
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
    """Whether it is one of the rules here: no other is known not to look at negative numbers."""
    return type(rule) in _KNOWN


def keeps_zeros(rule: object, kind: str, of: Family, outputs: int) -> bool:
    """Whether it gives nothing to what is 0, if nothing is where an operation made 0.

    The operation is told by its kind, its family, and how many tensors it makes.
    """
    if type(rule) is Pass:
        return kind in _ZERO_AT_ZERO
    if type(rule) is Derivative or outputs > 1:
        return of == "move"
    return type(rule) in _KEEPING
