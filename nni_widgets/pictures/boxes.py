"""Where the largest value of a map stands, and how much of the map lies in a box."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.pictures.numbers import number, percent

_NOISE = 1e-5


class Box(NamedTuple):
    """A part of a picture in pixels; ``bottom`` and ``right`` are the first ones outside."""

    top: int
    left: int
    bottom: int
    right: int

    def has(self, row: int, column: int) -> bool:
        """Whether a pixel is inside."""
        return self.top <= row < self.bottom and self.left <= column < self.right


def boxes_of(given: Any, x: Tensor, who: str) -> tuple[Box, ...]:
    """One box for each picture of a batch. Raises ``ValueError`` for anything else."""
    expected = f"whole numbers (top, left, bottom, right) for each of {len(x)} pictures"
    action = "Give the boxes that go with x"
    try:
        corners = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid(who, "boxes", expected, type(given).__name__, action) from error
    whole = not (corners.is_floating_point() or corners.is_complex() or corners.dtype == torch.bool)
    if not whole or corners.shape != (len(x), 4) or x.ndim != 4:
        told = f"{corners.dtype} of shape {tuple(corners.shape)}".removeprefix("torch.")
        raise invalid(who, "boxes", expected, f"{told} for x of shape {tuple(x.shape)}", action)
    boxes = tuple(Box(*row) for row in corners.tolist())
    height, width = x.shape[2:]
    for box in boxes:
        if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
            fits = f"at least one pixel of a picture of {height} × {width}"
            raise invalid(who, "a box", fits, str(tuple(box)), "Give top, left, bottom, right")
    return boxes


def peak(values: Tensor) -> tuple[int, int] | None:
    """The row and column of the largest value of a map ``(H, W)``; none if none is above 0.

    Of equal ones, but for rounding, it is the first.
    """
    largest = values.max()
    if largest <= 0:
        return None
    first = int((values >= (1 - _NOISE) * largest).flatten().int().argmax())
    return first // values.shape[1], first % values.shape[1]


def share_inside(values: Tensor, box: Box) -> float:
    """The share of what is positive in a map ``(H, W)`` that lies in a box; 0 if nothing is."""
    positive = values.double().clamp(min=0)
    inside = positive[box.top : box.bottom, box.left : box.right].sum()
    return float(inside / positive.sum()) if bool(positive.any()) else 0.0


def in_words(values: Tensor, box: Box | None) -> str:
    """Where a map has its peak and, with a box, whether it is inside and how much of the map is."""
    place = peak(values)
    if place is None:
        return "Nothing in the map is above 0."
    at = f"The peak, pixel ({place[1]}, {place[0]}), is"
    if box is None:
        return f"{at} {number(float(values.max()))}."
    where = "inside" if box.has(*place) else "outside"
    area = (box.bottom - box.top) * (box.right - box.left) / values.numel()
    share = percent(share_inside(values, box))
    return f"{at} {where} the box. In it: {share} of the positive map, {percent(area)} of the area."
