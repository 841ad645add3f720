"""A round anti-aliased pen: strokes, as a hand draws them, become a picture for a network."""

import math
from collections.abc import Iterable, Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from nni_widgets.params import is_whole

Stroke = Sequence[Sequence[float]] | Tensor | np.ndarray

FARTHEST_COORDINATE = 1e6
SEGMENTS_AT_ONCE = 32


def drawing(strokes: Iterable[Stroke], size: int = 28, width: float = 2.5) -> Tensor:
    """Pen strokes as a picture, (1, 1, size, size), 1 where the pen was and 0 elsewhere.

    A stroke is a sequence of (x, y) points in pixels, where (0, 0) is the upper left corner of
    the upper left pixel; a stroke of one point is a dot. The default width is that of MNIST's
    strokes. See ``draw_onto`` for the pen's formula.
    """
    if not _is_count(size):
        raise ValueError(
            f"drawing: size must be a whole number of pixels, at least 1; got {size!r}. "
            "Use 28 for digits."
        )
    if not isinstance(strokes, Iterable):
        raise TypeError(
            f"drawing: strokes must be a sequence of strokes; got {strokes!r:.80}. "
            "Pass a list of strokes, each a list of (x, y) pairs."
        )
    picture = torch.zeros(1, 1, size, size)
    for stroke in strokes:
        draw_onto(picture, stroke, width)
    return picture


def draw_onto(picture: Tensor, stroke: Stroke, width: float = 2.5) -> Tensor:
    """Add one stroke of a round anti-aliased pen to a picture (..., H, W), in place.

    A pixel whose centre has the distance d from the stroke becomes at least
    clamp(width / 2 + 1/2 - d, 0, 1). Drawing a stroke piece by piece, with a shared point
    between the pieces, gives the same picture as drawing it at once.
    Raises ``TypeError`` for a picture that holds no such numbers.
    """
    if not isinstance(picture, Tensor) or picture.ndim < 2 or not picture.is_floating_point():
        raise TypeError(
            "drawing: the picture must be a tensor of shape (..., H, W) of floating-point numbers; "
            f"got {picture!r:.80}. Make one by torch.zeros(28, 28)."
        )
    if not _is_length(width):
        raise ValueError(
            f"drawing: width must be a finite number of pixels above 0; got {width!r}. "
            "MNIST's strokes are 2 to 3 pixels wide."
        )
    points = _points(stroke)
    starts, ends = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
    for first in range(0, len(starts), SEGMENTS_AT_ONCE):
        part = slice(first, first + SEGMENTS_AT_ONCE)
        _draw_segments(picture, starts[part], ends[part], width / 2 + 0.5)
    return picture


def _draw_segments(picture: Tensor, starts: np.ndarray, ends: np.ndarray, reach: float) -> None:
    """Draw straight segments, touching only the pixels within ``reach`` of their bounding box."""
    size = np.array([picture.shape[-1], picture.shape[-2]])
    corner = np.floor(np.minimum(starts, ends).min(0) - reach).clip(0, size).astype(int)
    opposite = np.ceil(np.maximum(starts, ends).max(0) + reach).clip(0, size).astype(int)
    (left, top), (right, bottom) = corner, opposite
    if left == right or top == bottom:
        return
    x = np.arange(left, right) + 0.5 - starts[:, :1]
    y = np.arange(top, bottom) + 0.5 - starts[:, 1:]
    dx, dy = (ends - starts).T[:, :, None]
    length_squared = np.maximum(dx * dx + dy * dy, np.finfo(float).tiny)
    x, dx = x[:, None, :], dx[:, :, None]
    y, dy = y[:, :, None], dy[:, :, None]
    along = x * (dx / length_squared[:, :, None]) + y * (dy / length_squared[:, :, None])
    along.clip(0, 1, out=along)
    distance_squared = (x - along * dx) ** 2 + (y - along * dy) ** 2
    ink = (reach - np.sqrt(distance_squared.min(0))).clip(0, 1)
    window = picture[..., top:bottom, left:right]
    torch.maximum(window, torch.from_numpy(ink).to(picture), out=window)


def _points(stroke: Stroke) -> np.ndarray:
    """The points of a stroke as a (k, 2) array, or an error that says what is wrong."""
    given = stroke.detach().cpu() if isinstance(stroke, Tensor) else stroke
    try:
        points = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(
            "drawing: a stroke must be a sequence of (x, y) pairs of numbers; "
            f"got {stroke!r:.80}. Pass a list of strokes, each a list of pairs."
        ) from None
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(
            "drawing: a stroke must be of shape (k, 2) with at least one point; "
            f"got {points.shape}. Pass a list of strokes, each a list of (x, y) pairs."
        )
    if not (np.abs(points) <= FARTHEST_COORDINATE).all():
        raise ValueError(
            "drawing: a stroke's coordinates must be finite numbers of at most 1,000,000 pixels; "
            f"got {points[~(np.abs(points) <= FARTHEST_COORDINATE)][0]}. Remove this point."
        )
    return points


def _is_count(value: object) -> bool:
    return is_whole(value) and value >= 1


def _is_length(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value) and float(value) > 0
