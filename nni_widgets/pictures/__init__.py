"""Pictures of explanations: heatmaps on explicit scales, colours, PNG files, and their numbers."""

from nni_widgets.pictures.explain import explain, explanations
from nni_widgets.pictures.explanation import Explanation
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.flow import FlowRow
from nni_widgets.pictures.heatmap import Scale, heatmap, scale_of
from nni_widgets.pictures.render import (
    overlay_png,
    palette_png,
    picture_png,
    scale_bar_png,
    to_indices,
)

__all__ = [
    "Explanation",
    "FlowRow",
    "Panel",
    "Scale",
    "explain",
    "explanations",
    "figure_png",
    "heatmap",
    "overlay_png",
    "palette_png",
    "picture_png",
    "scale_bar_png",
    "scale_of",
    "to_indices",
]
