"""From a picture file of one's own to pixels: the one place that opens what it does not know."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nni_widgets.errors import invalid

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MOST_PIXELS = 50_000_000

File = str | Path | bytes | bytearray | memoryview
"""The path of a picture file, or what is in it: an upload of ipywidgets is a memoryview."""

_BROKEN = (OSError, ValueError, SyntaxError, LookupError, TypeError, EOFError, struct.error)
_MODES = {1: "L", 3: "RGB"}
_GROUNDS = {1: "black", 3: "white"}


def read_image(file: File, width: int, height: int, channels: int, who: str) -> Image.Image:
    """A picture file, or its bytes, as an image of this size with 1 channel (grey) or 3 (colour).

    It stands upright as its camera noted, is cut to its proportions at the borders and resized.
    What is transparent becomes white as on a page, in a grey picture black as around a digit.
    Raises ``ValueError`` in the name of ``who`` for what is no PNG, JPEG, GIF or WebP picture, is
    too large, or moves.
    """
    if not isinstance(file, File):
        expected, action = "a path or bytes", "Pass the path of a picture, or what is in the file"
        raise invalid(who, "the file", expected, type(file).__name__, action)
    upright = _eight_bits(_upright(file, who))
    flat = _on_ground(upright, _GROUNDS[channels]).convert(_MODES[channels])
    return ImageOps.fit(flat, (width, height), Image.Resampling.BICUBIC)


def _upright(file: File, who: str) -> Image.Image:
    with _reading(who):
        source = file if isinstance(file, (str, Path)) else io.BytesIO(file)
        image = Image.open(source, formats=FORMATS)
    with image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise _too_large(who, f"{width} x {height}")
        with _reading(who):
            moves = _moves(image)
        if moves:
            given, action = f"an animated {image.format}", "Save one of its frames as PNG"
            raise invalid(who, "the file", "a picture that stands still", given, action)
        with _reading(who):
            image.load()
            return ImageOps.exif_transpose(image)


@contextmanager
def _reading(who: str) -> Iterator[None]:
    """Whatever a broken file brings Pillow to raise, told in one sentence."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(who, "far more") from error
    except _BROKEN as error:
        given = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, UnidentifiedImageError):  # it names the bytes by their address
            given = "something else"
        expected, action = "a PNG, JPEG, GIF or WebP picture", "Save the picture as PNG or JPEG"
        if getattr(error, "filename", None) is not None:  # it was not found or may not be read
            action = "Check the path"
        raise invalid(who, "the file", expected, given, action) from error


def _too_large(who: str, given: str) -> ValueError:
    expected = f"a picture of at most {MOST_PIXELS:,} pixels"
    return invalid(who, "the file", expected, given, "Save a smaller copy and use that")


def _moves(image: Image.Image) -> bool:
    """Whether it is an animation; the previews behind a camera's JPEG (MPO) are no frames."""
    return image.format != "MPO" and getattr(image, "is_animated", False)


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray((values // 256).astype(np.uint8))
    if "transparency" in image.info:
        seen = values != image.info["transparency"]
        grey.putalpha(Image.fromarray(255 * seen.astype(np.uint8)))
    return grey


def _on_ground(image: Image.Image, colour: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, colour)
    ground.alpha_composite(image.convert("RGBA"))
    return ground
