"""What happens to the sum: at every operation, arrived = handed on + lost."""

import warnings
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import nni_widgets as nni
from nni_widgets.engine.methods import LRP, Result
from nni_widgets.engine.rules import (
    AlphaBeta,
    Epsilon,
    Gamma,
    ProportionalPool,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from tests.oracle import lrp
from tests.oracle.graph import Affine
from tests.oracle.lrp import normalise
from tests.oracle.nets import NETS, TROUBLE, Net, select
from tests.oracle.random_nets import random_net

from .common import DTYPES, assert_near, build, hand, with_layers

RULES: list[Rule] = [
    Zero(), Epsilon(epsilon=0.1), Gamma(), AlphaBeta(), ZPlus(), ZBox(), WSquare(),
]  # fmt: skip
RULED = list(select(exclude=" ".join(TROUBLE | {"gate", "stochastic"})))
CONSERVED = {torch.float64: 1e-10, torch.float32: 1e-4}


def share_of(result: Result, sums: Tensor) -> Tensor:
    """A gap, as a share of the score."""
    return (sums - result.score).abs() / result.score.abs()


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", RULED)
def test_the_books_balance(name: str, rule: Rule) -> None:
    """In flight = f − all that was lost so far; at the end it is what the pixels have."""
    model, x = build(NETS[name])
    result = with_layers(LRP(rules=rule), model, x)
    remaining = result.score
    for layer in result.layers:
        remaining = remaining - torch.stack(list(layer.lost.values())).sum(0)
        torch.testing.assert_close(layer.in_flight, remaining, rtol=1e-9, atol=1e-9)
        if layer.kind not in {"chunk", "split", "unbind"}:
            torch.testing.assert_close(layer.arrived, layer.relevance.flatten(1).sum(1))
    pixels = result.values.flatten(1).sum(1)
    torch.testing.assert_close(result.layers[-1].in_flight, pixels, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "functional_relu", "conv_norm_relu", "mlp", "nested"])
def test_in_flight_in_a_chain_is_what_arrives_below(name: str) -> None:
    model, x = build(NETS[name])
    layers = with_layers(LRP(), model, x).layers
    for above, below in pairwise(layers):
        torch.testing.assert_close(above.in_flight, below.arrived)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", list(select("bias-free", exclude="smooth")))
def test_without_biases_the_zero_rule_conserves_at_every_cut(name: str, dtype: torch.dtype) -> None:
    model, x = build(NETS[name], dtype)
    for target in range(NETS[name].classes):
        result = with_layers(LRP(rules=Zero()), model, x, target)
        for layer in result.layers:
            gap = share_of(result, layer.in_flight)
            assert bool((gap < max(CONSERVED[dtype], 1e-7)).all()), layer.label


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["bottleneck", "conv_norm_relu", "norm_first", "dense_block",
                                  "norm_on_a_conv_used_twice", "one_conv_two_norms"])  # fmt: skip
def test_norms_without_a_shift_conserve(name: str, dtype: torch.dtype) -> None:
    """Only the stabiliser of the sums, 1e-9, keeps anything."""
    model, x = build(NETS[name], dtype)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
    result = with_layers(LRP(rules=Zero()), model, x)
    assert bool((result.score.abs() > 1e-3).all())
    for layer in result.layers:
        assert bool((share_of(result, layer.in_flight) < 1e-4).all()), layer.label
        if (
            dtype == torch.float64
            and "pool" not in layer.kind
            and layer.kind not in {"add", "batch_norm"}
        ):
            assert all(bool((lost.abs() < 1e-10).all()) for lost in layer.lost.values())


@pytest.mark.parametrize("seed", range(12))
def test_random_bias_free_nets_conserve(seed: int) -> None:
    model, x = build(random_net(seed, bias=False))
    result = with_layers(LRP(rules=Zero()), model, x)
    for layer in result.layers:
        assert bool((share_of(result, layer.in_flight) < 1e-4).all()), layer.label


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("name", ["plain", "residual", "bottleneck", "transposed_conv", "reshapes"])
def test_biases_and_stabilisers_keep_what_the_formula_says(name: str, epsilon: float) -> None:
    """R b / (z + ε sign z) stays in the bias of each unit, R ε sign z / (…) in the stabiliser."""
    model, x = build(NETS[name])
    rule = Epsilon(epsilon=epsilon)
    layers = {layer.label: layer for layer in with_layers(LRP(rules=rule), model, x, 1).layers}
    net = hand(name)
    arrived = net.relevance([1, 1], lrp.epsilon(epsilon))
    checked = 0
    for label, number in net.affine().items():
        node = net.graph.nodes[number]
        assert isinstance(node, Affine)
        for sample in range(2):
            z = net.graph.values(x[sample])[number]
            swallowed = epsilon * lrp.sign(z)
            R = arrived[number][sample].flatten()
            for cause, part in (("bias", node.bias), ("epsilon", swallowed)):
                expected = normalise((R * part)[:, None], z + swallowed).sum()
                lost = layers[label].lost[cause][sample]
                torch.testing.assert_close(lost, expected.detach(), rtol=1e-8, atol=1e-10)
                checked += 1
    assert checked >= 8


