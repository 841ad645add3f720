"""Controls made from declarations.

Each declared parameter becomes one control: a slider with a field to type in, a checkbox, or a
drop-down. The slider covers the usual range; the field takes every legal value.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import ipywidgets as widgets

from nni_widgets.params import Declared, Param, params
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.controls import PARAMETER_STYLE, Mistyped, OnError
from nni_widgets.widgets.parts.quiet import Quiet

OnValue = Callable[[Any], None]


class Control(Protocol):
    """A widget for one parameter; ``set`` changes it without calling back."""

    widget: widgets.Widget

    def set(self, value: Any) -> None:
        """Show this value."""


class ParameterPanel:
    """The controls of a value made of declared parameters.

    ``on_change(value)`` is called with the new value, ``on_error(error)`` when what was set is not
    legal; the value then stays what it was, and what was typed stays to be corrected until
    ``error.undo()``. ``choices`` and ``usual``, defaults of sliders, are those that only the
    explorer knows, by the name of the parameter.
    """

    def __init__(
        self,
        value: Declared,
        on_change: OnValue,
        on_error: OnError,
        choices: Mapping[str, Sequence[Any]] | None = None,
        usual: Mapping[str, float] | None = None,
    ) -> None:
        self.box = widgets.VBox()
        self.box.add_class("nn-parameters")
        self._on_change, self._on_error = on_change, on_error
        self._choices, self._usual = dict(choices or {}), dict(usual or {})
        self.value = value
        self._build()

    def show(self, value: Declared) -> None:
        """Show another value, of the same or of another class."""
        same = type(value) is type(self.value)
        self.value = value
        if not same:
            self._build()
            return
        for name, control in self._controls.items():
            control.set(getattr(value, name))

    def reset(self, value: Declared) -> None:
        """Show this value, and forget the settings of every class that was left for another."""
        self.value = value
        self._build()

    def _build(self) -> None:
        value = self.value
        self._controls: dict[str, Control] = {
            declaration.name: self._control(declaration, getattr(value, declaration.name))
            for declaration in map(self._known_here, params(value))
            if declaration.kind != "value"
        }
        replaced, self.box.children = (
            self.box.children,
            tuple(control.widget for control in self._controls.values()),
        )
        for widget in replaced:
            close_all(widget)

    def _known_here(self, declaration: Param) -> Param:
        """A declaration with what the explorer knows; twice its default is within the slider."""
        name = declaration.name
        if name in self._choices:
            return replace(declaration, kind="choice", choices=tuple(self._choices[name]))
        if name in self._usual:
            low, high = declaration.slider or (0, 0)
            default = self._usual[name]
            return replace(declaration, default=default, slider=(low, max(high, 2 * default)))
        return declaration

    def _control(self, declaration: Param, value: Any) -> Control:
        def changed(new: Any) -> None:
            try:
                self.value = self.value.replace(**{declaration.name: new})
            except ValueError as error:
                self._on_error(Mistyped(error, lambda: self.show(self.value)))
            else:
                self._on_change(self.value)

        if declaration.kind == "part":
            return _Part(declaration, value, changed, self._on_error, self._choices)
        if declaration.kind in {"int", "float"}:
            return _Number(declaration, value, changed)
        return _Choice(declaration, value, changed)


class _Number:
    """A slider over the usual range beside a field for every legal number.

    The field has the value; one that is no number, such as one per channel, is told in words. A
    slider can only stand on its steps, and the page moves it there by itself: only a move to
    another step is a new value. A logarithmic slider has 10 steps a decade, or 4 an octave for
    whole numbers; any other has 100 steps.
    """

    def __init__(self, declaration: Param, value: Any, changed: OnValue) -> None:
        self._changed, self._quiet = changed, Quiet()
        self._low, self._high = declaration.slider or (declaration.low or 0, declaration.high or 1)
        self._log, self._whole = declaration.log, declaration.kind == "int"
        self._slider = self._make_slider(declaration)
        text = widgets.IntText if self._whole else widgets.FloatText
        name = f"{declaration.name.replace('_', ' ')}, typed"
        self._field = text(description=name, layout=widgets.Layout(width="76px"))
        self._default = f"default {declaration.default:g}"
        self._mark = widgets.HTML()
        self._slider.add_class(f"nn-{declaration.name}")
        self._field.add_class(f"nn-{declaration.name}-field")
        self.widget = widgets.HBox([self._slider, self._field, self._mark])
        self.widget.add_class("nn-number")
        self.set(value)
        self._slider.observe(self._slid, "value")
        self._field.observe(self._typed, "value")

    def set(self, value: Any) -> None:
        is_number = isinstance(value, (int, float))
        self._field.disabled = self._slider.disabled = not is_number
        self._field.layout.display = None if is_number else "none"
        words = self._default if is_number else f"{_in_words(value)}, {self._default}"
        self._mark.value = f"<small>{html.escape(words)}</small>"
        if is_number:
            self._show(value)

    def _make_slider(self, declaration: Param) -> widgets.Widget:
        legal = f"{declaration.doc} ({declaration.legal}; default {declaration.default:g})"
        low, high = self._place(self._low), self._place(self._high)
        linear = widgets.IntSlider if self._whole else widgets.FloatSlider
        kind = partial(widgets.FloatLogSlider, base=self._base) if self._log else linear
        step = (0.25 if self._whole else 0.1) if self._log else (high - low) / 100
        return kind(
            value=self._high,
            min=low,
            max=high,
            step=1 if self._whole and not self._log else step,
            description=declaration.name.replace("_", " "),
            tooltip=legal,
            readout=False,
            layout=widgets.Layout(width="260px"),
            style=PARAMETER_STYLE,
        )

    def _show(self, value: float) -> None:
        with self._quiet:
            self._field.value = value
            self._slider.value = min(max(value, self._low), self._high)

    @property
    def _base(self) -> int:
        return 2 if self._whole else 10

    def _place(self, value: float) -> float:
        return math.log(value, self._base) if self._log else value

    def _step(self, value: float) -> int:
        place = self._place(min(max(value, self._low), self._high))
        return math.floor((place - float(self._slider.min)) / float(self._slider.step) + 0.5)

    def _slid(self, change: dict[str, Any]) -> None:
        if self._quiet or self._step(change["new"]) == self._step(self._field.value):
            return
        digits = 2 if self._log else 4
        value = round(change["new"]) if self._whole else float(f"{change['new']:.{digits}g}")
        with self._quiet:
            self._field.value = value
        self._changed(value)

    def _typed(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._show(change["new"])
            self._changed(change["new"])


class _Choice:
    """A drop-down, or a checkbox for yes and no."""

    def __init__(self, declaration: Param, value: Any, changed: OnValue) -> None:
        name = declaration.name.replace("_", " ")
        if declaration.kind == "bool":
            self.widget = widgets.Checkbox(description=name, style=PARAMETER_STYLE)
        else:
            options = [(_marked(str(c), c == declaration.default), c) for c in declaration.choices]
            self.widget = widgets.Dropdown(options=options, description=name, style=PARAMETER_STYLE)
        self._quiet = Quiet()
        self.set(value)
        self.widget.add_class(f"nn-{declaration.name}")
        self.widget.observe(lambda change: None if self._quiet else changed(change["new"]), "value")

    def set(self, value: Any) -> None:
        with self._quiet:
            options = getattr(self.widget, "options", ())
            if options and value not in [each for _, each in options]:
                self.widget.options = (
                    *options,
                    (str(value), value),
                )  # whether it is legal, others say
            self.widget.value = value


class _Part:
    """A drop-down of classes and the controls of the chosen one; each class keeps its settings."""

    def __init__(
        self,
        declaration: Param,
        value: Any,
        changed: OnValue,
        on_error: OnError,
        choices: Mapping[str, Sequence[Any]],
    ) -> None:
        self._options = declaration.options() if declaration.options else ()
        self._default = type(declaration.default)
        self._changed, self._quiet = changed, Quiet()
        self._kept: dict[type, Any] = {}
        name = declaration.name.replace("_", " ")
        self._picker = widgets.Dropdown(
            description=name, style=PARAMETER_STYLE, layout={"width": "330px"}
        )
        self._picker.add_class(f"nn-{declaration.name}")
        self._panel = ParameterPanel(value, self._inner_changed, on_error, choices)
        self._panel.box.add_class("nn-nested")
        self.widget = widgets.VBox([self._picker, self._panel.box])
        self.set(value)
        self._picker.observe(self._picked, "value")

    def set(self, value: Any) -> None:
        with self._quiet:
            self._kept[type(value)] = value
            classes = dict.fromkeys((*self._options, *self._kept))
            options = [(_marked(title(kind), kind is self._default), kind) for kind in classes]
            if [kind for _, kind in options] != [kind for _, kind in self._picker.options]:
                self._picker.options = options
            self._picker.value = type(value)
            self._panel.show(value)

    def _picked(self, change: dict[str, Any]) -> None:
        if self._quiet:
            return
        value = self._kept.get(change["new"]) or change["new"]()
        self._panel.show(value)
        self._changed(value)

    def _inner_changed(self, value: Any) -> None:
        self._kept[type(value)] = value
        self._changed(value)


_TITLES = {"Composite": "own table", "FunctionMethod": "own function"}


def title(kind: type) -> str:
    """What a class is called in a drop-down."""
    given = getattr(kind, "title", "")
    return given if isinstance(given, str) and given else _TITLES.get(kind.__name__, kind.__name__)


def _in_words(value: Any) -> str:
    """A value that no field has room for: numbers, one per channel, or a tensor."""
    if isinstance(value, tuple):
        return f"({', '.join(f'{each:.3g}' for each in value)})"
    return f"a tensor of shape {tuple(value.shape)}"


def _marked(name: str, is_default: bool) -> str:
    name = name or "automatic"
    return f"{name} (default)" if is_default else name
