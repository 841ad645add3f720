"""Many methods by many measures on the same pictures: one loop that can be watched and stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

from torch import Tensor, nn

from nni_widgets.engine.methods.base import AnyMethod, Method, final
from nni_widgets.engine.metrics.base import Given, Measured, Metric, Subject, asked
from nni_widgets.engine.metrics.chance import RandomAttribution
from nni_widgets.engine.targets import Target
from nni_widgets.errors import UnsupportedOperation, invalid

Methods = Sequence[AnyMethod | Tensor] | Mapping[str, AnyMethod | Tensor]
Metrics = Sequence[Metric] | Mapping[str, Metric]

_WHO = "compare"


@dataclass(frozen=True, eq=False)
class Cell:
    """What one measure found out about one method, or the sentence that says why it could not."""

    measured: Measured | None = None
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class Scores:
    """How far a comparison has come: ``cells[method, metric]`` by name, for N samples.

    ``chance`` is the name of the method that knows nothing.
    """

    methods: tuple[str, ...]
    metrics: Mapping[str, Metric]
    chance: str
    samples: int
    cells: Mapping[tuple[str, str], Cell]

    @property
    def done(self) -> int:
        """How many cells there are."""
        return len(self.cells)

    @property
    def of(self) -> int:
        """How many there will be."""
        return len(self.methods) * len(self.metrics)


def score_all(
    model: nn.Module,
    x: Tensor,
    methods: Methods,
    metrics: Metrics,
    target: Target = None,
    seed: int = 0,
) -> Iterator[Scores]:
    """All methods by all measures: at first nothing, then one cell more each time.

    ``methods`` and ``metrics`` are lists, or are named by a dictionary; an attribution may stand
    for a method. Chance, with this ``seed``, is the last method, unless it is among them. Each
    explains x once for all measures, and the target is decided once for all methods. What one
    method or measure refuses is a cell with the sentence, not the end of the others.

    Raises ``ValueError`` for a model, pictures or a target that nothing can be asked about.
    """
    rows, columns = _with_chance(_named_methods(methods), seed), _named_metrics(metrics)
    chance = next(name for name, row in rows.items() if isinstance(row, RandomAttribution))
    selection = Subject(model, x, rows[chance], target, _WHO).selection
    scores = Scores(tuple(rows), columns, chance, len(x), {})
    yield scores
    for name, method in rows.items():
        subject = Subject(model, x, method, selection)
        unexplained = _unexplained(subject)
        for title, metric in columns.items():
            cell = unexplained or _cell(metric, subject)
            scores = replace(scores, cells={**scores.cells, (name, title): cell})
            yield scores


def _cell(metric: Metric, subject: Subject) -> Cell:
    try:
        return Cell(final(metric.steps(subject)))
    except Exception as error:  # noqa: BLE001 - one measure's own error does not end the others
        return _refused(error)


def _unexplained(subject: Subject) -> Cell | None:
    """What stands for all measures of a method that has no explanation of x."""
    try:
        _ = subject.result
    except Exception as error:  # noqa: BLE001 - one method's own error does not end the others
        return _refused(error)
    return None


def _refused(error: Exception) -> Cell:
    is_sentence = isinstance(error, (UnsupportedOperation, ValueError))
    return Cell(refusal=str(error) if is_sentence else f"{type(error).__name__}: {error}")


def _with_chance(methods: dict[str, Method], seed: int) -> dict[str, Method]:
    chance = RandomAttribution(seed=seed)
    if any(isinstance(method, RandomAttribution) for method in methods.values()):
        return methods
    names = chain([chance.title, repr(chance)], (f"{chance!r} {at}" for at in count(2)))
    return {**methods, next(name for name in names if name not in methods): chance}


def _listed(what: str, given: Any, example: str) -> list[Any]:
    """The values of a list, or of a dictionary by names."""
    action = f"For example [{example}]"
    if not isinstance(given, Iterable) or hasattr(given, "shape") or isinstance(given, str):
        raise invalid(_WHO, what, "a list or a dictionary", type(given).__name__, action)
    values = list(given.values() if isinstance(given, Mapping) else given)
    if not values:
        raise invalid(_WHO, what, "at least one", "none", action)
    if isinstance(given, Mapping) and not all(isinstance(name, str) for name in given):
        raise invalid(_WHO, what, "named by strings", repr(list(given)), "Put the names in quotes")
    return values


def _named_methods(methods: Methods) -> dict[str, Method]:
    values = [asked(one, _WHO) for one in _listed("methods", methods, "nni.LRP()")]
    if isinstance(methods, Mapping):
        return dict(zip(methods, values, strict=True))
    return dict(zip(_distinct(values), values, strict=True))


def _named_metrics(metrics: Metrics) -> dict[str, Metric]:
    values = _listed("metrics", metrics, "nni.Selectivity()")
    for one in values:
        if not isinstance(one, Metric):
            expected, action = "measures such as nni.Selectivity()", "Call the class to make one"
            raise invalid(_WHO, "metrics", expected, repr(one), action)
        if not hasattr(one, "card"):
            expected, action = "measures with a card", "Give its class a card = nni.MetricCard(...)"
            raise invalid(_WHO, "metrics", expected, repr(one), action)
    if isinstance(metrics, Mapping):
        return dict(metrics)
    return dict(zip(_distinct(values), values, strict=True))


def _distinct(values: Sequence[Method] | Sequence[Metric]) -> list[str]:
    """The titles; where some are equal the code of the values; where that is too, numbered."""
    often = Counter(value.title for value in values)
    names = [
        value.title
        if value.title and (often[value.title] == 1 or isinstance(value, Given))
        else repr(value)
        for value in values
    ]
    seen: Counter[str] = Counter()
    for at, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[at] = f"{name} {seen[name]}"
    return names
