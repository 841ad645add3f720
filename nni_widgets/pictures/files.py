"""From a picture file to a batch of one, as a model takes it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import picture_range
from nni_widgets.pictures.render import Level

_MODES = {1: "L", 3: "RGB"}
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def read_picture(file: str | Path | bytes, model: nn.Module, like: Tensor) -> Tensor:
    """A PNG or JPEG file, or its bytes, as a picture like those of ``like``.

    Shape: ``(1, C, H, W)`` as ``like`` ``(N, C, H, W)``, grey or red-green-blue; cut to its
    proportions at the borders and resized. Black and white are the model's ``low`` and ``high``, or
    the range of ``like``. What is transparent becomes black. Raises ``ValueError`` for any other
    file, and if ``like`` has neither 1 nor 3 channels.
    """
    if like.ndim != 4 or like.shape[1] not in _MODES:
        expected, given = "(N, 1, H, W) or (N, 3, H, W)", f"{tuple(like.shape)}"
        action = "Give a batch of grey or colour pictures"
        raise invalid("read_picture", "the shape of like", expected, given, action)
    channels, height, width = like.shape[1:]
    image = _opened(file).convert(_MODES[channels])
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    shares = torch.from_numpy(np.asarray(fitted, dtype=np.float64) / 255)
    shares = shares.reshape(height, width, channels).permute(2, 0, 1)
    low, high = (_level(level) for level in picture_range(model, like))
    return (low + shares * (high - low))[None].to(like)


def _opened(file: str | Path | bytes) -> Image.Image:
    try:
        with Image.open(
            io.BytesIO(file) if isinstance(file, bytes) else file, formats=("PNG", "JPEG")
        ) as image:
            upright = ImageOps.exif_transpose(image)
            upright.load()
    except _UNREADABLE as error:
        given = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, UnidentifiedImageError):  # it names the bytes by their address
            given = "something else"
        action = "Save the picture as PNG or JPEG"
        raise invalid("read_picture", "the file", "a PNG or JPEG picture", given, action) from error
    if upright.mode.startswith("I"):
        upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
    opaque = Image.new("RGBA", upright.size, "black")
    opaque.alpha_composite(upright.convert("RGBA"))
    return opaque


def _level(level: Level) -> Tensor:
    return torch.as_tensor(level, dtype=torch.float64).reshape(-1, 1, 1)