@pytest.mark.parametrize("rule", [Gamma(), Gamma(gamma=2.0), AlphaBeta(alpha=1.0), AlphaBeta()],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("name", ["plain", "leaky_relu"])
def test_the_bias_share_of_other_rules_is_that_of_a_unit_of_one(name: str, rule: Rule) -> None:
    """A bias is the weight of an input that is always 1: give it one, and see what that gets."""
    model, x = build(NETS[name])
    layers = with_layers(LRP(rules=rule), model, x, 2).layers
    net = hand(name)
    numbers = net.affine()
    oracle = {
        "Gamma": lambda: lrp.gamma(rule.gamma),
        "AlphaBeta": lambda: lrp.alpha_beta(rule.alpha),
    }
    paper = oracle[type(rule).__name__]()
    for layer in layers:
        if layer.label not in numbers:
            continue
        node = net.graph.nodes[numbers[layer.label]]
        assert isinstance(node, Affine)
        weight = torch.cat([node.weight, node.bias[:, None]], 1)
        with_one = Affine(0, weight, torch.zeros(len(weight)).double(), weight != 0)
        for sample in range(2):
            a = torch.cat([net.graph.values(x[sample])[node.source], torch.ones(1).double()])
            R = layer.relevance[sample].flatten()
            expected = (paper(a, with_one).t() @ R)[-1].detach()
            torch.testing.assert_close(layer.lost["bias"][sample], expected, rtol=1e-8, atol=1e-9)


def test_losses_are_named_after_the_rule() -> None:
    model, x = build(NETS["plain"])
    table = {":first": ZBox(), ":conv": ZPlus(), ":last": Epsilon(), ":dense": AlphaBeta()}
    lost = {
        layer.label: set(layer.lost) for layer in with_layers(LRP(rules=table), model, x).layers
    }
    assert lost["8"] == {"bias", "epsilon"}
    assert lost["6"] == {"bias", "one-signed units"}
    assert lost["3"] == {"bias", "no positive contribution"}
    assert lost["0"] == {"bias", "box"}


def test_z_plus_tells_what_it_loses_where_nothing_is_positive() -> None:
    layer = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -2.0]]))
    x = torch.ones(1, 2, dtype=torch.float64)
    (told,) = with_layers(LRP(rules=ZPlus()), nn.Sequential(layer).eval(), x, 1).layers
    assert told.lost["no positive contribution"].item() == -3.0
    assert told.in_flight.item() == 0.0


def test_relevance_scales_with_the_score() -> None:
    """Twice the last layer's weights: twice the relevance everywhere."""
    for rule in (Zero(), Gamma(), AlphaBeta(), ZPlus(), ZBox(), WSquare()):
        model, x = build(NETS["plain"])
        before = LRP(rules=rule)(model, x, 1)
        with torch.no_grad():
            model[8].weight.mul_(2)
            model[8].bias.mul_(2)
        assert_near(LRP(rules=rule)(model, x, 1), 2 * before, 1e-12)


class JoinsSamplesWithChannels(nn.Module):
    """A layer that sees each channel of each sample as a sample of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(9, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.shared(x.reshape(-1, 9)).relu()
        return self.head(rows.reshape(len(x), -1))


def test_the_books_are_kept_per_sample_where_a_layer_joins_samples_with_channels() -> None:
    torch.manual_seed(0)
    model, x = JoinsSamplesWithChannels().double().eval(), torch.rand(5, 2, 3, 3).double()
    result = with_layers(LRP(rules=Epsilon()), model, x, 1)
    for layer in result.layers:
        assert layer.arrived.shape == (5,)
    (shared,) = [layer for layer in result.layers if layer.label == "shared"]
    assert_near(shared.in_flight, result.values.flatten(1).sum(1), 1e-10)
    assert shared.lost["bias"].abs().min() > 0


@pytest.mark.parametrize("rule", [Gamma(), ZPlus(), AlphaBeta(alpha=1.0)], ids=str)
def test_rounding_noise_where_nothing_is_does_not_grow(rule: Rule) -> None:
    """Sixteen pictures and more go through tiles, which leave noise where all inputs are zero."""
    model, (x, _) = nni.models.load("digits-cnn-nobias"), nni.data.digits("test")[:16]
    rules = {":conv": rule, ":maxpool": ProportionalPool(), "*": Epsilon()}  # no ties in pooling
    expected = LRP(rules=rules)(model.double(), x.double())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a graphics card that is not there
        with torch.backends.mkldnn.flags(enabled=False):
            found = LRP(rules=rules)(model.float(), x)
    assert_near(found.double(), expected, 1e-4)


@pytest.mark.parametrize(
    "moved", [lambda y: y.transpose(0, 1).relu().transpose(0, 1), lambda y: y + y.mean() - y.mean()]
)
def test_the_books_of_a_network_that_moves_or_joins_its_samples(
    moved: Callable[[Tensor], Tensor],
) -> None:
    """Where they are moved, each sample keeps its own books."""
    layers = {"conv": nn.Conv2d(2, 3, 3), "head": nn.Linear(12, 3)}
    model = Net(lambda net, x: net.head(moved(net.conv(x)).flatten(1)), **layers).double().eval()
    result = with_layers(LRP(rules=Zero()), model, torch.rand(2, 2, 4, 4, dtype=torch.float64))
    for layer in result.layers:
        torch.testing.assert_close(layer.arrived.sum(), layer.relevance.sum())
    kinds = {layer.kind: layer.arrived for layer in result.layers}
    if "transpose" in kinds:
        torch.testing.assert_close(kinds["relu"], kinds["transpose"])
        torch.testing.assert_close(kinds["relu"], kinds["conv2d"])
