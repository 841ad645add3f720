"""The way of the relevance through a network as rows of numbers, for tables and charts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nni_widgets.engine.propagation import Layer
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, params
from nni_widgets.pictures.heatmap import heatmap


@dataclass(frozen=True)
class FlowRow:
    """What happened to one sample's relevance at one operation; see the engine's ``Layer``."""

    label: str
    kind: str
    rule: str
    arrived: float
    lost: dict[str, float]
    in_flight: float


def flow_rows(layers: tuple[Layer, ...], i: int) -> tuple[FlowRow, ...]:
    """The layers' numbers for sample ``i``, from the output down."""
    return tuple(
        FlowRow(
            label=layer.label,
            kind=layer.kind,
            rule=rule_in_words(layer.rule),
            arrived=float(layer.arrived[i]),
            lost={cause: float(value[i]) for cause, value in layer.lost.items()},
            in_flight=float(layer.in_flight[i]),
        )
        for layer in layers
    )


def lost_by_cause(layers: tuple[Layer, ...], i: int) -> dict[str, float]:
    """What sample ``i`` lost on the whole way, added up by cause."""
    total: dict[str, float] = {}
    for row in flow_rows(layers, i):
        for cause, value in row.lost.items():
            total[cause] = total.get(cause, 0.0) + value
    return total


def map_of_layer(layers: tuple[Layer, ...], label: str, i: int) -> Tensor:
    """The relevance at a layer's output, channels added up: ``(H, W)``, or ``(1, K)`` if dense.

    Raises ``ValueError`` if no operation has this label.
    """
    for layer in layers:
        if layer.label == label:
            return heatmap(layer.relevance[i : i + 1])[0]
    known = "one of " + ", ".join(layer.label for layer in layers)
    expected = known if layers else "a layer of a method that propagates layer by layer"
    action = "Choose one of these" if layers else "Use nni.LRP()"
    raise invalid("layer_map", "label", expected, repr(label), action)


def rule_in_words(rule: Declared) -> str:
    """The rule with its hyperparameters, those at their default too: ``Gamma, gamma 0.25``."""
    given = [f"{p.name} {_in_words(getattr(rule, p.name))}" for p in params(rule)]
    return ", ".join([type(rule).__name__, *given])


def _in_words(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
