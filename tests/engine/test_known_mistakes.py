"""Each known mistake of the ancestors and peers, and the test that would catch it here.

``MISTAKES`` is the list: what two courses on interpretability and their relatives got wrong in the
methods of chapters A and B, and which tests would fail if we did the same. Those that no other
file looks at are tested below; there the mistaken formula is written out and is seen to differ.
Mistakes in prototypes and class activation maps (chapter C), in uncertainty and in metrics
(chapter D) are listed as such.
"""

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nni_widgets import data, models
from nni_widgets.engine.methods import (
    LRP,
    METHODS,
    DeepLIFT,
    DeepTaylor,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Saliency,
    SmoothGrad,
)
from nni_widgets.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, ZBox, Zero, ZPlus
from nni_widgets.pictures.heatmap import heatmap
from tests.engine.common import assert_near, build, distance, suited, with_layers
from tests.oracle.nets import NETS

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mistake:
    """Where it was seen and what it is; ``caught_by`` are tests, or ``later`` is its chapter."""

    seen_in: str
    what: str
    caught_by: tuple[str, ...] = ()
    later: str = ""


COMMON = "engine/test_common.py::"
AXIOMS = "engine/test_axioms.py::"
GRADIENTS = "engine/test_gradients.py::"
SMOOTH = "engine/test_smooth.py::"
BASELINES = "engine/test_baselines.py::"
DECONV = "engine/test_deconvnet.py::"
OCCLUSION = "engine/test_occlusion.py::"
RULES = "engine/test_rules_oracle.py::"
COMPOSITES = "engine/test_composites.py::"
EXTRAS = "engine/test_lrp_extras.py::"
TAYLOR = "engine/test_deep_taylor.py::"
LIFT = "engine/test_deeplift.py::"
BAD = "engine/test_bad_input.py::"
FINDINGS = "engine/test_findings.py::"
HERE = "engine/test_known_mistakes.py::"
LONG_NAMES = (
    "test_with_biases_the_root_zero_is_not_gradient_times_input_and_the_gap_is_shown",
    "test_sensitivity_sums_to_the_squared_length_of_the_gradient_and_is_squared_once",
)
EVERYWHERE = f"{COMMON}test_every_method_on_every_network"
ONE_BY_ONE = f"{GRADIENTS}test_a_batch_is_its_samples_one_by_one"

THROUGHOUT = (
    Mistake("1a", "the model is set to training mode, its dropout and norms move",
            (f"{BAD}test_a_model_in_training_mode", EVERYWHERE)),
    Mistake("1a", "the target is always the predicted class", (f"{COMMON}test_targets_matter",)),
    Mistake("1a", "the predicted class is asked for again at each step or noisy copy",
            (f"{AXIOMS}test_the_target_is_decided_on_the_clean_input",
             f"{BASELINES}test_the_target_is_decided_once_at_x_not_at_every_step",
             f"{SMOOTH}test_the_target_is_decided_on_the_clean_input",
             "engine/test_translate.py::test_the_target_is_that_of_the_clean_picture")),
    Mistake("1a", "one sample at a time only", (EVERYWHERE, f"{COMMON}test_batches_in_float32")),
    Mistake("1a", "only chains of modules, no residual or functional nets",
            (EVERYWHERE, f"{RULES}test_random_nets")),
    Mistake("1a", "batch-norm is the identity for LRP",
            (f"{HERE}test_batch_norm_is_part_of_its_layer", f"{RULES}test_one_rule_everywhere")),
    Mistake("1a", "CAM takes top-level layers only", later="C"),
    Mistake("1a", "'predicted' is overwritten by the class of the first picture",
            (f"{HERE}test_a_method_is_not_bound_to_the_class_of_its_first_picture",
             f"{COMMON}test_no_target_is_each_samples_predicted_class")),
    Mistake("1a", "hooks are left on the model by guided backprop",
            (EVERYWHERE, f"{COMMON}test_the_state_notices_what_must_not_happen",
             f"{COMMON}test_an_error_in_the_middle_leaves_nothing_behind")),
    Mistake("1a", "hooks are left on the model by CAM, Grad-CAM, DeepDream", later="C"),
    Mistake("1a", "the test set is the training set",
            ("zoo/test_data.py::test_digits_are_the_whole_of_mnist",
             "zoo/test_models.py::test_accuracy_on_all_test_images_is_that_of_the_card")),
    Mistake("1a", "no noise on colour pictures",
            (f"{SMOOTH}test_there_is_noise_in_every_channel",)),
    Mistake("1a", "a typing error in the mean of the colours", later="C"),
    Mistake("1a", "notebooks that no longer run, or whose outputs are of another day",
            ("course/test_guards.py::test_notebook_of_the_course",
             "course/test_nbval_catches.py::test_change_is_caught")),
)  # fmt: skip

