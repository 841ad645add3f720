"""Noise that its seed and its number decide: not the batch, not torch's own random state."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

_FAR_APART = 1_000_003
_SMALL = 1 << 12


def deviation(x: Tensor, noise_level: float) -> Tensor:
    """σ = noise_level · (max x − min x) of each sample, over all its channels, to multiply with."""
    flat = x.flatten(1)
    return (noise_level * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (x.ndim - 1))


def noise(
    copies: Tensor, x: Tensor, seed: int, draw: Callable[..., Tensor] = torch.randn
) -> Tensor:
    """The noise of the copies with these numbers, shaped like so many samples of x.

    Each copy has a seed of its own; every sample of a batch gets the same. ``draw`` is
    ``torch.randn`` or ``torch.rand``.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    first, last = int(copies.min()), int(copies.max())
    drawn = _drawn if x[0].numel() > _SMALL else _kept
    seeds = range(seed * _FAR_APART + first, seed * _FAR_APART + last + 1)
    made = torch.stack([drawn(x.shape[1:], dtype, draw, each) for each in seeds])
    return made[(copies - first).cpu()].to(x)


def _drawn(
    shape: tuple[int, ...], dtype: torch.dtype, draw: Callable[..., Tensor], seed: int
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return draw(shape, generator=generator, dtype=dtype, device="cpu")


_kept = functools.lru_cache(maxsize=256)(_drawn)
"""To make a generator anew takes longer than to draw a small picture from it."""
