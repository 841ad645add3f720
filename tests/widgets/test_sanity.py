"""The Sanity explorer: layers drawn anew, the maps that change, and those that do not care."""

import copy
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.metrics import Subject
from nni_widgets.pictures import palette_png
from nni_widgets.widgets.explorers.sanity.check import Check, Copies
from nni_widgets.widgets.explorers.sanity.explorer import default_methods
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]
LAYERS = ("fc2", "fc1", "conv3", "conv2", "conv1")
METHODS = (nni.Gradient(), nni.GuidedBackprop(), nni.LRP(nni.Uniform(nni.ZPlus())))


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_sanity(cnn, digits, METHODS))


def shown(explorer):
    return explorer._outcome.value


def curves(explorer):
    return [list(fate.likeness) for fate in shown(explorer).fates.values()]


def measured(model, x, method, **how):
    """The same curve by the measure of the engine, which does not know the explorer."""
    measure = nni.Randomisation(**how)
    *_, last = measure.steps(Subject(model, x, method))
    return last.curve[0].tolist()


def map_of(explorer, kind, number):
    return the(explorer, f"nn-{kind}-{number}").value


def painted(model, x, method, target=None):
    made = nni.explain(model, x, method, target)
    return palette_png(made.heatmap(), made.scale())


# --- what is computed


def test_it_begins_with_the_trained_network(explorer, cnn, digits):
    assert (explorer.n_layers, the(explorer, "nn-n_layers").max) == (0, 5)
    assert shown(explorer).layers == LAYERS
    for number, method in enumerate(METHODS):
        expected = painted(cnn, digits[:1], method)
        assert map_of(explorer, "trained", number) == expected
        assert map_of(explorer, "forgetful", number) == expected
    assert "No layer is drawn anew" in the(explorer, "nn-drawn-anew").value


def test_five_methods_unless_given(opened, cnn, digits):
    explorer = opened(nni.explore_sanity(cnn, digits))
    assert tuple(explorer.methods.values()) == default_methods(cnn)
    assert list(explorer.methods) == [
        "Saliency",
        "Gradient × input",
        "Integrated gradients",
        "Guided backprop",
        "LRP",
    ]
    assert all(len(curve) == 6 for curve in curves(explorer))


@pytest.mark.parametrize("level", [1, 3, 5])
def test_the_maps_are_those_of_the_randomised_network(explorer, cnn, digits, level):
    sets(the(explorer, "nn-n_layers"), value=level)
    explorer.drain()
    x, forgetful = digits[:1], nni.randomised(cnn, digits[:1], level)
    target = int(cnn(x).argmax(1))
    for number, method in enumerate(METHODS):
        assert map_of(explorer, "trained", number) == painted(cnn, x, method)
        assert map_of(explorer, "forgetful", number) == painted(forgetful, x, method, target)
    words = the(explorer, "nn-drawn-anew").value
    assert f"{level} of 5 layers {'is' if level == 1 else 'are'} drawn anew: " in words
    assert ", ".join(LAYERS[:level]) + ". The network now says " in words
    assert f"says {int(forgetful(x).argmax(1))} (" in words


@pytest.mark.parametrize(
    "how",
    [{}, {"absolute": False}, {"similarity": "ssim"}, {"seed": 7}],
    ids=str,
)
def test_the_curves_are_those_of_the_measure(explorer, cnn, digits, how):
    for name, value in how.items():
        setattr(explorer, name, value)
    explorer.drain()
    for curve, method in zip(curves(explorer), METHODS, strict=True):
        np.testing.assert_allclose(curve, measured(cnn, digits[:1], method, **how), atol=1e-6)


