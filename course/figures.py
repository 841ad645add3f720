"""The figures of the course: small networks, the flow of relevance, pictures side by side.

Each figure shows itself in a notebook and has a short text form, which nbval compares. Orange
speaks for what is explained, purple against it, as in the library's heatmaps.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nni_widgets.pictures.colours import SIGNED, UNSIGNED
from nni_widgets.pictures.explanation import Explanation
from nni_widgets.pictures.figure import plain, svg_html
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import input_image, magnified, palette_image, png

FOR, AGAINST, INK, GREY, FAINT = "#c8690a", "#6a4fa0", "#333333", "#6f6f6f", "#b8b8b8"
_STEP, _TOP = 92, 66
_TINT = {FOR: "#fde3c4", AGAINST: "#e3dff0", INK: "#f2f2f2"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Drawing:
    """An SVG figure with its words."""

    svg: str
    words: str

    def _repr_html_(self) -> str:
        return svg_html(self.svg, self.words)

    def __repr__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Picture:
    """A PNG figure with its words."""

    png: bytes
    words: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        shown = base64.b64encode(self.png).decode("ascii")
        return {"image/png": shown, "text/plain": self.words}

    def __repr__(self) -> str:
        return self.words


def network(
    values: Sequence[Sequence[float]],
    edges: Sequence[Sequence[Sequence[float]]],
    relevance: bool = False,
) -> Drawing:
    """A small network: ``values[l][j]`` in its units, ``edges[l][k][j]`` on its connections.

    With ``relevance`` the numbers are relevances: coloured, each connection as wide as what it
    carries, and summed below each layer.
    """
    columns = [[float(value) for value in layer] for layer in values]
    span = _STEP * (max(map(len, columns)) - 1)
    places = [_column(len(layer), 70 + 250 * depth, span) for depth, layer in enumerate(columns)]
    width, height = 140 + 250 * (len(columns) - 1), span + (136 if relevance else 106)
    largest = max(abs(float(w)) for layer in edges for row in layer for w in row) or 1.0
    lines, labels, units = [], [], []
    for depth, layer in enumerate(edges):
        for k, row in enumerate(layer):
            for j, carried in enumerate(map(float, row)):
                ends = *places[depth][j], *places[depth + 1][k]
                stroke, thick = _stroke(carried, largest, relevance)
                lines.append(_line(*ends, stroke, thick))
                at = 0.3 if len(layer) > 1 else 0.45
                labels.append(_label(carried, *_between(ends, at), _colour(carried, relevance)))
    for depth, layer in enumerate(columns):
        for unit, (x, y) in enumerate(places[depth]):
            units.append(_unit(layer[unit], _name(depth, unit, columns), x, y, relevance))
        if relevance:
            units.append(text(places[depth][0][0], height - 14, f"Σ = {_short(sum(layer))}", INK))
    words = "\n".join(
        f"{', '.join(_name(depth, unit, columns) for unit in range(len(layer)))} = "
        f"{', '.join(map(_short, layer))}"
        for depth, layer in enumerate(columns)
    )
    return Drawing(svg(width, height, [*lines, *labels, *units]), words)


def flow(explanation: Explanation, i: int = 0) -> Drawing:
    """How much relevance arrived at each layer with weights, and what became of it there."""
    rows = [row for row in explanation.flow(i) if row.kind.startswith(("conv", "linear"))]
    sums = explanation.sums(i)
    largest = max(abs(value) for value in (sums.score, sums.total, *(row.arrived for row in rows)))
    table = [(row.label, row.rule, row.arrived, _losses(row.lost, largest)) for row in rows]
    table.append(("pixels", "", sums.total, ""))
    titles = {12: "layer", 70: "rule", 240: "relevance that arrives", 540: "kept there (−: added)"}
    parts = [text(x, 22, title, GREY, "start", 13) for x, title in titles.items()]
    for place, (label, rule, arrived, lost) in enumerate(table):
        y, length = 52 + 32 * place, round(230 * abs(arrived) / largest)
        colour = _colour(arrived, True)
        parts += [
            text(12, y, label, INK, "start"),
            text(70, y, rule, GREY, "start", 13),
            f'<rect x="240" y="{y - 10}" width="{length}" height="20" rx="3" fill="{colour}"/>',
            text(248 + length, y, number(arrived, largest), INK, "start"),
            text(540, y, lost, INK, "start"),
        ]
    words = "\n".join(
        f"{label:7}{number(arrived, largest):>6}  {lost}".rstrip()
        for label, _, arrived, lost in table
    )
    return Drawing(svg(760, 46 + 32 * len(table), parts), words)


def digit(x: Tensor, side: int = 224) -> Picture:
    """One picture as the model sees it."""
    image = magnified(input_image(x[0]), max(1, side // max(x.shape[2:])))
    inked = int((x[0] > 0).sum())
    return Picture(png(image), f"{x.shape[2]} × {x.shape[3]} pixels, {inked} of them not black")


def gallery(
    explanations: dict[str, Explanation], quantile: float = 1.0, columns: int = 3
) -> Picture:
    """The first sample's heatmaps side by side on one scale, each with its name and its sum.

    The scale ends at the ``quantile`` of all pixels; what lies beyond has the darkest colour.
    """
    shown = {name: made.heatmap() for name, made in explanations.items()}
    signed = any(made.method.signed for made in explanations.values())
    sums = {name: _sum(made) for name, made in explanations.items()}
    return maps(shown, signed, quantile, columns, sums)


def maps(
    values: dict[str, Tensor],
    signed: bool = True,
    quantile: float = 1.0,
    columns: int = 3,
    captions: dict[str, str] | None = None,
) -> Picture:
    """Maps ``(H, W)`` side by side on one scale, each with its name and, below it, a caption."""
    scale = scale_of(*values.values(), quantile=quantile, signed=signed)
    tiles = {name: palette_image(each, scale).convert("RGB") for name, each in values.items()}
    captions = captions or {}
    words = [", ".join(filter(None, (f"{name}: {captions.get(name, '')}".rstrip(": "),
                                     _ends(values[name])))) for name in values]  # fmt: skip
    limit = f"scale: {'±' if signed else 'up to '}{number(scale.limit, digits=2)}"
    return Picture(png(_page(tiles, captions, columns, scale)), "\n".join([*words, limit]))


def images(shown: dict[str, Tensor], columns: int = 4, low: float = 0, high: float = 1) -> Picture:
    """Pictures ``(C, H, W)`` side by side, each with its name; ``low`` is black, ``high`` white."""
    tiles = {name: input_image(x, low, high).convert("RGB") for name, x in shown.items()}
    words = [f"{name}: mean {number(float(x.mean()), digits=2)}" for name, x in shown.items()]
    return Picture(png(_page(tiles, {}, columns, None)), "\n".join(words))


_TILE, _SCALE_BAR = 196, 290


def _page(
    tiles: dict[str, Image.Image], captions: dict[str, str], columns: int, scale: Scale | None
) -> Image.Image:
    """Tiles in rows with their names above and their captions below, and the scale at the end."""
    width, height = _TILE + 14, _TILE + (52 if captions else 32)
    rows = -(-len(tiles) // columns)
    across = max(width * min(columns, len(tiles)), _SCALE_BAR if scale else 0)
    size = across, height * rows + (40 if scale else 4)
    page = Image.new("RGB", size, "#ffffff")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for place, (name, tile) in enumerate(tiles.items()):
        left, top = width * (place % columns) + 7, height * (place // columns)
        shown = magnified(tile, max(1, _TILE // max(tile.size)))
        shown.thumbnail((_TILE, _TILE))
        draw.text((left, top + 14), plain(name), INK, font, anchor="lm")
        page.paste(shown, (left, top + 26))
        draw.rectangle(
            (left - 1, top + 25, left + shown.width, top + 26 + shown.height), outline=FAINT
        )
        draw.text((left, top + 234), plain(captions.get(name, "")), INK, font, anchor="lm")
    if scale:
        _scale_bar(page, draw, font, scale)
    return page


def _sum(explanation: Explanation) -> str:
    return f"ΣR = {number(float(explanation.total[0]))}"


def _ends(values: Tensor) -> str:
    low, high = (number(float(end), digits=2) for end in (values.min(), values.max()))
    return f"pixels from {low} to {high}"


def _scale_bar(
    page: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, scale: Scale
) -> None:
    bar = Image.fromarray(np.repeat((SIGNED if scale.signed else UNSIGNED)[None], 14, axis=0))
    low, high = (number(end, digits=2) for end in (scale.low, scale.limit))
    top = page.height - 30
    page.paste(bar.resize((160, 14)), (67, top))
    draw.text((60, top + 7), plain(low), INK, font, anchor="rm")
    draw.text((235, top + 7), high, INK, font, anchor="lm")


def _losses(lost: dict[str, float], largest: float) -> str:
    """What was kept, by cause; what is too small to matter is left out."""
    kept = [(cause, value) for cause, value in lost.items() if abs(value) >= 0.005 * largest]
    return ", ".join(f"{cause} {number(value, largest)}" for cause, value in kept) or "nothing"


def _column(count: int, x: float, span: float) -> list[tuple[float, float]]:
    """Units spread over the height of the highest column."""
    if count == 1:
        return [(x, _TOP + span / 2)]
    return [(x, _TOP + span * unit / (count - 1)) for unit in range(count)]


def _between(ends: tuple[float, float, float, float], share: float) -> tuple[float, float]:
    x1, y1, x2, y2 = ends
    return x1 + share * (x2 - x1), y1 + share * (y2 - y1)


def _name(depth: int, unit: int, columns: Sequence[Sequence[float]]) -> str:
    if depth == len(columns) - 1:
        return "f"
    return f"{'x' if depth == 0 else 'h'}{unit + 1}".translate(_SUBSCRIPTS)


def _colour(value: float, relevance: bool) -> str:
    if not relevance or not value:
        return INK
    return FOR if value > 0 else AGAINST


def _stroke(carried: float, largest: float, relevance: bool) -> tuple[str, float]:
    if not relevance:
        return FAINT, 1.5
    if not carried:
        return FAINT, 0.75
    return _colour(carried, True), round(1 + 9 * abs(carried) / largest, 1)


def _short(value: float) -> str:
    return number(value, digits=3).removesuffix(".00").replace(".50", ".5")


def svg(width: float, height: float, parts: Sequence[str]) -> str:
    """An SVG of this size on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="14">'
        f'<rect width="100%" height="100%" rx="8" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, thick: float) -> str:
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" '
        f'stroke="{stroke}" stroke-width="{thick:g}" stroke-opacity="0.75"/>'
    )


def text(
    x: float, y: float, words: str, colour: str, anchor: str = "middle", size: int = 14
) -> str:
    """Words in an SVG; ``anchor`` is start, middle or end."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{html.escape(words)}</text>'
    )


def _label(value: float, x: float, y: float, colour: str) -> str:
    shown = _short(value)
    half = 6 + 4 * len(shown)
    return (
        f'<rect x="{x - half:.0f}" y="{y - 10:.0f}" width="{2 * half}" height="20" rx="5" '
        f'fill="#ffffff" fill-opacity="0.92"/>{text(x, y, shown, colour)}'
    )


def _unit(value: float, name: str, x: float, y: float, relevance: bool) -> str:
    colour = _colour(value, relevance)
    return (
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="27" fill="{_TINT[colour]}" stroke="{colour}" '
        f'stroke-width="2"/>{text(x, y, _short(value), colour, size=16)}'
        f"{text(x, y - 38, name, INK, size=13)}"
    )
