"""Fields to type a box in."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from nni_widgets.pictures.boxes import Box
from nni_widgets.widgets.parts.quiet import Quiet


class BoxFields:
    """Top, left, bottom and right, the first row and column outside; ``on_change(box)``."""

    def __init__(self, on_change: Callable[[Box], None]) -> None:
        self._quiet = Quiet()
        self._fields = [
            widgets.IntText(
                description=name,
                style={"description_width": "54px"},
                layout={"width": "118px"},
            ).add_class(f"nn-box-{name}")
            for name in Box._fields
        ]
        for field in self._fields:
            field.observe(lambda _: None if self._quiet else on_change(self.typed), "value")
        rows = [widgets.HBox(self._fields[at : at + 2]) for at in (0, 2)]
        self.widget = widgets.VBox(rows)

    @property
    def typed(self) -> Box:
        """The numbers in the fields."""
        return Box(*(field.value for field in self._fields))

    def show(self, box: Box) -> None:
        """Show a box without calling back."""
        with self._quiet:
            for field, number in zip(self._fields, box, strict=True):
                field.value = number
