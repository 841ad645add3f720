"""Numbers, sentences and block means as text."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nni_widgets.engine.targets import Classes, Difference, Score
from nni_widgets.pictures.numbers import number, percent, rounded
from nni_widgets.pictures.readout import Sums, block_lines, names_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (7.306, "7.31"), (-7.306, "−7.31"), (12345.6, "12346"), (0.000123, "0.000123"),
        (1.234e-9, "1.23e-09"), (-4.5678e12, "−4.57e+12"), (9.9999999, "10.0"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_three_digits(value, text):
    assert number(value) == text


def test_numbers_that_are_compared_share_their_decimals():
    assert number(0.0213, largest=9.4) == "0.02"
    assert number(-0.0013, largest=9.4) == "0.00"


def test_shares_are_written_as_percentages():
    assert [percent(share) for share in (0.22, 0.0173, 2.3)] == ["22 %", "1.7 %", "230 %"]


@given(st.integers(-999, 999), st.floats(-1e-6, 1e-6))
def test_ties_do_not_flip_with_noise(halves, noise):
    tie = halves / 2
    assert rounded(tie * (1 + noise)) == rounded(tie)
    assert abs(rounded(tie) - tie) <= 0.5


@given(st.floats(-1e300, 1e300))
def test_a_text_is_the_number_to_three_digits(value):
    back = float(number(value).replace("−", "-"))
    assert back == pytest.approx(value, rel=0.006, abs=1e-320)


def test_a_decomposition_with_a_gap_and_its_causes():
    lost = {"rounding": 1e-7, "epsilon": 0.2, "bias": 1.89}
    sums = Sums(total=7.31, score=9.4, reference=None, expected=9.4, lost=lost)
    assert str(sums) == "ΣR = 7.31 of f(x) = 9.40; gap 2.09 (22 %)"
    assert sums.causes() == "bias 1.89, epsilon 0.20"


def test_a_decomposition_with_a_baseline():
    sums = Sums(total=9.38, score=9.4, reference=0.02, expected=9.38, lost={})
    assert str(sums) == "ΣR = 9.38, f(x) − f(x′) = 9.40 − 0.02; gap 0.00"
    below = Sums(total=9.42, score=9.4, reference=-0.02, expected=9.42, lost={})
    assert "= 9.40 + 0.02;" in str(below)


def test_losses_that_cancel_are_named_all_the_same():
    sums = Sums(total=2.0, score=2.0, reference=None, expected=2.0, lost={"a": 1.0, "b": -1.0})
    assert str(sums).endswith("gap 0.00")
    assert sums.causes() == "a 1.00, b −1.00"


def test_without_an_expected_sum_there_is_no_gap():
    sums = Sums(total=158.0, score=12.4, reference=None, expected=None, lost={})
    assert sums.gap is None
    assert str(sums) == "ΣR = 158, f(x) = 12.4"


def test_an_expected_sum_of_zero_has_no_percentage():
    assert str(Sums(1.0, 0.0, None, 0.0, {})) == "ΣR = 1.00 of f(x) = 0.00; gap −1.00"


def test_targets_in_words():
    classes = ("cat", "dog")
    assert names_of(Classes(torch.tensor([1, 0])), classes, 2) == ("dog", "cat")
    assert names_of(Difference(0, 1), classes, 2) == ("cat − dog", "cat − dog")
    assert names_of(Score(torch.sum), classes, 1) == ("sum",)
    assert names_of(Score(lambda logits: logits[:, 0]), classes, 1) == ("a function",)


def test_block_means_of_a_known_map():
    values = np.zeros((8, 8))
    values[:2, 2:4] = 4.0
    values[6:, :2] = -2.0
    assert block_lines(values) == (
        "4.0",
        [" 0 +8  0  0", " 0  0  0  0", " 0  0  0  0", "-4  0  0  0"],
    )
    assert block_lines(values.T)[1][1] == "+8  0  0  0"
    assert block_lines(-values)[1][0] == " 0 -8  0  0"
    assert block_lines(2 * values)[0] == "8.0"


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((28, 28), 4, 4), ((2, 3), 2, 3), ((1, 5), 1, 5), ((1, 64), 1, 16)],
)
def test_blocks_fit_the_map(shape, rows, columns):
    _, lines = block_lines(np.ones(shape))
    assert len(lines) == rows
    assert all(line.split() == ["+8"] * columns for line in lines)


def test_a_map_of_nothing_has_no_minus_zero():
    eight, lines = block_lines(np.full((4, 4), -0.0))
    assert eight == "0"
    assert lines == [" 0  0  0  0"] * 4
