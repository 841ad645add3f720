"""Rules for max-pooling: all to the largest value of a window, or to each by its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from nni_widgets.engine.operations import compares
from nni_widgets.engine.rules.base import Rule, Share
from nni_widgets.engine.rules.sharing import NEGLIGIBLE, by_value, divide
from nni_widgets.engine.rules.steps import Derivative
from nni_widgets.engine.tape import Op
from nni_widgets.errors import UnsupportedOperation

_GEOMETRY = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


class WinnerTakesAll(Derivative):
    """Max-pooling: all relevance goes to the largest value of the window.

    Source: Montavon, Samek, Müller 2018, sec. 5.3 (special layers).
    """


class ProportionalPool(Rule):
    """Max-pooling seen as average-pooling: to all values of a window, ``a_i / Σ a · R_k``.

    Smoother than the winner alone. Named in a table: ``{":maxpool": ProportionalPool(), …}``. For
    activations that are not negative; where values of both signs nearly cancel, shares are large.

    Unit: that of the logit. Cost: one forward and one backward pass of an average-pooling.
    Raises :class:`UnsupportedOperation` where there is no maximum to share.
    Source: Bach et al. 2015, sec. 2.3 (sum-pooling); Montavon, Samek, Müller 2018, sec. 5.3.
    """

    loss: ClassVar[str] = "window of 0"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        total = _total_of(op)
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in op.values]
            sums = total(*leaves)
            s = divide(relevance, sums.detach(), NEGLIGIBLE)
            return Share(by_value(op, torch.autograd.grad(sums, leaves, s)))


def _total_of(op: Op) -> Callable[..., Tensor]:
    """The function that adds up (or averages) what the operation takes the maximum of."""
    kind = op.kind.removesuffix("_with_indices")
    if kind.startswith("max_pool"):
        return lambda x: _window_sums(x, op.results[0].shape[2:], **_geometry(op))
    if kind.startswith("adaptive_max_pool"):
        average = getattr(functional, kind.replace("max", "avg"))
        return lambda x: average(x, op.results[0].shape[-int(kind[-2]) :])
    if compares(op):
        return dataclasses.replace(op, func=torch.add).again
    if kind in {"amax", "max"}:
        along = _given(op, ("dim", "keepdim"))
        return lambda x: x.sum(**along)
    raise UnsupportedOperation(
        f"LRP: ProportionalPool must be the rule of a maximum; got {op.kind} (in {op.label!r}). "
        "Name another rule for it in the composite."
    )


def _given(op: Op, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of the call behind its input, by these names."""
    found = dict(zip(names, op.args[1:], strict=False))
    return found | {name: op.kwargs[name] for name in names if name in op.kwargs}


def _geometry(op: Op) -> dict[str, list[int]]:
    """Size, stride, padding and dilation of the windows, a number for each axis."""
    given = _given(op, _GEOMETRY)
    if not given.get("stride"):
        given["stride"] = given["kernel_size"]
    axes = op.results[0].ndim - 2

    def each(name: str, default: int) -> list[int]:
        value = given.get(name, default)
        return [value] * axes if isinstance(value, int) else list(value)

    return {"size": each("kernel_size", 1)} | {
        name: each(name, default) for name, default in (("stride", 1), ("padding", 0),
                                                        ("dilation", 1))
    }  # fmt: skip


def _window_sums(
    x: Tensor,
    shape: torch.Size,
    size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    """The sum of every window: a convolution with ones, cells outside counting nothing."""
    pads: list[int] = []
    for axis in reversed(range(len(size))):
        reached = (shape[axis] - 1) * stride[axis] + dilation[axis] * (size[axis] - 1) + 1
        pads += [padding[axis], max(reached - x.shape[2 + axis] - padding[axis], 0)]
    cells = functional.pad(x.flatten(0, 1).unsqueeze(1), pads)
    convolve = _CONVOLUTIONS[len(size) - 1]
    sums = convolve(cells, x.new_ones(1, 1, *size), None, stride, 0, dilation)
    for axis, length in enumerate(shape):
        sums = sums.narrow(2 + axis, 0, length)
    return sums.reshape(*x.shape[:2], *shape)
