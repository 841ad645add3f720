"""The box of the pixels, seen at the first layer: constants before it change the units.

A box is given in the units of x. Where a model rescales, normalises, moves or pads its input before
its first layer, the ends of the box go the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nni_widgets.engine.operations import family
from nni_widgets.engine.rules import Rule, ZBox
from nni_widgets.engine.tape import Op, Tape
from nni_widgets.params import param


class BoxAtLayer(ZBox):
    """``ZBox`` with its ends as they arrive at the layer, one for each place of its input.

    They have one row for all samples, or one for each.
    """

    low: Any = param(None, "the lower end at each place")
    high: Any = param(None, "the upper end at each place")
    given: Any = param(None, "the box in the units of x")

    def validate(self) -> None:
        """The ends were checked where the box was given."""

    def code(self, prefix: str) -> str:
        """The rule that was given: this is the same, elsewhere."""
        return str(self.given.code(prefix))

    def _box(self, bound: Any, a: Tensor) -> Tensor | None:
        return bound if bool(bound.any()) else None


def in_units(tape: Tape, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules, each box in the units of its layer; a box further up is left as it was given.

    Cost: two passes through what lies before the first layer.
    """
    moved = dict(rules)
    boxed = [(op, rule) for op in tape.ops if isinstance(rule := rules[op.label], ZBox)]
    made_by = {number: op for op in tape.ops for number in op.outputs} if boxed else {}
    for op, rule in boxed:
        moved[op.label] = _moved(rule, _before(op, made_by), tape.x)
    return moved


def _before(op: Op, made_by: Mapping[int, Op]) -> list[Op]:
    """The steps from the pixels to the layer; none where they are more than units and places."""
    steps: list[Op] = []
    number = op.inputs[0]
    while number != 0:
        step = made_by[number]
        if len(step.inputs) != 1 or family(step) not in {"linear", "move"}:
            return []
        steps.insert(0, step)
        (number,) = step.inputs
    return steps


def _moved(rule: ZBox, steps: list[Op], x: Tensor) -> Rule:
    if not steps:
        return rule
    ends = []
    for bound in (rule.low, rule.high):
        end = rule._box(bound, x)
        end = torch.zeros_like(x[:1]) if end is None else end
        for step in steps:
            # a step that knows the batch size (a view) needs as many samples as it has seen
            end = step.again(end.expand(len(step.values[0]), *end.shape[1:]))
        ends.append(end)
    low, high = (_alike(bound(*ends)) for bound in (torch.minimum, torch.maximum))
    return BoxAtLayer(low=low, high=high, given=rule)


def _alike(ends: Tensor) -> Tensor:
    """One row for all samples, unless each has units of its own."""
    return ends[:1] if bool((ends == ends[:1]).all()) else ends
