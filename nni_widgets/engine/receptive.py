"""The receptive field: the part of the input that a unit can see, whatever is there.

A gradient shows less: it is 0 behind a ReLU that is off and beside the winner of a max-pooling. So
the tape is walked back with a rule of its own, that marks all that takes part in what is marked.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nni_widgets.engine.operations import affine, compares, family
from nni_widgets.engine.propagation import propagate
from nni_widgets.engine.rules import ProportionalPool, Rule, Share
from nni_widgets.engine.tape import Op, Tape


class TakesPart(Rule):
    """1 at every number that takes part in a marked one, 0 at the others.

    Weights count as if none were 0, and activations as if all were on. What is neither a layer, an
    activation nor a maximum is asked for its derivative at numbers of no special value.
    """

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        marked = (relevance > 0).to(relevance)
        return Share(tuple((reached.abs() > 0).to(reached) for reached in _reached(op, marked)))


def receptive_field(tape: Tape, start: Tensor) -> Tensor:
    """The pixels that take part in the units where ``start`` is not 0, as booleans shaped like x.

    ``start`` is shaped like the tape's output. The tape is used up. Cost: about a backward pass.
    """
    return propagate(tape, start, {op.label: TakesPart() for op in tape.ops}) > 0


def boxes(seen: Tensor) -> Tensor:
    """The smallest box around what is marked, ``(N, 2 · axes)``: its starts, then its ends.

    For pictures: top, left, bottom, right; the last two are the first row and column outside.
    """
    places = seen.any(1) if seen.ndim > 2 else seen
    starts, ends = [], []
    for axis in range(1, places.ndim):
        others = tuple(other for other in range(1, places.ndim) if other != axis)
        along = (places.any(others) if others else places).int()
        starts.append(along.argmax(1))
        ends.append((along.shape[1] - along.flip(1).argmax(1)) * along.amax(1))
    return torch.stack([*starts, *ends], 1)


def _reached(op: Op, marked: Tensor) -> tuple[Tensor, ...]:
    kind = family(op)
    if kind == "affine":
        layer = affine(op)
        return (layer.transpose(torch.ones_like(layer.weight), marked).round(),)
    if kind == "activation" or compares(op):
        return tuple(marked.sum_to_size(value.shape) for value in op.values)
    if kind == "maximum":
        ones = tuple(torch.ones_like(value) for value in op.values)
        return ProportionalPool()(dataclasses.replace(op, values=ones), marked).inputs
    return _derivative_anywhere(op, marked)


def _derivative_anywhere(op: Op, marked: Tensor) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)

    def any_like(tensor: Tensor) -> Tensor:
        drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        return (0.25 + drawn / 2).to(tensor)

    with torch.enable_grad():
        leaves = [any_like(value).requires_grad_() for value in op.values]
        result = next(part for part in pytree.tree_leaves(op.again(*leaves)) if _is_signal(part))
        if not result.requires_grad:
            return tuple(torch.zeros_like(value) for value in op.values)
        weights = marked * any_like(marked)
        return torch.autograd.grad(result, leaves, weights, materialize_grads=True)


def _is_signal(item: object) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()
