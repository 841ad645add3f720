"""Explanations of networks whose numbers are known by hand."""

import io
import itertools

import numpy as np
import pytest
import torch

import nni_widgets as nni
from nni_widgets.engine.methods import (
    LRP,
    Gradient,
    GradientTimesInput,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)
from nni_widgets.engine.targets import Difference
from nni_widgets.pictures import Scale, explain, explanations
from nni_widgets.pictures.explain import picture_range
from tests.pictures.nets import LRP_EPSILON, RAMP, X, convolutional, ramp, with_values


def squares(model, x, target):
    return x * x


def test_sums_of_a_known_decomposition():
    e = explain(ramp(bias=1.0), X, GradientTimesInput())
    assert torch.equal(e.attribution, X * RAMP)
    assert e.score.tolist() == [6.0]
    assert e.total.tolist() == [5.0]
    assert e.expected.tolist() == [6.0]
    assert e.gap.tolist() == [1.0]
    assert e.relative_gap.item() == pytest.approx(1 / 6)
    assert e.passes == 2
    assert e.adds_up() == "ΣR = 5.00 of f(x) = 6.00; gap 1.00 (17 %)"


def test_a_baseline_is_subtracted():
    e = explain(ramp(bias=1.0), X, IntegratedGradients(n_steps=2, baseline=0.5))
    assert e.reference_score.tolist() == [-0.5]
    assert e.expected.item() == pytest.approx(e.total.item(), abs=1e-5)
    assert e.adds_up() == "ΣR = 6.50, f(x) − f(x′) = 6.00 + 0.50; gap 0.00"


def test_an_expected_sum_of_zero_has_a_defined_relative_gap():
    e = explain(ramp(), torch.zeros(1, 1, 2, 3), GradientTimesInput())
    assert e.relative_gap.tolist() == [0.0]
    missed = with_values(e, torch.ones(1, 1, 2, 3))
    assert missed.relative_gap.tolist() == [float("inf")]


def test_saliency_has_no_sum_to_reach_and_an_unsigned_scale():
    e = explain(ramp(), X, Saliency())
    assert e.expected is None
    assert e.gap is None
    assert e.relative_gap is None
    assert e.scale() == e.scale_for(-RAMP) == Scale(3.0, signed=False)
    assert e.adds_up() == (
        "Saliency is no decomposition: its sum 9.0 means nothing; compare places, not sums."
    )


def test_saliency_takes_the_strongest_channel():
    e = explain(convolutional(), torch.rand(1, 3, 12, 12), Saliency())
    assert torch.equal(e.heatmap(), e.attribution[0].amax(0))


def test_lrp_says_what_kept_the_relevance():
    e = explain(ramp(bias=1.0), X, LRP_EPSILON)
    sentence = e.adds_up()
    assert sentence.startswith("ΣR = 4.99 of f(x) = 6.00; gap 1.01 (17 %): bias 1.00")
    assert "target" not in sentence
    assert sum(e.sums().lost.values()) == pytest.approx(e.gap.item())


def test_a_curved_target_is_named_as_a_cause():
    e = explain(ramp(), X, LRP_EPSILON, lambda logits: logits[:, 0] ** 2)
    assert e.target_names == ("a function",)
    assert e.adds_up().endswith("gap −24.9 (100 %): target function −25.0")


def test_lrp_is_the_default_method():
    assert explain(convolutional(), torch.rand(1, 3, 12, 12)).method == LRP()


def test_the_flow_tells_every_layer_and_its_losses():
    model, x = convolutional(), torch.rand(2, 3, 12, 12)
    e = explain(model, x, LRP_EPSILON)
    rows = e.flow(1)
    assert [row.kind for row in rows] == ["linear", "flatten", "max_pool2d", "relu", "conv2d"]
    assert rows[0].rule == "Epsilon, epsilon 0.01"
    assert rows[0].arrived == pytest.approx(e.score[1].item())
    assert rows[-1].in_flight == pytest.approx(e.total[1].item(), rel=1e-4)
    for above, below in itertools.pairwise(rows):
        assert below.arrived == pytest.approx(above.arrived - sum(above.lost.values()), rel=1e-4)
    assert explain(model, x, Saliency()).flow(0) == ()


