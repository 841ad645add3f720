"""The spatial maps of a layer on a tape: which layer, what lies above it, what pixels get of it."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.operations import affine, family, group
from nni_widgets.engine.propagation import differentiate
from nni_widgets.engine.tape import Op, Tape, record
from nni_widgets.errors import UnsupportedOperation, invalid, sentence

UPSAMPLINGS = ("bilinear", "nearest")
_INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}
_OTHER_AXES = {
    *("permute", "transpose", "movedim", "moveaxis", "swapaxes", "T", "mT"),
    *("view", "reshape", "unflatten", "view_as", "reshape_as"),
}


def spatial_layer(tape: Tape, name: str, who: str) -> Op:
    """The layer of this name; without a name the last one that has maps of more than one place.

    Maps are ``(N, C, ...)`` with as many axes as x. Which axis is which a convolution or pooling
    says, until a step moves them about: only between the two a layer is inferred. Raises
    ``ValueError`` if there is no such layer.
    """
    if not name:
        return _last_with_maps(tape, who)
    with_maps = [op.label for op in tape.ops if _has_maps(op, tape)]
    op = next((op for op in tape.ops if op.label == name), None)
    if op is None or op.label not in with_maps:
        expected = "a layer of maps (N, C, ...) with as many axes as x"
        expected += f", one of {', '.join(with_maps)}" if with_maps else ""
        given = repr(name) if op is None else f"{name!r} of shape {tuple(op.results[0].shape)}"
        raise invalid(who, "layer", expected, given, "See nni.layers(model, x)")
    return op


def layers_with_maps(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    """The names of the layers that have maps of more than one place, in the order they run in.

    Raises as a method does for a model or input that cannot be followed. Cost: one forward pass.
    """
    who = "layers_with_maps"
    check_model(who, model)
    check_input(who, model, x)
    tape = canonical(record(model, x.detach(), who))
    return tuple(op.label for op in tape.ops if _has_maps(op, tape) and places(op) > 1)


def head_gradient(tape: Tape, op: Op, start: Tensor) -> Tensor:
    """The derivative at what a layer makes, ``start`` being that of the score at the logits.

    Only what reads the layer is walked: nothing below it. Shape: as the layer's output.
    Cost: the backward pass of the operations above the layer.
    """
    return differentiate(_head(tape, op), start)


def pooled_maps(tape: Tape, who: str) -> tuple[Op, Tensor]:
    """The layer whose maps are averaged for the last, dense layer, and that layer's weights (K, C).

    Found by what happens on the tape: the output is dense, its input is the mean of every map, and
    only steps that move values or add them up lie between. Raises :class:`UnsupportedOperation`.
    """
    made_by = {number: op for op in tape.ops for number in op.outputs}
    last = made_by[tape.output]
    if group(last.kind) != "dense" or family(last) != "affine":
        _refuse(who, f"{last.kind} (in {last.label!r}) at the end")
    dense = affine(last)
    op = made_by.get(last.inputs[0])
    while op is not None and not (_has_maps(op, tape) and places(op) > 1):
        passes_on = family(op) in {"move", "linear"} and len(op.inputs) == len(op.outputs) == 1
        op = made_by.get(op.inputs[0]) if passes_on else None
    if op is None or not _is_mean(dense.a, op.results[0]):
        _refuse(who, f"{last.label!r} that reads something else")
    return op, dense.weight.detach()


def upsample(maps: Tensor, x: Tensor, mode: str = "bilinear") -> Tensor:
    """Maps ``(M, h, w)`` at the size of x's pixels: ``(M, H, W)``; likewise in 1 or 3 dimensions.

    ``mode``: "bilinear", or "nearest", which shows each place of the map as a block.
    """
    sides = x.shape[2:]
    how = "nearest-exact" if mode == "nearest" else _INTERPOLATIONS[len(sides)]
    return functional.interpolate(maps.unsqueeze(1), size=sides, mode=how).squeeze(1)


def places(op: Op) -> int:
    """How many places each map of a layer has."""
    return op.results[0][0, 0].numel()


def along_places(weights: Tensor, maps: Tensor) -> Tensor:
    """One number per channel ``(N, C)``, shaped to multiply maps ``(N, C, ...)``."""
    return weights.reshape(*weights.shape, *[1] * (maps.ndim - 2))


def _last_with_maps(tape: Tape, who: str) -> Op:
    last, axes_known = None, False
    for op in tape.ops:
        axes_known |= op.kind.startswith("conv") or "pool" in op.kind
        axes_known &= op.kind not in _OTHER_AXES
        if axes_known and _has_maps(op, tape) and places(op) > 1:
            last = op
    if last is None:
        expected = "one with spatial maps (N, C, ...) on the way to the logits"
        given = "a model without" if tape.x.ndim > 2 else f"x of shape {tuple(tape.x.shape)}"
        action = "Use a method that needs none, such as IntegratedGradients"
        raise invalid(who, "the model", expected, given, action)
    return last


def _has_maps(op: Op, tape: Tape) -> bool:
    shape = op.results[0].shape
    fits = len(op.results) == 1 and len(shape) == tape.x.ndim and len(shape) in {3, 4, 5}
    return fits and shape[0] == len(tape.x)


def _head(tape: Tape, layer: Op) -> Tape:
    """The part of the tape that reads a layer, whose output is the number 0 on it."""
    (made,) = layer.outputs
    reached, ops = {made}, []
    for op in tape.ops:
        if reached.intersection(op.inputs):
            reached.update(op.outputs)
            inputs = tuple({made: 0, 0: -1}.get(number, number) for number in op.inputs)
            ops.append(dataclasses.replace(op, inputs=inputs))
    return dataclasses.replace(tape, x=layer.results[0], ops=ops)


def _is_mean(pooled: Tensor, maps: Tensor) -> bool:
    flat = maps.flatten(2)
    if pooled.shape != flat.shape[:2]:
        return False
    rounding = torch.finfo(flat.dtype).eps ** 0.5 * flat.abs().mean(2)
    return bool(((pooled - flat.mean(2)).abs() <= rounding).all())


def _refuse(who: str, given: str) -> NoReturn:
    expected = "one dense layer on the global average of every map"
    action = "Use GradCAM, which needs no such end"
    raise UnsupportedOperation(sentence(who, "the end of the model", expected, given, action))
