"""One class activation method in an explorer: its controls, and its map over the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import ipywidgets as widgets
from torch import Tensor

from nni_widgets.engine.methods import CAM, METHODS
from nni_widgets.engine.methods.activation_map import ActivationMap, LayerMap, MapResult
from nni_widgets.params import params
from nni_widgets.pictures.blend import blended_png
from nni_widgets.pictures.boxes import Box, in_words
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.parts.controls import OnError
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet

FAMILY = tuple(kind for kind in METHODS if issubclass(kind, ActivationMap))
_INFERRED = "the last with maps"
_STYLE = {"description_width": "84px"}


class OverlayView(MapView):
    """A map mixed with its picture, and a box on both."""

    def __init__(self, name: str) -> None:
        super().__init__("its map over the picture", name)
        self._box: Box | None = None

    def show(self, made: Explanation, box: Box | None, strength: float) -> None:
        """Show the picture at strength 0, the map at 1, and say where its peak is."""
        self._box = box
        values = made.heatmap()
        self.entitle(f"{made.name} at {map_of(made).layer}")
        self.paint(made, values, strength=strength, words=in_words(values, box))

    def _png(self, made: Explanation, values: Tensor, scale: Scale, strength: float) -> bytes:
        if made.x.ndim != 4:
            return super()._png(made, values, scale, 0)
        return overlay_of(made, self._box, strength)


class LookPane:
    """The picker of a method of the family and of its layer, its map upsampled, and as it is.

    ``on_change()`` is called when the user has changed ``method``. Layer and upsampling stay when
    another method is picked. ``maps`` are the views of its maps, in their order.
    """

    def __init__(
        self,
        name: str,
        method: ActivationMap,
        on_change: Callable[[], None],
        on_error: OnError,
    ) -> None:
        self._on_change, self._quiet = on_change, Quiet()
        self._overlay = OverlayView(f"nn-{name}-map")
        self._raw = MapView("the map as it is", f"nn-{name}-raw")
        self.maps: tuple[MapView, ...] = (self._overlay, self._raw)
        self.view = widgets.HBox([each.view for each in self.maps]).add_class("nn-row")
        kinds = [(kind.title, kind) for kind in FAMILY]
        self._picker = widgets.Dropdown(description="method", options=kinds, style=_STYLE)
        self._layer = widgets.Dropdown(description="layer", style=_STYLE)
        self._panel = ParameterPanel(method, self._set, on_error)
        self._picker.add_class("nn-method")
        self._layer.add_class("nn-layer")
        self.controls = widgets.VBox([self._picker, self._layer, self._panel.box])
        self.controls.add_class("nn-controls")
        self._known: tuple[str, ...] = ()
        self.set(method)
        for choice in (self._picker, self._layer):
            choice.observe(self._chosen, "value")

    @property
    def method(self) -> ActivationMap:
        """The method with its layer and its upsampling."""
        return cast(ActivationMap, self._panel.value)

    def set(self, method: ActivationMap) -> None:
        """Select a method without calling back."""
        with self._quiet:
            self._panel.show(method)
            self._picker.value = type(method)
            self._layer.disabled = not isinstance(method, LayerMap)
            self._offer(getattr(method, "layer", self._layer.value or ""))

    def reset(self, method: ActivationMap) -> None:
        """The same, and forget the layer that was chosen for another method."""
        with self._quiet:
            self._offer("")
        self.set(method)

    def offer(self, layers: Sequence[str]) -> None:
        """Let the user choose among these layers."""
        if self._known != tuple(layers):
            self._known = tuple(layers)
            with self._quiet:
                self._offer(str(self._layer.value))

    def show(self, made: Explanation, box: Box | None, strength: float) -> None:
        """Show what the method found on the picture, and the map that its layer has."""
        result = map_of(made)
        raw = result.raw[0] if result.raw.ndim > 2 else result.raw
        self._overlay.show(made, box, strength)
        self._raw.entitle(f"the map of {result.layer}: {' × '.join(map(str, raw.shape))}")
        self._raw.paint(made, raw, _scale_of(made, raw), words=_places_in_words(raw, made))

    def dim(self) -> None:
        """Mark the pictures as those of before."""
        for each in self.maps:
            each.dim()

    def _offer(self, layer: str) -> None:
        """Have all known layers in the picker, the last one first, and stand at this one."""
        others = dict.fromkeys((*reversed(self._known), *filter(None, [layer])))
        options = [(_INFERRED, ""), *((name, name) for name in others)]
        if tuple(options) != tuple(self._layer.options):
            self._layer.options = options
        self._layer.value = layer

    def _chosen(self, _: dict[str, Any]) -> None:
        if self._quiet:
            return
        method, kind = self.method, self._picker.value
        chosen = {each.name: getattr(method, each.name) for each in params(method)}
        chosen["layer"] = self._layer.value
        self.set(kind(**{each.name: chosen[each.name] for each in params(kind)}))
        self._on_change()

    def _set(self, _: Any) -> None:
        self._on_change()


def map_of(made: Explanation) -> MapResult:
    """What the method found, with the map as its layer has it."""
    return cast(MapResult, made.result)


def overlay_of(made: Explanation, box: Box | None, strength: float) -> bytes:
    """The picture at strength 0, the map at 1, with a box on both."""
    values = made.heatmap()
    scale = made.scale_for(values)
    return blended_png(made.x[0], values, scale, strength, made.low, made.high, box)


def _scale_of(made: Explanation, raw: Tensor) -> Scale:
    """The scale of the map of a layer: only that of CAM has two signs."""
    return scale_of(raw, signed=isinstance(made.method, CAM))


def _places_in_words(raw: Tensor, made: Explanation) -> str:
    """How much of the picture each place of the map stands for."""
    sides = [wide / small for wide, small in zip(made.heatmap().shape, raw.shape, strict=True)]
    pixels = " × ".join(number(side, digits=2).removesuffix(".0") for side in sides)
    return f"Each place stands for about {pixels} pixels."
