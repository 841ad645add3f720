"""How the gradient at one pixel changes while a picture changes too little to be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.base import Result
from nni_widgets.engine.methods.chunks import rows_at_once
from nni_widgets.engine.methods.gradients import Gradient
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.targets import Selection, Target
from nni_widgets.errors import invalid

_MOST = 2**31


@dataclass(frozen=True, eq=False)
class Fluctuation:
    """The gradient at one pixel of each sample, on the way x + t ε; T steps.

    ``t`` is ``(T,)``; ``pixel`` the place in each sample, ``(N, dims)``; ``gradient`` is there for
    each channel, ``(N, T, C)``; ``largest`` is max |∂f/∂x_i| over all pixels, and ``score`` f,
    both ``(N, T)``.
    """

    t: Tensor
    pixel: Tensor
    gradient: Tensor
    largest: Tensor
    score: Tensor
    selection: Selection

    @property
    def share(self) -> Tensor:
        """The gradient as a share of the largest entry, from −1 to 1: what the paper draws."""
        largest = self.largest[..., None]
        return torch.where(largest > 0, self.gradient / largest, 0.0)


def fluctuation(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    n_steps: int = 100,
    noise_level: float = 0.01,
    seed: int = 0,
    pixel: tuple[int, ...] | None = None,
) -> Fluctuation:
    """Follow the gradient at a pixel while x moves to x + ε, one small noise that nobody sees.

    ε is normal with σ = noise_level · (max x − min x), t goes from 0 to 1 in ``n_steps`` points.
    ``pixel`` is a place such as ``(row, column)``; without one, each sample's place with the
    largest |∂f/∂x_i| at x. The target is decided once, at x.

    Raises ``ValueError`` for what a method refuses, a place outside and numbers out of range.
    Cost: n_steps + 1 forward and backward passes; memory bounded by a chunk.
    Source: Smilkov et al. 2017, sec. 2, fig. 2.
    """
    _check_numbers(n_steps, noise_level, seed)
    check_model("fluctuation", model)
    check_input("fluctuation", model, x)
    x = x.detach()
    place = None if pixel is None else _place(pixel, x)
    (clean,) = Gradient().steps(model, x, target)
    if place is None:
        place = _per_place(clean.values).abs().amax(1).argmax(1)
    else:
        place = place.expand(len(x))
    t = torch.linspace(0, 1, n_steps, dtype=torch.float64).to(x)
    change = deviation(x, noise_level) * noise(torch.zeros(1, dtype=torch.long), x, seed)
    parts = []
    first = torch.zeros(1, dtype=torch.long)
    size = rows_at_once(
        model, x, "Gradient", lambda: Gradient()(model, x[:1], clean.selection.rows(first))
    )
    for rows in torch.arange(n_steps * len(x)).split(size):
        sample, step = rows // n_steps, rows % n_steps
        points = x[sample] + t[step].reshape(-1, *[1] * (x.ndim - 1)) * change[sample]
        (result,) = Gradient().steps(model, points, clean.selection.rows(sample))
        parts.append(_read(result, place[sample]))
    gradient, largest, score = map(torch.cat, zip(*parts, strict=True))
    shape = (len(x), n_steps)
    return Fluctuation(
        t,
        torch.stack(torch.unravel_index(place, _places(x)), 1),
        gradient.reshape(*shape, -1),
        largest.reshape(shape),
        score.reshape(shape),
        clean.selection,
    )


def _read(result: Result, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values = _per_place(result.values)
    at_place = values[torch.arange(len(values)), :, place]
    return at_place, values.abs().flatten(1).amax(1), result.score


def _per_place(values: Tensor) -> Tensor:
    """``(N, C, places)``; features without channels, ``(N, D)``, have one."""
    return values.flatten(2) if values.ndim > 2 else values[:, None]


def _places(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[2:] or x.shape[1:])


def _place(pixel: tuple[int, ...], x: Tensor) -> Tensor:
    sizes = _places(x)
    whole = isinstance(pixel, (tuple, list)) and all(type(number) is int for number in pixel)
    inside = whole and len(pixel) == len(sizes)
    if not inside or not all(0 <= at < size for at, size in zip(pixel, sizes, strict=True)):
        expected = f"a place inside {sizes}"
        raise invalid("fluctuation", "pixel", expected, repr(pixel), "Count from 0")
    index = 0
    for at, size in zip(pixel, sizes, strict=True):
        index = index * size + at
    return torch.tensor([index], device=x.device)


def _check_numbers(n_steps: int, noise_level: float, seed: int) -> None:
    for name, value, low in (("n_steps", n_steps, 2), ("seed", seed, 0)):
        if type(value) is not int or not low <= value <= _MOST:
            expected = f"a whole number from {low} to {_MOST:,}"
            raise invalid("fluctuation", name, expected, repr(value), f"Try {max(low, 100)}")
    is_number = isinstance(noise_level, (int, float)) and not isinstance(noise_level, bool)
    if not is_number or not 0 <= noise_level < math.inf:
        expected = "a number of at least 0"
        raise invalid("fluctuation", "noise_level", expected, repr(noise_level), "Try 0.01")
