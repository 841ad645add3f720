"""The box: the lowest and the highest pixel that an image may have."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

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

    @property
    def dark(self) -> float:
        """The lowest pixel; where that side is open 1 below the highest, or 0."""
        if math.isfinite(self.low):
            return self.low
        return self.high - 1 if math.isfinite(self.high) else 0.0

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def check(self, who: str, what: str, x: Tensor, action: str) -> None:
        """Raise ``ValueError`` unless all pixels of x lie inside, but for rounding."""
        low, high = float(x.min()), float(x.max())
        eps = torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0
        largest = max((abs(end) for end in self if math.isfinite(end)), default=0.0)
        slack = 1e-5 * self.size + eps * largest
        if low < self.low - slack or high > self.high + slack:
            given = f"{low:.4g} to {high:.4g}"
            raise invalid(who, what, f"pixels from {self}", given, action)


def box_of(model: object, low: float | None = None, high: float | None = None) -> Box:
    """The box given, where it is not that of the model; 0 to 1 for a model that does not say.

    Raises ``ValueError`` for a model whose channels have ranges of their own.
    """
    return Box(
        _end(model, "low", 0.0) if low is None else float(low),
        _end(model, "high", 1.0) if high is None else float(high),
    )


def says_box(of: object) -> bool:
    """Whether a model, or a generator, says what its lowest and its highest pixel are."""
    return all(_said(of, name) is not None for name in ("low", "high"))


def _end(model: object, name: str, default: float) -> float:
    """An end of the model's box, which may be given as the same number for each channel."""
    said = _said(model, name)
    if said is None:
        return default
    if len(said) != 1:
        expected = "one number for all channels of what is made"
        action = "Wrap the model with one range, and let its preprocess rescale the channels"
        raise invalid("synthesis", f"the model's {name}", expected, getattr(model, name), action)
    return said.pop()


def _said(model: object, name: str) -> set[float] | None:
    """The numbers of this attribute; None without one, and if it is a layer, or no number."""
    given: Any = getattr(model, name, None)
    try:
        return set(torch.as_tensor(given, dtype=torch.float64).flatten().tolist())
    except (TypeError, ValueError, RuntimeError):
        return None
