"""The Uncertainty explorer: a moved picture, the cloud of its samples, four maps, a temperature."""

import copy
import io
import re
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures import palette_png, picture_png, scale_of
from nni_widgets.pictures.heatmap import Scale, heatmap
from nni_widgets.pictures.numbers import percent
from nni_widgets.widgets.explorers.uncertainty.curve import AngleCurve
from nni_widgets.widgets.explorers.uncertainty.explorer import UncertaintyExplorer
from nni_widgets.widgets.explorers.uncertainty.motion import Motion
from nni_widgets.widgets.explorers.uncertainty.told import turning
from nni_widgets.widgets.explorers.uncertainty.work import ANGLES
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]
FEW = nni.MCDropout(n_samples=6)
MAPS = ("nn-mean-map", "nn-deviation-map", "nn-agreement-map", "nn-doubt-map")


def net(*last):
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3), *last
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model():
    return net()


@pytest.fixture(scope="module")
def held_out():
    generator = torch.Generator().manual_seed(2)
    return torch.rand(60, 1, 8, 8, generator=generator), torch.arange(60) % 3


@pytest.fixture
def explorer(opened, model, pictures):
    return opened(nni.explore_uncertainty(model, pictures, FEW))


def words(explorer, name):
    return the(explorer, f"nn-{name}-words").value


def moved(explorer):
    return explorer._outcome.value.x


# the picture and how it is moved


def test_the_picture_as_it_is(explorer, pictures):
    assert torch.equal(moved(explorer), pictures[:1])
    shown = picture_png(pictures[0], float(pictures[0].min()), float(pictures[0].max()))
    assert the(explorer, "nn-moved").value == shown


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (-90, -1)])
def test_a_quarter_turn_moves_every_pixel_to_its_place(pictures, angle, turns):
    turned = Motion(angle=angle)(pictures, None, 0.0)
    torch.testing.assert_close(turned, pictures.rot90(turns, (2, 3)), atol=1e-5, rtol=0)


def test_a_picture_that_is_no_square_keeps_its_proportions():
    line = torch.zeros(1, 1, 5, 11)
    line[0, 0, 2, 3:8] = 1.0
    turned = Motion(angle=90)(line, None, 0.0)
    expected = torch.zeros_like(line)
    expected[0, 0, :, 5] = 1.0
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)


def test_a_shift_brings_in_black(pictures):
    shifted = Motion(right=2, down=-1)(pictures, None, -3.0)
    expected = torch.full_like(pictures, -3.0)
    expected[:, :, :-1, 2:] = pictures[:, :, 1:, :-2]
    torch.testing.assert_close(shifted, expected, atol=1e-5, rtol=0)


def test_black_may_differ_between_channels():
    x = torch.rand(1, 3, 4, 4)
    shifted = Motion(right=4)(x, None, (0.1, 0.2, 0.3))
    expected = torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1).expand_as(x)
    torch.testing.assert_close(shifted, expected)


def test_sliders_move_the_picture(explorer, pictures):
    sets(the(explorer, "nn-angle"), value=30)
    sets(the(explorer, "nn-right-field"), value=2)
    sets(the(explorer, "nn-down-field"), value=1)
    explorer.drain()
    expected = Motion(angle=30, right=2, down=1)(pictures[:1], None, float(pictures[0].min()))
    torch.testing.assert_close(moved(explorer), expected)
    assert "turned 30°, shifted (2, 1)" in the(explorer, "nn-uncertainty").digest()
    assert (explorer.angle, explorer.right, explorer.down) == (30, 2, 1)


def test_morph_goes_straight_to_the_other_picture(explorer, pictures):
    explorer.towards, explorer.morph = 2, 0.25
    torch.testing.assert_close(moved(explorer.drain()), 0.75 * pictures[:1] + 0.25 * pictures[2:3])
    explorer.morph = 1.0
    torch.testing.assert_close(moved(explorer.drain()), pictures[2:3])


def test_a_drawing_morphs_towards_a_test_digit(opened):
    explorer = opened(nni.explore_uncertainty(source=FEW, strokes=SEVEN))
    explorer.towards, explorer.morph = 3, 1.0
    assert torch.equal(moved(explorer.drain()), nni.data.digits("test").of(3))


# what the samples say


