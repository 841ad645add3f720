"""Averages over many versions of the input, in batches bounded by memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from nni_widgets.engine.memory import counting

_BUDGET = 8 * 2**20
_LEAST = 4


def in_chunks(order: Tensor, samples: int, work: Callable[[Tensor], None]) -> Iterator[int]:
    """Call ``work`` on consecutive pieces of ``order`` and yield how many rows are done.

    The first piece is small, one row for each of a few samples: it gives a first picture at once
    and tells how large the others may be. A few rows are always allowed: one alone is slow.
    """
    first = order[: min(samples, _LEAST)]
    with counting(len(first)) as kept:
        work(first)
    yield len(first)
    size = max(_LEAST, _BUDGET * len(first) // max(kept.bytes, 1))
    for start in range(len(first), len(order), size):
        rows = order[start : start + size]
        work(rows)
        yield start + len(rows)
