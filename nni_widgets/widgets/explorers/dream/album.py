"""The bundled photographs, and pictures of one's own beside them, in the size that is wanted."""

from __future__ import annotations

import html
import random
from collections.abc import Callable, Hashable

import ipywidgets as widgets
import torch
from torch import Tensor, nn
from torch.nn import functional

from nni_widgets.engine.synthesis.box import Box
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.status import in_words
from nni_widgets.widgets.parts.upload import Upload
from nni_widgets.widgets.parts.weights import moved
from nni_widgets.zoo import data, models

WIDTH = "280"
_FULL, _SHARES = 384, Box(0.0, 1.0)
_STYLE, _LAYOUT = {"description_width": "60px"}, {"width": "280px"}


class Size(Declared):
    """How large the pictures are that a model gets."""

    size: int = param(
        192, "side of the picture in pixels: quicker or finer", low=16, high=_FULL,
        slider=(96, _FULL),
    )  # fmt: skip


class Album:
    """A photograph as a batch of one for a model with pixels in ``box``; a source of an explorer.

    ``first`` is the name of the photograph to begin with, ``size`` its side; pictures have the
    precision and the device of ``like``.
    """

    empty = ""
    count = 1
    number = 0

    def __init__(
        self, who: str, box: Box, like: Tensor, first: str | None = None, size: int = 192
    ) -> None:
        self._photographs = data.photographs()
        names = self._photographs.names
        if first is not None and first not in names:
            expected = f"one of {', '.join(names)}"
            raise invalid(who, "picture", expected, repr(first), "Or give your own pictures as x")
        self._box, self._like = box, like
        self._first, self._first_size = first or "red_panda", Size(size)
        self._own: dict[str, Tensor] = {}
        self._n_sent = 0
        self._made: tuple[Hashable, Tensor] | None = None
        self._on_change: Callable[[], None] = _nobody
        self._quiet = Quiet()
        self._picture = widgets.Image(width=WIDTH).add_class("nn-input")
        self._choice = widgets.Dropdown(
            options=[(name.replace("_", " "), name) for name in names],
            value=self._first,
            description="picture",
            style=_STYLE,
            layout=_LAYOUT,
        ).add_class("nn-picture")
        self._choice.observe(lambda _: None if self._quiet else self._chosen(), "value")
        self._credit = widgets.HTML().add_class("nn-words").add_class("nn-credit")
        self._size = ParameterPanel(self._first_size, lambda _: self._chosen(), self._refuse)
        full = torch.zeros(1, 3, _FULL, _FULL)
        self._upload = Upload(models.wrap(nn.Identity()), full, self._add)
        buttons = widgets.HBox([button("Random", self._pick), self._upload.button])
        parts = [self._picture, self._choice, self._credit, buttons]
        self.widget = widgets.VBox([*parts, self._upload.words, self._size.box])
        self.widget.add_class("nn-source").add_class("nn-album")
        self._paint()

    @property
    def name(self) -> str:
        """The name of the chosen picture."""
        return str(self._choice.value)

    @property
    def size(self) -> int:
        """The side of the picture in pixels."""
        value: Size = self._size.value  # type: ignore[assignment]
        return value.size

    @size.setter
    def size(self, size: int) -> None:
        self._size.show(Size(size))
        self._chosen()

    def current(self) -> tuple[Hashable, Tensor]:
        """What tells it from others, and the picture ``(1, 3, size, size)``."""
        key = self.name, self.size, self._n_sent if self.name in self._own else 0
        if self._made is None or self._made[0] != key:
            pixels = self._box.dark + self._box.size * self._shares(self.name).to(self._like)
            self._made = key, resized(pixels, self.size, self._box)
        return self._made

    def connect(self, on_change: Callable[[], None], on_cancel: Callable[[], None]) -> None:
        """Call this when the picture changes; what is wrong with a size is said here."""
        self._on_change = on_change

    def code(self, x: str, model: str = "model") -> tuple[str, str]:
        """Lines that prepare, and the arguments that say which picture in which size."""
        if self.name in self._own:
            read = f"nni.data.picture({self.name!r}, {_FULL}){moved(self._like, model)}"
            dark, size = self._box.dark, self._box.size
            pixels = read if (dark, size) == (0, 1) else f"{dark:g} + {size:g} * {read}"
            return f"{x} = {pixels}\n", f"{x}, size={self.size}"
        usual = self.size == Size().size
        return "", f"picture={self.name!r}" + ("" if usual else f", size={self.size}")

    def reset(self) -> None:
        """Back to the first picture and size."""
        self._upload.words.value = ""
        with self._quiet:
            self._choice.value = self._first
        self._size.show(self._first_size)
        self._paint()

    def _shares(self, name: str) -> Tensor:
        return self._own[name] if name in self._own else self._photographs[name][None]

    def _add(self, name: str, picture: Tensor) -> None:
        self._own[name] = picture
        self._n_sent += 1  # the same name may stand for another picture
        with self._quiet:
            options = [option for option in self._choice.options if option[1] != name]
            self._choice.options = [*options, (name, name)]
            self._choice.value = name
        self._chosen()

    def _chosen(self) -> None:
        self._upload.words.value = ""
        self._paint()
        self._on_change()

    def _pick(self) -> None:
        others = [name for _, name in self._choice.options if name != self.name]
        self._choice.value = random.choice(others)

    def _refuse(self, error: ValueError) -> None:
        words = html.escape(in_words(error))
        self._upload.words.value = f'<p role="alert" class="nn-error">{words}</p>'

    def _paint(self) -> None:
        self._picture.value = picture_png(resized(self._shares(self.name), self.size)[0])
        credit = self._photographs.credits.get(self.name)
        words = f"by {credit['author']}, {credit['licence']}" if credit else "your picture"
        self._credit.value = f"<small>{html.escape(words)}</small>"


def resized(x: Tensor, size: int, box: Box = _SHARES) -> Tensor:
    """Pictures ``(N, C, H, W)`` in a box as ``(N, C, size, size)``, as photograph_batch does."""
    if tuple(x.shape[2:]) == (size, size):
        return x
    return functional.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(*box)


def _nobody() -> None:
    """Stands for the explorer as long as there is none."""
