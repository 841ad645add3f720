"""The box: the lowest and the highest pixel that an image may have."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from nni_widgets.errors import invalid


class Box(NamedTuple):
    """Pixels from ``low`` to ``high``; ±infinity leaves a side open."""

    low: float
    high: float

    @property
    def size(self) -> float:
        """What steps are measured in: high − low, or 1 if a side is open."""
        size = self.high - self.low
        return size if math.isfinite(size) else 1.0

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def check(self, who: str, what: str, x: Tensor, action: str) -> None:
        """Raise ``ValueError`` unless all pixels of x lie inside, but for rounding."""
        low, high, slack = float(x.min()), float(x.max()), 1e-5 * self.size
        if low < self.low - slack or high > self.high + slack:
            given = f"{low:.4g} to {high:.4g}"
            raise invalid(who, what, f"pixels from {self}", given, action)


def box_of(model: nn.Module, low: float | None = None, high: float | None = None) -> Box:
    """The box given, where it is not that of the model; 0 to 1 for a model that does not say."""
    of_model = getattr(model, "low", 0.0), getattr(model, "high", 1.0)
    return Box(
        float(of_model[0] if low is None else low), float(of_model[1] if high is None else high)
    )
