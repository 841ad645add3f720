"""The Path explorer: pictures on the way, and the sum that grows to f(x) − f(x′)."""

import io
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.methods.baselines import Blur, Several
from nni_widgets.pictures import heatmap, palette_png, picture_png
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_path(cnn, digits, nni.IntegratedGradients(n_steps=12)))


def trace(explorer):
    return explorer.explanation.result


def lines(explorer):
    return the(explorer, "nn-running").marks[0]


def test_the_whole_path_is_integrated_gradients(explorer, cnn, digits):
    made = nni.explain(cnn, digits[:1], nni.IntegratedGradients(n_steps=12))
    assert explorer.digest().startswith(made.digest())
    assert explorer.point == 11
    assert "up to point 11: " in explorer.digest()
    assert made.adds_up() in found(explorer, "nn-sum")[1].value


def test_the_running_sum_reaches_the_difference_of_the_scores(explorer):
    made = explorer.explanation
    sums, scores = lines(explorer).y
    assert (sums[0], scores[0]) == (0, 0)
    assert sums[-1] == pytest.approx(float(made.total), rel=1e-5)
    assert scores[-1] == pytest.approx(float(made.expected), rel=1e-5)
    places = lines(explorer).x
    assert places[:, 0].tolist() == [0, 0]
    assert places[:, -1] == pytest.approx([1, 1])
    assert (np.diff(places[1]) > 0).all()


def test_the_running_sum_follows_the_score(opened, cnn, digits):
    explorer = opened(nni.explore_path(cnn, digits, nni.IntegratedGradients(n_steps=200)))
    (at_sum, at_score), (sums, scores) = lines(explorer).x, lines(explorer).y
    np.testing.assert_allclose(
        sums, np.interp(at_sum, at_score, scores), atol=0.02 * np.abs(scores).max()
    )


def test_a_point_shows_its_picture_its_map_and_the_sum_so_far(explorer, cnn, digits):
    sets(the(explorer, "nn-point"), value=4)
    found_there = trace(explorer)
    t = float(found_there.places[4])
    x = digits[:1]
    assert the(explorer, "nn-point-picture").value == picture_png(t * x[0], 0.0, 1.0)
    gradient = nni.Gradient()(cnn, t * x, found_there.selection.index)
    weight = found_there.reached[4] - found_there.reached[3]
    torch.testing.assert_close(found_there.added[4], weight * gradient * x, rtol=1e-4, atol=1e-6)
    so_far = heatmap(found_there.added[:5].sum(0))[0]
    assert the(explorer, "nn-sum-map").value == palette_png(so_far, explorer.explanation.scale())
    dot = the(explorer, "nn-running").marks[1]
    assert float(dot.y[0]) == pytest.approx(float(so_far.sum()), rel=1e-5)


def test_moving_along_the_path_computes_nothing(explorer):
    generation = explorer._worker._generation
    pictures = set()
    for point in range(12):
        sets(the(explorer, "nn-point"), value=point)
        pictures.add(the(explorer, "nn-point-map").value)
    assert explorer._worker._generation == generation
    assert len(pictures) == 12


def test_the_controls_are_those_of_the_method_and_the_place_stays(explorer):
    explorer.point = 4
    sets(the(explorer, "nn-n_steps-field"), value=23)
    sets(the(explorer, "nn-value-field"), value=0.5)
    assert explorer.drain().method == nni.IntegratedGradients(n_steps=23, baseline=0.5)
    assert (explorer.point, the(explorer, "nn-point").max) == (8, 22)
    assert torch.equal(trace(explorer).starts, torch.full((1, 1, 1, 28, 28), 0.5))
    with pytest.raises(ValueError, match="point must be a whole number from 0 to 22; got 23"):
        explorer.point = 23


def test_a_path_of_one_point_keeps_its_end(explorer):
    for n_steps in (1, 8):
        explorer.method = nni.IntegratedGradients(n_steps=n_steps)
        assert explorer.drain().point == n_steps - 1


def test_words_while_a_longer_path_is_computed(explorer):
    with explorer._painting:
        explorer.method = nni.IntegratedGradients(n_steps=90)
        assert (explorer.point, "up to point 11: " in repr(explorer)) == (89, True)
    assert "up to point 89: " in explorer.digest()