def test_a_layer_has_a_map():
    e = explain(convolutional(), torch.rand(2, 3, 12, 12), LRP_EPSILON)
    conv, *_, dense_layer = (row.label for row in reversed(e.flow()))
    relevance = e.result.layers[-1].relevance
    assert torch.equal(e.layer_map(conv, 1), relevance[1].sum(0))
    assert e.layer_map(dense_layer, 1).shape == (1, 4)
    with pytest.raises(ValueError, match=r"layer_map: label must be one of .*; got 'no'\."):
        e.layer_map("no")
    with pytest.raises(ValueError, match=r"Use nni\.LRP\(\)\."):
        explain(convolutional(), torch.rand(1, 3, 12, 12), Saliency()).layer_map(conv)


def test_names_and_range_come_from_the_model():
    model = ramp()
    plain = explain(model, X, Saliency())
    assert (plain.classes, plain.low, plain.high) == (("0", "1"), 0.0, 4.0)
    model.classes, model.low, model.high = ["ramp", "nothing"], (-1.0,), (5.0,)
    named = explain(model, X, Saliency(), 1)
    assert named.classes == ("ramp", "nothing")
    assert (named.low, named.high) == ((-1.0,), (5.0,))
    assert (named.predicted, named.target_names) == (("ramp",), ("nothing",))
    assert explain(model, X, Saliency(), Difference(0, 1)).target_names == ("ramp − nothing",)


OPEN = (-torch.inf, torch.inf)


def test_a_range_that_is_none_is_that_of_the_data():
    model = ramp()
    assert picture_range(model, X) == (0.0, 4.0)
    for low, high in ((None, 1.0), (model[1], 1.0), ((), ()), ("black", "white"), OPEN):
        model.__dict__.update(low=low, high=high)
        assert picture_range(model, X) == (0.0, 4.0)
    model.__dict__.update(low=(-2.1, -2.0, -1.8), high=(2.2, 2.4, 2.6))
    assert picture_range(model, X) == ((-2.1, -2.0, -1.8), (2.2, 2.4, 2.6))


@pytest.mark.parametrize("wrong", [["a"], "ab", 2])
def test_names_that_do_not_fit_are_left_out(wrong):
    model = ramp()
    model.classes = wrong
    assert explain(model, X, Saliency()).classes == ("0", "1")


def test_a_function_is_a_method():
    e = explain(ramp(), X, squares)
    assert torch.equal(e.heatmap(), X[0, 0] ** 2)
    assert e.adds_up() == "squares does not say what it should sum to: ΣR = 17.0, f(x) = 5.00."
    assert e.digest().startswith("squares, target 0: predicted 0 (1.00)\n")


def test_a_batch_has_its_own_numbers_each():
    model, x = convolutional(), torch.rand(3, 3, 12, 12)
    e = explain(model, x, LRP_EPSILON, [0, 1, 2])
    assert e.target_names == ("0", "1", "2")
    assert e.probabilities.sum(1).tolist() == pytest.approx([1, 1, 1])
    for i in range(3):
        alone = explain(model, x[i : i + 1], LRP_EPSILON, i)
        assert torch.allclose(e.heatmap(i), alone.heatmap(), atol=1e-6)
        assert e.digest(i) == alone.digest()
    with pytest.raises(ValueError, match="i must be a sample from 0 to 2; got 3"):
        e.heatmap(3)


