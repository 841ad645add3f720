"""DeepLIFT's rules: how a multiplier at the output of an operation becomes one at its inputs.

A multiplier m says how much of the score's change each unit of a value's change Δ stands for. The
change is the sum of a positive and a negative part, each with a multiplier of its own:
``Δ = Δ⁺ + Δ⁻`` contributes ``m⁺Δ⁺ + m⁻Δ⁻``. Both pairs are kept as mean and half difference,

    net = Δ⁺ + Δ⁻,  gross = Δ⁺ − Δ⁻,  m_net = (m⁺ + m⁻) / 2,  m_gross = (m⁺ − m⁻) / 2,

so that the contribution is ``m_net · net + m_gross · gross``. Then the Linear rule needs one layer
with |w| in place of four with w⁺ and w⁻, and a value without parts simply has no ``gross``.

Source: Shrikumar et al. 2017 (DeepLIFT, arXiv 1704.02685), sec. 3.4 and 3.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from nni_widgets.engine.operations import affine, bounds, derivative, family, to_winners
from nni_widgets.engine.pairs import Pair
from nni_widgets.engine.tape import Op
from nni_widgets.engine.weights import modified
from nni_widgets.params import Declared


@dataclass(frozen=True, eq=False, slots=True)
class Multiplier:
    """The multiplier of a value; ``gross`` is None where both parts have the same."""

    net: Tensor
    gross: Tensor | None = None

    def __add__(self, other: Multiplier) -> Multiplier:
        """What two readers of one value hand down together."""
        gross = self.gross if other.gross is None else other.gross
        if self.gross is not None and other.gross is not None:
            gross = self.gross + other.gross
        return Multiplier(self.net + other.net, gross)

    def of_whole(self, change: Callable[[], Tensor]) -> Tensor:
        """One multiplier for a change that is all positive or all negative."""
        if self.gross is None:
            return self.net
        return self.net + change().sign() * self.gross


Gross = Callable[[int], Tensor]
"""The gross change of a value, by its number on the tape."""


class PairRule(Declared):
    """Base of the rules; this one does not look into the parts of a change.

    A subclass gives ``share``, or ``down`` and ``gross``. ``loss`` names what swallows
    contributions.
    """

    loss: ClassVar[str] = "rounding"

    def down(self, pair: Pair, m: Multiplier, gross: Gross) -> tuple[Multiplier, ...]:
        """The multipliers of the inputs."""
        whole = m.of_whole(pair.made_change)
        return tuple(map(Multiplier, self.share(pair, whole)))

    def share(self, pair: Pair, m: Tensor) -> tuple[Tensor, ...]:
        """The multipliers of the inputs, from one multiplier for the whole change."""
        raise NotImplementedError

    def gross(self, pair: Pair, gross: Gross) -> tuple[Tensor, ...]:
        """The gross change of each output."""
        return tuple(pair.made_change(i).abs_() for i in range(len(pair.op.outputs)))


class LinearRule(PairRule):
    """Layers with weights: each ``w_i Δx_i`` belongs to Δy⁺ or to Δy⁻ by its sign.

    ``m_i = w_i m⁺`` where ``w_i Δx_i > 0``, ``w_i m⁻`` where it is negative, half of each where
    Δx_i is 0. Source: sec. 3.5.1.
    """

    def down(self, pair: Pair, m: Multiplier, gross: Gross) -> tuple[Multiplier, ...]:
        layer = affine(pair.op)
        net = layer.transpose(layer.weight, m.net)
        if m.gross is None:
            return (Multiplier(net),)
        of_size = layer.transpose(_size(layer.weight), m.gross)
        return (Multiplier(net + pair.change().sign() * of_size),)

    def gross(self, pair: Pair, gross: Gross) -> tuple[Tensor, ...]:
        layer = affine(pair.op)
        return (layer.forward(_size(layer.weight), a=pair.change().abs_()),)


class Carry(PairRule):
    """Moves, sums, averages and scalings by constants: each part stays a part.

    A factor below 0 exchanges the positive and the negative part.
    """

    def down(self, pair: Pair, m: Multiplier, gross: Gross) -> tuple[Multiplier, ...]:
        net = derivative(pair.op, m.net)
        if m.gross is None:
            return tuple(map(Multiplier, net))
        signs = _signs(pair.op)
        parts = derivative(pair.op, m.gross)
        return tuple(Multiplier(n, s * g) for n, s, g in zip(net, signs, parts, strict=True))

    def gross(self, pair: Pair, gross: Gross) -> tuple[Tensor, ...]:
        signs = _signs(pair.op)
        given = [s * gross(i) for s, i in zip(signs, pair.op.inputs, strict=True)]
        shift = _outputs(pair.op.again(*map(torch.zeros_like, given)))
        made = _outputs(pair.op.again(*given))
        return tuple(new - constant for new, constant in zip(made, shift, strict=True))


class Mixed(PairRule):
    """Other linear steps, whose factors have both signs: by the derivative."""

    def share(self, pair: Pair, m: Tensor) -> tuple[Tensor, ...]:
        return derivative(pair.op, m)


class Product(PairRule):
    """Products of two signals (gates): each by the mean of the other's two values.

    ``Δ(ab) = ½(b + b⁰) Δa + ½(a + a⁰) Δb``, exactly, and so for every product that is linear in
    each factor. Source: Shrikumar et al. 2016 (arXiv 1605.01713), element-wise products.
    """

    def share(self, pair: Pair, m: Tensor) -> tuple[Tensor, ...]:
        return pair.half_way().vjp(m)


class StraightMaximum(PairRule):
    """Maxima: shared by the winner and the reference's winner, as on the straight way.

    On the way from x⁰ to x the reference's winner q leads for a part t of the way and the winner p
    for the rest: ``m_q = t m, m_p = (1 − t) m`` with ``t = a / (a + b)``, where
    ``a = max x⁰ − x⁰_p`` and ``b = max x − x_q`` say how clearly each loses at the other end. Both
    lie in [0, 1], they add up to 1, and ``Σ m Δx = m Δy`` for any two inputs.
    """

    def down(self, pair: Pair, m: Multiplier, gross: Gross) -> tuple[Multiplier, ...]:
        new, old = _choices(pair)
        t = self._share_of_old(pair, new, old)

        def split(signal: Tensor) -> tuple[Tensor, ...]:
            if t is None:
                return new.back(signal)
            to_old = signal * t
            return tuple(map(torch.add, new.back(signal - to_old), old.back(to_old)))

        net = split(m.net)
        if m.gross is None:
            return tuple(map(Multiplier, net))
        return tuple(map(Multiplier, net, split(m.gross)))

    def gross(self, pair: Pair, gross: Gross) -> tuple[Tensor, ...]:
        new, old = _choices(pair)
        t, given = self._share_of_old(pair, new, old), tuple(map(gross, pair.op.inputs))
        made = new.picked(given)
        return (made if t is None else torch.lerp(made, old.picked(given), t),)

    def _share_of_old(self, pair: Pair, new: _Choice, old: _Choice) -> Tensor | None:
        """t, or None where it is 0 for all."""
        a = pair.before.results[0] - new.picked(pair.expanded())
        if a.max().item() == 0:
            return None
        b = pair.op.results[0] - old.picked(pair.op.values)
        return a.div_(b.add_(a)).nan_to_num_(0)


class _Choice(NamedTuple):
    """Which of its values a maximum passes on: those that are largest at x, or at the reference."""

    op: Op
    winners: Tensor | None

    def picked(self, given: tuple[Tensor, ...]) -> Tensor:
        """What it would pass on of other values, if the same inputs won."""
        if self.winners is not None:
            space = int(self.op.kind[-2])
            at = self.winners.flatten(-space)
            return given[0].flatten(-space).gather(-1, at).reshape(self.winners.shape)
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in self.op.values]
            made = _outputs(self.op.again(*leaves))[0]
            signal = torch.zeros_like(made, requires_grad=True)
            back = torch.autograd.grad(made, leaves, signal, create_graph=True)
            return torch.autograd.grad(back, signal, given)[0]

    def back(self, signal: Tensor) -> tuple[Tensor, ...]:
        """A signal at the output, carried to the inputs that won."""
        if self.winners is not None:
            return (to_winners(self.op, self.winners, signal),)
        return derivative(self.op, signal)


def _choices(pair: Pair) -> tuple[_Choice, _Choice]:
    """What a maximum chose at x, and at the reference."""
    winners, before = pair.op.winners, pair.before.winners
    if winners is None or before is None:
        return _Choice(pair.op, None), _Choice(pair.at_reference(), None)
    return _Choice(pair.op, winners), _Choice(pair.op, before.expand_as(winners))


class Slope(PairRule):
    """Nonlinearities by their derivative at x: the Linear rule alone, which does not add up."""

    loss: ClassVar[str] = "nonlinearity"

    def down(self, pair: Pair, m: Multiplier, gross: Gross) -> tuple[Multiplier, ...]:
        slope = self.slope(pair)
        gross_part = None if m.gross is None else slope * m.gross
        return (Multiplier(slope.mul_(m.net), gross_part),)

    def gross(self, pair: Pair, gross: Gross) -> tuple[Tensor, ...]:
        return (self.slope(pair) * gross(pair.op.inputs[0]),)

    def slope(self, pair: Pair) -> Tensor:
        """What a unit of the input's change stands for at the output."""
        return _slope(pair.op, pair.op.results[0])


