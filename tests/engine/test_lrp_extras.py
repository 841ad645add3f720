"""LRP beyond rules and presets: transposed layers, one channel, products with a gate."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nni_widgets.engine.composites import EpsilonAlpha2Beta1, EpsilonGammaBox, Thirds
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.rules import (
    AlphaBeta,
    Epsilon,
    Gamma,
    NoRelevance,
    Pass,
    Rule,
    SignalTakesAll,
    Zero,
    ZPlus,
)
from nni_widgets.errors import UnsupportedOperation
from tests.oracle.nets import NETS, Net, select

from .common import assert_near, build, with_layers

# --- Transposed layers ----------------------------------------------------------------------------


def averaging(pools: int, size: int = 8) -> nn.Sequential:
    """Convolution, ReLU and average-pooling again and again, then two dense layers; with biases."""
    torch.manual_seed(pools)
    layers: list[nn.Module] = []
    for before, after in [(1, 3), (3, 4), (4, 4)][:pools]:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    inputs = [3, 4, 4][pools - 1] * (size // 2**pools) ** 2
    layers += [nn.Flatten(), nn.Linear(inputs, 6), nn.ReLU(), nn.Linear(6, 3)]
    return nn.Sequential(*layers).double().eval()


def transposed(layer: nn.Module, copying: bool) -> nn.Module:
    """The layer turned round: the same weights, no bias of its own, no ReLU."""
    match layer:
        case nn.Conv2d():
            turned = nn.ConvTranspose2d(layer.out_channels, layer.in_channels, 3, padding=1,
                                        bias=False)  # fmt: skip
            turned.weight = layer.weight
            return turned
        case nn.Linear():
            turned = nn.Linear(layer.out_features, layer.in_features, bias=False)
            turned.weight = nn.Parameter(layer.weight.t())
            return turned
        case nn.AvgPool2d():
            share = 1.0 if copying else 0.25
            return Net(lambda _, s: share * functional.interpolate(s, scale_factor=2))
    raise TypeError(layer)


def by_transposed_layers(model: nn.Sequential, x: Tensor, target: int, copying: bool) -> Tensor:
    """LRP-0: what arrives at a layer is divided by its output, goes back, is multiplied by a."""
    with torch.no_grad():
        values = [x]
        for layer in model:
            values.append(layer(values[-1]))
        R = torch.zeros_like(values[-1])
        R[:, target] = values[-1][:, target]
        for layer, a, z in reversed(list(zip(model, values[:-1], values[1:], strict=True))):
            if isinstance(layer, nn.Flatten):
                R = R.view(a.shape)
            elif not isinstance(layer, nn.ReLU):
                s = torch.where(z == 0, 0.0, R / torch.where(z == 0, 1.0, z))
                R = a * transposed(layer, copying)(s)
        return R


@pytest.mark.parametrize("pools", [1, 2, 3])
def test_transposed_layers_are_the_zero_rule(pools: int) -> None:
    model, x = averaging(pools), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    for target in range(3):
        expected = by_transposed_layers(model, x, target, copying=False)
        assert_near(LRP(rules=Zero())(model, x, target), expected, 1e-5)


@pytest.mark.parametrize("pools", [1, 2, 3])
def test_unpooling_that_copies_is_four_times_too_large_for_each_pooling(pools: int) -> None:
    model, x = averaging(pools), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    copied = by_transposed_layers(model, x, 0, copying=True)
    assert_near(copied, 4**pools * LRP(rules=Zero())(model, x, 0), 1e-5)


# --- Conservation ---------------------------------------------------------------------------------


def test_the_zero_rule_conserves_at_each_layer_of_a_bias_free_residual_net_with_norms() -> None:
    for dtype in (torch.float32, torch.float64):
        model, x = build(NETS["bottleneck"], dtype)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.zero_()
                    module.bias.zero_()
                elif isinstance(module, nn.Linear):
                    module.bias.zero_()
        result = with_layers(LRP(rules=Zero()), model, x)
        assert len(result.layers) > 15
        for layer in result.layers:
            gap = (layer.in_flight - result.score).abs() / result.score.abs()
            assert bool((gap < 1e-4).all()), layer.label


# --- Through one channel --------------------------------------------------------------------------


def through_by_gradient(model: nn.Module, x: Tensor, conv: nn.Module, channel: int) -> Tensor:
    """LRP-0 is gradient × input; here the gradient that leads through one channel of one layer."""
    leaf, seen = x.clone().requires_grad_(), []
    hook = conv.register_forward_hook(lambda _, __, z: seen.append(z))
    score = model(leaf)[:, 0].sum()
    hook.remove()
    (upper,) = torch.autograd.grad(score, seen[0], retain_graph=True)
    kept = torch.zeros_like(upper)
    kept[:, channel] = upper[:, channel]
    return x * torch.autograd.grad(seen[0], leaf, kept)[0]


@pytest.mark.parametrize(
    ("name", "label"),
    [("plain", "0"), ("plain", "3"), ("plain", "6"), ("residual", "conv1"), ("residual", "conv2"),
     ("branches", "narrow"), ("conv3d", "4"), ("nested", "features.block1.conv")],
)  # fmt: skip
def test_through_a_channel_is_the_gradient_through_it(name: str, label: str) -> None:
    model, x = build(NETS[name])
    conv = model.get_submodule(label)
    if name == "conv3d":
        model[0].bias.data.zero_()
    for channel in range(2):
        ours = LRP(rules=Zero(), through=(label, channel))(model, x, 0)
        assert_near(ours, through_by_gradient(model, x, conv, channel), 1e-6)


@pytest.mark.parametrize("rules", [EpsilonGammaBox(), Thirds(), AlphaBeta(), ZPlus()], ids=str)
@pytest.mark.parametrize(("name", "label", "count"), [("plain", "3", 5), ("mlp", "2", 9),
                                                      ("plain", "4", 5)])  # fmt: skip
def test_the_channels_of_a_layer_add_up_to_the_whole(
    rules: Rule, name: str, label: str, count: int
) -> None:
    model, x = build(NETS[name])
    parts = [LRP(rules=rules, through=(label, channel))(model, x, 1) for channel in range(count)]
    assert_near(torch.stack(parts).sum(0), LRP(rules=rules)(model, x, 1), 1e-10)
    assert any(not torch.allclose(parts[0], part) for part in parts)


@pytest.mark.parametrize("name", ["plain", "residual", "bottleneck"])
def test_the_books_balance_with_what_the_other_channels_lost(name: str) -> None:
    model, x = build(NETS[name])
    label = {"plain": "3", "residual": "conv2", "bottleneck": "3.0.conv3"}[name]
    result = with_layers(LRP(through=(label, 1)), model, x)
    remaining = result.score
    for layer in result.layers:
        remaining = remaining - torch.stack(list(layer.lost.values())).sum(0)
        torch.testing.assert_close(layer.in_flight, remaining, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.values.flatten(1).sum(1), remaining, rtol=1e-9, atol=1e-9)
    (told,) = [layer for layer in result.layers if layer.label == f"{label}[1]"]
    assert list(told.lost) == ["other channels and paths"]
    at_channel = told.relevance.flatten(2).abs().sum(2)
    assert bool((at_channel[:, 1] > 0).all())
    assert at_channel.count_nonzero() == len(x)


def test_the_features_of_a_dense_layer_on_a_sequence_are_its_last_axis() -> None:
    model, x = build(NETS["linear_on_sequence"])
    (told,) = [layer for layer in with_layers(LRP(rules=Zero(), through=("0", 4)), model, x).layers
               if layer.kind == "channel"]  # fmt: skip
    assert told.relevance.shape == (2, 4, 5)
    assert not told.relevance[..., :4].any()


@pytest.mark.parametrize("through", ["conv", ("3",), ("3", -1), ("3", 1.0), (3, 1), ("3", True)])
def test_what_is_no_layer_and_channel_is_refused(through: object) -> None:
    with pytest.raises(ValueError, match=r"^LRP: through must be a layer and one of its channels;"):
        LRP(through=through)  # type: ignore[arg-type]


def test_unknown_layers_and_channels_are_refused() -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match=r"^LRP: the layer of through must be one of 0, 1, .*'9'"):
        LRP(through=("9", 0))(model, x)
    with pytest.raises(ValueError, match=re.escape("must be from 0 to 4 (in '3'); got 5.")):
        LRP(through=("3", 5))(model, x)
    with pytest.raises(ValueError, match="layer of through"):
        LRP(rules=Zero(), through=("chunk", 0))(*build(NETS["split_and_chunk"]))


def test_through_is_part_of_the_value_and_of_its_code() -> None:
    assert LRP(through=("3", 1)) != LRP()
    assert LRP(through=["3", 1]) == LRP(through=("3", 1))  # type: ignore[arg-type]
    assert repr(LRP(through=("3", 1))) == "LRP(through=('3', 1))"


# --- Gates ----------------------------------------------------------------------------------------


def squeeze_excite(frozen: Tensor | None) -> Net:
    """The net of the catalogue, its gate computed, or given as a constant."""

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).relu()
        gate = frozen
        if gate is None:
            gate = net.excite(net.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        return net.head((x * gate).flatten(1))

    model = NETS["squeeze_excite"].build().double()
    model._forward = forward
    return model


@pytest.mark.parametrize("rule", [Zero(), Epsilon(), Gamma(), ZPlus(), AlphaBeta()], ids=str)
def test_the_signal_takes_all_as_if_its_gate_were_a_constant(rule: Rule) -> None:
    x = NETS["squeeze_excite"].input(1, dtype=torch.float64)
    model = squeeze_excite(None)
    with torch.no_grad():
        features = model.conv(x).relu()
        gate = model.excite(model.squeeze(features.mean((2, 3))).relu()).sigmoid()
    constant = squeeze_excite(gate[:, :, None, None])
    expected = LRP(rules=rule)(constant, x, 0)
    assert_near(LRP(rules={"mul": SignalTakesAll(), "*": rule})(model, x, 0), expected, 1e-7)


def test_a_gate_conserves_and_what_leads_to_it_needs_no_rule() -> None:
    model, x = build(NETS["squeeze_excite"])
    result = with_layers(LRP(rules={"mul": SignalTakesAll(), "*": Epsilon()}), model, x)
    told = {layer.label: layer for layer in result.layers}
    assert not any(bool(lost.any()) for lost in told["mul"].lost.values())
    for label in ("excite", "squeeze", "mean", "sigmoid"):
        assert told[label].rule == NoRelevance()
        assert not told[label].arrived.any()
    assert told["conv"].rule == Epsilon()
    torch.testing.assert_close(told["relu"].arrived, told["mul"].arrived)


@pytest.mark.parametrize("signal", ["first", "second"])
def test_relevance_of_a_broadcast_signal_adds_up(signal: str) -> None:
    """What one number gave to many comes back as their sum."""

    def forward(_: Net, x: Tensor) -> Tensor:
        narrow, wide = x[:, :1], x[:, 1:]
        product = narrow * wide if signal == "first" else wide * narrow
        return product @ torch.tensor([[1.0], [2.0], [-1.0]]).double()

    model, x = Net(forward).eval(), torch.tensor([[2.0, 1.0, 3.0, 4.0]], dtype=torch.float64)
    rules = {"mul": SignalTakesAll(signal=signal), "*": Zero()}
    torch.testing.assert_close(
        LRP(rules=rules)(model, x, 0), torch.tensor([[6.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    )


class Attention(nn.Module):
    """One head of attention beside a shortcut, written out; no biases."""

    def __init__(self, frozen: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name in ("query", "key", "value", "head"):
            setattr(self, name, nn.Linear(6, 6 if name != "head" else 3, bias=False).double())
        self.frozen = frozen

    def weights(self, x: Tensor) -> Tensor:
        return (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weights(x) if self.frozen is None else self.frozen
        return self.head((x + weights @ self.value(x)).mean(1))


def test_attention_hands_all_to_the_values_and_conserves() -> None:
    x = torch.rand(1, 4, 6, dtype=torch.float64) + 0.1
    model = Attention().eval()
    rules = {"matmul#2": SignalTakesAll(signal="second"), "*": Zero()}
    result = with_layers(LRP(rules=rules), model, x, 0)
    with torch.no_grad():
        frozen = Attention(model.weights(x)).eval()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(frozen(leaf)[0, 0], leaf)
    assert_near(result.values, x * gradient, 1e-6)
    torch.testing.assert_close(result.values.sum((1, 2)), result.score, rtol=1e-6, atol=0)
    told = {layer.label: layer.rule for layer in result.layers}
    assert told["query"] == told["matmul"] == told["softmax"] == NoRelevance()


def test_a_product_is_refused_with_the_advice_to_name_this_rule() -> None:
    with pytest.raises(UnsupportedOperation, match=r"no rule for mul .*SignalTakesAll\(\)"):
        LRP()(*build(NETS["squeeze_excite"]))
    with pytest.raises(UnsupportedOperation, match="must be the rule of a product"):
        LRP(rules={"add": SignalTakesAll(), "*": Zero()})(*build(NETS["residual"]))


def test_a_rule_that_is_a_plain_function_may_feed_every_input() -> None:
    def halve(op: object, relevance: Tensor) -> object:
        share = Pass()(op, relevance)  # type: ignore[arg-type]
        return share._replace(inputs=tuple(value / 2 for value in share.inputs))

    model, x = build(NETS["plain"])
    halved = LRP(rules={"7": halve, "*": Zero()})(model, x, 0)  # type: ignore[dict-item]
    assert_near(halved, LRP(rules=Zero())(model, x, 0) / 2, 1e-12)


# --- Every activation -----------------------------------------------------------------------------

ACTIVATIONS = {
    name: case
    for name, case in select("avgpool").items()
    if name in {"leaky_relu", "prelu", "relu6", "elu", "silu", "gelu", "hardswish"}
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_passes_on_what_arrives(name: str) -> None:
    model, x = build(NETS[name])
    assert len(ACTIVATIONS) == 7
    told = with_layers(LRP(rules=EpsilonAlpha2Beta1()), model, x, 0).layers
    acting = [layer for layer in told if layer.rule == Pass()]
    assert len(acting) == 2
    for layer in acting:
        assert not any(bool(lost.any()) for lost in layer.lost.values())


# --- Precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_mean_of_zeros_in_half_precision_is_no_division_by_zero(dtype: torch.dtype) -> None:
    """The negligible stabiliser is 0 in float16."""
    model = Net(
        lambda net, x: net.head(net.conv(x).relu().mean((2, 3))),
        conv=nn.Conv2d(1, 2, 3), head=nn.Linear(2, 3),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model.conv.bias.copy_(torch.tensor([-100.0, 1.0]))
    x = torch.rand(2, 1, 8, 8)
    expected = LRP(rules=Epsilon())(model, x, 1)
    assert_near(LRP(rules=Epsilon())(model.to(dtype), x.to(dtype), 1), expected, 0.1)
