"""Temperature scaling and calibration errors, against hand-worked cases and plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nni_widgets.engine.uncertainty.calibration import (
    Tempered,
    brier,
    fit_temperature,
    nll,
    reliability,
)


def drawn(n=400, k=5, seed=0, temperature=1.0):
    """Logits and labels drawn from their own softmax, then heated: the right T is known."""
    numbers = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, k, generator=numbers, dtype=torch.double)
    labels = torch.multinomial(logits.softmax(1), 1, generator=numbers)[:, 0]
    return logits * temperature, labels


def test_nll_of_a_guess_is_the_logarithm_of_the_number_of_classes():
    assert nll(torch.zeros(3, 10), torch.tensor([0, 4, 9])) == pytest.approx(math.log(10))


def test_nll_is_the_mean_logarithm_of_the_label_s_probability():
    logits, labels = drawn(20)
    expected = -sum(
        math.log(math.exp(row[y]) / sum(map(math.exp, row)))
        for row, y in zip(logits.tolist(), labels.tolist(), strict=True)
    )
    assert nll(logits, labels) == pytest.approx(expected / 20, rel=1e-12)


def test_brier_by_hand():
    p = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    assert brier(p, torch.tensor([0, 0, 0])) == pytest.approx((0.5 + 0 + 2) / 3)


@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.05, 20),
)
@settings(deadline=None, max_examples=30)
def test_no_other_temperature_is_likelier(seed, temperature):
    logits, labels = drawn(seed=seed, temperature=temperature)
    found = fit_temperature(logits, labels)
    best = nll(logits / found, labels)
    for other in (0.5, 0.9, 0.999, 1.001, 1.1, 2):
        assert best <= nll(logits / (found * other), labels)


def test_heating_the_logits_heats_the_temperature_by_as_much():
    cool, labels = drawn()
    hot, _ = drawn(temperature=7.0)
    assert fit_temperature(hot, labels) == pytest.approx(7 * fit_temperature(cool, labels))


def test_logits_that_are_right_need_next_to_no_temperature():
    logits, labels = drawn(20_000)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.05)


def test_two_classes_by_hand():
    """Margin 1 and right three times of four: the sigmoid of 1/T must be 3/4."""
    logits = torch.tensor([[1.0, 0.0]] * 4)
    labels = torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(1 / math.log(3))


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.randn(4, 3), torch.ones(4).long(), "several classes; got 4 of class 1"),
        (torch.eye(3), torch.arange(3), "at least one error; got 3 answers, all right"),
        (torch.tensor([[1.0, 1.0], [0.0, 2.0]]), torch.arange(2), "all right"),
        (-torch.eye(3), torch.arange(3), "more than a guess"),
        (torch.zeros(0, 3), torch.zeros(0).long(), "at least one picture"),
        (torch.zeros(2, 3), torch.zeros(3).long(), "labels"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "from 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "from 0 to 2"),
        (torch.full((2, 3), math.nan), torch.tensor([0, 1]), "finite"),
        ([[1.0, 2.0], [3.0]], torch.tensor([0]), "list and Tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_set_without_a_minimum_is_refused(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        fit_temperature(logits, labels)


def test_reliability_by_hand():
    p = torch.tensor([[0.95, 0.05], [0.85, 0.15], [0.08, 0.92], [0.42, 0.58], [0.5, 0.5]])
    found = reliability(p, torch.tensor([0, 1, 1, 1, 0]), n_bins=10)
    assert found.counts.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 2]
    assert found.accuracy[8].item() == 0
    assert found.accuracy[9].item() == 1
    assert found.confidence[9].item() == pytest.approx(0.935)
    assert math.isnan(found.accuracy[0].item())
    gaps = [0.5, 0.42, 0.85, 2 * 0.065]
    assert found.ece == pytest.approx(sum(gaps) / 5)
    assert found.mce == pytest.approx(0.85)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_bins", [2, 5, 10, 12, 20, 25])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(n_bins, dtype):
    edges = torch.arange(1, n_bins + 1, dtype=torch.float64)[-(n_bins // 2) - 1 :] / n_bins
    edges = edges[edges >= 0.5]
    p = torch.stack([edges, 1 - edges], 1).to(dtype)
    counts = reliability(p, torch.zeros(len(p), dtype=torch.long), n_bins).counts
    assert counts.sum() == len(p)
    assert counts.tolist()[-len(p) :] == [1] * len(p)


@given(seed=st.integers(0, 1000), n_bins=st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_the_calibration_error_is_that_of_a_loop(seed, n_bins):
    logits, labels = drawn(50, seed=seed, temperature=2.0)
    p = logits.softmax(1)
    total, worst = 0.0, 0.0
    confidence, predicted = p.max(1)
    for m in range(n_bins):
        edge = torch.linspace(0, 1, n_bins + 1, dtype=p.dtype)
        inside = (confidence > edge[m]) & (confidence <= edge[m + 1])
        if inside.any():
            accuracy = (predicted == labels)[inside].double().mean()
            gap = abs(float(accuracy - confidence[inside].mean()))
            total, worst = total + gap * int(inside.sum()) / 50, max(worst, gap)
    found = reliability(p, labels, n_bins)
    assert found.ece == pytest.approx(total, abs=1e-12)
    assert found.mce == pytest.approx(worst, abs=1e-12)


@pytest.mark.parametrize("n_bins", [0, -1, 2.5, True])
def test_bins_are_counted_in_whole_numbers(n_bins):
    with pytest.raises(ValueError, match="n_bins must be a whole number of at least 1"):
        reliability(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), n_bins)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_of_a_short_dtype_sum_to_one_nearly(dtype):
    logits, labels = drawn(200, k=30)
    p = logits.to(dtype).softmax(1)
    assert float((p.double().sum(1) - 1).abs().max()) > 1e-4
    exact = p.double() / p.double().sum(1, keepdim=True)
    assert reliability(p, labels).ece == pytest.approx(reliability(exact, labels).ece, abs=0.01)


def test_logits_in_the_place_of_probabilities_are_refused():
    with pytest.raises(ValueError, match="softmax of the logits"):
        brier(torch.tensor([[3.0, -1.0]]), torch.tensor([0]))


def test_a_tempered_model_divides_its_logits_and_keeps_its_model_as_it_is():
    model = nn.Linear(4, 3).eval()
    model.classes = ("a", "b", "c")
    x = torch.randn(2, 4)
    tempered = Tempered(model, 2.0)
    torch.testing.assert_close(tempered(x), model(x) / 2)
    assert tempered.classes == ("a", "b", "c")
    assert not any(module.training for module in tempered.modules())


@pytest.mark.parametrize(
    "temperature", [0, -1, math.nan, math.inf, "2", None, torch.tensor([1.0, 2.0])]
)
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="Tempered: temperature must be a finite number above 0"):
        Tempered(nn.Linear(2, 2), temperature)


def test_only_a_module_is_tempered():
    with pytest.raises(ValueError, match=r"Tempered: model must be a torch\.nn\.Module; got func"):
        Tempered(lambda x: x, 2.0)


def test_arrays_and_lists_are_numbers_too():
    logits, labels = drawn(20)
    for asked in (logits.numpy(), labels.numpy()), (logits.tolist(), labels.tolist()):
        assert nll(*asked) == pytest.approx(nll(logits, labels))
        assert fit_temperature(*asked) == pytest.approx(fit_temperature(logits, labels))
    found = reliability([[0.5, 0.5]], [0], np.int64(4))
    assert found.counts.tolist() == [0, 1, 0, 0]
    with pytest.raises(ValueError, match=r"brier: its input must be numbers \(N, K\) and labels"):
        brier([[0.5, 0.5], [1.0]], [0, 1])