class Rescale(Slope):
    """Nonlinearities by the slope of the secant, ``m = Δy / Δx``; the derivative where Δx is tiny.

    Source: sec. 3.5.2.
    """

    loss: ClassVar[str] = "rounding"

    def slope(self, pair: Pair) -> Tensor:
        dx, dy, y = pair.change(), pair.made_change(), pair.op.results[0]
        if pair.op.kind in _EXACT:
            return _exact_ratio(dy, dx, _slope(pair.op, y))
        near = torch.maximum(y.abs(), pair.before.results[0].abs()).mul_(_tiny(y))
        return _ratio(dy, dx, near, _limit(pair.op, y))


class RevealCancel(PairRule):
    """Nonlinearities with a multiplier for each part of the change.

    ``Δy⁺`` is what adding Δx⁺ does, averaged over before and after adding Δx⁻, and ``Δy⁻`` alike;
    ``m⁺ = Δy⁺ / Δx⁺, m⁻ = Δy⁻ / Δx⁻``. In short: the gross change of y is
    ``f(x⁰ + Δx⁺) − f(x⁰ + Δx⁻)``. Where f has no value there, as a root has none below 0, both
    parts have the slope of the secant. Source: sec. 3.5.3.
    """

    def down(self, pair: Pair, m: Multiplier, gross: Gross) -> tuple[Multiplier, ...]:
        dy, y, old = pair.made_change(), pair.op.results[0], pair.before.results[0]
        twice_up, twice_down = self._parts(pair, gross)
        made = self._made(pair, twice_up, twice_down)
        near = gross(pair.op.inputs[0]).abs().add_(pair.before.values[0].abs()).mul_(_tiny(y))
        limit = _limit(pair.op, y).lerp_(self._old_slope(pair, old), 0.5)
        up = _ratio(dy + made, twice_up, near, limit)
        down = _ratio(dy.sub_(made), twice_down, near, limit)
        half = m.net * 0.5
        if m.gross is None:
            up, down = up.mul_(half), down.mul_(half)
        else:
            rest = m.gross * 0.5
            up, down = up.mul_(half + rest), down.mul_(half - rest)
        return (Multiplier(up + down, up.sub_(down)),)

    def gross(self, pair: Pair, gross: Gross) -> tuple[Tensor, ...]:
        return (self._made(pair, *self._parts(pair, gross)),)

    def _parts(self, pair: Pair, gross: Gross) -> tuple[Tensor, Tensor]:
        """2 Δx⁺ and 2 Δx⁻."""
        dx, size = pair.change(), gross(pair.op.inputs[0])
        return dx + size, dx.sub_(size)

    def _made(self, pair: Pair, twice_up: Tensor, twice_down: Tensor) -> Tensor:
        """Δy⁺ − Δy⁻."""
        old, f = pair.before.values[0], pair.op.again
        with_up: Tensor = f(torch.add(old, twice_up, alpha=0.5))
        with_down: Tensor = f(torch.add(old, twice_down, alpha=0.5))
        made = with_up.sub_(with_down)
        if pair.op.kind in _PARTIAL:
            secant = Rescale().slope(pair) * (twice_up - twice_down) / 2
            made = made.where(made.isfinite(), secant)
        return made

    def _old_slope(self, pair: Pair, old: Tensor) -> Tensor:
        told_by_output = pair.op.kind == "relu" or bounds(pair.op) is not None
        return _limit(pair.op if told_by_output else pair.at_reference(), old)


