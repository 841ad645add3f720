"""Cut a picture into overlapping tiles, so that a gradient needs the memory of one of them."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import NamedTuple

from torch import Tensor

Region = tuple[slice, slice]


class Tile(NamedTuple):
    """A part of a picture that the model sees at once, and the inner part that it decides about.

    ``outer`` and ``inner`` are rows and columns of the picture, ``within`` is ``inner`` counted
    from the tile's own corner. The inner parts of all tiles cover the picture once. ``share`` is
    that of the outer part in the picture's area.
    """

    outer: Region
    inner: Region
    within: Region
    share: float

    def of(self, x: Tensor) -> Tensor:
        """The pixels of the outer part."""
        return x[(..., *self.outer)]


def tiles(x: Tensor, size: int, overlap: int) -> tuple[Tile, ...]:
    """The tiles of pictures ``(N, C, H, W)``; one where they are not larger than ``size``.

    Neighbours share ``overlap`` pixels, the last two more, and each decides about the half of them
    that is its own.
    """
    height, width = x.shape[-2:]
    found = []
    for row, column in product(_along(height, size, overlap), _along(width, size, overlap)):
        outer, inner, within = zip(row, column, strict=True)
        area = math.prod(part.stop - part.start for part in outer)
        found.append(Tile(outer, inner, within, area / (height * width)))
    return tuple(found)


def _along(side: int, size: int, overlap: int) -> list[tuple[slice, slice, slice]]:
    """Along one axis: outer, inner and within of each tile.

    The last one begins earlier than the others would have it, so that it is no narrow strip; it
    keeps to the multiples of a stride that divides size and overlap.
    """
    starts = list(range(0, max(side - overlap, 1), size - overlap))
    step = math.gcd(size, overlap) if overlap else 1
    starts[-1] = -(-max(side - size, 0) // step) * step
    stops = [min(start + size, side) for start in starts]
    middles = (start + (stop - start) // 2 for start, stop in zip(starts[1:], stops, strict=False))
    return [
        (slice(start, stop), slice(first, last), slice(first - start, last - start))
        for start, stop, (first, last) in zip(
            starts, stops, pairwise([0, *middles, side]), strict=True
        )
    ]
