"""The Activations explorer: a layer's maps, what a channel answers to, what the layer keeps."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods import GradCAM, GradientTimesInput
from nni_widgets.engine.synthesis import Synthesis
from nni_widgets.engine.synthesis.inversion import Inversion
from nni_widgets.engine.targets import Target
from nni_widgets.engine.views import StrongestInputs, activations, filters
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, param, params
from nni_widgets.pictures.explain import Explanation, explain, picture_range
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import palette_png, picture_png
from nni_widgets.session import Outcome, Step
from nni_widgets.widgets.controls import ParameterPanel, Stepper
from nni_widgets.widgets.copied import Names
from nni_widgets.widgets.excitations import Crops, Excitations, places_in_words
from nni_widgets.widgets.files import npz
from nni_widgets.widgets.frame import FramedPicture
from nni_widgets.widgets.last import Last
from nni_widgets.widgets.layer_choice import Layer, LayerPicker, layers_of
from nni_widgets.widgets.maps import BLANK, MapView, PictureView
from nni_widgets.widgets.scaffold import Parts, Scaffold
from nni_widgets.widgets.subject import Subject, subject
from nni_widgets.widgets.tiles import Tiles, scale_of_maps
from nni_widgets.zoo import data

_WHO = "ActivationsExplorer"
_STRONGEST, _IN_ORDER = "strongest first", "in order"
_DIGITS = 1000


class Look(Declared):
    """How a layer is looked at."""

    order: str = param(_STRONGEST, "how the maps are put in order", choices=(_STRONGEST, _IN_ORDER))
    n_channels: int = param(36, "how many maps are shown", low=1, slider=(1, 144))
    what_was_kept: bool = param(False, "whether a picture is sought that the layer takes for this")


Selected = tuple[Look, str, "int | None"]


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


class ActivationsExplorer(Scaffold[Seen]):
    """Shows what a layer makes of a picture, map by map; made by :func:`explore_activations`.

    ``layer`` is the layer, ``channel`` one of its channels, ``None`` for the strongest one;
    ``order``, ``n_channels`` and ``what_was_kept`` are how it is looked at.
    """

    opener = "nni.explore_activations"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-tiles": "the maps of the layer, as tiles",
        "nn-activation-map": "the activation of the chosen channel",
        "nn-class-map": "heatmap: where the maps speak for the explained class",
        "nn-filter": "the filter weights of the chosen channel",
        "nn-kept": "a picture that the layer takes for the one that is explained",
        "nn-crop": "a part of a picture that excites the channel much",
    }

    def __init__(
        self, subject: Subject, images: Tensor | None, images_code: Sequence[str], layer: str
    ) -> None:
        self._first, self._first_layer = Look(), layer
        self._channel: int | None = None
        self._images_code = tuple(images_code)
        self._excitations = None if images is None else Excitations(subject.model, images)
        self._known_layers: dict[tuple[int, ...], tuple[Layer, ...]] = {}
        self._last_maps: Last[Tensor] = Last()
        self._last_kept: Last[Synthesis] = Last()
        self._panel = ParameterPanel(self._first, lambda _: self._ask(), self._refuse)
        self._picker = LayerPicker(layer, self._layer_chosen)
        self._tiles = FramedPicture("maps", "nn-tiles", "the chosen channel", self._tile_chosen)
        self._number = Stepper("channel", 1, self._number_chosen)
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-layer-words")
        self._activation = MapView("activation", "nn-activation-map")
        self._for_class = MapView("for the class", "nn-class-map")
        self._filter = FilterView("filter weights", "nn-filter")
        self._crops = Crops()
        self._kept = PictureView("what the layer kept", "nn-kept")
        self._kept_words = widgets.HTML().add_class("nn-words").add_class("nn-kept-words")
        super().__init__(subject)

    @property
    def layer(self) -> str:
        """The layer that is looked at; to set it asks for its maps."""
        if self._picker.label or self._outcome is None:
            return self._picker.label
        return self._outcome.value.layer.label

    @layer.setter
    def layer(self, label: str) -> None:
        self._picker.label = label
        self._picker.show(label)
        self._take(None)

    @property
    def channel(self) -> int | None:
        """The channel that is looked at; ``None`` for the strongest one."""
        return self._channel

    @channel.setter
    def channel(self, channel: int | None) -> None:
        self._take(channel)

    @property
    def order(self) -> str:
        """How the maps are put in order: ``"strongest first"`` or ``"in order"``."""
        return self._look_of_now.order

    @order.setter
    def order(self, order: str) -> None:
        self._set(order=order)

    @property
    def n_channels(self) -> int:
        """How many maps are shown."""
        return self._look_of_now.n_channels

    @n_channels.setter
    def n_channels(self, count: int) -> None:
        self._set(n_channels=count)

    @property
    def what_was_kept(self) -> bool:
        """Whether a picture is sought that the layer takes for the one that is explained."""
        return self._look_of_now.what_was_kept

    @what_was_kept.setter
    def what_was_kept(self, wanted: bool) -> None:
        self._set(what_was_kept=wanted)

    @property
    def _look_of_now(self) -> Look:
        return cast(Look, self._panel.value)

    def _set(self, **changes: Any) -> None:
        self._panel.show(self._panel.value.replace(**changes))
        self._ask()

    def _parts(self) -> Parts:
        chosen = [self._picker.widget, self._words, self._tiles.view, self._number.widget]
        kept = widgets.VBox([self._kept.view, self._kept_words])
        below = [self._filter.view, self._crops.view]
        last = widgets.HBox(below).add_class("nn-row").add_class("nn-last")
        maps = [self._activation.view, self._for_class.view]
        return Parts(
            maps=[self._activation, self._for_class, self._filter],
            pictures=[widgets.VBox(chosen), *maps, kept, last],
            controls=[self._panel.box],
        )

    def _selected(self) -> Selected:
        return self._look_of_now, self._picker.label, self._channel

    def _work(self, x: Tensor, target: Target, selected: Selected) -> Iterator[Step[Seen]]:
        look, label, channel = selected
        layers = self._layers_of(x)
        layer = named(layers, label)
        maps = self._maps_of(x, layer.label)
        order = strongest_first(maps)
        if channel is not None and channel not in range(len(maps)):
            expected = f"from 0 to {len(maps) - 1} in {layer.label}"
            raise invalid(_WHO, "channel", expected, repr(channel), "Click on a map")
        channel = order[0] if channel is None else channel
        method = GradCAM(layer.label, "nearest") if has_places(layer, x) else GradientTimesInput()
        made = explain(self._model, x, method, target)
        weights = filter_of(self._model, layer.label, channel, x)
        seen = Seen(layers, layer, maps, order, channel, made, weights)
        inversion = inversion_of(layer.label)
        n_parts = self._excitations.n_parts + 1 if self._excitations is not None else 0
        n_frames = inversion.n_steps // inversion.keep_every + 1 if look.what_was_kept else 0
        of = 1 + n_parts + n_frames
        yield Step(seen, 1, of)
        if self._excitations is not None:
            for done in self._excitations.scan(layer.label):
                yield Step(seen, 1 + done, of)
            seen = replace(seen, strongest=self._excitations.strongest(layer.label, channel))
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

    def _explained(self, shown: Seen) -> Sequence[Explanation]:
        return (shown.explanation,)

    def _size_of(self, shown: Seen) -> int:
        kept = shown.kept
        made = 0 if kept is None else kept.images.nbytes * (2 + len(kept.frames))
        return super()._size_of(shown) + shown.maps.nbytes + made

    def _paint(self, shown: Seen) -> None:
        label, channel, made = shown.layer.label, shown.channel, shown.explanation
        self._picker.offer(shown.layers)
        self._picker.show(self._picker.label or label)
        self._words.value = f"<p>{html.escape(in_words(shown))}</p>"
        self._paint_tiles(shown)
        self._activation.entitle(f"activation of {label}[{channel}]")
        strength = strength_in_words(shown)
        scale = scale_of_maps(shown.maps)
        self._activation.paint(made, shown.maps[channel], scale, words=strength)
        self._for_class.entitle(f"{made.name} of {label} for {made.target_names[0]}")
        words = None if isinstance(made.method, GradientTimesInput) else _OF_ALL_MAPS
        self._for_class.paint(made, made.heatmap(), words=words)
        self._paint_filter(shown)
        self._paint_strongest(shown)
        self._paint_kept(shown)

    def _paint_tiles(self, shown: Seen) -> None:
        grid = self._grid(shown)
        self._tiles.entitle(f"{len(grid.channels)} of {len(shown.order)} maps, {self.order}")
        self._tiles.paint(palette_png(grid.picture(shown.maps), scale_of_maps(shown.maps)))
        if self._channel in (None, shown.channel):  # else the user is on the way to another one
            place = grid.place(shown.channel)
            self._tiles.fit(grid.tops, grid.lefts, grid.size, grid.side, place)
            self._number.fit(len(shown.order), shown.channel)

    def _grid(self, shown: Seen) -> Tiles:
        """The maps that are shown, in the chosen order."""
        order = shown.order if self.order == _STRONGEST else tuple(range(len(shown.order)))
        height, width = shown.maps.shape[1:]
        return Tiles.of(order, shown.channel, (height, width), self.n_channels)

    def _paint_filter(self, shown: Seen) -> None:
        self._filter.view.layout.display = None if shown.filter is not None else "none"
        if shown.filter is not None:
            self._filter.entitle(f"filter weights of {shown.layer.label}[{shown.channel}]")
            self._filter.show(shown.explanation, shown.filter)

    def _paint_strongest(self, shown: Seen) -> None:
        if shown.strongest is None or self._excitations is None:
            self._crops.dim()
            return
        images = self._excitations.images
        low, high = picture_range(self._model, images)
        self._crops.paint(shown.strongest, len(images), low, high)

    def _paint_kept(self, shown: Seen) -> None:
        wanted, kept = self.what_was_kept, shown.kept
        for part in (self._kept.view, self._kept_words):
            part.layout.display = None if wanted else "none"
        if kept is None:
            self._kept.view.add_class("nn-stale")
            return
        self._kept.view.remove_class("nn-stale")
        self._kept.entitle(f"what {shown.layer.label} kept")
        self._kept.paint(kept.images[0], shown.explanation.low, shown.explanation.high)
        self._kept_words.value = f"<p>{html.escape(kept_in_words(kept))}</p>"

    def _text_of(self, shown: Seen) -> str:
        lines = [in_words(shown), strength_in_words(shown), super()._text_of(shown)]
        if shown.strongest is not None:
            lines.append(f"strongest input: {places_in_words(shown.strongest)[0]}")
        if shown.kept is not None:
            lines.append(kept_in_words(shown.kept))
        return "\n".join(lines)

    def _pngs(self, shown: Seen) -> dict[str, bytes]:
        scale, channel = scale_of_maps(shown.maps), shown.channel
        told = {"channel": in_words(shown)}
        files = {
            "activations.png": palette_png(self._grid(shown).picture(shown.maps), scale, 4),
            "channel.png": palette_png(shown.maps[channel], scale, 8, told),
        }
        if shown.kept is not None:
            low, high = shown.explanation.low, shown.explanation.high
            files["kept.png"] = picture_png(shown.kept.images[0], low, high, 4)
        return files | super()._pngs(shown)

    def _npzs(self, shown: Seen) -> dict[str, bytes]:
        files = {"layer.npz": npz(activation=shown.maps)}
        if shown.filter is not None:
            files["filter.npz"] = npz(weights=shown.filter)
        found = shown.strongest
        if found is not None:
            files["strongest.npz"] = npz(
                values=found.values, indices=found.indices, places=found.places, boxes=found.boxes
            )
        if shown.kept is not None:
            files["kept.npz"] = npz(images=shown.kept.images, objective=shown.kept.objective)
        return files | super()._npzs(shown)

    def _arguments(self, names: Names) -> list[str]:
        return [*([as_code(self.layer)] if self.layer else []), *self._images_code]

    def _settings(self, names: Names) -> dict[str, str]:
        look = self._look_of_now
        settings = {
            each.name: as_code(getattr(look, each.name))
            for each in params(look)
            if getattr(look, each.name) != each.default
        }
        return settings if self.channel is None else settings | {"channel": as_code(self.channel)}

    def _tell(self, outcome: Outcome[Seen]) -> None:
        shown, made = outcome.value, outcome.value.explanation
        self._scores.show(made)
        share = float(made.probabilities[0].max())
        words = [
            f"predicted {made.predicted[0]} ({share:.2f})",
            f"explained: {made.target_names[0]}",
            strength_in_words(shown),
        ]
        if outcome.finished:
            words.append(f"{1000 * outcome.elapsed:.0f} ms")
        else:
            words.append(f"{self._task(shown)} …")
        self._status.say(" · ".join(words), outcome.generation)

    def _task(self, shown: Seen) -> str:
        looks = shown.strongest is None and self._excitations is not None
        return "strongest inputs" if looks else Inversion.title.lower()

    def _advance(self, outcome: Outcome[Seen]) -> None:
        words = self._task(outcome.value)
        self._status.advance(words, outcome.done, outcome.of, outcome.elapsed)

    def _at_work(self) -> str:
        return "The look at the layer"

    def _dim(self) -> None:
        super()._dim()
        self._crops.dim()
        self._kept.view.add_class("nn-stale")

    def _blank(self) -> None:
        self._tiles.clear()
        self._words.value = self._kept_words.value = ""
        self._crops.clear()
        self._kept.clear()
        for part in (self._filter.view, self._kept.view):
            part.layout.display = "none"

    def _forget(self) -> None:
        self._panel.show(self._first)
        self._picker.label = self._first_layer
        self._picker.show(self._first_layer)
        self._channel = None

    def _layer_chosen(self) -> None:
        self._take(None)

    def _number_chosen(self) -> None:
        self._take(self._number.value)

    def _tile_chosen(self) -> None:
        outcome = self._outcome
        if outcome is None:
            return
        chosen = self._grid(outcome.value).at(self._tiles.place)
        if chosen is None:
            self._look()
        else:
            self._take(chosen)

    def _take(self, channel: int | None) -> None:
        self._channel = channel
        self._ask()


_OF_ALL_MAPS = "All maps together, each as much as it speaks for the class."


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


def strongest_first(maps: Tensor) -> tuple[int, ...]:
    """The channels by their largest activation; of equally strong ones the first comes first."""
    strength = maps.flatten(1).amax(1)
    return tuple(strength.sort(descending=True, stable=True).indices.tolist())


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


def explore_activations(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    layer: str = "",
    images: Tensor | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str, str] = ("model", "x", "images"),
    large: bool = False,
) -> ActivationsExplorer:
    """Explore what a layer makes of a picture: its maps, what each answers to, what is kept.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``layer``: a name of :func:`layers`, the first one
    with weights unless given. ``images``: the data set in which the strongest inputs of a channel
    are looked for, x itself unless given, test digits for a drawing. ``names``: what model, x and
    images are called in copied code; ``target``, ``labels``, ``large`` are those of
    :func:`explore`.

    Raises ``ValueError`` for what is no batch of pictures; what the model cannot do is said in the
    explorer.
    """
    who, of_code = "explore_activations", names[:2]
    about = subject(
        who, model, x, target, strokes=strokes, labels=labels, names=of_code, large=large
    )
    code = []
    if images is not None:
        code = [f"images={names[2]}"]
    elif x is None:
        images, _ = data.digits("test")[:_DIGITS]
        code = [f'images=nni.data.digits("test")[:{_DIGITS}][0]']
    elif len(x) > 1:
        images, code = x, [f"images={names[1]}"]
    if images is not None:
        check_images(who, images, x)
    return ActivationsExplorer(about, images, code, layer)


def check_images(who: str, images: Any, x: Tensor | None) -> None:
    """Raise ``ValueError`` for a data set that has no pictures like x."""
    is_batch = isinstance(images, Tensor) and images.ndim > 1 and len(images) > 0
    if not is_batch or (x is not None and images.shape[1:] != x.shape[1:]):
        expected = "a batch of pictures (N, ...) like x"
        shown = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else repr(images)
        raise invalid(who, "images", expected, shown, "Leave it out to look among x itself")
