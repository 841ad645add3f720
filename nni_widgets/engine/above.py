"""The derivative at a layer by a pass whose graph begins there: nothing below it is kept.

Where the layer is, a tape tells once for each model, shape and layer. Then the model runs as it is,
and only its torch calls are counted, or, in an ``nn.Sequential``, its children: this costs little
more than a plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nni_widgets.engine.chain import runs_its_children
from nni_widgets.engine.checks import check_logits, run
from nni_widgets.engine.tape import Op

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
        cut = _run(who, model, x, place.label, place.call)
        if cut is not None and tuple(cut.ran) == place.ran:
            return _differentiated(place.label, cut, start)
    elif key in places:
        return None
    op = find()
    cut = _run(who, model, x, op.label, op.call)
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

    def __init__(self, model: nn.Module, at: int) -> None:
        super().__init__()
        self._model, self._at = model, at
        self.ran: list[Hashable] = []

    def __call__(self, x: Tensor) -> Tensor:
        with self:
            return cast(Tensor, self._model(x))

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


class _Chain:
    """Runs the children of an ``nn.Sequential``, and begins a graph at the output of one.

    ``ran`` are their names, the kinds of their modules, and the shape of that output, without the
    samples.
    """

    output: Tensor
    logits: Tensor

    def __init__(self, model: nn.Sequential, name: str) -> None:
        self._model, self._name = model, name

    @property
    def ran(self) -> list[Hashable]:
        children = self._model._modules
        return [*children, *map(_kinds, children.values()), _shape(self.output)]

    def __call__(self, x: Tensor) -> Tensor:
        for name, child in self._model._modules.items():
            x = child(x)
            if name == self._name and isinstance(x, Tensor):
                torch.set_grad_enabled(True)
                self.output = x.detach().requires_grad_()
                x = self.output.clone()
        return x


def _kinds(module: nn.Module | None) -> Any:
    """Its class, with those of all that is in it."""
    if module is None or not module._modules:
        return type(module)
    return type(module), *map(_kinds, module._modules.values())


def _shape(made: Any) -> tuple[int, ...]:
    return tuple(made.shape[1:]) if isinstance(made, Tensor) else ()


_Cut = _Counted | _Chain


def _cut(model: nn.Module, label: str, call: int) -> _Cut:
    if runs_its_children(model) and label in model._modules:
        return _Chain(cast(nn.Sequential, model), label)
    return _Counted(model, call)


def _run(who: str, model: nn.Module, x: Tensor, label: str, call: int) -> _Cut | None:
    cut = _cut(model, label, call)
    try:
        with torch.no_grad():
            cut.logits = run(who, cut, x.detach().clone())
            check_logits(who, cut.logits)
    except ValueError:
        return None
    return cut if hasattr(cut, "output") and cut.logits.requires_grad else None


def _differentiated(label: str, cut: _Cut, start: Callable[[Tensor], Tensor]) -> Above | None:
    logits = cut.logits.detach()
    signal = start(logits)
    try:
        (gradient,) = torch.autograd.grad(cut.logits, cut.output, signal)
    except RuntimeError:
        return None
    return Above(label, cut.output.detach(), logits, gradient)
