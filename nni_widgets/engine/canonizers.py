"""Rewrite a tape into an equal one on which the rules are well defined; the model is not touched.

Relevance must not stop at batch-norm or at a bias added by hand: both are part of the affine layer
before them (Montavon et al. 2019, sec. 10.3). ``canonical(tape)`` merges them, on the tape alone.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter

import torch
from torch import Tensor
from torch.nn import functional

from nni_widgets.engine.operations import affine, family
from nni_widgets.engine.tape import Op, Tape
from nni_widgets.engine.weights import modified

_IDENTITIES = {"dropout", "dropout1d", "dropout2d", "dropout3d", "contiguous", "clone", "identity"}

_MERGEABLE = {*_IDENTITIES, "batch_norm", "add", "sub"}

_BATCH_NORM = inspect.signature(functional.batch_norm)


@torch.no_grad()
def canonical(tape: Tape) -> Tape:
    """The tape with identities dropped, and batch-norm and added constants merged into layers."""
    if _MERGEABLE.isdisjoint(op.kind for op in tape.ops):
        return tape
    readers = Counter(number for op in tape.ops for number in op.inputs)
    readers[tape.output] += 1
    made: dict[int, int] = {}
    same: dict[int, int] = {}
    ops: list[Op] = []
    for op in tape.ops:
        if not same.keys().isdisjoint(op.inputs):
            op = dataclasses.replace(op, inputs=tuple(same.get(i, i) for i in op.inputs))
        if op.kind in _IDENTITIES and op.outputs[0] != tape.output:
            same[op.outputs[0]] = op.inputs[0]
            readers[op.inputs[0]] += readers[op.outputs[0]] - 1
            continue
        before = made.get(op.inputs[0])
        merged = None
        if before is not None and readers[op.inputs[0]] == 1:
            merged = _merged(ops[before], op)
        if merged is not None and before is not None:
            ops[before] = merged
        else:
            before = len(ops)
            ops.append(op)
        made.update(dict.fromkeys(op.outputs, before))
    return dataclasses.replace(tape, ops=ops)


def _merged(layer: Op, op: Op) -> Op | None:
    if op.unseen or family(layer) != "affine":
        return None
    if op.kind == "batch_norm":
        view = affine(layer)
        if family(op) != "linear" or (view.channel_dim != 1 and view.z.ndim != 2):
            return None
        scale, shift = _batch_norm(op)
    elif op.kind in {"add", "sub"} and len(op.inputs) == 1:
        found = _added_bias(layer, op)
        if found is None:
            return None
        scale, shift = None, found
    else:
        return None
    return _with_weights(layer, op, scale, shift)


def _with_weights(layer: Op, op: Op, scale: Tensor | None, shift: Tensor) -> Op:
    view = affine(layer)
    bias = (
        shift if view.bias is None else (view.bias if scale is None else view.bias * scale) + shift
    )
    weight = view.weight if scale is None else _scaled(layer, view.weight, scale)
    rest = () if view.channel_dim == -1 else layer.args[3:]
    kwargs = {key: v for key, v in layer.kwargs.items() if key not in {"input", "weight", "bias"}}
    return dataclasses.replace(
        layer,
        kind="linear" if view.channel_dim == -1 else layer.kind,
        outputs=op.outputs,
        results=op.results,
        call=op.call,
        is_cut=op.is_cut,
        args=(layer.values[0], weight, bias, *rest),
        kwargs=kwargs,
    )


def _scaled(layer: Op, weight: Tensor, scale: Tensor) -> Tensor:
    out_dim = 1 if layer.kind.startswith("conv_transpose") else 0
    groups = _groups(layer) if out_dim else 1
    return modified(weight, "merged", lambda w: _scale(w, scale, out_dim, groups), scale)


def _scale(weight: Tensor, scale: Tensor, out_dim: int, groups: int) -> Tensor:
    ones = [1] * (weight.ndim - 2)
    if out_dim == 0:
        return weight * scale.reshape(-1, 1, *ones)
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    return (parts * scale.reshape(groups, 1, -1, *ones)).reshape(weight.shape)


def _groups(layer: Op) -> int:
    position = 6
    given = layer.args[position] if len(layer.args) > position else 1
    return int(layer.kwargs.get("groups", given))


def _batch_norm(op: Op) -> tuple[Tensor, Tensor]:
    call = _BATCH_NORM.bind(*op.args, **op.kwargs)
    call.apply_defaults()
    given = call.arguments
    scale = torch.rsqrt(given["running_var"] + given["eps"])
    if given["weight"] is not None:
        scale = scale * given["weight"]
    shift = -given["running_mean"] * scale
    return scale, shift if given["bias"] is None else shift + given["bias"]


def _added_bias(layer: Op, op: Op) -> Tensor | None:
    """The constant of ``layer(x) + constant`` as a bias, if it is one number per channel."""
    operands = [*op.args, *(value for key, value in op.kwargs.items() if key == "other")]
    if "alpha" in op.kwargs or len(operands) != 2:
        return None
    constant = operands[1] if operands[0] is op.values[0] else operands[0]
    if op.kind == "sub" and constant is operands[0]:
        return None
    view = affine(layer)
    channels = view.z.shape[view.channel_dim]
    constant = torch.as_tensor(constant, dtype=view.z.dtype, device=view.z.device).detach()
    per_channel = view.along_output(view.z.new_empty(channels)).shape
    if constant.numel() != 1 and _without_leading_ones(constant.shape) != per_channel:
        return None
    bias = constant.reshape(-1).expand(channels)
    return bias if op.kind == "add" else -bias


def _without_leading_ones(shape: torch.Size) -> torch.Size:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape
