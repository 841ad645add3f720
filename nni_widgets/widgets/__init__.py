"""Explorers and what they are made of: ipywidgets in Python, and three small ES modules.

``explorer`` joins the parts: ``inputs`` (what is explained), ``panes`` (a method and its map),
``controls`` (the only place that knows a slider), ``rule_table``, ``charts``, and ``page`` and
``labels`` (what only the browser can do). ``pad`` is the pen.
"""

from nni_widgets.widgets.explorer import Explorer
from nni_widgets.widgets.opening import draw, explore
from nni_widgets.widgets.pad import DrawingPad

__all__ = ["DrawingPad", "Explorer", "draw", "explore"]
