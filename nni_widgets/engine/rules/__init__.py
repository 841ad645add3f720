"""Propagation rules: how one operation hands the relevance at its output down to its inputs.

A rule is a value, called as ``rule(op, relevance)``, and returns a :class:`Share`.
"""

from nni_widgets.engine.rules.base import (
    Rule,
    Share,
    declared_epsilon,
    declared_gamma,
    declared_high,
    declared_low,
)
from nni_widgets.engine.rules.pooling import ProportionalPool, WinnerTakesAll
from nni_widgets.engine.rules.steps import (
    PRODUCTS,
    Derivative,
    GuidedReLU,
    NoRelevance,
    OneToOne,
    Pass,
    Proportional,
    SignalTakesAll,
)
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
from nni_widgets.engine.rules.zeros import is_known, keeps_zeros

__all__ = [
    "PRODUCTS",
    "AlphaBeta",
    "Derivative",
    "Epsilon",
    "Flat",
    "Gamma",
    "GuidedReLU",
    "NoRelevance",
    "OneToOne",
    "Pass",
    "Proportional",
    "ProportionalPool",
    "Rule",
    "Share",
    "SignalTakesAll",
    "WSquare",
    "WinnerTakesAll",
    "ZBox",
    "ZPlus",
    "Zero",
    "declared_epsilon",
    "declared_gamma",
    "declared_high",
    "declared_low",
    "is_known",
    "keeps_zeros",
]