GRADIENT_METHODS = (
    Mistake("1b saliency", "the largest channel with its sign, not by its size",
            (f"{HERE}test_saliency_takes_the_size_before_the_largest_channel",)),
    Mistake("1b saliency", "x requires a gradient afterwards, and x.grad grows",
            (EVERYWHERE,
             f"{GRADIENTS}test_a_second_call_is_the_first_again_and_leaves_no_gradient")),
    Mistake("1b backprop", "the class cannot be chosen", (f"{COMMON}test_targets_matter",)),
    Mistake("1b integrated gradients", "not multiplied by the way x − x′",
            (f"{HERE}test_integrated_gradients_are_a_mean_times_the_way",
             f"{AXIOMS}test_integrated_gradients_are_complete")),
    Mistake("1b integrated gradients", "m + 1 points, divided by m",
            (f"{HERE}test_integrated_gradients_are_a_mean_times_the_way",)),
    Mistake("1b integrated gradients", "the points of the call before are kept: twice as much",
            (f"{BASELINES}test_a_batch_is_its_samples_one_by_one_and_a_second_call_the_first",)),
    Mistake("1b SmoothGrad", "noise relative to the standard deviation, or absolute (1c 3.5)",
            (f"{AXIOMS}test_the_noise_is_a_share_of_each_samples_own_range",)),
    Mistake("1b simple Taylor", "said to add up although the network has biases",
            (f"{GRADIENTS}{LONG_NAMES[0]}",)),
    Mistake("1b DeepLIFT under noise", "each map is scaled to 0 … 1 before the mean",
            (f"{HERE}test_noisy_maps_are_averaged_as_they_are",)),
    Mistake("1c 3.2", "the gradient of the sum of all logits",
            (f"{GRADIENTS}test_the_gradient_of_one_logit_not_of_their_sum",)),
    Mistake("1c 3.2", "trained on centred pictures, shown others",
            ("zoo/test_models.py::test_a_loaded_model_is_ready_and_says_what_it_takes",
             "zoo/test_models.py::test_accuracy_on_all_test_images_is_that_of_the_card")),
    Mistake("1c 3.4", "the probability is explained, not the logit",
            (f"{HERE}test_the_logit_is_explained_not_the_probability",
             f"{BAD}test_a_softmax_at_the_end")),
    Mistake("1c 3.4", "the baseline 'zero' is the mean of the batch",
            (f"{BASELINES}test_a_batch_is_its_samples_one_by_one_and_a_second_call_the_first",)),
    Mistake("1c 3.4", "nobody says whether it adds up",
            ("pictures/test_explanation.py::test_a_baseline_is_subtracted",)),
    Mistake("1c 5.1, 5.2", "the sensitivity is squared twice",
            (f"{GRADIENTS}{LONG_NAMES[1]}",)),
    Mistake("1d sensitivity, Taylor", "the loss is differentiated, so that signs change",
            (f"{GRADIENTS}test_the_score_not_the_loss",)),
    Mistake("1d sensitivity, Taylor", "the mean over the batch is differentiated", (ONE_BY_ONE,)),
    Mistake("1d sensitivity, Taylor", "x.grad grows from call to call",
            (f"{GRADIENTS}test_a_second_call_is_the_first_again_and_leaves_no_gradient",)),
    Mistake("1d tables", "integrated gradients without x − x′; LRP 'without restrictions'",
            (f"{HERE}test_the_cards_tell_the_factor_and_the_restrictions",)),
)  # fmt: skip

