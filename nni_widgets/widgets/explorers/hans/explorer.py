"""The Clever Hans explorer: maps of a class in groups, and what one mark does to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods.base import AnyMethod, as_method
from nni_widgets.pictures.explain import default_method
from nni_widgets.session import Outcome
from nni_widgets.widgets.explorers.hans import told
from nni_widgets.widgets.explorers.hans.asking import Asking
from nni_widgets.widgets.explorers.hans.saved import npz_of, png_of
from nni_widgets.widgets.explorers.hans.setting import Setting, setting
from nni_widgets.widgets.explorers.hans.study import Study, class_number, with_parameters
from nni_widgets.widgets.explorers.hans.views import Views
from nni_widgets.widgets.explorers.hans.work import Found
from nni_widgets.widgets.parts.controls import button


class HansExplorer(Asking):
    """Shows whether a model looks at the thing or at a mark; made by :func:`explore_hans`.

    ``label`` is the class whose pictures are shown, ``target`` the explained one or ``None`` for
    the same, ``group`` one of the groups or ``None`` for all, ``picture`` the place of the chosen
    picture; ``box`` is where ``change`` wipes or marks. ``study`` has the parameters, ``set``
    changes them. ``found`` is what is on the screen.
    """

    opener = "nni.explore_hans"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-change": "what happens to the box",
        "nn-group-plot": "chart: a point for each picture, alike maps lie close",
        "nn-group-pictures": "pictures of the chosen group",
        "nn-group-maps": "heatmaps of the pictures of the chosen group",
        "nn-mean-map": "heatmap: the mean map of the chosen group",
        "nn-changed": "the chosen picture, and the box that is wiped or marked",
        "nn-before-map": "heatmap of the picture as it is",
        "nn-after-map": "heatmap of the changed picture",
        "nn-scale": "the scale of the heatmap",
        "nn-scores": "chart: class scores before and after the change",
    }

    def __init__(self, about: Setting, label: int, target: int | None, study: Study) -> None:
        self._views = Views(
            about.pictures,
            about.classes,
            on_point=self._point_chosen,
            on_place=self._place_chosen,
            on_box=self._box_dragged,
            on_class=self._class_chosen,
        )
        self._maps = self._views.maps
        super().__init__(about, label, target, study)
        self.add_class("nn-hans")
        self._begin()

    def _layout(self) -> list[widgets.Widget]:
        views = self._views
        pickers = [self._label, self._target, self._group, self._stepper.widget]
        chart = widgets.VBox([*pickers, *views.chart]).add_class("nn-chart")
        boxes = widgets.VBox([self._change, self._fields.widget, self._own_box])
        picture = widgets.VBox([views.picture, boxes])
        rows = [[chart, *views.group], [picture, *views.answers]]
        return self._stacked(rows, [self._panel.box], first=[button("Cancel", self._cancel)])

    def _paint(self, shown: Found) -> None:
        self._offer(shown)
        self._views.show(shown, self._box_in(shown), self._place_in(shown))

    def _name(self, shown: Found) -> str:
        return self._about.classes[shown.chosen.label]

    def _size_of(self, shown: Found) -> int:
        return shown.maps.values.nbytes + shown.pair.x.nbytes * 2

    # words

    def _tell(self, outcome: Outcome[Found]) -> None:
        shown = outcome.value
        when = f"{1000 * outcome.elapsed:.0f} ms" if outcome.finished else "more maps are coming"
        words = [
            told.picture(shown, self._name(shown)),
            told.inside(shown, 0),
            told.groups(shown, self._name(shown)),
            when,
        ]
        self._status.say(" · ".join(words), outcome.generation)

    def _text_of(self, shown: Found) -> str:
        pair, sides = shown.pair, self._about.pictures.sides
        return told.digest(shown, self._name(shown), pair.target_names[0], pair.code, sides)

    def _at_work(self) -> str:
        return as_method(self.study.method).title or "the explanation"

    def _advance(self, outcome: Outcome[Found]) -> None:
        self._status.advance(self._at_work(), outcome.done, outcome.of, outcome.elapsed)

    def _say_cancelled(self) -> None:
        self._status.say("Cancelled. What is shown is what was ready.")
        self._dim()

    def _dim(self) -> None:
        for each in self._maps:
            each.dim()

    def _hover(self, number: int, x: float, y: float) -> None:
        if number < len(self._maps):
            self._maps[number].hover(x, y)

    # what is saved

    def _pngs(self, shown: Found) -> dict[str, bytes]:
        made = png_of(shown, self._about.pictures, self._name(shown), self._text_of(shown))
        return {"hans.png": made}

    def _npzs(self, shown: Found) -> dict[str, bytes]:
        return {"hans.npz": npz_of(shown)}


def explore_hans(
    model: nn.Module | None = None,
    images: Tensor | None = None,
    labels: Sequence[int] | Tensor | None = None,
    *,
    boxes: Sequence[Sequence[int]] | Tensor | None = None,
    label: int | str | None = None,
    target: int | str | None = None,
    method: AnyMethod | None = None,
    names: tuple[str, str, str, str] = ("model", "x", "y", "boxes"),
    large: bool = False,
    **parameters: Any,
) -> HansExplorer:
    """Explore whether a model looks at the thing or at a mark that gives the class away.

    The maps of a class's pictures are grouped by where their relevance lies (spectral relevance
    analysis, :func:`clusters`), and laid out by t-SNE: alike maps lie close. A group whose maps
    agree on a corner tells what the model goes by.
    Then a box of a picture is wiped, or a mark put into it: does the answer change?

    ``model``: ``digits-hans`` unless given; ``images``: pictures ``(N, C, H, W)``, marked digits
    unless given; ``labels``: their classes, what the model predicts unless given; ``boxes``: where
    the mark is, or would be, in each: (top, left, bottom, right); unless given, a box where the
    mean map is largest. ``label``: the class whose pictures are shown; ``target``: the explained
    class, the same unless given; ``method``: LRP unless given. ``names`` are those of model,
    images, labels and boxes in copied code; ``large``: large type.

    Further parameters: ``n_pictures`` (100), ``n_groups`` (0: as many as the maps suggest),
    ``fill`` (``"black"`` or ``"mean"``: what a box is wiped with).

    Raises ``ValueError`` for what is no batch of pictures, and for what is not legal.
    """
    about = setting(model, images, labels, boxes, names, large)
    first = about.label if label is None else class_number(label, about.classes)
    aim = None if target is None else class_number(target, about.classes, "target")
    usual = default_method(about.model) if method is None else method
    study = with_parameters(Study(), {"method": usual, **parameters})
    return HansExplorer(about, first, aim, study)
