"""The Rules explorer: a rule for each layer, and what it hands on, keeps and loses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.composites import Preset, as_composite
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.rules import Rule
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.pictures.way import Way
from nni_widgets.session import Step
from nni_widgets.widgets.bases.scaffold import Parts, Scaffold
from nni_widgets.widgets.parts.axes import legend
from nni_widgets.widgets.parts.charts import HANDED_ON, FlowChart
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.lrp_rules import AnyRules, lowest, rules_for
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.rule_table import RuleTable, edited
from nni_widgets.widgets.parts.subject import Subject, subject


class RulesExplorer(Scaffold[Explanation]):
    """Shows LRP layer by layer under rules that can be changed; made by :func:`explore_rules`.

    ``rules`` is the composite that is explored, ``layer`` the label of the layer whose relevance is
    shown beside that of the pixels: at first the first one with weights.
    """

    opener = "nni.explore_rules"
    captions: ClassVar[Mapping[str, str]] = {
        "nn-pixel-map": "heatmap: the relevance of the pixels",
        "nn-layer-map": "heatmap: the relevance at the chosen layer",
        "nn-flow": "what arrived at each layer, as bars: handed on, and lost by cause; "
        "the same in words beside the rules",
    }

    def __init__(self, subject: Subject, rules: Preset) -> None:
        self._first, self._quiet = rules, Quiet()
        self._panel = ParameterPanel(LRP(rules), self._changed, self._refuse)
        self._table = RuleTable(self._edited, self._refuse)
        self._pixels = MapView("relevance of the pixels", "nn-pixel-map")
        self._at_layer = MapView("relevance at a layer", "nn-layer-map")
        self._picker = widgets.Dropdown(description="layer", style=SIDE_STYLE, layout=SIDE)
        self._picker.add_class("nn-layer").observe(self._picked, "value")
        self._chart = FlowChart("nn-flow", self._choose)
        self._legend = widgets.HTML().add_class("nn-legend")
        super().__init__(subject)

    @property
    def rules(self) -> Preset:
        """Which rule acts on which layer."""
        return as_composite(cast(LRP, self._panel.value).rules)

    @rules.setter
    def rules(self, rules: AnyRules) -> None:
        method = LRP(rules)
        self._panel.show(method)
        self._changed(method)

    @property
    def layer(self) -> str:
        """The layer whose relevance is shown. To set it waits for the picture."""
        return str(self._picker.value or "")

    @layer.setter
    def layer(self, label: str) -> None:
        self.drain()
        if label not in self._picker.options:
            expected = f"one of {', '.join(self._picker.options)}"
            raise invalid("Explorer", "layer", expected, repr(label), "Correct its name")
        self._picker.value = label

    def _parts(self) -> Parts:
        layer = widgets.VBox([self._at_layer.view, self._picker])
        chart = widgets.VBox([widgets.HTML("<b>what arrived at each layer</b>"),
                              self._chart.widget, self._legend])  # fmt: skip
        rules = widgets.VBox([self._panel.box, self._table.box])
        return Parts(
            maps=[self._pixels, self._at_layer],
            pictures=[self._pixels.view, layer],
            controls=[chart, rules],
        )

    def _selected(self) -> Preset:
        return self.rules

    def _work(self, x: Tensor, target: Target, selected: Preset) -> Iterator[Step[Explanation]]:
        for made in explanations(self._model, x, LRP(selected), target):
            yield Step(made, made.result.done, made.result.of)

    def _explained(self, shown: Explanation) -> Sequence[Explanation]:
        return shown, shown.at(self._shown_layer(shown))

    def _paint(self, shown: Explanation) -> None:
        self._offer(shown)
        label = self._shown_layer(shown)
        self._pixels.paint(shown, shown.heatmap())
        values = shown.layer_map(label)
        way = Way.of(shown)
        self._at_layer.entitle(f"relevance at {label}")
        self._at_layer.paint(shown, values, words=f"{label}: {way.in_words(label)}.")
        self._chart.show(way.told(), label)
        self._legend.value = _legend(self._chart, way)
        if shown.method == LRP(self.rules):  # else they have been changed since this was asked for
            self._table.show(shown.result.layers)

    def _offer(self, shown: Explanation) -> None:
        """Let the user choose among the layers of an explanation, from the input up."""
        labels = tuple(row.label for row in reversed(shown.flow()))
        if labels == tuple(self._picker.options):
            return
        with self._quiet:
            wanted = self._picker.value
            self._picker.options = labels
            self._picker.value = wanted if wanted in labels else lowest(shown)

    def _shown_layer(self, shown: Explanation) -> str:
        labels = {row.label for row in shown.flow()}
        return self.layer if self.layer in labels else lowest(shown)

    def _text_of(self, shown: Explanation) -> str:
        way = Way.of(shown)
        flow = [f"{row.label}, {row.rule}: {way.in_words(row.label)}" for row in way.told()]
        whole, at_layer = self._explained(shown)
        return "\n".join([whole.digest(), *flow, at_layer.digest()])

    def _npzs(self, shown: Explanation) -> dict[str, bytes]:
        label = self._shown_layer(shown)
        told = {row.label: row for row in shown.result.layers}
        causes = {
            f"lost: {cause}": torch.stack([row.lost.get(cause, 0 * row.arrived)[0]
                                           for row in told.values()])
            for cause in dict.fromkeys(cause for row in told.values() for cause in row.lost)
        }  # fmt: skip
        arrived = torch.stack([row.arrived[0] for row in told.values()])
        flow = npz(arrived=arrived, relevance=told[label].relevance, **causes)
        return {"attribution.npz": shown.npz(), "flow.npz": flow}

    def _arguments(self, names: Names) -> list[str]:
        return [names.method(self.rules)]

    def _settings(self, names: Names) -> dict[str, str]:
        outcome = self._outcome
        if outcome is None or self.layer == lowest(outcome.value):
            return {}
        return {"layer": as_code(self.layer)}

    def _at_work(self) -> str:
        return LRP.title

    def _blank(self) -> None:
        self._chart.clear()
        self._legend.value = ""

    def _forget(self) -> None:
        self._panel.reset(LRP(self._first))
        with self._quiet:
            self._picker.options = ()

    def _changed(self, _: Declared) -> None:
        self._ask()

    def _edited(self, table: dict[str, Rule]) -> None:
        self.rules = edited(self.rules, table)

    def _choose(self, label: str) -> None:
        self._picker.value = label

    def _picked(self, _: dict[str, Any]) -> None:
        if not self._quiet:
            self._look()


def _legend(chart: FlowChart, way: Way) -> str:
    """What the colours of the bars mean, and what all layers together lost by each cause."""
    entries = {HANDED_ON: HANDED_ON}
    entries |= {cause: f"{cause} {way.number(lost)} lost" for cause, lost in way.lost().items()}
    return legend((words, chart.colour(cause)) for cause, words in entries.items())


def explore_rules(
    model: nn.Module | None = None,
    x: Tensor | None = None,
    rules: AnyRules | None = None,
    target: Target = None,
    *,
    strokes: Sequence[Any] = (),
    labels: Sequence[int] | Tensor | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> RulesExplorer:
    """Explore LRP: choose a rule for each layer, and see what it hands on and what it loses.

    ``x``: pictures ``(N, ...)``; without them a pad to draw on, with ``strokes`` to begin with, and
    ``digits-cnn`` as the model unless given. ``rules``: a composite, one rule for all layers, or a
    table ``{where: rule}``; ``target``, ``labels``, ``names`` and ``large`` are those of
    :func:`explore`.
    """
    about = subject(
        "explore_rules", model, x, target, strokes=strokes, labels=labels, names=names, large=large
    )
    return RulesExplorer(about, rules_for(about.model, rules))
