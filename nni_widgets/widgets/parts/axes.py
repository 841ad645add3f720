"""The frames of charts: axes, figures and legends of one look, in the theme's colours; clicks."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bqplot

INK = "var(--jp-ui-font-color1, #222)"
TEXT = {"font-size": "12px", "fill": INK}
LETTER = 6.6
"""About the width of a letter of ``TEXT``, in pixels."""
LEVEL_ROOM = 26
"""Pixels that level names below a chart need."""
_SLANTED_ROOM, _MOST_LETTERS = 86, 12
_SIDES = "top", "right", "bottom", "left"


def axis(scale: bqplot.Scale, side: str, label: str = "", **looks: Any) -> bqplot.Axis:
    """An axis on this side of the chart, with its words, and without grid lines unless asked."""
    usual = {"tick_style": TEXT, "grid_lines": "none", "label_offset": "32px"}
    return bqplot.Axis(scale=scale, side=side, label=label, **(usual | looks))


def figure(
    name: str,
    marks: Sequence[bqplot.Mark],
    axes: Sequence[bqplot.Axis],
    size: tuple[int, int],
    margin: tuple[int, int, int, int] = (10, 12, 40, 48),
    padding: tuple[float, float] = (0.0, 0.0),
) -> bqplot.Figure:
    """A chart of this size in pixels, with nothing in it but its marks and axes.

    ``name`` is its CSS class; ``margin`` in pixels at the top, right, bottom and left; ``padding``
    within the scales, across and up, as a share of the chart.
    """
    made = bqplot.Figure(
        marks=list(marks),
        axes=list(axes),
        fig_margin=dict(zip(_SIDES, margin, strict=True)),
        padding_x=padding[0],
        padding_y=padding[1],
        background_style={"fill": "transparent"},
        animation_duration=0,
        display_toolbar=False,
        min_aspect_ratio=0.05,
        max_aspect_ratio=20,
    )
    made.layout.width, made.layout.height = (f"{length}px" for length in size)
    return made.add_class(name)


@dataclass(frozen=True)
class ClassTicks:
    """The names of classes below a chart, the looks of their axis, and the pixels they need."""

    names: tuple[str, ...]
    looks: Mapping[str, Any]
    room: int


def class_ticks(classes: Sequence[str], count: int, width: int) -> ClassTicks:
    """The names of classes below a chart, level or slanted.

    They are slanted if ``count`` of them, side by side, could need more than ``width`` pixels; then
    long ones are cut. Of equal names each has its number.
    """
    slanted = max(map(len, classes)) * LETTER * count > width
    names = [
        f"{name[: _MOST_LETTERS - 1]}…" if slanted and len(name) > _MOST_LETTERS else name
        for name in classes
    ]
    times = Counter(names)
    told_apart = tuple(
        name if times[name] == 1 else f"{name} ({number})" for number, name in enumerate(names)
    )
    if slanted:
        looks = {"tick_style": {**TEXT, "text-anchor": "end"}, "tick_rotate": -60}
        return ClassTicks(told_apart, looks, _SLANTED_ROOM)
    return ClassTicks(told_apart, {"tick_style": TEXT, "tick_rotate": 0}, LEVEL_ROOM)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Words and their colours, as the content of an HTML widget of the class ``nn-legend``."""
    return "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(words)}</span>'
        for words, colour in entries
    )


def clicked(event: dict[str, Any]) -> int | None:
    """The number of the element that was clicked, as bqplot's ``on_element_click`` tells it."""
    index = event.get("data", {}).get("index")
    return None if index is None else int(index)
