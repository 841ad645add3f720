"""The References explorer: what DeepLIFT says depends on what a picture is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import Baseline, Constant, DeepLIFT
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.pictures.heatmap import heatmap, scale_of
from nni_widgets.pictures.numbers import percent
from nni_widgets.pictures.render import picture_png
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.explorers.references.layer_bars import LayerBars, in_words
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.maps import MapView, PictureView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.panes import INPUT
from nni_widgets.widgets.parts.subject import Subject, subject

_MOST = 4


class ChosenPicture(Baseline):
    """A picture of the explorer itself as the reference; ``lines`` make it again, as `baseline`."""

    title: ClassVar[str] = "Chosen picture"
    picture: Tensor
    lines: str

    def code(self, prefix: str) -> str:
        """The name that ``lines`` give it."""
        return as_code(self.picture, prefix)

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        return Constant(value=self.picture)(x, who)


@dataclass(frozen=True, eq=False)
class Compared:
    """An explanation, and the reference pictures it compares with, ``(B, 1, ...)``."""

    made: Explanation
    references: Tensor

    @property
    def difference(self) -> Tensor:
        """How the picture differs from its reference, or the mean of several: ``(1, ...)``."""
        return self.made.x - self.references.mean(0)

    @property
    def equal(self) -> float:
        """The share of the pixels that equal every reference."""
        return float((self.made.x == self.references).all(0).double().mean())


class ReferencesExplorer(Scaffold[Compared]):
    """Shows what DeepLIFT makes of the difference from a reference; by :func:`explore_references`.

    ``method`` is the DeepLIFT that is explored, ``layer`` where its contributions are shown.
    """

    opener = "nni.explore_references"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-reference-picture": "the reference: what the picture is compared with",
        "nn-change-map": "the picture less its reference: orange is more, purple less",
        "nn-lift-map": "heatmap: what each difference from the reference adds to the score's",
    }

    def __init__(self, subject: Subject, method: DeepLIFT) -> None:
        self._first = checked(method)
        self._panel = ParameterPanel(method, lambda _: self._ask(), self._refuse)
        self._reference = PictureView("the reference x′", "nn-reference-picture")
        self._take = button("Use the input as reference", self._take_as_reference)
        self._change = MapView("the difference x − x′", "nn-change-map")
        self._lift = MapView("DeepLIFT", "nn-lift-map")
        self._layers = LayerBars(self._look)
        super().__init__(subject)

    @property
    def method(self) -> DeepLIFT:
        """The method with its parameters."""
        return cast(DeepLIFT, self._panel.value)

    @method.setter
    def method(self, method: DeepLIFT) -> None:
        self._panel.show(checked(method))
        self._ask()

    @property
    def layer(self) -> str:
        """The layer whose contributions are shown, or ``(input)``. To set it waits for them."""
        return self._layers.layer

    @layer.setter
    def layer(self, label: str) -> None:
        self.drain()
        self._layers.layer = label

    def code(self) -> str:
        """The cell that makes this picture again, its reference first."""
        reference = self.method.reference
        imports, gap, rest = super().code().partition("\n\n")
        lines = reference.lines if isinstance(reference, ChosenPicture) else ""
        return f"{imports}{gap}{lines}{rest}"

    def _parts(self) -> Parts:
        reference = widgets.VBox([self._reference.view, self._take])
        return Parts(
            maps=[self._change, self._lift],
            pictures=[reference, self._change.view, self._lift.view, self._layers.widget],
            choices=[self._panel.box],
            controls=[self._layers.table],
        )

    def _selected(self) -> DeepLIFT:
        return self.method

    def _work(self, x: Tensor, target: Target, selected: DeepLIFT) -> Iterator[Step[Compared]]:
        for made in explanations(self._model, x, selected, target):
            references = cast(Baseline, selected.reference)(x, selected.title)
            yield Step(Compared(made, references), made.result.done, made.result.of)

    def _explained(self, shown: Compared) -> Sequence[Explanation]:
        labels = {layer.label for layer in shown.made.result.layers}
        return (shown.made.at(self.layer if self.layer in labels else ""),)

    def _size_of(self, shown: Compared) -> int:
        return super()._size_of(shown) + shown.references.numel() * shown.made.x.element_size()

    def _paint(self, shown: Compared) -> None:
        self._layers.show(shown.made)
        (made,) = self._explained(shown)
        count = len(shown.references)
        self._reference.entitle(_called(count))
        self._change.entitle(f"x − the mean of {count}" if count > 1 else "the difference x − x′")
        self._reference.paint(beside(shown.references[:, 0]), made.low, made.high)
        (change,) = heatmap(shown.difference)
        self._change.put(change, scale_of(change), what_differs(shown))
        self._lift.entitle(f"{made.name} at {made.layer}" if made.layer else made.name)
        self._lift.paint(made, made.shown())

    def _text_of(self, shown: Compared) -> str:
        text = super()._text_of(shown)
        return "\n".join([text, what_differs(shown), "Δ per layer", in_words(shown.made)])

    def _pngs(self, shown: Compared) -> dict[str, bytes]:
        picture = beside(shown.references[:, 0])
        reference = picture_png(picture, shown.made.low, shown.made.high)
        return {**super()._pngs(shown), "reference.png": reference}

    def _npzs(self, shown: Compared) -> dict[str, bytes]:
        layers = shown.made.result.layers
        lost = [torch.stack([part[0] for part in layer.lost.values()]).sum() for layer in layers]
        numbers = npz(
            references=shown.references[:, 0],
            difference=shown.difference,
            arrived=torch.stack([layer.arrived[0] for layer in layers]),
            lost=torch.stack(lost),
        )
        return {**super()._npzs(shown), "references.npz": numbers}

    def _arguments(self, names: Names) -> list[str]:
        return [names.method(self.method)]

    def _settings(self, names: Names) -> dict[str, str]:
        return {} if self.layer == INPUT else {"layer": as_code(self.layer)}

    def _at_work(self) -> str:
        return self.method.title

    def _blank(self) -> None:
        self._reference.clear()
        self._layers.clear()

    def _forget(self) -> None:
        self._panel.reset(self._first)
        self._layers.reset()

    def _take_as_reference(self) -> None:
        current = self._source.current()
        if current is None:
            self._status.say(self._source.empty)
            return
        model, name = self._subject.names
        prepare, picture = self._source.code(name, model)
        lines = f"{prepare}baseline = {picture}\n"
        chosen = ChosenPicture(picture=current[1].detach().clone(), lines=lines)
        self.method = self.method.replace(reference=chosen)


def checked(method: Any) -> DeepLIFT:
    """The method, if it compares with a reference; else raises ``ValueError``."""
    if not isinstance(method, DeepLIFT):
        expected, action = "one that compares with a reference", "Try nni.DeepLIFT()"
        raise invalid("ReferencesExplorer", "method", expected, repr(method), action)
    return method


def beside(pictures: Tensor) -> Tensor:
    """The first four of ``(B, ...)`` in one picture: four as a square, fewer in a row."""
    some = tuple(pictures[:_MOST])
    if len(some) == _MOST and some[0].ndim == 3:
        return torch.cat([torch.cat(some[:2], -1), torch.cat(some[2:], -1)], -2)
    return torch.cat(some, -1)


def what_differs(shown: Compared) -> str:
    """How many pixels are like the reference, and what that means."""
    if shown.equal == 1:
        return (
            "The picture equals its reference: there is nothing to explain. "
            "Choose another picture, or another reference."
        )
    if shown.equal == 0:
        return "Every pixel differs from the reference."
    return f"{percent(shown.equal)} of the pixels equal the reference and get nothing."


def _called(count: int) -> str:
    if count == 1:
        return "the reference x′"
    return f"{min(count, _MOST)} of {count} references" if count > _MOST else f"{count} references"


def explore_references(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    method: DeepLIFT | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> ReferencesExplorer:
    """Explore DeepLIFT: compared with what, by which rule, and what arrives at each layer.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``method``: DeepLIFT with its rules and reference; a
    picture of the explorer becomes the reference by a click. ``target``, ``labels``, ``names`` and
    ``large`` are those of :func:`explore`.
    """
    about = subject(
        "explore_references",
        model,
        x,
        target,
        strokes=strokes,
        labels=labels,
        names=names,
        large=large,
    )
    return ReferencesExplorer(about, DeepLIFT() if method is None else method)
