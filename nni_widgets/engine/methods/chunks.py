"""Averages over many versions of the input, in batches bounded by memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_BUDGET = 24 * 2**20
_FIRST = 4


class ChunkSize:
    """How many rows fit in the memory budget, learnt from what the first rows kept for backward."""

    def __init__(self) -> None:
        self.rows = _FIRST

    @contextmanager
    def measuring(self, rows: int) -> Iterator[None]:
        kept = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal kept
            if not isinstance(tensor, torch.nn.Parameter) and tensor.shape[:1] == (rows,):
                kept += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            yield
        self.rows = max(1, _BUDGET * rows // max(kept, 1))


def in_chunks(order: Tensor, work: Callable[[Tensor], None]) -> Iterator[int]:
    """Call ``work`` on consecutive pieces of ``order`` and yield how many rows are done.

    The first piece is small: it gives a first picture at once and tells how large the others may be.
    """
    size, done = ChunkSize(), 0
    while done < len(order):
        rows = order[done : done + size.rows]
        if done == 0:
            with size.measuring(len(rows)):
                work(rows)
        else:
            work(rows)
        done += len(rows)
        yield done