def test_the_cloud_has_every_sample(explorer, model, pictures):
    prediction = FEW(model, pictures[:1])
    _, others, predicted, means = the(explorer, "nn-cloud").marks
    k = int(prediction.predicted)
    np.testing.assert_allclose(predicted.y, prediction.samples[:, 0, k])
    rest = [j for j in range(3) if j != k]
    np.testing.assert_allclose(others.y, prediction.samples[:, 0, rest].T.flatten())
    np.testing.assert_allclose(means.y, prediction.probabilities[0])
    assert set(predicted.x.round()) == {k}


def test_a_large_cloud_shows_fifty_samples_and_ten_classes(opened):
    torch.manual_seed(0)
    layers = nn.Dropout(0.5), nn.Linear(8, 30)
    model = nn.Sequential(*layers).eval()
    explorer = opened(nni.explore_uncertainty(model, torch.rand(2, 8), nni.MCDropout()))
    _, others, predicted, means = the(explorer, "nn-cloud").marks
    assert (len(predicted.y), len(others.y), len(means.y)) == (50, 450, 10)
    prediction = explorer.prediction
    top = prediction.probabilities[0].sort(descending=True).indices[:10].sort().values
    np.testing.assert_allclose(means.y, prediction.probabilities[0, top])
    axis, _ = the(explorer, "nn-cloud").axes
    assert list(axis.tick_labels.values()) == [str(int(k)) for k in top]


def test_names_that_would_overlap_are_slanted(opened):
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 10)).eval()
    rotations = []
    for names in ("0123456789", [f"sloth bear {k}" for k in range(10)]):
        model.classes = tuple(names)
        chart = the(opened(nni.explore_uncertainty(model, torch.rand(1, 8), FEW)), "nn-cloud")
        rotations.append((chart.axes[0].tick_rotate, chart.fig_margin["bottom"]))
    assert rotations == [(0, 26), (-60, 86)]


def test_the_words_tell_entropy_and_its_parts(explorer, model, pictures):
    prediction = FEW(model, pictures[:1])
    total, expected, mutual = (
        f"{float(each):.2f}"
        for each in (
            prediction.entropy,
            prediction.expected_entropy,
            prediction.mutual_information,
        )
    )
    said = f"entropy {total} of 1.10 nats = {expected} expected + {mutual} mutual information"
    assert said in words(explorer, "cloud")
    assert said in explorer.digest()
    k = int(prediction.predicted)
    assert f"{int(prediction.votes[0, k])} for {k}" in words(explorer, "cloud")


def test_every_source_can_be_chosen(explorer, model, pictures):
    chooses(the(explorer, "nn-cause"), "Noise in the picture")
    sets(the(explorer, "nn-noise_level-field"), value=0.4)
    expected = nni.InputNoise(noise_level=0.4)
    assert explorer.drain().source == expected
    torch.testing.assert_close(explorer.prediction.logits, expected(model, pictures[:1]).logits)
    chooses(the(explorer, "nn-cause"), "Ensemble")
    assert "Ensemble: model must be a module with members" in explorer.digest()
    assert "nn-stale" in the(explorer, "nn-mean-map")._dom_classes
    chooses(the(explorer, "nn-cause"), "MC dropout (default)")
    assert explorer.digest().startswith("nni.MCDropout(n_samples=6), ")


def test_the_source_suits_the_model(opened, pictures):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    several = nn.Module()
    several.members = nn.ModuleList([net(), net()])
    several.forward = lambda x: several.members[0](x)
    several.eval()
    expected = [(net(), nni.MCDropout()), (plain, nni.InputNoise()), (several, nni.Ensemble())]
    for model, source in expected:
        assert opened(nni.explore_uncertainty(model, pictures)).source == source


class Functional(nn.Module):
    def __init__(self, p):
        super().__init__()
        torch.manual_seed(0)
        self.p, self.last = p, nn.Linear(64, 3)

    def forward(self, x):
        return self.last(nn.functional.dropout(x.flatten(1), self.p, self.training))


@pytest.mark.parametrize(("p", "source"), [(0.5, nni.MCDropout()), (0.0, nni.InputNoise())])
def test_dropout_that_is_a_function_is_dropout(opened, pictures, p, source):
    assert opened(nni.explore_uncertainty(Functional(p).eval(), pictures)).source == source
    in_training = Functional(p)
    explorer = opened(nni.explore_uncertainty(in_training, pictures))
    assert "the model must be in evaluation mode" in explorer.digest()


