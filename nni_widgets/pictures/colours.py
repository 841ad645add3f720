"""The one place where colours are chosen: what speaks for, what against, and how strongly.

Control points are ColorBrewer's PuOr and BuGn (colorbrewer2.org, by Cynthia A. Brewer, Geography,
Pennsylvania State University; Apache licence 2.0), PuOr without its two darkest ends, which are
hard to tell apart. Between the points colours are mixed in Oklab (Björn Ottosson, 2020), so that
equal steps look equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]

LEVELS = 255
"""Colours of a palette: odd, so that zero has the middle one for itself."""

_AGAINST_TO_FOR = "542788 8073ac b2abd2 d8daeb f7f7f7 fee0b6 fdb863 e08214 b35806"
_WEAK_TO_STRONG = "f7fcfd e5f5f9 ccece6 99d8c9 66c2a4 41ae76 238b45 006d2c 00441b"

_RGB_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_CONES_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _palette(points: str) -> Colours:
    given = np.array([list(bytes.fromhex(point)) for point in points.split()]) / 255
    at = np.linspace(0, len(given) - 1, LEVELS)
    known = np.arange(len(given))
    mixed = [np.interp(at, known, coordinate) for coordinate in _to_oklab(given).T]
    return np.rint(_from_oklab(np.stack(mixed, axis=1)) * 255).astype(np.uint8)


def _to_oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    oklab: NDArray[np.float64] = np.cbrt(linear @ _RGB_TO_CONES.T) @ _CONES_TO_OKLAB.T
    return oklab


def _from_oklab(oklab: NDArray[np.float64]) -> NDArray[np.float64]:
    cones = (oklab @ np.linalg.inv(_CONES_TO_OKLAB).T) ** 3
    linear = np.clip(cones @ np.linalg.inv(_RGB_TO_CONES).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


SIGNED: Colours = _palette(_AGAINST_TO_FOR)
"""Purple speaks against, white is zero, orange speaks for."""

UNSIGNED: Colours = _palette(_WEAK_TO_STRONG)
"""White is zero, dark green is strong; a hue of its own, since it has no for and against."""
