"""DeepLIFT in float64, written as a forward pass of changes whose gradient is the multipliers.

Each value is packed as four: at x, at the reference, and the positive and the negative part of its
change. A layer computes the parts of its output from those of its input, with the quotients of the
paper held constant; autograd then applies the chain rule of multipliers (Shrikumar et al. 2017,
sec. 3). What only moves or averages values acts on the packed batch as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from reference import ACTIVATIONS, Wrapped, affine, replaced
from torch import Tensor, nn
from torch.nn import functional

Word = Literal["rescale", "reveal-cancel"]
_ROUNDING = 1e-13


def deeplift(model: nn.Module, x: Tensor, target: Tensor, word: Word) -> Tensor:
    """The contributions by one rule for every activation, against black."""
    model = replaced(model, (nn.Conv2d, nn.Linear), Layer)
    model = replaced(model, ACTIVATIONS, lambda f: Activation(f, RULES[word]))
    model = replaced(model, (nn.MaxPool2d,), Maximum)
    change = x.detach().clone().requires_grad_()
    packed = torch.cat([x, torch.zeros_like(x), *_by_sign(change, x)])
    _, _, up, down = model(packed).chunk(4)
    total = (up + down).gather(1, target[:, None]).sum()
    return (change * torch.autograd.grad(total, change)[0]).detach()


def _by_sign(change: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """The positive and the negative part; at 0 each has half of the derivative."""
    share = torch.where(sign > 0, 1.0, torch.where(sign < 0, 0.0, 0.5)).to(change)
    return share * change, (1 - share) * change


class Layer(Wrapped):
    """The Linear rule: each ``w Δx`` belongs to the part that has its sign."""

    def forward(self, packed: Tensor) -> Tensor:
        layer = self.inner
        new, old, up, down = packed.chunk(4)
        positive, negative = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        up, down = _by_sign(up + down, (new - old).detach())
        values = [affine(layer, each, layer.weight, layer.bias) for each in (new, old)]
        parts = [
            affine(layer, up, first, None) + affine(layer, down, second, None)
            for first, second in ((positive, negative), (negative, positive))
        ]
        return torch.cat([*values, *parts])


Function = Callable[[Tensor], Tensor]
Rule = Callable[..., tuple[Tensor, Tensor]]


class Activation(Wrapped):
    """A function of each number, its parts multiplied by the slopes of the rule."""

    def __init__(self, function: nn.Module, rule: Rule) -> None:
        super().__init__(function)
        self.rule = rule

    def forward(self, packed: Tensor) -> Tensor:
        new, old, up, down = packed.chunk(4)
        slopes = self.rule(self.inner, new.detach(), old.detach(), up.detach(), down.detach())
        made = [self.inner(each) for each in (new, old)]
        return torch.cat([*made, slopes[0] * up, slopes[1] * down])


def _rescale(f: Function, new: Tensor, old: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    slope = _ratio(f(new) - f(old), new - old, _derivative(f, new))
    return slope, slope


def _reveal_cancel(
    f: Function, new: Tensor, old: Tensor, up: Tensor, down: Tensor
) -> tuple[Tensor, Tensor]:
    after_up, after_down, both = f(old + up), f(old + down), f(new)
    limit = (_derivative(f, new) + _derivative(f, old)) / 2
    made_up = (after_up - f(old) + both - after_down) / 2
    made_down = (after_down - f(old) + both - after_up) / 2
    return _ratio(made_up, up, limit), _ratio(made_down, down, limit)


RULES: dict[Word, Rule] = {"rescale": _rescale, "reveal-cancel": _reveal_cancel}


def _ratio(made: Tensor, change: Tensor, limit: Tensor) -> Tensor:
    return torch.where(change.abs() <= _ROUNDING, limit, made / change)


def _derivative(f: Function, z: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        return torch.autograd.grad(f(leaf).sum(), leaf)[0]


class Maximum(Wrapped):
    """Shared by the winner at x and that at the reference, as on the straight way between them."""

    def forward(self, packed: Tensor) -> Tensor:
        new, old, up, down = packed.chunk(4)
        geometry = (self.inner.kernel_size, self.inner.stride, self.inner.padding)
        (y, p), (y_old, q) = (
            functional.max_pool2d(each, *geometry, return_indices=True) for each in (new, old)
        )
        before, after = y_old - _at(old, p), y - _at(new, q)
        share = (before / (before + after)).nan_to_num(0).detach()
        parts = [share * _at(part, q) + (1 - share) * _at(part, p) for part in (up, down)]
        return torch.cat([y, y_old, *parts])


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.flatten(2).gather(2, index.flatten(2)).view_as(index)
