"""The weights of a channel as a picture."""

from __future__ import annotations

from torch import Tensor, nn

from nni_widgets.engine.views import filters
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.parts.maps import BLANK_BAR, MapView


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

    def show(self, weights: Tensor) -> None:
        """Show the weights of a channel, shaped like a picture, or like a signal or a vector."""
        together = weights.mean(0) if weights.ndim > 1 else weights
        values = together.reshape(-1, together.shape[-1])
        if weights.ndim < 3 or len(weights) != 3:
            self.put(values, scale_of(values, signed=True), "")
            return
        limit = scale_of(weights, signed=True).limit
        words = f"Grey is 0, full colours are ±{number(float(weights.abs().max()))}."
        self.put(values, Scale(limit), words, picture_png(weights, -limit, limit))
        self._scale.value, self._ends.value = BLANK_BAR, ""
