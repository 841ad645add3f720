"""Mistakes that a reader once found in the engine, each as a test that would find it again."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.composites import Composite, Uniform, layers
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import (
    LRP,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    SmoothGrad,
    as_method,
)
from nni_widgets.engine.rules import Epsilon, Gamma, ZBox, Zero, ZPlus
from nni_widgets.engine.targets import Difference
from nni_widgets.errors import UnsupportedOperation


class AddedBias(nn.Module):
    """A convolution whose bias is added by hand, in some shape."""

    def __init__(self, shape: tuple[int, ...] | None) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(4, 3, bias=False)
        self.conv = nn.Conv2d(1, 4, 3, bias=shape is None)
        bias = torch.full((4,), 0.3)
        if shape is None:
            self.conv.bias.data = bias
        else:
            self.bias = nn.Parameter(bias.reshape(shape) if len(shape) > 1 else bias[:1])

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x) + self.bias if hasattr(self, "bias") else self.conv(x)
        return self.head(torch.relu(h).mean((2, 3)))


class Shifted(nn.Module):
    """A constant in the middle of a network: a bias, not a change of units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(1 - torch.relu(self.first(x)))


class NormAlongLength(nn.Module):
    """BatchNorm1d normalises the second axis of (N, L, F); the linear layer makes the third."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(5, features, bias=False), nn.BatchNorm1d(length)
        self.norm.running_var.uniform_(0.5, 2)
        self.head = nn.Linear(features, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.dense(x))).sum(1))


class Gate(nn.Module):
    """A product of two signals, the second given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.mul(self.a(x), other=torch.sigmoid(self.b(x)))


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1,)], ids=str)
def test_a_bias_added_by_hand_in_any_shape_is_a_bias(shape: tuple[int, ...]) -> None:
    x = torch.rand(2, 1, 6, 6)
    torch.manual_seed(0)
    built_in, by_hand = AddedBias(None).eval(), AddedBias(shape).eval()
    assert torch.allclose(built_in(x), by_hand(x))
    for rule in (Zero(), Epsilon(epsilon=0.1), Gamma()):
        assert torch.allclose(LRP(rule)(built_in, x, 1), LRP(rule)(by_hand, x, 1), atol=1e-6)


def test_a_constant_inside_a_network_keeps_its_share() -> None:
    model, x = Shifted().double().eval(), torch.rand(3, 4, dtype=torch.float64)
    assert torch.allclose(
        LRP(Zero())(model, x, 0), GradientTimesInput()(model, x, 0), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("features", [4, 7])
def test_a_norm_along_another_axis_is_not_merged(features: int) -> None:
    model = NormAlongLength(4, features).double().eval()
    x = torch.rand(2, 4, 5, dtype=torch.float64)
    expected = GradientTimesInput()(model, x, 1)
    assert torch.allclose(LRP(Zero())(model, x, 1), expected, rtol=1e-5, atol=1e-8)
    assert GuidedBackprop()(model, x, 1).shape == x.shape


def test_a_gate_with_a_keyword_is_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="no rule for mul"):
        LRP()(Gate().eval(), torch.rand(2, 4))


def test_a_batch_norm_without_running_statistics_is_refused() -> None:
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), norm, nn.Flatten(), nn.Linear(32, 3)).eval()
    with pytest.raises(UnsupportedOperation, match="no rule for batch_norm"):
        LRP()(model, torch.rand(2, 1, 6, 6))


def test_one_column_of_a_large_weight_written_through_data_is_noticed() -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 3)).eval()
    x = torch.rand(1, 256)
    LRP(ZPlus())(model, x, 0)
    model[0].weight.data[:, 7] = 0
    assert LRP(ZPlus())(model, x, 0)[0, 7] == 0


def test_half_precision_stays_finite() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).half().eval()
    x = torch.rand(1, 8).half()
    x[0, :4] = 0
    assert bool(LRP(ZPlus())(model, x, 0).isfinite().all())


def test_layers_does_not_touch_a_model_in_training() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    before = model[1].running_mean.clone()
    with pytest.raises(ValueError, match="evaluation mode"):
        layers(model.train(), torch.rand(2, 1, 6, 6))
    assert torch.equal(model[1].running_mean, before)


def test_a_function_that_writes_to_its_input_leaves_the_callers_alone() -> None:
    def careless(model: nn.Module, x: Tensor, target: object) -> Tensor:
        return x.mul_(0)

    x = torch.rand(1, 4)
    kept = x.clone()
    as_method(careless)(nn.Linear(4, 3).eval(), x)
    assert torch.equal(x, kept)


def test_a_pattern_that_matches_no_layer_with_weights_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    with pytest.raises(ValueError, match="the layer of a rule must be one of 0, 2; got '1\\*'"):
        LRP({"1*": ZBox(), "*": Epsilon()})(model, torch.rand(1, 4))


@pytest.mark.parametrize(
    "rules",
    [{":first": ZBox(low=(0, 0, 0), high=(1, 1, 1)), "*": Epsilon()}, {":maxpool": Gamma()}],
)
def test_the_doctor_refuses_what_the_call_refuses(rules: dict) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).eval()
    method, x = LRP({**rules, "*": Epsilon()}), torch.rand(1, 1, 6, 6)
    with pytest.raises((ValueError, UnsupportedOperation)):
        method(model, x)
    assert not diagnose(model, x, method).healthy


def test_a_plain_function_is_a_rule_too() -> None:
    def passes_to_all(op, relevance):
        return Epsilon()(op, relevance)

    model, x = nn.Sequential(nn.Linear(4, 3)).eval(), torch.rand(1, 4)
    *_, result = LRP({"*": passes_to_all}).steps(model, x, 0, layers=True)
    assert torch.equal(result.values, LRP(Epsilon())(model, x, 0))
    assert "the rule" in result.layers[0].lost


@pytest.mark.parametrize("bad", ["eps", Epsilon, 3])
def test_what_is_no_rule_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="Uniform: rule must be a rule"):
        Uniform(rule=bad)
    with pytest.raises(ValueError, match="Composite: table must be"):
        Composite(table=3)


@pytest.mark.parametrize("target", [lambda f: f.argmax(1).float(), lambda f: f.detach()[:, 1]])
def test_a_target_without_a_gradient_is_refused(target) -> None:
    with pytest.raises(ValueError, match="target must be differentiable"):
        LRP()(nn.Linear(4, 3).eval(), torch.rand(1, 4), target)


def test_a_difference_needs_whole_numbers() -> None:
    with pytest.raises(ValueError, match="Difference: each class must be a class index"):
        Difference("a", "b")


def test_smoothgrad_of_a_method_that_cannot_be_hashed() -> None:
    method = SmoothGrad(of=IntegratedGradients(baseline=torch.zeros(4).numpy()), n_samples=2)
    assert method(nn.Linear(4, 3).eval(), torch.rand(1, 4)).shape == (1, 4)
