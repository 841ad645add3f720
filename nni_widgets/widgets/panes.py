"""A pane: one method with its controls, its heatmap and what there is to read off it."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from nni_widgets.engine.composites import Composite
from nni_widgets.engine.methods import LRP, FunctionMethod, Method
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.heatmap import Scale
from nni_widgets.pictures.render import overlay_png, palette_png, scale_bar_png
from nni_widgets.widgets.controls import OnError, ParameterPanel
from nni_widgets.widgets.rule_table import RuleTable

INPUT = "(input)"
_HINT = "<small>point at a pixel to read it</small>"


class Pane:
    """The picker of a method, its controls, and its picture.

    ``on_change()`` is called whenever ``method`` has changed. Every method keeps its settings
    while another one is looked at.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        method: Method,
        on_change: Callable[[], None],
        on_error: OnError,
    ) -> None:
        self.method = method
        self._on_change = on_change
        self._quiet = False
        self._kept = {name_of(known): known for known in methods} | {name_of(method): method}
        self._first = dict(self._kept)
        self.explanation: Explanation | None = None
        self._picker = widgets.Dropdown(
            description="method",
            options=[(name, name) for name in self._kept],
            value=name_of(method),
            style={"description_width": "84px"},
        )
        self._picker.add_class("nn-method")
        self._panel = ParameterPanel(method, self._set, on_error)
        self._rules = RuleTable(self._table_changed, on_error)
        self._picture = widgets.Image(format="png", width="252")
        self._picture.add_class("nn-px").add_class("nn-heatmap")
        self._scale = widgets.Image(format="png", width="252", height="12")
        self._scale.add_class("nn-scale")
        self._ends = widgets.HTML()
        self._ends.add_class("nn-ends")
        self._sum = widgets.HTML()
        self._sum.add_class("nn-sum")
        self._hover = widgets.HTML(_HINT)
        self._hover.add_class("nn-hover")
        self.view = widgets.VBox([self._picture, self._scale, self._ends, self._sum, self._hover])
        self.view.add_class("nn-view")
        self.controls = widgets.VBox([self._picker, self._panel.box, self._rules.box])
        self._picker.observe(self._picked, "value")
        self._show_rules()

    def set(self, method: Method) -> None:
        """Select a method without calling back."""
        self._quiet = True
        try:
            self._kept[name_of(method)] = self.method = method
            self._picker.value = name_of(method)
            self._panel.show(method)
            self._show_rules()
        finally:
            self._quiet = False

    def reset(self, method: Method) -> None:
        """Forget all settings and select a method."""
        self._kept = dict(self._first)
        self.set(method)

    def show(
        self, explanation: Explanation, scale: Scale | None, layer: str, strength: float
    ) -> None:
        """Show an explanation, at the input or at a layer, on its own or on a given scale."""
        self.explanation = explanation
        at_input = layer == INPUT or layer not in {row.label for row in explanation.result.layers}
        heatmap = explanation.heatmap(0) if at_input else explanation.layer_map(layer, 0)
        scale = scale or explanation.scale_for(heatmap)
        self._map = heatmap
        if at_input and strength > 0 and explanation.x.ndim == 4:
            self._picture.value = overlay_png(
                explanation.x[0], heatmap, scale, strength, explanation.low, explanation.high
            )
        else:
            self._picture.value = palette_png(heatmap, scale)
        self._picture.remove_class("nn-stale")
        self._scale.value = scale_bar_png(scale)
        ends = (f"{scale.low:+.2g}", "0", f"{scale.limit:+.2g}")
        self._ends.value = "".join(f"<small>{end}</small>" for end in ends if scale.signed or end)
        self._sum.value = f"<p>{html.escape(explanation.adds_up(0))}</p>"
        if isinstance(self.method, LRP):
            self._rules.show(explanation.result.layers)

    def dim(self) -> None:
        """Mark the picture as one of before."""
        self._picture.add_class("nn-stale")

    def clear(self) -> None:
        """Show no picture."""
        self.explanation = None
        self._picture.value = self._scale.value = b""
        self._sum.value = self._ends.value = ""
        self._hover.value = _HINT

    def hover(self, x: float, y: float) -> None:
        """Read the pixel at these shares of the picture's width and height."""
        if self.explanation is None:
            return
        rows, columns = self._map.shape
        row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
        if row < 0 or column < 0:
            return
        value, total = float(self._map[row, column]), float(self._map.sum())
        share = f", {100 * value / total:.1f} % of the sum" if total else ""
        self._hover.value = f"<small>pixel ({column}, {row}): {value:+.4g}{share}</small>"

    def _picked(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._set(self._kept[change["new"]], new=True)

    def _set(self, method: Method, new: bool = False) -> None:
        self._kept[name_of(method)] = self.method = method
        if new:
            self._panel.show(method)
        self._show_rules()
        self._on_change()

    def _table_changed(self, composite: Composite) -> None:
        self.set(self.method.replace(rules=composite))
        self._on_change()

    def _show_rules(self) -> None:
        self._rules.box.layout.display = "flex" if isinstance(self.method, LRP) else "none"


def name_of(method: Method) -> str:
    """What a method is called in the picker."""
    if isinstance(method, FunctionMethod):
        return method.name
    return method.title
