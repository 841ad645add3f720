"""Record a forward pass as a tape of operations that can be walked backwards.

Every torch call that touches the input or something computed from it becomes one :class:`Op`, with
the call itself, so that it can be run again. Functional, reused and in-place calls, residual sums
and several outputs are therefore all seen, and nothing is set on the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nni_widgets.engine.calls import call_of, out_of_place
from nni_widgets.engine.chain import Link, labelled, links
from nni_widgets.engine.checks import check_logits, run
from nni_widgets.engine.memory import keep
from nni_widgets.engine.order import in_quickest_order
from nni_widgets.errors import UnsupportedOperation, sentence


@dataclass(eq=False, slots=True)
class Op:
    """One operation of the forward pass.

    ``inputs`` and ``outputs`` are the numbers of the values it reads and makes, ``values`` and
    ``results`` those values as tensors. ``label`` is unique on the tape: the path of a leaf module,
    or ``path.kind`` for a call made in a container's ``forward``, with ``#2``, ``#3`` … for further
    uses. ``winners`` are the indices of max-pooling, in the flattened space of each channel;
    ``call`` tells which torch call of the forward pass made the results, from 1, as whoever made
    the tape counts them (a chain does not see what its modules ask besides). ``unseen`` says
    why it cannot be walked: it also reads what was computed from x out of the recorder's sight.
    ``is_cut``: its result has 0 where it was negative, as the ReLU that alone reads it made it.
    """

    kind: str
    path: str
    inputs: tuple[int, ...]
    values: tuple[Tensor, ...]
    outputs: tuple[int, ...]
    results: tuple[Tensor, ...]
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    label: str = ""
    winners: Tensor | None = None
    call: int = 0
    unseen: str = ""
    is_cut: bool = False

    def vjp(self, *signals: Tensor) -> tuple[Tensor, ...]:
        """Vector-Jacobian product: signals at the results, carried to the values.

        Cost: the operation is run again, forward and backward.
        """
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in self.values]
            made = [t for t in pytree.tree_leaves(self.again(*leaves)) if _is_signal(t)]
            reached = [(t, s) for t, s in zip(made, signals, strict=True) if t.requires_grad]
            if not reached:  # only the dtype or the shape of the values was read
                return tuple(torch.zeros_like(value) for value in self.values)
            ends, given = zip(*reached, strict=True)
            return torch.autograd.grad(ends, leaves, given, materialize_grads=True)

    def cut(self, relu: Op) -> None:
        """Let go of what a ReLU, which alone reads the result, cuts off."""
        self._give_to(relu, relu.results, is_cut=True)

    def restore(self, relu: Op) -> None:
        """Have what a ReLU cut off again. Cost: the operation is run again."""
        self._give_to(relu, (self.again(*self.values),), is_cut=False)

    def _give_to(self, reader: Op, results: tuple[Tensor, ...], is_cut: bool) -> None:
        self.results = reader.values = results
        reader.args = (*results, *reader.args[1:])
        self.is_cut = is_cut

    def again(self, *values: Tensor) -> Any:
        """The call's result on other values."""
        args, kwargs = self.on(*values)
        return self.func(*args, **kwargs)

    def on(self, *values: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments with other values in their places."""
        by = {id(old): new for old, new in zip(self.values, values, strict=True)}
        return _replace(self.args, by), _replace(self.kwargs, by)


@dataclass
class Tape:
    """The operations of one forward pass in their order; value 0 is the input."""

    x: Tensor
    ops: list[Op] = field(default_factory=list)
    output: int = -1
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def layers(self) -> tuple[Op, ...]:
        """The operations that lead from the input to the output."""
        needed, kept = {self.output}, []
        for op in reversed(self.ops):
            if needed.intersection(op.outputs):
                needed.update(op.inputs)
                kept.append(op)
        return tuple(reversed(kept))


def record(model: nn.Module, x: Tensor, who: str = "record", lean: bool = False) -> Tape:
    """Run ``model(x)`` once and return its tape.

    Shape: ``x`` as the model takes it, ``(N, ...)``; the model returns logits ``(N, K)``. A lean
    tape lets go of what a ReLU cuts off where nothing else reads it: in a plain chain, and where
    the model itself writes in place.
    Raises :class:`UnsupportedOperation` when the output was not computed by recorded operations
    (scripted or compiled code, ``.detach()`` inside) or a view is written to in place.
    Cost: one forward pass.
    """
    return in_quickest_order(model, x, lambda moved: _record(model, moved, who, lean))


def _record(model: nn.Module, x: Tensor, who: str, lean: bool) -> Tape:
    chain = links(model)
    if chain is not None:
        with torch.no_grad():
            return record_chain(chain, x, who, lean)
    with torch.enable_grad(), _Recorder(model, x, who, lean) as recorder:
        logits = run(who, model, recorder.start)
    check_logits(who, logits)
    tape: Tape = recorder.tape
    number = recorder.number_of(logits)
    if number is None:
        raise UnsupportedOperation(
            sentence(
                who,
                "the model's output",
                "a tensor computed from x by torch operations that can be recorded",
                f"shape {tuple(logits.shape)} that no recorded operation made",
                "Avoid torch.jit, torch.compile, .detach(), .data and torch.no_grad() in forward",
            )
        )
    tape.output = number
    tape.logits = logits.detach().clone()  # the model may keep its output, and write to it later
    tape.ops = list(tape.layers())
    _label(tape.ops, {name for module, name in recorder.names.items() if not module._modules})
    return tape


def record_chain(chain: list[Link], x: Tensor, who: str, lean: bool = False) -> Tape:
    """The tape of a plain chain's calls, or of some that follow each other; nothing is watched.

    For use without a graph.
    """
    start, ops = x.detach(), list[Op]()

    def forward(value: Tensor) -> Tensor:
        for number, (path, label, func, rest) in enumerate(chain, start=1):
            call, winners = call_of(func), None
            if call.with_winners is None:
                made = func(value, *rest)
            else:
                made, winners = call.with_winners(value, *rest)
            ops.append(
                Op(call.kind, path, (number - 1,), (value,), (number,), (made,), func,
                   (value, *rest), {}, label, winners, number)
            )  # fmt: skip
            if lean and call.kind == "relu" and number > 1:
                ops[-2].cut(ops[-1])
            value = made
        return value

    logits = run(who, forward, start)
    check_logits(who, logits)
    keep(op.results[0] for op in ops if not op.is_cut)
    return Tape(start, ops, len(chain), logits)


_Known = tuple[int, Tensor, Tensor]
"""The number of a value, the private tensor, and the alias that the model has."""


class _Recorder(TorchFunctionMode):
    """Runs each call on private tensors, and gives the model aliases that it may write to.

    Autograd follows the aliases where the recorder cannot, and tells what depends on them.
    """

    def __init__(self, model: nn.Module, x: Tensor, who: str, lean: bool) -> None:
        super().__init__()
        self._traces: list[Tensor] = []
        private, self.start = x.detach(), self._traced(x.detach().clone())
        self.tape = Tape(private)
        self.names = {module: name for name, module in model.named_modules()}
        self._who, self._lean = who, lean
        self._known: dict[int, _Known] = {id(self.start): (0, private, self.start)}
        self._stale: dict[int, tuple[str, str]] = {}
        self._unknown: list[Tensor] = []
        self._harmless: set[Any] = set()
        self._memory: dict[int, int] = {}
        self._count = 1
        self._calls = 0

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        for alias in self._traces:  # the model may have kept it
            alias.requires_grad = False

    def number_of(self, tensor: object) -> int | None:
        return self._known[id(tensor)][0] if id(tensor) in self._known else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._calls += 1
        self._unknown = []
        read: dict[int, _Known] = {}
        private = [self._private(part, read) for part in args]
        named = kwargs and {name: self._private(part, read) for name, part in kwargs.items()}
        if not read:
            return func(*args, **kwargs)
        call = call_of(func)
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if call.is_constant:
            return func(*private, **named)
        unseen = self._told_unseen() if self._unknown else ""
        if self._stale:
            self._refuse_stale(read)
        target = None
        if call.writes_in_place(private, named):
            target = args[0]
            func, private, named = self._out_of_place(func, private, named, target)
        winners = None
        torch.set_grad_enabled(False)
        try:
            if call.with_winners is None:
                result = func(*private, **named)
            else:
                result, winners = call.with_winners(*private, **named)
        finally:
            torch.set_grad_enabled(True)
        if isinstance(result, Tensor):
            if result.is_complex():  # autograd alone follows these
                return func(*args, **kwargs)
            if target is not None and result.dtype != target.dtype:
                func, result = _then_to(func, target.dtype), result.to(target.dtype)
        numbers, values, _ = zip(*read.values(), strict=True)
        op = Op(call.kind, "", numbers, values, (), (), func, tuple(private), named,
                "", winners, self._calls, unseen)  # fmt: skip
        return self._noted(op, result, target)

    def _private(self, item: Any, read: dict[int, _Known]) -> Any:
        """The item with its known tensors, which are noted in ``read``, made private.

        A tuple of sizes is not searched.
        """
        known = self._known.get(id(item))
        if known is not None:
            read[id(item)] = known
            return known[1]
        kind = type(item)
        if (kind is tuple or kind is list) and item and type(item[0]) is not int:
            return kind([self._private(part, read) for part in item])
        if kind is Tensor and item.grad_fn is not None:
            self._unknown.append(item)
        return item

    def _noted(self, op: Op, result: Any, target: Any) -> Any:
        made = (result,) if isinstance(result, Tensor) else pytree.tree_leaves(result)
        op.results = results = tuple([part for part in made if _is_signal(part)])
        if not results:
            return result
        op.path = _running_module(self.names)
        op.outputs = tuple(range(self._count, self._count + len(results)))
        self._count += len(results)
        keep(results)
        self.tape.ops.append(op)
        if target is not None:
            self._write_back(target, result.detach(), op.kind)
            self._cut_by(op)
            return self._give(op.outputs[0], result, target)
        if made[0] is result:
            return self._give(op.outputs[0], result, self._traced(result.detach()))
        given = {
            id(part): self._give(number, part, self._traced(part.detach()))
            for number, part in zip(op.outputs, results, strict=True)
        }
        return pytree.tree_map(lambda part: given.get(id(part), part), result)

    def _traced(self, alias: Tensor) -> Tensor:
        """The alias; autograd sees what is computed from it out of the recorder's sight."""
        alias.requires_grad = True
        self._traces.append(alias)
        return alias

    def _give(self, number: int, private: Tensor, alias: Tensor) -> Tensor:
        self._known[id(alias)] = (number, private, alias)
        return alias

    def _write_back(self, target: Tensor, value: Tensor, kind: str) -> None:
        """Give the written tensor its new content; what shares its old memory must not be read."""
        memory = self._memory_of(target)
        for key, (_, _, other) in self._known.items():
            if other is not target and self._memory_of(other) == memory:
                self._stale[key] = kind, _running_module(self.names)
        target.data = value
        del self._memory[id(target)]

    def _cut_by(self, op: Op) -> None:
        """Let go of what a ReLU has overwritten, unless another operation has read it before."""
        if not self._lean or op.kind != "relu" or len(self.tape.ops) == 1:
            return
        before = self.tape.ops[-2]
        if before.outputs == op.inputs:
            before.cut(op)

    def _memory_of(self, known: Tensor) -> int:
        """The address of a known tensor's memory, which only a write changes."""
        if id(known) not in self._memory:
            self._memory[id(known)] = known.untyped_storage().data_ptr()
        return self._memory[id(known)]

    def _refuse_stale(self, read: dict[int, _Known]) -> None:
        for key in read:
            if key in self._stale:
                what, where = self._stale[key]
                self._refuse(what, "a tensor that shares its memory is read later", where)

    def _told_unseen(self) -> str:
        """A refusal, if autograd has seen the signal where no recorded call has."""
        ahead = [tensor.grad_fn for tensor in self._unknown]
        while ahead:
            node = ahead.pop()
            if node is None or node in self._harmless:
                continue
            if id(getattr(node, "variable", None)) in self._known:
                return (
                    f"{self._who}: cannot follow the signal in {self._where()}, because a part of "
                    "it goes through code that is not recorded. Avoid torch.jit, torch.compile, "
                    "torch.vmap, autograd.Function and complex numbers in forward."
                )
            self._harmless.add(node)
            ahead += [before for before, _ in node.next_functions]
        return ""

    def _out_of_place(
        self, func: Any, args: Any, kwargs: Any, target: Tensor
    ) -> tuple[Any, Any, Any]:
        try:
            if id(target) not in self._known and target._is_view():
                raise LookupError("a part of another tensor is overwritten")
            return out_of_place(func, args, kwargs)
        except LookupError as reason:
            self._refuse(func.__name__, str(reason))
            raise

    def _refuse(self, what: str, why: str, path: str | None = None) -> None:
        raise UnsupportedOperation(
            f"{self._who}: cannot follow the in-place write {what} in {self._where(path)}, because "
            f"{why}. Write it out of place (torch.cat, torch.where or a new variable)."
        )

    def _where(self, path: str | None = None) -> str:
        path = _running_module(self.names) if path is None else path
        return repr(path) if path else "the model's forward"


def _then_to(func: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    """As a write in place does, which keeps the dtype of what is written to."""
    return lambda *args, **kwargs: func(*args, **kwargs).to(dtype)


def _is_signal(item: Any) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()


def _replace(item: Any, by: dict[int, Tensor]) -> Any:
    kind = type(item)
    if kind in _CONTAINERS and item:
        if kind is dict:
            return {key: _replace(part, by) for key, part in item.items()}
        if type(item[0]) is not int:
            return kind([_replace(part, by) for part in item])
    return by.get(id(item), item)


_CONTAINERS = {tuple, list, dict}


def _running_module(names: dict[nn.Module, str]) -> str:
    """The path of the innermost module whose call is being recorded, read off the Python stack."""
    frame = sys._getframe(1)
    while frame.f_code is not _RECORD and frame.f_back is not None:
        if frame.f_code is _CALL:
            name = names.get(frame.f_locals["self"])
            if name is not None:
                return name
        frame = frame.f_back
    return ""


_CALL, _RECORD = nn.Module._call_impl.__code__, record.__code__


def _label(ops: list[Op], leaves: set[str]) -> None:
    seen: dict[str, int] = {}
    for op in ops:
        is_leaf = op.path and op.path in leaves
        base = op.path if is_leaf else f"{op.path}.{op.kind}".lstrip(".")
        seen[base] = count = seen.get(base, 0) + 1
        op.label = labelled(base, count)
