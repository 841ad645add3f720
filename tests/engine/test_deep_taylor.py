"""Deep Taylor decomposition against its formulas and against what the paper proves."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.composites import EpsilonGammaBox
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods.deep_taylor import DeepTaylor
from nni_widgets.engine.methods.lrp import LRP
from nni_widgets.engine.rules import WSquare, ZBox, ZPlus
from nni_widgets.engine.targets import Difference
from tests.oracle import lrp
from tests.oracle.closed_forms import HandWorkedLRP, ReluRidge
from tests.oracle.hand_graphs import HAND
from tests.oracle.nets import NETS

from .common import DTYPES, TOLERANCE, assert_near, build, hand, with_layers

CHAINS = ["plain", "plain_bias_free", "mlp", "conv1d", "conv3d", "conv_norm_relu", "average_pool",
          "functional_relu", "grouped_dilated_strided", "transposed_conv", "nested",
          "volumes", "global_mean", "shared_conv"]  # fmt: skip
WITH_SHORTCUTS = ["residual", "stem_used_three_times", "bottleneck"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CHAINS + WITH_SHORTCUTS)
@pytest.mark.parametrize(
    ("method", "first"),
    [(DeepTaylor(), lrp.z_box(0.0, 1.0)), (DeepTaylor(low=-1.0, high=2.0), lrp.z_box(-1.0, 2.0)),
     (DeepTaylor(input="unbounded"), lrp.w_square())],
    ids=["box", "wide box", "unbounded"],
)  # fmt: skip
def test_z_plus_inside_and_another_rule_at_the_pixels(
    method: DeepTaylor, first: lrp.Rule, name: str, dtype: torch.dtype
) -> None:
    assert name in HAND
    net = hand(name)
    model, x = build(NETS[name], dtype)
    node = min(net.affine().values())
    expected = net.relevance([1, 1], lrp.z_plus(), {node: first})[0]
    assert_near(method(model, x, 1), expected, TOLERANCE[dtype] * 3)


def test_a_box_of_its_own_for_each_channel() -> None:
    net = hand("plain")
    model, x = build(NETS["plain"])
    low, high = (-0.5, 0.0), (1.0, 2.5)
    box = lrp.z_box(*(torch.tensor(b).double().repeat_interleave(36) for b in (low, high)))
    expected = net.relevance([0, 0], lrp.z_plus(), {min(net.affine().values()): box})[0]
    assert_near(DeepTaylor(low=low, high=high)(model, x, 0), expected, 1e-10)


def test_it_is_this_table_of_rules() -> None:
    model, x = build(NETS["plain"])
    table = {":first": ZBox(low=-1.0), "*": ZPlus()}
    assert torch.equal(DeepTaylor(low=-1.0)(model, x), LRP(rules=table)(model, x))
    assert DeepTaylor(input="unbounded").composite().pairs()[0] == (":first", WSquare())


@pytest.mark.parametrize("target", [0, 1, 2])
def test_one_neuron_without_a_range_is_the_squared_weights(target: int) -> None:
    """The nearest root of max(0, w·x + b) lies along w: R_i = w_i² / ‖w‖² f(x)."""
    ridge = ReluRidge()
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(ridge.w)
        model[0].bias.copy_(ridge.b)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    share = ridge.w[target] ** 2 / (ridge.w[target] ** 2).sum()
    expected = model(x)[:, target, None] * share
    assert_near(DeepTaylor(input="unbounded")(model, x, target), expected.detach(), 1e-12)


def larger_of_two() -> nn.Sequential:
    """max(x₁, x₂) = ½ (|x₁ + x₂| + |x₁ − x₂|) for x ≥ 0, from ReLUs without biases."""
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]))
        model[2].weight.fill_(0.5)
    return model.double().eval()


def test_the_larger_of_two_by_hand() -> None:
    """x = (3, 1): hidden (4, 2, 0), R = (2, 1, 0). Unit 1 by zᴮ in [0, 4]: x shared 3 : 1.

    Unit 2 has w = (1, −1): contributions 3 − 0, −1 + 4, so that each gets the half of 1.
    """
    model, x = larger_of_two(), torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[2 * 3 / 4 + 0.5, 2 * 1 / 4 + 0.5]], dtype=torch.float64)
    assert_near(DeepTaylor(high=4.0)(model, x, 0), expected, 1e-12)
    expected = torch.tensor([[1.5, 1.5]], dtype=torch.float64)
    assert_near(DeepTaylor(input="unbounded")(model, x, 0), expected, 1e-12)


def without_positive_biases(name: str) -> tuple[nn.Module, Tensor]:
    """The condition of the paper; the output layer positive, so that the scores are."""
    model, x = build(NETS[name])
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.clamp_(max=0)
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.abs_()
        last.bias.zero_()
    return model, x


@pytest.mark.parametrize("name", ["plain", "mlp", "average_pool", "nested"])
@pytest.mark.parametrize("method", [DeepTaylor(), DeepTaylor(input="unbounded")], ids=str)
def test_conservative_and_positive_under_the_papers_condition(
    name: str, method: DeepTaylor
) -> None:
    """With biases of at most 0 an active unit has positive contributions: nothing is lost."""
    model, x = without_positive_biases(name)
    for target in range(3):
        result = with_layers(method, model, x, target)
        assert bool((result.score > 0).all())
        assert bool((result.values >= -1e-12).all())
        for layer in result.layers:
            torch.testing.assert_close(layer.in_flight, result.score, rtol=1e-6, atol=0)


def test_pencil_and_paper() -> None:
    """Hidden R = (10, 0) by z⁺. First unit, w = (2, 1): in a box (2, 2)/4, else (4, 1)/5."""
    model = HandWorkedLRP().eval()
    expected = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    assert_near(DeepTaylor(low=0.0, high=3.0)(model, model.x, 0), expected, 1e-12)
    expected = torch.tensor([[8.0, 2.0]], dtype=torch.float64)
    assert_near(DeepTaylor(input="unbounded")(model, model.x, 0), expected, 1e-12)


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        DeepTaylor(low=1.0)
    with pytest.raises(ValueError, match=r"^DeepTaylor: input must be one of 'box', 'unbounded'"):
        DeepTaylor(input="everything")  # type: ignore[arg-type]
    assert DeepTaylor() != DeepTaylor(input="unbounded")
    assert repr(DeepTaylor(high=2.0)) == "DeepTaylor(high=2.0)"


def found(model: nn.Module, x: Tensor, method: DeepTaylor) -> str:
    return "\n".join(map(str, diagnose(model, x, method).findings))


def test_the_doctor_knows_the_conditions() -> None:
    model, x = without_positive_biases("plain")
    assert not found(model, x, DeepTaylor())
    assert "outside the box" in found(model, 2 * x, DeepTaylor())
    assert not found(model, 2 * x, DeepTaylor(input="unbounded"))
    model[3].bias.data[0] = 0.1
    assert "biases above 0 in 3, so" in found(model, x, DeepTaylor())
    model, x = without_positive_biases("plain")
    model[8].weight.data.neg_()
    assert "the largest logit of 2 samples is not above 0" in found(model, x, DeepTaylor())
    model, x = without_positive_biases("leaky_relu")
    assert "inputs below 0 at " in found(model, x, DeepTaylor())
    model, x = build(NETS["ends_in_softmax"])
    assert not diagnose(model, x, DeepTaylor()).healthy


def test_a_difference_of_classes_and_layers_can_be_asked_for() -> None:
    model, x = build(NETS["plain"])
    result = with_layers(DeepTaylor(), model, x, Difference(0, 1))
    assert {layer.label for layer in result.layers} >= {"0", "3", "6", "8"}
    assert not torch.allclose(result.values, LRP(rules=EpsilonGammaBox())(model, x, 0))