def test_each_layer_alone(explorer, cnn, digits):
    explorer.independent, explorer.n_layers = True, 3
    explorer.drain()
    alone = nni.randomised(cnn, digits[:1], 3, independent=True)
    target = int(cnn(digits[:1]).argmax(1))
    assert map_of(explorer, "forgetful", 0) == painted(alone, digits[:1], METHODS[0], target)
    assert "1 of 5 layers is drawn anew: conv3." in explorer.digest()
    assert "layers from the top, each alone:" in explorer.digest()
    assert "after 0, 1, … layers, each alone</caption>" in the(explorer, "nn-curves").value


def test_the_model_and_the_random_state_stay_as_they_are(explorer, cnn):
    before = {name: value.clone() for name, value in cnn.state_dict().items()}
    state = torch.random.get_rng_state()
    explorer.n_layers = 5
    explorer.seed = 4
    explorer.drain()
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in cnn.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_slider_makes_no_map_again_and_looks_ask_nothing(opened, cnn, digits):
    calls = []

    def counted(model, x, target):
        calls.append(model)
        return x.clone()

    explorer = opened(nni.explore_sanity(cnn, digits, [counted]))
    assert len(calls) == 6
    assert calls[0] is cnn
    for change in ({"n_layers": 4}, {"n_layers": 2}, {"similarity": "ssim"}, {"absolute": False}):
        ((name, value),) = change.items()
        setattr(explorer, name, value)
        explorer.drain()
    assert len(calls) == 6
    explorer.seed = 1
    explorer.drain()
    assert len(calls) == 11, "the trained network is not asked again"
    known = set(map(id, calls))
    sets(the(explorer, "nn-picture"), value=1)
    explorer.drain()
    assert len(calls) == 17
    assert set(map(id, calls)) == known, "another picture, the same copies"


def test_the_level_that_is_looked_at_comes_first(opened, cnn, digits):
    explorer = opened(nni.explore_sanity(cnn, digits, METHODS[:1]))
    explorer.n_layers = 4
    explorer.drain()
    known = []
    explorer._tell = lambda outcome: known.append(
        [at for at, v in enumerate(outcome.value.fates["Gradient"].likeness) if v is not None]
    )
    explorer.seed = 9
    explorer.drain()
    seen = [each for at, each in enumerate(known) if each not in known[:at]]
    assert seen[:2] == [[0, 4], [0, 1, 4]]
    assert seen[-1] == [0, 1, 2, 3, 4, 5]


def test_large_copies_are_not_kept(cnn, digits, monkeypatch):
    monkeypatch.setattr("nni_widgets.widgets.explorers.sanity.check._MOST_BYTES", 1)
    copies = Copies(cnn)
    first = copies.of(digits[:1], 1, Check())
    assert copies.of(digits[:1], 1, Check()) is first
    copies.of(digits[:1], 2, Check())
    assert copies.of(digits[:1], 1, Check()) is not first


def test_a_model_that_is_trained_on_is_asked_and_copied_again(opened, cnn, digits):
    model = copy.deepcopy(cnn)
    explorer = opened(nni.explore_sanity(model, digits, METHODS[:1]))
    with torch.no_grad():
        model.conv1.weight.mul_(2)
        model.conv3.bias.add_(1)
    explorer.n_layers = 1
    again = opened(nni.explore_sanity(model, digits, METHODS[:1]))
    again.n_layers = 1
    assert explorer.digest() == again.digest()
    assert map_of(explorer, "forgetful", 0) == map_of(again, "forgetful", 0)


def test_to_set_the_number_of_layers_does_not_wait_for_the_maps(opened, cnn, digits):
    go = threading.Event()

    def slow(model, x, target):
        assert go.wait(10)
        return x.clone()

    explorer = nni.explore_sanity(cnn, digits, [nni.Gradient(), slow])
    explorer.drain = lambda *_: pytest.fail("it waits")
    threading.Timer(0.2, go.set).start()
    explorer.n_layers = 3
    del explorer.drain
    assert "3 of 5 layers" in opened(explorer).digest()


# --- what is shown


