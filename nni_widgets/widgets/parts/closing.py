"""Closing a widget with all that it is made of."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from ipycanvas.canvas import _CANVAS_MANAGER


def close_all(widget: Any) -> None:
    """Close a widget and every widget it is made of, so that none stays registered.

    What draws on every canvas of the process is no part of one of them.
    """
    seen: dict[int, widgets.Widget] = {}
    _collect(widget, seen)
    for part in seen.values():
        part.close()


def _collect(item: Any, seen: dict[int, widgets.Widget]) -> None:
    if item is _CANVAS_MANAGER:
        return
    if isinstance(item, widgets.Widget):
        if id(item) not in seen:
            seen[id(item)] = item
            for name in item.keys:
                _collect(getattr(item, name, None), seen)
    elif isinstance(item, dict):
        for part in item.values():
            _collect(part, seen)
    elif isinstance(item, (list, tuple)):
        for part in item:
            _collect(part, seen)
