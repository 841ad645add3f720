"""The Dream explorer: a photograph changes until a layer sees more of what it sees in it."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.synthesis import Synthesis
from nni_widgets.engine.synthesis.box import Box, box_of
from nni_widgets.engine.synthesis.dream import DeepDream
from nni_widgets.errors import invalid
from nni_widgets.params import as_code, is_whole, params
from nni_widgets.pictures.explain import output_names
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.bases.studio import Stage, Studio
from nni_widgets.widgets.explorers.dream.album import WIDTH, Album, resized
from nni_widgets.widgets.explorers.dream.dreaming import Dreaming, with_parameters
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE, Stepper
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.film import Film
from nni_widgets.widgets.parts.inputs import BatchInput
from nni_widgets.widgets.parts.layer_choice import Layer, LayerPicker, layers_of, results
from nni_widgets.widgets.parts.maps import BLANK, title_of, titled
from nni_widgets.widgets.parts.objective import ObjectiveCurve, short, without_state
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.samples import checked_labels, predicted
from nni_widgets.widgets.parts.subject import given
from nni_widgets.widgets.parts.weights import moved, weight_of, weights_of
from nni_widgets.zoo import data, models

_WHO = "DreamExplorer"
_DIGIT, _DIGITS = (1, 28, 28), 100
_MOST_SEEN = 3
_SMALL = 100


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays: the model, loaded when it is first asked for, and where its pictures come from.

    ``own`` is the model that was given. ``names`` are those of model and pictures in copied code,
    ``preparation`` the lines before; ``size`` is the one that given pictures are brought to.
    """

    model: Callable[[], nn.Module]
    own: nn.Module | None
    box: Box
    source: Album | BatchInput
    names: tuple[str, str]
    preparation: str = ""
    size: int | None = None
    large: bool = False


@dataclass(frozen=True)
class Chosen:
    """What is selected: which picture dreams of what, and how."""

    picture: Hashable
    layer: str
    channel: int | None
    dreaming: Dreaming
    x: Tensor = field(compare=False, repr=False)


