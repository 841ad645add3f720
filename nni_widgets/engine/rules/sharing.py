"""The arithmetic that the rules have in common: safe division, and sharing by contribution."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from nni_widgets.engine.operations import Affine, affine_view, derivative, family
from nni_widgets.engine.rules.base import Share
from nni_widgets.engine.tape import Op

NEGLIGIBLE = 1e-9
"""The stabiliser of steps that have no ε of their own: sums, averages, pooling."""

_TINY = 1e-30


def divide(relevance: Tensor, z: Tensor, epsilon: float = 0.0, is_cut: bool = False) -> Tensor:
    """``relevance / (z + ε sign z)`` with sign 0 = 1, and 0 where that is a division by 0.

    An ε that is 0 in the precision of z counts as 0. Where a ReLU has cut z there is one sign.
    """
    if epsilon > _least(z.dtype):
        if is_cut:
            stable = z + epsilon
        else:
            stable = torch.copysign(_constant(epsilon, z.dtype, z.device), z).add_(z)
        return torch.div(relevance, stable, out=stable)
    return _finite(relevance / z)


def divide_in_place(relevance: Tensor, z: Tensor) -> Tensor:
    """As ``divide``, in the memory of ``z``."""
    return _finite(torch.div(relevance, z, out=z))


def _finite(ratio: Tensor) -> Tensor:
    return ratio.nan_to_num_(0.0, 0.0, 0.0)


@functools.cache
def _least(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).tiny * torch.finfo(dtype).eps


@functools.lru_cache(maxsize=64)
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)


def divide_by_positive(relevance: Tensor, z: Tensor, least: Tensor | None = None) -> Tensor:
    """``relevance / z`` for sums of one sign, where z = 0 only if all that it sums are 0.

    What comes out there is large and wrong, and is only ever multiplied by these zeros. It takes
    the memory of ``z``. Where z must be at least ``least``, it is set to that: convolutions that
    work in tiles give rounding noise in the place of zeros, and noise over noise can be anything.
    """
    if least is not None:
        torch.maximum(z, least, out=z)
    if z.dtype == torch.float16:
        return divide_in_place(relevance, z)
    return torch.div(relevance, z.add_(_TINY), out=z)


def proportional(op: Op, relevance: Tensor, epsilon: float) -> Share:
    """To each input in proportion to what it contributed to the output."""
    s = divide(relevance, op.results[0], epsilon, op.is_cut)
    if family(op) == "affine":
        layer = affine_view(op)
        spread = layer.transpose(layer.weight, s).mul_(layer.a)
        return Share((spread,), lambda: into_bias(layer, s))
    return Share(by_value(op, derivative(op, s)))


def by_value(op: Op, signals: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Each input of ``op`` times what arrived at it."""
    return tuple(value * signal for value, signal in zip(op.values, signals, strict=True))


def into_bias(layer: Affine, signal: Tensor | None, part: str = "") -> Tensor:
    """Per sample what flows into the bias, or into its positive or negative part."""
    if layer.bias is None or signal is None:
        return layer.z.new_zeros(len(layer.z))
    low, high = (0 if part == "+" else None), (0 if part == "-" else None)
    bias = layer.bias.clamp(low, high) if part else layer.bias
    return (signal * layer.along_output(bias)).flatten(1).sum(1)
