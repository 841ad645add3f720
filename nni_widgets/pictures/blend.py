"""A map that can be faded in over its picture, from the picture alone to the map alone."""

from __future__ import annotations

from PIL import Image, ImageDraw

from nni_widgets.errors import invalid
from nni_widgets.pictures.boxes import Box
from nni_widgets.pictures.heatmap import Map, Scale
from nni_widgets.pictures.render import (
    Level,
    input_image,
    magnified,
    overlay_image,
    palette_image,
    png,
)

_SIDE = 252
_LINES = (("black", 4), ("white", 2))


def blended_png(
    image: Map,
    values: Map,
    scale: Scale,
    strength: float,
    low: Level = 0.0,
    high: Level = 1.0,
    box: Box | None = None,
) -> bytes:
    """The picture at ``strength`` 0, the map laid over it in the middle, the map alone at 1.

    ``values`` is as large as the picture. A small picture with a box is magnified, for thin lines.
    """
    if not 0 <= strength <= 1:
        raise invalid("blended_png", "strength", "from 0 to 1", repr(strength), "Try 0.5")
    picture = input_image(image, low, high).convert("RGB")
    heat = palette_image(values, scale).convert("RGB")
    if heat.size != picture.size:
        expected, given = (f"{size.height} × {size.width}" for size in (picture, heat))
        raise invalid("blended_png", "the map", f"as large as the picture, {expected}", given,
                      "Upsample it first")  # fmt: skip
    laid = overlay_image(image, values, scale, 1.0, low, high)
    half = 2 * strength
    mixed = Image.blend(picture, laid, half) if half <= 1 else Image.blend(laid, heat, half - 1)
    return png(mixed if box is None else _framed(mixed, box))


def _framed(image: Image.Image, box: Box) -> Image.Image:
    """The picture with the outline of a box, in white between black: seen on every colour."""
    factor = max(1, _SIDE // max(image.size))
    large = magnified(image, factor)
    top, left, bottom, right = (factor * side for side in box)
    draw = ImageDraw.Draw(large)
    for colour, width in _LINES:
        out = width // 2
        outline = (left - out, top - out, right + out - 1, bottom + out - 1)
        draw.rectangle(outline, outline=colour, width=width)
    return large
