"""What an explorer explains: one picture of a batch, or a drawing."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.pictures.explain import class_names, picture_range
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.pad import DrawingPad
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.samples import Samples, predicted
from nni_widgets.widgets.parts.upload import Upload
from nni_widgets.widgets.parts.weights import moved, weight_of
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

    def code(self, x: str, model: str = "model") -> tuple[str, str]:
        """Lines that prepare, and the expression of the picture; the names are given."""

    def reset(self) -> None:
        """Back to the first picture."""


class BatchInput:
    """A picture out of a batch ``(N, ...)``, chosen by number, or uploaded.

    With ``labels``, the true classes, it can be chosen by its class and the model's answer.
    """

    empty = ""

    def __init__(
        self, model: nn.Module, batch: Tensor, labels: Sequence[int] | None = None
    ) -> None:
        self._model, self._batch = model, batch
        self._range = picture_range(model, _cleaned(batch))
        self._uploads: list[tuple[str, Tensor]] = []
        self._quiet, self._on_change = Quiet(), _nobody
        self._picture = widgets.Image(format="png", width="252").add_class("nn-input")
        self._picture.add_class("nn-px")
        self._last_predicted: Last[tuple[int, ...]] = Last(model)
        self._samples = Samples(
            len(batch), labels, class_names(model), self._predicted, self._chosen
        )
        self._upload = Upload(model, batch, self._add)
        buttons = widgets.HBox([self._samples.random, self._upload.button])
        parts = [self._picture, self._samples.widget, buttons, self._upload.words]
        self.widget = widgets.VBox(parts).add_class("nn-source")
        self._paint()

    @property
    def count(self) -> int:
        return len(self._batch)

    @property
    def number(self) -> int:
        return self._samples.number

    def current(self) -> tuple[Hashable, Tensor] | None:
        number = self.number
        if number >= self.count:
            return number, self._uploads[number - self.count][1]
        return number, self._batch[number : number + 1]

    def connect(self, on_change: Callback, on_cancel: Callback) -> None:
        self._on_change = on_change

    def code(self, x: str, model: str = "model") -> tuple[str, str]:
        if self.number >= self.count:
            name, _ = self._uploads[self.number - self.count]
            read = "from nni_widgets.pictures.files import read_picture\n\n"
            return f"{read}picture = read_picture({name!r}, {model}, {x})\n", "picture"
        if self.count == 1:
            return "", x
        return "", f"{x}[{self.number}:{self.number + 1}]"

    def reset(self) -> None:
        self._samples.reset()
        self._upload.words.value = ""
        self._paint()

    def _predicted(self) -> tuple[int, ...]:
        """The class that the model predicts for each picture of the batch."""
        classes = self._last_predicted.get((), self._batch)
        if classes is None:
            classes = predicted(self._model, self._batch)
            self._last_predicted.keep((), self._batch, classes)
        return classes

    def _chosen(self) -> None:
        self._upload.words.value = ""
        self._paint()
        self._on_change()

    def _add(self, name: str, picture: Tensor) -> None:
        self._uploads.append((name, picture))
        self._samples.add()
        self._chosen()

    def _paint(self) -> None:
        current = self.current()
        if self._batch.ndim <= 4 and current is not None:
            self._picture.value = picture_png(_cleaned(current[1][0]), *self._range)


class DrawingInput:
    """A drawing on a pad, made into a picture of the dtype and on the device of the model."""

    empty = "Draw a digit on the black square."
    count = 1
    number = 0

    def __init__(
        self,
        strokes: Sequence[Any],
        model: nn.Module | None = None,
        size: int = 28,
        pen: float = 2.5,
    ) -> None:
        self._first = tuple(strokes)
        self._like = weight_of(model)
        self.pad = DrawingPad(size=size, zoom=9, pen=pen, label="Draw a digit here")
        self.pad.strokes = self._first
        self._quiet = Quiet()
        actions = {"Undo": self.pad.undo, "Clear": self.pad.clear, "Random": self._draw_example}
        buttons = [button(name, act, width="80px") for name, act in actions.items()]
        self.widget = widgets.VBox([self.pad, widgets.HBox(buttons)]).add_class("nn-source")

    def current(self) -> tuple[Hashable, Tensor] | None:
        strokes = self.pad.strokes
        if not strokes:
            return None
        picture = data.drawing(strokes, size=self.pad.size, width=self.pad.pen)
        return (strokes, self.pad.pen), picture.to(self._like)

    def connect(self, on_change: Callback, on_cancel: Callback) -> None:
        self.pad.on_change(lambda _: None if self._quiet else on_change())
        self.pad.observe(lambda _: on_change(), "pen")
        self.pad.on_cancel(lambda _: on_cancel())

    def code(self, x: str, model: str = "model") -> tuple[str, str]:
        strokes = [[list(point) for point in stroke] for stroke in self.pad.strokes]
        drawing = f"nni.data.drawing({strokes}, width={self.pad.pen})"
        return f"{x} = {drawing}{moved(self._like, model)}\n", x

    def reset(self) -> None:
        with self._quiet:
            self.pad.strokes = self._first

    def _draw_example(self) -> None:
        self.pad.strokes = random.choice([each for each in EXAMPLES if each != self.pad.strokes])


def _nobody() -> None:
    """Stands for the explorer as long as there is none."""


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