class DreamExplorer(Studio[Synthesis]):
    """Lets a network dream over a photograph; made by :func:`explore_dream`.

    ``layer`` is the layer whose energy grows, ``channel`` one of its channels or ``None`` for the
    whole layer, ``dreaming`` how; ``set(n_steps=20)`` changes some of it. ``size`` is the side of a
    bundled photograph. ``made`` is the Synthesis on the screen.
    """

    opener = "nni.explore_dream"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-input": "before: the picture that the dream begins with",
        "nn-dreamt": "after: the picture as it is dreamt",
    }

    def __init__(self, about: Setting, layer: str, channel: int | None, first: Dreaming) -> None:
        self._about, self._first = about, (layer, channel, first)
        self._quiet = Quiet()
        self._layers: tuple[Layer, ...] = ()
        self._known_layers: dict[tuple[int, ...], tuple[Layer, ...]] = {}
        self._source = about.source
        self._picker = LayerPicker(layer, self._layer_chosen)
        self._part = widgets.Dropdown(
            description="of it",
            options=[("the whole layer", False), ("one channel", True)],
            style=SIDE_STYLE,
            layout=SIDE,
        ).add_class("nn-part")
        self._part.observe(lambda _: None if self._quiet else self._part_chosen(), "value")
        self._number = Stepper("channel", 1, self._ask)
        self._show_channel(channel)
        self._panel = ParameterPanel(first, lambda _: self._ask(), self._refuse)
        self._title = titled("after")
        is_photograph = isinstance(self._source, Album)
        self._picture = widgets.Image(value=BLANK, width=WIDTH if is_photograph else "252")
        self._picture.add_class("nn-dreamt")
        if not is_photograph:
            self._picture.add_class("nn-px")
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-dream-words")
        self._curve = ObjectiveCurve()
        super().__init__(about.large)
        self._source.connect(self._ask, self._cancel)
        self._begin()

    @property
    def layer(self) -> str:
        """The layer that is dreamt of; to set it asks for another dream."""
        return self._picker.label or self._label_of(self.made)

    @layer.setter
    def layer(self, label: str) -> None:
        self._picker.label = label
        self._picker.show(label)
        self._ask()

    @property
    def channel(self) -> int | None:
        """The channel that is dreamt of; ``None`` for the whole layer."""
        return self._number.value if self._part.value else None

    @channel.setter
    def channel(self, channel: int | None) -> None:
        self._show_channel(channel)
        self._ask()

    @property
    def dreaming(self) -> Dreaming:
        """The parameters of the dream."""
        value: Dreaming = self._panel.value  # type: ignore[assignment]
        return value

    def set(self, **parameters: Any) -> None:
        """Change parameters, those of :func:`explore_dream`. Raises ``ValueError``."""
        self._panel.show(with_parameters(self.dreaming, parameters))
        self._ask()

    @property
    def size(self) -> int:
        """The side of the picture in pixels; that of a photograph of the album can be set."""
        return int(self._selected().x.shape[-1])

    @size.setter
    def size(self, size: int) -> None:
        if not isinstance(self._source, Album):
            expected, action = "that of the pictures given", "Resize them before"
            raise invalid(_WHO, "size", expected, repr(size), action)
        self._source.size = size

    def _stage(self) -> Stage:
        after = widgets.VBox([self._picture, self._title, self._words]).add_class("nn-dream")
        side = [self._picker.widget, self._part, self._number.widget, self._curve.widget]
        return Stage([after], [widgets.VBox(side)], [self._panel.box.add_class("nn-recipe")])

    def _layout(self) -> list[widgets.Widget]:
        hidden, pictures, *below = super()._layout()
        pictures.children = (self._source.widget, *pictures.children)
        return [hidden, pictures, *below]

    def _selected(self) -> Chosen:
        key, x = cast("tuple[Hashable, Tensor]", self._source.current())  # there always is one
        return Chosen(key, self._picker.label, self.channel, self.dreaming, x)

    def _frames(self, selected: Chosen, last: Synthesis | None) -> Iterator[Synthesis]:
        model = self._about.model()
        layer = selected.layer or usual(self._layers_for(model, selected.x))
        method = selected.dreaming.method(layer, selected.channel)
        if last is not None:
            return method.resume_steps(model, last)
        return method.steps(model, selected.x)

    def _weights(self) -> Any:
        return weights_of(self._about.own)

    def _layers_for(self, model: nn.Module, x: Tensor) -> tuple[Layer, ...]:
        """Those with more than one place: they depend on the size of the picture."""
        shape = tuple(x.shape)
        if shape not in self._known_layers:
            found = (each for each in layers_of(model, x) if len(each.shape) == 3)
            self._known_layers[shape] = tuple(each for each in found if each.n_places > 1)
        return self._known_layers[shape]

    def _paint_frame(self, frame: Synthesis, film: Film[Synthesis]) -> None:
        label, chosen = self._label_of(frame), cast(Chosen, film.selected)
        self._layers = self._layers_for(self._about.model(), chosen.x)
        self._picker.offer(self._layers)
        self._picker.show(self._picker.label or label)
        self._fit_channel(self._picker.label or label)
        self._title.value = title_of(f"after: {self._aim(frame)}")
        self._picture.value = picture_png(frame.images[0], *self._about.box)
        before = self._seen_in(film.frames[0].logits)
        lines = (f"before: {before}", f"now: {self._seen_in(frame.logits)}")
        self._words.value = f"<p>{'<br>'.join(map(html.escape, lines))}</p>"
        self._curve.show(frame, film)

    def _label_of(self, frame: Synthesis | None) -> str:
        """The layer that a frame is dreamt of; its name is empty as long as there is no frame."""
        objective = getattr(frame and frame.made_by, "objective", None)
        return str(objective.layers[0]) if objective is not None else ""

    def _aim(self, frame: Synthesis) -> str:
        channel = getattr(getattr(frame.made_by, "objective", None), "channel", None)
        return self._label_of(frame) + ("" if channel is None else f", channel {channel}")

    def _seen_in(self, logits: Tensor) -> str:
        """The most likely classes, in words."""
        classes = output_names(self._about.model(), logits.shape[1])
        best = logits[0].softmax(0).sort(descending=True, stable=True)
        found = zip(best.indices[:_MOST_SEEN].tolist(), best.values.tolist(), strict=False)
        return ", ".join(f"{classes[k]} {share:.2f}" for k, share in found)

    def _said(self, frame: Synthesis) -> str:
        return f"{self._aim(frame)}: objective {short(frame.objective[-1, 0])}"

    def _digest_of(self, frame: Synthesis) -> str:
        height, width = frame.images.shape[2:]
        seen = self._seen_in(frame.logits)
        return f"a dream of {self._said(frame)}\n{height} × {width} pixels, predicted {seen}"

    @property
    def _before(self) -> Tensor:
        """The picture that the dream on the screen began with."""
        return cast(Chosen, self._made_for).x.detach()

    def _frame_pngs(self, frame: Synthesis) -> dict[str, bytes]:
        side_by_side = torch.cat([self._before[0], frame.images[0]], -1)
        words = {"dream": self._digest_of(frame), "method": as_code(frame.made_by)}
        magnify = 4 if frame.images.shape[-1] < _SMALL else 1
        return {"dream.png": picture_png(side_by_side, *self._about.box, magnify, words)}

    def _frame_npzs(self, frame: Synthesis) -> dict[str, bytes]:
        numbers = npz(
            before=self._before, images=frame.images, logits=frame.logits, objective=frame.objective
        )
        return {"dream.npz": numbers}

    def _kept(self, frame: Synthesis) -> Synthesis:
        return without_state(frame)

    def _bytes_of(self, frame: Synthesis) -> int:
        return frame.images.nbytes + frame.logits.nbytes

    def _preparation(self) -> str:
        prepare, _ = self._source.code(*reversed(self._about.names))
        return self._about.preparation + prepare

    def _arguments(self, names: Names) -> list[str]:
        model, x = self._about.names
        _, picture = self._source.code(x, model)
        size = [] if self._about.size is None else [f"size={self._about.size}"]
        layer = [f"layer={self._picker.label!r}"] if self._picker.label else []
        channel = [] if self.channel is None else [f"channel={self.channel}"]
        changed = [
            f"{each.name}={as_code(getattr(self.dreaming, each.name))}"
            for each in params(self.dreaming)
            if getattr(self.dreaming, each.name) != each.default
        ]
        return [model, picture, *size, *layer, *channel, *changed]

    def _at_work(self) -> str:
        return DeepDream.title

    def _forget(self) -> None:
        label, channel, dreaming = self._first
        self._source.reset()
        self._picker.label = label
        self._picker.show(label)
        self._number.fit(self._number.count, 0)
        self._show_channel(channel)
        self._panel.reset(dreaming)

    def _show_channel(self, channel: int | None) -> None:
        """Stand at this channel; one that the layer has not is for the engine to refuse."""
        if channel is not None:
            if not is_whole(channel) or channel < 0:
                expected = "a whole number of at least 0, or None"
                raise invalid(_WHO, "channel", expected, repr(channel), "Try 0")
            self._number.fit(max(self._number.count, int(channel) + 1), int(channel))
        with self._quiet:
            self._part.value = channel is not None
        self._number.widget.layout.display = None if self._part.value else "none"

    def _fit_channel(self, label: str) -> None:
        """Offer as many channels as the layer has."""
        count = next((each.channels for each in self._layers if each.label == label), 1)
        self._number.fit(count, self._number.value)

    def _layer_chosen(self) -> None:
        self._fit_channel(self._picker.label)
        self._ask()

    def _part_chosen(self) -> None:
        self._show_channel(self._number.value if self._part.value else None)
        self._ask()


