"""The Noise explorer: a noisy copy, its map, and the mean as it grows."""

import io
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.methods.fluctuation import fluctuation
from nni_widgets.pictures import palette_png, picture_png
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_noise(cnn, digits, nni.SmoothGrad(n_samples=5)))


def shown(explorer):
    return explorer._outcome.value


def title(explorer, number):
    return found(explorer, "nn-title")[number].value


def test_the_mean_is_that_of_smoothgrad(explorer, cnn, digits):
    made = nni.explain(cnn, digits[:1], nni.SmoothGrad(n_samples=5))
    assert explorer.digest().startswith(made.digest())
    expected = palette_png(made.heatmap(), made.scale())
    assert the(explorer, "nn-mean-map").value == expected
    assert "5 of 5 copies" in title(explorer, 2)


def test_the_mean_of_the_copies_alone_is_the_mean(explorer):
    alone = []
    for copy in range(5):
        explorer.copy = copy
        alone.append(shown(explorer.drain()).copy.attribution)
    mean = torch.stack(alone).mean(0)
    torch.testing.assert_close(mean, explorer.explanation.attribution, rtol=1e-5, atol=1e-6)


def test_picture_and_map_are_those_of_the_copy(explorer):
    sets(the(explorer, "nn-copy"), value=3)
    copy = shown(explorer.drain()).copy
    assert the(explorer, "nn-noisy").value == picture_png(copy.x[0], 0.0, 1.0)
    assert the(explorer, "nn-one-map").value == palette_png(copy.heatmap(), copy.scale())
    assert "noisy copy 3, predicted " in title(explorer, 0)
    noise = (copy.x - explorer.explanation.x).std()
    assert float(noise) == pytest.approx(0.15, rel=0.1)


def test_another_copy_does_not_compute_the_mean_again(opened, cnn, digits):
    calls = []

    def counted(model, x, target):
        calls.extend(x)
        return x.clone()

    explorer = opened(nni.explore_noise(cnn, digits, nni.SmoothGrad(of=counted, n_samples=8)))
    calls.clear()
    explorer.copy = 5
    explorer.drain()
    assert len(calls) == 1
    clicks_bar(explorer, 3)
    explorer.drain()
    assert len(calls) > 8


def test_the_line_is_the_gradient_under_a_noise_that_nobody_sees(explorer, cnn):
    line = fluctuation(cnn, explorer.explanation.x, n_steps=50, noise_level=0.01, seed=0)
    (shown_line, _dot) = the(explorer, "nn-fluctuation").marks
    np.testing.assert_allclose(shown_line.y, line.share[0, :, 0])
    assert abs(shown_line.y[0]) == 1
    row, column = line.pixel[0].tolist()
    words = the(explorer, "nn-fluctuation-words").value
    assert f"∂f/∂x of pixel ({column}, {row}) under a noise of 0.01" in words
    assert words.removeprefix("<small>").removesuffix("</small>") in explorer.digest()


def test_the_line_of_another_seed_and_of_another_class(explorer):
    lines = []
    for change in ({}, {"seed": 1}, {"target": 3}):
        explorer.method = explorer.method.replace(seed=change.get("seed", 0))
        explorer.target = change.get("target")
        explorer.drain()
        lines.append(tuple(the(explorer, "nn-fluctuation").marks[0].y))
    assert len(set(lines)) == 3


def test_the_controls_are_those_of_the_method(explorer):
    chooses(the(explorer, "nn-of"), "Saliency")
    sets(the(explorer, "nn-noise_level-field"), value=0.3)
    sets(the(explorer, "nn-n_samples-field"), value=3)
    sets(the(explorer, "nn-seed-field"), value=7)
    expected = nni.SmoothGrad(of=nni.Saliency(), noise_level=0.3, n_samples=3, seed=7)
    assert explorer.drain().method == expected
    assert explorer.digest().startswith(nni.explain(explorer._model, explorer.explanation.x,
                                                    expected).digest())  # fmt: skip
    assert the(explorer, "nn-copy").max == 2
    assert "Saliency of copy 0" in title(explorer, 1)


