"""The rules of LRP as an explorer is given them, and the layer to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from nni_widgets.engine.composites import Preset, as_composite
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.rules import Rule
from nni_widgets.pictures.explain import Explanation, default_method

AnyRules = Rule | Preset | Mapping[str, Rule]


def rules_for(model: nn.Module, rules: AnyRules | None) -> Preset:
    """These rules as a composite, or those by which this model is explained unless told."""
    return as_composite(cast(LRP, default_method(model)).rules if rules is None else rules)


def lowest(made: Explanation) -> str:
    """The first layer with weights, or the first one, seen from the input."""
    layers = made.result.layers[::-1]
    return next((layer.label for layer in layers if layer.has_weights), layers[0].label)
