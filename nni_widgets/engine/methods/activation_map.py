"""What the methods share whose answer is a map over the places of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.channels import Channels
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import Method, Result, final
from nni_widgets.engine.methods.maps import UPSAMPLINGS, places, spatial_layer
from nni_widgets.engine.tape import Op, Tape, record
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import param


@dataclass(frozen=True, eq=False, kw_only=True)
class MapResult(Result):
    """A result with the map as its layer has it: ``raw``, one number per place, ``(N, h, w)``."""

    raw: Tensor
    layer: str


class ActivationMap(Method):
    """Base: a map over the places of a layer; each pixel gets its number, in all channels."""

    channels: ClassVar[Channels] = "max"

    def raw(self, model: nn.Module, x: Tensor, target: Target = None) -> Tensor:
        """The map before upsampling, ``(N, h, w)``. Cost and refusals: as a call.

        What a call would give is in ``values``, and this in ``raw``, of the result of ``steps``.
        """
        last = final(self.steps(model, x, target))
        return cast(MapResult, last).raw


class LayerMap(ActivationMap):
    """Base: a map over the places of a layer that can be named."""

    signed: ClassVar[bool] = False
    layer: str = param("", "a name of nni.layers(model, x); empty: the last that has places")
    upsampling: str = param("bilinear", "how the map gets the size of x", choices=UPSAMPLINGS)

    def validate(self) -> None:
        if not isinstance(self.layer, str):
            who, action = type(self).__name__, "See nni.layers(model, x)"
            raise invalid(who, "layer", "the name of a layer", repr(self.layer), action)

    def _tape(self, model: nn.Module, x: Tensor) -> tuple[Tape, Op]:
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        return tape, spatial_layer(tape, self.layer, who)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        _, op = self._tape(model, x)
        return examined(type(self).__name__, op)


def over_pixels(spread: Tensor, x: Tensor) -> Tensor:
    """A map ``(N, H, W)`` shaped like x: the same number for all channels of a pixel."""
    return spread.unsqueeze(1).expand_as(x).contiguous()


def examined(who: str, op: Op) -> list[Finding]:
    """What there is to say of a layer's maps."""
    if places(op) > 1:
        return []
    text = (
        f"{who}: the maps of {op.label!r} have one place, so that every pixel gets the same "
        "number. Choose a layer below."
    )
    return [Finding("warning", text)]