BACKWARD_RULES = (
    Mistake("1b DeconvNet", "transposed layers have random biases",
            (f"{DECONV}test_two_runs_are_equal_and_no_bias_takes_part",)),
    Mistake("1b DeconvNet", "all ten logits are projected",
            (f"{DECONV}test_one_logit_is_kept_and_no_other",)),
    Mistake("1b DeconvNet", "unpooling ignores stride and padding",
            (f"{DECONV}test_the_paper_unpool_rectify_filter", f"{DECONV}test_against_the_graph")),
    Mistake("1b DeconvNet", "a weight is masked instead of an activation",
            (f"{DECONV}test_the_activation_itself_is_isolated_not_a_weight",)),
    Mistake("1b guided", "only ReLU modules, children of the model itself",
            (f"{AXIOMS}test_guided_backprop_against_the_graph",)),
    Mistake("1c 3.1", "'the five strongest maps' are not the five strongest",
            (f"{DECONV}test_the_strongest_maps_are_the_strongest",)),
    Mistake("1c 3.1", "the sum of a map is projected, not its maximum",
            (f"{DECONV}test_the_strongest_unit_of_every_layer_against_the_graph",)),
    Mistake("1c 3.3", "a ReLU on the logits: classes with a negative one have no map",
            (f"{HERE}test_a_negative_logit_has_a_guided_map",)),
    Mistake("1b occlusion", "only channel 0 is covered",
            (f"{OCCLUSION}test_all_channels_are_covered",)),
    Mistake("1b occlusion", "the window must divide the picture",
            (f"{OCCLUSION}test_blocks_that_do_not_divide_the_picture",)),
    Mistake("1b occlusion", "a list of probabilities, no drop and no map",
            (f"{OCCLUSION}test_by_hand",)),
    Mistake("1b occlusion", "one forward pass for each window",
            (f"{OCCLUSION}test_memory_is_bounded",)),
)  # fmt: skip

PROPAGATION = (
    Mistake("1b deep Taylor", "biases are kept in z⁺",
            (f"{HERE}test_no_bias_in_z_plus",
             f"{TAYLOR}test_z_plus_inside_and_another_rule_at_the_pixels")),
    Mistake("1b deep Taylor, LRP-0", "the box −1 … 1 for pixels in 0 … 1",
            (f"{HERE}test_the_box_is_that_of_the_pixels",
             f"{TAYLOR}test_a_box_of_its_own_for_each_channel")),
    Mistake("1b LRP-0, 1c 2.3", "0 / 0 where a unit's output is 0",
            (f"{HERE}test_a_unit_of_zero_divides_nothing",)),
    Mistake("1b LRP-ε", "ε is added whatever the sign of z",
            (f"{HERE}test_epsilon_has_the_sign_of_z", f"{RULES}test_with_pencil_and_paper")),
    Mistake("1b LRP-ε, LRP-γ", "ε and γ are fixed",
            (f"{HERE}test_every_parameter_of_a_rule_can_be_set",
             f"{COMPOSITES}test_parameters_of_a_preset_reach_its_rules")),
    Mistake("1b LRP-αβ, composite", "α and β do not belong together: α2β0 doubles the relevance",
            (f"{HERE}test_beta_follows_from_alpha",)),
    Mistake("1b LRP-αβ", "inputs are taken to be positive",
            (f"{HERE}test_alpha_beta_goes_by_the_sign_of_the_contribution",)),
    Mistake("1b composite", "thirds of a list that counts ReLU and pooling",
            (f"{COMPOSITES}test_thirds_count_layers_with_weights",)),
    Mistake("1b LRP transpose", "random biases, and negative relevance cut off",
            (f"{EXTRAS}test_transposed_layers_are_the_zero_rule", EVERYWHERE)),
    Mistake("1b LRP transpose", "average unpooling by copying is 4ⁿ times too large",
            (f"{EXTRAS}test_unpooling_that_copies_is_four_times_too_large_for_each_pooling",)),
    Mistake("1c 2.3, 2.4", "relevance starts at the softmax",
            (f"{HERE}test_the_logit_is_explained_not_the_probability",
             f"{BAD}test_a_softmax_at_the_end")),
    Mistake("1c 2.3", "layers are told by their names", (f"{RULES}test_random_nets",)),
    Mistake("1d LRP", "a fixed reshape: one batch size only", (EVERYWHERE,)),
    Mistake("1d LRP", "rules for layer numbers that the network does not have never apply",
            (f"{FINDINGS}test_a_pattern_that_matches_no_layer_with_weights_is_refused",
             f"{BAD}test_a_layer_that_does_not_exist")),
    Mistake("1d LRP, net advice", "starts at a sigmoid, trained with one",
            (f"{HERE}test_the_networks_return_logits",)),
)  # fmt: skip

