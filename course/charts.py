"""The charts of the course: curves, and a plane with points and arrows.

Like the figures, each shows itself in a notebook and has a short text form, which nbval compares.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from figures import AGAINST, FAINT, FOR, GREY, INK, Drawing, svg, text
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.pictures.numbers import number, round_numbers
from nni_widgets.pictures.render import palette_image

COLOURS = (FOR, AGAINST, "#1b7f6b", "#b03060", "#4477aa", "#777777")
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 4", "1 5")
_LEFT, _TOP, _WIDTH, _HEIGHT = 62, 16, 470, 230
_SIDE, _CELLS = 340, 34


def curves(
    x: Sequence[float],
    ys: Mapping[str, Sequence[float]],
    x_label: str = "",
    y_label: str = "",
    level: float | None = None,
) -> Drawing:
    """Curves over one axis, each with a colour and a dash of its own; ``level`` is a dotted line.

    The words tell where each curve begins, ends, and how far it goes.
    """
    across = np.asarray(x, dtype=float)
    lines = {name: np.asarray(y, dtype=float) for name, y in ys.items()}
    every = np.concatenate([*lines.values(), [] if level is None else [level]])
    low, high = _span(float(every.min()), float(every.max()))
    start, end = float(across.min()), float(across.max())

    def place(u: float, v: float) -> tuple[float, float]:
        right = (u - start) / ((end - start) or 1)
        return _LEFT + _WIDTH * right, _TOP + _HEIGHT * (1 - (v - low) / (high - low))

    parts = _axes(start, end, low, high, x_label, y_label)
    for v in {level, 0.0} - {None}:
        if low <= v <= high:
            (x1, y1), (x2, _) = place(start, v), place(end, v)
            parts.append(_path([(x1, y1), (x2, y1)], GREY, 1, "2 4"))
    for nr, (name, y) in enumerate(lines.items()):
        colour, dash = COLOURS[nr % len(COLOURS)], _DASHES[nr % len(_DASHES)]
        parts.append(_path([place(u, v) for u, v in zip(across, y, strict=True)], colour, 2, dash))
        row = _TOP + 12 + 22 * nr
        parts.append(_path([(548, row), (578, row)], colour, 3, dash))
        parts.append(text(586, row, name, INK, "start", 13))
    largest = float(np.abs(every).max())
    words = [
        f"{name}: from {number(y[0], largest)} to {number(y[-1], largest)}"
        f" (least {number(y.min(), largest)}, most {number(y.max(), largest)})"
        for name, y in lines.items()
    ]
    return Drawing(svg(760, _TOP + _HEIGHT + 48, parts), "\n".join(words))


def plane(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    reach: float,
    points: Mapping[str, tuple[float, float]] | None = None,
    arrows: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
) -> Drawing:
    """A function of two numbers from −reach to reach in colours, white where it is 0.

    ``points`` are named places, each told with its value; ``arrows`` are pairs (place, vector).
    """
    step = 2 * reach / _CELLS
    middle = np.arange(_CELLS) * step - reach + step / 2
    x1, x2 = np.meshgrid(middle, middle)
    values = np.asarray(function(x1, x2), dtype=float)

    def place(u: float, v: float) -> tuple[float, float]:
        return 40 + _SIDE * (u + reach) / (2 * reach), 12 + _SIDE * (reach - v) / (2 * reach)

    left, top = place(-reach, reach)
    parts = [
        (
            f'<image x="{left:.0f}" y="{top:.0f}" width="{_SIDE}" height="{_SIDE}" '
            f'style="image-rendering:pixelated" href="{_embedded(values[::-1])}"/>'
        )
    ]
    for (u, v), (du, dv) in arrows:
        parts += _arrow(place(u, v), place(u + du, v + dv))
    words = []
    for name, (u, v) in (points or {}).items():
        x, y = place(u, v)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{INK}" stroke="#fff"/>')
        parts.append(text(x + 10, y - 10, name, INK, "start"))
        value = number(float(function(np.float64(u), np.float64(v))))
        words.append(f"{name} ({u:g}, {v:g}): {value}")
    for at in (-reach, 0, reach):
        parts.append(text(place(at, 0)[0], _SIDE + 26, f"{at:g}", GREY, size=12))
        parts.append(text(20, place(0, at)[1], f"{at:g}", GREY, size=12))
    words.append(f"from {number(float(values.min()))} to {number(float(values.max()))}")
    return Drawing(svg(_SIDE + 130, _SIDE + 44, parts), "\n".join(words))


def _embedded(values: np.ndarray) -> str:
    """A map in colours as a PNG inside an address; not compressed, so the same on every machine."""
    image, buffer = palette_image(values, scale_of(values)), io.BytesIO()
    image.save(buffer, "PNG", compress_level=0)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _span(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _axes(
    start: float, end: float, low: float, high: float, x_label: str, y_label: str
) -> list[str]:
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    parts = [_path([(_LEFT, _TOP), (_LEFT, bottom), (right, bottom)], FAINT, 1.5, "")]
    for u in round_numbers(start, end):
        along = (u - start) / ((end - start) or 1)
        parts.append(text(_LEFT + along * _WIDTH, bottom + 16, _tick(u), GREY, size=12))
    for v in round_numbers(low, high):
        height = (v - low) / (high - low)
        parts.append(text(_LEFT - 8, bottom - height * _HEIGHT, _tick(v), GREY, "end", 12))
    parts.append(text(_LEFT + _WIDTH / 2, bottom + 36, x_label, INK, size=13))
    parts.append(text(_LEFT + 8, _TOP - 2, y_label, INK, "start", 13))
    return parts


def _tick(at: float) -> str:
    return f"{at + 0.0:.6g}".replace("-", "−")


def _path(points: Sequence[tuple[float, float]], colour: str, width: float, dash: str) -> str:
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-dasharray="{dash}"/>')  # fmt: skip


def _arrow(tail: tuple[float, float], head: tuple[float, float]) -> list[str]:
    (x1, y1), (x2, y2) = tail, head
    along = np.array([x2 - x1, y2 - y1])
    length = float(np.hypot(*along))
    if not length:
        return []
    ahead = 8 * along / length
    aside = np.array([-ahead[1], ahead[0]]) / 2
    tips = [(x2, y2), tuple(head - ahead + aside), tuple(head - ahead - aside)]
    return [_path([tail, head], INK, 2, ""), _path([*tips, tips[0]], INK, 2, "")]