_EXACT = {"relu", "relu6", "hardtanh", "clamp", "clamp_min", "clip", "threshold"}
"""Made of pieces of slope 0 and 1: no rounding between Δx and Δy."""

_PARTIAL = {"sqrt", "rsqrt", "log", "log1p", "pow"}
"""Without a value at some numbers."""


def _size(weight: Tensor) -> Tensor:
    return modified(weight, "size", torch.abs)


def _tiny(of: Tensor) -> float:
    return 100 * torch.finfo(of.dtype).eps


def _ratio(dy: Tensor, dx: Tensor, near: Tensor | float, limit: Tensor) -> Tensor:
    """``dy / dx``, and ``limit`` where dx is no larger than ``near``; overwrites dy and dx.

    A factor of 0 or 1 stands for a choice by each number, which a CPU is slow to make.
    """
    is_near = dx.abs().le_(near)
    dx.addcmul_(dx, is_near, value=-1).add_(is_near)
    return dy.lerp_(limit, is_near).div_(dx)


def _exact_ratio(dy: Tensor, dx: Tensor, limit: Tensor) -> Tensor:
    """``dy / dx``, and ``limit`` where both are 0; overwrites dy and dx.

    The least of all numbers, added to dx, is lost in rounding unless dx is 0 (or as small).
    """
    if dx.dtype == torch.float16:
        return _ratio(dy, dx, 0.0, limit)
    least = torch.finfo(dx.dtype).tiny
    return dy.add_(limit, alpha=least).div_(dx.add_(least))


