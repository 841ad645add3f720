"""How much a pass keeps in memory until its backward walk: what autograd saves, or a tape holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class Kept:
    """Counts the bytes of kept tensors that have one entry per row of the batch."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.bytes = 0

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor and return it."""
        if not isinstance(tensor, torch.nn.Parameter) and tensor.shape[:1] == (self.rows,):
            self.bytes += tensor.numel() * tensor.element_size()
        return tensor


_counting: ContextVar[Kept | None] = ContextVar("counting", default=None)


@contextmanager
def counting(rows: int) -> Iterator[Kept]:
    """Count what is kept inside the ``with`` block, in this thread."""
    kept = Kept(rows)
    before = _counting.set(kept)
    try:
        with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
            yield kept
    finally:
        _counting.reset(before)


def keep(tensors: Iterable[Tensor]) -> None:
    """Say that these tensors are kept outside autograd."""
    kept = _counting.get()
    if kept is not None:
        for tensor in tensors:
            kept.add(tensor)
