"""Gradient, deconvnet and guided backprop on a hand-made graph: three ReLU rules, one way back.

Springenberg et al. 2015, Striving for Simplicity: The All Convolutional Net, figure 1. At a ReLU
with input z, the signal R that comes from above goes on as

    gradient    R · 1[z > 0]
    deconvnet   R · 1[R > 0]
    guided      R · 1[z > 0] · 1[R > 0]

and through every other layer as the gradient does. It starts as 1 at the target.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .graph import Activation, Add, Affine, Average, Concat, Gather, Graph, Input, MaxPool

ReluRule = Callable[[Tensor, Tensor], Tensor]


def gradient(z: Tensor, R: Tensor) -> Tensor:
    return R * (z > 0)


def deconvnet(_: Tensor, R: Tensor) -> Tensor:
    return R * (R > 0)


def guided(z: Tensor, R: Tensor) -> Tensor:
    return R * (z > 0) * (R > 0)


def backward(graph: Graph, x: Tensor, target: int, relu_rule: ReluRule) -> list[Tensor]:
    """The signal at every node for one sample; entry 0 is the input's, each in the node's shape."""
    values = graph.values(x)
    arrived = [torch.zeros_like(value) for value in values]
    arrived[-1][target] = 1.0

    for i in reversed(range(len(graph.nodes))):
        R = arrived[i]
        match graph.nodes[i]:
            case Input():
                pass
            case Affine(source, weight) | Average(source, weight):
                arrived[source] += weight.t() @ R
            case Activation(source, function):
                if function is not torch.relu:
                    raise ValueError(f"the three rules are defined for ReLU, not for {function}")
                arrived[source] += relu_rule(values[source], R)
            case MaxPool(source, windows):
                for k, window in enumerate(windows):
                    winner = window[int(values[source][window].argmax())]
                    arrived[source][winner] += R[k]
            case Gather(source, index):
                arrived[source].index_add_(0, index, R)
            case Add(left, right):
                arrived[left] += R
                arrived[right] += R
            case Concat(sources):
                sizes = [len(values[source]) for source in sources]
                for source, part in zip(sources, R.split(sizes), strict=True):
                    arrived[source] += part
    return [R.view(shape) for R, shape in zip(arrived, graph.shapes, strict=True)]
