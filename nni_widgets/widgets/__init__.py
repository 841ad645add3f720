"""Explorers and what they are made of: ipywidgets in Python, and four small ES modules.

``live`` is what all explorers have in common; ``scaffold`` on it explains a picture, ``studio``
makes one step by step. On ``scaffold`` stand ``explorer`` (one method or two), ``rules``,
``layers``, ``covering``, ``path``, ``noise``, ``references``, ``look`` and ``activations``; on
``studio`` stand ``prototypes``, ``codes`` and ``dream``. They join ``inputs`` (what is explained),
``maps`` and ``panes`` (a heatmap, and the method that makes it), ``recipes`` (what is made, and
how), ``controls`` (the only place that knows a slider), ``rule_table``, ``network``, ``charts``,
and ``page`` and ``labels`` (what only the browser can do). ``pad`` is the pen, ``frame`` is dragged
over a picture.
"""

from nni_widgets.widgets.activations import ActivationsExplorer, explore_activations
from nni_widgets.widgets.codes import CodesExplorer, explore_codes
from nni_widgets.widgets.covering import OcclusionExplorer, explore_occlusion
from nni_widgets.widgets.dream import DreamExplorer, explore_dream
from nni_widgets.widgets.explorer import Explorer
from nni_widgets.widgets.layers import LayersExplorer, explore_layers
from nni_widgets.widgets.look import LookExplorer, explore_look
from nni_widgets.widgets.noise import NoiseExplorer, explore_noise
from nni_widgets.widgets.opening import draw, explore
from nni_widgets.widgets.pad import DrawingPad
from nni_widgets.widgets.path import PathExplorer, explore_path
from nni_widgets.widgets.prototypes import PrototypesExplorer, explore_prototypes
from nni_widgets.widgets.references import ReferencesExplorer, explore_references
from nni_widgets.widgets.rules import RulesExplorer, explore_rules

__all__ = [
    "ActivationsExplorer",
    "CodesExplorer",
    "DrawingPad",
    "DreamExplorer",
    "Explorer",
    "LayersExplorer",
    "LookExplorer",
    "NoiseExplorer",
    "OcclusionExplorer",
    "PathExplorer",
    "PrototypesExplorer",
    "ReferencesExplorer",
    "RulesExplorer",
    "draw",
    "explore",
    "explore_activations",
    "explore_codes",
    "explore_dream",
    "explore_layers",
    "explore_look",
    "explore_noise",
    "explore_occlusion",
    "explore_path",
    "explore_prototypes",
    "explore_references",
    "explore_rules",
]