def test_a_layer_called_evidence_makes_no_model_evidential(opened, pictures):
    model = net()
    model.evidence = nn.Linear(3, 3).eval()
    assert opened(nni.explore_uncertainty(model, pictures, FEW))._outcome.value.dirichlet is None


def test_an_ensemble_has_a_point_for_each_member(opened, pictures):
    torch.manual_seed(0)
    members = [nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval() for _ in range(4)]

    class Together(nn.Module):
        def __init__(self):
            super().__init__()
            self.members = nn.ModuleList(members)

        def forward(self, x):
            mean = torch.stack([member(x).softmax(1) for member in self.members]).mean(0)
            return mean.log()

    explorer = opened(nni.explore_uncertainty(Together().eval(), pictures))
    alone = torch.stack([member(pictures[:1]).softmax(1)[0] for member in members])
    torch.testing.assert_close(explorer.prediction.samples[:, 0], alone.detach().double())
    assert "votes of 4: " in words(explorer, "cloud")


def test_an_evidential_model_tells_its_evidence(opened, pictures):
    model = net()
    model.evidence = "softplus"
    quiet = nni.InputNoise(noise_level=0.0, n_samples=2)
    explorer = opened(nni.explore_uncertainty(model, pictures, quiet))
    belief = nni.dirichlet(model, pictures[:1])
    torch.testing.assert_close(
        explorer.prediction.probabilities, belief.probabilities.detach().double()
    )
    assert f"u = K/S = {float(belief.uncertainty):.2f}" in words(explorer, "cloud")
    assert "largest u " in words(explorer, "curve")
    bars = the(explorer, "nn-cloud").marks[0]
    middles, heights = bars.y.mean(1), bars.y[:, 1] - bars.y[:, 0]
    np.testing.assert_allclose(middles, belief.probabilities[0], atol=1e-6)
    np.testing.assert_allclose(heights, 2 * belief.deviation[0], atol=1e-6)


def test_the_doubt_of_an_evidential_model_at_every_angle(opened, pictures):
    model = net()
    model.evidence = "relu"
    explorer = opened(nni.explore_uncertainty(model, pictures, nni.InputNoise(n_samples=2)))
    black = float(pictures[0].min())
    turned = torch.cat([Motion(angle=angle)(pictures[:1], None, black) for angle in ANGLES])
    _, _, doubt = the(explorer, "nn-angle-curve").marks
    np.testing.assert_allclose(doubt.y, nni.dirichlet(model, turned).uncertainty, atol=1e-6)
    made = nni.explain(model, pictures[:1], nni.GradientTimesInput(), entropy_of_belief)
    quiet = nni.InputNoise(noise_level=0.0, n_samples=1)
    explorer.source = quiet
    shown = explorer.drain()._outcome.value.entropy
    torch.testing.assert_close(shown.attribution, made.attribution)


def test_of_angles_with_like_doubt_the_first_is_told():
    probabilities, doubt = torch.full((len(ANGLES), 2), 0.5), torch.zeros(len(ANGLES))
    doubt[3], doubt[7], doubt[9] = 0.9999, 1.0, 0.99
    assert f"largest u 1.0 at {ANGLES[3]}°" in turning(probabilities, doubt, "u", "ab")


def test_the_legend_of_two_classes_has_the_colours_of_the_lines():
    curve = AngleCurve()
    doubt = torch.zeros(len(ANGLES))
    curve.show(torch.stack([doubt + 0.6, doubt + 0.4], 1), doubt, "doubt", "ab")
    legend, chart = curve.widget.children
    _, lines, dashed = chart.marks
    colours = re.findall(r'background:(\S+?)"', legend.value)
    assert colours == [*lines.colors[:2], *dashed.colors]
    close_all(curve.widget)


def entropy_of_belief(logits):
    alpha = logits.relu() + 1
    p = alpha / alpha.sum(1, keepdim=True)
    return -(p * p.log()).sum(1)


# the maps


def test_the_maps_are_those_of_the_engine(explorer, model, pictures):
    made = nni.uncertain(model, pictures[:1], nni.LRP(), FEW)
    mean = heatmap(made.mean)[0]
    deviation, agreement = (heatmap(each, "max")[0] for each in (made.deviation, made.agreement))
    expected = [
        palette_png(mean, scale_of(mean)),
        palette_png(deviation, scale_of(deviation, signed=False)),
        palette_png(agreement, Scale(1.0, signed=False)),
    ]
    assert [the(explorer, name).value for name in MAPS[:3]] == expected


