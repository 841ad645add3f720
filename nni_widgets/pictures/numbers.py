"""How numbers are written in readouts and digests: few digits, and the same on every machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_TIE = 0.49
_A_LITTLE = 1e-5  # 9.9999999 has as many digits as 10


def rounded(value: float) -> int:
    """To the nearest whole number; a tie, and what float noise makes of it, goes towards zero."""
    return int(math.copysign(math.floor(abs(value) + _TIE), value))


def number(value: float, largest: float | None = None, digits: int = 3) -> str:
    """The value with as many decimals as ``largest`` needs for ``digits`` significant ones.

    ``largest`` is the value itself unless given: numbers that are compared share one.
    """
    size = abs(value if largest is None else largest)
    if not (size and math.isfinite(size)):
        return "0" if value == 0 else str(value)
    exponent = math.floor(math.log10(size) + _A_LITTLE)
    if not -4 <= exponent < 6:
        return _signed(value, f".{digits - 1}e")
    decimals = max(0, digits - 1 - exponent)
    return _signed(rounded(value * 10**decimals) / 10**decimals, f".{decimals}f")


def percent(share: float) -> str:
    """A share as a percentage of two digits."""
    return number(100 * share, digits=2 if abs(share) < 1 else 3) + " %"


def round_numbers(low: float, high: float) -> np.ndarray[Any, Any]:
    """Two to six multiples of 1, 2 or 5 times a power of ten between these."""
    width = high - low
    if not width > 0:
        return np.array([float(f"{low:.2g}")])
    power = 10.0 ** np.floor(np.log10(width))
    step = power * next(share for share in (0.2, 0.5, 1.0, 2.0) if width <= 5 * share * power)
    first, last = np.ceil(low / step - _A_LITTLE), np.floor(high / step + _A_LITTLE)
    ticks: np.ndarray[Any, Any] = step * np.arange(first, last + 1)
    return ticks


def _signed(value: float, form: str) -> str:
    text = format(abs(value), form)
    return f"−{text}" if value < 0 else text
