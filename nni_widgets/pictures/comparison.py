"""Methods compared by measures: the table, the plot and the digest of what was found out."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from nni_widgets.engine.metrics.compare import Methods, Metrics, Scores, score_all
from nni_widgets.engine.metrics.interval import Interval, interval
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.pictures.cards import Table
from nni_widgets.pictures.figure import plain, svg_html
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import png

At = tuple[str, str]

_ARROWS = {"lower": "↓", "higher": "↑"}
_BEST, _NOTHING, _REFUSED, _WAITING = "★", "—", "refused", "…"
_MARK_WIDTH, _MARK_HEIGHT = 96, 12
_LOOK = ' style="text-align: left; vertical-align: top; white-space: nowrap"'
_ACROSS, _PLOT, _NUMBERS, _LINE, _GAP, _FONT_SIZE = 3, 150, 110, 22, 14, 13
_INK, _GREY, _FAINT, _POINT, _PAPER = "#333333", "#8a8a8a", "#cccccc", "#b35806", "#ffffff"


def compare(
    model: nn.Module,
    x: Tensor,
    methods: Methods,
    metrics: Metrics,
    target: Target = None,
    seed: int = 0,
    watch: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """All methods by all measures on the pictures x, with chance as the last method.

    ``methods`` and ``metrics`` are lists or, to name them, dictionaries; an attribution may stand
    for a method. ``watch`` is called with what is done after each measure of each method. The
    result is the same whenever it is asked for; ``seed`` decides chance and the intervals.
    To stop, interrupt the kernel (or raise ``KeyboardInterrupt``): what was done is returned.

    Raises ``ValueError`` for a model, pictures or a target that nothing can be asked about; what
    one method or measure refuses stands in its cell. Cost: one R per method, and what the
    measures say.
    """
    work = comparisons(model, x, methods, metrics, target, seed)
    latest = next(work)
    try:
        for latest in work:
            if watch:
                watch(latest)
    except KeyboardInterrupt:
        return latest
    return latest


def comparisons(
    model: nn.Module,
    x: Tensor,
    methods: Methods,
    metrics: Metrics,
    target: Target = None,
    seed: int = 0,
) -> Iterator[Comparison]:
    """As :func:`compare`, step by step: at first nothing, then one cell more each time."""
    for scores in score_all(model, x, methods, metrics, target, seed):
        yield Comparison(scores, seed)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How methods fare by measures, on N pictures: made by :func:`compare`, shows itself.

    Each cell is the mean over the pictures and its 95 % bootstrap interval; the best of a measure
    is starred. Whether one of two methods is ahead, their intervals do not say: some pictures are
    hard for both. Ask the interval of the difference of their ``values``. A method that is no
    better than chance has said nothing that the measure can see.
    """

    scores: Scores
    seed: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the rows; chance is one of them."""
        return self.scores.methods

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.scores.metrics)

    @property
    def values(self) -> Tensor:
        """Every score, (methods, metrics, N), float64; NaN where there is none."""
        shape = len(self.methods), len(self.metrics), self.scores.samples
        values = torch.full(shape, math.nan, dtype=torch.float64)
        for row, name in enumerate(self.methods):
            for column, title in enumerate(self.metrics):
                cell = self.scores.cells.get((name, title))
                if cell and cell.measured:
                    values[row, column] = cell.measured.values.cpu()
        return values

    @cached_property
    def intervals(self) -> Mapping[At, Interval]:
        """The mean and its interval of each (method, measure) that is done and not refused."""
        return {
            at: interval(cell.measured.values, seed=self.seed)
            for at, cell in self.scores.cells.items()
            if cell.measured
        }

    @property
    def curves(self) -> Mapping[At, tuple[Tensor, Tensor]]:
        """Of each (method, measure) that has a curve: the shares (S + 1,) and it, (N, S + 1)."""
        measured = {at: cell.measured for at, cell in self.scores.cells.items()}
        return {
            at: (one.shares, one.curve)
            for at, one in measured.items()
            if one and one.shares is not None and one.curve is not None
        }

    @property
    def refusals(self) -> Mapping[At, str]:
        """Why some cells are empty: the sentence of each (method, measure)."""
        return {at: cell.refusal for at, cell in self.scores.cells.items() if cell.refusal}

    def best(self, metric: str) -> str:
        """The name of the method with the best finite mean by a measure; empty if none has one.

        Raises ``ValueError`` for a measure that is not compared.
        """
        if metric not in self.metrics:
            expected, action = f"one of {', '.join(self.metrics)}", "Give its name in the table"
            raise invalid("Comparison", "metric", expected, repr(metric), action)
        sign = -1 if self.scores.metrics[metric].card.better == "lower" else 1
        means = {name: sign * self.mean(name, metric) for name in self.methods}
        known = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        return max(known, key=known.__getitem__, default="")

    @property
    def table(self) -> Table:
        """The means and intervals as text."""
        head = ("method", *(f"{title} {_arrow(self, title)}" for title in self.metrics))
        rows = [(name, *(_text(self, (name, title)) for title in self.metrics))
                for name in self.methods]  # fmt: skip
        return Table(head, tuple(rows))

    def png(self) -> bytes:
        """The plot: for each measure the mean of each method as a point on its interval."""
        return png(_plot(self), {"Software": "nni_widgets", "Comparison": repr(self)})

    def mean(self, method: str, metric: str) -> float:
        """The mean over the pictures; NaN where there is none."""
        found = self.intervals.get((method, metric))
        return found.mean if found else math.nan

    def __repr__(self) -> str:
        lines = [_heading(self)]
        for title in self.metrics:
            means = ", ".join(f"{name} {_short(self, (name, title))}" for name in self.methods)
            best = f"; best: {self.best(title)}" if self.best(title) else ""
            lines.append(f"{title} {_arrow(self, title)} {means}{best}")
        for name, text in dict.fromkeys((name, text) for (name, _), text in self.refusals.items()):
            refused = [title for title in self.metrics if self.refusals.get((name, title)) == text]
            lines.append(f"{name}, {', '.join(refused)}: {text}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        shown = base64.b64encode(self.png()).decode("ascii")
        return {"text/html": _html(self), "image/png": shown, "text/plain": repr(self)}


def _heading(of: Comparison) -> str:
    scores = of.scores
    sizes = f"{_counted(of.methods, 'method')} × {_counted(of.metrics, 'measure')}"
    heading = f"{sizes} on {_counted(range(scores.samples), 'picture')}"
    return heading if scores.done == scores.of else f"{heading}: {scores.done} of {scores.of} done"


def _counted(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'s' if len(things) > 1 else ''}"


def _arrow(of: Comparison, title: str) -> str:
    return _ARROWS[of.scores.metrics[title].card.better]


def _short(of: Comparison, at: At) -> str:
    """The mean in two digits, or a word for what there is in its place."""
    if at not in of.scores.cells:
        return _WAITING
    if at in of.refusals:
        return _REFUSED
    mean = of.mean(*at)
    return _NOTHING if math.isnan(mean) else number(mean, digits=2)


def _text(of: Comparison, at: At) -> str:
    """The mean with its interval."""
    found = of.intervals.get(at)
    if found is None or math.isnan(found.mean):
        return _short(of, at)
    ends = [end for end in (found.mean, found.low, found.high) if not math.isnan(end)]
    largest = max((abs(end) for end in ends if math.isfinite(end)), default=None)
    mean, *rest = (number(end, largest if math.isfinite(end) else None, 2) for end in ends)
    few = f", n = {found.count}" if found.count < of.scores.samples else ""
    star = f" {_BEST}" if at[0] == of.best(at[1]) else ""
    return mean + (f" [{', '.join(rest)}]" if rest else "") + few + star


def _html(of: Comparison) -> str:
    head = "".join(map(partial(_html_head, of), of.metrics))
    rows = (
        f"<tr><th{_LOOK}>{_html_name(of, name)}</th>"
        + "".join(_html_cell(of, (name, title)) for title in of.metrics)
        + "</tr>"
        for name in of.methods
    )
    titles = f"<thead><tr><th{_LOOK}></th>{head}</tr></thead>"
    return f"<p>{_heading(of)}</p><table>{titles}<tbody>{''.join(rows)}</tbody></table>"


def _html_head(of: Comparison, title: str) -> str:
    card = of.scores.metrics[title].card
    words = f"{html.escape(title)} {_arrow(of, title)}<br><small>{card.better} is better</small>"
    return f'<th{_LOOK} title="{html.escape(card.question)}">{words}</th>'


def _html_name(of: Comparison, name: str) -> str:
    words = html.escape(name)
    return f"<i>{words}</i>" if name == of.scores.chance else words


def _html_cell(of: Comparison, at: At) -> str:
    text = html.escape(_text(of, at))
    if refusal := of.refusals.get(at):
        return f'<td{_LOOK} title="{html.escape(refusal)}">{text}</td>'
    name, title = at
    words = f"<b>{text}</b>" if name == of.best(title) else text
    return f"<td{_LOOK}>{words}<br>{_mark(of, at)}</td>"


def _mark(of: Comparison, at: At) -> str:
    """The interval as a line and the mean as a point on it; a dotted line where chance is."""
    found, chance = of.intervals.get(at), of.mean(of.scores.chance, at[1])
    if found is None or not math.isfinite(found.mean):
        return ""
    place, middle = _places(of, at[1], 4, _MARK_WIDTH - 4), _MARK_HEIGHT // 2
    parts = [f'<circle cx="{place(found.mean)}" cy="{middle}" r="3" fill="{_POINT}"/>']
    if _has_ends(found):
        line = f"M{place(found.low)} {middle}H{place(found.high)}"
        parts.append(f'<path d="{line}" stroke="{_POINT}" stroke-width="2"/>')
    if math.isfinite(chance):
        line = f"M{place(chance)} 0V{_MARK_HEIGHT}"
        parts.append(f'<path d="{line}" stroke="{_GREY}" stroke-dasharray="2 2"/>')
    size = f'width="{_MARK_WIDTH}" height="{_MARK_HEIGHT}"'
    return svg_html(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>')


def _places(of: Comparison, title: str, left: int, right: int) -> Callable[[float], int]:
    """Where on the axis of a measure a number stands, in pixels."""
    every = [one for (_, metric), one in of.intervals.items() if metric == title]
    ends = [end for one in every for end in (one.mean, one.low, one.high) if math.isfinite(end)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return lambda value: left + round((right - left) * (value - low) / ((high - low) or 1.0))


def _has_ends(found: Interval) -> bool:
    return math.isfinite(found.low) and math.isfinite(found.high)


def _plot(of: Comparison) -> Image.Image:
    """Panels side by side, a few in a row, the names of the methods at the left of each row."""
    font = ImageFont.load_default(_FONT_SIZE)
    names = round(max(font.getlength(plain(name)) for name in of.methods)) + 2 * _GAP
    bands = [of.metrics[at : at + _ACROSS] for at in range(0, len(of.metrics), _ACROSS)]
    height = _LINE * (len(of.methods) + 1) + _GAP
    headings = (round(font.getlength(_panel_heading(of, title))) + _GAP for title in of.metrics)
    across = max(_PLOT + _NUMBERS, *headings)
    width = names + max(map(len, bands)) * across
    page = Image.new("RGB", (width, height * len(bands) + _GAP), _PAPER)
    draw = ImageDraw.Draw(page)
    for band, titles in enumerate(bands):
        top = _GAP + band * height
        for row, name in enumerate(of.methods, 1):
            draw.text((_GAP, top + (row + 0.5) * _LINE), plain(name), _INK, font, anchor="lm")
        for column, title in enumerate(titles):
            _panel(draw, of, title, names + column * across, top)
    return page


def _panel_heading(of: Comparison, title: str) -> str:
    return f"{plain(title)} ({of.scores.metrics[title].card.better} is better)"


def _panel(draw: ImageDraw.ImageDraw, of: Comparison, title: str, left: int, top: int) -> None:
    font = ImageFont.load_default(_FONT_SIZE)
    draw.text((left, top + _LINE / 2), _panel_heading(of, title), _INK, font, anchor="lm")
    place = _places(of, title, left, left + _PLOT)
    bottom = top + (len(of.methods) + 1) * _LINE
    chance = of.mean(of.scores.chance, title)
    for dash in range(top + _LINE, bottom, 6) if math.isfinite(chance) else ():
        draw.line([(place(chance), dash), (place(chance), dash + 2)], _GREY)
    for row, name in enumerate(of.methods, 1):
        middle = top + row * _LINE + _LINE // 2
        draw.line([(left, middle), (left + _PLOT, middle)], _FAINT)
        found = of.intervals.get((name, title))
        if found and _has_ends(found):
            draw.line([(place(found.low), middle), (place(found.high), middle)], _POINT, 3)
        if found and math.isfinite(found.mean):
            at = place(found.mean)
            draw.ellipse([(at - 4, middle - 4), (at + 4, middle + 4)], _POINT)
        text = plain(_short(of, (name, title)).replace(_NOTHING, "-").replace(_WAITING, "..."))
        best = " (best)" if name == of.best(title) else ""
        draw.text((left + _PLOT + _GAP, middle), text + best, _INK, font, anchor="lm")
