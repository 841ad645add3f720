"""A network written out by hand: a list of nodes, every affine layer an explicit dense matrix.

One sample at a time, float64, every value a flat vector. The matrix of a layer is found by pushing
all unit vectors through it, so nothing here relies on autograd or on the adjoint of a layer.

    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model.conv))        # node 0 is the input
    h = g.add(h, g.affine(h, model.other))
    g.affine(h, model.head)                    # the last node holds the logits
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Input:
    """The pixels."""


@dataclass(frozen=True)
class Affine:
    """`weight @ value + bias`; `connected[k, j]` says whether a weight joins j to k at all.

    A cell of zero padding is no input, so it has no column, and whatever a rule shares out over
    the connected inputs does not go there.
    """

    source: int
    weight: Tensor
    bias: Tensor
    connected: Tensor


@dataclass(frozen=True)
class Average:
    """`weight @ value` with weights that nobody learned: a mean or sum over windows, padding."""

    source: int
    weight: Tensor


@dataclass(frozen=True)
class Activation:
    """A function of each value by itself."""

    source: int
    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MaxPool:
    """Output k is the maximum over the inputs listed in `windows[k]` (row by row, no padding)."""

    source: int
    windows: list[list[int]]


@dataclass(frozen=True)
class Gather:
    """Output k is input `index[k]`: permutation, slice, nearest upsampling."""

    source: int
    index: Tensor


@dataclass(frozen=True)
class Add:
    """The sum of two nodes."""

    left: int
    right: int


@dataclass(frozen=True)
class Concat:
    """One node after the other."""

    sources: tuple[int, ...]


Node = Input | Affine | Average | Activation | MaxPool | Gather | Add | Concat


class Graph:
    """Nodes in an order in which they can be computed; each method appends one, returns its index.

    `shapes[i]` is the shape of node i's value, without the batch.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.nodes: list[Node] = [Input()]
        self.shapes: list[tuple[int, ...]] = [tuple(shape)]

    def affine(self, source: int, layer: nn.Module, norm: nn.Module | None = None) -> int:
        """A convolution or linear layer, with the batch-norm `norm` merged into it if given.

        A batch-norm may also be the layer itself: a diagonal matrix and a bias.
        """
        shape = self.shapes[source]
        if _is_norm(layer):
            scale, shift = _norm_constants(layer)
            channel = _channel_of(shape)
            weight, bias = torch.diag(scale[channel]), shift[channel]
            return self._append(Affine(source, weight, bias, weight != 0), shape)
        weight, bias, out_shape = matrix_of(layer, shape)
        if norm is not None:
            scale, shift = _norm_constants(norm)
            channel = _channel_of(out_shape)
            weight, bias = scale[channel, None] * weight, scale[channel] * bias + shift[channel]
        connected, _, _ = matrix_of(_with_unit_weights(layer), shape)
        return self._append(Affine(source, weight, bias, connected != 0), out_shape)

    def scale(self, source: int, factor: Tensor | float, offset: Tensor | float = 0.0) -> int:
        """`factor * value + offset`, both broadcast to the value's shape."""
        shape = self.shapes[source]
        diagonal = torch.as_tensor(factor, dtype=torch.float64).expand(shape).flatten()
        bias = torch.as_tensor(offset, dtype=torch.float64).expand(shape).flatten()
        connected = torch.eye(len(diagonal), dtype=torch.bool)
        return self._append(Affine(source, torch.diag(diagonal), bias, connected), shape)

    def average(self, source: int, pool: Callable[[Tensor], Tensor]) -> int:
        """Average pooling, a mean or sum over some axes, zero padding."""
        weight, _, shape = matrix_of(pool, self.shapes[source])
        return self._append(Average(source, weight), shape)

    def activation(self, source: int, function: Callable[[Tensor], Tensor]) -> int:
        return self._append(Activation(source, function), self.shapes[source])

    def relu(self, source: int) -> int:
        return self.activation(source, torch.relu)

    def maxpool(self, source: int, kernel: int, stride: int, padding: int = 0) -> int:
        """Max-pooling over windows of `kernel` along every axis but the first."""
        channels, *sizes = self.shapes[source]
        cells = torch.arange(channels * _product(sizes)).view(channels, *sizes)
        out_sizes = [(size + 2 * padding - kernel) // stride + 1 for size in sizes]
        windows = []
        for channel, *corner in itertools.product(*map(range, (channels, *out_sizes))):
            starts = [position * stride - padding for position in corner]
            spans = [
                range(max(start, 0), min(start + kernel, size))
                for start, size in zip(starts, sizes, strict=True)
            ]
            windows.append([int(cells[channel, *cell]) for cell in itertools.product(*spans)])
        return self._append(MaxPool(source, windows), (channels, *out_sizes))

    def gather(self, source: int, rearrange: Callable[[Tensor], Tensor]) -> int:
        """Any function that only picks and repeats cells, applied to a batch of one."""
        shape = self.shapes[source]
        index = rearrange(torch.arange(_product(shape)).view(1, *shape))[0]
        return self._append(Gather(source, index.flatten()), tuple(index.shape))

    def flatten(self, source: int) -> int:
        return self.gather(source, lambda x: x.flatten(1))

    def add(self, left: int, right: int) -> int:
        return self._append(Add(left, right), self.shapes[left])

    def concat(self, *sources: int) -> int:
        """Joined along the first axis of a sample (the channels)."""
        channels = sum(self.shapes[source][0] for source in sources)
        return self._append(Concat(sources), (channels, *self.shapes[sources[0]][1:]))

    def values(self, x: Tensor) -> list[Tensor]:
        """The flat value of every node for one sample."""
        values: list[Tensor] = []
        for node in self.nodes:
            match node:
                case Input():
                    value = x.double().flatten()
                case Affine(source, weight, bias):
                    value = weight @ values[source] + bias
                case Average(source, weight):
                    value = weight @ values[source]
                case Activation(source, function):
                    value = function(values[source])
                case MaxPool(source, windows):
                    value = torch.stack([values[source][window].max() for window in windows])
                case Gather(source, index):
                    value = values[source][index]
                case Add(left, right):
                    value = values[left] + values[right]
                case Concat(sources):
                    value = torch.cat([values[source] for source in sources])
            values.append(value)
        return values

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of one sample."""
        return self.values(x)[-1]

    def _append(self, node: Node, shape: Sequence[int]) -> int:
        self.nodes.append(node)
        self.shapes.append(tuple(shape))
        return len(self.nodes) - 1


def matrix_of(
    layer: Callable[[Tensor], Tensor], shape: Sequence[int]
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Matrix, bias and output shape of an affine function of a sample of the given shape."""
    function = copy.deepcopy(layer).double() if isinstance(layer, nn.Module) else layer
    size = _product(shape)
    with torch.no_grad():
        bias = function(torch.zeros(1, *shape, dtype=torch.float64))
        columns = function(torch.eye(size, dtype=torch.float64).view(size, *shape)) - bias
    return columns.flatten(1).t(), bias.flatten(), tuple(bias.shape[1:])


def _with_unit_weights(layer: nn.Module) -> nn.Module:
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(0.0 if name == "bias" else 1.0)
    return layer


def _is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)


def _norm_constants(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel: y = γ (x − μ) / √(σ² + ε) + β."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gamma = norm.weight.detach().double() if norm.affine else torch.ones_like(mean)
    beta = norm.bias.detach().double() if norm.affine else torch.zeros_like(mean)
    scale = gamma / torch.sqrt(variance + norm.eps)
    return scale, beta - scale * mean


def _channel_of(shape: Sequence[int]) -> Tensor:
    """The channel of every cell of a flat value."""
    return torch.arange(shape[0]).repeat_interleave(_product(shape[1:]))


def _product(sizes: Sequence[int]) -> int:
    return int(torch.tensor(sizes).prod()) if len(sizes) else 1
