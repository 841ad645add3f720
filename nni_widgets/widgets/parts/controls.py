"""Controls for what no parameter declares: a button, a number to step through, a row of dials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets

from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.quiet import Quiet

SIDE: dict[str, str] = {"width": "236px"}
SIDE_STYLE: dict[str, str] = {"description_width": "60px"}
PARAMETER_STYLE: dict[str, str] = {"description_width": "84px"}
_DIAL_STEPS = 160

OnError = Callable[[ValueError], None]


class Mistyped(ValueError):
    """What was typed is not legal; ``undo()`` shows in its place what is in effect."""

    def __init__(self, error: ValueError, undo: Callable[[], None]) -> None:
        super().__init__(str(error))
        self.undo = undo


def button(words: str, act: Callable[[], None], width: str = "auto") -> widgets.Button:
    """A button that does this; its CSS class is ``nn-`` and its words."""
    made = widgets.Button(description=words, layout={"width": width})
    made.add_class("nn-" + words.lower().replace(" ", "-"))
    made.on_click(lambda _: act())
    return made


class Stepper:
    """A slider over the numbers from 0 to count − 1; ``on_change()`` is called when it is moved.

    Its CSS class is ``nn-`` and its name unless given.
    """

    def __init__(
        self, name: str, count: int, on_change: Callable[[], None], css_class: str = ""
    ) -> None:
        self._name, self._quiet = name, Quiet()
        self.widget = widgets.IntSlider(
            max=count - 1, description=name, style=SIDE_STYLE, layout=SIDE
        ).add_class(css_class or f"nn-{name}")
        self.widget.observe(lambda _: None if self._quiet else on_change(), "value")

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return int(self.widget.max) + 1

    @property
    def value(self) -> int:
        """The number where it stands."""
        return int(self.widget.value)

    @value.setter
    def value(self, number: int) -> None:
        if isinstance(number, bool) or number not in range(self.count):
            expected = f"a whole number from 0 to {self.count - 1}"
            raise invalid("Explorer", self._name, expected, repr(number), "Try 0")
        self.widget.value = number

    def fit(self, count: int, value: int) -> None:
        """Have this many numbers and stand at one of them, without calling back."""
        with self._quiet:
            self.widget.max = count - 1
            self.widget.value = min(value, count - 1)


class Dials:
    """Sliders for numbers of one kind, each beside a field to type in, which has the value.

    ``on_change(number, value)`` tells which one was moved. ``widget`` has all of them; the CSS
    class of a slider is ``name`` and its number, that of its field ends in ``-field``. The sliders
    count whole steps: the page would round other numbers, and tell that as a move of the user's.
    """

    def __init__(
        self,
        labels: Sequence[str],
        name: str,
        ends: tuple[float, float],
        on_change: Callable[[int, float], None],
    ) -> None:
        self._on_change, self._quiet = on_change, Quiet()
        low, high = ends
        self._low, self._step = low, (high - low) / _DIAL_STEPS
        self._sliders = [
            widgets.IntSlider(
                max=_DIAL_STEPS,
                description=label,
                readout=False,
                style=PARAMETER_STYLE,
                layout={"width": "260px"},
            ).add_class(f"{name}-{number}")
            for number, label in enumerate(labels)
        ]
        self._fields = [
            widgets.FloatText(description=f"{label}, typed", layout={"width": "76px"}).add_class(
                f"{name}-{number}-field"
            )
            for number, label in enumerate(labels)
        ]
        pairs = list(zip(self._sliders, self._fields, strict=True))
        for number, (slider, field) in enumerate(pairs):
            slider.observe(partial(self._slid, number), "value")
            field.observe(partial(self._typed, number), "value")
        rows = [widgets.HBox(pair).add_class("nn-number") for pair in pairs]
        self.widget = widgets.VBox(rows)

    def show(self, values: Sequence[float]) -> None:
        """Stand at these values, as far as the sliders go, without calling back."""
        with self._quiet:
            for slider, field, value in zip(self._sliders, self._fields, values, strict=False):
                slider.value, field.value = self._place(value), round(value, 2)

    def _place(self, value: float) -> int:
        """The step that is nearest to a value."""
        if not math.isfinite(value):
            return 0
        return round(min(max((value - self._low) / self._step, 0), _DIAL_STEPS))

    def _slid(self, number: int, change: dict[str, Any]) -> None:
        field = self._fields[number]
        if self._quiet or change["new"] == self._place(field.value):
            return
        value = round(self._low + self._step * change["new"], 4)
        with self._quiet:
            field.value = value
        self._on_change(number, value)

    def _typed(self, number: int, change: dict[str, Any]) -> None:
        if self._quiet:
            return
        with self._quiet:
            self._sliders[number].value = self._place(change["new"])
        self._on_change(number, change["new"])
