"""What is seen of a layer and of one of its channels, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nni_widgets.engine.synthesis import Synthesis
from nni_widgets.engine.views import StrongestInputs
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.parts.layer_choice import Layer


@dataclass(frozen=True, eq=False)
class Seen:
    """What a layer makes of the picture, and what is known of one of its channels.

    ``order`` are the channels, the strongest first. ``filter`` are the weights of the channel where
    they are a picture, ``strongest`` its strongest inputs, ``kept`` what was found in place of the
    picture; ``None`` as long as it is not there.
    """

    layers: tuple[Layer, ...]
    layer: Layer
    maps: Tensor
    order: tuple[int, ...]
    channel: int
    explanation: Explanation
    filter: Tensor | None
    strongest: StrongestInputs | None = None
    kept: Synthesis | None = None


def in_words(shown: Seen) -> str:
    """What the layer is, and which of its channels is looked at."""
    layer, count = shown.layer, len(shown.order)
    rank = shown.order.index(shown.channel) + 1
    shape = " × ".join(map(str, layer.shape))
    return (
        f"{layer.label}: {layer.kind}, makes {shape}. "
        f"Channel {shown.channel} of {count}, number {rank} by strength."
    )


def strength_in_words(shown: Seen) -> str:
    """How strong the chosen channel is at most, and at how many places it is on."""
    values = shown.maps[shown.channel]
    name, on = f"{shown.layer.label}[{shown.channel}]", int((values > 0).sum())
    return f"{name} is up to {number(float(values.max()))}, above 0 at {on} of {values.numel()}"


def kept_in_words(kept: Synthesis) -> str:
    """How far the picture that was found is from the one that is explained, for the layer."""
    (left,) = (found for term, found in kept.terms.items() if term.startswith("Match"))
    distance = number(float(left[-1, 0]), largest=1.0)
    return f"distance left: {distance} of 1, step {kept.step} of {kept.of}"
