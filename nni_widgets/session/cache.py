"""Finished results by request key, so that going back to an earlier setting costs nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from nni_widgets.errors import invalid
from nni_widgets.session.messages import Outcome

T = TypeVar("T")


class Cache(Generic[T]):
    """The finished outcomes used last, at most ``max_entries`` and ``max_bytes`` of them.

    ``size_of(value)`` estimates the bytes of a value. Several workers may share a cache.
    """

    def __init__(
        self, size_of: Callable[[T], int], max_entries: int = 64, max_bytes: int = 64 * 2**20
    ) -> None:
        for name, limit in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if limit < 0:
                raise invalid("Cache", name, "at least 0", limit, "Use 0 to keep nothing.")
        self._size_of = size_of
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, tuple[Outcome[T], int]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Outcome[T] | None:
        """The outcome stored for this key, which becomes the one used last."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, outcome: Outcome[T]) -> None:
        """Store a finished outcome; what is unfinished or larger than the cache is not stored."""
        size = self._size_of(outcome.value)
        with self._lock:
            self._drop(outcome.key)
            if not outcome.finished or size > self._max_bytes:
                return
            self._entries[outcome.key] = outcome, size
            self._n_bytes += size
            while len(self._entries) > self._max_entries or self._n_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._n_bytes = 0

    @property
    def n_bytes(self) -> int:
        """The estimated size of what is stored."""
        return self._n_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: Hashable) -> None:
        if key in self._entries:
            self._n_bytes -= self._entries.pop(key)[1]
