"""Autograd's own backward pass with another rule at the activations.

The tape does the same and more, and shows every layer. Where only the pixels are asked for, and the
graph has none but known nodes, this costs no more than a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_ACTIVATIONS = {
    *("ReluBackward0", "LeakyReluBackward0", "EluBackward0", "GeluBackward0", "SiluBackward0"),
    *("HardtanhBackward0", "HardswishBackward0", "SoftplusBackward0", "MishBackward0"),
}
_OTHERS = {
    *("ConvolutionBackward0", "AddmmBackward0", "MmBackward0", "TBackward0", "TransposeBackward0"),
    *("MaxPool2DWithIndicesBackward0", "AvgPool2DBackward0", "AdaptiveAvgPool2DBackward0"),
    *("MeanBackward0", "MeanBackward1", "SumBackward0", "SumBackward1", "NativeBatchNormBackward0"),
    *("AddBackward0", "SubBackward0", "CatBackward0", "ViewBackward0", "ReshapeAliasBackward0"),
    *("UnsafeViewBackward0", "CloneBackward0", "SqueezeBackward0", "SqueezeBackward1"),
    *("UnsqueezeBackward0", "PermuteBackward0", "ConstantPadNdBackward0"),
    "torch::autograd::AccumulateGrad",
}
_FACTORS = {"MulBackward0", "DivBackward0"}
"""Known with one input in the graph: then the other is a constant."""


@contextmanager
def follow(output: Tensor, on_arrival: Callable[[Tensor], Tensor], masked: bool) -> Iterator[bool]:
    """Hook a rule to every activation in the graph of ``output``; False if it has unknown nodes.

    ``on_arrival`` changes the signal at an activation; then the derivative follows (``masked``), or
    nothing does. The hooks live as long as the context: a model may keep a part of its graph.
    """
    nodes = list(_nodes(output))
    known = all(_is_known(node) for node in nodes)

    def before(signals: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(map(on_arrival, signals))

    def instead(_: Any, signals: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(map(on_arrival, signals))

    hooks = [
        node.register_prehook(before) if masked else node.register_hook(instead)
        for node in nodes
        if known and node.name() in _ACTIVATIONS
    ]
    try:
        yield known
    finally:
        for hook in hooks:
            hook.remove()


def _is_known(node: torch.autograd.graph.Node) -> bool:
    name = node.name()
    if name in _FACTORS:
        return sum(before is not None for before, _ in node.next_functions) == 1
    return name in _ACTIVATIONS or name in _OTHERS


def _nodes(output: Tensor) -> Iterator[torch.autograd.graph.Node]:
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
            yield node
