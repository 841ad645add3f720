"""From an attribution to a heatmap: the one place where channels are joined, and the scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nni_widgets.engine.channels import Channels, joined
from nni_widgets.errors import invalid

Map = Tensor | NDArray[np.floating]


def heatmap(attribution: Tensor, channels: Channels = "sum") -> Tensor:
    """One number per place, in the attribution's own unit.

    The channels of a place are added up, or (``"max"``) the strongest is taken with its sign.
    Shape: ``(N, C, H, W)`` to ``(N, H, W)``; ``(N, C, L)`` to ``(N, 1, L)``; ``(N, F)`` to
    ``(N, 1, F)``. Raises ``ValueError`` for any other shape or way to join.
    """
    if channels not in ("sum", "max"):
        raise invalid("heatmap", "channels", '"sum" or "max"', repr(channels), "Choose one of them")
    if attribution.ndim not in {2, 3, 4}:
        expected = "of shape (N, C, H, W), (N, C, L) or (N, F)"
        given = f"shape {tuple(attribution.shape)}"
        raise invalid("heatmap", "the attribution", expected, given, "Reshape it")
    places = joined(attribution, channels)
    return places if places.ndim == 3 else places[:, None, :]


@dataclass(frozen=True)
class Scale:
    """Which values the ends of the colours stand for: −limit … limit, or 0 … limit unsigned."""

    limit: float
    signed: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit > 0):
            action = "Take it from the maps with scale_of(...)"
            raise invalid("Scale", "limit", "a finite number above 0", repr(self.limit), action)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.limit:g}"

    @property
    def low(self) -> float:
        """The value of the first colour."""
        return -self.limit if self.signed else 0.0

    def share(self, values: Map) -> NDArray[np.float64]:
        """The values as a share of the limit, cut off at the ends of the scale."""
        return np.clip(finite(values) / self.limit, -1.0 if self.signed else 0.0, 1.0)


def scale_of(*maps: Map, quantile: float = 1.0, signed: bool = True) -> Scale:
    """One scale for all these maps, symmetric around zero.

    Its limit is the ``quantile`` of all \\|values\\| (1: the largest), the largest if that is 0,
    and 1 for maps that are empty or zero everywhere.
    """
    if not 0 < quantile <= 1:
        action = "Try 1.0 or 0.99"
        raise invalid("scale_of", "quantile", "above 0 and at most 1", repr(quantile), action)
    sizes = np.concatenate([np.zeros(0), *(np.abs(finite(values)).ravel() for values in maps)])
    if not sizes.any():
        return Scale(1.0, signed)
    limit = float(np.quantile(sizes, quantile)) if quantile < 1 else 0.0
    return Scale(limit or float(sizes.max()), signed)


def finite(values: Map) -> NDArray[np.float64]:
    """The values as a float64 array; raises ``ValueError`` if some are NaN or infinite."""
    if isinstance(values, Tensor):
        array = values.detach().to("cpu", torch.float64).numpy()
    else:
        array = np.asarray(values, dtype=np.float64)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        action = "Look at the model and the method that made it"
        raise invalid("heatmap", "every value", "finite", f"{bad} that are NaN or infinite", action)
    return array
