"""A pane: one method with its controls, its heatmap and what there is to read off it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from nni_widgets.engine.methods import LRP, FunctionMethod, Method
from nni_widgets.engine.rules import Rule
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.heatmap import Scale
from nni_widgets.widgets.parts.controls import OnError
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.rule_table import RuleTable, edited

INPUT = "(input)"


class Pane(MapView):
    """The picker of a method, its controls, and its picture.

    ``on_change()`` is called whenever ``method`` has changed. Every method keeps its settings
    while another one is looked at. ``explanation`` is the one on the screen, ``usual`` the defaults
    of sliders that depend on the pictures.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        method: Method,
        on_change: Callable[[], None],
        on_error: OnError,
        usual: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self._on_change, self._quiet = on_change, Quiet()
        self._kept = labelled(methods)
        self.explanation: Explanation | None = None
        self._picker = widgets.Dropdown(
            description="method", style={"description_width": "84px"}
        ).add_class("nn-method")
        self._panel = ParameterPanel(method, self._set, on_error, usual=usual)
        self._rules = RuleTable(self._table_changed, on_error)
        self.controls = widgets.VBox([self._picker, self._panel.box, self._rules.box])
        self.controls.add_class("nn-controls")
        self.set(method)
        self._first = method, dict(self._kept)
        self._picker.observe(self._picked, "value")

    def set(self, method: Method) -> None:
        """Select a method without calling back."""
        with self._quiet:
            label = self._label_of(method)
            self._kept[label] = self.method = method
            if tuple(self._kept) != self._picker.options:
                self._picker.options = tuple(self._kept)
            self._picker.value = label
            self._panel.show(method)
            self._show_rules()

    @property
    def label(self) -> str:
        """What the selected method is called in the picker."""
        return str(self._picker.value)

    def reset(self) -> None:
        """Forget all settings and select the method of the beginning."""
        method, kept = self._first
        self._kept = dict(kept)
        self._panel.reset(method)
        self.set(method)

    def show(
        self, explanation: Explanation, scale: Scale | None, layer: str, strength: float
    ) -> None:
        """Show an explanation, at the input or at a layer, on its own or on a given scale."""
        self.explanation = explanation
        labels = {row.label for row in explanation.result.layers}
        values = explanation.layer_map(layer) if layer in labels else explanation.heatmap()
        self.paint(explanation, values, scale, strength)
        self._show_sums(explanation)

    def clear(self) -> None:
        """Show no picture."""
        self.explanation = None
        super().clear()

    def _picked(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self.set(self._kept[change["new"]])
            self._on_change()

    def _set(self, method: Method) -> None:
        self._kept[self._picker.value] = self.method = method
        self._on_change()

    def _table_changed(self, table: dict[str, Rule]) -> None:
        if isinstance(self.method, LRP):
            self.set(self.method.replace(rules=edited(self.method.rules, table)))  # type: ignore[arg-type]
            self._on_change()

    def _show_rules(self) -> None:
        self._rules.box.layout.display = "flex" if isinstance(self.method, LRP) else "none"

    def _show_sums(self, explanation: Explanation) -> None:
        """Fill the rule table, unless its rules have been changed since this was asked for."""
        if isinstance(explanation.method, LRP) and explanation.method == self.method:
            self._rules.show(explanation.result.layers)

    def _label_of(self, method: Method) -> str:
        """The entry that is this method, or the one it takes the place of, or a new one."""
        for label, known in self._kept.items():
            if known is method:
                return label
        alike = [label for label, known in self._kept.items() if _name(known) == _name(method)]
        return self._picker.value if self._picker.value in alike else (*alike, _name(method))[0]


def labelled(methods: Iterable[Method]) -> dict[str, Method]:
    """The methods by name; those that share a name are numbered."""
    found: dict[str, Method] = {}
    for method in methods:
        label, number = _name(method), 1
        while label in found:
            number += 1
            label = f"{_name(method)} ({number})"
        found[label] = method
    return found


def _name(method: Method) -> str:
    return method.name if isinstance(method, FunctionMethod) else method.title
