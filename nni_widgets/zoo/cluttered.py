"""Cluttered digits: where a network has to look is known, so that a localisation can be judged.

Each picture is a function of the seed and of its place in the set alone, on every machine: all
random numbers come from the raw stream of a bit generator, which NumPy never changes.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole
from nni_widgets.zoo.digits import Digits, digits

DIGIT_SIZE = 28
STROKE = 127
PICTURES_AT_ONCE = 1000
ROUNDING = 1e-5


@dataclass(frozen=True)
class Layout:
    """A field of ``size`` x ``size`` pixels, and how many pieces of clutter of which size."""

    size: int
    n_pieces: int
    piece_size: int


COARSE = Layout(size=40, n_pieces=5, piece_size=5)
FINE = Layout(size=60, n_pieces=8, piece_size=8)


class Cluttered(Digits):
    """Digits among fragments of others, on a larger field; indexed as ``Digits`` are."""

    __slots__ = ("_boxes",)

    def __init__(self, pixels: Tensor, labels: Tensor, boxes: Tensor) -> None:
        super().__init__(pixels, labels)
        self._boxes = boxes

    @property
    def boxes(self) -> Tensor:
        """The smallest box round the ink of each whole digit, int64 (n, 4).

        Its columns are top, left, bottom, right, where bottom and right are exclusive.
        """
        return self._boxes.clone()

    def __repr__(self) -> str:
        size = self._pixels.shape[-1]
        return f"Cluttered({len(self):,} pictures of {size} x {size} pixels in [0, 1], with boxes)"


def cluttered(n: int, seed: int = 0, fine: bool = False, split: str = "test") -> Cluttered:
    """The first ``n`` cluttered digits of a seed: picture i shows digit i of the split, whole.

    It lies anywhere on a field of 40 x 40 pixels among 5 pieces of 5 x 5, or, if ``fine``, of
    60 x 60 among 8 pieces of 8 x 8. The pieces are cut from the strokes of other digits of the
    split; they lie anywhere too, and where things overlap, the brighter pixel is seen. The
    networks ``cluttered-cam`` and ``cluttered-cam-fine`` have learnt on such pictures.

    Returns: ``images`` (n, 1, 40, 40) or (n, 1, 60, 60), ``labels`` (n,), ``boxes`` (n, 4).
    Raises ``ValueError`` for a number of pictures, a seed or a split that does not exist.
    """
    available = len(digits(split))
    if not is_whole(n) or not 1 <= n <= available:
        expected = f"a whole number from 1 to {available:,}"
        action = f"The {split} set has so many digits; another seed shows them elsewhere"
        raise invalid("cluttered", "n", expected, repr(n), action)
    if not is_whole(seed) or seed < 0:
        raise invalid("cluttered", "seed", "a whole number from 0 on", repr(seed), "Use seed=0")
    return _clutterer(split).make(n, seed, FINE if fine else COARSE)


def peak_in_box(maps: Tensor, boxes: Tensor, margin: int = 0) -> Tensor:
    """Whether the largest value of each map lies in the box: does a method look at the digit?

    A peak at most ``margin`` pixels outside counts too: a coarse map cannot point more exactly
    than by half of its cell. Of values that are equal but for rounding, the first counts; a map
    that is the same everywhere points nowhere.

    Shape: maps (n, H, W) or (n, 1, H, W) as large as the pictures, boxes (n, 4) as those of
    :class:`Cluttered`. Returns: bool (n,). Raises ``ValueError`` for other shapes, for boxes that
    reach over the border of the maps and for maps that are not finite.
    Source: Zhang et al. 2016, sec. 4.1 (pointing game).
    """
    _check_maps(maps, boxes)
    values = maps.flatten(1)
    largest = values.amax(1, keepdim=True)
    high = values >= largest - ROUNDING * largest.abs()
    places = high.int().argmax(1)
    place = torch.stack([places // maps.shape[-1], places % maps.shape[-1]], 1)
    inside = (boxes[:, :2] - margin <= place) & (place < boxes[:, 2:] + margin)
    return inside.all(1) & ~high.all(1)


def _check_maps(maps: Tensor, boxes: Tensor) -> None:
    for name, each in (("maps", maps), ("boxes", boxes)):
        if not isinstance(each, Tensor):
            kind = type(each).__name__
            raise invalid("peak_in_box", name, "a tensor", kind, "Use torch.as_tensor")
    flat = maps.ndim == 3 or (maps.ndim == 4 and maps.shape[1] == 1)
    if not flat or boxes.shape != (len(maps), 4):
        given = f"{tuple(maps.shape)} and {tuple(boxes.shape)}"
        expected, action = "(n, H, W) and (n, 4)", "Give one map and one box for each picture"
        raise invalid("peak_in_box", "the shapes of maps and boxes", expected, given, action)
    if (boxes[:, 2:] > boxes.new_tensor(maps.shape[-2:])).any():
        given = f"{tuple(maps.shape[-2:])}, and boxes that reach to {boxes[:, 2:].amax(0).tolist()}"
        expected, action = "as large as the pictures of the boxes", "Upsample them first"
        raise invalid("peak_in_box", "maps", expected, given, action)
    if not maps.isfinite().all():
        action = "Look at the method that made them"
        raise invalid("peak_in_box", "maps", "finite", "NaN or infinite numbers", action)


class Clutterer:
    """Puts the digits of a set on fields, each among fragments of the others."""

    def __init__(self, source: Digits) -> None:
        self._pixels = (source.images.squeeze(1) * 255).round().byte()
        self._labels = source.labels
        self._boxes = _ink_boxes(self._pixels)
        strokes = (self._pixels > STROKE).flatten(1)
        self._strokes = strokes.flatten().nonzero().squeeze(1)
        self._lengths = strokes.sum(1)
        self._starts = self._lengths.cumsum(0) - self._lengths

    def make(self, n: int, seed: int, layout: Layout) -> Cluttered:
        """The first ``n`` pictures of a seed."""
        places = torch.arange(n).split(PICTURES_AT_ONCE)
        numbers = _numbers(n, 2 + 3 * layout.n_pieces, seed).split(PICTURES_AT_ONCE)
        parts = [self._part(*part, layout) for part in zip(places, numbers, strict=True)]
        fields, boxes = (torch.cat(column) for column in zip(*parts, strict=True))
        return Cluttered(fields.unsqueeze(1), self._labels[:n], boxes)

    def _part(self, places: Tensor, numbers: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Fields and boxes of some pictures, from 2 numbers for the digit and 3 for each piece."""
        ink = self._boxes[places]
        sizes = ink[:, 2:] - ink[:, :2]
        corners = _up_to(layout.size - sizes, numbers[:, :2])
        padded = layout.size + 2 * DIGIT_SIZE
        fields = torch.zeros(len(places), padded, padded, dtype=torch.uint8)
        _lay(fields, self._pixels[places], corners - ink[:, :2] + DIGIT_SIZE)
        free = torch.tensor(layout.size - layout.piece_size)
        for piece in numbers[:, 2:].split(3, dim=1):
            fragments = self._fragments(places, piece[:, 0], layout.piece_size)
            _lay(fields, fragments, _up_to(free, piece[:, 1:]) + DIGIT_SIZE)
        inside = slice(DIGIT_SIZE, -DIGIT_SIZE)
        return fields[:, inside, inside], torch.cat([corners, corners + sizes], 1)

    def _fragments(self, places: Tensor, numbers: Tensor, size: int) -> Tensor:
        """For each digit a square, in its middle a stroke of another one."""
        own = self._lengths[places]
        chosen = _up_to(len(self._strokes) - own - 1, numbers)
        chosen += own * (chosen >= self._starts[places])
        digit, row, column = (
            torch.from_numpy(axis)
            for axis in np.unravel_index(self._strokes[chosen].numpy(), self._pixels.shape)
        )
        corners = torch.stack([row, column], 1) - size // 2
        return self._pixels[_windows(digit, corners.clamp(0, DIGIT_SIZE - size), size)]


