"""What arrives at each layer and what is lost there: bars to click, a picker, and a table."""

from __future__ import annotations

import html
from collections.abc import Callable

import ipywidgets as widgets
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.flow import FlowRow
from nni_widgets.pictures.way import Way
from nni_widgets.widgets.parts.charts import FlowChart
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.panes import INPUT
from nni_widgets.widgets.parts.quiet import Quiet

_HEADS = ("layer", "arrived", "for", "against", "lost")
_CAPTION = "what arrives at each layer, its parts for and against, and what is lost there"


class LayerBars:
    """Chart, picker and table of one explanation; ``layer`` is the chosen one, or ``(input)``.

    ``on_look()`` is called when the user chooses another layer, by a click or in the picker.
    """

    def __init__(self, on_look: Callable[[], None]) -> None:
        self._quiet = Quiet()
        self._picker = widgets.Dropdown(
            description="layer", options=[INPUT], style=SIDE_STYLE, layout=SIDE
        ).add_class("nn-layer")
        self._picker.observe(lambda _: None if self._quiet else on_look(), "value")
        self._chart = FlowChart("nn-deltas", self._choose)
        heading = widgets.HTML("<b>Δ that arrives at each layer</b>")
        self.widget = widgets.VBox([heading, self._chart.widget, self._picker])
        self.table = widgets.HTML().add_class("nn-layer-table")

    @property
    def layer(self) -> str:
        """The chosen layer."""
        return str(self._picker.value)

    @layer.setter
    def layer(self, label: str) -> None:
        if label not in self._picker.options:
            known = ", ".join(self._picker.options)
            raise invalid("Explorer", "layer", f"one of {known}", repr(label), "Correct its name")
        self._picker.value = label

    def show(self, made: Explanation) -> None:
        """Show the sums of an explanation; the chosen layer stays if it is among its layers."""
        self._offer((INPUT, *(layer.label for layer in reversed(made.result.layers))))
        way = Way.of(made)
        self._chart.show([*way.told(), _at_the_input(made)], self.layer)
        self.table.value = self._rows(made, way)

    def clear(self) -> None:
        """Show no sum."""
        self._chart.clear()
        self.table.value = ""

    def reset(self) -> None:
        """Choose the input, without calling back."""
        with self._quiet:
            self._picker.value = INPUT

    def _offer(self, labels: tuple[str, ...]) -> None:
        if labels == tuple(self._picker.options):
            return
        with self._quiet:
            wanted = self.layer
            self._picker.options = labels
            self._picker.value = wanted if wanted in labels else INPUT

    def _rows(self, made: Explanation, way: Way) -> str:
        values = {layer.label: layer.relevance[:1] for layer in made.result.layers}
        values[INPUT] = made.attribution[:1]
        rows = (*way.told(), _at_the_input(made))
        heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
        body = "".join(self._row(way, row, values[row.label]) for row in rows)
        return (
            f'<table aria-label="{_CAPTION}"><thead><tr>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _row(self, way: Way, row: FlowRow, values: Tensor) -> str:
        parts = values.clamp(min=0).sum(), values.clamp(max=0).sum()
        numbers = [way.number(float(part)) for part in (row.arrived, *parts)]
        lost = ", ".join(
            f'<i style="background:{self._chart.colour(cause)}"></i>'
            f"{html.escape(cause)} {way.number(part)}"
            for cause, part in row.lost.items()
        )
        cells = "".join(f"<td>{cell}</td>" for cell in (*numbers, lost or "0"))
        current = ' aria-current="true"' if row.label == self.layer else ""
        return f'<tr{current}><th scope="row">{html.escape(row.label)}</th>{cells}</tr>'

    def _choose(self, label: str) -> None:
        self._picker.value = label


def in_words(made: Explanation) -> str:
    """What arrives at each layer and what is lost there, from the output down."""
    way = Way.of(made)
    return "\n".join(f"{row.label}: {way.in_words(row.label)}" for row in way.told())


def _at_the_input(made: Explanation) -> FlowRow:
    total = float(made.total[0])
    return FlowRow(INPUT, "input", "", arrived=total, lost={}, in_flight=total)
