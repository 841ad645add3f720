"""The Clever Hans explorer: maps of a class in groups, and what one mark does to the answer."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import AnyMethod, Method, as_method, logits_of, model_lock
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, params
from nni_widgets.pictures.boxes import Box, boxes_of, share_inside
from nni_widgets.pictures.explain import default_method, picture_range
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.pictures.numbers import percent
from nni_widgets.pictures.render import picture_png
from nni_widgets.session import Outcome, Request, Step
from nni_widgets.widgets.bases.live import Live, opened, request_of
from nni_widgets.widgets.explorers.hans import told
from nni_widgets.widgets.explorers.hans.before_after import BeforeAfter, key
from nni_widgets.widgets.explorers.hans.box_fields import BoxFields
from nni_widgets.widgets.explorers.hans.group_plot import GroupPlot, sign
from nni_widgets.widgets.explorers.hans.sheet import Sheets
from nni_widgets.widgets.explorers.hans.study import (
    AS_IT_IS,
    CHANGES,
    Chosen,
    Collection,
    Study,
)
from nni_widgets.widgets.explorers.hans.work import Found, Work
from nni_widgets.widgets.parts.classes import classes_of
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE, Stepper, button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.frame import FramedPicture
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.samples import checked_labels
from nni_widgets.zoo import data, models

_WHO = "HansExplorer"
_MODEL, _DIGIT, _MARKED_CLASS = "digits-hans", (1, 28, 28), 8
_NONE = -1  # a drop-down takes None for nothing chosen


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """What stays: a model, its pictures, the names of its classes.

    ``code`` are the first arguments of the opener in copied code.
    """

    model: nn.Module
    pictures: Collection
    classes: tuple[str, ...]
    code: tuple[str, ...] = ()
    large: bool = False


class HansExplorer(Live[Found]):
    """Shows whether a model looks at the thing or at a mark; made by :func:`explore_hans`.

    ``label`` is the class whose pictures are shown, ``target`` the explained one or ``None`` for
    the same, ``group`` one of the groups or ``None`` for all, ``picture`` the place of the chosen
    picture; ``box`` is where ``change`` wipes or marks. ``study`` has the parameters, ``set``
    changes them. ``found`` is what is on the screen.
    """

    opener = "nni.explore_hans"
    captions: ClassVar[Mapping[str, str]] = {
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
        self._about, self._first = about, Chosen(label, target, study)
        self._state, self._quiet = self._first, Quiet()
        self._work = Work(about.model, about.pictures, about.classes)
        self._make_choices()
        self._make_pictures()
        super().__init__(about.large)
        self.add_class("nn-hans")
        self._show_state()
        self._begin()

    def _make_choices(self) -> None:
        classes, labels = self._about.classes, self._about.pictures.labels
        present = range(len(classes)) if labels is None else labels.unique().tolist()
        self._label = self._picker("class", [(classes[k], k) for k in present], self._label_chosen)
        options = [("their own class", _NONE), *((c, k) for k, c in enumerate(classes))]
        self._target = self._picker("explain", options, self._target_chosen)
        self._group = self._picker("group", [("all pictures", _NONE)], self._group_chosen)
        self._stepper = Stepper("picture", 1, self._stepped)
        self._change = widgets.ToggleButtons(
            options=[("as it is", CHANGES[0]), ("wipe box", CHANGES[1]), ("mark box", CHANGES[2])],
            style={"button_width": "auto"},
        ).add_class("nn-change")
        self._change.observe(lambda _: None if self._quiet else self._change_chosen(), "value")
        self._fields = BoxFields(self._box_given)
        self._own_box = button("Box back", self._forget_box)
        self._panel = ParameterPanel(self._first.study, self._study_changed, self._refuse)

    def _make_pictures(self) -> None:
        self._plot = GroupPlot(self._point_chosen)
        self._legend, self._words, self._counts = (
            widgets.HTML().add_class("nn-words").add_class(f"nn-{name}")
            for name in ("groups-legend", "picture-words", "group-words")
        )
        self._sheets = Sheets(self._place_chosen)
        self._mean = MapView("the mean map", "nn-mean-map")
        self._framed = FramedPicture("the picture", "nn-changed", "the box", self._box_dragged)
        self._before = MapView("as it is", "nn-before-map")
        self._after = MapView("changed", "nn-after-map")
        self._maps = (self._mean, self._before, self._after)
        self._scores = BeforeAfter(self._about.classes, self._bar_chosen)

    def _picker(self, name: str, options: Sequence[Any], on_change: Any) -> widgets.Dropdown:
        made = widgets.Dropdown(description=name, options=options, style=SIDE_STYLE, layout=SIDE)
        made.observe(lambda _: None if self._quiet else on_change(), "value")
        return made.add_class(f"nn-{name}")

    # what can be asked and told from code

    @property
    def label(self) -> int:
        """The class whose pictures are shown; to set another one begins with its first picture."""
        return self._state.label

    @label.setter
    def label(self, label: int | str) -> None:
        self._take(label=class_number(label, self._about.classes), place=0)

    @property
    def target(self) -> int | None:
        """The explained class; ``None`` for that of the pictures."""
        return self._state.target

    @target.setter
    def target(self, target: int | str | None) -> None:
        known = None if target is None else class_number(target, self._about.classes, "target")
        self._take(target=known)

    @property
    def study(self) -> Study:
        """How pictures are explained and grouped."""
        return self._state.study

    def set(self, **parameters: Any) -> None:
        """Change parameters of the study: method, n_pictures, n_groups, fill."""
        self._take(study=with_parameters(self.study, parameters))

    @property
    def group(self) -> int | None:
        """The chosen group, from 0, or ``None`` for all pictures. To set it waits."""
        return self._state.group

    @group.setter
    def group(self, group: int | None) -> None:
        count = self._group_count()
        if group is not None and (isinstance(group, bool) or group not in range(count)):
            expected = f"a group from 0 to {count - 1}, or None for all pictures"
            raise invalid(_WHO, "group", expected, repr(group), "Try 0")
        self._enter(group)

    @property
    def picture(self) -> int:
        """The place of the chosen picture among those of the class, from 0. To set it waits."""
        found = self.found
        return self._state.place if found is None else found.place

    @picture.setter
    def picture(self, place: int) -> None:
        found = self.drain().found
        count = 0 if found is None else len(found.maps.x)
        if isinstance(place, bool) or place not in range(count):
            expected = f"a whole number from 0 to {count - 1}"
            raise invalid(_WHO, "picture", expected, repr(place), "Try 0")
        self._place_chosen(place)

    @property
    def box(self) -> Box | None:
        """The box that is wiped or marked in every picture; ``None``: each has its own."""
        return self._state.box

    @box.setter
    def box(self, box: Sequence[int] | None) -> None:
        self._take(box=None if box is None else self._checked(box))

    @property
    def change(self) -> str:
        """What is done to the box: ``"as it is"``, ``"wiped"`` or ``"marked"``."""
        return self._state.change

    @change.setter
    def change(self, change: str) -> None:
        if change not in CHANGES:
            expected = " or ".join(f'"{each}"' for each in CHANGES)
            raise invalid(_WHO, "change", expected, repr(change), 'Try "wiped"')
        self._take(change=change)

    @property
    def found(self) -> Found | None:
        """What is on the screen."""
        return None if self._outcome is None else self._outcome.value

    def code(self) -> str:
        """The cell that makes this picture again."""
        names, state, first = Names(), self._state, Study(method=self._usual)
        study = [
            f"{each.name}={self._as_code(names, getattr(state.study, each.name))}"
            for each in params(state.study)
            if getattr(state.study, each.name) != getattr(first, each.name)
        ]
        target = [] if state.target is None else [f"target={state.target}"]
        arguments = [*self._about.code, f"label={state.label}", *target, *study]
        settings: dict[str, Any] = {
            "group": state.group,
            "picture": self.picture or None,
            "box": None if state.box is None else tuple(state.box),
            "change": None if state.change == AS_IT_IS else state.change,
        }
        given = {name: as_code(value) for name, value in settings.items() if value is not None}
        call = opened(f"{self.opener}({', '.join(arguments)})", given)
        return f"{names.comment()}import nni_widgets as nni\n\n{call}"

    @property
    def _usual(self) -> Method:
        return default_method(self._about.model)

    @staticmethod
    def _as_code(names: Names, value: Any) -> str:
        return names.method(value) if isinstance(value, Declared) else as_code(value)

    # where it all stands

    def _layout(self) -> list[widgets.Widget]:
        pickers = [self._label, self._target, self._group, self._stepper.widget]
        plot = widgets.VBox([*pickers, self._plot.widget, self._legend]).add_class("nn-chart")
        mean = widgets.VBox([self._mean.view, self._counts])
        boxes = widgets.VBox([self._change, self._fields.widget, self._own_box])
        picture = widgets.VBox([self._framed.view, boxes])
        scores = widgets.VBox([self._scores.widget, self._words])
        rows = [
            [plot, *self._sheets.views, mean],
            [picture, self._before.view, self._after.view, scores],
        ]
        cancel = [button("Cancel", self._cancel)]
        return self._stacked(rows, [self._panel.box], first=cancel)

    # from a change to what there is to see

    def _take(self, **changes: Any) -> None:
        """Select otherwise, and ask for it; other groups begin with all pictures."""
        state = dataclasses.replace(self._state, **changes)
        if state.grouping != self._state.grouping and "group" not in changes:
            state = dataclasses.replace(state, group=None)
        self._state = state
        self._show_state()
        self._ask()

    def _show_state(self) -> None:
        """Let the controls show what is selected."""
        state = self._state
        with self._quiet:
            if state.label not in [value for _, value in self._label.options]:
                self._label.options = (
                    *self._label.options,
                    (self._about.classes[state.label], state.label),
                )
            self._label.value = state.label
            self._target.value = _NONE if state.target is None else state.target
            self._change.value = state.change
        self._panel.show(state.study)
        self._own_box.disabled = state.box is None

    def _request(self) -> Request[Found]:
        chosen = self._state
        work: partial[Iterator[Step[Found]]] = partial(self._work, chosen)
        return request_of(chosen, work)

    def _paint(self, shown: Found) -> None:
        pictures, pair = self._about.pictures, shown.pair
        signed = pair.method.signed
        self._paint_groups(shown)
        self._sheets.show(shown, pictures.low, pictures.high, signed)
        mean, members = shown.mean, shown.members
        share = percent(shown.share(members))
        words = f"{told.group(shown)}: on average {share} of the positive relevance in the box."
        self._mean.put(mean, scale_of(mean, signed=signed), words)
        self._counts.value = paragraph(told.counted(shown, self._name(shown)))
        self._paint_picture(shown)

    def _paint_groups(self, shown: Found) -> None:
        with self._quiet:
            named = self._groups_named(shown)
            if list(self._group.options) != named:
                self._group.options = named
            self._group.value = _NONE if shown.group is None else shown.group
        self._stepper.fit(len(shown.members), shown.members.index(shown.place))
        if shown.groups is None:
            self._plot.clear()
            self._legend.value = paragraph("the groups are known when all maps are there")
            return
        if shown.layout is not None:
            self._plot.show(shown.layout, shown.groups.labels, shown.group, shown.place)
        sizes = shown.groups.labels.bincount().tolist()
        each = (f"{sign(g)}&nbsp;{g}:&nbsp;{size}" for g, size in enumerate(sizes))
        suggested = f"The maps suggest {shown.maps.suggested}."
        self._legend.value = f"<p>{' · '.join(each)}. {suggested}</p>"

    def _groups_named(self, shown: Found) -> list[tuple[str, int]]:
        named = [("all pictures", _NONE)]
        if shown.groups is not None:
            sizes = shown.groups.labels.bincount().tolist()
            named += [(f"group {g}: {size} pictures", g) for g, size in enumerate(sizes)]
        return named

    def _paint_picture(self, shown: Found) -> None:
        pair, change, place = shown.pair, shown.chosen.change, shown.place
        pictures = self._about.pictures
        self._framed.entitle(f"picture {place}, {change}: drag the box")
        self._framed.paint(picture_png(pair.x[1], pictures.low, pictures.high))
        self._fit_box(self._state.box or shown.box)
        self._before.entitle(f"as it is: {told.answer(shown, 0)}")
        self._before.paint(pair, pair.heatmap(0), words=f"{told.inside(shown, 0)}.")
        self._after.entitle(f"{change}: {told.answer(shown, 1)}")
        self._after.paint(pair, pair.heatmap(1), words=f"{told.inside(shown, 1)}.")
        self._after.view.layout.visibility = "hidden" if change == AS_IT_IS else None
        before, after = pair.probabilities.numpy()
        self._scores.show(before, None if change == AS_IT_IS else after)
        self._words.value = "".join(self._lines(shown))

    def _lines(self, shown: Found) -> Iterator[str]:
        """The answers before and after with the colours of their bars, and what is explained."""
        yield f"<p>{key(0)} {html.escape(f'as it is: {told.answer(shown, 0)}')}</p>"
        if (change := shown.chosen.change) != AS_IT_IS:
            yield f"<p>{key(1)} {html.escape(f'{change}: {told.answer(shown, 1)}')}</p>"
        yield paragraph(f"explained: {shown.pair.target_names[0]}")
        area = told.area(shown.box, self._about.pictures.sides)
        yield paragraph(f"box {tuple(shown.box)}: {area}")

    def _fit_box(self, box: Box) -> None:
        """The box stands where the user has put it last, which may be further already."""
        height, width = self._about.pictures.sides
        size = box.bottom - box.top, box.right - box.left
        tops, lefts = range(height - size[0] + 1), range(width - size[1] + 1)
        self._framed.fit(tops, lefts, size, (height, width), (box.top, box.left))
        self._fields.show(box)

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
        pair = shown.pair
        return told.digest(
            shown, self._name(shown), pair.target_names[0], pair.code, self._about.pictures.sides
        )

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

    # what the user does

    def _forget(self) -> None:
        self._state = self._first
        self._show_state()

    def _label_chosen(self) -> None:
        self._take(label=self._label.value, place=0)

    def _target_chosen(self) -> None:
        self._take(target=None if self._target.value == _NONE else self._target.value)

    def _bar_chosen(self, number: int) -> None:
        self._take(target=number)

    def _change_chosen(self) -> None:
        self._take(change=self._change.value)

    def _group_chosen(self) -> None:
        self._enter(None if self._group.value == _NONE else self._group.value)

    def _enter(self, group: int | None) -> None:
        """Choose a group; the picture stays if it is one of it."""
        found = self.found
        if found is None:
            return
        members = dataclasses.replace(
            found, chosen=dataclasses.replace(found.chosen, group=group)
        ).members
        place = found.place if found.place in members else members[0]
        self._take(group=group, place=place)

    def _stepped(self) -> None:
        found = self.found
        if found is not None and self._stepper.value < len(found.members):
            self._take(place=found.members[self._stepper.value])

    def _point_chosen(self, place: int) -> None:
        """A point of the chart was clicked: its group, and its picture."""
        found = self.found
        if found is not None and found.groups is not None:
            self._take(group=int(found.groups.labels[place]), place=place)

    def _place_chosen(self, place: int) -> None:
        found = self.found
        stays = found is not None and place in found.members
        self._take(place=place, group=self.group if stays else None)

    def _box_dragged(self) -> None:
        found = self.found
        if found is not None:
            top, left = self._framed.place
            now = self._state.box or found.box
            height, width = now.bottom - now.top, now.right - now.left
            self._take(box=Box(top, left, top + height, left + width))

    def _box_given(self, box: Box) -> None:
        try:
            self._take(box=self._checked(box))
        except ValueError as error:
            self._refuse(error)

    def _forget_box(self) -> None:
        self._take(box=None)

    def _study_changed(self, study: Declared) -> None:
        self._take(study=cast(Study, study))

    def _checked(self, box: Any) -> Box:
        (found,) = boxes_of([box], self._about.pictures.images[:1], _WHO)
        return found

    def _group_count(self) -> int:
        found = self.drain().found
        return 0 if found is None or found.groups is None else len(found.groups.means)

    # what is saved

    def _pngs(self, shown: Found) -> dict[str, bytes]:
        pictures, pair, name = self._about.pictures, shown.pair, self._name(shown)
        members = list(shown.members)
        mean = shown.mean
        panels = [
            Panel(
                shown.maps.x[members].mean(0), mean, scale_of(mean, signed=pair.method.signed),
                f"mean picture and mean map of {told.counted(shown, name)}",
            ),
            Panel(pair.x[0], pair.heatmap(0), pair.scale(0),
                  f"{told.picture(shown, name)}; {told.inside(shown, 0)}"),
        ]  # fmt: skip
        if shown.chosen.change != AS_IT_IS:
            inside = percent(share_inside(pair.heatmap(1), shown.box))
            words = f"box {shown.chosen.change}: {told.answer(shown, 1)}; in the box {inside}"
            panels.append(Panel(pair.x[1], pair.heatmap(1), pair.scale(1), words))
        metadata = {"Software": "nni_widgets", "Explanation": self._text_of(shown)}
        title = told.groups(shown, name)
        return {"hans.png": figure_png(panels, title, pictures.low, pictures.high, metadata)}

    def _npzs(self, shown: Found) -> dict[str, bytes]:
        kept = {"numbers": shown.maps.numbers, "maps": shown.maps.values, "mean": shown.mean}
        kept |= {"predicted": shown.maps.predicted, "boxes": torch.tensor(shown.boxes)}
        kept |= {"x": shown.pair.x, "attribution": shown.pair.attribution}
        kept["logits"] = shown.pair.result.logits
        if shown.groups is not None:
            kept |= {"groups": shown.groups.labels, "embedding": shown.groups.embedding}
            kept["eigenvalues"] = shown.groups.eigenvalues
        if shown.layout is not None:
            kept["layout"] = shown.layout
        return {"hans.npz": npz(**kept)}


def class_number(given: Any, classes: Sequence[str], what: str = "label") -> int:
    """A class by its name or number. Raises ``ValueError``."""
    if isinstance(given, str) and given in classes:
        return classes.index(given)
    if isinstance(given, bool) or given not in range(len(classes)):
        expected = f"a class: a name, or a number from 0 to {len(classes) - 1}"
        raise invalid(_WHO, what, expected, repr(given), "Try 0")
    return int(given)


def with_parameters(study: Study, given: Mapping[str, Any]) -> Study:
    """The study with other parameters. Raises ``ValueError``."""
    known = [each.name for each in params(study)]
    for name in given:
        if name not in known:
            action = "See the help of nni.explore_hans"
            raise invalid(_WHO, "a parameter", f"one of {', '.join(known)}", name, action)
    method = {"method": as_method(given["method"])} if "method" in given else {}
    replaced: Study = study.replace(**{**given, **method})
    return replaced


def paragraph(words: str) -> str:
    """A paragraph of plain words."""
    return f"<p>{html.escape(words)}</p>"


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
    code = [names[0]] if model is not None else []
    given = {"images": images, "labels": labels, "boxes": boxes}
    code += [
        f"{key}={name}"
        for (key, value), name in zip(given.items(), names[1:], strict=True)
        if value is not None
    ]
    model = models.load(_MODEL) if model is None else model
    pictures = bundled(model, given) if images is None else collection(model, images, labels, boxes)
    with model_lock:
        logits = logits_of("explore_hans", model, pictures.images[:1])
    about = Setting(model, pictures, classes_of(model, logits), tuple(code), large)
    first = first_label(pictures, logits) if label is None else class_number(label, about.classes)
    aim = None if target is None else class_number(target, about.classes, "target")
    usual = default_method(model) if method is None else method
    study = with_parameters(Study(), {"method": usual, **parameters})
    return HansExplorer(about, first, aim, study)


def first_label(pictures: Collection, logits: Tensor) -> int:
    """The class to begin with: the one that is marked in bundled digits, or the first one."""
    labels = pictures.labels
    if labels is None:
        return int(logits[0].argmax())
    return _MARKED_CLASS if bool((labels == _MARKED_CLASS).any()) else int(labels.min())


def bundled(model: nn.Module, given: Mapping[str, Any]) -> Collection:
    """The bundled digits with marks. Raises ``ValueError`` if the model is not for them."""
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        action = "Give the images too"
        raise invalid("explore_hans", extra[0], "given with images", "no images", action)
    if tuple(getattr(model, "input_shape", ())) != _DIGIT:
        expected, action = "given for a model of other pictures than digits", "Give images (N, ...)"
        raise invalid("explore_hans", "images", expected, "None", action)
    hans = data.hans()
    return collection(model, hans.images, hans.labels, hans.boxes)


def collection(model: nn.Module, images: Any, labels: Any, boxes: Any) -> Collection:
    """Pictures that are given. Raises ``ValueError``."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        shown = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images)
        expected, action = "a batch of pictures (N, C, H, W)", "Use x[None] for one"
        raise invalid("explore_hans", "images", expected, shown, action)
    known = checked_labels(labels, len(images))
    return Collection(
        images.detach(),
        None if known is None else torch.tensor(known),
        () if boxes is None else boxes_of(boxes, images, "explore_hans"),
        *picture_range(model, images),
    )
