"""A user without a browser: what the page sends when a control is moved, clicked or pointed at."""

from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import torch


def found(root: widgets.Widget, name: str) -> list[widgets.Widget]:
    """The widgets below ``root`` that have the CSS class ``name``, in the order of the page."""
    return [widget for widget in _below(root) if name in getattr(widget, "_dom_classes", ())]


def the(root: widgets.Widget, name: str) -> widgets.Widget:
    """The one widget with this class."""
    (widget,) = found(root, name)
    return widget


def sets(widget: widgets.Widget, **state: Any) -> None:
    """The page has changed these traits."""
    _receive(widget, {"method": "update", "state": state, "buffer_paths": []})


def chooses(dropdown: widgets.Dropdown, label: str) -> None:
    """Pick an entry of a drop-down by its words."""
    sets(dropdown, index=dropdown._options_labels.index(label))


def clicks(root: widgets.Widget, name: str) -> None:
    """Press the button with this class."""
    sends(the(root, name), event="click")


def clicks_bar(root: widgets.Widget, index: int) -> None:
    """Click a bar of the class scores."""
    _, columns = the(root, "nn-scores").marks
    sends(columns, event="element_click", data={"index": index})


def sends(widget: widgets.Widget, **content: Any) -> None:
    """A message of the page's own."""
    _receive(widget, {"method": "custom", "content": content})


def _receive(widget: widgets.Widget, data: dict[str, Any]) -> None:
    widget._handle_msg({"content": {"data": data}, "buffers": []})


def _below(root: widgets.Widget) -> Iterator[widgets.Widget]:
    yield root
    for child in getattr(root, "children", ()):
        yield from _below(child)


def registered() -> int:
    """How many widgets are open."""
    return len(widgets.widget._instances)


def trains(module: Any) -> None:
    """Other weights in a module, as after a step of training."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(-1.5)
