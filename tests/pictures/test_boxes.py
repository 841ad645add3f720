"""Where a map has its peak, and how much of it lies in a box."""

import numpy as np
import pytest
import torch

from nni_widgets.pictures.boxes import Box, boxes_of, in_words, peak, share_inside

X = torch.zeros(2, 1, 6, 8)
BOX = Box(1, 2, 4, 6)


def test_the_peak_is_the_largest_value_not_the_strongest():
    values = torch.zeros(6, 8)
    values[1, 5], values[4, 2] = 2.0, -3.0
    assert peak(values) == (1, 5)
    assert peak(-values) == (4, 2)


def test_of_equal_values_the_first_is_the_peak_whatever_rounding_does():
    values = torch.zeros(6, 8)
    values[2:4, 3:5] = 0.1
    values[3, 4] = torch.tensor(0.1) * (1 + 2e-7)
    assert values.argmax() != 2 * 8 + 3
    assert peak(values) == (2, 3)


@pytest.mark.parametrize("values", [torch.zeros(6, 8), torch.full((6, 8), -1.0)])
def test_a_map_with_nothing_above_zero_has_no_peak(values):
    assert peak(values) is None
    assert share_inside(values, BOX) == 0
    assert in_words(values, BOX) == in_words(values, None) == "Nothing in the map is above 0."


def test_the_share_counts_what_is_positive():
    values = torch.full((6, 8), -5.0)
    values[1, 2], values[3, 5], values[4, 5], values[3, 6] = 3.0, 2.0, 4.0, 1.0
    assert share_inside(values, BOX) == pytest.approx(0.5)


def test_the_last_row_and_column_of_a_box_are_outside():
    for place, inside in {(1, 2): True, (3, 5): True, (4, 5): False, (3, 6): False}.items():
        values = torch.zeros(6, 8)
        values[place] = 1.0
        assert BOX.has(*place) is inside
        assert share_inside(values, BOX) == float(inside)
        words = in_words(values, BOX)
        assert f"pixel ({place[1]}, {place[0]}), is {'inside' if inside else 'outside'}" in words


def test_in_words():
    values = torch.zeros(6, 8)
    values[1, 2], values[5, 7] = 3.0, 1.0
    assert in_words(values, BOX) == (
        "The peak, pixel (2, 1), is inside the box. "
        "In it: 75 % of the positive map, 25 % of the area."
    )
    assert in_words(values, None) == "The peak, pixel (2, 1), is 3.00."


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_boxes_of_any_kind(kind):
    assert boxes_of(kind([[1, 2, 4, 6], [0, 0, 6, 8]]), X, "look") == (BOX, Box(0, 0, 6, 8))


@pytest.mark.parametrize(
    "given",
    [
        *([[1, 2, 4, 6]], [1, 2, 4, 6], [[1, 2, 4], [1, 2, 4]], torch.ones(2, 4), "boxes", 3),
        *([[0.0, 0, 1, 1]] * 2, [[1, 2, 4, 6], [1, 2, 4]], torch.ones(2, 4, dtype=torch.bool)),
    ],
    ids=str,
)
def test_what_are_no_boxes_is_refused(given):
    expected = r"^look: boxes must be whole numbers \(top, left, bottom, right\) for each of 2 "
    with pytest.raises(ValueError, match=expected):
        boxes_of(given, X, "look")


@pytest.mark.parametrize("box", [(1, 2, 1, 6), (1, 6, 4, 2), (-1, 2, 4, 6), (1, 2, 7, 6)], ids=str)
def test_a_box_outside_the_picture_or_without_a_pixel_is_refused(box):
    with pytest.raises(ValueError, match="a box must be at least one pixel of a picture of 6 × 8"):
        boxes_of([box, BOX], X, "look")


def test_boxes_are_of_pictures():
    with pytest.raises(ValueError, match=r"for x of shape \(2, 6\)"):
        boxes_of([BOX, BOX], torch.zeros(2, 6), "look")
