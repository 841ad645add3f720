"""A picture on its way out of what the model knows: turned, shifted, mixed with another."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param
from nni_widgets.pictures.numbers import percent
from nni_widgets.pictures.render import Level

_FAR = 1000


class Motion(Declared):
    """How a picture is moved: mixed with another one, then turned about its middle, then shifted.

    What comes in from outside is black.
    """

    angle: int = param(0, "degrees against the clock", low=-180, high=180, slider=(-180, 180))
    right: int = param(0, "pixels to the right", low=-_FAR, high=_FAR, slider=(-14, 14))
    down: int = param(0, "pixels down", low=-_FAR, high=_FAR, slider=(-14, 14))
    morph: float = param(0.0, "share of the other picture", low=0, high=1, slider=(0, 1))

    def __call__(self, x: Tensor, other: Tensor | None, black: Level) -> Tensor:
        """The pictures ``(N, C, H, W)``, moved; x itself if there is nothing to do."""
        return self.turned(self.mixed(x, other), black)

    def mixed(self, x: Tensor, other: Tensor | None) -> Tensor:
        """The pictures, pixel by pixel on the straight way to the other one."""
        if not self.morph:
            return x
        if other is None:
            expected, action = "0 without another picture", "Give towards=… to have some"
            raise invalid("UncertaintyExplorer", "morph", expected, repr(self.morph), action)
        return torch.lerp(x, other.to(x), self.morph)

    def turned(self, x: Tensor, black: Level) -> Tensor:
        """The pictures, turned and shifted only."""
        if not (self.angle or self.right or self.down):
            return x
        if x.ndim != 4:
            expected, given = "a batch (N, C, H, W) to be turned", f"shape {tuple(x.shape)}"
            raise invalid("UncertaintyExplorer", "x", expected, given, "Set the sliders to 0")
        ground = torch.as_tensor(black, dtype=x.dtype, device=x.device).reshape(1, -1, 1, 1)
        places = self._where_from(x).expand(len(x), -1, -1, -1)
        moved = functional.grid_sample(
            x - ground, places, padding_mode="zeros", align_corners=False
        )
        return moved + ground

    def _where_from(self, x: Tensor) -> Tensor:
        """For each pixel the place it comes from: ``(1, H, W, 2)``, −1 to 1 over the picture."""
        height, width = x.shape[2:]
        rows, columns = (torch.arange(length).to(x) for length in (height, width))
        along = rows[:, None] - (height - 1) / 2 - self.down
        across = columns[None, :] - (width - 1) / 2 - self.right
        turn = math.radians(self.angle)
        cos, sin = math.cos(turn), math.sin(turn)
        place = across * cos - along * sin, across * sin + along * cos
        return torch.stack([2 * place[0] / width, 2 * place[1] / height], -1)[None]

    def __str__(self) -> str:
        """The motion in words."""
        said = [f"turned {self.angle}°"] if self.angle else []
        said += [f"shifted ({self.right}, {self.down})"] if self.right or self.down else []
        said += [f"{percent(self.morph)} mixed"] if self.morph else []
        return ", ".join(said) or "as it is"
