"""What the sanity check found out, in words, as a table, and as a digest."""

from __future__ import annotations

import html
from collections.abc import Sequence

from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.explorers.sanity.check import Check, Checked
from nni_widgets.widgets.explorers.sanity.gallery import two_digits

_ALIKE, _MOST_NAMES = 0.5, 4
_HINT = (
    " A map that is zero wherever the picture is black stays alike for that alone: "
    "compare with the signs."
)


def measure_of(check: Check) -> str:
    """What two maps are compared by, and of what."""
    return f"{check.measure} of |R|" if check.absolute else f"{check.measure} of R"


def drawn_anew(shown: Checked) -> str:
    """Which layers are drawn anew, and what the network says now."""
    names = list(shown.drawn)
    if not names:
        return f"No layer is drawn anew; from the top they are {_listed(shown.layers)}."
    made = shown.forgetful
    says = ""
    if made is not None:
        share = number(float(made.probabilities[0].max()), largest=1)
        says = f" The network now says {made.predicted[0]} ({share})."
    verb = "is" if len(names) == 1 else "are"
    of = f"{len(names)} of {len(shown.layers)} layers"
    return f"{of} {verb} drawn anew: {_listed(names)}.{says}"


def answer(shown: Checked) -> str:
    """Which maps stay alike although every layer is drawn anew."""
    if not shown.complete:
        return "Not every layer has been drawn anew yet."
    last = {name: fate.likeness[-1] for name, fate in shown.fates.items()}
    alike = {name: value for name, value in last.items() if value is not None and value >= _ALIKE}
    check = shown.check
    which = shown.layers[-1] if check.independent else "every layer"
    heading = f"With {which} drawn anew, {measure_of(check)} is still {_ALIKE:g} or more for "
    ordered = sorted(alike, key=lambda name: -alike[name])
    told = ", ".join(f"{name} ({two_digits(alike[name])})" for name in ordered)
    hint = _HINT if alike and check.absolute else ""
    return f"{heading}{told or 'none of the maps'}.{hint}"


def table(shown: Checked) -> str:
    """How alike at each number of layers, as HTML, folded away; empty until all is known."""
    if not shown.complete:
        return ""
    head = "".join(f"<th>{level}</th>" for level in range(len(shown.layers) + 1))
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{_cell(value)}</td>" for value in fate.likeness)
        + "</tr>"
        for name, fate in shown.fates.items()
        if not fate.refusal
    )
    alone = ", each alone" if shown.check.independent else ""
    caption = f"{measure_of(shown.check)} after 0, 1, … layers{alone}"
    return (
        f"<details><summary>the curves as numbers</summary><table><caption>{caption}</caption>"
        f"<tr><th></th>{head}</tr>{rows}</table></details>"
    )


def digest(shown: Checked) -> str:
    """The numbers that matter."""
    made = shown.explained[0]
    alone = ", each alone" if shown.check.independent else ""
    share = number(float(made.probabilities[0].max()), largest=1)
    lines = [
        f"target {made.target_names[0]}: predicted {made.predicted[0]} ({share})",
        drawn_anew(shown),
        f"{measure_of(shown.check)} after 0 to {len(shown.layers)} layers from the top{alone}:",
    ]
    for name, fate in shown.fates.items():
        curve = " ".join(map(_cell, fate.likeness))
        lines.append(f"{name}: {fate.refusal or curve}")
    return "\n".join([*lines, answer(shown)])


def _cell(likeness: float | None) -> str:
    return "…" if likeness is None else two_digits(likeness)


def _listed(names: Sequence[str]) -> str:
    """The names, or the first and the last few of many."""
    if len(names) <= 2 * _MOST_NAMES:
        return ", ".join(names)
    return ", ".join([*names[:_MOST_NAMES], "…", *names[-_MOST_NAMES:]])
