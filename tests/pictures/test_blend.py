"""A map faded in over its picture, and a box drawn on it."""

import numpy as np
import pytest
import torch

from nni_widgets.pictures.blend import blended_png
from nni_widgets.pictures.boxes import Box
from nni_widgets.pictures.heatmap import Scale
from nni_widgets.pictures.render import overlay_png, palette_png, picture_png
from tests.pictures.test_render import decoded

IMAGE = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
VALUES = torch.linspace(0, 2, 48).view(6, 8)
SCALE = Scale(2.0, signed=False)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (0.0, picture_png(IMAGE)),
        (0.5, overlay_png(IMAGE, VALUES, SCALE)),
        (1.0, palette_png(VALUES, SCALE)),
    ],
    ids=["picture", "both", "map"],
)
def test_from_the_picture_to_the_map(strength, expected):
    assert (decoded(blended_png(IMAGE, VALUES, SCALE, strength)) == decoded(expected)).all()


@pytest.mark.parametrize("strength", [0.25, 0.75])
def test_in_between_it_is_half_of_both(strength):
    ends = [decoded(blended_png(IMAGE, VALUES, SCALE, strength + step)) for step in (-0.25, 0.25)]
    found = decoded(blended_png(IMAGE, VALUES, SCALE, strength))
    assert np.abs(found - sum(ends) / 2).max() <= 1


def test_a_box_stands_round_its_pixels_and_hides_none():
    box = Box(2, 1, 5, 6)
    grey = torch.full((1, 12, 12), 0.5)
    framed = decoded(blended_png(grey, torch.zeros(12, 12), SCALE, 0.0, box=box))
    factor = len(framed) // 12
    assert factor == 252 // 12
    top, left, bottom, right = (factor * side for side in box)
    inside = framed[top + 1 : bottom - 1, left + 1 : right - 1]
    assert (framed[top:bottom, left - 1] == 255).all()
    assert (framed[top - 2, left:right] == 0).all()
    assert (framed[bottom, left:right] == 255).all()
    assert len(np.unique(inside[1:-1, 1:-1])) == 1
    assert len(np.unique(framed[0])) == 1, "nothing far away"


def test_a_large_picture_is_not_magnified():
    large = torch.rand(1, 224, 224)
    made = blended_png(large, large[0], SCALE, 0.5, box=Box(10, 10, 20, 20))
    assert decoded(made).shape == (224, 224, 3)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_wrong_strength_is_refused(strength):
    with pytest.raises(ValueError, match="blended_png: strength must be from 0 to 1"):
        blended_png(IMAGE, VALUES, SCALE, strength)


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="as large as the picture, 6 × 8; got 3 × 8"):
        blended_png(IMAGE, VALUES[:3], SCALE, 0.5)
