"""Maps as points: alike ones lie close, and each group has its colour and shape."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from typing import Any

import bqplot
import numpy as np
from torch import Tensor

from nni_widgets.widgets.parts.axes import INK, clicked, figure

_LOOKS = (
    ("#e66101", "circle", "●"),
    ("#8a63d2", "square", "■"),
    ("#009e73", "triangle-up", "▲"),
    ("#3b8fd0", "diamond", "◆"),
    ("#cc5f99", "cross", "✚"),
    ("#a07d00", "triangle-down", "▼"),
    ("#7b8794", "circle", "●"),
    ("#c0392b", "square", "■"),
    ("#4e8a2e", "triangle-up", "▲"),
)
_FAINT = 0.25


class GroupPlot:
    """A scatter chart; ``on_choose(place)`` is called when the point of a picture is clicked."""

    def __init__(self, on_choose: Callable[[int], None]) -> None:
        self._on_choose = on_choose
        self._places: list[np.ndarray[Any, Any]] = []
        scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
        self._ring = bqplot.Scatter(
            x=[], y=[], scales=scales, fill=False, stroke=INK, stroke_width=2,
            default_size=190,
        )  # fmt: skip
        self._marks = [
            bqplot.Scatter(
                x=[], y=[], scales=scales, colors=[colour], marker=marker, default_size=64,
                stroke=INK,
            )
            for colour, marker, _ in _LOOKS
        ]  # fmt: skip
        for number, mark in enumerate(self._marks):
            mark.on_element_click(partial(self._clicked, number))
        self.widget = figure(
            "nn-group-plot",
            [self._ring, *self._marks],
            [],
            (252, 220),
            margin=(6, 6, 6, 6),
            padding=(0.06, 0.06),
        )

    def show(self, layout: Tensor, groups: Tensor, group: int | None, place: int) -> None:
        """Show the maps at these places ``(N, 2)``, each with the look of its group ``(N,)``.

        If a group is chosen, the others are faint; a ring is around one picture.
        """
        at, labels = layout.cpu().numpy(), groups.cpu().numpy()
        self._places = [np.flatnonzero(labels == number) for number in range(len(self._marks))]
        for number, (mark, places) in enumerate(zip(self._marks, self._places, strict=True)):
            with mark.hold_sync():
                mark.x, mark.y = at[places].T
                mark.opacities = [1.0 if group in (None, number) else _FAINT]
        with self._ring.hold_sync():
            self._ring.x, self._ring.y = at[place : place + 1].T

    def clear(self) -> None:
        """Show no point."""
        self._places = []
        for mark in (self._ring, *self._marks):
            with mark.hold_sync():
                mark.x = mark.y = np.zeros(0)

    def _clicked(self, number: int, _: Any, event: dict[str, Any]) -> None:
        index = clicked(event)
        if self._places and index is not None and index < len(self._places[number]):
            self._on_choose(int(self._places[number][index]))


def sign(number: int) -> str:
    """How a group is drawn, as HTML."""
    colour, _, shape = _LOOKS[number]
    return f'<span style="color: {colour}">{html.escape(shape)}</span>'
