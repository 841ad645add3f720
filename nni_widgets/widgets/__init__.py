"""Explorers and what they are made of: ipywidgets in Python, and five small ES modules.

``explorers`` has one module for each, or a folder. ``bases`` has what they stand on: ``live``, and
on it ``scaffold``, which explains a picture, and ``studio``, which makes one step by step.
``parts`` has what several of them are made of. Imports go from explorers to bases to parts, and no
explorer knows another.
"""

from nni_widgets.widgets.explorers.activations import ActivationsExplorer, explore_activations
from nni_widgets.widgets.explorers.codes import CodesExplorer, explore_codes
from nni_widgets.widgets.explorers.dream import DreamExplorer, explore_dream
from nni_widgets.widgets.explorers.hans import HansExplorer, explore_hans
from nni_widgets.widgets.explorers.layers import LayersExplorer, explore_layers
from nni_widgets.widgets.explorers.look import LookExplorer, explore_look
from nni_widgets.widgets.explorers.method import Explorer, draw, explore
from nni_widgets.widgets.explorers.noise import NoiseExplorer, explore_noise
from nni_widgets.widgets.explorers.occlusion import OcclusionExplorer, explore_occlusion
from nni_widgets.widgets.explorers.path import PathExplorer, explore_path
from nni_widgets.widgets.explorers.prototypes import PrototypesExplorer, explore_prototypes
from nni_widgets.widgets.explorers.quality import QualityExplorer, explore_quality
from nni_widgets.widgets.explorers.references import ReferencesExplorer, explore_references
from nni_widgets.widgets.explorers.rules import RulesExplorer, explore_rules
from nni_widgets.widgets.explorers.sanity import SanityExplorer, explore_sanity
from nni_widgets.widgets.explorers.uncertainty import UncertaintyExplorer, explore_uncertainty
from nni_widgets.widgets.parts.pad import DrawingPad

__all__ = [
    "ActivationsExplorer",
    "CodesExplorer",
    "DrawingPad",
    "DreamExplorer",
    "Explorer",
    "HansExplorer",
    "LayersExplorer",
    "LookExplorer",
    "NoiseExplorer",
    "OcclusionExplorer",
    "PathExplorer",
    "PrototypesExplorer",
    "QualityExplorer",
    "ReferencesExplorer",
    "RulesExplorer",
    "SanityExplorer",
    "UncertaintyExplorer",
    "draw",
    "explore",
    "explore_activations",
    "explore_codes",
    "explore_dream",
    "explore_hans",
    "explore_layers",
    "explore_look",
    "explore_noise",
    "explore_occlusion",
    "explore_path",
    "explore_prototypes",
    "explore_quality",
    "explore_references",
    "explore_rules",
    "explore_sanity",
    "explore_uncertainty",
]
