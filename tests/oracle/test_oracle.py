"""The references, tested against each other, by axioms, by pencil and paper, and by Captum."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from captum.attr import LRP as CaptumLRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, PropagationRule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from . import nets as nets_module
from .backward import backward, deconvnet, gradient, guided
from .closed_forms import FourCases, HandWorkedLRP, Quadratic, ReluRidge, Ridge
from .graph import Affine, Graph
from .hand_graphs import HAND, random_graph
from .lrp import (
    Rule,
    alpha_beta,
    epsilon,
    flat,
    gamma,
    normalise,
    pass_through,
    relevance,
    w_square,
    z_box,
    z_plus,
    zero,
)
from .nets import NETS, TROUBLE, Case, MiddleFailure, select
from .random_nets import nets, random_net

CALLABLE = [name for name in NETS if "raises" not in NETS[name].tags]
HAND_BIAS_FREE = [name for name in HAND if "bias-free" in NETS[name].tags]
HAND_RELU = [name for name in HAND if not {"smooth", "leaky"} & NETS[name].tags]

unhurried = settings(max_examples=40, deadline=None)


def logits(model: nn.Module, x: Tensor) -> Tensor:
    output = model(x)
    return output[0] if isinstance(output, tuple) else output


def double(case: Case) -> tuple[nn.Module, Tensor]:
    """The case's model in float64 and one sample of its input, without the batch."""
    return case.build().double(), case.input(1, dtype=torch.float64)[0]


def autograd_gradient(model: nn.Module, x: Tensor, target: int) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(logits(model, x[None])[0, target], x)[0]


def chain(*layers: nn.Module, shape: tuple[int, ...]) -> Graph:
    """A hand-made graph of linear layers and ReLUs."""
    g = Graph(shape)
    for layer in layers:
        last = len(g.nodes) - 1
        if isinstance(layer, nn.ReLU):
            g.relu(last)
        else:
            g.affine(last, layer)
    return g


def test_the_references_know_nothing_of_the_package() -> None:
    sources = [path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py")]
    assert len(sources) > 5
    assert not any(re.search(r"^\s*(import|from) nni", source, re.M) for source in sources)


class TestCatalogue:
    @pytest.mark.parametrize("name", CALLABLE)
    def test_a_case_is_what_it_says(self, name: str) -> None:
        case = NETS[name]
        state = torch.random.get_rng_state()
        model = case.build()
        assert torch.equal(torch.random.get_rng_state(), state)
        assert not any(module.training for module in model.modules())
        assert case.input(2).shape == (2, *case.shape)
        assert logits(model, case.input(2)).shape == (2, case.classes)

    @pytest.mark.parametrize("name", list(NETS))
    def test_every_build_has_the_same_weights(self, name: str) -> None:
        first, second = NETS[name].build().state_dict(), NETS[name].build().state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)

    @pytest.mark.parametrize("name", list(NETS))
    def test_biases_are_not_zero_and_bias_free_nets_have_none(self, name: str) -> None:
        case = NETS[name]
        biases = [p for n, p in case.build().named_parameters() if n.endswith("bias")]
        if "bias-free" in case.tags:
            assert not biases
        else:
            assert biases
            assert all(bool((bias != 0).all()) for bias in biases)

    @pytest.mark.parametrize("name", list(select("bias-free", exclude="smooth")))
    def test_bias_free_nets_are_homogeneous(self, name: str) -> None:
        model, x = double(NETS[name])
        torch.testing.assert_close(model(3 * x[None]), 3 * model(x[None]))

    @pytest.mark.parametrize("name", list(select(exclude="smooth stochastic raises")))
    def test_what_is_not_smooth_is_linear_between_kinks(self, name: str) -> None:
        model, x = double(NETS[name])
        step = 1e-7 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
        before, here, after = (logits(model, (x + s * step)[None].clone()) for s in (-1, 0, 1))
        assert (after - 2 * here + before).abs().max() < 1e-13

    @pytest.mark.parametrize("name", list(select("smooth")))
    def test_what_is_smooth_is_not(self, name: str) -> None:
        model, x = double(NETS[name])
        step = 1e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
        before, here, after = (logits(model, (x + s * step)[None]) for s in (-1, 0, 1))
        assert (after - 2 * here + before).abs().max() > 1e-12

    @pytest.mark.parametrize("name", CALLABLE)
    def test_only_disconnected_nets_ignore_the_input(self, name: str) -> None:
        case = NETS[name]
        model = case.build()
        torch.manual_seed(0)
        here = logits(model, case.input(1, seed=0))
        torch.manual_seed(0)
        there = logits(model, case.input(1, seed=1))
        assert torch.equal(here, there) == (name == "ignores_input")

    @pytest.mark.parametrize("name", CALLABLE)
    def test_autograd_reaches_the_input_unless_tagged(self, name: str) -> None:
        case = NETS[name]
        x = case.input().requires_grad_()
        output = logits(case.build(), x.clone())[:, 0].sum()
        cut = {"disconnected", "no-grad"} & case.tags
        if output.requires_grad:
            (grad,) = torch.autograd.grad(output, x, allow_unused=True)
            assert (grad is None) == bool(cut)
            assert grad is None or bool(grad.flatten(1).any(1).all())
        else:
            assert cut

    def test_stochastic_and_mutating_and_raising_nets_do_so(self) -> None:
        for name in CALLABLE:
            case = NETS[name]
            model, x = case.build(), case.input()
            first, second = logits(model, x.clone()), logits(model, x)
            assert torch.equal(first, second) == ("stochastic" not in case.tags), name
            assert torch.equal(x, case.input()) == ("mutates-input" not in case.tags), name
        raising = NETS["raises_in_the_middle"]
        with pytest.raises(MiddleFailure):
            raising.build()(raising.input())

    def test_every_tag_is_explained(self) -> None:
        explained = set((nets_module.__doc__ or "").replace(",", " ").split())
        assert set().union(*(case.tags for case in NETS.values())) <= explained
        assert explained >= TROUBLE


