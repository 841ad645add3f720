"""A network drawn as boxes from the input down, with the lines that skip some; a box is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from nni_widgets.engine.anatomy import INPUT, Part
from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.quiet import Quiet

_PITCH, _LANE, _MARGIN = 28, 9, 6


class Network:
    """One box per operation, with its name, kind and shape; ``on_choose()`` when one is chosen.

    The boxes are one group of radio buttons: a screen reader says them, arrow keys choose. The
    lines are told in the words of the boxes that they lead to.
    """

    def __init__(self, on_choose: Callable[[], None]) -> None:
        self._quiet = Quiet()
        self._boxes = widgets.RadioButtons(options=[]).add_class("nn-boxes")
        self._boxes.observe(lambda _: None if self._quiet else on_choose(), "value")
        self._lines = widgets.HTML().add_class("nn-lines")
        both = widgets.HBox([self._lines, self._boxes]).add_class("nn-network")
        self.widget = widgets.VBox([widgets.HTML("<b>the network</b>"), both])

    @property
    def label(self) -> str:
        """The label of the chosen operation; empty while there is none."""
        return str(self._boxes.value or "")

    @label.setter
    def label(self, label: str) -> None:
        labels = [known for _, known in self._boxes.options]
        if label not in labels:
            expected = f"one of {', '.join(labels)}"
            raise invalid("Explorer", "layer", expected, repr(label), "Correct its name")
        self._boxes.value = label

    def show(self, parts: Sequence[Part], chosen: str) -> None:
        """Draw these parts and mark one of them, without calling back."""
        options = tuple(zip(map(in_words, parts), (part.label for part in parts), strict=True))
        with self._quiet:
            if options != tuple(self._boxes.options):
                self._boxes.options = options
                self._lines.value = drawn(parts)
            self._boxes.value = chosen


def in_words(part: Part) -> str:
    """An operation with its kind and shape, and what it reads where that is not one thing."""
    words = [part.label, part.kind, " × ".join(map(str, part.shape))]
    reads = [f"of {' and '.join(part.inputs)}"] if len(part.inputs) > 1 else []
    return " · ".join([*words, *reads])


def skips(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """The lines that pass boxes by: from and to, as numbers of the parts; −1 is the input."""
    number = {INPUT: -1} | {part.label: place for place, part in enumerate(parts)}
    reads = ((number[label], place) for place, part in enumerate(parts) for label in part.inputs)
    return sorted({(start, end) for start, end in reads if end - start > 1})


def lanes(lines: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """A lane beside the boxes for each line, short ones inside; those in one lane do not meet."""
    taken: dict[tuple[int, int], int] = {}
    for line in sorted(lines, key=lambda line: (line[1] - line[0], line)):
        met = {lane for other, lane in taken.items() if other[0] < line[1] and line[0] < other[1]}
        taken[line] = next(lane for lane in range(len(met) + 1) if lane not in met)
    return taken


def drawn(parts: Sequence[Part]) -> str:
    """The lines between the boxes as a picture that stands to the left of them."""
    taken = lanes(skips(parts))
    width = _MARGIN + _LANE * (1 + max(taken.values(), default=-1)) + _MARGIN
    labels = [INPUT, *(part.label for part in parts)]
    straight = [place for place, part in enumerate(parts) if place and labels[place] in part.inputs]
    ways = [_arrow(width - _MARGIN, _middle(place - 1), _middle(place)) for place in straight]
    ways += [_skip(width, lane, *line) for line, lane in taken.items()]
    height = _PITCH * len(parts)
    return (
        f'<svg width="{width}" height="{height}" aria-hidden="true">'
        f'<g fill="none" stroke="currentColor" stroke-width="1.5">{"".join(ways)}</g></svg>'
    )


def _middle(place: int) -> float:
    return _PITCH * (place + 0.5)


def _arrow(x: float, top: float, bottom: float) -> str:
    return f'<path d="M{x} {top}V{bottom}"/><path d="M{x - 3} {bottom - 7}l3 5l3 -5"/>'


def _skip(width: float, lane: int, start: int, end: int) -> str:
    x, right = width - 2 * _MARGIN - _LANE * lane, width - _MARGIN
    top, bottom = max(_middle(start), 1), _middle(end) - 3
    path = f"M{right} {top}H{x}V{bottom}H{right}"
    return f'<path d="{path}" class="nn-skip"/><path d="M{right - 6} {bottom - 3}l5 3l-5 3"/>'
