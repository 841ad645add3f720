"""The card of a method: what one must know to choose it, in a form that can be put in a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "gradient",
    "path",
    "average",
    "backward rule",
    "propagation",
    "perturbation",
    "class activation",
]


@dataclass(frozen=True)
class Card:
    """What kind of method it is, the question it answers, its cost, its needs, its drawbacks.

    ``cost`` is in passes through the model, F forward and B backward.
    """

    kind: Kind
    question: str
    cost: str
    needs: str
    drawbacks: str