def test_results_get_better_and_the_last_is_the_call():
    model, x = convolutional(), torch.rand(1, 3, 12, 12)
    method = SmoothGrad(n_samples=40)
    seen = list(explanations(model, x, method))
    assert len(seen) > 1
    assert [e.result.done for e in seen] == sorted(e.result.done for e in seen)
    assert seen[-1].result.done == seen[-1].result.of == 40
    assert torch.equal(seen[-1].attribution, method(model, x))
    assert not torch.equal(seen[0].attribution, seen[-1].attribution)


def test_an_explanation_keeps_its_own_input():
    x = X.clone()
    e = explain(ramp(), x, Saliency())
    x.zero_()
    assert torch.equal(e.x, X)


def test_explanations_share_a_scale_and_keep_their_values():
    weak, strong = explain(ramp(), X / 10, GradientTimesInput()), explain(ramp(), X, Gradient())
    assert (weak.scale().limit, strong.scale().limit) == (pytest.approx(0.8), 3.0)
    both = weak.share_scale(strong)
    assert [e.scale() for e in both] == [Scale(3.0), Scale(3.0)]
    assert [e.scale_for(torch.ones(1)) for e in both] == [Scale(3.0), Scale(3.0)]
    assert weak.scale_for(torch.ones(1)) == Scale(1.0)
    assert torch.equal(both[0].attribution, weak.attribution)
    assert explain(ramp(), X, Saliency()).share_scale(weak)[0].scale().signed


def test_the_samples_of_a_batch_share_a_scale_when_asked():
    e = explain(ramp(), torch.cat([X / 2, X]), GradientTimesInput())
    assert [e.scale(i) for i in (0, 1)] == [Scale(4.0), Scale(8.0)]
    (shared,) = e.share_scale()
    assert [shared.scale(i) for i in (0, 1)] == [Scale(8.0), Scale(8.0)]


def test_a_shared_scale_is_that_of_what_is_shown():
    label = "fc2"
    e = explain(nni.models.load("digits-cnn"), nni.data.digits()[7:9][0], layer=label)
    (shared,) = e.share_scale()
    assert shared.scale(0) == shared.scale(1)
    assert shared.scale().limit == max(float(e.shown(i).abs().max()) for i in (0, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_raw_values_of_every_precision_are_kept(dtype):
    e = explain(ramp().to(dtype), X.to(dtype), GradientTimesInput())
    kept = np.load(io.BytesIO(e.npz()))
    for name, values in (("attribution", e.attribution), ("x", e.x), ("logits", e.result.logits)):
        assert np.array_equal(kept[name], values.double().numpy())


@pytest.mark.parametrize("i", [1, -1, 0.5, "0", None])
def test_a_sample_that_is_not_there_is_refused(i):
    with pytest.raises(ValueError, match=r"^Explanation: i must be a sample from 0 to 0; got "):
        explain(ramp(), X, Saliency()).heatmap(i)


def test_double_precision_is_kept():
    e = explain(ramp().double(), X.double(), GradientTimesInput())
    assert e.attribution.dtype == torch.float64
    assert e.digest() == explain(ramp(), X, GradientTimesInput()).digest()


@pytest.mark.parametrize("given", ["LRP", 3, LRP])
def test_what_is_no_method_is_refused(given):
    with pytest.raises(ValueError, match="explain: method must be"):
        explain(ramp(), X, given)


def test_shown_at_a_layer_it_is_the_relevance_there():
    model, x = convolutional(), torch.rand(2, 3, 12, 12)
    made = explain(model, x, LRP_EPSILON)
    label = next(row.label for row in made.flow() if row.kind == "conv2d")
    there = explain(model, x, LRP_EPSILON, layer=label)
    assert torch.equal(there.shown(1), made.layer_map(label, 1))
    assert torch.equal(made.at(label).at("").shown(1), made.heatmap(1))
    assert f"at {label}," in there.digest()
    assert there.digest() != made.digest()
    assert there.png() != made.png()
    with pytest.raises(ValueError, match="label must be one of"):
        made.at("nowhere")
