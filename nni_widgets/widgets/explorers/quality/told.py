"""What an explorer of quality tells besides its picture: digest, numbers, and a still picture."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw, ImageFont

from nni_widgets.pictures.figure import plain
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import input_image, png
from nni_widgets.widgets.explorers.quality import game_view, slide_view
from nni_widgets.widgets.explorers.quality.charts import CHANCE, COLOURS, MINE
from nni_widgets.widgets.explorers.quality.game import Played, Player
from nni_widgets.widgets.explorers.quality.slide import Slid
from nni_widgets.widgets.parts.files import npz

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_BOARD, _PLOT, _LEGEND, _GAP, _LINE = 252, 320, 220, 14, 20
_INK, _FAINT, _PAPER, _FONT_SIZE = "#333333", "#bbbbbb", "#ffffff", 13


def digest_of(shown: Played | Slid) -> str:
    """The numbers that matter."""
    return _of_game(shown) if isinstance(shown, Played) else _of_slide(shown)


def _of_game(played: Played) -> str:
    count, patch = played.compared, played.game.patch
    lines = [
        f"pixel flipping, target {played.left.target_names[0]}, patches of {patch} × {patch} px",
        game_view.in_words(played),
    ]
    for player in played.players:
        area = number(player.area(count), largest=played.score)
        last = number(player.after(count), largest=played.score)
        lines.append(f"{player.name}: AUC {area}, f after {count}: {last}")
    return "\n".join(lines)


def _of_slide(slid: Slid) -> str:
    place = f"shift {slide_view.signed(slid.shift)} {slid.slide.along}, border {slid.slide.border}"
    unit = ", maps scaled" if slid.slide.scaled else ""
    lines = [
        f"continuity, target {slid.moved.target_names[0]}, {place}{unit}",
        slide_view.in_words(slid),
    ]
    for at, name in enumerate(slid.names):
        largest, shift = slid.largest(at)
        where = slide_view.signed(shift)
        lines.append(f"{name}: {number(slid.change(at))}, largest {number(largest)} at {where}")
    return "\n".join(lines)


def npz_of(shown: Played | Slid) -> bytes:
    """The curves and orders, or the changes at every shift, NaN where one is still to come."""
    if isinstance(shown, Played):
        others = {} if shown.chance is None else {"random_curve": shown.chance.curve}
        return npz(
            curve=shown.mine.curve,
            order=torch.tensor(shown.mine.order, dtype=torch.long),
            curves=torch.stack([player.curve for player in shown.methods]),
            orders=torch.tensor([player.order for player in shown.methods]),
            **others,
        )
    shifts = sorted(shown.changes)
    changes = torch.full((len(shifts), len(shown.names)), torch.nan)
    for row, shift in zip(changes, shifts, strict=True):
        row[: len(shown.changes[shift])] = torch.tensor(shown.changes[shift])
    return npz(shifts=torch.tensor(shifts), changes=changes)


def still_of(played: Played) -> bytes:
    """The board with the user's patches, the curves, and who is who."""
    font = ImageFont.load_default(_FONT_SIZE)
    rows, columns = played.grid.side
    zoom = _BOARD / columns
    height = max(round(zoom * rows), _LINE * (len(played.players) + 1), 200)
    size = (_BOARD + _PLOT + _LEGEND + 4 * _GAP, height + 2 * _GAP)
    page = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(page)
    _draw_board(page, draw, played, zoom, font)
    left = _BOARD + 2 * _GAP
    _draw_curves(draw, played, (left, _GAP, left + _PLOT, height + _GAP), font)
    left += _PLOT + _GAP
    draw.text((left, _GAP), f"AUC over {played.compared} patches", _INK, font)
    for at, (player, colour) in enumerate(_coloured(played), 1):
        area = number(player.area(played.compared), largest=played.score)
        draw.text((left, _GAP + at * _LINE), plain(f"{player.name}: {area}"), colour, font)
    return png(page, {"nni_widgets": digest_of(played)})


def _coloured(played: Played) -> list[tuple[Player, str]]:
    colours = (MINE, *COLOURS[: len(played.methods)], CHANCE)
    return list(zip(played.players, colours, strict=False))


def _draw_board(
    page: Image.Image, draw: ImageDraw.ImageDraw, played: Played, zoom: float, font: _Font
) -> None:
    left, grid = played.left, played.grid
    image = input_image(left.x[0], left.low, left.high).convert("RGB")
    size = round(image.width * zoom), round(image.height * zoom)
    page.paste(image.resize(size, Image.Resampling.NEAREST), (_GAP, _GAP))
    tops, lefts = (*grid.tops, grid.side[0]), (*grid.lefts, grid.side[1])
    for rank, patch in enumerate(played.mine.order, 1):
        row, column = grid.place(patch)
        corners = [
            (_GAP + zoom * lefts[column + end], _GAP + zoom * tops[row + end]) for end in (0, 1)
        ]
        draw.rectangle(corners, outline=MINE, width=2)
        middle = tuple((a + b) / 2 for a, b in zip(*corners, strict=True))
        draw.text(middle, str(rank), MINE, font, anchor="mm")


def _draw_curves(
    draw: ImageDraw.ImageDraw, played: Played, box: tuple[int, int, int, int], font: _Font
) -> None:
    left, top, right, bottom = box
    heights = torch.cat([player.curve for player in played.players])
    low, high = min(0.0, float(heights.min())), float(heights.max())
    draw.rectangle(box, outline=_FAINT)

    def at(x: int, y: float) -> tuple[float, float]:
        up = (y - low) / (high - low) if high > low else 0.5
        return left + x * (right - left) / max(1, played.most), bottom - up * (bottom - top)

    for player, colour in reversed(_coloured(played)):
        points = [at(x, y) for x, y in enumerate(player.curve.tolist())]
        draw.line(points, colour, 4 if player is played.mine else 2)
    draw.text(
        (left + 4, bottom - _LINE), plain(f"f from {number(high)} to {number(low)}"), _INK, font
    )
