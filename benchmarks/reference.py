"""Slow references in float64 that share no code with the package: automatic differentiation only.

Relevance propagation is written as gradient × input of a network whose layers compute
``z_rule · (z / z_rule)``, the quotient held constant (Montavon et al. 2019, sec. 10.3). Inputs of
layers must not be negative.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient of the target's logit."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(_score(model, leaf, target), leaf)[0]


def guided(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient with negative signals stopped above each ReLU. Changes the model's ReLUs."""
    return gradient(_replaced(model, nn.ReLU, lambda _: GuidedReLU()), x, target)


def integrated(
    model: nn.Module, x: Tensor, target: Tensor, nodes: Tensor, weights: Tensor
) -> Tensor:
    """The weighted mean of the gradients at x · node, times x."""
    pairs = zip(nodes, weights, strict=True)
    return x * torch.stack([w * gradient(model, t * x, target) for t, w in pairs]).sum(0)


def relevance(
    model: nn.Module, x: Tensor, target: Tensor, conv: Rule, dense: Rule, box: bool = False
) -> Tensor:
    """LRP by the given rules; with ``box`` the first convolution has zᴮ for pixels in [0, 1]."""
    model = _replaced(model, nn.Conv2d, lambda layer: Ruled(layer, functional.conv2d, conv))
    model = _replaced(model, nn.Linear, lambda layer: Ruled(layer, functional.linear, dense))
    leaf, high = x.detach().clone().requires_grad_(), torch.ones_like(x).requires_grad_()
    if box:
        first = next(module for module in model.modules() if isinstance(module, Ruled))
        first.rule = in_box(high)
    of_x, of_high = torch.autograd.grad(
        _score(model, leaf, target), (leaf, high), materialize_grads=True
    )
    return (leaf * of_x + high * of_high).detach()


class GuidedReLU(nn.Module):
    """A ReLU whose incoming gradient is clamped."""

    def forward(self, z: Tensor) -> Tensor:
        a = z.relu()
        a.register_hook(lambda signal: signal.clamp(min=0))
        return a


class Ruled(nn.Module):
    """A layer with the forward pass it had and the backward pass of its rule."""

    def __init__(self, layer: nn.Module, function: Linear, rule: Rule) -> None:
        super().__init__()
        self.layer, self.function, self.rule = layer, function, rule

    def forward(self, a: Tensor) -> Tensor:
        return self.rule(self, a, self.affine(a, self.layer.weight, self.layer.bias))

    def affine(self, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer with other weights."""
        if self.function is functional.linear:
            return functional.linear(a, weight, bias)
        geometry = (self.layer.stride, self.layer.padding, self.layer.dilation, self.layer.groups)
        return functional.conv2d(a, weight, bias, *geometry)

    def positive(self, a: Tensor, with_bias: bool) -> Tensor:
        """The positive contributions to each output."""
        bias = self.layer.bias.clamp(min=0) if with_bias and self.layer.bias is not None else None
        return self.affine(a, self.layer.weight.clamp(min=0), bias)


Rule = Callable[[Ruled, Tensor, Tensor], Tensor]


def epsilon(value: float) -> Rule:
    """LRP-ε."""
    return lambda _, __, z: _as(z, z + value * torch.where(z < 0, -1.0, 1.0).detach())


def gamma(value: float) -> Rule:
    """LRP-γ, the bias a neuron like others, negative outputs treated by the mirrored rule."""

    def rule(layer: Ruled, a: Tensor, z: Tensor) -> Tensor:
        up = layer.positive(a, with_bias=True)
        return _as(z, z + value * torch.where(z < 0, z - up, up))

    return rule


def z_plus(layer: Ruled, a: Tensor, z: Tensor) -> Tensor:
    """z⁺, without the bias."""
    return _as(z, layer.positive(a, with_bias=False))


def alpha_beta(alpha: float) -> Rule:
    """LRP-αβ, with the bias in both sums."""

    def rule(layer: Ruled, a: Tensor, z: Tensor) -> Tensor:
        up = layer.positive(a, with_bias=True)
        return alpha * _as(z, up) - (alpha - 1) * _as(z, z - up)

    return rule


def in_box(high: Tensor) -> Rule:
    """zᴮ for pixels from 0 to ``high``."""

    def rule(layer: Ruled, a: Tensor, z: Tensor) -> Tensor:
        above = layer.affine(high, layer.layer.weight.clamp(max=0), None)
        return _as(z, layer.affine(a, layer.layer.weight, None) - above)

    return rule


def _as(z: Tensor, of_rule: Tensor) -> Tensor:
    """The value of z with the derivative of the rule's z; 0 where that is a division by 0."""
    quotient = (z / of_rule).masked_fill(of_rule == 0, 0).detach()
    return z.detach() + quotient * (of_rule - of_rule.detach())


def _score(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return model(x).gather(1, target[:, None]).sum()


def _replaced(
    model: nn.Module, kind: type[nn.Module], by: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, kind) and not isinstance(module, Ruled):
                setattr(module, name, by(child))
    return model
