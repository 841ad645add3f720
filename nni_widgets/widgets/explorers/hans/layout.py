"""Places in the plane for maps, so that alike ones lie close: t-SNE, small and without chance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_SIZE, _PERPLEXITY = 14, 5.0
_MOST_ROUNDS, _FEWEST_ROUNDS, _ROOM = 250, 60, 2.5e7
_EARLY, _EXAGGERATION = 1 / 3, 6.0
_MOMENTUM, _SEARCHES = 0.8, 40
_TINY = 1e-12


def layout(maps: Tensor) -> Tensor:
    """A place (x, y) from 0 to 1 for each of the maps ``(N, H, W)``.

    Maps are pooled and divided by their norm, as :func:`clusters` does, and begin at their two
    principal components. Source: van der Maaten, Hinton 2008 (t-SNE), Alg. 1; SpRAy shows its maps
    so. Cost: no pass; 60 to 250 rounds over a matrix N × N.
    """
    sides = [min(_SIZE, side) for side in maps.shape[1:]]
    points = F.adaptive_avg_pool2d(maps[:, None].float(), sides).flatten(1)  # type: ignore[arg-type]
    points = F.normalize(points)
    near = _joint(points)
    at = _principal(points)
    speed = torch.zeros_like(at)
    rounds = int(min(max(_ROOM / len(at) ** 2, _FEWEST_ROUNDS), _MOST_ROUNDS))
    for number in range(rounds):
        wanted = near * (_EXAGGERATION if number < _EARLY * rounds else 1.0)
        speed = _MOMENTUM * speed - _rate(len(at)) * _slope(wanted, at)
        at = at + speed
    low, high = at.amin(0), at.amax(0)
    return (at - low) / (high - low).clamp(min=_TINY)


def _rate(count: int) -> float:
    """A step that neither stands still nor flies apart: N / exaggeration, as is usual."""
    return max(count / _EXAGGERATION / 4, 2.0)


def _slope(wanted: Tensor, at: Tensor) -> Tensor:
    """The gradient of KL(P‖Q), eq. 5."""
    heavy = (1 + torch.cdist(at, at).square()).reciprocal().fill_diagonal_(0)
    pull = (wanted - heavy / heavy.sum()) * heavy
    return 4 * (pull.sum(1, keepdim=True) * at - pull @ at)


def _joint(points: Tensor) -> Tensor:
    """P: how near each pair is, with the width of each Gaussian such that it has 5 neighbours."""
    distance = torch.cdist(points, points).square()
    count = len(points)
    entropy = math.log(min(_PERPLEXITY, (count - 1) / 2))
    low, high = (points.new_full((count, 1), end) for end in (-10.0, 20.0))
    for _ in range(_SEARCHES):
        middle = (low + high) / 2
        shares = _conditional(distance, middle)
        is_wide = -(shares * shares.clamp(min=_TINY).log()).sum(1, keepdim=True) > entropy
        low, high = torch.where(is_wide, middle, low), torch.where(is_wide, high, middle)
    shares = _conditional(distance, low)
    return (shares + shares.T) / (2 * count)


def _conditional(distance: Tensor, log_precision: Tensor) -> Tensor:
    logits = -distance * log_precision.exp()
    shares: Tensor = logits.fill_diagonal_(-torch.inf).softmax(1)
    return shares


def _principal(points: Tensor) -> Tensor:
    """The two principal components, small to begin with."""
    centred = points - points.mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    at = (left * sizes)[:, :2]
    if at.shape[1] < 2:
        at = F.pad(at, (0, 2 - at.shape[1]))
    beginning: Tensor = at / at.std().clamp(min=_TINY) * 1e-2
    return beginning
