"""What is known of a torch function before it is called, and how to call it out of place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_ARITHMETIC = {"add", "sub", "mul", "truediv", "div", "pow", "matmul"}
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


class Call(NamedTuple):
    """A torch function: its plain name, and which of its forms write or select.

    ``kind`` is ``relu`` for ``F.relu``, ``torch.relu_`` and ``Tensor.relu`` alike. ``is_constant``:
    no derivative leads through it. ``writes``: it always writes to its first argument;
    ``inplace_at``: the place of its argument ``inplace``. ``with_winners``: max-pooling that also
    returns the indices.
    """

    kind: str
    is_constant: bool
    writes: bool
    inplace_at: int | None
    with_winners: Callable[..., tuple[Tensor, Tensor]] | None

    def writes_in_place(self, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether a call with these arguments writes to a tensor."""
        if self.writes or kwargs.get("out") is not None:
            return True
        if self.inplace_at is None:
            return False
        given = args[self.inplace_at] if len(args) > self.inplace_at else kwargs.get("inplace")
        return bool(given)


@functools.cache
def call_of(func: Any) -> Call:
    """The function's :class:`Call`."""
    kind = _kind_of(func)
    pools = kind.startswith(("max_pool", "adaptive_max_pool")) and not kind.endswith("indices")
    return Call(
        kind=kind,
        is_constant=kind in _CONSTANTS,
        writes=_always_writes(func.__name__),
        inplace_at=_inplace_position(func),
        with_winners=getattr(nn.functional, f"{kind}_with_indices") if pools else None,
    )


def out_of_place(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """A call that gives what this in-place call would write.

    Raises ``LookupError`` with the reason where there is none.
    """
    place = _inplace_position(func)
    if place is not None:
        names = _names(func)
        kept = {key: value for key, value in kwargs.items() if key != "inplace"}
        kept |= dict(zip(names[place + 1 :], args[place + 1 :], strict=False))
        return func, args[:place], kept
    if func.__name__ in _WRITES_WITHOUT_TWIN or "out" in kwargs:
        raise LookupError("a part of a tensor is overwritten")
    name = func.__name__
    plain = f"__{name[3:]}" if name.startswith("__i") else name[:-1]
    for home in (torch.Tensor, torch, nn.functional):
        if hasattr(home, plain):
            return getattr(home, plain), args, kwargs
    raise LookupError("it has no out-of-place form")


def _kind_of(func: Any) -> str:
    name: str = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        if name[0] == "i" and name[1:] in _ARITHMETIC:
            return name[1:]
        return {"radd": "add", "rmul": "mul"}.get(name, name)
    return name[:-1] if name.endswith("_") else name


def _always_writes(name: str) -> bool:
    if name in _WRITES_WITHOUT_TWIN:
        return True
    if name.startswith("__"):
        return name[2] == "i" and name[3:-2] in _ARITHMETIC
    return name.endswith("_") and name != "requires_grad_"


@functools.cache
def _names(func: Any) -> list[str]:
    """What a Python function calls its arguments; nothing where it does not say."""
    try:
        return list(inspect.signature(func).parameters) if inspect.isfunction(func) else []
    except ValueError:  # a function around a builtin one, such as Tensor.__pow__
        return []


def _inplace_position(func: Any) -> int | None:
    names = _names(func)
    return names.index("inplace") if "inplace" in names else None
