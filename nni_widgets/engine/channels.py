"""The channels of an attribution joined: one number per place."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Channels = Literal["sum", "max"]


def joined(attribution: Tensor, channels: Channels) -> Tensor:
    """The channels of each place added up, or (``"max"``) the strongest with its sign.

    Shape: ``(N, C, ...)`` to ``(N, ...)``; ``(N, F)``, which has no channels, stays as it is.
    """
    if attribution.ndim == 2:
        return attribution
    if channels == "sum":
        return attribution.sum(1)
    strongest = attribution.abs().argmax(1, keepdim=True)
    return attribution.gather(1, strongest)[:, 0]
