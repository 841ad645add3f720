"""What an explorer explains: one picture of a batch, or a drawing.

An input has a ``widget``, the current picture ``x`` ``(1, ...)`` (``None``: nothing there yet), a
``key`` that says which picture it is, and ``code`` that makes it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.pad import DrawingPad
from nni_widgets.zoo import data

Changed = Callable[[], None]


class Source(Protocol):
    """What an explorer needs of an input."""

    widget: widgets.Widget
    empty: str

    @property
    def x(self) -> Tensor | None:
        """The picture as a batch of one."""

    @property
    def key(self) -> Hashable:
        """Equal for equal pictures."""

    def code(self, model: str, x: str) -> tuple[str, str]:
        """Lines that prepare, and the expression of the picture."""

    def reset(self) -> None:
        """Back to the first picture."""


class BatchInput:
    """A picture out of a batch ``(N, ...)``, chosen by number."""

    empty = ""

    def __init__(self, model: nn.Module, batch: Tensor, changed: Changed) -> None:
        self._batch = batch
        self._range = picture_range(model, batch)
        self._picture = widgets.Image(format="png", width="252")
        self._picture.add_class("nn-px").add_class("nn-input")
        self._number = widgets.IntSlider(
            max=len(batch) - 1, description="picture", style={"description_width": "56px"}
        )
        self._number.add_class("nn-picture")
        random_button = widgets.Button(description="Random", layout=widgets.Layout(width="80px"))
        random_button.add_class("nn-random")
        random_button.on_click(self._pick)
        browser = widgets.HBox([self._number, random_button])
        browser.layout.display = "flex" if len(batch) > 1 else "none"
        self.widget = widgets.VBox([self._picture, browser])
        self._changed = changed
        self._number.observe(lambda _: self._show(), "value")
        self._paint()

    @property
    def x(self) -> Tensor:
        number = self._number.value
        return self._batch[number : number + 1]

    @property
    def key(self) -> Hashable:
        return self._number.value

    def code(self, model: str, x: str) -> tuple[str, str]:
        if len(self._batch) == 1:
            return "", x
        return "", f"{x}[{self._number.value}:{self._number.value + 1}]"

    def reset(self) -> None:
        self._number.value = 0

    def _pick(self, _: object) -> None:
        self._number.value = random.randrange(len(self._batch))  # noqa: S311 - only a picture

    def _show(self) -> None:
        self._paint()
        self._changed()

    def _paint(self) -> None:
        if self._batch.ndim == 4:
            self._picture.value = picture_png(self.x[0], *self._range)


class DrawingInput:
    """A drawing on a pad, made into a picture as the model takes it."""

    empty = "Draw a digit on the black square."

    def __init__(self, strokes: Any, changed: Changed, size: int = 28, pen: float = 2.5) -> None:
        self._first = tuple(strokes)
        self.pad = DrawingPad(size=size, zoom=9, pen=pen, label="Draw a digit here")
        self.pad.strokes = self._first
        self.pad.add_class("nn-pad")
        self._last: tuple[Hashable, Tensor] | None = None
        undo, clear, example = (
            widgets.Button(description=name, layout=widgets.Layout(width="80px"))
            for name in ("Undo", "Clear", "Random")
        )
        undo.on_click(lambda _: self.pad.undo())
        clear.on_click(lambda _: self.pad.clear())
        example.on_click(self._draw_example)
        for button, name in ((undo, "undo"), (clear, "clear"), (example, "random")):
            button.add_class(f"nn-{name}")
        self.widget = widgets.VBox([self.pad, widgets.HBox([undo, clear, example])])
        self.pad.on_change(lambda _: changed())

    @property
    def x(self) -> Tensor | None:
        strokes = self.pad.strokes
        if not strokes:
            return None
        if self._last is None or self._last[0] != strokes:
            self._last = strokes, data.drawing(strokes, size=self.pad.size, width=self.pad.pen)
        return self._last[1]

    @property
    def key(self) -> Hashable:
        return self.pad.strokes

    def code(self, model: str, x: str) -> tuple[str, str]:
        strokes = [[[round(v, 1) for v in point] for point in stroke] for stroke in self.pad.strokes]
        return f"{x} = nni.data.drawing({strokes}, width={self.pad.pen})\n", x

    def reset(self) -> None:
        self.pad.strokes = self._first

    def _draw_example(self, _: object) -> None:
        self.pad.strokes = random.choice(EXAMPLES)  # noqa: S311 - only a picture


def picture_range(model: nn.Module, batch: Tensor) -> tuple[float, float]:
    """The range in which pixels are shown: the model's ``low`` and ``high``, or that of the data."""
    low = getattr(model, "low", None)
    high = getattr(model, "high", None)
    return (
        float(batch.min()) if low is None else float(low),
        float(batch.max()) if high is None else float(high),
    )


EXAMPLES = (
    (((8.0, 8.0), (20.0, 8.0), (13.0, 22.0)),),
    (((9.0, 8.0), (17.0, 7.0), (19.0, 10.0), (13.0, 13.5), (19.0, 17.0), (17.0, 21.0), (9.0, 21.0)),),
    (((14.5, 6.0), (13.0, 22.0)),),
    (((15.0, 6.0), (10.0, 13.0), (9.0, 19.0), (13.0, 22.0), (18.0, 19.0), (16.0, 15.0), (10.0, 17.0)),),
    (((8.0, 10.0), (13.0, 6.5), (18.0, 9.0), (16.0, 14.0), (8.0, 21.5), (20.0, 21.0)),),
    (((11.0, 6.0), (8.5, 14.0), (19.0, 14.0)), ((17.5, 6.0), (16.0, 22.5))),
)
