"""What excites a channel most in a data set: found once for all channels of a layer, and shown."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace

import ipywidgets as widgets
from torch import Tensor, cat, nn

from nni_widgets.engine.views import StrongestInputs, activations, strongest_inputs
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import Level, picture_png
from nni_widgets.widgets.parts.maps import BLANK, title_of, titled
from nni_widgets.widgets.parts.weights import weights_of

MOST = 9
_NUMBERS_AT_ONCE, _ROWS_AT_ONCE = 2**21, 256
_WIDTH = "84"


class Excitations:
    """How strongly each picture of a data set excites each channel of a layer.

    A layer is looked at once, some pictures at a time; what is left goes on where it was left. With
    other weights it is looked at again. Only the thread that does the work uses it.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model, self.images = model, images.detach()
        self._tables: dict[str, list[Tensor]] = {}
        self._weights = weights_of(model)
        rows = min(_ROWS_AT_ONCE, max(1, _NUMBERS_AT_ONCE // images[0].numel()))
        self._chunks = self.images.split(rows)

    @property
    def n_parts(self) -> int:
        """In how many parts the data set is looked at."""
        return len(self._chunks)

    def scan(self, layer: str) -> Iterator[int]:
        """Look at what has not been looked at yet; tells after each part how many are done.

        Cost: one forward pass of the data set up to the layer.
        """
        if self._weights != weights_of(self._model):
            self._tables, self._weights = {}, weights_of(self._model)
        table = self._tables.setdefault(layer, [])
        for chunk in self._chunks[len(table) :]:
            made = activations(self._model, chunk, layer)
            table.append(made.flatten(2).amax(2) if made.ndim > 2 else made)
            yield len(table)

    def strongest(self, layer: str, channel: int) -> StrongestInputs:
        """The pictures that excite a channel most, of those that were looked at."""
        values = cat(self._tables[layer])[:, channel]
        chosen = values.sort(descending=True, stable=True).indices[:MOST]
        made = strongest_inputs(self._model, self.images[chosen], layer, channel, len(chosen))
        return replace(made, indices=chosen[made.indices])


class Crops:
    """The parts of pictures that excite a channel most, each with its value and its place.

    ``view`` is the widget; it takes no place as long as there is nothing to show.
    """

    def __init__(self) -> None:
        self._title = titled("the strongest inputs")
        self._cells = [
            widgets.Image(value=BLANK, width=_WIDTH, height=_WIDTH)
            .add_class("nn-px")
            .add_class("nn-crop")
            .add_class(f"nn-crop-{place}")
            for place in range(MOST)
        ]
        self._words = [widgets.HTML().add_class("nn-crop-words") for _ in self._cells]
        self._columns = [
            widgets.VBox([cell, words]).add_class("nn-crop-column")
            for cell, words in zip(self._cells, self._words, strict=True)
        ]
        row = widgets.HBox(self._columns).add_class("nn-row")
        self.view = widgets.VBox([self._title, row]).add_class("nn-crops")
        self.clear()

    def paint(self, made: StrongestInputs, count: int, low: Level, high: Level) -> None:
        """Show these, out of ``count`` pictures."""
        self.view.remove_class("nn-stale")
        self.view.layout.display = None
        self._title.value = title_of(
            f"{made.layer}[{made.channel}]: its strongest inputs of {count}, as far as it sees"
        )
        told = places_in_words(made)
        for place, column in enumerate(self._columns):
            column.layout.display = None if place < len(told) else "none"
            if place < len(told):
                crop = made.crops[place]
                shown = crop.ndim <= 3 and crop.numel()
                self._cells[place].value = picture_png(crop, low, high) if shown else BLANK
                self._words[place].value = f"<small>{html.escape(told[place])}</small>"

    def dim(self) -> None:
        """Mark them as those of before."""
        self.view.add_class("nn-stale")

    def clear(self) -> None:
        """Show nothing."""
        self.view.layout.display = "none"


def places_in_words(made: StrongestInputs) -> list[str]:
    """Each of the strongest inputs: which picture, how strong, and which part of it."""
    told = []
    for index, value, box in zip(
        made.indices.tolist(), made.values.tolist(), made.boxes.tolist(), strict=True
    ):
        half = len(box) // 2
        sides = zip(("rows", "columns")[-half:], box[:half], box[half:], strict=False)
        where = ", ".join(f"{side} {start}–{end - 1}" for side, start, end in sides)
        told.append(f"picture {index}: {number(value)}; {where}")
    return told
