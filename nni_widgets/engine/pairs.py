"""Two passes side by side: each operation at the input x and at its reference x⁰.

What is explained by a difference from a reference (DeepLIFT) walks both tapes at once. A reference
that is one picture is run once, alone, and kept while the model computes the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.tape import Op, Tape, _replace, record
from nni_widgets.engine.weights import modified
from nni_widgets.errors import UnsupportedOperation


@dataclass(eq=False, slots=True)
class Pair:
    """One operation in both passes.

    ``agrees``: it was called with the same constants, so that it is one function of its inputs.
    The tensors of ``before``, at the reference, may have one row for all rows of ``op``, at x.
    """

    op: Op
    before: Op
    agrees: bool

    def change(self, i: int = 0) -> Tensor:
        """Δx of input ``i``."""
        return self.op.values[i] - self.before.values[i]

    def made_change(self, i: int = 0) -> Tensor:
        """Δy of output ``i``."""
        return self.op.results[i] - self.before.results[i]

    def expanded(self) -> tuple[Tensor, ...]:
        """The inputs of the reference, with a row for each row of x."""
        values = zip(self.op.values, self.before.values, strict=True)
        return tuple(old.expand_as(value) for value, old in values)

    def at_reference(self) -> Op:
        """The operation as called for x, on the values of the reference."""
        return _moved(self.op, self.expanded())

    def half_way(self) -> Op:
        """The operation in the middle between x and the reference."""
        values = zip(self.op.values, self.before.values, strict=True)
        return _moved(self.op, tuple((value + old) / 2 for value, old in values))


def _moved(op: Op, values: tuple[Tensor, ...]) -> Op:
    """The same call on other values; its results are not computed."""
    args, kwargs = op.on(*values)
    return dataclasses.replace(
        op, values=values, results=(), args=args, kwargs=kwargs, winners=None
    )


@dataclass
class Passes:
    """Both passes: the pairs from the input to the output, and the two outputs.

    ``cost`` counts the forward passes per row of x.
    """

    x: Tensor
    reference: Tensor
    output: int
    pairs: list[Pair]
    logits: Tensor
    reference_logits: Tensor
    cost: float


def record_pair(model: nn.Module, x: Tensor, reference: Tensor, who: str) -> Passes:
    """Run the model on x and on its reference, and join the two tapes.

    Shape: ``reference`` as x, or with one row for all rows of x. One row is run alone, and its
    tape is kept for the next call with the same reference, until the model computes something
    else. Raises :class:`UnsupportedOperation` where the model takes another way for the reference.
    Cost: one forward pass, and one more, of one row or of all, for a new reference.
    """
    tape = canonical(record(model, x, who))
    if len(reference) == 1:
        kept = _kept.get(model)
        if kept is not None and kept.is_of(reference, tape.x):
            pairs = _joined(tape, kept.tape)
            if pairs is not None and all(pair.agrees for pair in pairs):
                return _passes(tape, kept.tape, pairs, 1)
        old = canonical(record(model, _copy(reference, tape.x), who))
        pairs = _joined(tape, old)
        if pairs is not None and (len(x) == 1 or all(pair.agrees for pair in pairs)):
            if all(pair.agrees for pair in pairs):
                _kept[model] = _Kept(old)
            return _passes(tape, old, pairs, 1 + 1 / len(x))
    old = canonical(record(model, _copy(reference.expand_as(x), tape.x), who))
    pairs = _joined(tape, old)
    if pairs is None:
        _refuse(tape, old, who)
    return _passes(tape, old, pairs or [], 2)


def _copy(reference: Tensor, x: Tensor) -> Tensor:
    """A reference that the model may write to, in the memory order of x."""
    return torch.empty_strided(
        reference.shape, x.stride(), dtype=reference.dtype, device=reference.device
    ).copy_(reference)


def _passes(tape: Tape, old: Tape, pairs: list[Pair], cost: float) -> Passes:
    return Passes(tape.x, old.x, tape.output, pairs, tape.logits, old.logits, cost)


def _joined(tape: Tape, old: Tape) -> list[Pair] | None:
    """The pairs; None where the operations or the shapes of their values do not match."""
    rows = len(tape.x), len(old.x)
    if len(tape.ops) != len(old.ops) or tape.output != old.output:
        return None
    pairs = []
    for op, before in zip(tape.ops, old.ops, strict=True):
        if _name(op) != _name(before) or not _matches(op, before, rows):
            return None
        pairs.append(Pair(op, before, _same_constants(op, before, rows)))
    return pairs


def _name(op: Op) -> tuple[Any, ...]:
    return op.kind, op.label, op.inputs, op.outputs


def _matches(op: Op, before: Op, rows: tuple[int, int]) -> bool:
    """Whether the results have the same shapes, but for one row in place of many."""
    return len(op.results) == len(before.results) and all(
        new.shape == old.shape or _is_row_of(old.shape, new.shape, rows)
        for new, old in zip(op.results, before.results, strict=True)
    )


def _is_row_of(old: torch.Size, new: torch.Size, rows: tuple[int, int]) -> bool:
    return len(old) == len(new) and all(
        a == b or (b, a) == rows for a, b in zip(old, new, strict=True)
    )


def _same_constants(op: Op, before: Op, rows: tuple[int, int]) -> bool:
    """Whether everything in the two calls but their inputs is the same."""
    if len(op.args) != len(before.args):
        return False
    inputs = set(map(id, op.values))
    both = zip(op.args, before.args, strict=True)
    differing = [(a, b) for a, b in both if a is not b and id(a) not in inputs]
    if not (differing or op.kwargs or before.kwargs):
        return True

    def same(a: Any, b: Any) -> bool:
        if a is b or id(a) in inputs:
            return True
        if type(a) is not type(b):
            return isinstance(a, Tensor) and isinstance(b, Tensor) and _same(a, b, rows)
        if isinstance(a, Tensor):
            return _same(a, b, rows)
        if isinstance(a, (tuple, list)):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        return bool(a == b) or (type(a) is int and a * rows[1] == b * rows[0])

    return all(same(*each) for each in differing) and same(op.kwargs, before.kwargs)


def _same(a: Tensor, b: Tensor, rows: tuple[int, int]) -> bool:
    fits = a.shape == b.shape or _is_row_of(b.shape, a.shape, rows)
    return fits and bool((a == b).all())


def _refuse(tape: Tape, old: Tape, who: str) -> None:
    ways = zip(tape.ops, old.ops, strict=False)
    differing = ((op, before) for op, before in ways if _name(op) != _name(before))
    op, before = next(differing, (tape.ops[-1], old.ops[-1]))
    raise UnsupportedOperation(
        f"{who}: the model must take the same steps for x and for the reference; got {op.kind} "
        f"(in {op.label!r}) for x and {before.kind} (in {before.label!r}) for the reference. "
        "Use a reference that the model treats as it treats x."
    )


class _Kept:
    """The tape of a reference, with proofs that the model still computes it."""

    def __init__(self, tape: Tape) -> None:
        self._proofs = [(tensor, _proof(tensor)) for tensor in _tensors(tape)]
        self.tape = _own(tape)

    def is_of(self, reference: Tensor, like: Tensor) -> bool:
        """Whether it is the tape of this reference, and no constant on it was written to.

        Its memory order has to be that of ``like``.
        """
        x = self.tape.x
        same = (x.dtype, x.device, x.shape) == (reference.dtype, reference.device, reference.shape)
        same = same and x.stride()[1:] == like.stride()[1:]
        return same and torch.equal(x, reference) and all(map(_holds, self._proofs))


_kept: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()
_SMALL = 1 << 16


def _own(tape: Tape) -> Tape:
    """The tape on copies: a hook may have given away what the model computed, to be written to."""
    signals = [part for op in tape.ops for part in (*op.values, *op.results)]
    copies = {id(part): part.clone() for part in {id(part): part for part in signals}.values()}
    ops = [
        dataclasses.replace(
            op,
            values=_replace(op.values, copies),
            results=_replace(op.results, copies),
            args=_replace(op.args, copies),
            kwargs=_replace(op.kwargs, copies),
        )
        for op in tape.ops
    ]
    return dataclasses.replace(tape, x=tape.x.clone(), ops=ops, logits=tape.logits.clone())


def _tensors(tape: Tape) -> Iterator[Tensor]:
    """The constants on a tape, such as weights."""
    seen = {id(value) for op in tape.ops for value in op.values}
    for op in tape.ops:
        for part in pytree.tree_leaves((op.args, op.kwargs)):
            if isinstance(part, Tensor) and id(part) not in seen:
                seen.add(id(part))
                yield part


def _proof(tensor: Tensor) -> Tensor:
    """A copy; for a large tensor the token that `modified` makes anew when the tensor changes."""
    if tensor.numel() < _SMALL:
        return tensor.detach().clone()
    return modified(tensor, "kept reference", lambda _: torch.empty(0))


def _holds(proven: tuple[Tensor, Tensor]) -> bool:
    tensor, proof = proven
    if tensor.numel() < _SMALL:
        return tensor.dtype == proof.dtype and torch.equal(tensor, proof)
    return _proof(tensor) is proof
