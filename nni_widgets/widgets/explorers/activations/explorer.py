"""The Activations explorer: a layer's maps, what a channel answers to, what the layer keeps."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods import GradientTimesInput
from nni_widgets.engine.synthesis.inversion import Inversion
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code, is_whole, params
from nni_widgets.pictures.explain import Explanation, picture_range
from nni_widgets.pictures.render import palette_png, picture_png
from nni_widgets.session import Outcome, Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.activations.excitations import (
    Crops,
    Excitations,
    places_in_words,
)
from nni_widgets.widgets.explorers.activations.filter_weights import FilterView
from nni_widgets.widgets.explorers.activations.seen import (
    Seen,
    in_words,
    kept_in_words,
    strength_in_words,
)
from nni_widgets.widgets.explorers.activations.selection import STRONGEST, Look, Selected
from nni_widgets.widgets.explorers.activations.work import Work
from nni_widgets.widgets.parts.channel_choice import ChannelPicker
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.layer_choice import LayerPicker
from nni_widgets.widgets.parts.maps import MapView, PictureView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.subject import Subject, subject
from nni_widgets.widgets.parts.tiles import Tiles, scale_of_maps
from nni_widgets.widgets.parts.weights import moved, weight_of
from nni_widgets.zoo import data

_DIGITS = 1000


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
        self._looking = Work(subject.model, self._excitations)
        self._panel = ParameterPanel(self._first, lambda _: self._ask(), self._refuse)
        self._picker = LayerPicker(layer, self._layer_chosen)
        self._channels = ChannelPicker("maps", self._take, self._look)
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
        self._take(int(channel) if is_whole(channel) else channel)

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
        chosen = [self._picker.widget, self._words, *self._channels.widgets]
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
        return self._looking.steps(x, target, selected)

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
        scale = scale_of_maps(shown.maps)
        self._activation.put(shown.maps[channel], scale, strength_in_words(shown))
        self._for_class.entitle(f"{made.name} of {label} for {made.target_names[0]}")
        words = None if isinstance(made.method, GradientTimesInput) else _OF_ALL_MAPS
        self._for_class.paint(made, made.heatmap(), words=words)
        self._paint_filter(shown)
        self._paint_strongest(shown)
        self._paint_kept(shown)

    def _paint_tiles(self, shown: Seen) -> None:
        grid = self._grid(shown)
        title = f"{len(grid.channels)} of {len(shown.order)} maps, {self.order}"
        on_the_way = self._channel not in (None, shown.channel)  # the user is, to another one
        marked = None if on_the_way else shown.channel
        self._channels.paint(title, grid, shown.maps, marked)

    def _grid(self, shown: Seen) -> Tiles:
        """The maps that are shown, in the chosen order."""
        order = shown.order if self.order == STRONGEST else tuple(range(len(shown.order)))
        height, width = shown.maps.shape[1:]
        return Tiles.of(order, shown.channel, (height, width), self.n_channels)

    def _paint_filter(self, shown: Seen) -> None:
        self._filter.view.layout.display = None if shown.filter is not None else "none"
        if shown.filter is not None:
            self._filter.entitle(f"filter weights of {shown.layer.label}[{shown.channel}]")
            self._filter.show(shown.filter)

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
        self._channels.clear()
        self._words.value = self._kept_words.value = ""
        self._crops.clear()
        self._kept.clear()
        for part in (self._filter.view, self._kept.view):
            part.layout.display = "none"

    def _forget(self) -> None:
        self._panel.reset(self._first)
        self._picker.label = self._first_layer
        self._picker.show(self._first_layer)
        self._channel = None

    def _layer_chosen(self) -> None:
        self._take(None)

    def _take(self, channel: int | None) -> None:
        self._channel = channel
        self._ask()


_OF_ALL_MAPS = "All maps together, each as much as it speaks for the class."


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
        images = data.digits("test")[:_DIGITS][0].to(weight_of(about.model))
        code = [f'images=nni.data.digits("test")[:{_DIGITS}][0]{moved(images, about.names[0])}']
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
