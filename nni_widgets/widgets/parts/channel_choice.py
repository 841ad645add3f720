"""Which channel of a layer: its map is pointed at among tiles, or its number stepped to."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
from torch import Tensor

from nni_widgets.pictures.render import palette_png
from nni_widgets.widgets.parts.controls import Stepper
from nni_widgets.widgets.parts.frame import FramedPicture
from nni_widgets.widgets.parts.tiles import Tiles, scale_of_maps


class ChannelPicker:
    """The maps of channels as tiles with a frame on the chosen one, and a slider of its number.

    ``on_choose(channel)`` is called when the user chooses one, ``on_miss()`` when the frame was
    put where there is none. ``title`` is what stands above the tiles at first.
    """

    def __init__(
        self, title: str, on_choose: Callable[[int], None], on_miss: Callable[[], None]
    ) -> None:
        self._on_choose, self._on_miss = on_choose, on_miss
        self._grid: Tiles | None = None
        self._tiles = FramedPicture(title, "nn-tiles", "the chosen channel", self._pointed)
        self._number = Stepper("channel", 1, self._stepped)

    @property
    def widgets(self) -> list[widgets.Widget]:
        """The tiles, and the slider below them."""
        return [self._tiles.view, self._number.widget]

    def choose(self, channel: int) -> None:
        """Step to a channel as the user does. Raises ``ValueError`` if there is none."""
        self._number.value = channel

    def paint(self, title: str, grid: Tiles, maps: Tensor, channel: int | None) -> None:
        """Show those of all maps that are in the grid, without calling back.

        ``channel`` is marked; without one the frame stays where the user has put it.
        """
        self._grid = grid
        self._tiles.entitle(title)
        self._tiles.paint(palette_png(grid.picture(maps), scale_of_maps(maps)))
        if channel is not None:
            self._tiles.fit(grid.tops, grid.lefts, grid.size, grid.side, grid.place(channel))
            self._number.fit(len(maps), channel)

    def clear(self) -> None:
        """Show no tiles."""
        self._grid = None
        self._tiles.clear()

    def _pointed(self) -> None:
        if self._grid is None:
            return
        chosen = self._grid.at(self._tiles.place)
        if chosen is None:
            self._on_miss()
        else:
            self._on_choose(chosen)

    def _stepped(self) -> None:
        self._on_choose(self._number.value)
