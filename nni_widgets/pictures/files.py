"""From a picture file to a batch of one, as a model takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import picture_range
from nni_widgets.pictures.render import Level
from nni_widgets.zoo.picture_file import read_image


def read_picture(file: str | Path | bytes, model: nn.Module, like: Tensor) -> Tensor:
    """A picture file, or its bytes, as a picture like those of ``like``.

    Shape: ``(1, C, H, W)`` as ``like`` ``(N, C, H, W)``, grey or red-green-blue; cut to its
    proportions at the borders and resized. Black and white are the model's ``low`` and ``high``, or
    the range of ``like``. What is transparent becomes white, in a grey picture black. Raises
    ``ValueError`` for what is no PNG, JPEG, GIF or WebP picture, is too large or moves, and if
    ``like`` has neither 1 nor 3 channels.
    """
    if like.ndim != 4 or like.shape[1] not in (1, 3):
        expected, given = "(N, 1, H, W) or (N, 3, H, W)", f"{tuple(like.shape)}"
        action = "Give a batch of grey or colour pictures"
        raise invalid("read_picture", "the shape of like", expected, given, action)
    channels, height, width = like.shape[1:]
    image = read_image(file, width, height, channels, "read_picture")
    shares = torch.from_numpy(np.asarray(image, dtype=np.float64) / 255)
    shares = shares.reshape(height, width, channels).permute(2, 0, 1)
    low, high = (_level(level) for level in picture_range(model, like))
    return (low + shares * (high - low))[None].to(like)


def _level(level: Level) -> Tensor:
    return torch.as_tensor(level, dtype=torch.float64).reshape(-1, 1, 1)
