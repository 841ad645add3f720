"""Uncertain explanations: the statistics of the explanations made one by one."""

import copy

import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.uncertainty import explanations
from nni_widgets.engine.uncertainty.explanations import keeps_rows, uncertain, uncertain_steps
from nni_widgets.engine.uncertainty.sources import Ensemble, InputNoise, MCDropout
from nni_widgets.engine.uncertainty.thinning import Thinned


def network(seed=2):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout2d(0.3), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3, bias=False),
    ).eval().double()  # fmt: skip


@pytest.fixture
def model():
    return network()


@pytest.fixture
def x():
    return torch.rand(3, 1, 8, 8, dtype=torch.float64)


def gradient_function(model, x, target):
    return nni.Gradient()(model, x, target)


def upside_down(model, x, target):
    """A method that asks about its rows in another order."""
    return nni.Gradient()(model, x.flip(0), target.flip(0)).flip(0)


KEEPING = [
    nni.LRP(),
    nni.LRP(through=("0", 1)),
    nni.Saliency(),
    nni.GradientTimesInput(),
    nni.GuidedBackprop(),
    nni.GradCAM(layer="3"),
    gradient_function,
]
ASKING_MORE = [
    nni.DeepLIFT(),
    nni.DeepLIFT(reference=[0.0, 0.5]),
    nni.IntegratedGradients(n_steps=4),
    nni.SmoothGrad(n_samples=3),
    nni.SmoothGrad(noise_level=0.0, n_samples=4),
    nni.Occlusion(window=4, stride=4),
    nni.ScoreCAM(layer="0"),
    upside_down,
]
name_of = {"ids": lambda method: getattr(method, "__name__", repr(method))}


def by_hand(method, model, x, target, count=5):
    """The attributions of each thinned network, ``(T, N, ...)``."""
    return torch.stack([method(Thinned(model, sample), x, target) for sample in range(count)])


def assert_statistics(found, maps):
    torch.testing.assert_close(found.mean, maps.mean(0))
    torch.testing.assert_close(found.deviation, maps.std(0), rtol=1e-6, atol=1e-10)
    agreeing = (maps.sign() == maps.mean(0).sign()).double().mean(0)
    expected = torch.where(maps.mean(0) == 0, 0.0, agreeing)
    torch.testing.assert_close(found.agreement, expected)


@pytest.mark.parametrize("method", [nni.GradientTimesInput(), nni.Saliency()], ids=repr)
def test_statistics_of_heatmaps_are_not_those_of_the_channels(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 3)).eval().double()
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    found = nni.uncertain(model, x, method, nni.MCDropout(n_samples=5), 1)
    maps = by_hand(method, model, x, 1)
    strongest = maps.abs().argmax(2, keepdim=True)
    drawn = maps.gather(2, strongest)[:, :, 0] if method.channels == "max" else maps.sum(2)
    assert_statistics(found, maps)
    assert_statistics(found.heatmaps, drawn)
    assert not torch.allclose(found.heatmaps.deviation, found.deviation.amax(1))


@pytest.mark.parametrize("method", [*KEEPING, *ASKING_MORE], **name_of)
def test_any_method_under_dropout_equals_one_by_one(method, model, x):
    target = torch.tensor([0, 2, 1])
    found = uncertain(model, x, method, MCDropout(n_samples=5), target)
    maps = by_hand(method, model, x, target)
    assert float(maps.std(0).max()) > 0
    assert_statistics(found, maps)
    assert (found.done, found.of) == (5, 5)


@pytest.mark.parametrize("method", KEEPING, **name_of)
def test_methods_that_ask_about_their_rows_alone(method, model, x):
    assert keeps_rows(explanations.as_method(method), model, x)


@pytest.mark.parametrize("method", ASKING_MORE, **name_of)
def test_methods_that_ask_about_other_rows(method, model, x):
    assert not keeps_rows(explanations.as_method(method), model, x)


def test_a_blank_picture_does_not_hide_another_order(model, x):
    for method in (upside_down, nni.SmoothGrad(noise_level=0.0)):
        assert not keeps_rows(explanations.as_method(method), model, torch.zeros_like(x))


class OnlyForDarkPictures(nni.Gradient):
    """A method that asks about other rows, but not about those it is watched with."""

    def _steps(self, model, x, target, layers):
        if float(x.max()) > 5:
            model(x.flip(0) + 1)
        yield from super()._steps(model, x, target, layers)


def test_other_questions_are_noticed_whenever_they_come(model, x):
    x[1] *= 10
    method = OnlyForDarkPictures()
    assert keeps_rows(method, model, x)
    found = uncertain(model, x, method, MCDropout(n_samples=24), 0)
    assert_statistics(found, by_hand(nni.Gradient(), model, x, 0, 24))


def test_samples_go_in_batches_where_the_method_keeps_its_rows(model, x):
    rows = []
    model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    uncertain(model, x[:1], nni.LRP(), MCDropout(n_samples=64), 0)
    assert sum(count == 32 for count in rows) == 2


@pytest.mark.parametrize("method", [nni.LRP(), nni.DeepLIFT()], ids=repr)
def test_an_ensemble_is_explained_member_by_member(method, x):
    nets = [network(seed) for seed in range(4)]
    found = uncertain(nets, x, method, Ensemble(), 1)
    assert_statistics(found, torch.stack([method(net, x, 1) for net in nets]))


@pytest.mark.parametrize("method", [nni.LRP(), nni.IntegratedGradients(n_steps=3)], ids=repr)
def test_noise_in_the_picture(method, model, x):
    source = InputNoise(noise_level=0.3, n_samples=6)
    found = uncertain(model, x, method, source, 1)
    versions, sample = source.versions(model, x), torch.arange(3)
    copies = [versions.asked(x, torch.full((3,), t), sample)[1] for t in range(6)]
    assert_statistics(found, torch.stack([method(model, each, 1) for each in copies]))


def test_smoothgrad_is_the_gradient_under_noise(model, x):
    source = InputNoise(noise_level=0.15, n_samples=32)
    found = uncertain(model, x, nni.Gradient(), source, 2)
    torch.testing.assert_close(found.mean, nni.SmoothGrad()(model, x, 2))


def test_the_target_is_that_of_the_mean_prediction_decided_once(model, x):
    source = MCDropout(n_samples=7)
    found = uncertain(model, x, nni.LRP(), source)
    predicted = source(model, x).predicted
    assert torch.equal(found.selection.index, predicted)
    assert_statistics(found, by_hand(nni.LRP(), model, x, predicted, 7))
    torch.testing.assert_close(found.prediction.logits, source(model, x).logits)


@pytest.mark.parametrize("target", [nni.Difference(0, 2), lambda f: f[:, 1] ** 2])
def test_differences_and_functions_are_targets(target, model, x):
    found = uncertain(model, x, nni.Gradient(), MCDropout(n_samples=5), target)
    assert_statistics(found, by_hand(nni.Gradient(), model, x, target))


def test_each_sample_may_explain_what_it_predicts(model, x):
    found = uncertain(model, x, nni.LRP(), MCDropout(n_samples=40), "each")
    maps = by_hand(nni.LRP(), model, x, None, 40)
    assert found.selection is None
    assert_statistics(found, maps)


@pytest.mark.parametrize("target", ["each", 1])
def test_maps_by_predicted_class_are_means_not_sums(target, model, x):
    source = MCDropout(n_samples=60)
    found = uncertain(model, x, nni.LRP(), source, target)
    maps = by_hand(nni.LRP(), model, x, None if target == "each" else target, 60)
    predicted = source(model, x).logits.argmax(2)
    assert len(predicted.unique()) > 1
    total = torch.zeros(3, dtype=torch.long)
    for k in range(3):
        share = found.of_predicted(k)
        total += share.count
        for i in range(3):
            chosen = maps[:, i][predicted[:, i] == k]
            assert int(share.count[i]) == len(chosen)
            expected = chosen.mean(0) if len(chosen) else torch.zeros_like(x[0])
            torch.testing.assert_close(share.mean[i], expected)
    assert total.tolist() == [60] * 3


