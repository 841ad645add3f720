"""Against Captum, where it is right.

Known differences of convention, which are not compared: Captum's γ leaves the bias alone and fails
on negative outputs; its α1β0 keeps negative biases in the denominator; its guided backprop and its
LRP see ReLU modules only, once each. Its noise tunnel draws its noise from the global state, so
that only the mean over many samples is compared.
"""

import copy

import pytest
import torch
from captum.attr import LRP as CaptumLRP
from captum.attr import (
    GuidedBackprop as CaptumGuided,
)
from captum.attr import (
    InputXGradient,
    NoiseTunnel,
)
from captum.attr import (
    IntegratedGradients as CaptumIG,
)
from captum.attr import (
    Saliency as CaptumSaliency,
)
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn

from nni_widgets.engine.methods import (
    LRP,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)
from nni_widgets.engine.rules import Epsilon
from tests.oracle.nets import NETS, TROUBLE, select

from .common import DTYPES, assert_near, build

NAMES = list(select(exclude=" ".join(TROUBLE | {"stochastic", "mutates-input", "inplace"})))
# Modules only, each ReLU of its own: what Captum's hooks see.
CHAINS = ["plain", "plain_bias_free", "pool_before_relu", "mlp", "mlp_bias_free"]
RELU_MODULES = [*CHAINS, "conv_norm_relu", "conv1d", "average_pool", "nested"]
TARGET = torch.tensor([0, 0])


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str, dtype: torch.dtype) -> None:
    model, x = build(NETS[name], dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    signed = CaptumSaliency(model).attribute(leaf(x), target=TARGET, abs=False)
    assert_near(Gradient()(model, x, 0), signed, tolerance)
    assert_near(Saliency()(model, x, 0), signed.abs(), tolerance)
    times_input = InputXGradient(model).attribute(leaf(x), target=TARGET)
    assert_near(GradientTimesInput()(model, x, 0), times_input, tolerance)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 32])
@pytest.mark.parametrize("name", ["plain", "residual", "gelu", "tanh", "attention", "branches"])
def test_integrated_gradients(name: str, n_steps: int) -> None:
    model, x = build(NETS[name])
    for baseline in (0.0, 0.3):
        theirs = CaptumIG(model).attribute(
            x, baselines=baseline, target=TARGET, n_steps=n_steps, method="gausslegendre"
        )
        ours = IntegratedGradients(n_steps=n_steps, baseline=baseline)(model, x, 0)
        assert_near(ours, theirs, 1e-7)  # Captum's nodes and weights are float32


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("name", RELU_MODULES)
def test_guided_backprop(name: str) -> None:
    model, x = build(NETS[name])
    theirs = CaptumGuided(copy.deepcopy(model)).attribute(leaf(x), target=TARGET)
    assert_near(GuidedBackprop()(model, x, 0), theirs, 1e-12)


@pytest.mark.parametrize("name", CHAINS)
def test_lrp_epsilon(name: str) -> None:
    model, x = build(NETS[name])
    for target in range(3):
        hooked = copy.deepcopy(model)
        for module in hooked.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.Flatten):
                module.rule = EpsilonRule(epsilon=1e-9)  # forgotten after one call
        theirs = CaptumLRP(hooked).attribute(leaf(x), target=torch.tensor([target, target]))
        assert_near(LRP(rules=Epsilon(epsilon=1e-9))(model, x, target), theirs.detach(), 1e-6)


def test_noise_tunnel_has_the_same_mean() -> None:
    model, x = build(NETS["tanh"], batch=1)
    level, n = 0.2, 4000
    ours = SmoothGrad(noise_level=level, n_samples=n)(model, x, 0)
    spread = float(x.max() - x.min()) * level
    tunnel = NoiseTunnel(CaptumSaliency(model))
    theirs = tunnel.attribute(
        leaf(x), nt_type="smoothgrad", nt_samples=n, nt_samples_batch_size=500, stdevs=spread,
        target=0, abs=False,
    )  # fmt: skip
    plain = Gradient()(model, x, 0)
    error = float((ours - theirs).norm() / ours.norm())
    assert error < 0.02
    assert error < 0.2 * float((ours - plain).norm() / ours.norm())
