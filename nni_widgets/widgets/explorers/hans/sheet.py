"""The pictures of a group and their maps, as two sheets that one points at."""

from __future__ import annotations

import math
from collections.abc import Callable

import ipywidgets as widgets
import torch
from torch import Tensor

from nni_widgets.pictures.heatmap import Scale
from nni_widgets.pictures.render import Level, palette_png, picture_png
from nni_widgets.widgets.explorers.hans.work import Found
from nni_widgets.widgets.parts.frame import FramedPicture
from nni_widgets.widgets.parts.tiles import Tiles

_MOST, _SIDE = 25, 56


class Sheets:
    """Pictures and maps of the group around the chosen picture, at most 25 of them.

    ``on_choose(place)`` is called when the frame is moved to another picture.
    """

    def __init__(self, on_choose: Callable[[int], None]) -> None:
        self._on_choose = on_choose
        self._tiles: Tiles | None = None
        self._pictures = FramedPicture(
            "the pictures", "nn-group-pictures", "the chosen picture", lambda: self._moved(0)
        )
        self._maps = FramedPicture(
            "their maps", "nn-group-maps", "the map of the chosen picture", lambda: self._moved(1)
        )
        self.views: tuple[widgets.Widget, ...] = (self._pictures.view, self._maps.view)

    def show(self, found: Found, place: int, low: Level, high: Level, signed: bool) -> None:
        """Show the members of the chosen group, with the frames on the one at this place."""
        members = found.members
        first = members.index(place) // _MOST * _MOST
        page = members[first : first + _MOST]
        x, maps = _reduced(found.maps.x), _reduced(found.maps.values)
        columns = math.ceil(len(page) ** 0.5)
        tiles = self._tiles = Tiles(page, columns, (maps.shape[-2], maps.shape[-1]))
        channels = torch.stack([tiles.picture(channel) for channel in x.unbind(1)])
        self._pictures.paint(picture_png(channels, low, high))
        largest = maps.abs().amax((1, 2), keepdim=True)
        shares = maps / torch.where(largest > 0, largest, 1.0)
        self._maps.paint(palette_png(tiles.picture(shares), Scale(1.0, signed)))
        shown = f"{first + 1} to {first + len(page)} of " if len(members) > _MOST else ""
        self._pictures.entitle(f"{shown}{len(members)} pictures")
        self._maps.entitle("their maps, each on its own scale")
        for sheet in (self._pictures, self._maps):
            sheet.fit(tiles.tops, tiles.lefts, tiles.size, tiles.side, tiles.place(place))

    def _moved(self, sheet: int) -> None:
        if self._tiles is None:
            return
        place = self._tiles.at((self._pictures, self._maps)[sheet].place)
        if place is not None:
            self._on_choose(place)


def _reduced(values: Tensor) -> Tensor:
    """Every so many pixels of large pictures."""
    step = math.ceil(max(values.shape[-2:]) / _SIDE)
    return values[..., ::step, ::step]