class TestGraphs:
    @pytest.mark.parametrize("name", list(HAND))
    def test_graph_computes_what_the_network_computes(self, name: str) -> None:
        model, x = double(NETS[name])
        graph = HAND[name](model)
        expected = model(x[None])[0].detach()
        torch.testing.assert_close(graph(x), expected, rtol=1e-12, atol=1e-12)

    @unhurried
    @given(nets())
    def test_random_graph_computes_what_the_network_computes(self, case: Case) -> None:
        model, x = double(case)
        expected = model(x[None])[0].detach()
        torch.testing.assert_close(random_graph(model)(x), expected, rtol=1e-12, atol=1e-12)

    def test_random_nets_are_the_same_for_the_same_seed_and_differ_otherwise(self) -> None:
        case, again, other = random_net(3), random_net(3), random_net(4)
        assert torch.equal(case.build()(case.input()), again.build()(again.input()))
        assert not torch.equal(case.build()(case.input()), other.build()(other.input()))

    def test_padding_cells_are_not_connected(self) -> None:
        graph = chain(nn.Conv2d(1, 1, 3, padding=1), shape=(1, 4, 4))
        layer = graph.nodes[1]
        assert isinstance(layer, Affine)
        counts = layer.connected.sum(1).view(4, 4)
        assert counts.tolist() == [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]

    def test_a_weight_of_zero_is_connected_all_the_same(self) -> None:
        layer = nn.Linear(3, 2)
        nn.init.zeros_(layer.weight)
        node = chain(layer, shape=(3,)).nodes[1]
        assert isinstance(node, Affine)
        assert bool(node.connected.all())


