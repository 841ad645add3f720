"""The derivative at a layer by a pass whose graph begins there: nothing below it is kept.

Where the layer is, a tape tells once for each model, shape and layer. Then the model runs as it is,
and only its torch calls are counted; of a plain chain the calls are known, and those above the
layer are recorded. Either costs little more than a plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nni_widgets.engine.chain import Link, links
from nni_widgets.engine.checks import check_logits, run
from nni_widgets.engine.order import in_quickest_order
from nni_widgets.engine.propagation import differentiate
from nni_widgets.engine.tape import Op, record_chain

_known: WeakKeyDictionary[nn.Module, dict[Hashable, _Place | None]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Above:
    """A layer's name, what it made of x, the logits, and the score's derivative at its output."""

    label: str
    output: Tensor
    logits: Tensor
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class _Place:
    """The layer's name, the number of the torch call that makes its output, and how all ran."""

    label: str
    call: int
    ran: tuple[Hashable, ...]


def above(
    who: str,
    model: nn.Module,
    x: Tensor,
    layer: str,
    find: Callable[[], Op],
    start: Callable[[Tensor], Tensor],
) -> Above | None:
    """The derivative at a layer; None if autograd cannot say it, so that a tape has to.

    So it is if the model writes in place to what autograd needs, or is not differentiable there.
    ``find()`` gives the layer's operation on a tape of x: it is called the first time, and again if
    the model does not run as before. ``start(logits)`` is the score's derivative at the logits.
    Raises what these two raise. Cost: one forward pass, one backward pass of what is above.
    """
    places = _known.setdefault(model, {})
    key = (x.shape[1:], x.dtype, layer)
    place = places.get(key)
    if place is not None:
        cut = _run(who, model, x, place.call)
        if cut is not None and tuple(cut.ran) == place.ran:
            return _differentiated(place.label, cut, start)
    elif key in places:
        return None
    op = find()
    cut = _run(who, model, x, op.call)
    if cut is None or not torch.equal(cut.output.detach(), op.results[0]):
        places[key] = None
        return None
    found = _differentiated(op.label, cut, start)
    places[key] = _Place(op.label, op.call, tuple(cut.ran)) if found else None
    return found


class _Counted(TorchFunctionMode):
    """Runs every call as it is, and begins a graph at the result of one of them.

    ``ran`` are the calls and the shapes of what they made, without the samples.
    """

    output: Tensor
    logits: Tensor

    def __init__(self, who: str, model: nn.Module, at: int) -> None:
        super().__init__()
        self._who, self._model, self._at = who, model, at
        self.ran: list[Hashable] = []

    def __call__(self, x: Tensor) -> Tensor:
        own = x.clone()
        with self:
            logits = self._model(own)
        check_logits(self._who, logits)
        return cast(Tensor, logits)

    @property
    def is_followed(self) -> bool:
        """Whether there is a graph from the layer to the logits."""
        return hasattr(self, "output") and self.logits.requires_grad

    def gradient(self, signal: Tensor) -> Tensor:
        """The derivative at the layer; ``signal`` is that at the logits."""
        return torch.autograd.grad(self.logits, self.output, signal)[0]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.ran.append((func, _shape(result)))
        return self._begin(result, args) if len(self.ran) == self._at else result

    def _begin(self, result: Any, args: Any) -> Any:
        """Differentiate from here on. What the call wrote to is known to the model: it stays."""
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        torch.set_grad_enabled(True)
        is_written = any(result is each for each in args)
        self.output = (result if is_written else result.detach()).requires_grad_()
        return result if is_written else self.output.clone()


class _Linked:
    """Runs the calls of a plain chain, and records those above a layer.

    ``ran`` are the calls, and the shape of the layer's output, without the samples.
    """

    output: Tensor
    logits: Tensor

    is_followed = True

    def __init__(self, who: str, chain: list[Link], at: int) -> None:
        self._who, self._chain, self._at = who, chain, at

    @property
    def ran(self) -> list[Hashable]:
        return [*((link.path, link.func) for link in self._chain), _shape(self.output)]

    def __call__(self, x: Tensor) -> Tensor:
        for link in self._chain[: self._at]:
            x = link.func(x, *link.rest)
        self.output, self._tape = x, record_chain(self._chain[self._at :], x, self._who)
        return self._tape.logits

    def gradient(self, signal: Tensor) -> Tensor:
        """The derivative at the layer; ``signal`` is that at the logits."""
        return differentiate(self._tape, signal)


def _shape(made: Any) -> tuple[int, ...]:
    return tuple(made.shape[1:]) if isinstance(made, Tensor) else ()


_Cut = _Counted | _Linked


def _run(who: str, model: nn.Module, x: Tensor, call: int) -> _Cut | None:
    def in_order(moved: Tensor) -> _Cut:
        chain = links(model)
        cut = _Counted(who, model, call) if chain is None else _Linked(who, chain, call)
        cut.logits = run(who, cut, moved)
        return cut

    try:
        with torch.no_grad():
            cut = in_quickest_order(model, x, in_order)
    except ValueError:
        return None
    return cut if cut.is_followed else None


def _differentiated(label: str, cut: _Cut, start: Callable[[Tensor], Tensor]) -> Above | None:
    logits = cut.logits.detach()
    signal = start(logits)
    try:
        gradient = cut.gradient(signal)
    except RuntimeError:
        return None
    return Above(label, cut.output.detach(), logits, gradient)
