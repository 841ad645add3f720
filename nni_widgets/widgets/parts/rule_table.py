"""The table of an LRP explorer: per layer its rule, the rule's number, and what it conserved."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import ipywidgets as widgets

from nni_widgets.engine.composites import RULES, Composite, Preset
from nni_widgets.engine.propagation import Layer
from nni_widgets.engine.rules import Rule
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.controls import OnError
from nni_widgets.widgets.parts.panel import ParameterPanel, title
from nni_widgets.widgets.parts.quiet import Quiet

_LETTER, _LEAST_NAME, _LONGEST_NAME, _PICKER = 7.5, 84, 190, 116
_ONLY_WITH_WEIGHTS = (":first", ":last", ":conv", ":dense", "*")


class RuleTable:
    """One row per layer with weights, from the output down.

    ``on_change(table)`` is called with the rule of every row when one of them is changed.
    """

    def __init__(self, on_change: Callable[[dict[str, Rule]], None], on_error: OnError) -> None:
        self.box = widgets.VBox()
        self.box.add_class("nn-table")
        self._on_change, self._on_error = on_change, on_error
        self._rows: dict[str, _Row] = {}

    def show(self, layers: Sequence[Layer], sample: int = 0) -> None:
        """Show the rules and sums of an explanation."""
        weighted = [layer for layer in layers if layer.has_weights]
        if [layer.label for layer in weighted] != list(self._rows):
            width = _name_width([layer.label for layer in weighted])
            self._rows = {layer.label: self._row(layer, width) for layer in weighted}
            replaced, self.box.children = (
                self.box.children,
                tuple(row.widget for row in self._rows.values()),
            )
            for widget in replaced:
                close_all(widget)
        largest = max((abs(float(layer.arrived[sample])) for layer in weighted), default=0.0)
        for layer in weighted:
            self._rows[layer.label].show(layer, sample, largest or 1.0)

    def _row(self, layer: Layer, width: int) -> _Row:
        return _Row(layer, width, self._changed, self._on_error)

    def _changed(self) -> None:
        try:
            self._on_change({label: row.rule for label, row in self._rows.items()})
        except ValueError as error:  # the composite that is edited may itself not be legal
            self._on_error(error)


def edited(composite: Preset, table: Mapping[str, Rule]) -> Composite:
    """The composite with these rules instead of those it gave to layers with weights."""
    replaced = {*table, *_ONLY_WITH_WEIGHTS}
    kept = [(where, rule) for where, rule in composite.pairs() if where not in replaced]
    return Composite(table=(*table.items(), *kept))


class _Row:
    def __init__(
        self, layer: Layer, width: int, changed: Callable[[], None], on_error: OnError
    ) -> None:
        self.rule = cast(Rule, layer.rule)
        self._changed, self._quiet = changed, Quiet()
        name = layer.label
        self._picker = widgets.Dropdown(
            description=name,
            options=[(title(kind), kind) for kind in dict.fromkeys((*RULES, type(layer.rule)))],
            value=type(layer.rule),
            layout={"width": f"{width + _PICKER}px"},
            style={"description_width": f"{width}px"},
        )
        self._picker.add_class("nn-rule").add_class("nn-rule-" + re.sub(r"\W", "-", name))
        self._panel = ParameterPanel(self.rule, self._number_changed, on_error)
        self._bar = widgets.HTML()
        self._bar.add_class("nn-conservation")
        self.widget = widgets.HBox([self._picker, self._panel.box, self._bar])
        self._picker.observe(self._picked, "value")

    def show(self, layer: Layer, sample: int, largest: float) -> None:
        if layer.rule != self.rule:
            self._show_rule(cast(Rule, layer.rule))
        self._bar.value = _bar(layer, sample, largest)

    def _show_rule(self, rule: Rule) -> None:
        self.rule = rule
        with self._quiet:
            if type(rule) not in [kind for _, kind in self._picker.options]:
                self._picker.options = (*self._picker.options, (title(type(rule)), type(rule)))
            self._picker.value = type(rule)
            self._panel.show(rule)

    def _picked(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self.rule = change["new"]()
            self._panel.show(self.rule)
            self._changed()

    def _number_changed(self, rule: Rule) -> None:
        self.rule = rule
        self._changed()


def _name_width(labels: Sequence[str]) -> int:
    """As many pixels as the longest name needs, within bounds."""
    longest = round(_LETTER * max(map(len, labels), default=0))
    return min(max(longest, _LEAST_NAME), _LONGEST_NAME)


def _bar(layer: Layer, sample: int, largest: float) -> str:
    """What arrived at a layer, as a bar: the part that went on, then the part that was lost."""
    arrived = float(layer.arrived[sample])
    lost = {cause: float(amount[sample]) for cause, amount in layer.lost.items()}
    gone = sum(lost.values())
    on, off = (min(100.0, 100 * abs(part) / largest) for part in (arrived - gone, gone))
    noted = [f"{cause} {amount:+.2f}" for cause, amount in lost.items() if abs(amount) >= 0.005]
    total = f"{round(arrived, 2) or 0.0:+.2f}"
    words = f"{total}, lost: {', '.join(noted)}" if noted else f"{total}, all handed on"
    return (
        f'<div class="nn-bar" role="img" aria-label="{html.escape(layer.label)}: arrived {words}">'
        f'<i style="width:{on:.1f}%"></i><b style="width:{off:.1f}%"></b></div>'
        f"<small>{words}</small>"
    )