class TestPencilAndPaper:
    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            (zero(), HandWorkedLRP.zero),
            (epsilon(1.0), HandWorkedLRP.epsilon1),
            (gamma(1.0), HandWorkedLRP.gamma1),
            (z_plus(), HandWorkedLRP.z_plus),
            (alpha_beta(2.0), HandWorkedLRP.alpha2_beta1),
        ],
        ids=["zero", "epsilon", "gamma", "z_plus", "alpha_beta"],
    )
    def test_one_rule_everywhere(self, rule: Rule, expected: Tensor) -> None:
        model = HandWorkedLRP()
        R = relevance(chain(*model, shape=(2,)), model.x[0], 0, rule)
        assert R[-1].item() == model.logit
        torch.testing.assert_close(R[0], expected[0])

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            (z_box(0.0, 3.0), HandWorkedLRP.z_box_0_3),
            (w_square(), HandWorkedLRP.w_square),
            (flat(), HandWorkedLRP.flat),
        ],
        ids=["z_box", "w_square", "flat"],
    )
    def test_a_rule_for_the_first_layer(self, rule: Rule, expected: Tensor) -> None:
        model = HandWorkedLRP()
        R = relevance(chain(*model, shape=(2,)), model.x[0], 0, zero(), {1: rule})
        torch.testing.assert_close(R[0], expected[0])

    def test_gamma_of_a_negative_unit_with_inputs_of_both_signs(self) -> None:
        """a = (1, -1), w = (1, 3), b = -1, γ = 1, so z = 1 - 3 - 1 < 0.

        a⁺(w + w⁻) = (1, 0), a⁻(w + w⁺) = (0, -6), b + b⁻ = -2: shares (1, -6) / -7.
        """
        layer = Affine(0, torch.tensor([[1.0, 3.0]]), torch.tensor([-1.0]), torch.ones(1, 2))
        share = gamma(1.0)(torch.tensor([1.0, -1.0]), layer)
        torch.testing.assert_close(share, torch.tensor([[-1 / 7, 6 / 7]]))

    @pytest.mark.parametrize(
        ("rule", "weight", "bias", "expected"),
        [
            (alpha_beta(2.0), [2.0, -1.0], -3.0, [2 * 2 / 2, -1 * 1 / 4]),
            (alpha_beta(2.0), [2.0, -1.0], 3.0, [2 * 2 / 5, -1 * 1 / 1]),
            (epsilon(0.5), [1.0, -1.0], 0.0, [1 / 0.5, -1 / 0.5]),
            (epsilon(0.5), [1.0, -1.0], -1.0, [1 / -1.5, -1 / -1.5]),
            (zero(), [1.0, -1.0], 0.0, [0.0, 0.0]),
            (gamma(1.0), [1.0, -1.0], 0.0, [0.0, 0.0]),
            (z_plus(), [-1.0, -2.0], 5.0, [0.0, 0.0]),
            (flat(), [3.0, 0.0], 1.0, [0.5, 0.5]),
        ],
        ids=[
            "negative bias in the denominator of β",
            "positive bias in the denominator of α",
            "the sign of zero is plus",
            "epsilon follows the sign",
            "zero over zero is zero",
            "no sign to agree with",
            "nothing positive",
            "a weight of zero counts",
        ],
    )
    def test_shares_of_one_unit_with_inputs_of_one(
        self, rule: Rule, weight: list[float], bias: float, expected: list[float]
    ) -> None:
        w = torch.tensor([weight]).double()
        layer = Affine(0, w, torch.tensor([bias]).double(), torch.ones_like(w).bool())
        share = rule(torch.ones(2).double(), layer)
        torch.testing.assert_close(share, torch.tensor([expected]).double())

    def test_pass_through_leaves_relevance_where_it_is(self) -> None:
        model, x = double(NETS["standardised"])
        layers = relevance(HAND["standardised"](model), x, 0, zero(), {1: pass_through()})
        assert torch.equal(layers[0], layers[1])

    def test_max_pooling_takes_the_first_winner_or_shares_in_proportion(self) -> None:
        g = Graph((1, 2, 2))
        g.maxpool(0, kernel=2, stride=2)
        x = torch.tensor([[[1.0, 4.0], [4.0, 1.0]]])
        winner = relevance(g, x, 0, zero())[0]
        shared = relevance(g, x, 0, zero(), pooling="proportional", pool_epsilon=0.0)[0]
        assert winner.tolist() == [[[0, 4], [0, 0]]]
        torch.testing.assert_close(shared, x.double() * 4 / 10)

    def test_winner_is_the_one_that_torch_picks(self) -> None:
        x = torch.tensor([[[[1.0, 4.0], [4.0, 1.0]]]], requires_grad=True)
        (grad,) = torch.autograd.grad(nn.functional.max_pool2d(x, 2).sum(), x)
        assert grad.tolist() == [[[[0, 1], [0, 0]]]]

    @pytest.mark.parametrize(
        ("relu_rule", "expected"),
        [
            (gradient, FourCases.gradient),
            (deconvnet, FourCases.deconvnet),
            (guided, FourCases.guided),
        ],
    )
    def test_four_cases_of_a_relu(
        self, relu_rule: Callable[[Tensor, Tensor], Tensor], expected: Tensor
    ) -> None:
        model = FourCases()
        g = Graph((1, 2, 2))
        g.affine(g.flatten(g.relu(0)), model[2])
        torch.testing.assert_close(backward(g, model.x[0], 0, relu_rule)[0], expected[0])