def test_the_chart_has_a_curve_for_each_and_marks_the_level(explorer):
    explorer.n_layers = 2
    explorer.drain()
    *lines, columns = the(explorer, "nn-likeness").marks
    for line, curve in zip(lines, curves(explorer), strict=True):
        np.testing.assert_allclose(line.y, curve)
        assert list(line.x) == ["0", "1", "2", "3", "4", "5"]
    looks = [(line.colors[0], line.line_style, line.marker) for line in lines]
    assert all(len(set(each)) == len(lines) for each in zip(*looks, strict=True))
    assert [at for at, opacity in enumerate(columns.opacities) if opacity] == [2]


def test_the_scale_goes_below_zero_when_a_curve_does(explorer):
    (*_, columns) = the(explorer, "nn-likeness").marks
    up = columns.scales["y"]
    assert (up.min, up.max) == (0.0, 1.0)
    explorer.absolute = False
    explorer.drain()
    lowest = min(map(min, curves(explorer)))
    assert lowest < 0
    assert -1 <= up.min <= lowest < up.min + 0.2
    np.testing.assert_allclose(columns.base, up.min)
    ticks = the(explorer, "nn-likeness").axes[1].tick_values
    assert min(ticks) >= up.min
    assert list(ticks)[-3:] == [0.0, 0.5, 1.0]


def test_a_click_into_the_chart_chooses_the_level(explorer):
    (*_, columns) = the(explorer, "nn-likeness").marks
    sends(columns, event="element_click", data={"index": 3})
    assert explorer.drain().n_layers == 3
    assert "3 of 5 layers are drawn anew" in the(explorer, "nn-drawn-anew").value


def test_how_alike_stands_at_each_map(explorer):
    explorer.n_layers = 5
    explorer.drain()
    for number, curve in enumerate(curves(explorer)):
        words = the(explorer, f"nn-likeness-{number}").value
        assert f"rank correlation {curve[5]:.2f}".replace("-", "−") in words


def test_the_curves_as_numbers(explorer):
    table = the(explorer, "nn-curves").value
    assert "<th>Guided backprop</th><td>1.00</td>" in table
    assert table.count("<tr>") == 1 + len(METHODS)
    assert "rank correlation of |R| after 0, 1, … layers" in table


def test_which_maps_do_not_care(explorer, cnn, digits):
    last = dict(zip(explorer.methods, (curve[-1] for curve in curves(explorer)), strict=True))
    assert last["LRP"] > 0.99, "the rule z⁺ says where the picture is bright"
    assert the(explorer, "nn-answer").value == ""
    clicks(explorer, "nn-which")
    answer = the(explorer, "nn-answer").value
    assert "With every layer drawn anew, rank correlation of |R| is still 0.5 or more for" in answer
    assert {name for name in last if f"{name} (" in answer} == {
        name for name, value in last.items() if value >= 0.5
    }
    assert "compare with the signs" in answer
    assert answer.removeprefix("<p>").removesuffix("</p>") in explorer.digest()
    explorer.absolute = False
    explorer.drain()
    assert "for none of the maps." in the(explorer, "nn-answer").value
    clicks(explorer, "nn-which")
    assert the(explorer, "nn-answer").value == ""


def test_maps_of_before_are_dimmed_until_theirs_are_there(opened, cnn, digits):
    go, wait = threading.Semaphore(0), threading.Event()

    def slow(model, x, target):
        assert not wait.is_set() or go.acquire(timeout=10)
        return x.clone()

    explorer = opened(nni.explore_sanity(cnn, digits, {"quick": nni.Gradient(), "slow": slow}))
    painted, dims = threading.Event(), []
    paint = explorer._paint

    def heard(value):
        paint(value)
        dims.append("nn-stale" in the(explorer, "nn-forgetful-1")._dom_classes)
        if value.fates["quick"].forgetful is not None:
            painted.set()

    explorer.n_layers = 3
    explorer.drain()
    explorer._paint = heard
    wait.set()
    explorer.seed = 2
    assert painted.wait(10)
    for _ in range(10):
        go.release()
    explorer.drain()
    assert dims[0]
    assert not dims[-1]