def test_a_batch_is_explained_as_its_pictures_are(model, x):
    source = MCDropout(n_samples=6)
    found = uncertain(model, x, nni.LRP(), source)
    for i in range(3):
        alone = uncertain(model, x[i : i + 1], nni.LRP(), source)
        torch.testing.assert_close(found.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(found.deviation[i : i + 1], alone.deviation)


def test_stopping_keeps_what_is_done(model, x):
    source = MCDropout(n_samples=100)
    steps = uncertain_steps(model, x, nni.LRP(), source, 0)
    first, second = next(steps), next(steps)
    steps.close()
    assert first.done < second.done < 100
    assert second.of == 100
    assert_statistics(second, by_hand(nni.LRP(), model, x, 0, second.done))
    assert_statistics(first, by_hand(nni.LRP(), model, x, 0, first.done))


def test_an_interruption_keeps_what_is_done(model, x):
    calls = []

    def interrupted(model, x, target):
        calls.append(len(x))
        if sum(calls) > 70:
            raise KeyboardInterrupt
        return nni.Gradient()(model, x, target)

    found = uncertain(model, x, interrupted, MCDropout(n_samples=100), 0)
    assert 0 < found.done < 100
    assert_statistics(found, by_hand(nni.Gradient(), model, x, 0, found.done))
    with pytest.raises(KeyboardInterrupt):
        uncertain(model, x, interrupted, MCDropout(n_samples=100), 0)


def test_one_sample_has_no_deviation(model, x):
    found = uncertain(model, x, nni.LRP(), MCDropout(n_samples=1))
    assert not found.deviation.any()
    assert float(found.agreement.max()) == 1


def test_agreement_is_a_share_of_signs(model, x):
    values = iter([1.0, 2.0, 3.0, -1.0, 0.0])

    def constant(model, x, target):
        return torch.full_like(x, next(values))

    nets = [network(seed) for seed in range(4)]
    next(values)
    found = uncertain(nets, x, lambda m, x, t: constant(m, x, t) - 1, Ensemble(n_members=3), 0)
    assert found.agreement.unique().tolist() == [pytest.approx(2 / 3)]  # of 2, -2, -1


def test_short_floats_do_not_lose_count():
    model = nn.Sequential(nn.Dropout(), nn.Linear(4, 2)).eval().bfloat16()

    def always_a_half(model, x, target):
        model(x.repeat(2, 1))
        return torch.full_like(x, 0.5)

    found = uncertain(model, torch.ones(1, 4).bfloat16(), always_a_half, MCDropout(n_samples=300))
    assert (found.agreement == 1).all()
    assert (found.mean == 0.5).all()


def test_only_statistics_are_kept(model, x):
    one, many = (
        uncertain(model, x, nni.Gradient(), MCDropout(n_samples=count), 0) for count in (40, 400)
    )

    def numbers(found):
        maps = [found.mean, found.deviation, found.agreement]
        return sum(m.numel() for m in [*maps, *(share.mean for share in found.shares.values())])

    assert numbers(one) == numbers(many)


def test_the_model_and_the_random_state_are_left_alone(model, x):
    random, inside = torch.get_rng_state(), {n: set(vars(m)) for n, m in model.named_modules()}
    before = copy.deepcopy(model.state_dict())

    def failing(model, x, target):
        nni.Gradient()(model, x, target)
        raise RuntimeError("stop")

    uncertain(model, x, nni.LRP(), MCDropout(n_samples=3))
    with pytest.raises(RuntimeError, match="stop"):
        uncertain(model, x, failing, MCDropout(n_samples=3))
    assert torch.equal(torch.get_rng_state(), random)
    assert inside == {name: set(vars(module)) for name, module in model.named_modules()}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("target", [None, "each", nni.Entropy(), lambda f: f[:, 0] - f[:, 1]])
def test_inference_mode_of_the_caller(model, x, target):
    expected = uncertain(model, x, nni.LRP(), MCDropout(n_samples=3), target)
    with torch.inference_mode():
        found = uncertain(model, x + 0, nni.LRP(), MCDropout(n_samples=3), target)
    torch.testing.assert_close(found.mean, expected.mean)


def test_what_becomes_of_the_callers_picture_does_not_matter(model, x):
    found = uncertain(model, x, nni.LRP(), MCDropout(n_samples=3))
    kept = x.clone()
    x.zero_()
    assert torch.equal(found.x, kept)


def test_refusals(model, x):
    with pytest.raises(ValueError, match=r"^MCDropout: the model must be one with dropout"):
        uncertain(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval().double(), x, nni.LRP())
    with pytest.raises(ValueError, match=r"^uncertain: source must be a source of uncertainty"):
        uncertain(model, x, nni.LRP(), MCDropout)
    with pytest.raises(ValueError, match=r"^uncertain: target must be a target, or the word"):
        uncertain(model, x, nni.LRP(), target="every")
    with pytest.raises(ValueError, match=r"^uncertain: target must be a class from 0 to 2; got 3"):
        uncertain(model, x, nni.LRP(), target=3)
    with pytest.raises(ValueError, match=r"^uncertain: target must be one class or 3 classes"):
        uncertain(model, x, nni.LRP(), target=[0, 1])
    with pytest.raises(ValueError, match=r"method must be a method"):
        uncertain(model, x, nni.LRP)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval().double()
    for target in (0, 4, "each"):
        with pytest.raises(ValueError, match=r"^Ensemble: the number of classes must be that of"):
            uncertain([other, model], x, nni.Gradient(), Ensemble(), target=target)
    found = uncertain(model, x, nni.LRP(), MCDropout(n_samples=2))
    for k in (3, -1, 1.5, "1", None, True, found.prediction.predicted[0]):
        with pytest.raises(ValueError, match=r"^of_predicted: k must be a class from 0 to 2; got"):
            found.of_predicted(k)
    assert repr(found).endswith("by LRP() under MCDropout(n_samples=2), 2 of 2 samples")
