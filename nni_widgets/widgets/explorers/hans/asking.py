"""What can be asked of the Clever Hans explorer, from code and in the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import ipywidgets as widgets

from nni_widgets.engine.methods.base import Method
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, is_whole, params
from nni_widgets.pictures.boxes import Box, boxes_of
from nni_widgets.pictures.explain import default_method
from nni_widgets.session import Request, Step
from nni_widgets.widgets.bases.live import Live, opened, request_of
from nni_widgets.widgets.explorers.hans.box_fields import BoxFields
from nni_widgets.widgets.explorers.hans.setting import Setting
from nni_widgets.widgets.explorers.hans.study import (
    AS_IT_IS,
    CHANGES,
    WHO,
    Chosen,
    Study,
    class_number,
    with_parameters,
)
from nni_widgets.widgets.explorers.hans.work import Found, Work
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE, Stepper, button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.weights import state_of

_NONE = -1  # a drop-down takes None for nothing chosen


class Asking(Live[Found]):
    """The controls of the explorer, the attributes that are the same, and the request they make.

    The explorer itself fills in what is shown.
    """

    def __init__(self, about: Setting, label: int, target: int | None, study: Study) -> None:
        self._about, self._first = about, Chosen(label, target, study)
        self._state, self._quiet = self._first, Quiet()
        self._work = Work(about.model, about.pictures, about.classes)
        self._make_choices()
        super().__init__(about.large)
        self._show_state()

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
        if group is not None and not (is_whole(group) and group in range(count)):
            expected = f"a group from 0 to {count - 1}, or None for all pictures"
            raise invalid(WHO, "group", expected, repr(group), "Try 0")
        self._enter(None if group is None else int(group))

    @property
    def picture(self) -> int:
        """The place of the chosen picture among those of the class, from 0. To set it waits."""
        found = self.found
        is_new = found is not None and found.chosen == self._state
        return found.place if found is not None and is_new else self._state.place

    @picture.setter
    def picture(self, place: int) -> None:
        found = self.drain().found
        count = 0 if found is None else len(found.maps.x)
        if not is_whole(place) or place not in range(count):
            expected = f"a whole number from 0 to {count - 1}"
            raise invalid(WHO, "picture", expected, repr(place), "Try 0")
        self._place_chosen(int(place))

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
            raise invalid(WHO, "change", expected, repr(change), 'Try "wiped"')
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

    # what is asked for

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

    def _offer(self, shown: Found) -> None:
        """Let one of its groups be chosen, one of the pictures of the group, and a box in it."""
        if shown.chosen.group == self._state.group:  # else the user is further already
            self._offer_groups(shown)
        self._stepper.fit(len(shown.members), shown.members.index(self._place_in(shown)))
        self._fields.show(self._box_in(shown))

    def _offer_groups(self, shown: Found) -> None:
        with self._quiet:
            named = groups_named(shown)
            if list(self._group.options) != named:
                self._group.options = named
            self._group.value = _NONE if shown.group is None else shown.group

    def _place_in(self, shown: Found) -> int:
        """The picture that the user has chosen last, which may be further already."""
        return self._state.place if self._state.place in shown.members else shown.place

    def _box_in(self, shown: Found) -> Box:
        """The box stands where the user has put it last, which may be further already."""
        return self._state.box or shown.box

    def _request(self) -> Request[Found]:
        chosen = self._state
        work: partial[Iterator[Step[Found]]] = partial(self._work, chosen)
        return request_of((chosen, state_of(self._about.model)), work)

    # what the user does

    def _forget(self) -> None:
        self._state = self._first
        self._panel.reset(self._first.study)
        self._show_state()

    def _label_chosen(self) -> None:
        self._take(label=self._label.value, place=0)

    def _target_chosen(self) -> None:
        self._take(target=None if self._target.value == _NONE else self._target.value)

    def _class_chosen(self, number: int) -> None:
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

    def _box_dragged(self, top: int, left: int) -> None:
        found = self.found
        if found is not None:
            now = self._box_in(found)
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
        given = box.tolist() if hasattr(box, "tolist") else box
        (found,) = boxes_of([given], self._about.pictures.images[:1], WHO)
        return found

    def _group_count(self) -> int:
        found = self.drain().found
        return 0 if found is None or found.groups is None else len(found.groups.means)


def groups_named(shown: Found) -> list[tuple[str, int]]:
    """The groups to choose from, with their sizes."""
    named = [("all pictures", _NONE)]
    if shown.groups is not None:
        sizes = shown.groups.labels.bincount().tolist()
        named += [(f"group {g}: {size} pictures", g) for g, size in enumerate(sizes)]
    return named
