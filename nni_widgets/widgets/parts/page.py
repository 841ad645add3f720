"""What only the page can do: pointer, Escape, clipboard, download, pictures in a saved notebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class Page(anywidget.AnyWidget):
    """An invisible widget that is an explorer's hand in the browser.

    ``on_hover(pane, x, y)`` is called with the number of a heatmap and the pointer's place in it,
    as shares of its width and height; ``on_escape()`` when Escape is pressed in the explorer. Keys
    pressed there are no shortcuts of JupyterLab. ``explorer`` is its model id: whenever a notebook
    is saved that shows it, the notebook keeps its pictures for the time when there is no kernel.
    """

    _esm = Path(__file__).with_name("page.js")
    explorer = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, on_hover: Callable[[int, float, float], None], on_escape: Callable[[], None]
    ) -> None:
        super().__init__()
        self._on_hover, self._on_escape = on_hover, on_escape
        self.on_msg(self._receive)

    def copy(self, text: str) -> None:
        """Put a text on the clipboard of the page where the button was pressed."""
        self.send({"type": "copy", "text": text})

    def download(self, name: str, content: bytes, kind: str) -> None:
        """Let the browser save a file; ``kind`` is its media type."""
        self.send({"type": "download", "name": name, "kind": kind}, [content])

    def _receive(self, _: object, content: dict[str, Any], __: object) -> None:
        if content.get("type") == "hover":
            self._on_hover(int(content["pane"]), float(content["x"]), float(content["y"]))
        elif content.get("type") == "escape":
            self._on_escape()

    def __repr__(self) -> str:
        return "Page()"
