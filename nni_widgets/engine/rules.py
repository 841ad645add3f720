"""Propagation rules: how one operation hands the relevance at its output down to its inputs.

A rule is a value, called as ``rule(op, relevance)``, and returns a :class:`Share`. The rules with a
formula act on affine layers; ``a`` is the layer's input, ``z`` its output, ``w`` its weights, ``b``
its bias, and ``R_k`` the relevance of output ``k``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from nni_widgets.engine.operations import Affine, affine, derivative, family
from nni_widgets.engine.tape import Op
from nni_widgets.engine.weights import modified
from nni_widgets.errors import UnsupportedOperation, invalid
from nni_widgets.params import Declared, param


class Share(NamedTuple):
    """What a rule gives to each input; ``bias()`` is what the bias kept, per sample."""

    inputs: tuple[Tensor, ...]
    bias: Callable[[], Tensor] | None = None


def declared_epsilon() -> Any:
    """The one declaration of ε."""
    return param(0.01, "stabiliser, in the unit of z", low=0, slider=(1e-6, 10), log=True)


def declared_gamma() -> Any:
    """The one declaration of γ."""
    return param(0.25, "how strongly positive weights are favoured", low=0, slider=(0, 1))


def declared_low() -> Any:
    """The one declaration of the lower end of the pixels' box."""
    return param(0.0, "smallest legal pixel (or one per channel)", slider=(-1, 0), per_channel=True)


def declared_high() -> Any:
    """The one declaration of the upper end of the pixels' box."""
    return param(1.0, "largest legal pixel (or one per channel)", slider=(1, 3), per_channel=True)


class Rule(Declared):
    """Base of the rules. ``loss`` names what swallows relevance besides the bias."""

    loss: ClassVar[str] = "rounding"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        """Hand the relevance at the output of ``op`` down to its inputs."""
        raise NotImplementedError


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
        return _proportional(op, relevance, self.epsilon)


class Zero(Rule):
    """LRP-0: exactly in proportion to the contributions, ``R_j = a_j Σ_k w_jk R_k / z_k``.

    On a network of ReLUs and max-pooling it equals gradient × input, and is as noisy.

    Unit: that of the logit. Cost: one backward pass of the layer.
    Source: Bach et al. 2015, eq. 56; Montavon et al. 2019, sec. 10.2.1.
    """

    loss: ClassVar[str] = "z = 0"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return _proportional(op, relevance, 0.0)