@functools.cache
def _clutterer(split: str) -> Clutterer:
    return Clutterer(digits(split))


def _numbers(n: int, per_picture: int, seed: int) -> Tensor:
    """Numbers in [0, 1), float64 (n, per_picture); the first rows do not depend on ``n``."""
    raw = np.random.PCG64(seed).random_raw((n, per_picture))
    return torch.from_numpy((raw >> np.uint64(11)) * 2.0**-53)


def _up_to(largest: Tensor, numbers: Tensor) -> Tensor:
    """Whole numbers from 0 to ``largest``, all as likely, from numbers in [0, 1)."""
    return (numbers * (largest + 1)).long()


def _ink_boxes(pixels: Tensor) -> Tensor:
    """Top, left, bottom, right of each picture (n, size, size), the last two exclusive."""
    ink = [(pixels > 0).any(axis).byte() for axis in (2, 1)]
    first = [line.argmax(1) for line in ink]
    behind = [line.shape[1] - line.flip(1).argmax(1) for line in ink]
    return torch.stack(first + behind, 1)


def _windows(pictures: Tensor, corners: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The index of the squares (n, size, size) that have these upper left corners (n, 2)."""
    steps = torch.arange(size)
    rows, columns = corners[:, 0, None, None] + steps[:, None], corners[:, 1, None, None] + steps
    return pictures[:, None, None], rows, columns


def _lay(fields: Tensor, patches: Tensor, corners: Tensor) -> None:
    """Put one square patch (n, size, size) on each field, in place; the brighter pixel is seen."""
    windows = _windows(torch.arange(len(fields)), corners, patches.shape[-1])
    fields[windows] = torch.maximum(fields[windows], patches)
