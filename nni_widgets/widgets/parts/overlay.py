"""The one way to ipycanvas: drawings that survive a reload, and an error that freezes nothing.

ipycanvas collects commands in one place for the whole process, keeps collecting for ever after an
exception inside ``hold_canvas``, and believes that every page knows which canvas was drawn on last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ipycanvas import MultiCanvas, hold_canvas

Painter = Callable[[MultiCanvas], None]

_DRAWING = threading.RLock()


class Overlay:
    """Transparent layers to draw on, such as a marker over a picture.

    ``canvas`` is the widget; ``draw(painter)`` empties it and calls ``painter(canvas)``. The
    painter is called again for every page that opens, so it uses values that stay as they are.
    """

    def __init__(self, width: int, height: int, layers: int = 1) -> None:
        self.canvas = MultiCanvas(layers, width=width, height=height)
        self._painter: Painter | None = None
        self.canvas.on_client_ready(self._repaint)

    def draw(self, painter: Painter) -> None:
        """Show what the painter draws, all at once; if it raises, the last drawing stays."""
        with self._drawing():
            self.canvas.clear()
            painter(self.canvas)
        self._painter = painter

    def clear(self) -> None:
        """Show nothing."""
        self.draw(lambda _: None)

    def _repaint(self) -> None:
        if self._painter is not None:
            self.draw(self._painter)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        manager = self.canvas._canvas_manager
        with _DRAWING:
            held = manager._caching, len(manager._commands_cache), len(manager._buffers_cache)
            manager._current_canvas = None
            try:
                with hold_canvas():
                    yield
            except BaseException:
                manager._caching, n_commands, n_buffers = held
                del manager._commands_cache[n_commands:], manager._buffers_cache[n_buffers:]
                raise
            finally:
                manager._current_canvas = None
