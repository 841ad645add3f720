"""Cards: one method or measure at a glance, and all of them in a table to choose from."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nni_widgets.engine.methods import METHODS, Method
from nni_widgets.engine.metrics import Metric
from nni_widgets.errors import invalid
from nni_widgets.params import params

_SUMS = {"score": "f(x)", "difference": "f(x) − f(baseline)", "": "nothing"}
_COLUMNS = ("method", "kind", "question", "adds up to", "passes", "needs", "drawbacks")
_MEASURE_COLUMNS = ("measure", "question", "better", "range", "passes", "drawbacks")
_FORMULA = re.compile(r"``(R [^`]*|R_[^`]* [^`]*)``|^``([^`]* [^`]*)``", re.MULTILINE)

Described = Method | type[Method] | Metric | type[Metric]


@dataclass(frozen=True)
class Table:
    """A table that shows itself in a notebook; as text a paragraph per row, or a line if short."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        look = ' style="text-align: left; vertical-align: top"'
        head = "".join(f"<th{look}>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td{look}>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        if len(self.columns) == 2:
            head = ": ".join(filter(None, self.columns))
            return "\n".join([head, *(f"  {name}: {cell}" for name, cell in self.rows)])
        paragraphs = []
        for first, *rest in self.rows:
            lines = (f"  {name}: {cell}" for name, cell in zip(self.columns[1:], rest, strict=True))
            paragraphs.append("\n".join([first, *lines]))
        return "\n".join(paragraphs)


def overview(kinds: Iterable[Described] = METHODS) -> Table:
    """All methods side by side: the question each answers, its sum, cost, needs and drawbacks.

    ``kinds``: methods, or measures such as ``nni.METRICS``, classes or values; all methods of the
    package at first. Cost is in passes through the model, F forward and B backward; for measures
    also in explanations, R. Raises ``ValueError`` for what is neither, and for both in one table.
    """
    if not isinstance(kinds, Iterable):
        expected, action = "a sequence of methods or measures", "Put a single one in brackets"
        raise invalid("overview", "its argument", expected, repr(kinds), action)
    found = [_kind(kind, "overview") for kind in kinds]
    measures = [kind for kind in found if issubclass(kind, Metric)]
    if measures and len(measures) < len(found):
        action = "Make a table of each"
        raise invalid("overview", "its kinds", "all methods or all measures", "both", action)
    if measures:
        return Table(_MEASURE_COLUMNS, tuple(map(_measure_row, measures)))
    return Table(_COLUMNS, tuple(_method_row(kind) for kind in found if issubclass(kind, Method)))


def card(kind: Described) -> Table:
    """One method or measure at a glance: its overview, formula, parameters and sources.

    Raises ``ValueError`` for what is neither.
    """
    described = _kind(kind, "card")
    table = overview([described])
    about = inspect.getdoc(described) or ""
    (_, title), *facts = zip(table.columns, table.rows[0], strict=True)
    formulas = [
        ("formula", " ".join((found[1] or found[2]).split()))
        for found in list(_FORMULA.finditer(about))[:1]
    ]
    declared = [(p.name, f"{p.doc} (default {p.default!r})") for p in params(described)]
    found = re.search(r"Source: (.*?)\.?(?:\n\n|\Z)", about, re.DOTALL)
    sources = [("source", " ".join(found[1].split()))] if found else []
    return Table((title, ""), (*formulas, *facts, *declared, *sources))


def _method_row(kind: type[Method]) -> tuple[str, ...]:
    card = kind.card
    sums = _SUMS[_adds_up_to(kind)]
    return kind.title, card.kind, card.question, sums, card.cost, card.needs, card.drawbacks


def _measure_row(kind: type[Metric]) -> tuple[str, ...]:
    card = kind.card
    return kind.title, card.question, card.better, card.range, card.cost, card.drawbacks


def _adds_up_to(kind: type[Method]) -> str:
    declared = inspect.getattr_static(kind, "adds_up_to")
    return declared if isinstance(declared, str) else ""


def _kind(described: object, who: str) -> type[Method] | type[Metric]:
    kind = described if isinstance(described, type) else type(described)
    if not (issubclass(kind, (Method, Metric)) and hasattr(kind, "card")):
        action = "For example nni.LRP; a class of your own needs a card"
        expected = "one of nni.METHODS or nni.METRICS"
        raise invalid(who, "its argument", expected, repr(described), action)
    return kind
