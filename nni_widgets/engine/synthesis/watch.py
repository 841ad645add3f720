"""Look into a model while autograd runs: what it makes at named layers, still part of the graph.

A layer is found by the label that it has on the tape. The tape numbers every value of a forward
pass; a watched pass counts in the same way, so that a value is met again by its number: in
functional, reused and in-place calls too, and without a hook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nni_widgets.engine.calls import call_of
from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.checks import check_logits, run
from nni_widgets.engine.methods.maps import spatial_layer
from nni_widgets.engine.tape import Op, Tape, record
from nni_widgets.errors import invalid


class _Place(NamedTuple):
    """The number of a value on the tape, and the kind of the operation that makes it."""

    number: int
    kind: str


@dataclass(frozen=True)
class Watch:
    """Where the watched layers are: name -> the number of a value and the kind of what makes it.

    ``kinds`` of what makes the values on the tape, by their numbers: a pass that makes others on
    its way to a layer runs otherwise, and its numbers mean something else.
    """

    who: str
    places: Mapping[str, _Place]
    kinds: Mapping[int, str] = field(default_factory=dict)

    @overload
    def see(
        self, model: nn.Module, x: Tensor, logits: Literal[True] = True
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    @overload
    def see(
        self, model: nn.Module, x: Tensor, logits: bool
    ) -> tuple[Tensor | None, dict[str, Tensor]]: ...

    def see(
        self, model: nn.Module, x: Tensor, logits: bool = True
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The checked logits ``(N, K)`` and the activations, as parts of the graph that x is in.

        Without ``logits`` the pass ends as soon as all layers are seen. The model may write to what
        it reads and makes: x and what is returned are not touched.
        Cost: one forward pass, or less.
        """
        start = x.clone()
        made: Any = None
        if not self.places:
            return (self._checked(run(self.who, model, start)) if logits else None), {}
        watcher = _Watcher(start, frozenset(self.places.values()), self.kinds, stop=not logits)
        with suppress(_EverythingSeen), torch.enable_grad(), watcher:  # as the tape is recorded
            made = run(self.who, model, start)
        for name, place in self.places.items():
            if place not in watcher.seen:
                action = "Leave out what depends on the values of x or their number in forward"
                raise invalid(self.who, f"layer {name!r}", "run in every pass", "none", action)
        activations = {name: watcher.seen[place] for name, place in self.places.items()}
        return (self._checked(made) if logits else None), activations

    def _checked(self, logits: Tensor) -> Tensor:
        check_logits(self.who, logits)
        return logits.clone()  # a model may write to its output again


def watch(who: str, model: nn.Module, x: Tensor, layers: Sequence[str]) -> Watch:
    """Find the named layers in the model, as it runs on x; ``""`` is the last with places.

    Names are those of ``nni.layers(model, x)``, where batch-norm is part of the layer before it,
    and those of single operations that are not named there.
    Raises ``ValueError`` for an unknown name, :class:`UnsupportedOperation` if the model cannot be
    recorded. Cost: one forward pass if there are layers, none otherwise.
    """
    if not layers:
        return Watch(who, {})
    tape = record(model, x.detach(), who)
    whole = canonical(tape)
    by_label = {op.label: op for op in (*tape.ops, *whole.ops)}
    if "" in layers:
        by_label[""] = _last_with_places(whole, who)
    for name in layers:
        if not isinstance(name, str) or name not in by_label:
            expected = f"one of {', '.join(op.label for op in whole.ops)}"
            raise invalid(who, "layer", expected, repr(name), "See nni.layers(model, x)")
    kinds = {number: op.kind for op in tape.ops for number in op.outputs}
    numbers = {name: by_label[name].outputs[0] for name in layers}
    places = {name: _Place(number, kinds[number]) for name, number in numbers.items()}
    return Watch(who, places, kinds)


def _last_with_places(tape: Tape, who: str) -> Op:
    try:
        return spatial_layer(tape, "", who)
    except ValueError as error:
        expected, given = "named where the model has no maps of more than one place", "''"
        raise invalid(who, "layer", expected, given, "See nni.layers(model, x)") from error


class _EverythingSeen(BaseException):
    """Ends a forward pass early; no ``except Exception`` of a model holds it up."""


class _Watcher(TorchFunctionMode):
    """Counts the values of a pass as the tape does, and keeps those with the wanted numbers."""

    def __init__(
        self, start: Tensor, wanted: frozenset[_Place], kinds: Mapping[int, str], stop: bool
    ) -> None:
        super().__init__()
        self.seen: dict[_Place, Tensor] = {}
        self._wanted, self._kinds, self._stop = wanted, kinds, stop
        self._is_as_recorded = True
        self._known = {id(start): start}
        self._count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        counts = self._reads(args) or self._reads(tuple(kwargs.values()))
        result, call = func(*args, **kwargs), call_of(func)
        if counts and torch.is_grad_enabled() and not call.is_constant:
            for part in (result,) if isinstance(result, Tensor) else pytree.tree_leaves(result):
                if isinstance(part, Tensor) and part.is_floating_point():
                    self._meet(part, call.kind)
        return result

    def _reads(self, items: tuple[Any, ...] | list[Any]) -> bool:
        """Whether one of them comes from the image; a tuple of sizes is not searched."""
        for item in items:
            kind = type(item)
            if id(item) in self._known:
                return True
            is_searched = (kind is tuple or kind is list) and item and type(item[0]) is not int
            if is_searched and self._reads(item):
                return True
        return False

    def _meet(self, value: Tensor, kind: str) -> None:
        self._known[id(value)] = value
        self._count += 1
        self._is_as_recorded &= self._kinds.get(self._count, kind) == kind
        place = _Place(self._count, kind)
        if self._is_as_recorded and place in self._wanted:
            self.seen[place] = value.clone()  # the model may still write to it
            if self._stop and len(self.seen) == len(self._wanted):
                raise _EverythingSeen
