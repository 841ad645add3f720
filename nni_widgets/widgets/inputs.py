"""What an explorer explains: one picture of a batch, or a drawing."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.pictures.explain import picture_range
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.pad import DrawingPad
from nni_widgets.widgets.quiet import Quiet
from nni_widgets.zoo import data

Callback = Callable[[], None]


class Source(Protocol):
    """What an explorer needs of an input; ``empty`` is what to say while there is no picture."""

    widget: widgets.Widget
    empty: str

    @property
    def count(self) -> int:
        """How many pictures there are to choose from."""

    @property
    def number(self) -> int:
        """The place of the picture in its batch."""

    def current(self) -> tuple[Hashable, Tensor] | None:
        """A key, equal for equal pictures, and the picture as a batch of one; or nothing yet."""

    def connect(self, on_change: Callback, on_cancel: Callback) -> None:
        """Call these when the picture changes, and when the user wants the work to stop."""

    def code(self, x: str) -> tuple[str, str]:
        """A line that prepares, and the expression of the picture; ``x`` is its name."""

    def reset(self) -> None:
        """Back to the first picture."""


class BatchInput:
    """A picture out of a batch ``(N, ...)``, chosen by number."""

    empty = ""

    def __init__(self, model: nn.Module, batch: Tensor) -> None:
        self._batch = batch
        self._range = picture_range(model, _cleaned(batch))
        self._quiet = Quiet()
        self._picture = widgets.Image(format="png", width="252").add_class("nn-input")
        self._picture.add_class("nn-px")
        self._number = widgets.IntSlider(
            max=len(batch) - 1,
            description="picture",
            style={"description_width": "46px"},
            layout={"width": "178px"},
        ).add_class("nn-picture")
        pick = widgets.Button(description="Random", layout={"width": "70px"}).add_class("nn-random")
        pick.on_click(self._pick)
        browser = widgets.HBox([self._number, pick])
        browser.layout.display = "flex" if len(batch) > 1 else "none"
        self.widget = widgets.VBox([self._picture, browser]).add_class("nn-source")
        self._paint()

    @property
    def count(self) -> int:
        return len(self._batch)

    @property
    def number(self) -> int:
        return int(self._number.value)

    def current(self) -> tuple[Hashable, Tensor] | None:
        number = self.number
        return number, self._batch[number : number + 1]

    def connect(self, on_change: Callback, on_cancel: Callback) -> None:
        def changed(_: object) -> None:
            self._paint()
            if not self._quiet:
                on_change()

        self._number.observe(changed, "value")

    def code(self, x: str) -> tuple[str, str]:
        if len(self._batch) == 1:
            return "", x
        return "", f"{x}[{self.number}:{self.number + 1}]"

    def reset(self) -> None:
        with self._quiet:
            self._number.value = 0

    def _pick(self, _: object) -> None:
        others = [n for n in range(len(self._batch)) if n != self.number]
        self._number.value = random.choice(others)

    def _paint(self) -> None:
        if self._batch.ndim <= 4:
            self._picture.value = picture_png(_cleaned(self._batch[self.number]), *self._range)


class DrawingInput:
    """A drawing on a pad, made into a picture as the model takes it."""

    empty = "Draw a digit on the black square."
    count = 1
    number = 0

    def __init__(self, strokes: Sequence[Any], size: int = 28, pen: float = 2.5) -> None:
        self._first = tuple(strokes)
        self.pad = DrawingPad(size=size, zoom=9, pen=pen, label="Draw a digit here")
        self.pad.strokes = self._first
        self._quiet = Quiet()
        actions = {"Undo": self.pad.undo, "Clear": self.pad.clear, "Random": self._draw_example}
        buttons = []
        for name, act in actions.items():
            button = widgets.Button(description=name, layout={"width": "80px"})
            button.add_class(f"nn-{name.lower()}").on_click(lambda _, act=act: act())
            buttons.append(button)
        self.widget = widgets.VBox([self.pad, widgets.HBox(buttons)]).add_class("nn-source")

    def current(self) -> tuple[Hashable, Tensor] | None:
        strokes = self.pad.strokes
        if not strokes:
            return None
        return strokes, data.drawing(strokes, size=self.pad.size, width=self.pad.pen)

    def connect(self, on_change: Callback, on_cancel: Callback) -> None:
        self.pad.on_change(lambda _: None if self._quiet else on_change())
        self.pad.on_cancel(lambda _: on_cancel())

    def code(self, x: str) -> tuple[str, str]:
        strokes = [[list(point) for point in stroke] for stroke in self.pad.strokes]
        return f"{x} = nni.data.drawing({strokes}, width={self.pad.pen})\n", x

    def reset(self) -> None:
        with self._quiet:
            self.pad.strokes = self._first

    def _draw_example(self) -> None:
        self.pad.strokes = random.choice([each for each in EXAMPLES if each != self.pad.strokes])


def _cleaned(pixels: Tensor) -> Tensor:
    """What can be painted of any pixels; what is wrong with them is for the engine to say."""
    return pixels.detach().float().nan_to_num(0.0, 0.0, 0.0)


EXAMPLES = (
    (((8.0, 8.0), (20.0, 8.0), (13.0, 22.0)),),
    (((9, 8), (17, 7), (19, 10), (13, 13.5), (19, 17), (17, 21), (9, 21)),),
    (((14.5, 6.0), (13.0, 22.0)),),
    (((15, 6), (10, 13), (9, 19), (13, 22), (18, 19), (16, 15), (10, 17)),),
    (((8, 10), (13, 6.5), (18, 9), (16, 14), (8, 21.5), (20, 21)),),
    (((11.0, 6.0), (8.5, 14.0), (19.0, 14.0)), ((17.5, 6.0), (16.0, 22.5))),
)
