"""Relevance through one channel: what one feature map of one layer hands down to the pixels."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from nni_widgets.engine.operations import affine, family
from nni_widgets.engine.propagation import Layer, Ledger, Observer, propagate
from nni_widgets.engine.rules import NoRelevance, Rule, Share
from nni_widgets.engine.tape import Op, Tape
from nni_widgets.errors import invalid
from nni_widgets.params import param

Through = tuple[str, int]
"""A layer's label and the number of one of its channels."""


class OneChannel(Rule):
    """One channel keeps its relevance; that of the others, and of paths around the layer, ends."""

    loss: ClassVar[str] = "other channels and paths"
    channel: int = param(0, "the channel that keeps its relevance", low=0, slider=(0, 63))

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        kept = torch.zeros_like(relevance)
        place = _channels(op), self.channel
        kept.select(*place).copy_(relevance.select(*place))
        return Share((kept,))


def checked_through(who: str, through: Any) -> Through | None:
    """``through`` as a pair; raises ``ValueError`` if it is neither that nor None."""
    if through is None:
        return None
    pair = tuple(through) if isinstance(through, (tuple, list)) else ()
    if len(pair) != 2 or not isinstance(pair[0], str) or type(pair[1]) is not int or pair[1] < 0:
        expected, action = "a layer and one of its channels", 'For example ("conv2", 5)'
        raise invalid(who, "through", expected, repr(through), action)
    return pair


def propagate_through(
    tape: Tape, start: Tensor, rules: dict[str, Rule], through: Through, who: str
) -> tuple[Tensor, tuple[Layer, ...]]:
    """As ``propagate``, but only what passes through one channel goes on below it.

    Returns the relevance of the pixels and what happened at every operation; that at the channel
    is told as an operation of its own, ``layer[channel]``. Raises ``ValueError`` for a layer that
    is not on the tape and a channel that it does not have. Cost: as ``propagate``.
    """
    label, channel = through
    place = _place(tape, label, who)
    op = tape.ops[place]
    _check_channel(op, channel, who)
    rule = OneChannel(channel=channel)
    above, below = Ledger(start), dataclasses.replace(tape, output=op.outputs[0])
    below.ops = tape.ops[: place + 1]
    below.ops = list(below.layers())
    arrived: list[Tensor] = []

    def observe(step: Op, of_step: Rule, signals: tuple[Tensor, ...], share: Share) -> None:
        if step is op:
            arrived.append(signals[0])
        else:
            above(step, of_step, signals, share)

    observer: Observer = observe
    upper = dataclasses.replace(tape, ops=tape.ops[place:])
    propagate(upper, start, {**rules, label: NoRelevance()}, observer)
    (kept,) = rule(op, arrived[0]).inputs
    lower = Ledger(kept)
    told = _told(f"{label}[{channel}]", rule, kept, above, start)
    values = propagate(below, kept, rules, lower)
    return values, (*above.layers, told, *lower.layers)


def _told(label: str, rule: Rule, kept: Tensor, above: Ledger, start: Tensor) -> Layer:
    in_flight = above.layers[-1].in_flight if above.layers else start.flatten(1).sum(1)
    remaining = kept.flatten(1).sum(1)
    return Layer(
        label=label,
        kind="channel",
        rule=rule,
        relevance=kept,
        arrived=in_flight,
        lost={rule.loss: in_flight - remaining},
        in_flight=remaining,
        has_weights=False,
    )


def _place(tape: Tape, label: str, who: str) -> int:
    labels = [op.label for op in tape.ops if len(op.outputs) == 1]
    if label not in labels:
        expected = f"one of {', '.join(labels)}"
        action = "Choose one of nni.layers(model, x)"
        raise invalid(who, "the layer of through", expected, repr(label), action)
    return [op.label for op in tape.ops].index(label)


def _check_channel(op: Op, channel: int, who: str) -> None:
    count = op.results[0].shape[_channels(op)]
    if channel >= count:
        expected = f"from 0 to {count - 1} (in {op.label!r})"
        action = "Choose a channel of that layer"
        raise invalid(who, "the channel of through", expected, channel, action)


def _channels(op: Op) -> int:
    return affine(op).channel_dim if family(op) == "affine" else 1
