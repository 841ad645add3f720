"""Walk two passes backwards with multipliers: from the score's change to that of every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nni_widgets.engine.multipliers import (
    Carry,
    LinearRule,
    Mixed,
    Multiplier,
    PairRule,
    Product,
    Rescale,
    RevealCancel,
    Slope,
    StraightMaximum,
    carries_parts,
)
from nni_widgets.engine.operations import family, group
from nni_widgets.engine.pairs import Pair, Passes
from nni_widgets.engine.rules import Share
from nni_widgets.engine.tape import Op
from nni_widgets.errors import UnsupportedOperation

Word = Literal["linear", "rescale", "reveal-cancel"]
Home = Literal["conv", "dense"]

NONLINEAR: dict[Word, PairRule] = {
    "linear": Slope(),
    "rescale": Rescale(),
    "reveal-cancel": RevealCancel(),
}
_ELEMENTWISE = {
    *("abs", "square", "pow", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal"),
    *("erf", "sin", "cos", "atan", "sinh", "cosh", "where", "masked_fill", "mul", "div"),
    *("truediv", "true_divide", "rtruediv", "rdiv", "rpow", "clone", "maximum", "max"),
}
_PRODUCTS = {"mul", "matmul", "mm", "bmm", "einsum"}

Observer = Callable[[Op, Any, tuple[Tensor, ...], Share], None]


def choose(passes: Passes, words: Mapping[Home, Word], who: str) -> list[PairRule]:
    """The rule of every pair; ``words`` are those of nonlinearities after each kind of layer.

    Raises :class:`UnsupportedOperation` for an operation without a rule.
    """
    home: dict[int, Home] = {0: "conv" if passes.x.ndim > 2 else "dense"}
    rules = []
    for pair in passes.pairs:
        op = pair.op
        here = home[op.inputs[0]]
        if family(op) == "affine":
            here = "conv" if group(op.kind) == "conv" else "dense"
        home.update(dict.fromkeys(op.outputs, here))
        rules.append(_rule(pair, NONLINEAR[words[here]], who))
    return rules


def _rule(pair: Pair, nonlinear: PairRule, who: str) -> PairRule:
    op, kin = pair.op, family(pair.op)
    if not pair.agrees:
        known = _is_elementwise(op) and kin not in {"activation", "maximum"}
        if known and not _changes_without_input(pair):
            return NONLINEAR["rescale"]
        _refuse(op, "that is called with other numbers for the reference", who)
    if kin == "affine":
        return _LINEAR
    if kin in {"linear", "move"}:
        return _CARRY if carries_parts(op) else _MIXED
    if op.winners is not None:
        return _MAXIMUM
    if _is_elementwise(op):
        return nonlinear
    if kin == "maximum" and all(_from_x(op)):
        return _MAXIMUM
    if op.kind in _PRODUCTS and sum(_from_x(op)) <= 2:
        return _PRODUCT
    return _refuse(op, "", who)


_LINEAR, _CARRY, _MIXED = LinearRule(), Carry(), Mixed()
_MAXIMUM, _PRODUCT = StraightMaximum(), Product()


def _is_elementwise(op: Op) -> bool:
    known = op.kind in _ELEMENTWISE or family(op) == "activation"
    return known and [value.shape for value in op.values] == [part.shape for part in op.results]


def _from_x(op: Op) -> list[bool]:
    """Which of the tensors that it is called with are computed from x."""
    parts = pytree.tree_leaves((op.args, op.kwargs))
    signals = set(map(id, op.values))
    return [id(part) in signals for part in parts if isinstance(part, Tensor)]


def _changes_without_input(pair: Pair) -> bool:
    """Whether a number changes though its input does not, which no multiplier can tell."""
    return bool(((pair.change() == 0) & (pair.made_change() != 0)).any())


def _refuse(op: Op, why: str, who: str) -> PairRule:
    what = " ".join(filter(None, (op.kind, why)))
    raise UnsupportedOperation(
        f"{who}: no rule for {what} (in {op.label!r}). Let the model return logits, or leave this "
        "step out: sums, products, maxima and functions of each number alone have a rule."
    )


def multiply_down(
    passes: Passes, start: Tensor, rules: list[PairRule], observe: Observer | None = None
) -> Tensor:
    """The contributions of the input, from the multipliers ``start`` of the logits.

    The pairs are used up: each is freed once it is walked. Cost: about one backward pass; where
    parts of changes are told apart, a forward and a backward pass of the layers in question more.
    """
    at: dict[int, Multiplier] = {passes.output: Multiplier(start)}
    pairs = passes.pairs
    with torch.no_grad():
        gross = _GrossChanges(passes, rules)
        while pairs:
            pair, rule = pairs[-1], rules[len(pairs) - 1]
            signals = tuple(
                at.pop(number) if number in at else Multiplier(torch.zeros_like(result))
                for number, result in zip(pair.op.outputs, pair.op.results, strict=True)
            )
            given = _down(pair, rule, signals, gross)
            if observe is not None:
                above = _contributions(pair.op.outputs, pair.made_change, signals, gross)
                below = _contributions(pair.op.inputs, pair.change, given, gross)
                observe(pair.op, rule, above, Share(below))
            for number, signal in zip(pair.op.inputs, given, strict=True):
                at[number] = at[number] + signal if number in at else signal
            pairs.pop()
            gross.forget(pair)
        change = passes.x - passes.reference
        signal = at.get(0, Multiplier(torch.zeros_like(change)))
        return (change * signal.of_whole(lambda: change)).contiguous()


def _down(
    pair: Pair, rule: PairRule, signals: tuple[Multiplier, ...], gross: _GrossChanges
) -> tuple[Multiplier, ...]:
    if len(signals) == 1:
        return rule.down(pair, signals[0], gross)
    net = pair.op.vjp(*(signal.net for signal in signals))
    if all(signal.gross is None for signal in signals):
        return tuple(map(Multiplier, net))
    parts = [torch.zeros_like(s.net) if s.gross is None else s.gross for s in signals]
    return tuple(map(Multiplier, net, pair.op.vjp(*parts)))


def _contributions(
    numbers: tuple[int, ...],
    change: Callable[[int], Tensor],
    signals: tuple[Multiplier, ...],
    gross: _GrossChanges,
) -> tuple[Tensor, ...]:
    return tuple(
        signal.net * change(i)
        if signal.gross is None
        else signal.net * change(i) + signal.gross * gross(number)
        for i, (number, signal) in enumerate(zip(numbers, signals, strict=True))
    )


class _GrossChanges:
    """The gross change of each value, computed when a rule asks for it and kept until used up."""

    def __init__(self, passes: Passes, rules: list[PairRule]) -> None:
        self._known: dict[int, Tensor] = {}
        self._passes = passes
        self._makers = {
            number: (pair, rule)
            for pair, rule in zip(passes.pairs, rules, strict=True)
            for number in pair.op.outputs
        }

    def __call__(self, number: int) -> Tensor:
        if number == 0:
            return (self._passes.x - self._passes.reference).abs_()
        if number not in self._known:
            pair, rule = self._makers[number]
            made = rule.gross(pair, self)
            self._known.update(zip(pair.op.outputs, made, strict=True))
        return self._known[number]

    def forget(self, pair: Pair) -> None:
        """Free what its outputs took."""
        for number in pair.op.outputs:
            self._known.pop(number, None)
            del self._makers[number]
