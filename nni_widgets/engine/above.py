"""The derivative at a layer by a pass whose graph begins there: nothing below it is kept.

Where the layer is, a tape tells once for each model, shape and layer. Then the model runs as it is,
and only its torch calls are counted; where a Sequential ends in modules that make one call each,
those above the layer are recorded. Either costs little more than a plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nni_widgets.engine.chain import Link, links, makes_one_call, steps
from nni_widgets.engine.checks import check_logits, run
from nni_widgets.engine.operations import derivative
from nni_widgets.engine.order import in_quickest_order
from nni_widgets.engine.tape import Op, Tape, record_chain

_known: WeakKeyDictionary[nn.Module, dict[Hashable, _Place | None]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Above:
    """A layer's name, what it made of x, the logits, and the score's derivative at its output."""

    label: str
    output: Tensor
    logits: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class _Spot:
    """How many torch calls make the layer's output, or how many steps of a Sequential.

    Where the last of these steps is a block, ``module`` is the path of what makes it in there.
    """

    count: int
    in_steps: bool = False
    module: str = ""


@dataclass(frozen=True, eq=False)
class _Place:
    """The layer's name, where it is, and how all ran."""

    label: str
    spot: _Spot
    ran: tuple[Hashable, ...]


@torch.no_grad()
def above(
    who: str,
    model: nn.Module,
    x: Tensor,
    layer: str,
    find: Callable[[], tuple[Tape, Op]],
    start: Callable[[Tensor], Tensor],
) -> Above | None:
    """The derivative at a layer; None if autograd cannot say it, so that a tape has to.

    So it is if the model writes in place to what autograd needs, or is not differentiable there.
    ``find()`` gives a tape of x and the layer's operation on it: it is called the first time, and
    again if the model does not run as before. ``start(logits)`` is the score's derivative at the
    logits. Raises what these two raise. Cost: one forward pass, one backward pass of what is above.
    """
    places = _known.setdefault(model, {})
    key = (x.shape[1:], x.dtype, layer)
    place = places.get(key)
    if place is not None:
        cut = _run(who, model, x, place.spot)
        if cut is not None and tuple(cut.ran) == place.ran:
            return _differentiated(place.label, cut, start)
    elif key in places:
        return None
    tape, op = find()
    spot = _spot(model, tape, op)
    cut = _run(who, model, x, spot)
    if cut is None or not torch.equal(cut.output.detach(), op.results[0]):
        places[key] = None
        return None
    found = _differentiated(op.label, cut, start)
    places[key] = _Place(op.label, spot, tuple(cut.ran)) if found else None
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
    """Runs the steps of a Sequential, and records those above a layer, which are known calls.

    ``ran`` are the steps, the uses of the module that makes the layer inside the last step below,
    and the shape of the layer's output, without the samples.
    """

    output: Tensor
    logits: Tensor

    def __init__(self, who: str, chain: list[Link], at: int, module: nn.Module | None) -> None:
        self._who, self._chain, self._at, self._module = who, chain, at, module
        self._made: list[Any] = []

    @property
    def is_followed(self) -> bool:
        """Whether the module made what the last step below gave back."""
        return self._module is None or any(made is self.output for made in self._made)

    @property
    def ran(self) -> list[Hashable]:
        steps = [(link.path, link.func if link.label else ref(link.func)) for link in self._chain]
        return [*steps, len(self._made), _shape(self.output)]

    def __call__(self, x: Tensor) -> Tensor:
        self.output = self._below(x) if self._module is None else self._watched(x, self._module)
        self._tape = record_chain(self._chain[self._at :], self.output, self._who)
        return self._tape.logits

    def _watched(self, x: Tensor, module: nn.Module) -> Tensor:
        handle = module.register_forward_hook(lambda _, __, made: self._made.append(made))
        try:
            return self._below(x)
        finally:
            handle.remove()

    def _below(self, x: Tensor) -> Tensor:
        below = self._chain[: self._at]
        x = x if all(link.label for link in below) else x.clone()
        for link in below:
            x = link.func(x, *link.rest)
        return x

    def gradient(self, signal: Tensor) -> Tensor:
        """The derivative at the layer; ``signal`` is that at the logits."""
        for op in reversed(self._tape.ops):
            (signal,) = derivative(op, signal)
        return signal


def _shape(made: Any) -> tuple[int, ...]:
    return tuple(made.shape[1:]) if isinstance(made, Tensor) else ()


_Cut = _Counted | _Linked


def _spot(model: nn.Module, tape: Tape, layer: Op) -> _Spot:
    """By steps, if what reads the layer and all above are known calls; else by torch calls."""
    if links(model) is not None:
        return _Spot(layer.call, in_steps=True)
    after = tape.ops[tape.ops.index(layer) + 1 :]
    reads = [layer.outputs, *(op.outputs for op in after)]
    if any(op.inputs != read for op, read in zip(after, reads, strict=False)):
        return _Spot(layer.call)
    chain = steps(model) or []
    below = _steps_below(chain, [op.label for op in after], {op.label for op in tape.ops})
    step = chain[below - 1] if below else None
    if step is not None and step.label == layer.label:
        return _Spot(below, in_steps=True)
    if step is not None and not step.label and makes_one_call(_at(model, layer.path)):
        return _Spot(below, in_steps=True, module=layer.path)
    return _Spot(layer.call)


def _steps_below(chain: list[Link], above: list[str], on_tape: set[str]) -> int:
    """How many steps lie below those of these names; 0 if they do not end the chain.

    Steps among them that the tape leaves out, as they do nothing or are merged, are no matter.
    """
    for count in range(len(chain), 0, -1):
        label = chain[count - 1].label
        if not above:
            return count
        if label == above[-1]:
            above.pop()
        elif not label or label in on_tape:
            break
    return 0


def _at(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _run(who: str, model: nn.Module, x: Tensor, spot: _Spot) -> _Cut | None:
    """A pass that begins there; None if it cannot be followed, or the model has no such place."""
    chain = steps(model) or [] if spot.in_steps else []
    module = _at(model, spot.module) if spot.module else None
    if spot.in_steps and not _fits(spot, chain, module):
        return None

    def in_order(moved: Tensor) -> _Cut:
        cut: _Cut
        if spot.in_steps:
            cut = _Linked(who, chain, spot.count, module)
        else:
            cut = _Counted(who, model, spot.count)
        cut.logits = run(who, cut, moved)
        return cut

    try:
        cut = in_quickest_order(model, x, in_order)
    except ValueError:
        return None
    return cut if cut.is_followed else None


def _fits(spot: _Spot, chain: list[Link], module: nn.Module | None) -> bool:
    """Whether the steps above are known calls, and so is what makes the layer inside a block."""
    above = [link.label for link in chain[spot.count :]]
    return bool(above) and all(above) and (not spot.module or makes_one_call(module))


def _differentiated(label: str, cut: _Cut, start: Callable[[Tensor], Tensor]) -> Above | None:
    logits = cut.logits.detach()
    signal = start(logits)
    try:
        gradient = cut.gradient(signal)
    except RuntimeError:
        return None
    return Above(label, cut.output.detach(), logits, gradient)
