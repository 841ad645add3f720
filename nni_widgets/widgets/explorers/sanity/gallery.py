"""The maps side by side: that of the trained network, and the same with layers drawn anew."""

from __future__ import annotations

import html

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.figure import sheet_png
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import palette_image
from nni_widgets.widgets.explorers.sanity.chart import colour_of, marker_of
from nni_widgets.widgets.explorers.sanity.check import Checked, Fate
from nni_widgets.widgets.parts.maps import MapView

_SIDE, _GAP = 140, 6


class QuickMap(MapView):
    """A heatmap that is painted only when it is another one."""

    def __init__(self, title: str, name: str) -> None:
        super().__init__(title, name)
        self._shown: Explanation | None = None

    def show(self, made: Explanation | None) -> None:
        """Show this; without one the map there is becomes one of before."""
        if made is None:
            self.dim()
        elif made is not self._shown:
            self.paint(made, made.heatmap(), words="")
            self._shown = made

    def dim(self) -> None:
        """Mark the picture as one of before."""
        self._shown = None
        super().dim()

    def clear(self) -> None:
        """Show no picture."""
        self._shown = None
        super().clear()


class Column:
    """A method's name, its two maps, and how alike they are; ``view`` is the widget.

    It is one view, so that a saved notebook keeps all of it together.
    """

    def __init__(self, name: str, at: int) -> None:
        self._name, self._at = name, at
        self.maps = (
            QuickMap("trained", f"nn-trained-{at}"),
            QuickMap("drawn anew", f"nn-forgetful-{at}"),
        )
        mark = f'<span style="color: {colour_of(at)}">{marker_of(at)}</span>'
        title = widgets.HTML(f"{mark} <b>{html.escape(name)}</b>").add_class("nn-method-title")
        self._words = widgets.HTML().add_class("nn-words").add_class(f"nn-likeness-{at}")
        maps = [each.view.remove_class("nn-view") for each in self.maps]
        self.view = widgets.VBox([title, self._words, *maps])
        self.view.add_class("nn-view").add_class("nn-fate")

    @property
    def captions(self) -> dict[str, str]:
        """The accessible names of the maps, by CSS class."""
        return {
            f"nn-trained-{self._at}": f"heatmap of {self._name}, trained network",
            f"nn-forgetful-{self._at}": f"heatmap of {self._name}, layers drawn anew",
        }

    def show(self, fate: Fate, level: int, measure: str) -> None:
        """Show what has become of the map."""
        trained, forgetful = self.maps
        if fate.refusal:
            self.clear()
            self._words.value = _words(fate.refusal)
            return
        trained.show(fate.trained)
        forgetful.show(fate.forgetful)
        likeness = fate.likeness[level]
        told = "…" if likeness is None else two_digits(likeness)
        self._words.value = _words(f"{measure} {told}")

    def clear(self) -> None:
        """Show nothing."""
        for each in self.maps:
            each.clear()
        self._words.value = ""


def two_digits(likeness: float) -> str:
    """How alike, in words."""
    return number(likeness, largest=1, digits=3)


def sheet_of(shown: Checked) -> bytes:
    """The maps of each method, trained above drawn anew, each on its own scale."""
    told = {name: fate for name, fate in shown.fates.items() if fate.trained and fate.forgetful}
    captions = []
    for name, fate in told.items():
        likeness = fate.likeness[shown.level]
        captions.append(name if likeness is None else f"{name}: {two_digits(likeness)}")
    heading = f"Above: trained. Below: {len(shown.drawn)} of {len(shown.layers)} layers drawn anew"
    names = f": {', '.join(shown.drawn)}" if shown.drawn else ""
    pairs = [_pair(fate) for fate in told.values()]
    metadata = {"Software": "nni_widgets", "Layers": ", ".join(shown.layers)}
    return sheet_png(pairs, captions, heading + names, metadata=metadata)


def _pair(fate: Fate) -> Tensor:
    """One map above the other, ``(3, H, W)``."""
    above, below = (_coloured(made) for made in (fate.trained, fate.forgetful) if made is not None)
    gap = torch.ones(3, _GAP, above.shape[2])
    return torch.cat([above, gap, below], 1)


def _coloured(made: Explanation) -> Tensor:
    values = made.heatmap()
    image = palette_image(values, made.scale_for(values)).convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    factor = max(1, round(_SIDE / max(pixels.shape[1:])))
    return pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _words(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