class TestAxioms:
    @pytest.mark.parametrize("name", HAND_BIAS_FREE)
    def test_zero_rule_without_biases_is_gradient_times_input(self, name: str) -> None:
        model, x = double(NETS[name])
        for target in range(NETS[name].classes):
            R = relevance(HAND[name](model), x, target, zero(), pool_epsilon=0.0)[0]
            expected = x * autograd_gradient(model, x, target)
            torch.testing.assert_close(R, expected, rtol=0, atol=1e-12)

    @unhurried
    @given(nets(bias=False))
    def test_zero_rule_is_gradient_times_input_on_random_nets(self, case: Case) -> None:
        model, x = double(case)
        R = relevance(random_graph(model), x, 1, zero(), pool_epsilon=0.0)[0]
        expected = x * autograd_gradient(model, x, 1)
        torch.testing.assert_close(R, expected, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("name", ["plain_bias_free", "mlp_bias_free"])
    def test_every_layer_of_a_chain_conserves_without_biases(self, name: str) -> None:
        model, x = double(NETS[name])
        for R in (layers := relevance(HAND[name](model), x, 1, epsilon(1e-12))):
            assert R.sum().item() == pytest.approx(layers[-1].sum().item(), abs=1e-8)

    @pytest.mark.parametrize("name", HAND_RELU)
    def test_zero_rule_loses_exactly_what_the_biases_take(self, name: str) -> None:
        """The bias of unit k takes R_k b_k / z_k; nothing else is lost."""
        model, x = double(NETS[name])
        graph = HAND[name](model)
        layers, values = relevance(graph, x, 0, zero(), pool_epsilon=0.0), graph.values(x)
        taken = sum(
            normalise((R.flatten() * node.bias)[:, None], z).sum()
            for node, R, z in zip(graph.nodes, layers, values, strict=True)
            if isinstance(node, Affine)
        )
        lost = layers[-1].sum() - layers[0].sum()
        torch.testing.assert_close(lost, torch.as_tensor(taken).double(), rtol=1e-8, atol=1e-10)

    def test_z_plus_loses_exactly_the_units_without_a_positive_contribution(self) -> None:
        model, x = double(NETS["plain"])
        graph = HAND["plain"](model)
        layers, values = relevance(graph, x, 2, z_plus()), graph.values(x)
        dead = sum(
            R.flatten()[(node.weight * values[node.source] <= 0).all(1)].sum()
            for node, R in zip(graph.nodes, layers, strict=True)
            if isinstance(node, Affine)
        )
        torch.testing.assert_close(layers[-1].sum() - layers[0].sum(), torch.as_tensor(dead))

    @pytest.mark.parametrize("name", HAND_RELU)
    def test_gradient_on_the_graph_is_autograd(self, name: str) -> None:
        model, x = double(NETS[name])
        for target in range(NETS[name].classes):
            ours = backward(HAND[name](model), x, target, gradient)[0]
            torch.testing.assert_close(
                ours, autograd_gradient(model, x, target), rtol=0, atol=1e-12
            )

    @pytest.mark.parametrize("name", ["plain", "functional_relu", "conv_norm_relu", "mlp"])
    def test_guided_signal_below_the_first_relu_of_a_chain_is_not_negative(self, name: str) -> None:
        model, x = double(NETS[name])
        signal = backward(HAND[name](model), x, 0, guided)[1]
        assert bool((signal >= 0).all())
        assert bool(signal.any())


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Affine]:
    """An input and a dense layer whose entries are small whole numbers, zeros among them."""
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    number = st.integers(-3, 3).map(float)

    def vector(size: int) -> Tensor:
        return torch.tensor(draw(st.lists(number, min_size=size, max_size=size))).double()

    weight = vector(inputs * outputs).view(outputs, inputs)
    connected = torch.ones_like(weight, dtype=torch.bool)
    return vector(inputs), Affine(0, weight, vector(outputs), connected)