class Gamma(Rule):
    """LRP-γ: favours what speaks for the output, ``w + γ w⁺`` in place of ``w``.

    Where ``z_k < 0`` the negative contributions are favoured instead, and negative inputs are
    treated by the sign of their contribution, so that the rule serves any layer. The bias is a
    neuron of activation 1 (its weight is changed too). γ = 0 is LRP-0, γ → ∞ is LRP-α1β0.

    Unit: that of the logit. Cost: one forward and one backward pass of the layer.
    Source: Montavon et al. 2019, sec. 10.2.1; for signed inputs Andéol et al. 2021, appendix.
    """

    loss: ClassVar[str] = "z = 0"
    gamma: float = declared_gamma()

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        layer = affine(op)
        if not _signed(layer) and not _reaches_negative(relevance, layer.z):
            return self._for_positive(layer, relevance)
        negative = layer.z < 0
        weighted = _positive_part(layer, with_bias=True)
        favoured = torch.where(negative, layer.z - weighted, weighted)
        s = _divide(relevance, layer.z + self.gamma * favoured)
        up, down = s.masked_fill(negative, 0), s.masked_fill(~negative, 0)
        spread = layer.a * layer.transpose(layer.weight, s)
        spread = spread + self.gamma * _spread(layer, up, down)
        return Share(
            (spread,),
            lambda: (
                _into_bias(layer, s)
                + self.gamma * (_into_bias(layer, up, "+") + _into_bias(layer, down, "-"))
            ),
        )

    def _for_positive(self, layer: Affine, relevance: Tensor) -> Share:
        weight = modified(layer.weight, "gamma", self._favour, self.gamma)
        bias = None if layer.bias is None else self._favour(layer.bias)
        s = _divide_by_positive(relevance, layer.forward(weight, bias))
        return Share(
            (layer.a * layer.transpose(weight, s),),
            lambda: _into_bias(layer, s) + self.gamma * _into_bias(layer, s, "+"),
        )

    def _favour(self, weight: Tensor) -> Tensor:
        return torch.add(weight, weight.clamp(min=0), alpha=self.gamma)


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
        positive = _positive_part(layer, with_bias=True)
        up = _divide_by_positive(self.alpha * relevance, positive)
        down = None
        if self.alpha > 1:
            down = _divide((1 - self.alpha) * relevance, (layer.z - positive).clamp(max=0))
        return Share(
            (_spread(layer, up, down),),
            lambda: _into_bias(layer, up, "+") + _into_bias(layer, down, "-"),
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
        up = _divide_by_positive(relevance, _positive_part(layer, with_bias=False))
        return Share((_spread(layer, up, None),))


class ZBox(Rule):
    """zᴮ: for the first layer, whose inputs are pixels in a box [low, high].

    ``R_i = Σ_k (x_i w_ik − l_i w_ik⁺ − h_i w_ik⁻) / Σ_i (the same) R_k``. Black pixels get
    relevance too. The box is that of the data: a number, or one number per channel.

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
        z = layer.z if layer.bias is None else layer.z - layer.along_output(layer.bias)
        terms = [
            (box, modified(layer.weight, sign, part))
            for bound, sign, part in (
                (self.low, "+", lambda w: w.clamp(min=0)),
                (self.high, "-", lambda w: w.clamp(max=0)),
            )
            if (box := self._box(bound, layer.a)) is not None
        ]
        for box, weight in terms:
            z = z - layer.forward(weight, a=box)
        s = _divide(relevance, z)
        spread = layer.a * layer.transpose(layer.weight, s)
        for box, weight in terms:
            spread = spread - box * layer.transpose(weight, s)
        return Share((spread,))

    def _box(self, bound: float | Sequence[float], a: Tensor) -> Tensor | None:
        values = a.new_tensor(bound)
        if not bool(values.any()):
            return None
        shape = (1, *a.shape[1:])
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


class Pass(Rule):
    """Hand the relevance on unchanged: for activations, which act on each number alone.

    Raises :class:`UnsupportedOperation` where input and output differ in shape.
    Source: Bach et al. 2015, sec. 2.3.
    """

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        if [value.shape for value in op.values] != [relevance.shape]:
            raise UnsupportedOperation(
                f"LRP: Pass must be the rule of a step that keeps its input's shape; got {op.kind} "
                f"(in {op.label!r}). Name another rule for it in the composite."
            )
        return Share((relevance,))


class Proportional(Zero):
    """Sums, averages and scalings: to each input in proportion to what it contributed.

    What a constant contributed (the shift of a batch-norm without a layer before it) is lost.
    """

    loss: ClassVar[str] = "bias"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return _proportional(op, relevance, 1e-9)


class OneToOne(Rule):
    """Shifts and scalings by constants: each number is made of one number, which gets everything.

    What a shift adds gets nothing, and black pixels stay as relevant below a scaling as above it.
    """

    loss: ClassVar[str] = "scaled by 0"

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        (value,) = op.values
        factor = op.again(torch.ones_like(value)) - op.again(torch.zeros_like(value))
        return Share(op.vjp(_divide(relevance, factor)))


class Derivative(Rule):
    """Multiply by the operation's derivative: for steps that only move, copy or select values."""

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return Share(derivative(op, relevance))


class WinnerTakesAll(Derivative):
    """Max-pooling: all relevance goes to the largest value of the window.

    Source: Montavon, Samek, Müller 2018, sec. 5.3 (special layers).
    """


class GuidedReLU(Rule):
    """Guided backpropagation at a ReLU: only positive signals, only where the unit was on.

    ``1[a > 0] · 1[R > 0] · R``. Source: Springenberg et al. 2015, sec. 3.4.
    """

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return Share(derivative(op, relevance.clamp(min=0)))


_TINY = 1e-30


def _divide(relevance: Tensor, z: Tensor, epsilon: float = 0.0) -> Tensor:
    """``relevance / (z + ε sign z)`` with sign 0 = 1, and 0 where that is a division by 0."""
    if epsilon:
        return relevance / (z + torch.copysign(z.new_full((), epsilon), z))
    return (relevance / z).masked_fill_(z == 0, 0)


def _divide_by_positive(relevance: Tensor, z: Tensor) -> Tensor:
    """``relevance / z`` for sums of one sign, where z = 0 only if all that it sums are 0.

    What comes out there is large and wrong, and is only ever multiplied by these zeros.
    """
    if z.dtype == torch.float16:
        return _divide(relevance, z)
    return relevance / (z + _TINY)


def _proportional(op: Op, relevance: Tensor, epsilon: float) -> Share:
    s = _divide(relevance, op.results[0], epsilon)
    if family(op) == "affine":
        layer = affine(op)
        spread = layer.a * layer.transpose(layer.weight, s)
        return Share((spread,), lambda: _into_bias(layer, s))
    signals = derivative(op, s)
    return Share(tuple(value * signal for value, signal in zip(op.values, signals, strict=True)))


def _reaches_negative(relevance: Tensor, z: Tensor) -> bool:
    low, high = (relevance * z.clamp(max=0)).aminmax()
    return bool(low < 0) or bool(high > 0)


def _signed(layer: Affine) -> bool:
    return bool(layer.a.min() < 0)


def _halves(layer: Affine) -> tuple[Tensor, Tensor]:
    plus = modified(layer.weight, "+", lambda w: w.clamp(min=0))
    return plus, modified(layer.weight, "-", lambda w: w.clamp(max=0))


def _positive_part(layer: Affine, with_bias: bool) -> Tensor:
    """``z⁺ = Σ_j (a_j w_jk)⁺``, the bias's positive part included or not."""
    plus, minus = _halves(layer)
    bias = layer.bias.clamp(min=0) if with_bias and layer.bias is not None else None
    if not _signed(layer):
        return layer.forward(plus, bias)
    positive = layer.forward(plus, bias, layer.a.clamp(min=0))
    return positive + layer.forward(minus, None, layer.a.clamp(max=0))


def _spread(layer: Affine, up: Tensor, down: Tensor | None) -> Tensor:
    """``Σ_k (a_j w_jk)⁺ up_k + (a_j w_jk)⁻ down_k``."""
    plus, minus = _halves(layer)

    def along(of_plus: Tensor | None, of_minus: Tensor | None) -> Tensor | float:
        out: Tensor | float = 0.0
        if of_plus is not None:
            out = layer.transpose(plus, of_plus)
        if of_minus is not None:
            out = out + layer.transpose(minus, of_minus)
        return out

    if not _signed(layer):
        return layer.a * along(up, down)
    return layer.a.clamp(min=0) * along(up, down) + layer.a.clamp(max=0) * along(down, up)


def _blind(op: Op, relevance: Tensor, key: str, change: Callable[[Tensor], Tensor]) -> Share:
    layer = affine(op)
    weight = modified(layer.weight, key, change)
    s = _divide(relevance, layer.forward(weight, a=torch.ones_like(layer.a[:1])))
    return Share((layer.transpose(weight, s),))


def _into_bias(layer: Affine, signal: Tensor | None, part: str = "") -> Tensor:
    """Per sample what flows into the bias, or into its positive or negative part."""
    if layer.bias is None or signal is None:
        return layer.z.new_zeros(len(layer.z))
    low, high = (0 if part == "+" else None), (0 if part == "-" else None)
    bias = layer.bias.clamp(low, high) if part else layer.bias
    return (signal * layer.along_output(bias)).flatten(1).sum(1)
