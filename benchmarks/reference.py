"""Slow references in float64 that share no code with the package: automatic differentiation only.

Relevance propagation is written as gradient × input of a network whose layers compute
``z_rule · (z / z_rule)``, the quotient held constant (Montavon et al. 2019, sec. 10.3). DeepLIFT's
are in ``differences.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
from nets import parted
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = (nn.ReLU, nn.ReLU6)


def gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient of the target's logit."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(model, leaf, target), leaf)[0]


def guided(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient with negative signals stopped above each activation."""
    return gradient(replaced(model, ACTIVATIONS, Clamped), x, target)


def deconvnet(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The gradient where each activation stops negative signals and nothing else."""
    return gradient(replaced(model, ACTIVATIONS, lambda f: Clamped(Straight(f))), x, target)


def taylor(model: nn.Module, x: Tensor, target: Tensor, root: Tensor) -> Tensor:
    """The gradient at the root point, times the way from there."""
    return (x - root) * gradient(model, root, target)


def integrated(
    model: nn.Module, x: Tensor, target: Tensor, nodes: Tensor, weights: Tensor
) -> Tensor:
    """The weighted mean of the gradients at x · node, times x."""
    pairs = zip(nodes, weights, strict=True)
    return x * torch.stack([w * gradient(model, t * x, target) for t, w in pairs]).sum(0)


def grad_cam(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The last maps, weighted by their mean gradient."""
    return _last_maps(model, x, target, lambda a, g: g.mean((2, 3), keepdim=True) * a)


def layer_cam(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The last maps, each place weighted by its positive gradient."""
    return _last_maps(model, x, target, lambda a, g: g.clamp(min=0) * a)


def _last_maps(
    model: nn.Module, x: Tensor, target: Tensor, weigh: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    body, head = parted(model, x)
    maps = body(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(head, maps, target), maps)
    return _spread(weigh(maps.detach(), slope).sum(1, keepdim=True).clamp(min=0), x)


@torch.no_grad()
def score_cam(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The last maps, weighted by the softmax of the scores that x has when seen through them."""
    maps = parted(model, x)[0](x)
    shape, scores = x.shape[2:], []
    for k in range(maps.shape[1]):
        seen = functional.interpolate(maps[:, k : k + 1], shape, mode="bilinear")
        low, high = seen.min(), seen.max()
        scores.append(
            score(model, x * (seen - low) / (high - low), target) if high > low
            else x.new_tensor(-torch.inf)
        )  # fmt: skip
    weights = torch.stack(scores).softmax(0)
    return _spread(torch.einsum("k,nkhw->nhw", weights, maps)[:, None].clamp(min=0), x)


def _spread(maps: Tensor, x: Tensor) -> Tensor:
    return functional.interpolate(maps, x.shape[2:], mode="bilinear").expand_as(x)


def translated(model: nn.Module, x: Tensor, target: Tensor, shift: int) -> Tensor:
    """The gradient of the mean score over all moved copies, the border repeated."""
    leaf = x.detach().clone().requires_grad_()
    wide = functional.pad(leaf, [shift] * 4, mode="replicate")
    height, width = x.shape[2:]
    corners = list(itertools.product(range(2 * shift + 1), repeat=2))
    copies = (wide[:, :, i : i + height, j : j + width] for i, j in corners)
    total = torch.stack([score(model, copy, target) for copy in copies]).mean()
    return torch.autograd.grad(total, leaf)[0]


@torch.no_grad()
def occluded(model: nn.Module, x: Tensor, target: Tensor, window: int, stride: int) -> Tensor:
    """The mean fall of the score over all windows on a pixel; the last must end at the border."""
    falls, times = torch.zeros_like(x), torch.zeros_like(x)
    whole = score(model, x, target)
    starts = [range(0, side - window + 1, stride) for side in x.shape[2:]]
    for i, j in itertools.product(*starts):
        place = (..., slice(i, i + window), slice(j, j + window))
        covered = x.clone()
        covered[place] = 0
        falls[place] += whole - score(model, covered, target)
        times[place] += 1
    return falls / times


def relevance(
    model: nn.Module, x: Tensor, target: Tensor, conv: Rule, dense: Rule, box: bool = False
) -> Tensor:
    """LRP by the given rules; with ``box`` the first convolution has zᴮ for pixels in [0, 1]."""
    model = replaced(model, (nn.Conv2d,), lambda layer: Ruled(layer, conv))
    model = replaced(model, (nn.Linear,), lambda layer: Ruled(layer, dense))
    model = replaced(model, ACTIVATIONS, Passing)
    leaf, high = x.detach().clone().requires_grad_(), torch.ones_like(x).requires_grad_()
    if box:
        first = next(module for module in model.modules() if isinstance(module, Ruled))
        first.rule = in_box(high)
    of_x, of_high = torch.autograd.grad(
        score(model, leaf, target), (leaf, high), materialize_grads=True
    )
    return (leaf * of_x + high * of_high).detach()


class Wrapped(nn.Module):
    """Base of the modules that take the place of another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class Clamped(Wrapped):
    """An activation whose incoming gradient is clamped."""

    def forward(self, z: Tensor) -> Tensor:
        a = self.inner(z)
        a.register_hook(lambda signal: signal.clamp(min=0))
        return a


class Straight(Wrapped):
    """An activation with the derivative 1."""

    def forward(self, z: Tensor) -> Tensor:
        return self.inner(z).detach() + z - z.detach()


class Passing(Wrapped):
    """An activation that hands relevance on unchanged."""

    def forward(self, z: Tensor) -> Tensor:
        return z * quotient(self.inner(z), z)


class Ruled(Wrapped):
    """A layer with the forward pass it had and the backward pass of its rule."""

    def __init__(self, layer: nn.Module, rule: Rule) -> None:
        super().__init__(layer)
        self.rule = rule

    def forward(self, a: Tensor) -> Tensor:
        return self.rule(self, a, self.affine(a, self.inner.weight, self.inner.bias))

    def affine(self, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer with other weights."""
        return affine(self.inner, a, weight, bias)

    def positive(self, a: Tensor, with_bias: bool) -> Tensor:
        """The positive contributions to each output."""
        bias = self.inner.bias.clamp(min=0) if with_bias and self.inner.bias is not None else None
        of_positive = self.affine(a.clamp(min=0), self.inner.weight.clamp(min=0), bias)
        return of_positive + self.affine(a.clamp(max=0), self.inner.weight.clamp(max=0), None)


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
        above = layer.affine(high, layer.inner.weight.clamp(max=0), None)
        return _as(z, layer.affine(a, layer.inner.weight, None) - above)

    return rule


def _as(z: Tensor, of_rule: Tensor) -> Tensor:
    """The value of z with the derivative of the rule's z; 0 where that is a division by 0."""
    return z.detach() + quotient(z, of_rule) * (of_rule - of_rule.detach())


def quotient(a: Tensor, b: Tensor) -> Tensor:
    """The ratio a / b as a constant, 0 where that is a division by 0."""
    return (a / b).masked_fill(b == 0, 0).detach()


def affine(layer: nn.Module, a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution or dense layer with other weights."""
    if isinstance(layer, nn.Linear):
        return functional.linear(a, weight, bias)
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return functional.conv2d(a, weight, bias, *geometry)


def score(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The sum of the targets' logits."""
    return model(x).gather(1, target[:, None]).sum()


def replaced(
    model: nn.Module, kinds: Iterable[type[nn.Module]], by: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """The model with each module of these kinds replaced; the model itself is changed."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in kinds and not isinstance(module, Wrapped):
                setattr(module, name, by(child))
    return model