def test_the_strip_leads_from_the_baseline_to_the_picture(opened, cnn, digits):
    baseline = digits[1:2].clone()
    method = nni.IntegratedGradients(n_steps=3, baseline=baseline)
    explorer = opened(nni.explore_path(cnn, digits[:1], method))
    frames = [baseline + t * (digits[:1] - baseline) for t in torch.linspace(0, 1, 9)]
    expected = picture_png(torch.cat(frames, -1)[0], 0.0, 1.0)
    assert the(explorer, "nn-strip").value == expected


@pytest.mark.parametrize("baseline", [Blur(sigma=2.0), Several(of=[0.0, 1.0])], ids=repr)
def test_any_baseline(explorer, cnn, digits, baseline):
    explorer.method = method = nni.IntegratedGradients(n_steps=5, baseline=baseline)
    assert explorer.digest().startswith(nni.explain(cnn, digits[:1], method).digest())
    starts = baseline(digits[:1])
    frames = torch.cat([starts + t * (digits[:1] - starts) for t in torch.linspace(0, 1, 9)], -1)
    rows = torch.cat(tuple(frames[:, 0]), -2)
    assert the(explorer, "nn-strip").value == picture_png(rows, 0.0, 1.0)
    assert ("mean of 2 ways" in found(explorer, "nn-title")[0].value) == (len(starts) == 2)


def test_a_baseline_is_chosen_by_its_name(explorer):
    chooses(the(explorer, "nn-baseline"), "Blurred picture")
    sets(the(explorer, "nn-sigma-field"), value=3.0)
    assert explorer.drain().method.baseline == Blur(sigma=3.0)
    assert explorer.digest().startswith("nni.IntegratedGradients(n_steps=12, baseline=nni.Blur(")


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=1)
    explorer.point, explorer.target = 5, 3
    explorer.drain()
    cell = copied(explorer)
    call = "nni.explore_path(model, x[1:2], nni.IntegratedGradients(n_steps=12), target=3)"
    assert call in cell
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    for name in ("nn-point-picture", "nn-point-map", "nn-sum-map", "nn-strip"):
        assert the(again, name).value == the(explorer, name).value


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_path(strokes=SEVEN))
    assert opened(result_of(copied(explorer))).digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    for name in ("nn-point-picture", "nn-point-map", "nn-sum-map", "nn-strip"):
        assert the(explorer, name).value == BLANK


def test_reset(explorer):
    begun = explorer.digest()
    explorer.method = nni.IntegratedGradients(n_steps=3)
    explorer.drain().point = 1
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert explorer.point == 11


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["heatmap-1.png", "attribution-1.npz", "path.npz"]
    path = np.load(io.BytesIO(saved["path.npz"]))
    np.testing.assert_allclose(path["added"].sum(0), explorer.explanation.attribution[0], atol=1e-6)
    assert path["scores"].shape == (12,)


def test_hover_and_another_class(explorer):
    clicks_bar(explorer, 3)
    explorer.drain()
    assert explorer.explanation.target_names == ("3",)
    sends(explorer._page, type="hover", pane=1, x=0.5, y=0.5)
    assert "pixel (14, 14): " in found(explorer, "nn-hover")[1].value


@pytest.mark.parametrize("method", [nni.Gradient(), nni.IntegratedGradients, 3])
def test_a_method_without_a_path_is_refused(cnn, digits, method):
    with pytest.raises(ValueError, match="PathExplorer: method must be one that goes along"):
        nni.explore_path(cnn, digits, method)


def test_what_goes_wrong_is_said_in_place(explorer):
    before = the(explorer, "nn-sum-map").value
    explorer.method = nni.IntegratedGradients(baseline=torch.zeros(5, 5))
    assert "baseline must be a number or a tensor that broadcasts to x" in explorer.digest()
    assert explorer.digest().startswith("IntegratedGradients: ")
    assert the(explorer, "nn-sum-map").value == before
    assert "nn-stale" in the(explorer, "nn-sum-map")._dom_classes
    explorer.point = 3
    explorer.method = nni.IntegratedGradients(n_steps=4)
    assert explorer.digest().startswith("nni.IntegratedGradients(n_steps=4)")


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), torch.rand(1, 1, 5, 5).double()),
    ],
    ids=["vectors", "colour", "float64"],
)
@pytest.mark.parametrize("n_steps", [1, 2, 40])
def test_any_model(opened, model, x, n_steps):
    method = nni.IntegratedGradients(n_steps=n_steps)
    explorer = opened(nni.explore_path(model.eval(), x, method))
    assert explorer.digest().startswith(nni.explain(model, x[:1], method).digest())


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        nni.explore_path(cnn, digits, nni.IntegratedGradients(n_steps=2)).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