def test_after_cancel_nothing_is_said_to_be_at_work(opened, cnn, digits):
    explorer = opened(nni.explore_sanity(cnn, digits, METHODS[:1]))
    clicks(explorer, "nn-which")
    explorer._tell = lambda _: explorer._cancel()
    explorer.seed = 4
    explorer.drain()
    assert the(explorer, "nn-answer").value == "<p>Not every layer has been drawn anew yet.</p>"


def test_the_class_is_that_of_the_user_and_a_pixel_is_read(explorer, cnn, digits):
    explorer.n_layers = 2
    clicks_bar(explorer, 3)
    explorer.drain()
    x, method = digits[:1], METHODS[0]
    forgetful = nni.randomised(cnn, x, 2)
    assert map_of(explorer, "trained", 0) == painted(cnn, x, method, 3)
    assert map_of(explorer, "forgetful", 0) == painted(forgetful, x, method, 3)
    sends(explorer._page, type="hover", pane=1, x=0.5, y=0.25)
    value = float(method(forgetful, x, 3)[0, 0, 7, 14])
    assert f"pixel (14, 7): {value:+.4g}" in found(explorer, "nn-hover")[1].value


# --- what is copied and saved


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=2)
    sets(the(explorer, "nn-seed-field"), value=5)
    sets(the(explorer, "nn-absolute"), value=False)
    chooses(the(explorer, "nn-similarity"), "ssim")
    explorer.target = 4
    explorer.n_layers = 3
    explorer.drain()
    cell = copied(explorer)
    listed = "[nni.Gradient(), nni.GuidedBackprop(), nni.LRP(nni.Uniform(nni.ZPlus()))]"
    assert f"nni.explore_sanity(model, x[2:3], {listed}, target=4)" in cell.replace(
        "rules=", ""
    ).replace("rule=", "")
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    for number in range(len(METHODS)):
        for kind in ("trained", "forgetful"):
            assert map_of(again, kind, number) == map_of(explorer, kind, number)


def test_named_methods_keep_their_names_in_the_copied_cell(opened, cnn, digits):
    methods = {"plain": nni.Gradient(), "short": nni.IntegratedGradients(n_steps=2)}
    explorer = opened(nni.explore_sanity(cnn, digits[:1], methods))
    assert "\nplain: 1.00 " in explorer.digest()
    again = opened(result_of(copied(explorer), model=cnn, x=digits[:1]))
    assert again.digest() == explorer.digest()


def test_equal_titles_are_numbered(opened, cnn, digits):
    explorer = opened(nni.explore_sanity(cnn, digits, [nni.LRP(), nni.LRP(nni.EpsilonPlus())]))
    assert list(explorer.methods) == ["LRP", "LRP (2)"]


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_sanity(methods=METHODS[:2], strokes=SEVEN))
    explorer.n_layers = 2
    explorer.drain()
    again = opened(result_of(copied(explorer)))
    assert again.digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    for number in range(2):
        assert map_of(explorer, "trained", number) == map_of(explorer, "forgetful", number) == BLANK
    (line, *_, columns) = the(explorer, "nn-likeness").marks
    assert not len(line.y)
    assert not any(columns.opacities)


def test_the_digest(explorer):
    explorer.n_layers = 1
    heading, drawn, what, *rows, answer = explorer.digest().splitlines()
    assert heading == "target 7: predicted 7 (1.00)"
    assert drawn.startswith("1 of 5 layers is drawn anew: fc2. The network now says ")
    assert what == "rank correlation of |R| after 0 to 5 layers from the top:"
    assert [row.split(":")[0] for row in rows] == list(explorer.methods)
    assert all(len(row.split(": ")[1].split()) == 6 for row in rows)
    assert answer.startswith("With every layer drawn anew, ")


