"""Groups of alike maps: they show a network that looks at something else than one thinks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole

_NEIGHBOURS, _WEAK = 10, 0.01
_RESTARTS, _ROUNDS = 20, 100


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of maps, the largest first.

    ``labels`` (N,) is the group of each map, ``means`` (n, ...) the mean map of each group; fewer
    than n where so many maps are the same that no more can be told apart.
    ``embedding`` (N, max(n, 3) − 1) are places where alike maps lie close; its first two columns
    make a picture. ``eigenvalues`` (N,) ascend from 0: as many are small as there are groups.
    """

    labels: Tensor
    means: Tensor
    embedding: Tensor
    eigenvalues: Tensor

    @property
    def eigengap(self) -> int:
        """The number of groups that the maps themselves suggest: where the eigenvalues jump.

        That is the widest gap among the first half of them.
        """
        first = self.eigenvalues[: len(self.eigenvalues) // 2 + 1]
        return int(first.diff().argmax()) + 1


def clusters(attributions: Tensor, n: int, seed: int = 0, size: int = 14) -> Clusters:
    """Group N maps (N, C, ...) or (N, D) by where their relevance lies: spectral clustering.

    The channels are summed, each map is pooled to at most ``size`` places along each axis and
    divided by its norm. Maps among each other's 10 nearest are joined (all weakly to all), and the
    eigenvectors of the n smallest eigenvalues of ``I − D^(−½) A D^(−½)``, each row at length 1, are
    grouped by k-means, the best of 20 seeded starts. The same input gives the same groups.

    Unit of ``means``: that of the maps. Raises ``ValueError`` for fewer than 3 maps, more groups
    than maps, or numbers that are not finite. Cost: no pass; memory and time of a matrix N × N.
    Source: Lapuschkin et al. 2019 (spectral relevance analysis), methods; Ng, Jordan, Weiss 2002.
    """
    _check(attributions, n, seed, size)
    maps = attributions.detach().double()
    eigenvalues, vectors = torch.linalg.eigh(_laplacian(_normalised(maps, size)))
    vectors = vectors * _signs(vectors)
    labels = _by_size(_k_means(F.normalize(vectors[:, :n]), n, seed))
    means = torch.stack([maps[labels == group].mean(0) for group in range(int(labels.max()) + 1)])
    return Clusters(labels, means.to(attributions), vectors[:, 1 : max(n, 3)], eigenvalues)


def _check(attributions: Tensor, n: int, seed: int, size: int) -> None:
    who, expected = "clusters", "finite maps of at least 3 pictures, (N, C, ...) or (N, D)"
    if not isinstance(attributions, Tensor) or attributions.ndim < 2 or len(attributions) < 3:
        given = f"shape {tuple(getattr(attributions, 'shape', ()))}"
        raise invalid(who, "attributions", expected, given, "Explain more pictures")
    if not bool(attributions.isfinite().all()):
        raise invalid(who, "attributions", expected, "NaN or infinite numbers", "Leave those out")
    if not is_whole(n) or not 1 <= n <= len(attributions):
        expected = f"a whole number from 1 to {len(attributions)}, the number of maps"
        raise invalid(who, "n", expected, repr(n), "Ask for fewer groups")
    if not is_whole(size) or size < 1:
        raise invalid(who, "size", "a whole number of at least 1", repr(size), "Try 14")
    if not is_whole(seed):
        raise invalid(who, "seed", "a whole number", repr(seed), "Try 0")


def _normalised(maps: Tensor, size: int) -> Tensor:
    """Each map pooled and at length 1, (N, P)."""
    if maps.ndim == 2:
        return F.normalize(maps)
    maps = maps.sum(1)
    for axis in range(1, maps.ndim):
        rows = maps.movedim(axis, -1)
        lines = rows.reshape(len(rows), -1, rows.shape[-1])
        pooled = F.adaptive_avg_pool1d(lines, min(size, rows.shape[-1]))
        maps = pooled.reshape(*rows.shape[:-1], -1).movedim(-1, axis)
    return F.normalize(maps.flatten(1))


def _laplacian(points: Tensor) -> Tensor:
    """``I − D^(−½) A D^(−½)`` of the graph that joins each point with its nearest ones.

    The weak link of all with all keeps groups that nothing joins in an order of their own.
    """
    count = len(points)
    distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
    nearest = distance.topk(min(_NEIGHBOURS, count - 1), largest=False).indices
    chosen = torch.zeros_like(distance).scatter_(1, nearest, 1.0)
    joined = (chosen + chosen.T) / 2 + _WEAK * nearest.shape[1] / count
    scale = joined.sum(1).rsqrt()
    return torch.eye(count).to(points) - scale[:, None] * joined * scale


def _signs(vectors: Tensor) -> Tensor:
    """What makes the largest entry of each column positive: eigenvectors come with either sign."""
    largest = vectors.abs().argmax(0, keepdim=True)
    return torch.where(vectors.gather(0, largest) < 0, -1.0, 1.0)


def _k_means(points: Tensor, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    best, labels = torch.inf, torch.zeros(len(points), dtype=torch.long)
    for _ in range(_RESTARTS):
        centres = _scattered(points, n, generator)
        for _ in range(_ROUNDS):
            distance, nearest = torch.cdist(points, centres).min(1)
            members = F.one_hot(nearest, n).to(points)
            counts = members.sum(0)[:, None]
            moved = torch.where(counts > 0, members.T @ points / counts.clamp(min=1), centres)
            if torch.equal(moved, centres):
                break
            centres = moved
        if (error := float(distance.square().sum())) < best * (1 - 1e-9):
            best, labels = error, nearest
    return labels


def _scattered(points: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Some of the points, each likely to be far from those before (k-means++)."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    for _ in range(n - 1):
        distance = torch.cdist(points, points[chosen]).amin(1).square().cpu() + 1e-12
        distance[chosen] = 0
        chosen.append(int(torch.multinomial(distance, 1, generator=generator)))
    return points[chosen]


def _by_size(labels: Tensor) -> Tensor:
    """The same groups, numbered from the largest to the smallest, equal ones as they first come."""
    groups = labels.tolist()
    order = sorted(dict.fromkeys(groups), key=groups.count, reverse=True)
    return torch.tensor([order.index(group) for group in groups], device=labels.device)