def test_fewer_samples_leave_a_copy_that_is_there(explorer):
    explorer.copy = 4
    explorer.method = nni.SmoothGrad(n_samples=2)
    assert explorer.drain().copy == 1
    with pytest.raises(ValueError, match="copy must be a whole number from 0 to 1; got 2"):
        explorer.copy = 2


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=2)
    explorer.copy, explorer.target = 3, 4
    explorer.drain()
    cell = copied(explorer)
    assert "nni.explore_noise(model, x[2:3], nni.SmoothGrad(n_samples=5), target=4)" in cell
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    for name in ("nn-noisy", "nn-one-map", "nn-mean-map"):
        assert the(again, name).value == the(explorer, name).value


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_noise(strokes=SEVEN, method=nni.SmoothGrad(n_samples=3)))
    again = opened(result_of(copied(explorer)))
    assert again.digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    for name in ("nn-noisy", "nn-one-map", "nn-mean-map"):
        assert the(explorer, name).value == BLANK
    assert the(explorer, "nn-fluctuation-words").value == ""


def test_reset(explorer):
    begun = explorer.digest()
    explorer.method, explorer.copy, explorer.target = nni.SmoothGrad(n_samples=9), 4, 2
    assert explorer.digest() != begun
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.copy, the(explorer, "nn-copy").max) == (0, 4)


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["mean.png", "copy-0.png", "mean.npz", "copy-0.npz"]
    numbers = np.load(io.BytesIO(saved["copy-0.npz"]))
    np.testing.assert_array_equal(numbers["attribution"], shown(explorer).copy.attribution)


def test_pointing_reads_the_map_below(explorer):
    sends(explorer._page, type="hover", pane=1, x=0.5, y=0.5)
    value = float(explorer.explanation.heatmap()[14, 14])
    assert f"pixel (14, 14): {value:+.4g}" in found(explorer, "nn-hover")[1].value
    assert "pixel" not in found(explorer, "nn-hover")[0].value.replace("at a pixel", "")


def test_the_first_picture_comes_before_the_mean_is_complete(opened, cnn, digits):
    go, steps = threading.Semaphore(0), []

    def slow(model, x, target):
        assert go.acquire(timeout=10)
        return x.clone()

    explorer = nni.explore_noise(cnn, digits, nni.SmoothGrad(of=slow, n_samples=50))
    explorer._tell = lambda outcome: steps.append((outcome.done, outcome.of))
    for _ in range(60):
        go.release()
    opened(explorer)
    assert steps[0][0] < 50
    assert steps[-1] == (51, 51)


@pytest.mark.parametrize("method", [nni.Gradient(), nni.SmoothGrad, "SmoothGrad"])
def test_a_method_without_noise_is_refused(cnn, digits, method):
    with pytest.raises(ValueError, match="NoiseExplorer: method must be one that averages"):
        nni.explore_noise(cnn, digits, method)


def test_pictures_without_a_model_are_refused(digits):
    with pytest.raises(ValueError, match="explore_noise: model must be given together with x"):
        nni.explore_noise(x=digits)


def test_what_goes_wrong_is_said_in_place(explorer):
    before = the(explorer, "nn-mean-map").value
    sets(the(explorer, "nn-noise_level-field"), value=-1.0)
    assert "noise_level must be a number of at least 0; got -1.0" in explorer._status.words
    explorer.target = 17
    assert "a class from 0 to 9; got 17" in explorer.digest()
    assert the(explorer, "nn-mean-map").value == before
    assert "nn-stale" in the(explorer, "nn-mean-map")._dom_classes
    explorer.target = None
    assert explorer.digest().startswith("nni.SmoothGrad(n_samples=5)")


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), torch.rand(1, 1, 5, 5).double()),
    ],
    ids=["vectors", "colour", "float64"],
)
def test_any_model(opened, model, x):
    explorer = opened(nni.explore_noise(model.eval(), x, nni.SmoothGrad(n_samples=3)))
    assert explorer.digest().startswith(
        nni.explain(model, x[:1], nni.SmoothGrad(n_samples=3)).digest()
    )


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        nni.explore_noise(cnn, digits, nni.SmoothGrad(n_samples=2)).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
