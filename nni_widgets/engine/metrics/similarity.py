"""How alike two maps are, and how two rows of numbers go together; every row for itself."""

from __future__ import annotations

import torch
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of the rows of a and b, ``(N, P)`` each: ``(N,)``, float64, −1 to 1.

    Rows without spread have none: two of them count as alike, 1; one beside another row as 0.
    """
    a, b = a.double(), b.double()
    still_a, still_b = a.amax(1) == a.amin(1), b.amax(1) == b.amin(1)
    a, b = _unit(a - a.mean(1, keepdim=True)), _unit(b - b.mean(1, keepdim=True))
    defined = (a * b).sum(1).clamp(-1, 1)
    return torch.where(still_a | still_b, (still_a & still_b).double(), defined)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of the rows of a and b: that of their ranks, ties at the mean rank.

    Rows of one value only: as in `correlation`.
    """
    return correlation(ranks(a), ranks(b))


def ranks(values: Tensor) -> Tensor:
    """The rank of each number in its row, from 1; equal numbers share the mean of their ranks."""
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values.contiguous())
    up_to = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + up_to + 1).double() / 2


def structural_similarity(a: Tensor, b: Tensor, dynamic_range: float) -> Tensor:
    """SSIM of maps ``(N, ...)`` with any number of axes: ``(N,)``, float64, −1 to 1.

    ``(2 μ_a μ_b + C1)(2 σ_ab + C2) / ((μ_a² + μ_b² + C1)(σ_a² + σ_b² + C2))``, the mean over all
    windows inside the map. The window is normal, 11 wide with σ = 1.5, or as wide as the odd number
    that fits; C1 = (0.01 L)², C2 = (0.03 L)² for the ``dynamic_range`` L.

    Source: Wang et al. 2004, sec. III.B, eq. 13.
    """
    a, b = a.double(), b.double()
    mean_a, mean_b = _local_mean(a), _local_mean(b)
    square_a = _local_mean(a * a) - mean_a**2
    square_b = _local_mean(b * b) - mean_b**2
    product = _local_mean(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * dynamic_range) ** 2, (_K2 * dynamic_range) ** 2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * product + c2) / (square_a + square_b + c2)
    return (light * structure).flatten(1).mean(1)


def _unit(rows: Tensor) -> Tensor:
    """Each row at length 1, scaled first by its largest number: squares of small ones are 0."""
    rows = rows / _or_one(rows.abs().amax(1, keepdim=True))
    return rows / _or_one(rows.norm(dim=1, keepdim=True))


def _or_one(size: Tensor) -> Tensor:
    return torch.where(size > 0, size, 1.0)


def _local_mean(maps: Tensor) -> Tensor:
    """The mean around each place that has a whole window."""
    for axis in range(1, maps.ndim):
        window = _window(maps.shape[axis]).to(maps)
        maps = maps.unfold(axis, len(window), 1) @ window
    return maps


def _window(side: int) -> Tensor:
    width = min(_WINDOW, side - 1 + side % 2)
    places = torch.arange(width, dtype=torch.float64) - width // 2
    weights = torch.exp(-((places / _SIGMA) ** 2) / 2)
    return weights / weights.sum()
