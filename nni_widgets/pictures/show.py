"""One function that shows what was made: images, or an attribution with its uncertainty."""

from __future__ import annotations

from typing import overload

from torch import nn

from nni_widgets.engine.synthesis import Synthesis
from nni_widgets.engine.uncertainty import UncertainAttribution
from nni_widgets.errors import invalid
from nni_widgets.pictures.prototype import Shown, shown
from nni_widgets.pictures.uncertain import ShownUncertain, shown_uncertain


@overload
def show(found: Synthesis, model: nn.Module) -> Shown: ...
@overload
def show(found: UncertainAttribution, model: nn.Module) -> ShownUncertain: ...


def show(found: Synthesis | UncertainAttribution, model: nn.Module) -> Shown | ShownUncertain:
    """Made images with the model's answers to them, or the maps of an uncertain attribution.

    If the model has the attributes ``classes``, ``low`` and ``high``, they are used, as by
    :func:`explain`. Raises ``ValueError`` for anything else.
    """
    if isinstance(found, Synthesis):
        return shown(found, model)
    if isinstance(found, UncertainAttribution):
        return shown_uncertain(found, model)
    expected, given = "a Synthesis or an UncertainAttribution", type(found).__name__
    action = "Show what nni.ActivationMaximization(...)(model) or nni.uncertain(...) gives"
    raise invalid("show", "what is shown", expected, given, action)
