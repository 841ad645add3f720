"""Figures of this explorer: one look for all of its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bqplot

from nni_widgets.widgets.parts.charts import LINE_COLOURS

CHOSEN, SECOND = LINE_COLOURS[:2]
PLAIN = "#7b8794"
TEXT = {"font-size": "12px", "fill": "var(--jp-ui-font-color1, #222)"}
INK = "var(--jp-ui-font-color1, #222)"


def axis(scale: bqplot.Scale, label: str, side: str, **looks: Any) -> bqplot.Axis:
    """An axis with its words, without grid lines."""
    return bqplot.Axis(
        scale=scale,
        label=label,
        side=side,
        tick_style=TEXT,
        grid_lines="none",
        label_offset="32px",
        **looks,
    )


def figure(
    name: str,
    marks: Sequence[bqplot.Mark],
    axes: Sequence[bqplot.Axis],
    size: tuple[int, int],
    **looks: Any,
) -> bqplot.Figure:
    """A chart of this size in pixels; ``name`` is its CSS class."""
    margin = {"top": 10, "bottom": 40, "left": 48, "right": 12}
    made = bqplot.Figure(
        marks=list(marks),
        axes=list(axes),
        fig_margin=looks.pop("fig_margin", margin),
        padding_x=0,
        padding_y=0,
        background_style={"fill": "transparent"},
        legend_style={"fill": "none", "stroke": "none"},
        legend_text=TEXT,
        animation_duration=0,
        display_toolbar=False,
        min_aspect_ratio=0.3,
        max_aspect_ratio=6,
        **looks,
    )
    made.layout.width, made.layout.height = (f"{length}px" for length in size)
    return made.add_class(name)
