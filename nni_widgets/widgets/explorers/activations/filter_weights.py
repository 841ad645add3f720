"""The weights of a channel as a picture."""

from __future__ import annotations

from torch import Tensor, nn

from nni_widgets.engine.views import filters
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.parts.maps import BLANK, MapView


def filter_of(model: nn.Module, label: str, channel: int, x: Tensor) -> Tensor | None:
    """The weights of a channel as a picture ``(C, H, W)``; ``None`` where they are none.

    They are one where they have 1 or 3 channels, or one weight for each pixel of x.
    """
    try:
        weights = filters(model, label)
    except ValueError:  # it has none
        return None
    if channel >= len(weights):
        return None
    of_channel = weights[channel]
    if of_channel.numel() == x[0].numel():
        return of_channel.reshape(x.shape[1:])
    is_picture = of_channel.ndim == 3 and len(of_channel) in (1, 3) and of_channel[0].numel() > 1
    return of_channel if is_picture else None


class FilterView(MapView):
    """The weights of a filter: in signed colours, or in those of the picture if it has three."""

    def show(self, made: Explanation, weights: Tensor) -> None:
        """Show the weights ``(C, H, W)`` of a channel."""
        self._weights = weights
        largest = number(float(weights.abs().max()))
        has_colours = len(weights) > 1
        words = f"Grey is 0, full colours are ±{largest}." if has_colours else ""
        self.paint(made, weights.mean(0), scale_of(weights, signed=True), words=words)
        if has_colours:
            self._scale.value, self._ends.value = BLANK, ""

    def _png(self, made: Explanation, values: Tensor, scale: Scale, strength: float) -> bytes:
        if len(self._weights) == 1:
            return super()._png(made, values, scale, strength)
        return picture_png(self._weights, -scale.limit, scale.limit)
