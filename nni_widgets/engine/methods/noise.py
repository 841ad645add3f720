"""Noise that its seed and its number decide: not the batch, not torch's own random state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_FAR_APART = 1_000_003


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
    generator = torch.Generator()
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    first, last = int(copies.min()), int(copies.max())
    made = [
        draw(
            x.shape[1:],
            generator=generator.manual_seed(seed * _FAR_APART + copy),
            dtype=dtype,
            device="cpu",
        )
        for copy in range(first, last + 1)
    ]
    return torch.stack(made)[(copies - first).cpu()].to(x)
