"""The maps of many channels in one picture, to look over and to point at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nni_widgets.pictures.heatmap import Scale, scale_of


@dataclass(frozen=True)
class Tiles:
    """Channels of a layer side by side: a grid of maps of one ``size`` with lines between them."""

    channels: tuple[int, ...]
    columns: int
    size: tuple[int, int]

    @classmethod
    def of(
        cls, order: Sequence[int], chosen: int | None, size: tuple[int, int], count: int
    ) -> Tiles:
        """The first ``count`` channels, the chosen one among them; strips stand one by one."""
        channels = tuple(order[:count])
        if chosen is not None and chosen not in channels:
            channels = (*channels[:-1], chosen)
        strips = size[0] == 1 < size[1]
        return cls(channels, 1 if strips else math.ceil(len(channels) ** 0.5), size)

    @property
    def tops(self) -> list[int]:
        """Where the rows begin."""
        return [row * (self.size[0] + self._gap) for row in range(self._rows)]

    @property
    def lefts(self) -> list[int]:
        """Where the columns begin."""
        return [column * (self.size[1] + self._gap) for column in range(self.columns)]

    @property
    def side(self) -> tuple[int, int]:
        """The height and width of all of them together."""
        return self.tops[-1] + self.size[0], self.lefts[-1] + self.size[1]

    def picture(self, maps: Tensor) -> Tensor:
        """The maps of these channels, put side by side."""
        together = maps.new_zeros(self.side)
        for place, channel in enumerate(self.channels):
            row, column = divmod(place, self.columns)
            top, left = self.tops[row], self.lefts[column]
            together[top : top + self.size[0], left : left + self.size[1]] = maps[channel]
        return together

    def place(self, channel: int) -> tuple[int, int]:
        """The row and column of a channel."""
        return divmod(self.channels.index(channel), self.columns)

    def at(self, place: tuple[int, int]) -> int | None:
        """The channel at a row and column, if there is one."""
        number = place[0] * self.columns + place[1]
        return self.channels[number] if number < len(self.channels) else None

    @property
    def _gap(self) -> int:
        return 0 if self.size == (1, 1) else 1

    @property
    def _rows(self) -> int:
        return math.ceil(len(self.channels) / self.columns)


def strongest_first(maps: Tensor) -> tuple[int, ...]:
    """The channels by their largest activation; of equally strong ones the first comes first."""
    strength = maps.flatten(1).amax(1)
    return tuple(strength.sort(descending=True, stable=True).indices.tolist())


def scale_of_maps(values: Tensor) -> Scale:
    """The scale of activations: signed only if some are negative."""
    return scale_of(values, signed=bool((values < 0).any()))