DEEPLIFT = (
    Mistake("1b Rescale", "multiplies what the ReLU has masked already",
            (f"{LIFT}test_a_unit_that_was_off_and_is_on_is_not_masked_twice",)),
    Mistake("1b Rescale", "a constant in place of a Δx near 0",
            (f"{LIFT}test_tiny_differences_take_the_derivative",)),
    Mistake("1b Rescale", "returns multipliers, not contributions",
            (f"{LIFT}test_contributions_not_multipliers",
             f"{LIFT}test_it_adds_up_at_every_layer")),
    Mistake("1b Rescale, Captum", "no complete rule for max-pooling beside a ReLU",
            (f"{LIFT}test_max_pooling_beside_a_relu",)),
    Mistake("1b RevealCancel", "m⁻ upside down",
            (f"{LIFT}test_minimum_and_maximum_of_the_paper",
             f"{LIFT}test_reference_implementation")),
    Mistake("1b RevealCancel", "splits the unit's own Δx, not the contributions to it",
            (f"{LIFT}test_parts_are_those_of_the_contributions_not_of_the_units_own_change",)),
    Mistake("1b Linear", "multiplies by Δy",
            (f"{LIFT}test_linear_alone_is_the_gradient_times_the_difference",
             f"{LIFT}test_equal_pixels_get_nothing_and_half_the_weight_below")),
    Mistake("1b Linear", "random biases; maps cropped or filled with ones",
            (f"{LIFT}test_no_randomness_and_no_state", f"{LIFT}test_reference_implementation")),
    Mistake("1c 2.5", "written for one network",
            (f"{LIFT}test_reference_implementation_on_random_nets",)),
)  # fmt: skip

LATER = (
    Mistake("1b, 1c 1.1, 1.3, 3.2, 1d", "activation maximization, code space, expert", later="C"),
    Mistake("1b DeepDream", "the regularizer is added in the ascent", later="C"),
    Mistake("1b, 1c 4.1-4.3", "CAM, Grad-CAM, Grad-CAM++", later="C"),
    Mistake("1b demo", "weights that must be downloaded", later="C"),
    Mistake("1b MC dropout", "averaged logits; all modules in training mode", later="D"),
    Mistake("1b LRP and DeepLIFT under MC dropout", "sums, scaled before the mean", later="D"),
    Mistake("1b evidential", "validated on the training set", later="D"),
    Mistake("1b temperature", "fitted on the training set, no reliability diagram", later="D"),
    Mistake("1c 5.1, 5.2", "continuity not computed, selectivity without an area", later="D"),
)

MISTAKES = (*THROUGHOUT, *GRADIENT_METHODS, *BACKWARD_RULES, *PROPAGATION, *DEEPLIFT, *LATER)


# --- The list -------------------------------------------------------------------------------------


@cache
def defined_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.seen_in}: {each.what}")
def test_it_would_be_caught(mistake: Mistake) -> None:
    assert bool(mistake.caught_by) != (mistake.later in {"C", "D"})
    for node in mistake.caught_by:
        file, _, name = node.partition("::")
        assert name.startswith("test_")
        assert name in defined_in(file), node


def test_every_test_below_is_in_the_list() -> None:
    listed = {name for each in MISTAKES for name in each.caught_by if name.startswith(HERE)}
    about_the_list = {"test_it_would_be_caught", "test_every_test_below_is_in_the_list"}
    known = {name for name in vars(sys.modules[__name__]) if name.startswith("test_")}
    assert {name.removeprefix(HERE) for name in listed} == known - about_the_list


# --- Throughout -----------------------------------------------------------------------------------


def dense(*weights: list[list[float]], bias: float | None = None) -> nn.Sequential:
    """Linear layers of these weights in float64, a ReLU between two of them."""
    layers: list[nn.Module] = []
    for matrix in weights:
        weight = torch.tensor(matrix, dtype=torch.float64)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
        layer.weight.data.copy_(weight)
        if bias is not None:
            layer.bias.data.fill_(bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_method_is_not_bound_to_the_class_of_its_first_picture(kind: type[Method]) -> None:
    model, x = build(NETS[suited(kind(), "shared_conv")])
    pictures = torch.cat([x, 1 - 3 * x, 5 * x.flip(2)])
    predicted = model(pictures).argmax(1).tolist()
    other = next(i for i, label in enumerate(predicted) if label != predicted[0])
    first, second = pictures[:1], pictures[other : other + 1]
    method = kind()
    method(model, first)
    assert torch.equal(method(model, second), kind()(model, second, predicted[other]))
    assert not torch.equal(method(model, second), kind()(model, second, predicted[0]))


def test_batch_norm_is_part_of_its_layer() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.2, 2)
    norm.weight.data.uniform_(-2, 2)
    norm.bias.data.uniform_(-1, 1)
    model = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2)).double().eval()
    x = torch.rand(2, 3).double()
    result = with_layers(LRP(Zero()), model, x, 0)
    arrived = next(layer.relevance for layer in result.layers if layer.label == "0")

    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    merged = x * ((arrived / norm(model[0](x))) @ (scale[:, None] * model[0].weight))
    as_identity = x * ((arrived / model[0](x)) @ model[0].weight)
    assert_near(result.values, merged, 1e-10)
    assert distance(result.values, as_identity) > 0.1


