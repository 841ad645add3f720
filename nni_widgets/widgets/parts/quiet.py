"""Setting a widget from the code without taking it for the user's doing."""

from __future__ import annotations

import threading


class Quiet(threading.local):
    """True inside ``with quiet:``, for the thread that is inside.

    A widget's observers run in the thread that sets it. Only that thread is not to be heard: a
    change that another one brings from the page at the same moment is the user's.
    """

    _depth = 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def __bool__(self) -> bool:
        return self._depth > 0
