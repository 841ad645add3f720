"""How numbers are written in readouts and digests: few digits, and the same on every machine."""

from __future__ import annotations

import math

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


def _signed(value: float, form: str) -> str:
    text = format(abs(value), form)
    return f"−{text}" if value < 0 else text
