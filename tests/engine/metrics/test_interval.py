"""The bootstrap: against loops, against theory, and in the corners."""

import math
from importlib import import_module

import pytest
import torch

from nni_widgets.engine.metrics.interval import interval


def sample(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64)


def test_it_is_that_of_the_loop() -> None:
    values, generator = sample(7), torch.Generator().manual_seed(5)
    means = []
    for _ in range(200):
        drawn = [values[int(torch.randint(7, (1,), generator=generator))] for _ in range(7)]
        means.append(sum(drawn) / 7)
    means.sort()
    found = interval(values, level=0.9, n_resamples=200, seed=5)
    assert found.mean == pytest.approx(float(values.mean()))
    assert (found.low, found.high) == pytest.approx((float(means[10]), float(means[-11])))
    assert (found.count, found.level) == (7, 0.9)


def test_of_many_values_it_is_that_of_the_normal_distribution() -> None:
    values = sample(1000)
    found = interval(values)
    half = 1.96 * float(values.std()) / math.sqrt(1000)
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)


def test_it_holds_the_true_mean_about_as_often_as_it_says() -> None:
    found = [interval(sample(50, seed), level=0.8, n_resamples=300) for seed in range(300)]
    held = sum(one.low <= 0 <= one.high for one in found) / len(found)
    assert held == pytest.approx(0.8, abs=0.06)


def test_the_pieces_that_are_drawn_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = interval(sample(9), n_resamples=100)
    module = import_module("nni_widgets.engine.metrics.interval")
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 20)
    assert interval(sample(9), n_resamples=100) == whole


def test_the_seed_decides_and_the_state_of_torch_is_left_alone() -> None:
    before = torch.get_rng_state()
    assert interval(sample(9)) == interval(sample(9))
    assert interval(sample(9), seed=1) != interval(sample(9))
    assert torch.get_rng_state().equal(before)


def test_equal_values_leave_no_doubt() -> None:
    found = interval(torch.full((6,), 2.5))
    assert (found.mean, found.low, found.high) == (2.5, 2.5, 2.5)


def test_nan_is_left_out() -> None:
    values = torch.tensor([1.0, math.nan, 2.0, 4.0])
    assert interval(values) == interval(torch.tensor([1.0, 2.0, 4.0]))
    assert interval(values).count == 3


def test_infinite_values_stay_infinite() -> None:
    found = interval(torch.tensor([1.0, 2.0, 3.0, math.inf]))
    assert (found.mean, found.high) == (math.inf, math.inf)
    assert not math.isnan(found.low)


@pytest.mark.parametrize("values", [[3.0], [], [math.nan, math.nan]])
def test_fewer_than_two_values_say_nothing_about_spread(values: list[float]) -> None:
    found = interval(torch.tensor(values))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.mean == 3.0 if values == [3.0] else math.isnan(found.mean)


def test_plain_numbers_are_taken_too() -> None:
    assert interval([1.0, 2.0, 4.0]) == interval(torch.tensor([1.0, 2.0, 4.0]))


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (torch.rand(2, 2), {}, "values must be one number per sample"),
        ([[1.0], [2.0, 3.0]], {}, r"values must be one number per sample, \(N,\); got a list"),
        ("many", {}, r"values must be one number per sample, \(N,\); got a str"),
        (torch.rand(2), {"level": 1.0}, "level must be between 0 and 1; got 1.0"),
        (torch.rand(2), {"level": "a"}, "level must be between 0 and 1; got 'a'"),
        (
            torch.rand(2),
            {"n_resamples": 0},
            "n_resamples must be a whole number of at least 1; got",
        ),
        (torch.rand(2), {"n_resamples": 9.5}, "n_resamples must be a whole number of at least 1"),
        (torch.rand(2), {"seed": "a"}, "seed must be a whole number; got 'a'"),
    ],
)
def test_what_has_no_interval_is_refused(
    values: torch.Tensor, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=f"interval: {words}"):
        interval(values, **options)
