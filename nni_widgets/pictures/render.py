"""From a heatmap on a scale, or from an input, to the bytes of a PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nni_widgets.errors import invalid
from nni_widgets.pictures.colours import LEVELS, SIGNED, UNSIGNED, Colours
from nni_widgets.pictures.heatmap import Map, Scale, finite

Level = float | Sequence[float]
Metadata = Mapping[str, str]

_GREY = np.array([0.299, 0.587, 0.114])
_FADED_BLACK = 0.45
_PALETTES = {True: SIGNED.tobytes(), False: UNSIGNED.tobytes()}


def to_indices(values: Map, scale: Scale) -> NDArray[np.uint8]:
    """The palette index of each value; zero is 127 on a signed scale and 0 on an unsigned one."""
    steps = LEVELS // 2 if scale.signed else LEVELS - 1
    middle = steps if scale.signed else 0
    return (np.rint(scale.share(values) * steps) + middle).astype(np.uint8)


def colours_of(values: Map, scale: Scale) -> Colours:
    """The red, green and blue of each value, ``(…, 3)``."""
    return (SIGNED if scale.signed else UNSIGNED)[to_indices(values, scale)]


def palette_image(values: Map, scale: Scale) -> Image.Image:
    """A map ``(H, W)`` as an image with a palette: quick to make, and its indices can be read."""
    indices = to_indices(values, scale)
    if indices.ndim != 2 or not indices.size:
        raise invalid("palette_png", "the map", "of shape (H, W)", f"shape {indices.shape}",
                      "Take one sample of heatmap(...)")  # fmt: skip
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(_PALETTES[scale.signed])
    return image


def palette_png(
    values: Map, scale: Scale, magnify: int = 1, metadata: Metadata | None = None
) -> bytes:
    """A map ``(H, W)`` in colours; each pixel becomes ``magnify`` × ``magnify`` of them."""
    return png(magnified(palette_image(values, scale), magnify), metadata)


def input_image(image: Map, low: Level = 0.0, high: Level = 1.0) -> Image.Image:
    """An input ``(C, H, W)``, ``(C, L)`` or ``(F,)`` in grey, or in colour if it has 3 channels.

    ``low`` is black and ``high`` white: one number, or one per channel. Any other number of
    channels is averaged.
    """
    array = finite(image)
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim != 3 or not array.size:
        raise invalid("picture_png", "the image", "of shape (C, H, W), (C, L) or (F,)",
                      f"shape {array.shape}", "Take one sample of the batch")  # fmt: skip
    black, white = (np.reshape(level, (-1, 1, 1)) for level in (low, high))
    if len({len(black), len(white), len(array)} - {1}) > 1:
        raise invalid("picture_png", "low and high", "one number, or one per channel",
                      f"{len(black)} and {len(white)} for {len(array)} channels",
                      "Give what is black and what is white")  # fmt: skip
    shown = np.clip((array - black) / np.where(white > black, white - black, 1.0), 0, 1)
    pixels = np.rint((shown if len(shown) == 3 else shown.mean(0, keepdims=True)) * 255)
    grey_or_rgb = pixels.astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(grey_or_rgb if len(pixels) == 3 else grey_or_rgb[:, :, 0])


def picture_png(
    image: Map,
    low: Level = 0.0,
    high: Level = 1.0,
    magnify: int = 1,
    metadata: Metadata | None = None,
) -> bytes:
    """An input as it is, in grey or colour; see :func:`input_image`."""
    return png(magnified(input_image(image, low, high), magnify), metadata)


def overlay_image(
    image: Map,
    values: Map,
    scale: Scale,
    strength: float = 1.0,
    low: Level = 0.0,
    high: Level = 1.0,
) -> Image.Image:
    """The heatmap laid over the input, faded to light grey; the stronger, the more it covers.

    ``strength`` from 0 (the input alone) to 1 (the ends of the scale cover it). A map of another
    size than the input is stretched to it.
    """
    if not 0 <= strength <= 1:
        raise invalid("overlay_png", "strength", "from 0 to 1", repr(strength), "Try 1.0")
    below = np.asarray(input_image(image, low, high), dtype=np.float64) / 255
    grey = _FADED_BLACK + (1 - _FADED_BLACK) * (below if below.ndim == 2 else below @ _GREY)
    stretched = _stretched(finite(values), grey.shape)
    cover = strength * np.abs(scale.share(stretched))[:, :, None]
    mixed = (1 - cover) * grey[:, :, None] * 255 + cover * colours_of(stretched, scale)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def overlay_png(
    image: Map,
    values: Map,
    scale: Scale,
    strength: float = 1.0,
    low: Level = 0.0,
    high: Level = 1.0,
    magnify: int = 1,
    metadata: Metadata | None = None,
) -> bytes:
    """The heatmap over the faded input; see :func:`overlay_image`."""
    laid = overlay_image(image, values, scale, strength, low, high)
    return png(magnified(laid, magnify), metadata)


def _stretched(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    if values.ndim != 2 or not values.size:
        raise invalid("overlay_png", "the map", "of shape (H, W)", f"shape {values.shape}",
                      "Take one sample of heatmap(...)")  # fmt: skip
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape, values.shape, strict=True))
    return values[np.ix_(rows, columns)]


def scale_bar_png(scale: Scale, width: int = LEVELS, height: int = 12) -> bytes:
    """The colours of a scale from its low end at the left to its limit at the right."""
    ramp = np.linspace(scale.low, scale.limit, width)
    return png(palette_image(np.tile(ramp, (height, 1)), scale))


def magnified(image: Image.Image, factor: int) -> Image.Image:
    """Every pixel as a square of ``factor`` × ``factor`` pixels."""
    if factor == 1:
        return image
    if factor < 1:
        raise invalid("png", "magnify", "a whole number from 1", repr(factor), "Try 1")
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST)


def png(image: Image.Image, metadata: Metadata | None = None) -> bytes:
    """The image as a PNG file with the metadata as its texts; compressed quickly, not tightly."""
    texts = PngInfo()
    for key, text in (metadata or {}).items():
        texts.add_text(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, pnginfo=texts)
    return buffer.getvalue()
