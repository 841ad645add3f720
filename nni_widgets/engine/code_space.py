"""The directions in a code space along which the pictures of a generator change most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_NUDGE, _AT_ONCE = 0.1, 512


@dataclass(frozen=True, eq=False)
class CodeSpace:
    """Where codes lie, ``center`` ± ``spread``, and orthogonal directions, the strongest first.

    ``directions`` ``(K, size)``: one of them added to a code moves it by one standard deviation.
    ``shares`` ``(K,)`` of all change of the pictures lie along each, 0 if there is none. Shape of
    ``center``: ``(size,)``, of ``spread``, the root of the covariance of codes: ``(size, size)``.
    """

    center: Tensor
    spread: Tensor
    directions: Tensor
    shares: Tensor
    readers: Tensor

    def coordinates(self, z: Tensor) -> Tensor:
        """How many standard deviations codes ``(N, size)`` lie along each direction, ``(N, K)``."""
        return (z - self.center) @ self.readers.T

    def moved(self, z: Tensor, to: Mapping[int, float]) -> Tensor:
        """Codes moved along some directions, until these coordinates are reached."""
        here = self.coordinates(z)
        for number, place in to.items():
            z = z + (place - here[:, number, None]) * self.directions[number]
        return z


def code_space(
    generator: Callable[[Tensor], Tensor],
    codes: Tensor,
    count: int = 8,
    standard: bool = True,
    n_codes: int = 16,
) -> CodeSpace:
    """The directions that change the pictures of a generator most, on average over codes.

    With ``z = center + spread · w`` they are the eigenvectors of ``E[Jᵀ J]``, ``J = ∂g/∂w`` by
    differences: the principal components of all small changes. ``codes`` ``(M, size)`` are drawn as
    the generator expects them; ``standard`` says that this is N(0, 1), else their mean and
    covariance are taken.

    Cost: ``n_codes × (size + 1)`` pictures.
    """
    size = codes.shape[1]
    center, spread = torch.zeros_like(codes[0]), torch.eye(size).to(codes)
    if not standard:
        center, spread = codes.mean(0), _root(codes.T.cov().reshape(size, size))
    with torch.no_grad():
        squares = sum(_squared_jacobian(generator, z, spread) for z in codes[:n_codes])
    values, vectors = torch.linalg.eigh(squares)
    changes = values.flip(0).clamp(min=0)
    strongest = vectors.flip(1)[:, :count].T
    turned = strongest * strongest.gather(1, strongest.abs().argmax(1, keepdim=True)).sign()
    return CodeSpace(
        center=center,
        spread=spread,
        directions=turned @ spread,
        shares=changes[:count] / changes.sum().clamp(min=torch.finfo(changes.dtype).tiny),
        readers=turned @ torch.linalg.pinv(spread),
    )


def _squared_jacobian(generator: Callable[[Tensor], Tensor], z: Tensor, spread: Tensor) -> Tensor:
    """``Jᵀ J`` at a code, ``(size, size)``."""
    nudged = torch.cat([z[None], z + _NUDGE * spread])
    pictures = torch.cat([generator(some).flatten(1) for some in nudged.split(_AT_ONCE)])
    changes = (pictures[1:] - pictures[0]) / _NUDGE
    return changes @ changes.T


def _root(covariance: Tensor) -> Tensor:
    """The symmetric root of a covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
