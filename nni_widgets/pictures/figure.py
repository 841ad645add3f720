"""A composed picture to save and for notebooks: input, heatmap, scale with numbers, words."""

from __future__ import annotations

import base64
import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nni_widgets.errors import invalid
from nni_widgets.pictures.heatmap import Map, Scale
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import Level, Metadata, input_image, palette_image, png

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SIDE, _SMALL_SIDE, _ACROSS = 280, 140, 5
_STRIP = 28
_BAR_WIDTH, _BAR_HEIGHT = 14, 56
_GAP, _SMALL_GAP, _LINE, _FONT_SIZE = 12, 4, 18, 13
_INK, _FRAME, _PAPER = "#333333", "#bbbbbb", "#ffffff"
_SPOKEN = {"Σ": "sum ", "−": "-", "–": "-", "′": "'", "×": "x", "·": ".", "±": "+/-", "°": " deg",
           "ε": "epsilon", "γ": "gamma", "α": "alpha", "β": "beta", "λ": "lambda", "σ": "sigma",
           "∂": "d", "⁺": "+", "ᴮ": "B", "→": "->", "≤": "<=", "≥": ">="}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Panel:
    """One row of a figure: an input ``(C, H, W)``, its heatmap ``(H, W)`` on a scale, and words."""

    image: Map
    values: Map
    scale: Scale
    caption: str = ""


def figure_png(
    panels: Sequence[Panel],
    title: str = "",
    low: Level = 0.0,
    high: Level = 1.0,
    metadata: Metadata | None = None,
) -> bytes:
    """The panels below one another, each with its scale; small pictures are magnified."""
    if not panels:
        raise invalid("figure_png", "panels", "at least one", "none", "Give a sample to show")
    rows = [_row(panel, low, high) for panel in panels]
    width = max(row.width for row in rows) + 2 * _GAP
    parts = [_text(title, width), *rows] if title else rows
    page = Image.new("RGB", (width, sum(part.height + _GAP for part in parts) + _GAP), _PAPER)
    top = _GAP
    for part in parts:
        page.paste(part, (_GAP if part.width < width else 0, top))
        top += part.height + _GAP
    return png(page, metadata)


def sheet_png(
    images: Sequence[Map],
    captions: Sequence[str],
    title: str = "",
    low: Level = 0.0,
    high: Level = 1.0,
    metadata: Metadata | None = None,
) -> bytes:
    """Pictures ``(C, H, W)`` side by side, a few in a row, each with words below it."""
    if not images:
        raise invalid("sheet_png", "images", "at least one", "none", "Give a picture to show")
    cells = [_cell(*each, low, high) for each in zip(images, captions, strict=True)]
    rows = [cells[at : at + _ACROSS] for at in range(0, len(cells), _ACROSS)]
    width = max(sum(cell.width + _GAP for cell in row) for row in rows) + _GAP
    head = [_text(title, width)] if title else []
    heights = [max(cell.height for cell in row) for row in rows]
    total = sum(part.height + _GAP for part in head) + sum(h + _GAP for h in heights) + _GAP
    page, top = Image.new("RGB", (width, total), _PAPER), _GAP
    for part in head:
        page.paste(part, (0, top))
        top += part.height + _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for cell in row:
            page.paste(cell, (left, top))
            left += cell.width + _GAP
        top += height + _GAP
    return png(page, metadata)


def _cell(image: Map, caption: str, low: Level, high: Level) -> Image.Image:
    shown = _shown(input_image(image, low, high), _SMALL_SIDE)
    words = _text(caption, shown.width, margin=0)
    cell = Image.new("RGB", (shown.width, shown.height + _SMALL_GAP + words.height), _PAPER)
    cell.paste(shown, (0, 0))
    cell.paste(words, (0, shown.height + _SMALL_GAP))
    return cell


def _row(panel: Panel, low: Level, high: Level) -> Image.Image:
    both = input_image(panel.image, low, high), palette_image(panel.values, panel.scale)
    shown = [_shown(image) for image in both]
    bar = _bar(panel.scale, max(_BAR_HEIGHT, *(image.height for image in shown)))
    width = sum(image.width + _GAP for image in shown) + bar.width
    words = _text(panel.caption, width, margin=0) if panel.caption else None
    height = bar.height + (words.height + _SMALL_GAP if words else 0)
    row = Image.new("RGB", (width, height), _PAPER)
    left = 0
    for image in (*shown, bar):
        row.paste(image, (left, 0))
        left += image.width + _GAP
    if words:
        row.paste(words, (0, bar.height + _SMALL_GAP))
    return row


def _shown(image: Image.Image, side: int = _SIDE) -> Image.Image:
    factor = max(1, round(side / max(image.size)))
    size = (image.width * factor, max(image.height * factor, _STRIP))
    return _framed(image.resize(size, Image.Resampling.NEAREST).convert("RGB"))


def _framed(image: Image.Image) -> Image.Image:
    framed = Image.new("RGB", (image.width + 2, image.height + 2), _FRAME)
    framed.paste(image, (1, 1))
    return framed


def _bar(scale: Scale, height: int) -> Image.Image:
    """The colours of the scale, its limit at the top, and the numbers beside them."""
    ramp = np.linspace(scale.limit, scale.low, height - 2)
    colours = np.repeat(ramp[:, None], _BAR_WIDTH, axis=1)
    strip = _framed(palette_image(colours, scale).convert("RGB"))
    values = (scale.limit, 0.0, -scale.limit) if scale.signed else (scale.limit, 0.0)
    labels = [plain(number(value)) for value in values]
    font = ImageFont.load_default(_FONT_SIZE)
    width = strip.width + _SMALL_GAP + round(max(font.getlength(label) for label in labels)) + 1
    bar = Image.new("RGB", (width, height), _PAPER)
    bar.paste(strip, (0, 0))
    draw = ImageDraw.Draw(bar)
    for step, label in enumerate(labels):
        middle = _FONT_SIZE // 2 + step * (height - _FONT_SIZE) / (len(labels) - 1)
        draw.text((strip.width + _SMALL_GAP, middle), label, _INK, font, anchor="lm")
    return bar


def _text(text: str, width: int, margin: int = _GAP) -> Image.Image:
    font = ImageFont.load_default(_FONT_SIZE)
    lines = _wrapped(plain(text), font, width - 2 * margin)
    block = Image.new("RGB", (width, _LINE * len(lines)), _PAPER)
    draw = ImageDraw.Draw(block)
    for count, line in enumerate(lines):
        draw.text((margin, _LINE * (count + 0.5)), line, _INK, font, anchor="lm")
    return block


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def svg_html(svg: str, words: str = "") -> str:
    """A drawing as an address: JupyterLab shows no plain SVG in a notebook not run there."""
    source = base64.b64encode(svg.encode()).decode("ascii")
    alternative = html.escape(words, quote=True)
    return f'<img alt="{alternative}" src="data:image/svg+xml;base64,{source}">'


def plain(text: str) -> str:
    """The text in the letters that Pillow's own font has."""
    for sign, words in _SPOKEN.items():
        text = text.replace(sign, words)
    parts = unicodedata.normalize("NFKD", text)
    letters = "".join(part for part in parts if not unicodedata.combining(part))
    return letters.encode("ascii", "replace").decode("ascii")