def usual(layers: Sequence[Layer]) -> str:
    """The layer to begin with: the last result of a block in the lower two thirds of the way up.

    There features are shapes and parts, no longer strokes, and still many fit into a picture.
    """
    if not layers:
        expected, action = "one with maps (N, C, H, W)", "Use nni.ActivationMaximization"
        raise invalid(_WHO, "the model", expected, "a model without", action)
    lower = layers[: 2 * len(layers) // 3 + 1]
    return (results(lower) or lower)[-1].label


def explore_dream(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    layer: str = "",
    channel: int | None = None,
    *,
    picture: str | None = None,
    size: int | None = None,
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
    **parameters: Any,
) -> DreamExplorer:
    """Explore what a layer sees: a photograph dreams of it, from coarse to fine.

    ``model``: any with maps, ``photos`` unless given; ``x``: pictures ``(N, C, H, W)`` as it takes
    them; without them the bundled photographs and one's own, or digits for a model of digits.
    ``layer``: a name of :func:`layers`, the result of a block two thirds of the way up unless
    given; ``channel``: one of its channels, the whole layer unless given. ``picture``: the name of
    a bundled photograph to begin with; ``size``: the side of pictures in pixels, 192 for bundled
    photographs unless given. ``labels``, ``names`` and ``large`` are those of :func:`explore`.

    Further parameters: ``n_octaves``, ``octave_scale``, ``n_steps``, ``step_size`` (the strength),
    ``jitter``, ``seed``, as in ``nni.DeepDream``.

    Raises ``ValueError`` for what is not legal; what the model cannot do is said in the explorer.
    """
    dreaming = with_parameters(Dreaming(), parameters)
    preparation = f'{names[0]} = nni.models.load("photos")\n' if model is None else ""
    loaded = functools.cache(_photos) if model is None else functools.partial(_same, model)
    box = Box(0.0, 1.0) if model is None else box_of(model)
    if x is None and picture is None and getattr(model, "input_shape", None) == _DIGIT:
        x, labels = data.digits("test")[:_DIGITS]
        x = x.to(weight_of(model))
        digits = f'nni.data.digits("test")[:{_DIGITS}][0]{moved(x, names[0])}'
        preparation += f"{names[1]} = {digits}\n"
    source: Album | BatchInput
    if x is None:
        source = Album(_WHO, box, weight_of(model), picture, 192 if size is None else size)
    else:
        if picture is not None:
            action = "Leave one of the two out"
            raise invalid(_WHO, "picture", "given without x", repr(picture), action)
        check_pictures(x, size, box)
        if size is None:
            about = given("explore_dream", loaded(), x, None, labels=labels, names=names)
            source = about.source  # type: ignore[assignment]
        else:
            source = Squares(loaded(), x, checked_labels(labels, len(x)), size, box)
    brought_to = None if x is None else size
    setting = Setting(loaded, model, box, source, names, preparation, brought_to, large)
    return DreamExplorer(setting, layer, channel, dreaming)


class Squares(BatchInput):
    """Pictures of a batch with pixels in a box, and those sent from the page, in another size."""

    def __init__(
        self, model: nn.Module, batch: Tensor, labels: Sequence[int] | None, size: int, box: Box
    ) -> None:
        self._in_size = functools.partial(resized, size=int(size), box=box)
        super().__init__(model, batch, labels)

    def current(self) -> tuple[Hashable, Tensor] | None:
        found = super().current()
        return None if found is None else (found[0], self._in_size(found[1]))

    def _predicted(self) -> tuple[int, ...]:
        return predicted(self._model, self._in_size(self._batch))


def check_pictures(x: Tensor, size: int | None, box: Box) -> None:
    """Raise ``ValueError`` for what are no pictures, or cannot be brought to this size."""
    if not isinstance(x, Tensor) or x.ndim != 4 or not len(x):
        shown = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        expected, action = "pictures (N, C, H, W)", "Use x[None] for one"
        raise invalid(_WHO, "x", expected, shown, action)
    if size is None:
        return
    if not is_whole(size) or size < 1:
        raise invalid(_WHO, "size", "a whole number of at least 1", repr(size), "Try 192")
    if not x.is_floating_point():
        raise invalid(_WHO, "x", "floating-point numbers", str(x.dtype), "Use x.float()")
    box.check(_WHO, "x", x, "Scale it, or name the model's range")


def _same(model: nn.Module) -> nn.Module:
    return model


def _photos() -> nn.Module:
    """The model of photographs; what is missing to load it is said as it is."""
    try:
        return models.load("photos")
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