def test_in_colour_the_spread_is_that_of_the_heatmaps(opened):
    torch.manual_seed(1)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)
    model, x = nn.Sequential(*layers).eval(), torch.rand(1, 3, 8, 8)
    noise = nni.InputNoise(noise_level=0.3, n_samples=20)
    explorer = opened(nni.explore_uncertainty(model, x, noise, nni.GradientTimesInput()))
    versions = noise.versions(model, x)
    k, zero = int(explorer.prediction.predicted), torch.zeros(1, dtype=torch.long)
    rows = torch.cat([versions.asked(x, torch.tensor([t]), zero)[1] for t in range(20)])
    made = nni.GradientTimesInput()(model, rows, k).sum(1)
    mean, spread = made.mean(0), made.std(0)
    strong = mean.abs() > mean.abs().max() / 4
    agreeing = (made.sign() == mean.sign()).double().mean(0)[strong] >= 0.75
    ratio = percent(float((spread / mean.abs())[strong].mean()))
    assert f"Where the mean is strong, the spread is {ratio} of it." in explorer.digest()
    share = percent(float(agreeing.double().mean()))
    assert f"0.75 or more in {share} of the pixels." in explorer.digest()
    shown = explorer._outcome.value.maps.heatmaps.deviation[0]
    torch.testing.assert_close(shown, spread)
    drawn = palette_png(shown, scale_of(shown, signed=False))
    assert the(explorer, "nn-deviation-map").value == drawn


def test_the_doubt_is_the_entropy_of_the_mean_prediction(explorer, model, pictures):
    made = nni.explain(
        nni.Averaged(model, FEW), pictures[:1], nni.GradientTimesInput(), nni.Entropy()
    )
    assert float(made.score) == pytest.approx(float(explorer.prediction.entropy), abs=1e-5)
    assert the(explorer, "nn-doubt-map").value == palette_png(made.heatmap(), made.scale())
    explorer.doubt = nni.IntegratedGradients(n_steps=4)
    assert "causes of the doubt. Integrated gradients of the entropy" in explorer.digest()


@pytest.mark.parametrize("target", [None, 2, "each"])
def test_the_target(explorer, model, pictures, target):
    explorer.target = target
    expected = nni.uncertain(model, pictures[:1], nni.LRP(), FEW, target)
    torch.testing.assert_close(explorer.drain().attribution.mean, expected.mean)


def test_a_target_is_chosen_in_the_page(explorer):
    chooses(the(explorer, "nn-target"), "2")
    assert explorer.drain().target == 2
    assert "mean LRP for 2" in found(explorer, "nn-title")[1].value
    chooses(the(explorer, "nn-target"), "what each sample predicts")
    assert "for what each sample predicts" in found(explorer.drain(), "nn-title")[1].value


def test_the_page_names_the_target_also_if_it_is_that_of_the_mean_prediction(explorer):
    words = "class of the mean prediction"
    dropdown = the(explorer, "nn-target")
    assert dropdown.label == words
    explorer.target = 2
    explorer.drain()
    assert dropdown.label == "2"
    chooses(dropdown, words)
    assert explorer.drain().target is None
    assert dropdown.label == words


def test_a_function_is_a_method(opened, model, pictures):
    def ones(model, x, target):
        return torch.ones_like(x)

    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, ones))
    assert torch.equal(explorer.attribution.mean, torch.ones(1, 1, 8, 8))
    assert ", FEW_SOURCE, ones)" in explorer.code().replace(
        "nni.MCDropout(n_samples=6)", "FEW_SOURCE"
    )


def test_pointing_reads_a_map(explorer):
    sends(explorer._page, type="hover", pane=0, x=0.5, y=0.5)
    value = float(explorer.attribution.mean[0, 0, 4, 4])
    assert f"pixel (4, 4): {value:+.4g}" in found(explorer, "nn-hover")[0].value


# the curve over all angles


