"""Sizes that suit pictures as large as those that are explained."""

from __future__ import annotations

from torch import Tensor

from nni_widgets.engine.methods import Occlusion

_A_SIDE = 7


def patch_for(x: Tensor) -> int:
    """The side of a patch that cuts pictures like x into seven by seven or so."""
    sides = tuple(x.shape[min(2, x.ndim - 1) :])
    return int(max(1, min(min(sides), round(max(sides) / _A_SIDE))))


def occlusion_for(x: Tensor | None) -> Occlusion:
    """One with windows that suit pictures like x, or drawings."""
    if x is None:
        return Occlusion()
    window = patch_for(x)
    return Occlusion(window=window, stride=max(1, window // 2))


def sizes_of(method: Occlusion) -> dict[str, float]:
    """Its window and stride, by the names of the parameters."""
    return {"window": method.window, "stride": method.stride}
