"""The pen: its formula pixel by pixel, its symmetries, and its errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nni_widgets.zoo import data
from nni_widgets.zoo.data import draw_onto, drawing

coordinates = st.floats(-4, 16, width=32)
points = st.tuples(coordinates, coordinates)
strokes = st.lists(st.lists(points, min_size=1, max_size=6), max_size=3)
widths = st.floats(0.1, 6)


def distance(x, y, start, end):
    """Of a point from a segment, by the textbook."""
    (ax, ay), (bx, by) = start, end
    along_x, along_y = bx - ax, by - ay
    squared = along_x**2 + along_y**2
    t = ((x - ax) * along_x + (y - ay) * along_y) / squared if squared > 0 else 0.0
    t = min(max(t, 0.0), 1.0)
    return math.hypot(x - ax - t * along_x, y - ay - t * along_y)


def by_the_formula(strokes, size, width):
    picture = np.zeros((size, size))
    for stroke in strokes:
        for start, end in zip(stroke, stroke[1:] or stroke, strict=False):
            for row in range(size):
                for column in range(size):
                    ink = width / 2 + 0.5 - distance(column + 0.5, row + 0.5, start, end)
                    picture[row, column] = max(picture[row, column], min(ink, 1.0))
    return torch.from_numpy(picture).float()[None, None]


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@given(strokes, widths)
def test_every_pixel_follows_the_formula(strokes, width):
    picture = drawing(strokes, size=7, width=width)
    assert picture.shape == (1, 1, 7, 7)
    assert picture.dtype == torch.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    same(picture, by_the_formula(strokes, 7, width))


@given(strokes, widths)
def test_direction_and_order_do_not_matter(strokes, width):
    backwards = [stroke[::-1] for stroke in reversed(strokes)]
    same(drawing(strokes, 12, width), drawing(backwards, 12, width))


@given(strokes, widths)
def test_swapping_x_and_y_transposes_the_picture(strokes, width):
    swapped = [[(y, x) for x, y in stroke] for stroke in strokes]
    same(drawing(strokes, 12, width).mT, drawing(swapped, 12, width))


@given(strokes, widths, st.integers(0, 5), st.integers(0, 5))
def test_moving_the_pen_moves_the_picture(strokes, width, right, down):
    moved = [[(x + right, y + down) for x, y in stroke] for stroke in strokes]
    there = drawing(moved, 20, width)[..., down : down + 12, right : right + 12]
    same(drawing(strokes, 12, width), there)


@given(strokes, widths, widths)
def test_a_wider_pen_leaves_no_pixel_with_less_ink(strokes, width, more):
    assert (drawing(strokes, 12, width + more) >= drawing(strokes, 12, width) - 1e-5).all()


@given(st.lists(points, min_size=2, max_size=80), st.data())
def test_a_stroke_may_be_drawn_piece_by_piece(stroke, choice):
    cut = choice.draw(st.integers(1, len(stroke) - 1))
    picture = torch.zeros(1, 1, 12, 12)
    draw_onto(picture, stroke[: cut + 1])
    assert draw_onto(picture, stroke[cut:]) is picture
    same(picture, drawing([stroke], 12))


def test_a_long_stroke_is_the_sum_of_its_segments():
    turns = torch.linspace(0, 40, 150, dtype=torch.float64)
    spiral = (14 + 0.3 * turns * torch.stack([turns.cos(), turns.sin()])).T
    segments = [spiral[place : place + 2] for place in range(149)]
    same(drawing([spiral], width=0.5), drawing(segments, width=0.5))


@given(st.lists(points, min_size=1, max_size=6), widths)
def test_a_copy_of_points_changes_nothing(stroke, width):
    doubled = [point for point in stroke for _ in "ab"]
    same(drawing([stroke], 12, width), drawing([doubled], 12, width))


def test_a_dot_in_the_middle_of_a_pixel():
    picture = drawing([[(2.5, 1.5)]], size=5, width=1.0)
    expected = torch.zeros(5, 5)
    expected[1, 2] = 1
    assert torch.equal(picture[0, 0], expected)


def test_x_goes_to_the_right_and_y_goes_down():
    picture = drawing([[(0, 1.5), (10, 1.5)]], size=10, width=1.0)[0, 0]
    assert picture[1].eq(1).all()
    assert picture.sum() == 10


def test_no_strokes_and_strokes_outside_leave_the_ground_empty():
    assert drawing([]).shape == (1, 1, 28, 28)
    assert not drawing([]).any()
    assert not drawing([[(-50, -50), (-40, 90)], [(1e6, 1e6)]]).any()


def test_the_ink_of_other_strokes_is_kept():
    picture = torch.full((3, 1, 6, 8), 0.25, dtype=torch.float64)
    draw_onto(picture, [(0, 0), (3, 0)], width=1.0)
    assert picture.min() == 0.25
    assert picture[:, :, 0, :3].min() == 0.5
    assert torch.equal(picture[0], picture[2])


def test_arrays_and_tensors_are_strokes_too():
    stroke = [(3.0, 4.0), (20.0, 9.0), (7.0, 22.0)]
    for kind in (np.array, torch.tensor):
        assert torch.equal(drawing([kind(stroke)]), drawing([stroke]))


def test_the_default_pen_is_as_thick_as_that_of_mnist():
    """Thickness as ink over length of the stroke: a straight 1 has both in plain sight."""
    ones = data.digits("test").of(1, 200)
    inked = ones > 0.5
    rows, columns = inked.any(3).sum(2).double(), inked.any(2).sum(2).double()
    thickness = (ones.sum((2, 3)) / (rows**2 + (columns - 2) ** 2).sqrt()).median()
    stroke = drawing([[(14.0, 4.0), (14.0, 24.0)]])
    assert stroke.sum().item() / 20 == pytest.approx(thickness.item(), abs=0.5)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_stroke_may_be_a_tensor(requires_grad):
    stroke = torch.tensor([[3.0, 4.0], [9.0, 20.0]], requires_grad=requires_grad)
    assert torch.equal(drawing([stroke]), drawing([stroke.tolist()]))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([[(1, math.nan)]], ValueError),
        ([[(1, math.inf)]], ValueError),
        ([[(1, 1e7)]], ValueError),
        ([[(1, 2, 3)]], ValueError),
        ([[]], ValueError),
        ([(1, 2), (3, 4)], ValueError),
        ([[(1, 2), (3,)]], TypeError),
        ([[("a", 2)]], TypeError),
        ([None], ValueError),
        (None, TypeError),
    ],
)
def test_bad_strokes_are_a_sentence(bad, error):
    with pytest.raises(error, match=r"^drawing: .+ must be .+; got .+\. [A-Z].+\.$"):
        drawing(bad)


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": 2.5}, {"width": 0}, {"width": -1}, {"width": math.nan}, {"width": "2"}],
)
def test_bad_options_are_a_sentence(options):
    with pytest.raises(ValueError, match=r"^drawing: .+ must be .+; got .+\. .+\.$"):
        drawing([[(1, 2)]], **options)


@pytest.mark.parametrize("picture", [None, torch.zeros(28), torch.zeros(28, 28).byte()])
def test_only_a_picture_of_floats_is_drawn_onto(picture):
    with pytest.raises(TypeError, match=r"^drawing: the picture must be .+; got .+\. Make one"):
        draw_onto(picture, [(1, 2)])
