"""The explorer Where does it look: class activation maps over the picture and as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods import GradCAM, GradCAMPlusPlus
from nni_widgets.engine.methods.activation_map import ActivationMap
from nni_widgets.engine.methods.maps import layers_with_maps
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.boxes import Box, boxes_of, in_words
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.look.pane import FAMILY, LookPane, map_of, overlay_of
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.subject import Subject, subject

Selected = tuple[tuple[ActivationMap, ...], Box | None]

_USUAL = 0.4


@dataclass(frozen=True, eq=False)
class Looked:
    """What one method found or two, the box on the picture, and the layers to choose from.

    The layers are named when the maps are there: to ask for them takes a pass of the model.
    """

    made: tuple[Explanation, ...]
    box: Box | None
    layers: tuple[str, ...] | None


class LookExplorer(Scaffold[Looked]):
    """Shows where a model looks; made by :func:`explore_look`.

    ``method`` is the class activation method, ``compare`` a second one or ``None``; ``overlay`` is
    how much the map covers the picture: 0 shows the picture alone, 1 the map alone.
    """

    opener = "nni.explore_look"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-look-map": "heatmap over the picture: where the class is found",
        "nn-look-raw": "heatmap: the map as the layer has it",
        "nn-second-map": "heatmap over the picture, of the second method",
        "nn-second-raw": "heatmap: the map of the second method as its layer has it",
    }

    def __init__(
        self, subject: Subject, method: ActivationMap, boxes: tuple[Box, ...] | None
    ) -> None:
        self._first, self._boxes, self._quiet = checked(method), boxes, Quiet()
        self._second = GradCAM() if isinstance(method, GradCAMPlusPlus) else GradCAMPlusPlus()
        self._known_layers: dict[tuple[int, ...], tuple[str, ...]] = {}
        self._panes = [
            LookPane(name, each, self._ask, self._refuse)
            for name, each in (("look", method), ("second", self._second))
        ]
        self._last: tuple[Last[Explanation], ...] = (Last(subject.model), Last(subject.model))
        self._overlay = widgets.FloatSlider(
            value=_USUAL, max=1.0, step=0.05, description="overlay", style=SIDE_STYLE, layout=SIDE
        ).add_class("nn-overlay")
        self._compare = widgets.Checkbox(
            description="compare two methods", indent=False, layout=dict(SIDE)
        ).add_class("nn-compare")
        self._overlay.observe(lambda _: None if self._quiet else self._look(), "value")
        self._compare.observe(lambda _: None if self._quiet else self._compared(), "value")
        self._show_panes()
        super().__init__(subject)

    @property
    def method(self) -> ActivationMap:
        """The method with its layer and upsampling."""
        return self._panes[0].method

    @method.setter
    def method(self, method: ActivationMap) -> None:
        self._panes[0].set(checked(method))
        self._ask()

    @property
    def compare(self) -> ActivationMap | None:
        """The method beside the first; ``None`` if there is only one."""
        return self._panes[1].method if self._compare.value else None

    @compare.setter
    def compare(self, method: ActivationMap | None) -> None:
        if method is not None:
            self._panes[1].set(checked(method))
        with self._quiet:
            self._compare.value = method is not None
        self._compared()

    @property
    def overlay(self) -> float:
        """How much the map covers the picture, from 0 to 1."""
        return float(self._overlay.value)

    @overlay.setter
    def overlay(self, strength: float) -> None:
        if not isinstance(strength, (int, float)) or not 0 <= strength <= 1:
            expected = "a number from 0 to 1"
            raise invalid("LookExplorer", "overlay", expected, repr(strength), "Try 0.5")
        self._overlay.value = strength

    def _parts(self) -> Parts:
        return Parts(
            maps=[each for pane in self._panes for each in pane.maps],
            pictures=[pane.view for pane in self._panes],
            choices=[self._overlay, self._compare],
            controls=[pane.controls for pane in self._panes],
        )

    @property
    def _active(self) -> list[LookPane]:
        return self._panes if self._compare.value else self._panes[:1]

    def _selected(self) -> Selected:
        return tuple(pane.method for pane in self._active), self._box()

    def _box(self) -> Box | None:
        """The box of the picture that is chosen; an uploaded one has none."""
        known, number = self._boxes, self._source.number
        return known[number] if known is not None and number < len(known) else None

    def _work(self, x: Tensor, target: Target, selected: Selected) -> Iterator[Step[Looked]]:
        methods, box = selected
        shape = tuple(x.shape[1:])
        layers = self._known_layers.get(shape)
        ready: tuple[Explanation, ...] = ()
        done, to_come = 0, len(methods) + (layers is None)
        for method, last in zip(methods, self._last, strict=False):
            to_come -= 1
            for made in self._maps_by(method, x, target, last):
                shown = Looked((*ready, made), box, layers)
                yield Step(shown, done + made.result.done, done + made.result.of + to_come)
            ready, done = (*ready, made), done + made.result.of
        if layers is None:
            self._known_layers[shape] = layers = layers_with_maps(self._model, x)
            yield Step(Looked(ready, box, layers), done + 1, done + 1)

    def _maps_by(
        self, method: ActivationMap, x: Tensor, target: Target, last: Last[Explanation]
    ) -> Iterator[Explanation]:
        """Better and better maps; the last one again if only the other method has changed."""
        known = last.get((method, target), x)
        if known is not None:
            yield known
            return
        for made in explanations(self._model, x, method, target):
            if made.result.done == made.result.of:
                last.keep((method, target), x, made)
            yield made

    def _explained(self, shown: Looked) -> Sequence[Explanation]:
        return shown.made

    def _paint(self, shown: Looked) -> None:
        if shown.layers is not None:
            for pane in self._panes:
                pane.offer(shown.layers)
        for pane, made in zip(self._active, shown.made, strict=False):
            pane.show(made, shown.box, self.overlay)
        for pane in self._active[len(shown.made) :]:
            pane.dim()

    def _text_of(self, shown: Looked) -> str:
        return "\n".join(f"{made.digest()}\n{told(made, shown.box)}" for made in shown.made)

    def _pngs(self, shown: Looked) -> dict[str, bytes]:
        pictures = [made for made in shown.made if made.x.ndim == 4]
        overlays = {
            f"overlay-{count}.png": overlay_of(made, shown.box, self.overlay)
            for count, made in enumerate(pictures, 1)
        }
        return {**super()._pngs(shown), **overlays}

    def _npzs(self, shown: Looked) -> dict[str, bytes]:
        maps = {f"map-{n}.npz": npz(map=map_of(made).raw) for n, made in enumerate(shown.made, 1)}
        return {**super()._npzs(shown), **maps}

    def _arguments(self, names: Names) -> list[str]:
        box = self._box()
        return [names.method(self.method), *([] if box is None else [f"boxes=[{list(box)}]"])]

    def _settings(self, names: Names) -> dict[str, str]:
        look = {} if self.compare is None else {"compare": names.method(self.compare)}
        return look if self.overlay == _USUAL else look | {"overlay": as_code(self.overlay)}

    def _at_work(self) -> str:
        return " and ".join(pane.method.title for pane in self._active)

    def _forget(self) -> None:
        for pane, method in zip(self._panes, (self._first, self._second), strict=True):
            pane.reset(method)
        with self._quiet:
            self._overlay.value, self._compare.value = _USUAL, False
        self._show_panes()

    def _show_panes(self) -> None:
        second = self._panes[1]
        second.view.layout.order = "1"  # below the first one, beside the class scores
        for part in (second.view, second.controls):
            part.layout.display = None if self._compare.value else "none"

    def _compared(self) -> None:
        self._show_panes()
        self._ask()


def checked(method: Any) -> ActivationMap:
    """The method, if it is of the family; else raises ``ValueError``."""
    if not isinstance(method, ActivationMap) or type(method) not in FAMILY:
        expected = f"one of {', '.join(kind.__name__ for kind in FAMILY)}"
        raise invalid("LookExplorer", "method", expected, repr(method), "Try nni.GradCAM()")
    return method


def told(made: Explanation, box: Box | None) -> str:
    """Where a map comes from, how many places it has, and where its peak is."""
    result = map_of(made)
    places = " × ".join(map(str, result.raw.shape[1:]))
    return f"map of {result.layer}, {places}: {in_words(made.heatmap(), box)}"


def explore_look(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    method: ActivationMap | None = None,
    target: Target = None,
    *,
    boxes: Sequence[Sequence[int]] | Tensor | None = None,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> LookExplorer:
    """Explore where a model looks: class activation maps over the picture, and as they are.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``method``: one of CAM, GradCAM (at first),
    GradCAMPlusPlus, LayerCAM, ScoreCAM, GuidedGradCAM; ``boxes``: where it should look,
    ``(N, 4)`` pixels: top, left, bottom, right, the last two exclusive; ``target``, ``labels``,
    ``names`` and ``large`` are those of :func:`explore`.
    """
    who = "explore_look"
    about = subject(who, model, x, target, strokes=strokes, labels=labels, names=names, large=large)
    if boxes is not None and x is None:
        action = "Leave boxes out to draw"
        raise invalid(who, "boxes", "given together with x", "boxes alone", action)
    known = None if boxes is None or x is None else boxes_of(boxes, x, who)
    return LookExplorer(about, GradCAM() if method is None else method, known)
