"""Pictures of an explorer: a heatmap with what there is to read off it, and a plain picture."""

from __future__ import annotations

import html

import ipywidgets as widgets
import torch
from torch import Tensor

from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.heatmap import Scale
from nni_widgets.pictures.render import Level, overlay_png, palette_png, picture_png, scale_bar_png

BLANK = palette_png(torch.zeros(1, 1), Scale(1.0))
BLANK_BAR = palette_png(torch.zeros(1, 21), Scale(1.0))
"""Flat as a scale: the page keeps the ratio of an image's sides."""
_HINT = "<small>point at a pixel to read it</small>"


class MapView:
    """A heatmap, its scale, a sentence, and the value of the pixel that is pointed at.

    ``view`` is the widget. ``title`` stands above the map; ``name`` is a further CSS class of the
    image, for its accessible name.
    """

    def __init__(self, title: str = "", name: str = "") -> None:
        self._map: Tensor | None = None
        self._adds_up = False
        self._pointed: tuple[float, float] | None = None
        self._title = titled(title)
        self._picture = widgets.Image(value=BLANK, width="252").add_class("nn-heatmap")
        self._picture.add_class("nn-px")
        if name:
            self._picture.add_class(name)
        self._scale = widgets.Image(value=BLANK_BAR, width="252", height="12").add_class("nn-scale")
        self._ends = widgets.HTML().add_class("nn-ends")
        self._sum = widgets.HTML().add_class("nn-sum")
        self._hover = widgets.HTML(_HINT).add_class("nn-hover")
        parts = [self._title, self._picture, self._scale, self._ends, self._sum, self._hover]
        self.view = widgets.VBox(parts).add_class("nn-view")

    def paint(
        self,
        made: Explanation,
        values: Tensor,
        scale: Scale | None = None,
        strength: float = 0.0,
        words: str | None = None,
    ) -> None:
        """Show a map of an explanation, over its picture if ``strength`` is above 0.

        The scale is the explanation's own for these values, and the words say whether it adds up,
        unless given.
        """
        scale = scale or made.scale_for(values)
        words = made.adds_up() if words is None else words
        picture = self._png(made, values, scale, strength)
        self.put(values, scale, words, picture, adds_up=bool(made.method.adds_up_to))

    def put(
        self,
        values: Tensor,
        scale: Scale,
        words: str,
        picture: bytes = b"",
        adds_up: bool = False,
    ) -> None:
        """Show a map that is no explanation: its values, or this picture of them."""
        self._map, self._adds_up = values, adds_up
        self._picture.value = picture or palette_png(values, scale)
        self._picture.remove_class("nn-stale")
        self._scale.value = scale_bar_png(scale)
        self._ends.value = "".join(f"<small>{end}</small>" for end in _ends(scale))
        self._sum.value = f"<p>{html.escape(words)}</p>"
        self._read()

    def entitle(self, title: str) -> None:
        """Put other words above the map."""
        self._title.value = title_of(title)

    def dim(self) -> None:
        """Mark the picture as one of before."""
        self._picture.add_class("nn-stale")

    def clear(self) -> None:
        """Show no picture."""
        self._map = self._pointed = None
        self._picture.value, self._scale.value = BLANK, BLANK_BAR
        self._sum.value = self._ends.value = ""
        self._hover.value = _HINT

    def hover(self, x: float, y: float) -> None:
        """Read the pixel at these shares of the picture's width and height, now and in later maps.

        Its share is told where the map adds up to something.
        """
        if 0 <= x < 1 and 0 <= y < 1:
            self._pointed = x, y
            self._read()

    def _read(self) -> None:
        if self._map is None or self._pointed is None:
            return
        x, y = self._pointed
        rows, columns = self._map.shape
        row, column = int(y * rows), int(x * columns)
        value, total = float(self._map[row, column]) or 0.0, float(self._map.sum())
        words = f"pixel ({column}, {row}): {value:+.4g}"
        if self._adds_up and total:
            words += f", {round(100 * value / total, 1) or 0.0:.1f} % of the sum"
        self._hover.value = f"<small>{words}</small>"

    def _png(self, made: Explanation, values: Tensor, scale: Scale, strength: float) -> bytes:
        """The map in its colours, over the picture if ``strength`` is above 0."""
        if strength == 0 or made.x.ndim != 4:
            return palette_png(values, scale)
        return overlay_png(made.x[0], values, scale, strength, made.low, made.high)


class PictureView:
    """A plain picture below its title; ``name`` is its CSS class, for its accessible name."""

    def __init__(self, title: str, name: str) -> None:
        self._title = titled(title)
        self._picture = widgets.Image(value=BLANK, width="252").add_class("nn-px").add_class(name)
        self.view = widgets.VBox([self._title, self._picture]).add_class("nn-view")

    def paint(self, pixels: Tensor, low: Level, high: Level) -> None:
        """Show an input without its batch dimension; what has no picture is left out."""
        self._picture.value = picture_png(pixels, low, high) if pixels.ndim <= 3 else BLANK

    def entitle(self, title: str) -> None:
        """Put other words above the picture."""
        self._title.value = title_of(title)

    def clear(self) -> None:
        """Show no picture."""
        self._picture.value = BLANK


def titled(words: str) -> widgets.HTML:
    """A title above a picture; without words it takes no place."""
    title = widgets.HTML(title_of(words)).add_class("nn-title")
    title.layout.display = None if words else "none"
    return title


def title_of(words: str) -> str:
    """These words as the content of a title."""
    return f"<b>{html.escape(words)}</b>"


def _ends(scale: Scale) -> tuple[str, ...]:
    middle = ("0",) if scale.signed else ()
    return (f"{scale.low:+.2g}" if scale.signed else "0", *middle, f"{scale.limit:+.2g}")