class TestRulesOnOneLayer:
    @unhurried
    @given(layers())
    def test_gamma_zero_is_the_zero_rule(self, drawn: tuple[Tensor, Affine]) -> None:
        a, layer = drawn
        torch.testing.assert_close(gamma(0.0)(a, layer), zero()(a, layer))

    @unhurried
    @given(layers())
    def test_gamma_tends_to_alpha_one_on_units_above_zero(
        self, drawn: tuple[Tensor, Affine]
    ) -> None:
        a, layer = drawn
        above = layer.weight @ a + layer.bias > 0
        large, limit = gamma(1e9)(a, layer), alpha_beta(1.0)(a, layer)
        torch.testing.assert_close(large[above], limit[above], rtol=0, atol=1e-6)

    @unhurried
    @given(layers(), st.floats(0, 4))
    def test_gamma_is_odd(self, drawn: tuple[Tensor, Affine], g: float) -> None:
        """Turning the signs of all weights and biases changes the sign of z, no share."""
        a, layer = drawn
        turned = Affine(0, -layer.weight, -layer.bias, layer.connected)
        torch.testing.assert_close(gamma(g)(a, layer), gamma(g)(a, turned))

    @unhurried
    @given(layers())
    def test_alpha_one_without_bias_is_z_plus(self, drawn: tuple[Tensor, Affine]) -> None:
        a, layer = drawn
        unbiased = Affine(0, layer.weight, 0 * layer.bias, layer.connected)
        torch.testing.assert_close(alpha_beta(1.0)(a, unbiased), z_plus()(a, layer))

    @unhurried
    @given(layers(), st.sampled_from(["z_plus", "z_box", "w_square", "flat"]))
    def test_bias_free_rules_share_out_all_or_nothing(
        self, drawn: tuple[Tensor, Affine], which: str
    ) -> None:
        a, layer = drawn
        rule = {"z_plus": z_plus(), "z_box": z_box(-3, 3), "w_square": w_square(), "flat": flat()}
        share = rule[which](a, layer)
        totals = share.sum(1)
        assert bool((share >= 0).all())
        assert bool(((totals == 0) | ((totals - 1).abs() < 1e-12)).all())

    @unhurried
    @given(layers())
    def test_box_from_zero_upwards_with_positive_weights_is_z_plus(
        self, drawn: tuple[Tensor, Affine]
    ) -> None:
        a, layer = drawn
        positive_layer = Affine(0, layer.weight.abs(), layer.bias, layer.connected)
        share = z_box(0.0, 9.0)(a.abs(), positive_layer)
        torch.testing.assert_close(share, z_plus()(a.abs(), positive_layer))

    @unhurried
    @given(layers())
    def test_epsilon_shrinks_every_share(self, drawn: tuple[Tensor, Affine]) -> None:
        a, layer = drawn
        z = layer.weight @ a + layer.bias
        small, large = zero()(a, layer).abs(), epsilon(0.5)(a, layer).abs()
        assert bool((large <= small)[z != 0].all())


