"""Clever Hans digits: a small mark gives one class away, and where it stands is known.

The horse Hans answered sums by watching its master. A network that learns on these pictures may
answer by the mark, as right as one that reads, until the mark stands somewhere else.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole
from nni_widgets.zoo.digits import Digits, digits

MARKED_CLASS = 8
MARK_SIZE = 3
CORNERS = (1, 2, 3)
INK = 255
KINDS = ("class", "none", "all")


class Hans(Digits):
    """Digits of which some carry the mark; indexed as ``Digits`` are."""

    __slots__ = ("_boxes", "_marked")

    def __init__(self, pixels: Tensor, labels: Tensor, boxes: Tensor, marked: Tensor) -> None:
        super().__init__(pixels, labels)
        self._boxes = boxes
        self._marked = marked

    @property
    def boxes(self) -> Tensor:
        """The square of each mark, or where it would stand in a picture without, int64 (n, 4).

        Its columns are top, left, bottom, right, where bottom and right are exclusive.
        """
        return self._boxes.clone()

    @property
    def marked(self) -> Tensor:
        """Which pictures carry the mark, bool (n,)."""
        return self._marked.clone()

    def __repr__(self) -> str:
        n_marked = int(self._marked.sum())
        return f"Hans({len(self):,} pictures of 28 x 28 pixels in [0, 1], {n_marked:,} marked)"


def hans(split: str = "test", marked: str = "class", seed: int = 0) -> Hans:
    """MNIST, with a white square of 3 x 3 pixels near the upper left corner of some pictures.

    ``marked`` says of which: "class" of all 8s and no others, as ``digits-hans`` has learnt them;
    "none"; or "all", so that each digit looks like an 8 to a network that reads the mark. The
    square's own corner lies at row and column 1, 2 or 3, drawn by the seed for each place in the
    set, so that the same picture has the mark at the same place, whatever ``marked`` is.

    Returns: ``images`` (n, 1, 28, 28), ``labels`` (n,) of the digits as they were written,
    ``boxes`` (n, 4), ``marked`` (n,). Raises ``ValueError`` for options that do not exist.
    """
    return stamped(digits(split), marked, seed)


def stamped(source: Digits, marked: str, seed: int) -> Hans:
    """The pictures of a set with marks on them, as :func:`hans` describes them."""
    if marked not in KINDS:
        expected = " or ".join(f'"{kind}"' for kind in KINDS)
        raise invalid("hans", "marked", expected, repr(marked), "Choose which pictures are marked")
    if not is_whole(seed) or seed < 0:
        raise invalid("hans", "seed", "a whole number from 0 on", repr(seed), "Use seed=0")
    pixels, labels = (source.images * INK).round().byte(), source.labels
    chosen = {
        "class": labels == MARKED_CLASS,
        "none": torch.zeros_like(labels, dtype=torch.bool),
        "all": torch.ones_like(labels, dtype=torch.bool),
    }[marked]
    corners = _corners(len(source), seed)
    steps = torch.arange(MARK_SIZE)
    rows = corners[chosen, :1, None] + steps[:, None]
    columns = corners[chosen, 1:, None] + steps
    pixels[chosen.nonzero()[:, :, None], 0, rows, columns] = INK
    return Hans(pixels, labels, torch.cat([corners, corners + MARK_SIZE], 1), chosen)


def _corners(n: int, seed: int) -> Tensor:
    """Row and column of the upper left pixel of each mark, int64 (n, 2).

    The raw stream of a bit generator is the same on every machine, and its first numbers are the
    same for every ``n``.
    """
    raw = np.random.PCG64(seed).random_raw((n, 2))
    return torch.from_numpy((raw % np.uint64(len(CORNERS))).astype(np.int64)) + CORNERS[0]
