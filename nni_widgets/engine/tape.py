"""Record a forward pass as a tape of operations that can be walked backwards.

Every torch call that touches the input or something computed from it becomes one :class:`Op`, with
the call itself, so that it can be run again. Functional, reused and in-place calls, residual sums
and several outputs are therefore all seen, and nothing is set on the model.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nni_widgets.engine.checks import check_logits, run
from nni_widgets.engine.memory import keep
from nni_widgets.errors import UnsupportedOperation, sentence

_WRITES_WITHOUT_TWIN = {"__setitem__", "copy_", "fill_", "zero_", "set_", "index_put_", "resize_"}
_CONSTANTS = {
    *("detach", "data", "grad", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like"),
    *(
        "randn_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "new_tensor",
        "sign",
        "round",
    ),
    *("floor", "ceil", "trunc", "heaviside"),
}


@dataclass(eq=False, slots=True)
class Op:
    """One operation of the forward pass.

    ``inputs`` and ``outputs`` are the numbers of the values it reads and makes, ``values`` and
    ``results`` those values as tensors. ``label`` is unique on the tape: the path of a leaf module,
    or ``path.kind`` for a call made in a container's ``forward``, with ``#2``, ``#3`` … for further
    uses. ``winners`` are the indices of max-pooling, in the flattened space of each channel.
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

    def vjp(self, *signals: Tensor) -> tuple[Tensor, ...]:
        """Vector-Jacobian product: signals at the results, carried to the values.

        Cost: the operation is run again, forward and backward.
        """
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in self.values]
            made = [t for t in pytree.tree_leaves(self.again(*leaves)) if _is_signal(t)]
            return torch.autograd.grad(made, leaves, signals, materialize_grads=True)

    def again(self, *values: Tensor) -> Any:
        """The call's result on other values."""
        by = {id(old): new for old, new in zip(self.values, values, strict=True)}
        return self.func(*_replace(self.args, by), **_replace(self.kwargs, by))


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


def record(model: nn.Module, x: Tensor, who: str = "record") -> Tape:
    """Run ``model(x)`` once and return its tape.

    Shape: ``x`` as the model takes it, ``(N, ...)``; the model returns logits ``(N, K)``.
    Raises :class:`UnsupportedOperation` when the output was not computed by recorded operations
    (scripted or compiled code, ``.detach()`` inside) or a view is written to in place.
    Cost: one forward pass.
    """
    names = dict(model.named_modules())
    with torch.enable_grad(), _module_paths(names) as path, _Recorder(x, path, who) as recorder:
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
    tape.output, tape.logits = number, logits
    tape.ops = list(tape.layers())
    _label(tape.ops, names)
    return tape