class TestMergedNorm:
    """LRP on the merged graph is LRP on a network that has the merged weights to begin with."""

    def test_merged_weights(self) -> None:
        model, x = double(NETS["mlp_norm"])
        first, norm1, _, second, norm2 = model
        scale1 = norm1.weight / torch.sqrt(norm1.running_var + norm1.eps)
        scale2 = norm2.weight / torch.sqrt(norm2.running_var + norm2.eps)
        plain = copy.deepcopy(nn.Sequential(first, nn.ReLU(), second))
        with torch.no_grad():
            plain[0].weight.copy_(scale1[:, None] * first.weight)
            plain[0].bias.copy_(scale1 * (first.bias - norm1.running_mean) + norm1.bias)
            plain[2].weight.copy_(scale2[:, None] * second.weight)
            plain[2].bias.copy_(scale2 * (second.bias - norm2.running_mean) + norm2.bias)
        for rule in (epsilon(0.1), gamma(0.25), alpha_beta(2.0)):
            merged = relevance(HAND["mlp_norm"](model), x, 1, rule)[0]
            expected = relevance(chain(*plain, shape=(7,)), x, 1, rule)[0]
            torch.testing.assert_close(merged, expected)


def captum_lrp(model: nn.Module, x: Tensor, target: int, rule: type, **options: object) -> Tensor:
    """Captum's LRP with one rule at every convolution and linear layer."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = rule(**options)
        elif isinstance(module, nn.MaxPool2d | nn.Flatten):
            module.rule = EpsilonRule()
    R: Tensor = CaptumLRP(model).attribute(x[None].clone().requires_grad_(), target=target)
    return R[0].detach()


class TestCaptum:
    @pytest.mark.parametrize("name", ["plain", "plain_bias_free", "mlp", "pool_before_relu"])
    def test_epsilon(self, name: str) -> None:
        model, x = double(NETS[name])
        for target in range(3):
            ours = relevance(HAND[name](model), x, target, epsilon(1e-9))[0]
            theirs = captum_lrp(model, x, target, EpsilonRule, epsilon=1e-9)
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("name", ["plain", "mlp"])
    def test_alpha1_beta0_with_its_biases_set_to_zero_is_z_plus(self, name: str) -> None:
        """Captum keeps biases by default, negative ones too; and needs inputs that are ≥ 0."""
        model, x = double(NETS[name])
        for target in range(3):
            ours = relevance(HAND[name](model), x, target, z_plus())[0]
            theirs = captum_lrp(model, x, target, Alpha1_Beta0_Rule, set_bias_to_zero=True)
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("name", ["plain", "mlp"])
    def test_alpha1_beta0_is_alpha_one_where_no_bias_is_negative(self, name: str) -> None:
        model, x = double(NETS[name])
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.bias.abs_()
        ours = relevance(HAND[name](model), x, 0, alpha_beta(1.0))[0]
        theirs = captum_lrp(model, x, 0, Alpha1_Beta0_Rule)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("name", ["plain_bias_free", "mlp_bias_free"])
    def test_gamma_without_biases_for_a_positive_logit(self, name: str) -> None:
        model, x = double(NETS[name])
        target = int(model(x[None]).argmax())
        assert model(x[None])[0, target] > 0
        ours = relevance(HAND[name](model), x, target, gamma(0.25))[0]
        theirs = captum_lrp(model, x, target, GammaRule, gamma=0.25)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)

    def test_gamma_differs_by_the_bias_which_captum_leaves_alone(self) -> None:
        """One unit, a = (1, 1), w = (1, 2), b = 1, γ = 1: Σ = 6, ours + 2, Captum's + 1."""
        layer = nn.Linear(2, 1).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
            layer.bias.fill_(1.0)
        model, x = nn.Sequential(layer), torch.ones(2, dtype=torch.float64)
        ours = relevance(chain(layer, shape=(2,)), x, 0, gamma(1.0))[0]
        theirs = captum_lrp(model, x, 0, GammaRule, gamma=1.0)
        torch.testing.assert_close(ours, 4 * torch.tensor([2.0, 4.0]).double() / 8)
        torch.testing.assert_close(theirs, 4 * torch.tensor([2.0, 4.0]).double() / 7)

    def test_gamma_differs_on_a_negative_logit(self) -> None:
        """w = (1, -2), a = (1, 1), γ = 1, z = -1. Ours: -1·(1, -4)/-3. Captum: (2, -2)/0."""
        layer = nn.Linear(2, 1, bias=False).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, -2.0]]))
        model, x = nn.Sequential(layer), torch.ones(2, dtype=torch.float64)
        ours = relevance(chain(layer, shape=(2,)), x, 0, gamma(1.0))[0]
        torch.testing.assert_close(ours, torch.tensor([1 / 3, -4 / 3]).double())
        assert captum_lrp(model, x, 0, GammaRule, gamma=1.0).abs().max() > 1e6

    def test_captum_rules_were_really_set(self) -> None:
        model, x = double(NETS["plain"])
        assert issubclass(GammaRule, PropagationRule)
        with_gamma = captum_lrp(model, x, 0, GammaRule, gamma=0.25)
        assert not torch.allclose(with_gamma, captum_lrp(model, x, 0, EpsilonRule))


