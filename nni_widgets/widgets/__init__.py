"""Explorers and what they are made of: ipywidgets in Python, and three small ES modules.

``scaffold`` is what all explorers have in common, ``explorer`` (one method or two), ``noise`` and
``path`` are explorers. They join ``inputs`` (what is explained), ``maps`` and ``panes`` (a heatmap,
and the method that makes it), ``controls`` (the only place that knows a slider), ``rule_table``,
``charts``, and ``page`` and ``labels`` (what only the browser can do). ``pad`` is the pen.
"""

from nni_widgets.widgets.explorer import Explorer
from nni_widgets.widgets.noise import NoiseExplorer, explore_noise
from nni_widgets.widgets.opening import draw, explore
from nni_widgets.widgets.pad import DrawingPad
from nni_widgets.widgets.path import PathExplorer, explore_path

__all__ = [
    "DrawingPad",
    "Explorer",
    "NoiseExplorer",
    "PathExplorer",
    "draw",
    "explore",
    "explore_noise",
    "explore_path",
]