# --- Gradient methods -----------------------------------------------------------------------------


def test_saliency_takes_the_size_before_the_largest_channel() -> None:
    model = nn.Sequential(nn.Flatten(), dense([[-3.0, 1.0]])[0]).eval()
    found = heatmap(Saliency()(model, torch.ones(1, 2, 1, 1).double()), Saliency.channels)
    largest_with_sign = model[1].weight.detach().max()
    assert float(found) == 3.0
    assert float(largest_with_sign) == 1.0


@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_integrated_gradients_are_a_mean_times_the_way(n_steps: int) -> None:
    model, x, start = dense([[2.0, -1.0]]), row(3.0, 1.0), row(1.0, 4.0)
    method = IntegratedGradients(n_steps=n_steps, baseline=start)
    gradient = model[0].weight.detach()
    assert_near(method(model, x, 0), gradient * (x - start), 1e-12)
    for mistaken in (gradient, gradient * (x - start) * (n_steps + 1) / n_steps):
        assert distance(method(model, x, 0), mistaken) > 0.1


def test_noisy_maps_are_averaged_as_they_are() -> None:
    model, x = build(NETS["plain"], batch=1)
    maps: list[Tensor] = []

    def kept(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        maps.append(DeepLIFT()(model, x, target))
        return maps[-1]

    found = SmoothGrad(of=kept, n_samples=12, noise_level=0.5)(model, x, 0)
    every = torch.cat(maps)[-12:]
    low, high = every.flatten(1).amin(1), every.flatten(1).amax(1)
    scaled = (every - low.view(-1, 1, 1, 1)) / (high - low).view(-1, 1, 1, 1)
    assert_near(found, every.mean(0, keepdim=True), 1e-12)
    assert distance(found, scaled.mean(0, keepdim=True)) > 0.1


@pytest.mark.parametrize("method", [IntegratedGradients(), LRP(), DeepTaylor(), DeepLIFT()],
                         ids=lambda method: type(method).__name__)  # fmt: skip
def test_the_logit_is_explained_not_the_probability(method: Method) -> None:
    model, x = build(NETS["plain"])
    result, logits = with_layers(method, model, x, 0), model(x).detach()
    assert torch.equal(result.score, logits[:, 0])
    assert distance(logits.softmax(1)[:, 0], result.score) > 0.1
    if result.layers:
        against = 0.0 if result.reference_score is None else result.reference_score
        assert_near(result.layers[0].arrived, logits[:, 0] - against, 1e-10)


def test_the_cards_tell_the_factor_and_the_restrictions() -> None:
    assert "(x_i − x′_i) ∫" in (IntegratedGradients.__doc__ or "")
    assert "a rule for every operation" in LRP.card.needs


# --- Rules for the backward pass ------------------------------------------------------------------


def test_a_negative_logit_has_a_guided_map() -> None:
    model, x = dense([[1.0, 2.0]], [[1.0]], bias=-2.0), row(1.0, 1.0)
    assert model(x).tolist() == [[-1.0]]
    assert GuidedBackprop()(model, x, 0).tolist() == [[1.0, 2.0]]
    with_relu_on_logits = nn.Sequential(*model, nn.ReLU()).eval()
    assert not GuidedBackprop()(with_relu_on_logits, x, 0).any()


# --- Propagation ----------------------------------------------------------------------------------


def test_no_bias_in_z_plus() -> None:
    """z = 2 and z⁺ = 3 without the bias of −1: half of R to each half of the evidence."""
    model, x = dense([[1.0, 2.0]], bias=-1.0), row(1.0, 1.0)
    assert_near(LRP(ZPlus())(model, x, 0), row(1.0, 2.0) * 2 / 3, 1e-12)
    assert distance(row(1.0, 2.0) * 2 / (3 - 1), LRP(ZPlus())(model, x, 0)) > 0.1


def test_the_box_is_that_of_the_pixels() -> None:
    weight, x = row(2.0, -1.0, 1.0), row(0.0, 0.5, 1.0)

    def in_box(low: float, high: float) -> Tensor:
        shares = x * weight - low * weight.clamp(min=0) - high * weight.clamp(max=0)
        return shares / shares.sum() * float((x * weight).sum())

    model = dense(weight.tolist())
    for found in (DeepTaylor()(model, x, 0), LRP(ZBox())(model, x, 0), LRP()(model, x, 0)):
        assert_near(found, in_box(0.0, 1.0), 1e-12)
        assert distance(found, in_box(-1.0, 1.0)) > 0.1
        assert float(found[0, 0]) == 0.0


DIVIDING: list[Rule] = [
    Zero(),
    Epsilon(epsilon=0.0),
    Gamma(),
    AlphaBeta(alpha=1.0),
    ZPlus(),
    ZBox(),
]


@pytest.mark.parametrize("rule", DIVIDING, ids=repr)
def test_a_unit_of_zero_divides_nothing(rule: Rule) -> None:
    """The first hidden unit has no input, the second all of it."""
    model, x = dense([[0.0, 0.0], [1.0, 2.0]], [[1.0, 1.0]]), row(1.0, 1.0)
    z, R = model[0](x).detach(), row(0.0, 3.0)
    assert bool((R / z).isnan().any())
    found = LRP(rule)(model, x, 0)
    assert bool(found.isfinite().all())
    assert float(found.sum()) == pytest.approx(3.0)


def test_epsilon_has_the_sign_of_z() -> None:
    """z = −2: the stabiliser makes it larger, so that relevance shrinks."""
    found = LRP(Epsilon(epsilon=0.5))(dense([[1.0, -3.0]]), row(1.0, 1.0), 0)
    contributions = row(1.0, -3.0)
    assert_near(found, contributions * -2 / (-2 - 0.5), 1e-12)
    assert distance(found, contributions * -2 / (-2 + 0.5)) > 0.1


PAIRS: list[tuple[Rule, Rule]] = [
    (Epsilon(epsilon=0.01), Epsilon(epsilon=1.0)),
    (Gamma(gamma=0.25), Gamma(gamma=1.0)),
    (AlphaBeta(alpha=1.0), AlphaBeta(alpha=2.0)),
    (ZBox(low=0.0), ZBox(low=-1.0)),
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda rule: type(rule).__name__)
def test_every_parameter_of_a_rule_can_be_set(first: Rule, second: Rule) -> None:
    model, x = build(NETS["plain"])
    assert distance(LRP(first)(model, x, 0), LRP(second)(model, x, 0)) > 1e-3


@pytest.mark.parametrize("alpha", [1.0, 1.5, 3.0])
def test_beta_follows_from_alpha(alpha: float) -> None:
    """Contributions 3 and −1, R = 2: α · 3/3 − β · 1/1 of R, which is R for β = α − 1 alone."""
    found = LRP(AlphaBeta(alpha=alpha))(dense([[3.0, -1.0]]), row(1.0, 1.0), 0)
    assert_near(found, 2 * row(alpha, 1 - alpha), 1e-12)
    assert float(found.sum()) == pytest.approx(2.0)
    with pytest.raises(TypeError):
        AlphaBeta(alpha=2.0, beta=0.0)  # type: ignore[call-arg]


def test_alpha_beta_goes_by_the_sign_of_the_contribution() -> None:
    """Contributions 3, 2 and −1 by weights 3, −1 and −1: the second speaks for the output."""
    model, x, alpha = dense([[3.0, -1.0, -1.0]]), row(1.0, -2.0, 1.0), 2.0
    found = LRP(AlphaBeta(alpha=alpha))(model, x, 0)
    assert_near(found, 4 * row(alpha * 3 / 5, alpha * 2 / 5, -(alpha - 1) * 1.0), 1e-12)
    by_weight = 4 * row(alpha * 3 / 3, -(alpha - 1) * 2 / 1, -(alpha - 1) * -1 / 1)
    assert distance(found, by_weight) > 0.1


def test_the_networks_return_logits() -> None:
    pictures, _ = data.digits("test")[:16]
    for name in models.names():
        model = models.load(name)
        if not model.classes or model.input_shape != pictures.shape[1:]:
            continue
        if hasattr(model, "members"):  # they answer together by log p, each alone by logits
            model = model.members[0]
        with torch.no_grad():
            logits = model(pictures)
        assert float(logits.min()) < 0
        assert float(logits.max()) > 1