def test_the_curve_is_the_prediction_at_every_angle(explorer, model, pictures):
    marker, lines, doubt = the(explorer, "nn-angle-curve").marks
    black = float(pictures[0].min())
    turned = torch.cat([Motion(angle=angle)(pictures[:1], None, black) for angle in ANGLES])
    prediction = FEW(model, turned)
    order = prediction.probabilities.mean(0).sort(descending=True).indices
    np.testing.assert_allclose(lines.y, prediction.probabilities[:, order].T, atol=1e-6)
    np.testing.assert_allclose(doubt.y, prediction.entropy / np.log(3), atol=1e-6)
    assert list(marker.x) == [0, 0]
    explorer.angle = 40
    explorer.drain()
    assert list(marker.x) == [40, 40]


def test_turning_does_not_compute_the_curve_again(explorer, monkeypatch):
    asked = []
    steps = nni.MCDropout.steps
    monkeypatch.setattr(
        nni.MCDropout, "steps", lambda self, m, x: asked.append(len(x)) or steps(self, m, x)
    )
    explorer.angle = 20
    explorer.drain()
    assert set(asked) == {1}
    explorer.right = 1
    explorer.drain()
    assert sum(asked) == len(ANGLES) + 2


# temperature and calibration


def test_the_temperature_softens_the_samples(explorer, model, pictures):
    sets(the(explorer, "nn-temperature-field"), value=4.0)
    softened = nni.MCDropout(n_samples=6)(nni.Tempered(model, 4.0).eval(), pictures[:1])
    torch.testing.assert_close(explorer.prediction.samples, softened.samples, atol=1e-6, rtol=1e-5)
    means = the(explorer, "nn-cloud").marks[-1]
    np.testing.assert_allclose(means.y, softened.probabilities[0], atol=1e-6)


def test_maps_of_another_temperature_are_said_to_be_so(explorer):
    words_of_maps = "At temperature 4.00; the maps are those at 1."
    assert words_of_maps not in explorer.digest()
    explorer.temperature = 4.0
    assert words_of_maps in explorer.digest()
    assert words_of_maps in words(explorer, "cloud")


def test_the_temperature_computes_nothing_again(explorer):
    before = explorer._worker._generation
    explorer.temperature = 2.0
    assert explorer._worker._generation == before


def test_the_reliability_diagram_is_of_pictures_no_fit_has_seen(opened, model, pictures, held_out):
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=held_out))
    x, y = held_out
    for temperature in (1.0, 0.2):
        explorer.temperature = temperature
        p = (model(x[1::2]).double() / temperature).softmax(1)
        bins = nni.reliability(p, y[1::2], 10)
        bars, _, dots = the(explorer, "nn-reliability").marks
        np.testing.assert_allclose(bars.y, bins.accuracy.nan_to_num())
        filled = bins.counts > 0
        np.testing.assert_allclose(dots.x, bins.confidence[filled].detach())
        (counts,) = the(explorer, "nn-confidence").marks
        np.testing.assert_allclose(counts.y, bins.counts)
        assert f"ECE {percent(bins.ece)}, " in words(explorer, "calibration")
        assert "of 30 pictures" in explorer.digest()


def test_the_temperature_is_fitted_on_every_other_picture(opened, model, pictures):
    x = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        chances = (model(x) * 2).softmax(1)
    y = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(4))[:, 0]
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=(x, y)))
    clicks(explorer, "nn-fit-temperature")
    with torch.no_grad():
        fitted = nni.fit_temperature(model(x[::2]).double(), y[::2])
    assert explorer.temperature == pytest.approx(fitted, rel=1e-3)


def test_the_digits_held_out_are_as_the_model_takes_them(opened):
    model = copy.deepcopy(nni.models.load("digits-dropout")).double()
    x = nni.data.digits("test")[:1][0].double()
    explorer = opened(nni.explore_uncertainty(model, x, FEW, nni.GradientTimesInput()))
    assert "of 1,000 pictures" in explorer.digest()


def test_without_held_out_pictures_nothing_is_fitted(explorer):
    assert "Give held_out=" in words(explorer, "calibration")
    assert the(explorer, "nn-fit-temperature").disabled
    with pytest.raises(ValueError, match="held_out must be given to fit a temperature"):
        explorer.fit()


@pytest.mark.parametrize("label", [3, -1])
@pytest.mark.parametrize("at", [0, 1])
def test_labels_held_out_that_are_no_classes_are_refused_in_place(
    opened, model, pictures, label, at
):
    labels = torch.arange(4) % 3
    labels[at] = label
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=(pictures, labels)))
    said = f"explore_uncertainty: the labels held out must be from 0 to 2; got {label}"
    assert said in explorer.digest()


