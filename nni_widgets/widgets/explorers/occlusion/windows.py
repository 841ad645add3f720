"""Where windows over a picture begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from nni_widgets.engine.methods import Occlusion
from nni_widgets.errors import invalid

Corner = tuple[int, ...]
Starts = tuple[tuple[int, ...], ...]

_MOST_AXES = 2


def grid(method: Occlusion, x: Tensor) -> Starts:
    """Where the windows begin along each axis. Raises ``ValueError`` if there are too many axes."""
    starts = method.windows(x).starts
    if len(starts) > _MOST_AXES:
        expected, given = "of shape (N, C, H, W), (N, C, L) or (N, F)", f"shape {tuple(x.shape)}"
        raise invalid("OcclusionExplorer", "x", expected, given, "Use nni.Occlusion() itself")
    return starts


def as_corners(given: Any) -> tuple[Corner, ...]:
    """Corners without repetition. Raises ``ValueError`` for anything else."""
    try:
        return tuple(dict.fromkeys(map(tuple, given)))
    except TypeError as error:
        expected, action = "(top, left) each", "Write [(0, 0)], also for a single one"
        raise invalid("OcclusionExplorer", "corners", expected, repr(given), action) from error


def on_grid(corner: Corner, starts: Starts) -> bool:
    """Whether a window begins here."""
    same = len(corner) == len(starts)
    return same and all(at in along for at, along in zip(corner, starts, strict=True))


def nearest(corner: Corner | None, starts: Starts) -> Corner:
    """The window that begins nearest to this corner; without one, that in the middle."""
    if corner is None or len(corner) != len(starts):
        return tuple(along[len(along) // 2] for along in starts)
    return tuple(
        min(along, key=lambda start: abs(start - at))
        for at, along in zip(corner, starts, strict=True)
    )


def placed(visited: Sequence[Corner], starts: Starts) -> tuple[Corner, ...]:
    """Those of the visited corners where a window begins; the last one is the nearest that does."""
    last = nearest(visited[-1] if visited else None, starts)
    return (*(each for each in visited if each != last and on_grid(each, starts)), last)


def in_words(starts: Starts) -> str:
    """The places along each axis where windows begin."""
    return " and ".join(", ".join(map(str, along)) for along in starts)
