"""Method cards: one method at a glance, and all of them in a table to choose from."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nni_widgets.engine.methods import METHODS, Method
from nni_widgets.errors import invalid
from nni_widgets.params import params

_SUMS = {"score": "f(x)", "difference": "f(x) − f(baseline)", "": "nothing"}
_COLUMNS = ("method", "kind", "question", "adds up to", "passes", "needs", "drawbacks")


@dataclass(frozen=True)
class Table:
    """A table that shows itself in a notebook; as text a paragraph per row, or a line if short."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        left = "<style scoped>td,th{text-align:left!important;vertical-align:top}</style>"
        return f"{left}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        if len(self.columns) == 2:
            return "\n".join([self.columns[0], *(f"  {name}: {cell}" for name, cell in self.rows)])
        paragraphs = []
        for first, *rest in self.rows:
            lines = (f"  {name}: {cell}" for name, cell in zip(self.columns[1:], rest, strict=True))
            paragraphs.append("\n".join([first, *lines]))
        return "\n".join(paragraphs)


def overview(methods: Iterable[Method | type[Method]] = METHODS) -> Table:
    """All methods side by side: the question each answers, its sum, cost, needs and drawbacks.

    ``methods``: classes or values; all of the package at first. Cost is in passes through the
    model, F forward and B backward. Raises ``ValueError`` for what is no method.
    """
    rows = []
    for kind in map(_kind, methods):
        card = kind.card
        rows.append((kind.title, card.kind, card.question, _SUMS[_adds_up_to(kind)], card.cost,
                     card.needs, card.drawbacks))  # fmt: skip
    return Table(_COLUMNS, tuple(rows))


def card(method: Method | type[Method]) -> Table:
    """One method at a glance: what the overview says, its formula, parameters and sources.

    Raises ``ValueError`` for what is no method.
    """
    kind = _kind(method)
    about = inspect.getdoc(kind) or ""
    summary = [(name, cell) for name, cell in zip(_COLUMNS, overview([kind]).rows[0], strict=True)]
    formulas = [("formula", formula) for formula in re.findall(r"``(R\S* .*?)``", about)[:1]]
    declared = [(p.name, f"{p.doc} (default {p.default!r})") for p in params(kind)]
    found = re.search(r"Source: (.*?)\.?(?:\n\n|\Z)", about, re.DOTALL)
    sources = [("source", " ".join(found[1].split()))] if found else []
    (_, title), *facts = summary
    return Table((title, ""), (*formulas, *facts, *declared, *sources))


def _adds_up_to(kind: type[Method]) -> str:
    declared = inspect.getattr_static(kind, "adds_up_to")
    return declared if isinstance(declared, str) else ""


def _kind(method: Method | type[Method]) -> type[Method]:
    kind = method if isinstance(method, type) else type(method)
    if not issubclass(kind, Method):
        action = "For example nni.LRP"
        raise invalid("card", "method", "one of nni.METHODS", repr(method), action)
    return kind