def test_reset(explorer):
    begun = explorer.digest()
    explorer.seed, explorer.independent, explorer.similarity = 3, True, "ssim"
    explorer.n_layers, explorer.target = 4, 2
    clicks(explorer, "nn-which")
    assert explorer.digest() != begun
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.n_layers, explorer.check) == (0, Check())
    assert the(explorer, "nn-answer").value == ""


def test_save(explorer, monkeypatch, cnn, digits):
    explorer.n_layers = 2
    explorer.drain()
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["sanity.png", "sanity.npz"]
    picture = Image.open(io.BytesIO(saved["sanity.png"]))
    assert picture.info["Layers"] == ", ".join(LAYERS)
    assert picture.width > 3 * 140
    numbers = np.load(io.BytesIO(saved["sanity.npz"]))
    np.testing.assert_allclose(numbers["likeness"], curves(explorer))
    np.testing.assert_array_equal(numbers["trained"][:1], METHODS[0](cnn, digits[:1]))
    assert numbers["drawn_anew"].shape == (3, 1, 28, 28)


def test_a_saved_notebook_keeps_the_picture_and_the_digest(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.digest()
    assert bundle["image/png"] == explorer._pngs(shown(explorer))["sanity.png"]


# --- what goes wrong


def test_a_method_that_refuses_stands_beside_the_others(opened, digits):
    mlp = nni.models.load("digits-mlp")
    explorer = opened(nni.explore_sanity(mlp, digits, [nni.GradCAM(), nni.Gradient()]))
    explorer.n_layers = 3
    explorer.drain()
    assert "GradCAM: the model must be one with spatial maps" in the(
        explorer, "nn-likeness-0"
    ).value.replace("&#x27;", "'")
    assert "\nGrad-CAM: GradCAM: the model must be one with spatial maps" in explorer.digest()
    assert map_of(explorer, "trained", 0) == BLANK
    assert map_of(explorer, "forgetful", 1) != BLANK
    assert explorer.explanation.name == "Gradient"


def test_if_all_refuse_it_is_said_in_place(opened, digits):
    mlp = nni.models.load("digits-mlp")
    explorer = opened(nni.explore_sanity(mlp, digits, [nni.GradCAM()]))
    assert explorer.digest().startswith("GradCAM: the model must be one with spatial maps")


def test_a_method_that_fails_on_the_random_network_is_named(opened, cnn, digits):
    def picky(model, x, target):
        if model is not cnn:
            raise ValueError("picky: the model must be the trained one; got another. Give that.")
        return x.clone()

    explorer = opened(nni.explore_sanity(cnn, digits, [picky, nni.Gradient()]))
    assert ": picky: the model must be the trained one" in explorer.digest()
    assert "\nGradient: 1.00 " in explorer.digest()


def test_a_model_that_cannot_be_copied_still_has_its_maps(opened, monkeypatch):
    model = nn.Linear(5, 3).eval()
    model.kept = model.weight * 2
    explorer = opened(nni.explore_sanity(model, torch.rand(1, 5), METHODS[:1]))
    assert "randomised: the model must be one that copy.deepcopy can copy" in explorer.digest()
    explorer.n_layers = 1
    explorer.drain()
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-numbers")
    clicks(explorer, "nn-save-png")
    assert not saved
    assert "images must be at least one" in explorer._status.words


def test_a_wrong_number_of_layers_is_refused(explorer):
    with pytest.raises(ValueError, match="layers must be a whole number from 0 to 5; got 6"):
        explorer.n_layers = 6


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -1), ("similarity", "taste"), ("absolute", 2), ("seed", 0.5)]
)
def test_a_wrong_setting_is_refused(explorer, name, value):
    before = explorer.check
    with pytest.raises(ValueError, match=f"Check: {name} must be "):
        setattr(explorer, name, value)
    assert explorer.check == before


