"""Completeness: against the sums themselves, and where nothing is claimed."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.composites import EpsilonPlus
from nni_widgets.engine.methods import LRP, GradientTimesInput, IntegratedGradients, Saliency
from nni_widgets.engine.metrics.completeness import Completeness


def network(bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3, bias=bias)]
    return nn.Sequential(*layers).double().eval()


X = torch.rand(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_decomposition_of_the_score_is_measured_against_it() -> None:
    model, method = network(), LRP(rules=EpsilonPlus())
    score = model(X).detach()[:, 1]
    total = method(model, X, 1).sum(1)
    expected = ((total - score) / score).abs()
    assert Completeness()(model, X, method, 1).tolist() == pytest.approx(expected.tolist())
    assert bool((expected > 1e-3).all())


def test_a_decomposition_of_the_difference_is_measured_against_it() -> None:
    model, method = network(), IntegratedGradients(n_steps=3, baseline=0.5)
    difference = (model(X) - model(torch.full_like(X, 0.5))).detach()[:, 1]
    expected = ((method(model, X, 1).sum(1) - difference) / difference).abs()
    assert Completeness()(model, X, method, 1).tolist() == pytest.approx(expected.tolist())
    exact = Completeness()(model, X, method.replace(n_steps=500), 1)
    assert float(exact.max()) < 0.01


def test_what_claims_nothing_is_not_measured_unless_one_asks() -> None:
    model, values = network(), torch.rand(4, 6).double()

    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return values

    for method in (Saliency(), ours, values):
        assert bool(Completeness()(model, X, method).isnan().all())
    score = model(X).detach()[:, 2]
    expected = ((values.sum(1) - score) / score).abs().tolist()
    for method in (ours, values):
        assert Completeness(to="score")(model, X, method, 2).tolist() == pytest.approx(expected)


def test_without_biases_gradient_times_input_is_complete() -> None:
    found = Completeness(to="score")(network(bias=False), X, GradientTimesInput())
    assert float(found.max()) < 1e-10


def test_nothing_of_nothing_is_no_gap_and_something_of_nothing_is_infinite() -> None:
    model = nn.Linear(6, 3, bias=False).double().eval()
    nothing = torch.zeros(2, 6).double()
    some = torch.tensor([[0.0] * 6, [1.0] + [0.0] * 5]).double()
    assert Completeness(to="score")(model, nothing, some).tolist() == [0, torch.inf]


def test_a_wrong_word_is_refused() -> None:
    with pytest.raises(ValueError, match="Completeness: to must be one of 'claim', 'score'"):
        Completeness(to="difference")
