"""Shaking an image before the model sees it, so that what is made works from more than one place.

What a network likes in exactly one position is often only noise. Each step shakes all images alike,
by its own seed.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param

_FAR_APART = 1_000_003


class Robustness(Declared):
    """Base: a random change of the images, called with them and a generator of random numbers.

    Source: Olah, Mordvintsev, Schubert 2017, "Transformation robustness".
    """

    title: ClassVar[str] = ""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The changed images, in the graph of x."""
        raise NotImplementedError


class Jitter(Robustness):
    """A shift by whole pixels, along each side; what leaves at one side enters at the other."""

    title: ClassVar[str] = "Jitter"
    pixels: int = param(2, "the largest shift", low=0, high=1000, slider=(0, 16))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        axes = tuple(range(2, x.ndim))
        if not axes:
            expected, given = "pictures (N, C, ...)", f"shape {tuple(x.shape)}"
            raise invalid("Jitter", "x", expected, given, "Leave it out")
        shifts = torch.randint(-self.pixels, self.pixels + 1, (len(axes),), generator=generator)
        return x.roll(tuple(shifts.tolist()), axes)


class Rotate(Robustness):
    """A rotation about the middle; the edge goes on outside."""

    title: ClassVar[str] = "Rotation"
    degrees: float = param(5.0, "the largest angle", low=0, high=180, slider=(0, 45))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        angle = math.radians(self.degrees) * _between_minus_one_and_one(generator)
        cos, sin = math.cos(angle), math.sin(angle)
        height, width = x.shape[-2:]
        return _resampled(x, ((cos, -sin * height / width), (sin * width / height, cos)), "Rotate")


class Scale(Robustness):
    """A magnification about the middle by a factor within ``1 ± share``; the edge goes on."""

    title: ClassVar[str] = "Scale"
    share: float = param(0.05, "the largest change of size", low=0, high=0.9, slider=(0, 0.3))

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        factor = 1 + self.share * _between_minus_one_and_one(generator)
        return _resampled(x, ((1 / factor, 0.0), (0.0, 1 / factor)), "Scale")


def shaken(x: Tensor, by: tuple[Robustness, ...], seed: int, step: int) -> Tensor:
    """The images after all changes, in their order, as the seed and the step decide."""
    if not by:
        return x
    generator = torch.Generator().manual_seed(seed * _FAR_APART + step)
    for change in by:
        x = change(x, generator)
    return x


def _between_minus_one_and_one(generator: torch.Generator) -> float:
    return 2 * float(torch.rand((), generator=generator, dtype=torch.float64)) - 1


def _resampled(x: Tensor, matrix: tuple[tuple[float, float], ...], who: str) -> Tensor:
    """Each place gets what is at ``matrix · place``, places counted from −1 to 1."""
    if x.ndim != 4:
        expected, given = "pictures (N, C, H, W)", f"shape {tuple(x.shape)}"
        raise invalid(who, "x", expected, given, "Use nni.Jitter()")
    rows = [(*row, 0.0) for row in matrix]
    theta = torch.tensor([rows], dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
