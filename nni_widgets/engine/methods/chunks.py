"""Averages over many versions of the input, in batches bounded by memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import run
from nni_widgets.engine.memory import counting

_BUDGET = 8 * 2**20
_LEAST, _MOST = 6, 32
_bytes_per_row: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


def rows_at_once(
    model: nn.Module, x: Tensor, purpose: Hashable, one_row: Callable[[], object]
) -> int:
    """How many rows of a batch fit into the memory budget: at least 6, at most 32.

    One row alone is slow, more than 32 are no faster and leave long waits between two pictures.
    What a row keeps is counted while ``one_row()`` runs, once for each model, shape of x and
    ``purpose``, so that every call is cut in the same way and gives the same bits.
    """
    known = _bytes_per_row.setdefault(model, {})
    key = (x.shape[1:], x.dtype, purpose)
    if key not in known:
        with counting(1) as kept:
            one_row()
        known[key] = max(kept.bytes, 1)
    return min(max(_LEAST, _BUDGET // known[key]), _MOST)


def rows_without_graph(who: str, model: nn.Module, x: Tensor) -> int:
    """As many rows as where a graph is kept: more are no faster.

    A model that takes no input with a graph (it calls ``numpy``) keeps nothing that is counted.
    """

    def one_row() -> None:
        with torch.enable_grad(), suppress(ValueError):
            run(who, model, x[:1].detach().requires_grad_().clone())

    return rows_at_once(model, x, "forward", one_row)


def totals(like: Tensor) -> Tensor:
    """Zeros of this shape to add to, in float32 at least: long sums of halves stand still."""
    return torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32))


def in_chunks(
    order: Tensor, samples: int, size: int, work: Callable[[Tensor], None]
) -> Iterator[int]:
    """Call ``work`` on pieces of ``order`` of this size and yield how many rows are done.

    Where only a few rows go at once, because they are slow, the first piece has one row for each
    of a few samples: it gives a first picture early.
    """
    done = 0
    while done < len(order):
        early = done == 0 and size == _LEAST
        rows = order[done : done + (min(samples, size) if early else size)]
        work(rows)
        done += len(rows)
        yield done
