"""Rules for layers with weights; they are the ones that have a formula.

``a`` is the layer's input, ``z`` its output, ``w`` its weights, ``b`` its bias, and ``R_k`` the
relevance of output ``k``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nni_widgets.engine.operations import Affine, affine
from nni_widgets.engine.rules.base import (
    Rule,
    Share,
    declared_epsilon,
    declared_gamma,
    declared_high,
    declared_low,
)
from nni_widgets.engine.rules.sharing import (
    divide,
    divide_by_positive,
    divide_in_place,
    into_bias,
    proportional,
)
from nni_widgets.engine.tape import Op
from nni_widgets.engine.weights import modified
from nni_widgets.errors import invalid
from nni_widgets.params import param


class Epsilon(Rule):
    """LRP-ε: in proportion to the contributions, damped by a stabiliser.

    ``R_j = a_j Σ_k w_jk R_k / (z_k + ε sign z_k)``. The stabiliser and the bias keep a share, so
    weak and contradictory contributions are filtered out. Not for the pixels themselves: noisy.

    Unit: that of the logit. Cost: one backward pass of the layer.
    Source: Bach et al. 2015, eq. 58; Montavon et al. 2019 (LRP overview), sec. 10.2.1.
    """

    loss: ClassVar[str] = "epsilon"
    epsilon: float = declared_epsilon()

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return proportional(op, relevance, self.epsilon)


class Zero(Rule):
    """LRP-0: exactly in proportion to the contributions, ``R_j = a_j Σ_k w_jk R_k / z_k``.

    On a network of ReLUs and max-pooling it equals gradient × input, and is as noisy.

    Unit: that of the logit. Cost: one backward pass of the layer.
    Source: Bach et al. 2015, eq. 56; Montavon et al. 2019, sec. 10.2.1.
    """

    loss: ClassVar[str] = "z = 0"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return proportional(op, relevance, 0.0)


class Gamma(Rule):
    """LRP-γ: favours what speaks for the output, ``w + γ w⁺`` in place of ``w``.

    Where ``z_k < 0`` the negative contributions are favoured instead, and negative inputs are
    treated by the sign of their contribution, so that the rule serves any layer. The bias is a
    neuron of activation 1 (its weight is changed too). γ = 0 is LRP-0, γ → ∞ is LRP-α1β0.

    Unit: that of the logit. Cost: one forward and one backward pass of the layer, two backward
    where inputs are negative or relevance is at ``z_k < 0``.
    Source: Montavon et al. 2019, sec. 10.2.1; for signed inputs Andéol et al. 2021, appendix.
    """

    loss: ClassVar[str] = "z = 0"
    gamma: float = declared_gamma()

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        layer = affine(op)
        if _is_signed(layer) or (not op.is_cut and _reaches_negative(relevance, layer.z)):
            return self._for_any(layer, relevance)
        return self._for_positive(layer, relevance)

    def _for_positive(self, layer: Affine, relevance: Tensor) -> Share:
        weight = modified(layer.weight, "gamma", self._favour, self.gamma)
        bias = None if layer.bias is None else self._favour(layer.bias)
        s = divide_by_positive(relevance, layer.forward(weight, bias), least=layer.z)
        return Share(
            (layer.transpose(weight, s).mul_(layer.a),),
            lambda: into_bias(layer, s) + self.gamma * into_bias(layer, s, "+"),
        )

    def _for_any(self, layer: Affine, relevance: Tensor) -> Share:
        """A contribution c that agrees in sign with z counts ``c + γ/2 (c + sign z · |c|)``."""
        half, towards = self.gamma / 2, layer.z.sign()
        size, magnitude = modified(layer.weight, "abs", Tensor.abs), layer.a.abs()
        bias = None if layer.bias is None else layer.bias.abs()
        total = layer.forward(size, bias, magnitude).mul_(towards)
        s = divide_in_place(relevance, total.mul_(half).add_(layer.z, alpha=1 + half))
        agreeing = half * towards * s
        spread = layer.transpose(layer.weight, s).mul_(layer.a).mul_(1 + half)
        spread.addcmul_(magnitude, layer.transpose(size, agreeing))
        return Share(
            (spread,),
            lambda: (
                (1 + half) * into_bias(layer, s)
                + into_bias(layer, agreeing, "+")
                - into_bias(layer, agreeing, "-")
            ),
        )

    def _favour(self, weight: Tensor) -> Tensor:
        favoured = weight.relu()
        return torch.add(weight, favoured, alpha=self.gamma, out=favoured)


class AlphaBeta(Rule):
    """LRP-αβ: positive and negative contributions apart, weighted α and −β with β = α − 1.

    ``R_j = Σ_k (α (a_j w_jk)⁺ / z_k⁺ − β (a_j w_jk)⁻ / z_k⁻) R_k``; the biases take part in
    ``z⁺`` and ``z⁻``. Does not conserve at a unit whose contributions are all of one sign.

    Unit: that of the logit. Cost: one forward and two backward passes of the layer.
    Source: Bach et al. 2015, eq. 60; Montavon, Samek, Müller 2018, sec. 5.1.
    """

    loss: ClassVar[str] = "one-signed units"
    alpha: float = param(
        2.0, "weight of the positive contributions; beta = alpha − 1", low=1, slider=(1, 3)
    )

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        layer = affine(op)
        parts = _Parts(layer, self.alpha > 1)
        positive = parts.positive(with_bias=True)
        torch.maximum(positive, layer.z, out=positive)
        down = None
        if self.alpha > 1:
            down = divide_in_place(relevance, layer.z - positive).mul_(1 - self.alpha)
        up = divide_by_positive(relevance, positive).mul_(self.alpha)
        return Share(
            (parts.spread(up, down),),
            lambda: into_bias(layer, up, "+") + into_bias(layer, down, "-"),
        )


class ZPlus(Rule):
    """z⁺: in proportion to the positive contributions alone, bias left out.

    ``R_j = Σ_k (a_j w_jk)⁺ / Σ_j (a_j w_jk)⁺ R_k``. Relevance is lost where no contribution is
    positive.

    Unit: that of the logit. Cost: one forward and one backward pass of the layer.
    Source: Montavon et al. 2017 (deep Taylor decomposition), sec. 4.1, z⁺-rule.
    """

    loss: ClassVar[str] = "no positive contribution"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        layer = affine(op)
        parts = _Parts(layer, both=False)
        least = layer.z if layer.bias is None else None
        up = divide_by_positive(relevance, parts.positive(with_bias=False), least)
        return Share((parts.spread(up, None),))


class ZBox(Rule):
    """zᴮ: for the first layer, whose inputs are pixels in a box [low, high].

    ``R_i = Σ_k (x_i w_ik − l_i w_ik⁺ − h_i w_ik⁻) / Σ_i (the same) R_k``. Black pixels get
    relevance too. The box is that of x, the model's input: a number, or one number per channel.
    Where the model rescales x before its first layer, the box is rescaled with it. Where an input
    lies outside, as in noisy copies, the box is widened to hold it: else shares could be divided by
    almost nothing.

    Unit: that of the logit. Cost: two forward and three backward passes of the first layer
    (one less of each when ``low`` is 0). Raises ``ValueError`` if low is not below high.
    Source: Montavon et al. 2017, sec. 4.1, zᴮ-rule.
    """

    loss: ClassVar[str] = "box"
    low: float | Sequence[float] = declared_low()
    high: float | Sequence[float] = declared_high()

    def validate(self) -> None:
        low, high = torch.as_tensor(self.low), torch.as_tensor(self.high)
        if low.ndim and high.ndim and len(low) != len(high):
            given = f"{len(low)} and {len(high)} numbers"
            raise invalid("ZBox", "low", "as many numbers as high", given, "Give one per channel")
        if not bool((low < high).all()):
            given = f"low={self.low}, high={self.high}"
            raise invalid("ZBox", "low", "below high", given, "Give the range of the pixels")

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        layer = affine(op)
        z = layer.z - (0 if layer.bias is None else layer.along_output(layer.bias))
        terms = [
            (box, half(layer.weight))
            for box, half in zip(self._holding(layer.a), (_plus, _minus), strict=True)
            if box is not None
        ]
        for box, weight in terms:
            z.sub_(layer.forward(weight, a=box))
        s = divide_in_place(relevance, z)
        spread = layer.transpose(layer.weight, s).mul_(layer.a)
        for box, weight in terms:
            spread.addcmul_(box, layer.transpose(weight, s), value=-1)
        return Share((spread,))

    def holds(self, a: Tensor) -> bool:
        """Whether all of these inputs lie in the box, but for rounding."""
        rounding = 8 * torch.finfo(a.dtype).eps
        if isinstance(self.low, int | float) and isinstance(self.high, int | float):
            room = rounding * (self.high - self.low)
            least, most = (end.item() for end in a.aminmax())
            return bool(self.low - room <= least and most <= self.high + room)
        low, high = (a.new_zeros(()) if box is None else box for box in self._ends(a))
        slack = rounding * (high - low)
        return bool((a >= low - slack).all() and (a <= high + slack).all())

    def _holding(self, a: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The ends of the box, moved to where an input lies beyond them."""
        ends = self._ends(a)
        if self.holds(a):
            return ends
        low, high = (a.new_zeros(()) if box is None else box for box in ends)
        return torch.minimum(low, a), torch.maximum(high, a)

    def _ends(self, a: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self._box(self.low, a), self._box(self.high, a)

    def _box(self, bound: float | Sequence[float], a: Tensor) -> Tensor | None:
        shape = (1, *a.shape[1:])
        if isinstance(bound, int | float):
            return a.new_full(shape, bound) if bound else None
        values = a.new_tensor(bound)
        if not bool(values.any()):
            return None
        if values.ndim:
            if len(values) != shape[1]:
                given = f"{len(values)} for {shape[1]} channels"
                raise invalid("ZBox", "low and high", "one number per channel", given, "Give one")
            values = values.reshape(1, -1, *[1] * (len(shape) - 2))
        return values.expand(shape).contiguous()


class WSquare(Rule):
    """w²: for inputs without a range; by the squared weights alone, ``w_jk² / Σ_j w_jk²``.

    Unit: that of the logit. Cost: one forward and one backward pass of the layer.
    Source: Montavon et al. 2017, sec. 4.1, w²-rule.
    """

    loss: ClassVar[str] = "no weight"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return _blind(op, relevance, "square", Tensor.square)


class Flat(Rule):
    """Flat: equally to all inputs that an output sees; says where, not what.

    Unit: that of the logit. Cost: one forward and one backward pass of the layer.
    Source: Lapuschkin et al. 2019, supplementary note 2.
    """

    loss: ClassVar[str] = "no weight"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return _blind(op, relevance, "one", torch.ones_like)


def _is_signed(layer: Affine) -> bool:
    return layer.a.min().item() < 0


def _reaches_negative(relevance: Tensor, z: Tensor) -> bool:
    """Whether any relevance is at a unit with ``z < 0``; a ReLU behind it leaves none there."""
    return relevance.abs().mul_(z).min().item() < 0


def _plus(weight: Tensor) -> Tensor:
    return modified(weight, "+", torch.relu)


def _minus(weight: Tensor) -> Tensor:
    return modified(weight, "-", lambda w: w.clamp(max=0))


class _Parts:
    """An affine layer seen as contributions ``a_j w_jk`` of both signs.

    They are told apart by the sign of the weight alone where no input is negative (not ``signed``),
    which saves half of the passes.
    """

    def __init__(self, layer: Affine, both: bool) -> None:
        self.layer = layer
        self.signed = _is_signed(layer)
        self._plus = _plus(layer.weight)
        if both or self.signed:
            self._minus = _minus(layer.weight)

    def positive(self, with_bias: bool) -> Tensor:
        """``z⁺ = Σ_j (a_j w_jk)⁺``, the bias's positive part included or not."""
        layer = self.layer
        bias = layer.bias.relu() if with_bias and layer.bias is not None else None
        if not self.signed:
            return layer.forward(self._plus, bias)
        positive = layer.forward(self._plus, bias, layer.a.clamp(min=0))
        return positive.add_(layer.forward(self._minus, None, layer.a.clamp(max=0)))

    def spread(self, up: Tensor, down: Tensor | None) -> Tensor:
        """``Σ_k (a_j w_jk)⁺ up_k + (a_j w_jk)⁻ down_k``."""
        a = self.layer.a
        if not self.signed:
            return self._back(up, down).mul_(a)
        spread = self._back(up, down).mul_(a.clamp(min=0))
        return spread.addcmul_(a.clamp(max=0), self._back(down, up))

    def _back(self, by_plus: Tensor | None, by_minus: Tensor | None) -> Tensor:
        """``Σ_k w_jk⁺ by_plus_k + w_jk⁻ by_minus_k``."""
        parts = []
        if by_plus is not None:
            parts.append(self.layer.transpose(self._plus, by_plus))
        if by_minus is not None:
            parts.append(self.layer.transpose(self._minus, by_minus))
        return parts[0] if len(parts) == 1 else parts[0].add_(parts[1])


def _blind(op: Op, relevance: Tensor, key: str, change: Callable[[Tensor], Tensor]) -> Share:
    layer = affine(op)
    weight = modified(layer.weight, key, change)
    s = divide(relevance, layer.forward(weight, a=torch.ones_like(layer.a[:1])))
    return Share((layer.transpose(weight, s),))
