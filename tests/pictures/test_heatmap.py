"""Joining channels, and the scale that the colours are on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nni_widgets.pictures.heatmap import Scale, finite, heatmap, scale_of


def test_channels_are_added_up():
    attribution = torch.randn(2, 3, 4, 5)
    assert torch.equal(heatmap(attribution), attribution.sum(1))


def test_the_strongest_channel_keeps_its_sign():
    attribution = torch.tensor([1.0, -3.0, 2.0]).reshape(1, 3, 1, 1)
    assert heatmap(attribution, "max").item() == -3
    assert heatmap(attribution, "sum").item() == 0


@pytest.mark.parametrize("channels", ["sum", "max"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 3, 4, 5), (2, 4, 5)), ((2, 3, 4), (2, 1, 4)), ((2, 6), (2, 1, 6))],
)
def test_shapes(shape, expected, channels):
    assert heatmap(torch.ones(shape), channels).shape == expected


def test_a_vector_is_a_strip_of_its_own_values():
    vectors = torch.randn(2, 6)
    assert torch.equal(heatmap(vectors, "max")[:, 0], vectors)


def test_a_shape_without_places_is_refused():
    with pytest.raises(ValueError, match=r"heatmap: the attribution .* shape \(2, 3, 4, 5, 6\)"):
        heatmap(torch.zeros(2, 3, 4, 5, 6))


def test_a_scale_is_shared_by_its_maps():
    assert scale_of(torch.tensor([1.0, -2.0]), np.array([[0.5]])) == Scale(2.0, True)
    assert scale_of(torch.tensor([0.25]), signed=False) == Scale(0.25, signed=False)


@pytest.mark.parametrize("maps", [(), (torch.zeros(3, 3),), (torch.zeros(0, 4),)])
def test_nothing_to_see_has_the_scale_one(maps):
    assert scale_of(*maps).limit == 1.0
    assert scale_of(*maps, quantile=0.5).limit == 1.0


def test_a_quantile_leaves_outliers_out_but_never_everything():
    values = torch.cat([torch.linspace(0, 1, 101), torch.tensor([50.0])])
    assert 0.9 < scale_of(values, quantile=0.95).limit < 1
    mostly_zero = torch.zeros(100)
    mostly_zero[3] = -7.0
    assert scale_of(mostly_zero, quantile=0.5).limit == 7


@pytest.mark.parametrize("quantile", [0, -0.1, 1.1])
def test_a_quantile_outside_its_range_is_refused(quantile):
    with pytest.raises(ValueError, match="scale_of: quantile must be"):
        scale_of(torch.ones(3), quantile=quantile)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_needs_a_positive_limit(limit):
    with pytest.raises(ValueError, match="Scale: limit must be a finite number above 0"):
        Scale(limit)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_counted(bad):
    values = torch.tensor([[1.0, bad], [bad, 0.0]])
    for read in (finite, scale_of, Scale(1.0).share):
        with pytest.raises(ValueError, match="got 2 that are NaN or infinite"):
            read(values)


def test_raw_values_are_left_alone():
    values = torch.randn(3, 3)
    before = values.clone()
    scale_of(values, quantile=0.5).share(values)
    assert torch.equal(values, before)


@given(st.floats(1e-300, 1e300), st.floats(-2, 2))
def test_shares_are_cut_at_the_ends(limit, share):
    values = np.array([share * limit])
    signed = Scale(limit).share(values)[0]
    assert signed == pytest.approx(max(-1, min(1, share)))
    assert Scale(limit, signed=False).share(values)[0] == max(0, signed)


def test_half_precision_is_read_exactly():
    assert finite(torch.tensor([0.5, -2.0], dtype=torch.bfloat16)).tolist() == [0.5, -2.0]


def test_another_way_to_join_channels_is_refused():
    with pytest.raises(ValueError, match=r'^heatmap: channels must be "sum" or "max"; got .mean'):
        heatmap(torch.ones(1, 3, 2, 2), "mean")