def test_what_is_typed_wrong_is_said_in_place(explorer):
    sets(the(explorer, "nn-seed-field"), value=-3)
    assert "seed must be a whole number from 0 to" in explorer._status.words
    sets(the(explorer, "nn-seed-field"), value=3)
    assert explorer.drain().seed == 3
    explorer.target = 17
    assert "a class from 0 to 9; got 17" in explorer.digest()
    assert "nn-stale" in the(explorer, "nn-trained-0")._dom_classes
    explorer.target = None
    assert explorer.digest().startswith("target 7")
    assert "nn-stale" not in the(explorer, "nn-trained-0")._dom_classes


@pytest.mark.parametrize("methods", [[], {}, (), "LRP", 3, nni.LRP()], ids=repr)
def test_no_methods_are_refused(cnn, digits, methods):
    with pytest.raises(ValueError, match="explore_sanity: methods must be "):
        nni.explore_sanity(cnn, digits, methods)


@pytest.mark.parametrize("method", [nni.LRP, 3, "LRP"], ids=repr)
def test_what_is_no_method_is_refused(cnn, digits, method):
    with pytest.raises(ValueError, match="explore_sanity: method must be a method such as"):
        nni.explore_sanity(cnn, digits, [method])


def test_pictures_without_a_model_are_refused(digits):
    with pytest.raises(ValueError, match="explore_sanity: model must be given together with x"):
        nni.explore_sanity(x=digits)


def test_a_model_without_weights_is_refused_in_place(opened):
    explorer = opened(nni.explore_sanity(nn.Flatten().eval(), torch.rand(1, 1, 2, 2), METHODS[:1]))
    assert explorer.digest().startswith("layers_from_top: the model must be one whose weights")


# --- any model


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), torch.rand(1, 1, 5, 5).double()),
        (nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)),
         torch.rand(2, 2, 6)),
    ],
    ids=["vectors", "colour", "float64", "sequences"],
)  # fmt: skip
def test_other_models_and_pictures(opened, model, x):
    explorer = opened(nni.explore_sanity(model.eval(), x, METHODS[:1]))
    explorer.n_layers = 1
    explorer.drain()
    expected = measured(model, x[:1], METHODS[0])
    np.testing.assert_allclose(curves(explorer)[0], expected, atol=1e-6)
    assert map_of(explorer, "forgetful", 0) != BLANK


def test_weights_of_the_model_itself_have_a_name(opened):
    model = nn.Linear(6, 3).eval()
    explorer = opened(nni.explore_sanity(model, torch.rand(1, 6), METHODS[:1]))
    explorer.n_layers = 1
    assert "drawn anew: the model itself. The network now says" in explorer.digest()


def test_many_layers_are_named_in_short(opened):
    layers = [part for _ in range(15) for part in (nn.Linear(6, 6), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(6, 3)).eval()
    explorer = opened(nni.explore_sanity(model, torch.rand(2, 6), METHODS[:1]))
    explorer.n_layers = 16
    assert "are drawn anew: 30, 28, 26, 24, …, 6, 4, 2, 0." in explorer.digest()
    (*_, columns) = the(explorer, "nn-likeness").marks
    assert len(columns.x) == 17


# --- for everyone


def test_accessible_names(explorer):
    (labels,) = [each for each in explorer.children[0].children if hasattr(each, "names")]
    for number, name in enumerate(explorer.methods):
        assert labels.names[f"nn-trained-{number}"] == f"heatmap of {name}, trained network"
        assert labels.names[f"nn-forgetful-{number}"] == f"heatmap of {name}, layers drawn anew"
    for name in ("n_layers", "seed", "seed-field", "similarity", "absolute", "independent"):
        assert the(explorer, f"nn-{name}").description


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        explorer = nni.explore_sanity(cnn, digits, METHODS[:2]).drain()
        explorer.n_layers = 2
        explorer.drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
