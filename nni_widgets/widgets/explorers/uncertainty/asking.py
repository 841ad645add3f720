"""What can be asked of the Uncertainty explorer, from code and in the page."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import ipywidgets as widgets

from nni_widgets.engine.methods.base import AnyMethod, as_method
from nni_widgets.engine.uncertainty import Source
from nni_widgets.params import as_code
from nni_widgets.session import Request
from nni_widgets.widgets.bases.live import Live, opened, request_of
from nni_widgets.widgets.explorers.uncertainty.beside import Beside
from nni_widgets.widgets.explorers.uncertainty.motion import Motion
from nni_widgets.widgets.explorers.uncertainty.settings import (
    Calibration,
    Explained,
    Question,
    Selected,
    checked_target,
)
from nni_widgets.widgets.explorers.uncertainty.work import Doubted, Work
from nni_widgets.widgets.parts.controls import PARAMETER_STYLE, Stepper
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.inputs import DrawingInput
from nni_widgets.widgets.parts.maps import BLANK
from nni_widgets.widgets.parts.pad import DrawingPad
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.subject import Subject
from nni_widgets.widgets.parts.weights import state_of

_MEAN = "mean"  # a drop-down takes None for nothing chosen
_ANY_CLASS: tuple[tuple[str, int | str], ...] = (
    ("class of the mean prediction", _MEAN),
    ("what each sample predicts", "each"),
)
_WIDE = {"width": "330px"}


class Asking(Live[Doubted]):
    """The controls of the explorer, the attributes that are the same, and the request they make.

    The explorer itself fills in what is shown, and ``_retouch``: the temperature has changed.
    """

    def __init__(
        self, subject: Subject, question: Question, target: Explained, pictures: Beside
    ) -> None:
        self._subject, self._model, self._source = subject, subject.model, subject.source
        self._first = question, target
        self._beside = pictures
        self._work = Work(self._model, pictures.towards, pictures.held_out)
        self._quiet = Quiet()
        self._classes: tuple[str, ...] = ()
        self._motion = ParameterPanel(Motion(), lambda _: self._ask(), self._refuse)
        self._question = ParameterPanel(question, lambda _: self._ask(), self._refuse)
        self._calibration = ParameterPanel(Calibration(), lambda _: self._retouch(), self._refuse)
        self._other = Stepper("towards", max(1, pictures.count), self._ask)
        self._other.fit(self._other.count, pictures.first)
        self._other_picture = widgets.Image(value=BLANK, width="56").add_class("nn-px")
        self._other_picture.add_class("nn-other")
        for part in (self._other.widget, self._other_picture):
            part.layout.display = None if pictures.count > 1 else "none"
        self._target = widgets.Dropdown(
            description="explain", options=_ANY_CLASS, style=PARAMETER_STYLE, layout=_WIDE
        ).add_class("nn-target")
        self._target.observe(lambda _: None if self._quiet else self._ask(), "value")
        super().__init__(subject.large)
        self._show_target(target)

    def _retouch(self) -> None:
        raise NotImplementedError

    # what can be set from code

    @property
    def angle(self) -> int:
        """By how many degrees the picture is turned, against the clock."""
        return self._moving.angle

    @angle.setter
    def angle(self, degrees: int) -> None:
        self._change(self._motion, angle=degrees)

    @property
    def right(self) -> int:
        """By how many pixels the picture is shifted to the right."""
        return self._moving.right

    @right.setter
    def right(self, pixels: int) -> None:
        self._change(self._motion, right=pixels)

    @property
    def down(self) -> int:
        """By how many pixels the picture is shifted down."""
        return self._moving.down

    @down.setter
    def down(self, pixels: int) -> None:
        self._change(self._motion, down=pixels)

    @property
    def morph(self) -> float:
        """The share of the other picture, from 0 to 1."""
        return self._moving.morph

    @morph.setter
    def morph(self, share: float) -> None:
        self._change(self._motion, morph=share)

    @property
    def towards(self) -> int:
        """Which one of the other pictures is morphed towards."""
        return self._other.value

    @towards.setter
    def towards(self, number: int) -> None:
        self._other.value = number

    @property
    def source(self) -> Source:
        """What makes the model uncertain."""
        return self._asked.cause

    @source.setter
    def source(self, source: Source) -> None:
        self._change(self._question, cause=source)

    @property
    def method(self) -> AnyMethod:
        """What explains the answer of each sample."""
        return self._asked.method

    @method.setter
    def method(self, method: AnyMethod) -> None:
        self._change(self._question, method=as_method(method, type(self).__name__))

    @property
    def doubt(self) -> AnyMethod:
        """What explains the entropy of the mean prediction."""
        return self._asked.doubt

    @doubt.setter
    def doubt(self, method: AnyMethod) -> None:
        self._change(self._question, doubt=as_method(method, type(self).__name__, "doubt"))

    @property
    def target(self) -> Explained:
        """The explained class; None: that of the mean prediction; ``"each"``: each sample's own."""
        chosen: Explained = self._target.value
        return None if chosen == _MEAN else chosen

    @target.setter
    def target(self, target: Explained) -> None:
        self._show_target(checked_target(target))
        self._ask()

    @property
    def temperature(self) -> float:
        """By how much the logits are divided before probabilities are made of them."""
        return cast(Calibration, self._calibration.value).temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        self._calibration.show(self._calibration.value.replace(temperature=temperature))
        self._retouch()

    @property
    def pad(self) -> DrawingPad:
        """The drawing pad of an explorer that was opened without pictures."""
        if isinstance(self._source, DrawingInput):
            return self._source.pad
        raise AttributeError("UncertaintyExplorer: this one has given pictures, no pad.")

    # what is asked for

    @property
    def _asked(self) -> Question:
        return cast(Question, self._question.value)

    @property
    def _moving(self) -> Motion:
        return cast(Motion, self._motion.value)

    def _change(self, panel: ParameterPanel, **changes: Any) -> None:
        panel.show(panel.value.replace(**changes))
        self._ask()

    def _request(self) -> Request[Doubted] | None:
        current = self._source.current()
        if current is None:
            return None
        key, x = current
        selected = Selected(self._moving, self._other.value, self._asked, self.target)
        known = key, selected, state_of(self._model)
        return request_of(known, partial(self._work, x, selected))

    def _offer(self, classes: tuple[str, ...]) -> None:
        """Let one of these classes be explained."""
        if classes == self._classes:
            return
        self._classes = classes
        self._show_target(self.target)

    def _show_target(self, target: Explained) -> None:
        options = [*_ANY_CLASS, *((name, k) for k, name in enumerate(self._classes))]
        chosen = _MEAN if target is None else target
        if chosen not in [value for _, value in options]:
            options.append((str(chosen), chosen))
        with self._quiet:
            self._target.options = options
            self._target.value = chosen

    # words

    def _at_work(self) -> str:
        return f"{self.source.title} and {as_method(self.method).title}"

    def code(self) -> str:
        """The cell that makes these numbers and pictures again."""
        model, name = self._subject.names
        prepare, x = self._source.code(name, model)
        names = Names()
        arguments = [
            model,
            x,
            names.method(self.source),
            names.method(as_method(self.method)),
            *([] if self.target is None else [f"target={self.target!r}"]),
            *self._beside.arguments(self.towards, self.morph, names),
        ]
        made = opened(f"{self.opener}({', '.join(arguments)})", self._settings(names))
        prepare = self._subject.preparation + prepare
        return f"{names.comment()}import nni_widgets as nni\n\n{prepare}{made}"

    def _settings(self, names: Names) -> dict[str, str]:
        motion, first = self._moving, Motion()
        changed = {
            name: as_code(getattr(motion, name))
            for name in ("angle", "right", "down", "morph")
            if getattr(motion, name) != getattr(first, name)
        }
        if self.morph and self.towards and not self._beside.towards_code:
            changed["towards"] = as_code(self.towards)
        if self.doubt != Question().doubt:
            changed["doubt"] = names.method(as_method(self.doubt))
        if self.temperature != 1:
            changed["temperature"] = as_code(self.temperature)
        return changed

    # what the user does

    def _reset(self) -> None:
        self._source.reset()
        super()._reset()

    def _forget(self) -> None:
        question, target = self._first
        self._question.reset(question)
        self._motion.reset(Motion())
        self._calibration.reset(Calibration())
        self._other.fit(self._other.count, self._beside.first)
        self._show_target(target)

    def _copy_code(self) -> None:
        if self._source.current() is None:
            self._status.say(self._source.empty)
        else:
            super()._copy_code()