class TestClosedForms:
    target = 1

    def numeric_integrated_gradients(self, model: nn.Module, x: Tensor, baseline: Tensor) -> Tensor:
        """The midpoint rule with many steps, one autograd call per sample."""
        positions = (torch.arange(4000).double() + 0.5) / 4000
        rows = []
        for end, start in zip(x, baseline, strict=True):
            points = (start + positions[:, None] * (end - start)).requires_grad_()
            (grads,) = torch.autograd.grad(model(points)[:, self.target].sum(), points)
            rows.append((end - start) * grads.mean(0))
        return torch.stack(rows)

    @pytest.fixture
    def ends(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(5)
        x, baseline = torch.randn(2, 3, 4, generator=generator).double()
        return x, baseline

    @pytest.mark.parametrize(
        ("model", "tolerance"),
        [(Quadratic(), 1e-10), (Ridge(torch.tanh), 1e-5), (ReluRidge(), 1e-2)],
        ids=["quadratic", "tanh ridge", "relu ridge"],
    )
    def test_integrated_gradients(
        self, model: Quadratic | Ridge, tolerance: float, ends: tuple[Tensor, Tensor]
    ) -> None:
        x, baseline = ends
        exact = model.integrated_gradients(x, baseline, self.target)
        change = (model(x) - model(baseline))[:, self.target].detach()
        torch.testing.assert_close(exact.sum(1), change)
        numeric = self.numeric_integrated_gradients(model, x, baseline)
        torch.testing.assert_close(exact, numeric, rtol=0, atol=tolerance)

    def noisy_gradients(self, model: nn.Module, x: Tensor, sigma: float) -> Tensor:
        noise = torch.randn(20_000, x.shape[-1], generator=torch.Generator().manual_seed(0))
        points = (x + sigma * noise.double()).requires_grad_()
        return torch.autograd.grad(model(points)[:, self.target].sum(), points)[0]

    def test_smoothgrad_of_a_quadratic(self, ends: tuple[Tensor, Tensor]) -> None:
        model, x, sigma = Quadratic(), ends[0][:1], 0.3
        grads = self.noisy_gradients(model, x, sigma)
        error = model.smoothgrad_error(sigma, len(grads), self.target)
        assert bool(((grads.mean(0) - model.smoothgrad(x, self.target)[0]).abs() < 4 * error).all())
        torch.testing.assert_close(grads.std(0) / len(grads) ** 0.5, error, rtol=0.05, atol=0)
        squared = model.squared_smoothgrad(x, sigma, self.target)[0]
        torch.testing.assert_close((grads**2).mean(0), squared, rtol=0.05, atol=0.02)

    def test_smoothgrad_of_a_relu(self, ends: tuple[Tensor, Tensor]) -> None:
        model, x, sigma = ReluRidge(), ends[0][:1], 1.0
        grads = self.noisy_gradients(model, x, sigma)
        exact = model.smoothgrad(x, sigma, self.target)[0]
        plain = autograd_gradient(model, x[0], self.target)
        torch.testing.assert_close(grads.mean(0), exact, rtol=0.03, atol=0)
        assert not torch.allclose(exact, plain, rtol=0.03, atol=0)

    def test_four_cases_module(self) -> None:
        model = FourCases()
        torch.testing.assert_close(autograd_gradient(model, model.x[0], 0), model.gradient[0])
