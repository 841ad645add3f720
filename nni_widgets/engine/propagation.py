"""Walk a tape backwards with rules: from a signal at the output to one at every operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nni_widgets.engine.operations import family
from nni_widgets.engine.rules import Derivative, Rule, Share
from nni_widgets.engine.tape import Op, Tape
from nni_widgets.errors import UnsupportedOperation
from nni_widgets.params import Declared


@dataclass(frozen=True, eq=False)
class Layer:
    """What happened at one operation: the relevance at its output, and where some of it was lost.

    Where it has several outputs ``relevance`` is that of the first. ``arrived`` is the sum at its
    outputs and ``lost`` what did not reach its inputs, by cause, both per sample; ``in_flight`` is
    the sum over a cut through the whole network just below it.
    """

    label: str
    kind: str
    rule: Declared
    relevance: Tensor
    arrived: Tensor
    lost: dict[str, Tensor]
    in_flight: Tensor
    has_weights: bool


Observer = Callable[[Op, Rule, tuple[Tensor, ...], Share], None]


def propagate(
    tape: Tape, start: Tensor, rules: dict[str, Rule], observe: Observer | None = None
) -> Tensor:
    """Carry ``start``, a signal at the output, down to the input.

    Shape: ``start`` as the logits ``(N, K)``; the result as the input. The tape is used up: each
    operation is freed once it is walked. Raises :class:`UnsupportedOperation` where a part of the
    signal was not recorded. Cost: about one backward pass.
    """
    at: dict[int, Tensor] = {tape.output: start}
    with torch.no_grad():
        while tape.ops:
            op = tape.ops.pop()
            if op.unseen:
                raise UnsupportedOperation(op.unseen)
            rule = rules[op.label]
            signals = tuple(
                [
                    at.pop(number) if number in at else torch.zeros_like(result)
                    for number, result in zip(op.outputs, op.results, strict=True)
                ]
            )
            share = rule(op, signals[0]) if len(signals) == 1 else Share(op.vjp(*signals))
            if observe is not None:
                observe(op, rule, signals, share)
            for number, signal in zip(op.inputs, share.inputs, strict=True):
                at[number] = at[number] + signal if number in at else signal
    return at[0].contiguous() if 0 in at else torch.zeros_like(tape.x)


def differentiate(tape: Tape, start: Tensor) -> Tensor:
    """The derivative at the input, ``start`` being that at the output; the tape is used up."""
    return propagate(tape, start, dict.fromkeys((op.label for op in tape.ops), _BY_DERIVATIVE))


_BY_DERIVATIVE = Derivative()


class Ledger:
    """Keeps a :class:`Layer` per operation while relevance is propagated."""

    def __init__(self, start: Tensor) -> None:
        self.layers: list[Layer] = []
        self._samples = len(start)
        self._in_flight = self._sum((start,))

    def __call__(self, op: Op, rule: Rule, signals: tuple[Tensor, ...], share: Share) -> None:
        arrived = self._sum(signals)
        missing = arrived - self._sum(share.inputs)
        bias = torch.zeros_like(missing) if share.bias is None else self._sum((share.bias(),))
        lost = {"bias": bias}
        cause = getattr(rule, "loss", "the rule")
        lost[cause] = lost.get(cause, 0) + missing - bias
        self._in_flight = self._in_flight - missing
        self.layers.append(
            Layer(
                label=op.label,
                kind=op.kind,
                rule=rule,
                relevance=signals[0],
                arrived=arrived,
                lost=lost,
                in_flight=self._in_flight,
                has_weights=family(op) == "affine",
            )
        )

    def _sum(self, signals: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([self._per_sample(each) for each in signals]).sum(0)

    def _per_sample(self, signal: Tensor) -> Tensor:
        """A layer may have joined the samples with another axis, or moved theirs.

        What it made of all of them together belongs to each in equal parts.
        """
        count, shape = self._samples, signal.shape
        if shape and shape[0] % count == 0:
            return signal.reshape(count, -1).sum(1)
        if count in shape:
            return signal.movedim(shape.index(count), 0).flatten(1).sum(1)
        return signal.sum().expand(count) / count
