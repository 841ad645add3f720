"""The work of the Activations explorer, as steps: what is known already is not computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from nni_widgets.engine.methods import GradCAM, GradientTimesInput
from nni_widgets.engine.synthesis import Synthesis
from nni_widgets.engine.synthesis.inversion import Inversion
from nni_widgets.engine.targets import Target
from nni_widgets.engine.views import activations
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole
from nni_widgets.pictures.explain import explain
from nni_widgets.session import Step
from nni_widgets.widgets.explorers.activations.excitations import Excitations
from nni_widgets.widgets.explorers.activations.filter_weights import filter_of
from nni_widgets.widgets.explorers.activations.seen import Seen
from nni_widgets.widgets.explorers.activations.selection import Selected
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.layer_choice import Layer, layers_of
from nni_widgets.widgets.parts.tiles import strongest_first

_WHO = "ActivationsExplorer"


class Work:
    """What is asked of a layer of a model, and the results of before.

    ``excitations`` are those in a data set, if there is one. Only the thread that does the work
    uses it.
    """

    def __init__(self, model: nn.Module, excitations: Excitations | None) -> None:
        self._model, self.excitations = model, excitations
        self._known_layers: dict[tuple[int, ...], tuple[Layer, ...]] = {}
        self._last_maps: Last[Tensor] = Last(model)
        self._last_kept: Last[Synthesis] = Last(model)

    def steps(self, x: Tensor, target: Target, selected: Selected) -> Iterator[Step[Seen]]:
        """The layer of a picture, then the strongest inputs, then what was kept, as it is found."""
        look, label, channel = selected
        layers = self._layers_of(x)
        layer = named(layers, label)
        maps = self._maps_of(x, layer.label)
        order = strongest_first(maps)
        if channel is not None and not (is_whole(channel) and channel in range(len(maps))):
            expected = f"from 0 to {len(maps) - 1} in {layer.label}"
            raise invalid(_WHO, "channel", expected, repr(channel), "Click on a map")
        channel = order[0] if channel is None else channel
        method = GradCAM(layer.label, "nearest") if has_places(layer, x) else GradientTimesInput()
        made = explain(self._model, x, method, target)
        weights = filter_of(self._model, layer.label, channel, x)
        seen = Seen(layers, layer, maps, order, channel, made, weights)
        inversion = inversion_of(layer.label)
        n_parts = self.excitations.n_parts + 1 if self.excitations is not None else 0
        n_frames = inversion.n_steps // inversion.keep_every + 1 if look.what_was_kept else 0
        of = 1 + n_parts + n_frames
        yield Step(seen, 1, of)
        if self.excitations is not None:
            for done in self.excitations.scan(layer.label):
                yield Step(seen, 1 + done, of)
            seen = replace(seen, strongest=self.excitations.strongest(layer.label, channel))
            yield Step(seen, 1 + n_parts, of)
        if look.what_was_kept:
            for kept in self._kept_by(inversion, x):
                done = 1 + n_parts + kept.step // inversion.keep_every + 1
                yield Step(replace(seen, kept=kept), done, of)

    def _layers_of(self, x: Tensor) -> tuple[Layer, ...]:
        shape = tuple(x.shape)
        if shape not in self._known_layers:
            self._known_layers[shape] = layers_of(self._model, x)
        return self._known_layers[shape]

    def _maps_of(self, x: Tensor, label: str) -> Tensor:
        """The maps of a layer, ``(C, H, W)``; sides that it has not are 1."""
        maps = self._last_maps.get(label, x)
        if maps is None:
            made = activations(self._model, x, label)[0]
            maps = made.reshape(len(made), *[1] * (3 - made.ndim), *made.shape[1:])
            self._last_maps.keep(label, x, maps)
        return maps

    def _kept_by(self, inversion: Inversion, x: Tensor) -> Iterator[Synthesis]:
        """Better and better pictures; what is there of the same layer is gone on with."""
        known = self._last_kept.get(inversion, x)
        if known is not None:
            yield known
        if known is None or known.step < known.of:
            model = self._model
            steps = inversion.steps(model, x)
            if known is not None:
                steps = inversion.resume_steps(model, known)
            for made in steps:
                self._last_kept.keep(inversion, x, made)
                yield made


def named(layers: Sequence[Layer], label: str) -> Layer:
    """The layer of this name, the first one without a name. Raises ``ValueError``."""
    labels = [layer.label for layer in layers]
    if not labels:
        expected, action = "one with layers of channels", "Give a model with convolutions"
        raise invalid(_WHO, "the model", expected, "one without", action)
    if label and label not in labels:
        expected = f"one of {', '.join(labels)}"
        raise invalid(_WHO, "layer", expected, repr(label), "See nni.layers(model, x)")
    return layers[labels.index(label) if label else 0]


def has_places(layer: Layer, x: Tensor) -> bool:
    """Whether a layer has maps like those of x, of more than one place."""
    return len(layer.shape) == x.ndim - 1 > 1 and layer.n_places > 1


def inversion_of(label: str) -> Inversion:
    """How a picture is sought that a layer takes for the one that is explained."""
    return Inversion(label)
