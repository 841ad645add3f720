"""The entropy as a target, and the mean prediction as a model."""

import math

import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.methods.noise import noise
from nni_widgets.engine.uncertainty.entropy import Averaged, Entropy
from nni_widgets.engine.uncertainty.sources import Ensemble, InputNoise, MCDropout


def network(seed=2):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 3)
    ).eval().double()  # fmt: skip


@pytest.fixture
def x():
    return torch.rand(3, 1, 8, 8, dtype=torch.float64)


SOURCES = [MCDropout(n_samples=50), InputNoise(n_samples=5), Ensemble()]


def asked(source):
    return [network(0), network(1)] if isinstance(source, Ensemble) else network()


def test_the_entropy_of_known_probabilities():
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, -math.inf, 0.0], [500.0, 0.0, 0.0]]).double()
    expected = torch.tensor([math.log(3), math.log(2), 0.0]).double()
    torch.testing.assert_close(Entropy()(logits), expected)
    assert repr(Entropy()) == "Entropy()"


def test_its_derivative():
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(Entropy()(logits).sum(), logits)
    p, entropy = logits.softmax(1), Entropy()(logits)
    torch.testing.assert_close(gradient, -p * (p.log() + entropy[:, None]))


@pytest.mark.parametrize(
    "method", [nni.Gradient(), nni.LRP(), nni.Occlusion(), nni.DeepLIFT(), nni.SmoothGrad()]
)
def test_methods_take_it_as_a_target(method, x):
    assert float(method(network(), x, Entropy()).abs().max()) > 0


def test_integrated_gradients_share_out_the_doubt(x):
    model = network()
    total = nni.IntegratedGradients(n_steps=300)(model, x, Entropy()).sum((1, 2, 3))
    expected = Entropy()(model(x)) - Entropy()(model(0 * x))
    torch.testing.assert_close(total, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_the_mean_prediction_as_a_model(source, x):
    model = asked(source)
    prediction = source(model, x)
    averaged = Averaged(model, source)
    torch.testing.assert_close(averaged(x).detach(), prediction.log_probabilities)
    torch.testing.assert_close(Entropy()(averaged(x)).detach(), prediction.entropy)
    torch.testing.assert_close(averaged(x[1:2])[0], averaged(x)[1])


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_its_gradient_is_that_of_the_formula(source, x):
    model = asked(source)
    ours = nni.Gradient()(Averaged(model, source), x, Entropy())
    leaf = x.clone().requires_grad_()
    versions = source.versions(model, x)
    p = versions.logits(leaf, torch.arange(versions.number)).softmax(2).mean(0)
    (expected,) = torch.autograd.grad(-(p * p.log()).sum(), leaf)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_integrated_gradients_share_out_the_doubt_of_all(source, x):
    averaged = Averaged(asked(source), source)
    method = nni.IntegratedGradients(n_steps=100)
    expected = Entropy()(averaged(x)) - Entropy()(averaged(0 * x))
    total = method(averaged, x, Entropy()).sum((1, 2, 3))
    torch.testing.assert_close(total, expected, rtol=2e-2, atol=2e-3)


def test_occlusion_of_the_mean_prediction(x):
    averaged = Averaged(network(), MCDropout(n_samples=20))
    falls = nni.Occlusion(window=4, stride=4)
    expected = Entropy()(averaged(x)) - Entropy()(averaged(falls.cover(x, 0, 4)))
    torch.testing.assert_close(falls(averaged, x, Entropy())[:, 0, 0, 4], expected.detach())


def test_the_graphs_of_all_samples_are_not_kept(x):
    kept = []
    averaged = Averaged(network(), MCDropout(n_samples=400))
    averaged(x)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        averaged(x.clone().requires_grad_())
    assert sum(kept) < 400 * 144


def test_it_leaves_the_random_state_and_the_mode_alone(x):
    model = network()
    random = torch.get_rng_state()
    nni.Gradient()(Averaged(model, MCDropout(n_samples=100)), x, Entropy())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module.training for module in model.modules())


def test_what_cannot_be_averaged(x):
    averaged = Averaged(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval().double())
    with pytest.raises(ValueError, match="MCDropout: the model must be one with dropout"):
        nni.Gradient()(averaged, x)
    with pytest.raises(ValueError, match=r"^Averaged: model must be a torch\.nn\.Module; got str"):
        Averaged([network(), "net"], Ensemble())
    for source in (MCDropout, "dropout"):
        with pytest.raises(ValueError, match=r"^Averaged: source must be a source of uncertainty"):
            Averaged(network(), source)
    with pytest.raises(nni.UnsupportedOperation, match="no rule for"):
        nni.LRP()(Averaged(network(), MCDropout(n_samples=2)), x)


def test_the_level_of_the_noise_has_no_derivative(x):
    """Else the brightest and the darkest pixel, which set it, get the derivative of the noise."""
    model, source = network(), InputNoise(noise_level=0.3, n_samples=8)
    spread = 0.3 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))[:, None, None, None]
    offsets = [spread * each for each in noise(torch.arange(8), x, source.seed)]
    leaf = x.clone().requires_grad_()
    mean = torch.stack([model(leaf + each).softmax(1) for each in offsets]).mean(0)
    (expected,) = torch.autograd.grad(-(mean * mean.log()).sum(), leaf)
    found = nni.Gradient()(Averaged(model, source), x, Entropy())
    torch.testing.assert_close(found, expected)


def test_it_says_what_the_model_says_of_classes_and_pictures(x):
    model = network()
    model.classes, model.low, model.high = ("a", "b", "c"), -1.0, 2.0
    model.evidence = "relu"
    for averaged in (Averaged(model, InputNoise(n_samples=2)), Averaged([model] * 2, Ensemble())):
        shown = nni.explain(averaged, x, nni.Gradient())
        assert (shown.classes, shown.low, shown.high) == (("a", "b", "c"), -1.0, 2.0)
        assert averaged.evidence == "relu"