class _Recorder(TorchFunctionMode):
    """Runs each call on private tensors, and gives the model aliases that it may write to."""

    def __init__(self, x: Tensor, path: Callable[[], str], who: str) -> None:
        super().__init__()
        private, self.start = x.detach(), x.detach()
        self.tape = Tape(private)
        self._path, self._who = path, who
        self._known: dict[int, tuple[int, Tensor, Tensor]] = {
            id(self.start): (0, private, self.start)
        }
        self._stale: dict[int, tuple[str, str]] = {}
        self._count = 1

    def number_of(self, tensor: object) -> int | None:
        return self._known[id(tensor)][0] if id(tensor) in self._known else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = self._read(args, kwargs)
        call = _call_of(func)
        if not read or call.is_constant or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        target = None
        if call.may_write and _writes_in_place(func, args, kwargs):
            target = args[0]
            func, args, kwargs = self._out_of_place(func, args, kwargs)
        private = {key: self._known[key][1] for key in read}
        args = tuple([_replace(part, private) for part in args])
        kwargs = {name: _replace(part, private) for name, part in kwargs.items()}
        winners = None
        torch.set_grad_enabled(False)
        try:
            if call.with_winners is None:
                result = func(*args, **kwargs)
            else:
                result, winners = call.with_winners(*args, **kwargs)
        finally:
            torch.set_grad_enabled(True)
        numbers = tuple([self._known[key][0] for key in read])
        op = Op(call.kind, "", numbers, tuple(private.values()), (), (), func, args, kwargs)
        op.winners = winners
        return self._noted(op, result, target)

    def _read(self, args: Any, kwargs: dict[str, Any]) -> list[int]:
        keys: dict[int, None] = {}
        _find(args, self._known, keys)
        if kwargs:
            _find(kwargs.values(), self._known, keys)
        for key in keys:
            if key in self._stale:
                what, where = self._stale[key]
                self._refuse(what, "a tensor that shares its memory is read later", where)
        return list(keys)

    def _noted(self, op: Op, result: Any, target: Any) -> Any:
        if isinstance(result, Tensor):
            if not result.is_floating_point():
                return result
            results: tuple[Tensor, ...] = (result,)
        else:
            results = tuple(t for t in pytree.tree_leaves(result) if _is_signal(t))
            if not results:
                return result
        op.path, op.results = self._path(), results
        op.outputs = tuple(range(self._count, self._count + len(results)))
        self._count += len(results)
        keep(results)
        self.tape.ops.append(op)
        given = {id(made): made.detach() for made in results}
        if target is not None:
            self._write_back(target, given[id(result)], op.kind)
            given[id(result)] = target
        for number, made in zip(op.outputs, results, strict=True):
            self._known[id(given[id(made)])] = (number, made, given[id(made)])
        if isinstance(result, Tensor):
            return given[id(result)]
        return pytree.tree_map(lambda t: given.get(id(t), t), result)

    def _write_back(self, target: Tensor, value: Tensor, kind: str) -> None:
        """Give the written tensor its new content; what shares its old memory must not be read."""
        memory = target.untyped_storage().data_ptr()
        for key, (_, _, other) in self._known.items():
            if other is not target and other.untyped_storage().data_ptr() == memory:
                self._stale[key] = kind, self._path()
        target.data = value

    def _out_of_place(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        place = _inplace_position(func)
        if place is not None:
            kept = {key: value for key, value in kwargs.items() if key != "inplace"}
            return func, args[:place], {**kept, **_named_after(func, args, place)}
        if func.__name__ in _WRITES_WITHOUT_TWIN or "out" in kwargs:
            self._refuse(func.__name__, "a part of a tensor is overwritten")
        twin = _twin(func.__name__)
        if twin is None:
            self._refuse(func.__name__, "it has no out-of-place form")
        return twin, args, kwargs

    def _refuse(self, what: str, why: str, path: str | None = None) -> None:
        path = self._path() if path is None else path
        where = repr(path) if path else "the model's forward"
        raise UnsupportedOperation(
            f"{self._who}: cannot follow the in-place write {what} in {where}, because {why}. "
            "Write it out of place (torch.cat, torch.where or a new variable)."
        )


class _Call(NamedTuple):
    """What there is to know of a torch function before it is called."""

    kind: str
    is_constant: bool
    may_write: bool
    with_winners: Callable[..., tuple[Tensor, Tensor]] | None


@functools.cache
def _call_of(func: Any) -> _Call:
    kind = kind_of(func)
    pools = kind.startswith(("max_pool", "adaptive_max_pool")) and not kind.endswith("indices")
    return _Call(
        kind=kind,
        is_constant=kind in _CONSTANTS,
        may_write=not pools,
        with_winners=getattr(nn.functional, f"{kind}_with_indices") if pools else None,
    )


@functools.cache
def kind_of(func: Any) -> str:
    """A call's plain name: ``relu`` for ``F.relu``, ``torch.relu_`` and ``Tensor.relu`` alike."""
    name: str = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        if name[0] == "i" and name[1:] in _ARITHMETIC:
            return name[1:]
        return {"radd": "add", "rmul": "mul"}.get(name, name)
    return name[:-1] if name.endswith("_") else name


_ARITHMETIC = {"add", "sub", "mul", "truediv", "div", "pow", "matmul"}


def _writes_in_place(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    name = func.__name__
    if name in _WRITES_WITHOUT_TWIN or kwargs.get("out") is not None:
        return True
    if name.startswith("__"):
        return name[2] == "i" and name[3:-2] in _ARITHMETIC
    if name.endswith("_") and name != "requires_grad_":
        return True
    place = _inplace_position(func)
    if place is None:
        return False
    return bool(args[place] if len(args) > place else kwargs.get("inplace", False))


@functools.cache
def _inplace_position(func: Any) -> int | None:
    if not inspect.isfunction(func):
        return None
    names = list(inspect.signature(func).parameters)
    return names.index("inplace") if "inplace" in names else None


def _named_after(func: Any, args: Any, place: int) -> dict[str, Any]:
    names = list(inspect.signature(func).parameters)
    return dict(zip(names[place + 1 :], args[place + 1 :], strict=False))


def _twin(name: str) -> Any:
    plain = f"__{name[3:]}" if name.startswith("__i") else name[:-1]
    for home in (torch.Tensor, torch, nn.functional):
        if hasattr(home, plain):
            return getattr(home, plain)
    return None


def _is_signal(item: Any) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()


def _find(items: Any, known: Any, found: dict[int, None]) -> None:
    for item in items:
        if id(item) in known:
            found[id(item)] = None
        elif isinstance(item, (tuple, list)):
            _find(item, known, found)


def _replace(item: Any, by: dict[int, Tensor]) -> Any:
    if type(item) is tuple:
        return tuple([_replace(part, by) for part in item])
    if type(item) is list:
        return [_replace(part, by) for part in item]
    if type(item) is dict:
        return {key: _replace(part, by) for key, part in item.items()}
    return by.get(id(item), item)


@contextmanager
def _module_paths(modules: dict[str, nn.Module]) -> Iterator[Callable[[], str]]:
    """The path of the module that is running in this thread, as a function."""
    names = {id(module): name for name, module in modules.items()}
    thread, running = threading.get_ident(), [""]

    def enter(module: nn.Module, _: Any) -> None:
        if threading.get_ident() == thread:
            running.append(names.get(id(module), running[-1]))

    def leave(_: nn.Module, __: Any, ___: Any) -> None:
        if threading.get_ident() == thread:
            running.pop()

    entering = register_module_forward_pre_hook(enter)
    leaving = register_module_forward_hook(leave, always_call=True)
    try:
        yield lambda: running[-1]
    finally:
        entering.remove()
        leaving.remove()


def _label(ops: list[Op], modules: dict[str, nn.Module]) -> None:
    seen: Counter[str] = Counter()
    for op in ops:
        is_leaf = op.path and not modules[op.path]._modules
        base = op.path if is_leaf else f"{op.path}.{op.kind}".lstrip(".")
        seen[base] += 1
        op.label = base if seen[base] == 1 else f"{base}#{seen[base]}"
