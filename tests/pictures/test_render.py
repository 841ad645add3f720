"""PNG files: which pixel gets which colour."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nni_widgets.pictures.colours import SIGNED, UNSIGNED
from nni_widgets.pictures.heatmap import Scale
from nni_widgets.pictures.render import (
    overlay_png,
    palette_png,
    picture_png,
    scale_bar_png,
    to_indices,
)

VALUES = torch.tensor([[-2.0, -1.0, 0.0], [1.0, 2.0, 3.0]])


def decoded(content, mode="RGB"):
    image = Image.open(io.BytesIO(content))
    image.load()
    return np.asarray(image.convert(mode)).astype(int)


def test_zero_is_exactly_the_middle_colour():
    assert to_indices(torch.zeros(1), Scale(1e-30)).tolist() == [127]
    assert to_indices(torch.tensor([-0.0]), Scale(1.0)).tolist() == [127]
    assert decoded(palette_png(VALUES, Scale(2.0)))[0, 2].tolist() == [247, 247, 247]


def test_the_ends_have_the_last_colours_and_beyond_is_cut():
    assert to_indices(VALUES, Scale(2.0)).tolist() == [[0, 63, 127], [191, 254, 254]]
    assert to_indices(VALUES, Scale(2.0, signed=False)).tolist() == [[0, 0, 0], [127, 254, 254]]


@given(st.floats(-1.5, 1.5), st.floats(1e-3, 1e3))
def test_a_sign_is_mirrored_at_the_middle(share, limit):
    values = np.array([share, -share]) * limit
    up, down = to_indices(values, Scale(limit)).astype(int)
    assert up - 127 == 127 - down


@given(st.floats(-1, 1), st.booleans())
def test_an_index_tells_the_value_to_half_a_step(share, signed):
    value = share if signed else abs(share)
    index = int(to_indices(np.array([value * 5.0]), Scale(5.0, signed))[0])
    back = (index - 127) / 127 if signed else index / 254
    assert abs(back - value) <= 0.5 / (127 if signed else 254) + 1e-12


@pytest.mark.parametrize(("signed", "palette"), [(True, SIGNED), (False, UNSIGNED)])
def test_every_pixel_has_its_colour(signed, palette):
    scale = Scale(2.0, signed)
    expected = palette[to_indices(VALUES, scale)]
    assert np.array_equal(decoded(palette_png(VALUES, scale)), expected)


def test_magnified_pixels_are_squares():
    once = decoded(palette_png(VALUES, Scale(2.0)))
    thrice = decoded(palette_png(VALUES, Scale(2.0), magnify=3))
    assert np.array_equal(thrice, once.repeat(3, axis=0).repeat(3, axis=1))
    with pytest.raises(ValueError, match="magnify must be a whole number from 1; got 0"):
        palette_png(VALUES, Scale(2.0), magnify=0)


def test_metadata_are_in_the_file():
    content = palette_png(VALUES, Scale(2.0), metadata={"Method": "LRP-ε", "Target": "7"})
    assert Image.open(io.BytesIO(content)).text == {"Method": "LRP-ε", "Target": "7"}


def test_nan_is_refused():
    with pytest.raises(ValueError, match="1 that are NaN or infinite"):
        palette_png(torch.tensor([[0.0, torch.nan]]), Scale(1.0))


@pytest.mark.parametrize("shape", [(1, 2, 3), (3,), (0, 3)])
def test_only_one_map_is_a_picture(shape):
    with pytest.raises(ValueError, match=r"the map must be of shape \(H, W\)"):
        palette_png(torch.zeros(shape), Scale(1.0))
    with pytest.raises(ValueError, match=r"the map must be of shape \(H, W\)"):
        overlay_png(torch.zeros(1, 4, 4), torch.zeros(shape), Scale(1.0))


def test_a_grey_picture_runs_from_low_to_high():
    grey = torch.tensor([[[-2.0, -1.0, 0.0, 1.0, 9.0]]])
    assert decoded(picture_png(grey, low=-1, high=1), "L").tolist() == [[0, 0, 128, 255, 255]]


def test_a_colour_picture_may_have_a_range_per_channel():
    image = torch.tensor([0.0, 1.0, 5.0]).reshape(3, 1, 1)
    shown = decoded(picture_png(image, low=(0, 0, 0), high=(1, 2, 5)))
    assert shown.tolist() == [[[0, 128, 255]]]


def test_levels_that_do_not_fit_the_channels_are_refused():
    for low, high in (((0, 0), (1, 1)), (0, (1, 1)), ((0, 0, 0), (1, 1))):
        with pytest.raises(
            ValueError, match=r"^picture_png: low and high must be .+ 3 channels\. "
        ):
            picture_png(torch.zeros(3, 2, 2), low=low, high=high)


def test_other_channels_are_averaged_and_vectors_are_strips():
    assert decoded(picture_png(torch.tensor([[[0.0]], [[1.0]]])), "L").tolist() == [[128]]
    assert decoded(picture_png(torch.tensor([0.0, 1.0])), "L").tolist() == [[0, 255]]
    series = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert decoded(picture_png(series), "L").tolist() == [[0, 255, 128]]


def test_a_picture_of_one_value_is_black():
    assert decoded(picture_png(torch.full((1, 2, 2), 3.0), low=3.0, high=3.0)).max() == 0


def test_a_batch_is_no_picture():
    with pytest.raises(ValueError, match=r"picture_png: the image must be of shape"):
        picture_png(torch.zeros(1, 1, 2, 2))


def test_the_overlay_covers_more_where_the_value_is_larger():
    image = torch.zeros(3, 1, 4)
    values = torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    zero, for_it, against, half = decoded(overlay_png(image, values, Scale(1.0)))[0]
    assert len(set(zero.tolist())) == 1
    assert for_it.tolist() == SIGNED[-1].tolist()
    assert against.tolist() == SIGNED[0].tolist()
    middle = (zero + SIGNED[to_indices(torch.tensor([0.5]), Scale(1.0))[0]]) / 2
    assert np.abs(half - middle).max() <= 1


def test_an_overlay_without_strength_is_the_faded_picture():
    image = torch.rand(3, 4, 4)
    bare = decoded(overlay_png(image, torch.randn(4, 4), Scale(1.0), strength=0))
    assert np.ptp(bare, axis=2).max() == 0
    assert bare.min() > 100
    order = picture_png(
        image.mul(torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(0)[None]
    )
    assert np.corrcoef(decoded(order, "L").ravel(), bare[:, :, 0].ravel())[0, 1] > 0.999
    with pytest.raises(ValueError, match="overlay_png: strength must be from 0 to 1; got 2"):
        overlay_png(image, torch.randn(4, 4), Scale(1.0), strength=2)


def test_a_coarse_map_is_stretched_over_the_input():
    coarse = torch.tensor([[1.0, -1.0]])
    shown = decoded(overlay_png(torch.zeros(1, 4, 4), coarse, Scale(1.0)))
    assert np.array_equal(shown[:, :2], np.broadcast_to(SIGNED[-1], (4, 2, 3)))
    assert np.array_equal(shown[:, 2:], np.broadcast_to(SIGNED[0], (4, 2, 3)))


@pytest.mark.parametrize(("signed", "palette"), [(True, SIGNED), (False, UNSIGNED)])
def test_the_scale_bar_shows_all_colours_in_order(signed, palette):
    bar = decoded(scale_bar_png(Scale(0.3, signed)))
    assert bar.shape == (12, 255, 3)
    assert np.array_equal(bar[5], palette)