def test_pictures_held_out_that_are_no_numbers_are_refused_in_place(opened, model, pictures):
    held_out = torch.full_like(pictures, torch.nan), [0, 1, 2, 0]
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=held_out))
    assert "held_out: x must be finite numbers; got 256 pixels" in explorer.digest()


def test_what_cannot_be_fitted_is_said(opened, model, pictures):
    x = torch.rand(20, 1, 8, 8)
    held_out = x, torch.zeros(20, dtype=torch.long)
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=held_out))
    clicks(explorer, "nn-fit-temperature")
    assert "fit_temperature: the calibration set must be" in explorer._status.words


# what every explorer does


def test_the_copied_cell_makes_the_same_numbers_and_pictures(
    opened, explorer, model, pictures, held_out
):
    sets(the(explorer, "nn-picture"), value=1)
    explorer.angle, explorer.down, explorer.target, explorer.temperature = 50, -2, 1, 1.5
    explorer.towards, explorer.morph = 3, 0.5
    explorer.doubt = nni.Gradient()
    explorer.drain()
    cell = copied(explorer)
    call = "nni.explore_uncertainty(model, x[1:2], nni.MCDropout(n_samples=6), nni.LRP(), target=1,"
    assert f"{call} towards=x[3:4])" in cell
    again = opened(result_of(cell, model=model, x=pictures))
    assert again.digest() == explorer.digest()
    for name in ("nn-moved", *MAPS):
        assert the(again, name).value == the(explorer, name).value


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_uncertainty(source=FEW, strokes=SEVEN))
    explorer.towards, explorer.morph = 4, 0.3
    again = opened(result_of(copied(explorer)))
    assert again.digest() == explorer.digest()
    assert "of 1,000 pictures" in explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    assert [the(explorer, name).value for name in ("nn-moved", *MAPS)] == [BLANK] * 5


def test_pictures_of_the_user_s_own_are_named_in_the_copied_cell(opened, model, pictures, held_out):
    others = pictures + 1
    explorer = opened(
        nni.explore_uncertainty(model, pictures, FEW, towards=others, held_out=held_out)
    )
    explorer.towards, explorer.morph = 2, 0.5
    cell = copied(explorer.drain())
    assert cell.startswith("# define towards, held_out: they have no code of their own\n")
    space = {"model": model, "x": pictures, "towards": others, "held_out": held_out}
    assert opened(result_of(cell, **space)).digest() == explorer.digest()


def test_a_model_that_is_trained_on_is_asked_again(opened, pictures, held_out):
    model = net()
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=held_out))
    with torch.no_grad():
        model[-1].bias[1] += 1
        model[1].weight *= 2
    explorer.angle = 10
    again = opened(nni.explore_uncertainty(model, pictures, FEW, held_out=held_out))
    again.angle = 10
    assert explorer.digest() == again.digest()


@pytest.mark.parametrize("whole", [np.int64(2), torch.tensor(2)])
def test_a_target_may_be_any_whole_number(opened, explorer, model, pictures, whole):
    explorer.target = whole
    cell = copied(explorer.drain())
    assert "target=2)" in cell
    assert opened(result_of(cell, model=model, x=pictures)).digest() == explorer.digest()


def test_reset(explorer):
    begun = explorer.digest()
    explorer.angle, explorer.morph, explorer.target, explorer.temperature = 90, 0.5, 2, 3.0
    explorer.source, explorer.method = nni.InputNoise(n_samples=2), nni.Saliency()
    assert explorer.digest() != begun
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["uncertainty.png", "uncertainty.npz"]
    numbers = np.load(io.BytesIO(saved["uncertainty.npz"]))
    np.testing.assert_array_equal(numbers["mean"], explorer.attribution.mean)
    np.testing.assert_array_equal(numbers["logits"], explorer.prediction.logits)
    assert saved["uncertainty.png"] == explorer._repr_mimebundle_()["image/png"]


def test_the_answer_comes_before_the_maps(opened, model, pictures, monkeypatch):
    steps = []

    def tell(explorer, outcome):
        steps.append(outcome.value.maps)

    monkeypatch.setattr(UncertaintyExplorer, "_tell", tell)
    opened(nni.explore_uncertainty(model, pictures, FEW))
    assert steps[0] is None
    assert steps[-1] is not None


