"""The Layers explorer: what each layer of a network makes of a picture, channel by channel."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.anatomy import Part, anatomy
from nni_widgets.engine.composites import PRESETS, EpsilonGammaBox, Preset, as_composite
from nni_widgets.engine.methods import LRP, DeconvNet, GuidedBackprop
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, param, params
from nni_widgets.pictures.explain import Explanation, explain
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import palette_png
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.layers.network import Network
from nni_widgets.widgets.parts.channel_choice import ChannelPicker
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.lrp_rules import AnyRules, lowest, rules_for
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.subject import Subject, subject
from nni_widgets.widgets.parts.tiles import Tiles, scale_of_maps, strongest_first

_RECONSTRUCTIONS = (DeconvNet, GuidedBackprop)


class Look(Declared):
    """By which methods a layer is looked at."""

    rules: Preset = param(EpsilonGammaBox(), "the rules of the relevance", options=lambda: PRESETS)
    reconstruction: DeconvNet | GuidedBackprop = param(
        DeconvNet(), "what brings a channel back to the pixels", options=lambda: _RECONSTRUCTIONS
    )
    n_channels: int = param(
        16, "how many channels are shown, the strongest first", low=1, slider=(1, 64)
    )

    def validate(self) -> None:
        object.__setattr__(self, "rules", as_composite(self.rules))
        kind = type(self.reconstruction)
        if kind not in _RECONSTRUCTIONS or self.reconstruction.layer:
            expected, given = "DeconvNet() or GuidedBackprop()", repr(self.reconstruction)
            action = "Leave layer and channel out: they are chosen in the explorer"
            raise invalid("LayersExplorer", "reconstruction", expected, given, action)


@dataclass(frozen=True, eq=False)
class Seen:
    """The network, and what is seen of one channel of one layer of it.

    ``order`` are the channels of the layer, the strongest first.
    """

    parts: tuple[Part, ...]
    part: Part
    order: tuple[int, ...]
    channel: int
    relevance: Explanation
    through: Explanation
    reconstruction: Explanation

    @property
    def maps(self) -> Tensor:
        """The activation of each channel of the layer: ``(C, H, W)``."""
        return maps_of(self.part)


class LayersExplorer(Scaffold[Seen]):
    """Shows a network and what its layers make of a picture; made by :func:`explore_layers`.

    ``layer`` is the label of the operation that is looked at, ``channel`` one of its channels,
    ``None`` for the one with the largest activation; ``rules``, ``reconstruction`` and
    ``n_channels`` are how it is looked at.
    """

    opener = "nni.explore_layers"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-tiles": "the activations of the layer's strongest channels, as tiles",
        "nn-activation-map": "the activation of the chosen channel",
        "nn-layer-map": "heatmap: the relevance at the chosen layer, all channels",
        "nn-through-map": "heatmap: the relevance of the pixels through the chosen channel",
        "nn-pattern-map": "heatmap: the pattern that the chosen channel answers to",
    }

    def __init__(self, subject: Subject, look: Look, layer: str) -> None:
        self._first, self._first_layer = look, layer
        self._layer, self._channel = layer, cast("int | None", None)
        self._last_parts: Last[tuple[Part, ...]] = Last(subject.model)
        self._last_relevance: Last[Explanation] = Last(subject.model)
        self._panel = ParameterPanel(look, self._changed, self._refuse)
        self._network = Network(self._layer_chosen)
        self._channels = ChannelPicker("channels", self._take, self._look)
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-layer-words")
        self._activation = MapView("activation", "nn-activation-map")
        self._relevance = MapView("relevance at the layer", "nn-layer-map")
        self._through = MapView("relevance through the channel", "nn-through-map")
        self._pattern = MapView("reconstruction", "nn-pattern-map")
        super().__init__(subject)

    @property
    def layer(self) -> str:
        """The operation that is looked at. To set it waits for the picture."""
        return self._layer or self._network.label

    @layer.setter
    def layer(self, label: str) -> None:
        self.drain()
        if self._outcome is None:  # then no network is drawn yet: the work says if it is not there
            self._layer = label
            self._take(None)
        else:
            self._network.label = label

    @property
    def channel(self) -> int | None:
        """The channel that is looked at; ``None`` for the strongest one."""
        return self._channel

    @channel.setter
    def channel(self, channel: int | None) -> None:
        self.drain()
        if channel is not None:
            self._channels.choose(channel)
        self._take(None if channel is None else int(channel))

    @property
    def rules(self) -> Preset:
        """The rules of the relevance."""
        return cast(Look, self._panel.value).rules

    @rules.setter
    def rules(self, rules: AnyRules) -> None:
        self._set(rules=rules)

    @property
    def reconstruction(self) -> DeconvNet | GuidedBackprop:
        """What brings a channel back to the pixels."""
        return cast(Look, self._panel.value).reconstruction

    @reconstruction.setter
    def reconstruction(self, method: DeconvNet | GuidedBackprop) -> None:
        self._set(reconstruction=method)

    @property
    def n_channels(self) -> int:
        """How many channels are shown as tiles."""
        return cast(Look, self._panel.value).n_channels

    @n_channels.setter
    def n_channels(self, count: int) -> None:
        self._set(n_channels=count)

    def _set(self, **changes: Any) -> None:
        self._panel.show(self._panel.value.replace(**changes))
        self._ask()

    def _parts(self) -> Parts:
        maps = [self._activation, self._relevance, self._through, self._pattern]
        tiles = widgets.VBox([self._words, *self._channels.widgets])
        row = widgets.HBox([each.view for each in maps]).add_class("nn-row").add_class("nn-last")
        return Parts(
            maps=maps,
            pictures=[self._network.widget, tiles, row],
            controls=[self._panel.box],
        )

    def _selected(self) -> tuple[Look, str, int | None]:
        return cast(Look, self._panel.value), self._layer, self._channel

    def _work(
        self, x: Tensor, target: Target, selected: tuple[Look, str, int | None]
    ) -> Iterator[Step[Seen]]:
        look, label, channel = selected
        parts = self._parts_of(x)
        relevance = self._relevance_of(x, target, look.rules)
        part = part_of(parts, label or lowest(relevance))
        order = strongest_first(maps_of(part))
        channel = order[0] if channel is None else channel
        through = explain(self._model, x, LRP(look.rules, (part.label, channel)), target)
        pattern = look.reconstruction.replace(layer=part.label, channel=channel)
        reconstruction = explain(self._model, x, pattern)
        yield Step(Seen(parts, part, order, channel, relevance, through, reconstruction))

    def _parts_of(self, x: Tensor) -> tuple[Part, ...]:
        parts = self._last_parts.get((), x)
        if parts is None:
            parts = anatomy(self._model, x)
            self._last_parts.keep((), x, parts)
        return parts

    def _relevance_of(self, x: Tensor, target: Target, rules: Preset) -> Explanation:
        relevance = self._last_relevance.get((rules, target), x)
        if relevance is None:
            relevance = explain(self._model, x, LRP(rules), target)
            self._last_relevance.keep((rules, target), x, relevance)
        return relevance

    def _explained(self, shown: Seen) -> Sequence[Explanation]:
        return shown.relevance.at(shown.part.label), shown.reconstruction, shown.through

    def _size_of(self, shown: Seen) -> int:
        return super()._size_of(shown) + sum(part.activation.nbytes for part in shown.parts)

    def _paint(self, shown: Seen) -> None:
        label, channel = shown.part.label, shown.channel
        self._network.show(shown.parts, self._layer or label)
        self._words.value = f"<p>{html.escape(in_words(shown))}</p>"
        self._paint_tiles(shown)
        values = shown.maps[channel]
        self._activation.entitle(f"activation of {label}[{channel}]")
        told = f"Its largest activation is {number(float(values.max()))}."
        self._activation.put(values, scale_of_maps(shown.maps), told)
        at_layer = shown.relevance.layer_map(label)
        self._relevance.entitle(f"relevance at {label}")
        total = number(float(at_layer.sum()))
        told = f"All channels of {label} together have R = {total}."
        self._relevance.paint(shown.relevance, at_layer, words=told)
        self._through.entitle(f"relevance through {label}[{channel}]")
        self._through.paint(shown.through, shown.through.heatmap())
        made = shown.reconstruction
        self._pattern.entitle(f"{made.name} of {label}[{channel}]")
        self._pattern.paint(made, made.heatmap())

    def _paint_tiles(self, shown: Seen) -> None:
        grid = _tiles_of(shown, self.n_channels)
        title = f"{len(grid.channels)} of {len(shown.order)} channels, strongest first"
        on_the_way = self._channel not in (None, shown.channel)  # the user is, to another one
        marked = None if on_the_way else shown.channel
        self._channels.paint(title, grid, shown.maps, marked)

    def _text_of(self, shown: Seen) -> str:
        values = shown.maps[shown.channel]
        told = f"{in_words(shown)} Activation up to {number(float(values.max()))}."
        return f"{told}\n{super()._text_of(shown)}"

    def _pngs(self, shown: Seen) -> dict[str, bytes]:
        grid = _tiles_of(shown, self.n_channels).picture(shown.maps)
        tiles = palette_png(grid, scale_of_maps(shown.maps), magnify=4)
        return {**super()._pngs(shown), "activations.png": tiles}

    def _npzs(self, shown: Seen) -> dict[str, bytes]:
        label = shown.part.label
        told = next(layer for layer in shown.relevance.result.layers if layer.label == label)
        layer = npz(activation=shown.part.activation, relevance=told.relevance)
        return {**super()._npzs(shown), "layer.npz": layer}

    def _arguments(self, names: Names) -> list[str]:
        usual = rules_for(self._model, None)
        rules = [] if self.rules == usual else [f"rules={names.method(self.rules)}"]
        return [as_code(self.layer), *rules]

    def _settings(self, names: Names) -> dict[str, str]:
        usual = {declared.name: declared.default for declared in params(Look)}
        settings = {
            name: as_code(getattr(self, name))
            for name in ("reconstruction", "n_channels")
            if getattr(self, name) != usual[name]
        }
        return settings if self.channel is None else settings | {"channel": as_code(self.channel)}

    def _at_work(self) -> str:
        return "The look into the network"

    def _blank(self) -> None:
        self._channels.clear()
        self._words.value = ""

    def _forget(self) -> None:
        self._panel.reset(self._first)
        self._layer, self._channel = self._first_layer, None

    def _changed(self, _: Declared) -> None:
        self._ask()

    def _layer_chosen(self) -> None:
        self._layer = self._network.label
        self._take(None)

    def _take(self, channel: int | None) -> None:
        self._channel = channel
        self._ask()


def _tiles_of(shown: Seen, count: int) -> Tiles:
    height, width = shown.maps.shape[1:]
    return Tiles.of(shown.order, shown.channel, (height, width), count)


def part_of(parts: Sequence[Part], label: str) -> Part:
    """The part with this label. Raises ``ValueError`` if there is none."""
    labels = [part.label for part in parts]
    if label not in labels:
        expected = f"one of {', '.join(labels)}"
        raise invalid("LayersExplorer", "layer", expected, repr(label), "Correct its name")
    return parts[labels.index(label)]


def maps_of(part: Part) -> Tensor:
    """The activation of each channel: ``(C, H, W)``; H, or H and W, are 1 where there are none.

    Raises ``ValueError`` for an operation whose channels are no pictures.
    """
    if not 1 <= len(part.shape) <= 3:
        expected, given = "of shape (C,), (C, L) or (C, H, W)", f"{part.shape} in {part.label!r}"
        raise invalid("LayersExplorer", "an activation", expected, given, "Choose another layer")
    channels, *places = part.shape
    return part.activation[0].reshape(channels, *[1] * (2 - len(places)), *places)


def in_words(shown: Seen) -> str:
    """What the chosen layer is, and which of its channels is looked at."""
    part, count = shown.part, len(shown.order)
    shape = " × ".join(map(str, part.shape))
    rank = shown.order.index(shown.channel) + 1
    return (
        f"{part.label}: {part.kind} of {' and '.join(part.inputs)}, makes {shape}. "
        f"Channel {shown.channel} of {count}, number {rank} by strength."
    )


def explore_layers(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    layer: str = "",
    target: Target = None,
    *,
    rules: AnyRules | None = None,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> LayersExplorer:
    """Explore a network layer by layer: activations, relevance, and what a channel answers to.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``layer``: the one to begin with, a name of
    :func:`layers`, the first one with weights unless given; ``rules``: of the relevance, as LRP
    takes them; ``target``, ``labels``, ``names`` and ``large`` are those of :func:`explore`.
    """
    about = subject(
        "explore_layers", model, x, target, strokes=strokes, labels=labels, names=names, large=large
    )
    return LayersExplorer(about, Look(rules=rules_for(about.model, rules)), layer)