def _slope(op: Op, y: Tensor) -> Tensor:
    """The derivative of a step that acts on each number alone; that of a ReLU is a mask."""
    if op.kind == "relu":
        return y.sign()
    ends = bounds(op)
    if ends is not None:
        return ((y > ends[0]) & (y < ends[1])).to(y.dtype)
    return op.vjp(torch.ones_like(op.values[0]))[0]


def _limit(op: Op, y: Tensor) -> Tensor:
    """What the secant becomes where Δx is tiny: the derivative, 0 where that is infinite."""
    slope = _slope(op, y)
    return slope if op.kind in _EXACT else slope.nan_to_num_(0.0, 0.0, 0.0)


def _outputs(made: Any) -> tuple[Tensor, ...]:
    if isinstance(made, Tensor):
        return (made,)
    return tuple(part for part in made if isinstance(part, Tensor) and part.is_floating_point())


_BY_CONSTANT = {
    *("mul", "div", "true_divide", "truediv", "neg", "sub", "rsub", "add", "batch_norm"),
}


def carries_parts(op: Op) -> bool:
    """Whether each input enters a linear step with factors of one sign."""
    if family(op) == "move":
        return True
    if op.kind in {"interpolate", "upsample"}:
        return "bicubic" not in (*op.args, *op.kwargs.values())
    if op.kind in _BY_CONSTANT:
        if len(op.values) == 1:
            return op.values[0].shape == op.results[0].shape
        return not op.kwargs
    return op.kind not in {"matmul", "mm", "addmm"}


def _signs(op: Op) -> tuple[Tensor | float, ...]:
    """The sign of the factors with which each input enters."""
    if op.kind not in _BY_CONSTANT:
        return (1.0,) * len(op.values)
    if len(op.values) == 1:
        return (op.vjp(torch.ones_like(op.results[0]))[0].sign(),)
    return {"sub": (1.0, -1.0), "rsub": (-1.0, 1.0)}.get(op.kind, (1.0, 1.0))