def test_cancel_leaves_what_was_ready_and_the_explorer_works(opened, model, pictures):
    go, at_work = threading.Event(), threading.Event()
    go.set()

    def slow(model, x, target):
        at_work.set()
        assert go.wait(timeout=10)
        return x.clone()

    explorer = opened(nni.explore_uncertainty(model, pictures, FEW, slow))
    before = the(explorer, "nn-mean-map").value
    go.clear()
    at_work.clear()
    explorer.angle = 45
    assert at_work.wait(timeout=10)
    sends(explorer._page, type="escape")
    assert explorer._status.words == "Cancelled. What is shown is what was ready."
    assert "nn-stale" in the(explorer, "nn-mean-map")._dom_classes
    assert the(explorer, "nn-mean-map").value == before
    go.set()
    explorer.angle = 50
    assert "turned 50°" in explorer.digest()
    assert "nn-stale" not in the(explorer, "nn-mean-map")._dom_classes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"source": 3}, "UncertaintyExplorer: source must be a source of uncertainty; got 3"),
        ({"target": "all"}, 'UncertaintyExplorer: target must be a class, None or "each"'),
        ({"towards": torch.rand(2, 1, 7, 7)}, "explore_uncertainty: towards must be a batch"),
        ({"held_out": torch.rand(2, 1, 8, 8)}, "explore_uncertainty: held_out must be two tensors"),
        ({"held_out": (torch.rand(2, 1, 8, 8), [1])}, "labels must be one class per picture"),
        ({"held_out": (torch.rand(1, 1, 8, 8), [1])}, "got 1 pictures with labels"),
        ({"held_out": (torch.rand(2, 1, 8, 8), None)}, "got 2 pictures without labels"),
        ({"towards": torch.ones(2, 1, 8, 8).byte()}, "towards must be a batch .* got torch.uint8"),
        ({"target": True}, 'UncertaintyExplorer: target must be a class, None or "each"'),
    ],
)
def test_what_is_refused(model, pictures, arguments, said):
    with pytest.raises(ValueError, match=said):
        nni.explore_uncertainty(model, pictures, **arguments)


def test_what_goes_wrong_is_said_in_place(explorer):
    before = the(explorer, "nn-mean-map").value
    sets(the(explorer, "nn-angle-field"), value=400)
    assert "angle must be a whole number from -180 to 180; got 400" in explorer._status.words
    explorer.target = 7
    assert "a class from 0 to 2; got 7" in explorer.digest()
    assert the(explorer, "nn-mean-map").value == before
    explorer.target = None
    assert explorer.digest().startswith("nni.MCDropout(n_samples=6)")


def test_a_single_logit_is_refused_in_place(opened, pictures):
    single = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    explorer = opened(nni.explore_uncertainty(single, pictures, nni.InputNoise(n_samples=2)))
    assert "the model's output must be several logits; got one" in explorer.digest()


def test_nothing_to_morph_towards(opened, model, pictures):
    explorer = opened(nni.explore_uncertainty(model, pictures[:1], FEW))
    explorer.morph = 0.5
    assert "morph must be 0 without another picture" in explorer.digest()


@pytest.mark.parametrize("shape", [(5,), (2, 9), (3, 6, 8)], ids=["vector", "signal", "colour"])
def test_any_model(opened, shape):
    torch.manual_seed(0)
    size = int(np.prod(shape))
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(size, 4)).double().eval()
    x = torch.rand(2, *shape, dtype=torch.float64)
    explorer = opened(nni.explore_uncertainty(model, x, FEW))
    made = nni.uncertain(model, x[:1], nni.LRP(), FEW)
    torch.testing.assert_close(explorer.attribution.mean, made.mean)
    assert "image/png" in explorer._repr_mimebundle_()
    if len(shape) < 3:
        explorer.angle = 10
        assert "x must be a batch (N, C, H, W) to be turned" in explorer.digest()


def test_closing_leaves_no_thread_and_no_widget(model, pictures, held_out):
    def live():
        nni.explore_uncertainty(model, pictures, FEW, held_out=held_out).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(3):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)


def test_the_model_is_as_before(opened, model, pictures):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    explorer = opened(nni.explore_uncertainty(model, pictures, FEW))
    explorer.angle = 30
    explorer.drain()
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(value.grad is None for value in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
