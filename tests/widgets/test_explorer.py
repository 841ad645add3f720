"""The explorer as state: what is selected, what it says, and that it stays usable.

The expectations of an explorer, and the test that holds each of them (B: in tests/browser):

==  =============================================================================================
 1  first paint, words before it     B words; benchmarks/latency.py
 2  first picture after an event     benchmarks/latency.py
 3  the last value, never an older   test_the_last_of_many_changes_is_shown; B fast drag
 4  progress and cancel              test_progress_…, test_cancel_…; B slow work
 5  reset, undo, random, defaults    test_reset_…; test_inputs, test_controls
 6  copy as code                     test_the_copied_cell_…; B draw (real clipboard, pasted, run)
 7  PNG and npz                      test_save_…; B point and save
 8  errors in place                  test_what_goes_wrong_…; B errors
 9  bad input named before compute   test_what_goes_wrong_…
10  click a bar, a layer; hover      test_a_clicked_bar_…, test_a_layer_…; B draw, point
11  compare on one scale             test_compare_…; B two methods
12  keyboard                         test_inputs (Escape, pad); B keyboard
13  words, contrast, names           test_the_status_says_…; B names and contrast
14  1280 px, one column, touch       B width, finger
15  reload, two displays, reopened   test_the_mime_bundle_…; B reload, saved, sent
16  two explorers on one model       test_two_explorers_…; B two explorers
17  closing leaves nothing           test_fifty_explorers_…
18  large type                       test_large_type (Voilà was tried by hand: it needs a CDN)
==  =============================================================================================
"""

import base64
import contextlib
import copy
import functools
import gc
import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures import palette_png, scale_of
from nni_widgets.widgets.parts.maps import BLANK
from tests.oracle.nets import NETS
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import (
    chooses,
    clicks,
    clicks_bar,
    found,
    registered,
    sends,
    sets,
    the,
)

SEVEN = [[(8, 8), (20, 8), (13, 22)]]


def gated():
    return NETS["squeeze_excite"].build(), NETS["squeeze_excite"].input()


def status(explorer):
    return explorer._status.words


def heatmap(explorer, pane=0):
    return found(explorer, "nn-heatmap")[pane].value


def gradient_times_square(model, x, target):
    return nni.Gradient()(model, x, target) * x**2


class Slow:
    """A method that takes a step only when it is let; ``steps`` is how many there are."""

    __name__ = "slow"

    def __init__(self):
        self.go, self.at_work = threading.Semaphore(0), threading.Event()

    def __call__(self, model, x, target):
        self.at_work.set()
        assert self.go.acquire(timeout=10)
        return x.clone()


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore(cnn, digits))


@pytest.fixture
def drawing(opened):
    return opened(nni.draw(strokes=SEVEN))


# --- what it shows


def test_an_explorer_shows_what_explain_computes(explorer, cnn, digits):
    made = nni.explain(cnn, digits[:1])
    assert explorer.digest() == made.digest()
    assert torch.equal(explorer.explanation.attribution, made.attribution)


def test_the_status_says_prediction_target_method_and_cost(drawing):
    assert status(drawing).startswith("predicted 7 (1.00) · explained: 7 · LRP: 2 passes, ")
    assert 'role="status"' in the(drawing, "nn-status").value


def test_words_before_the_first_picture(cnn, digits, slow):
    explorer = nni.explore(cnn, digits, slow)
    assert slow.at_work.wait(10)
    assert status(explorer) == "The first picture is being computed …"
    assert "slow is at work" in the(explorer, "nn-progress").value
    assert repr(explorer) == status(explorer)
    slow.go.release()
    explorer.drain()
    assert status(explorer).startswith("predicted")
    assert the(explorer, "nn-progress").value == ""
    explorer.close()


def test_a_clicked_bar_is_explained_and_the_picture_changes(explorer):
    before = heatmap(explorer)
    clicks_bar(explorer, 3)
    explorer.drain()
    assert explorer.target == 3
    assert explorer.explanation.target_names == ("3",)
    assert "explained: 3" in status(explorer)
    assert heatmap(explorer) != before


def test_a_layer_of_the_picker_is_shown_and_kept(explorer, cnn, digits):
    chooses(the(explorer, "nn-layer"), "conv2")
    made = nni.explain(cnn, digits[:1])
    expected = made.layer_map("conv2")
    assert Image.open(io.BytesIO(heatmap(explorer))).size == (expected.shape[1], expected.shape[0])
    assert explorer.digest() == made.at("conv2").digest()
    assert explorer.code().endswith("nni.LRP(), layer='conv2')")
    sets(the(explorer, "nn-picture"), value=1)
    explorer.drain()
    assert explorer.layer == "conv2"
    chooses(found(explorer, "nn-method")[0], "Saliency")
    explorer.drain()
    assert (explorer.layer, the(explorer, "nn-layer").disabled) == ("(input)", True)


def test_pointing_at_a_pixel_reads_it(explorer):
    sends(explorer._page, type="hover", pane=0, x=0.5, y=0.5)
    value = float(explorer.explanation.heatmap()[14, 14])
    assert f"pixel (14, 14): {value:+.4g}, " in found(explorer, "nn-hover")[0].value


def test_pictures_share_a_scale_when_they_are_compared(explorer):
    sets(the(explorer, "nn-compare"), value=True)
    explorer.drain()
    ends = [widget.value for widget in found(explorer, "nn-ends")]
    assert ends[0] == ends[1]
    assert [view.layout.display for view in found(explorer, "nn-view")] == [None, None, None]
    sets(the(explorer, "nn-shared"), value=False)
    ends = [widget.value for widget in found(explorer, "nn-ends")]
    assert ends[0] != ends[1]
    sets(the(explorer, "nn-compare"), value=False)
    assert found(explorer, "nn-view")[1].layout.display == "none"


def test_the_difference_is_that_of_the_two_maps_on_its_own_scale(explorer, monkeypatch):
    explorer.compare = nni.IntegratedGradients()
    explorer.drain()
    a, b = (pane.explanation.heatmap() for pane in explorer._panes)
    assert heatmap(explorer, 2) == palette_png(a - b, scale_of(a - b))
    assert "LRP − Integrated gradients: Σ = " in found(explorer, "nn-sum")[2].value
    assert "both in the unit of the logit" in found(explorer, "nn-sum")[2].value
    sends(explorer._page, type="hover", pane=2, x=0.5, y=0.5)
    assert f"{float((a - b)[14, 14]):+.4g}" in found(explorer, "nn-hover")[2].value
    explorer.compare = nni.Saliency()
    explorer.drain()
    assert "different units" in found(explorer, "nn-sum")[2].value
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    picture = Image.open(io.BytesIO(saved["difference.png"]))
    assert picture.text["Method"] == "nni.LRP() − nni.Saliency()"


def test_the_difference_can_be_switched_off_and_is_blank_where_shapes_differ(explorer):
    assert the(explorer, "nn-difference").layout.display == "none"
    explorer.compare = nni.Saliency()
    explorer.drain()
    assert found(explorer, "nn-view")[2].layout.display is None
    explorer.layer = "conv2"
    assert heatmap(explorer, 2) == BLANK
    sets(the(explorer, "nn-difference"), value=False)
    assert found(explorer, "nn-view")[2].layout.display == "none"
    assert "explorer.difference = False" in explorer.code()
    explorer.compare = None
    assert explorer.difference is False


def test_the_second_picture_is_never_one_of_before(explorer, slow):
    slow.go.release()
    explorer.compare = slow
    explorer.drain()
    slow.at_work.clear()
    sets(the(explorer, "nn-picture"), value=1)
    assert slow.at_work.wait(10)
    second = found(explorer, "nn-heatmap")[1]
    assert "nn-stale" in second._dom_classes
    slow.go.release()
    explorer.drain()
    assert "nn-stale" not in second._dom_classes
    explorer.compare = None
    sets(the(explorer, "nn-picture"), value=2)
    explorer.drain()
    sets(the(explorer, "nn-compare"), value=True)
    assert second.value == BLANK
    slow.go.release()
    explorer.drain()
    assert second.value != BLANK


def test_compare_from_code(explorer, cnn, digits):
    explorer.compare = nni.SmoothGrad(n_samples=3)
    second = nni.explain(cnn, digits[:1], nni.SmoothGrad(n_samples=3)).digest()
    assert explorer.digest().endswith(second)
    explorer.compare = None
    assert explorer.compare is None
    assert second not in explorer.digest()


def test_going_back_costs_no_new_computation(opened, cnn, digits):
    calls = []

    def counted(model, x, target):
        calls.append(1)
        return x.clone()

    explorer = opened(nni.explore(cnn, digits, counted))
    for target in (3, None, 3):
        explorer.target = target
        explorer.drain()
    assert len(calls) == 2
    assert explorer.explanation.target_names == ("3",)


def test_the_last_of_many_changes_is_shown(explorer):
    slider = found(explorer, "nn-epsilon")[0]
    for step in range(-30, 10):
        sets(slider, value=10 ** (step / 10))
    explorer.drain()
    assert explorer.method.rules.epsilon == 7.9
    assert explorer.explanation.method == explorer.method


def test_generations_never_fall(explorer, monkeypatch):
    seen = []
    show = explorer._worker._show
    monkeypatch.setattr(
        explorer._worker, "_show", lambda outcome: (seen.append(outcome.generation), show(outcome))
    )
    for target in range(10):
        explorer.target = target
    explorer.drain()
    assert seen == sorted(seen)
    assert explorer.explanation.target_names == ("9",)


# --- what the buttons do


def test_reset_restores_the_beginning_and_loses_no_drawing(opened):
    explorer = opened(nni.draw(strokes=SEVEN, method=nni.LRP(nni.EpsilonPlus()), target=2))
    begun = explorer.digest()
    explorer.pad.stroke([(4, 4), (6, 6)])
    drawn = explorer.pad.strokes
    explorer.method, explorer.target, explorer.overlay = nni.Saliency(), 4, 0.5
    explorer.compare = nni.Gradient()
    explorer.drain()
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.target, explorer.overlay, explorer.compare) == (2, 0.0, None)
    clicks(explorer, "nn-undo")
    assert explorer.pad.strokes == drawn


def test_settings_of_a_method_survive_another_one(explorer):
    sets(found(explorer, "nn-gamma-field")[0], value=0.7)
    chooses(found(explorer, "nn-method")[0], "Saliency")
    chooses(found(explorer, "nn-method")[0], "LRP")
    assert explorer.drain().method == nni.LRP(nni.EpsilonGammaBox(gamma=0.7))


def test_windows_of_occlusion_suit_the_size_of_the_pictures(opened, explorer):
    layers = nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 3)
    larger = opened(nni.explore(nn.Sequential(*layers).eval(), torch.rand(2, 3, 56, 56)))
    for opened_one, window in ((explorer, 4), (larger, 8)):
        chooses(found(opened_one, "nn-method")[0], "Occlusion")
        expected = nni.Occlusion(window=window, stride=window // 2)
        assert opened_one.drain().method == expected
        sets(found(opened_one, "nn-window-field")[0], value=5)
        chooses(found(opened_one, "nn-method")[0], "LRP")
        clicks(opened_one, "nn-reset")
        chooses(found(opened_one, "nn-method")[0], "Occlusion")
        assert opened_one.drain().method == expected
        mark = found(opened_one, "nn-number")[0].children[2].value
        assert mark == f"<small>default {window}</small>"


@pytest.mark.parametrize(
    "method",
    [
        *(kind() for kind in nni.METHODS if kind is not nni.CAM),
        nni.SmoothGrad(of=nni.LRP(nni.EpsilonPlus(epsilon=0.5)), n_samples=3, seed=4),
        nni.LRP({"conv1": nni.ZBox(), ":maxpool": nni.WinnerTakesAll(), "*": nni.Gamma(gamma=0.5)}),
    ],
    ids=repr,
)
def test_the_copied_cell_makes_the_same_numbers(drawing, method):
    drawing.method, drawing.target = method, 2
    assert repr(result_of(copied(drawing))) == drawing.digest()


def test_a_drawing_is_as_the_model_takes_it(opened, cnn):
    model = copy.deepcopy(cnn).double()
    explorer = opened(nni.draw(model, strokes=SEVEN))
    assert explorer.explanation.attribution.dtype == torch.float64
    assert repr(result_of(copied(explorer), model=model)) == explorer.digest()


def test_the_copied_cell_of_a_batch_names_the_picture(explorer, cnn, digits):
    explorer.target = nni.Difference(4, 9)
    sets(the(explorer, "nn-picture"), value=2)
    assert repr(result_of(copied(explorer), model=cnn, x=digits)) == explorer.digest()


def test_the_copied_cell_makes_layer_overlay_and_comparison(drawing):
    drawing.compare, drawing.overlay = nni.SmoothGrad(n_samples=3), 0.5
    drawing.layer = "conv2"
    again = result_of(copied(drawing))
    assert again.digest() == drawing.digest()
    assert (heatmap(again), heatmap(again, 1)) == (heatmap(drawing), heatmap(drawing, 1))
    again.close()


def test_the_copied_cell_keeps_two_scales(opened, explorer, cnn, digits):
    explorer.compare, explorer.one_scale = nni.Saliency(), False
    explorer.drain()
    again = opened(result_of(copied(explorer), model=cnn, x=digits))
    assert (heatmap(again), heatmap(again, 1)) == (heatmap(explorer), heatmap(explorer, 1))
    explorer.one_scale = True
    assert heatmap(again) != heatmap(explorer)


def test_the_copied_cell_of_your_own_function_and_target(opened, cnn, digits):
    def margin(logits):
        return logits[:, 7] - logits[:, 1]

    explorer = opened(nni.explore(cnn, digits[:1], gradient_times_square, margin))
    cell = copied(explorer)
    space = {"gradient_times_square": gradient_times_square, "margin": margin}
    assert repr(result_of(cell, model=cnn, x=digits[:1], **space)) == explorer.digest()


@pytest.mark.parametrize(
    ("method", "undefined"),
    [
        (lambda model, x, target: x**2, "method, target"),
        (functools.partial(gradient_times_square), "method, target"),
        (nni.IntegratedGradients(baseline=torch.full((1, 28, 28), 0.5)), "baseline, target"),
    ],
    ids=["lambda", "object", "tensor"],
)
def test_the_copied_cell_says_what_has_no_code(opened, cnn, digits, method, undefined):
    target = functools.partial(torch.select, dim=1, index=3)
    explorer = opened(nni.explore(cnn, digits[:1], method, target))
    cell = copied(explorer)
    assert cell.startswith(f"# define {undefined}: they have no code of their own\nimport")
    space = {"method": method, "target": target, "baseline": getattr(method, "baseline", None)}
    assert repr(result_of(cell, model=cnn, x=digits[:1], **space)) == explorer.digest()


@pytest.mark.parametrize("change", [{"target": 3}, {"layer": "conv2"}, {"overlay": 0.5}], ids=str)
def test_code_that_was_copied_is_gone_with_its_picture(explorer, change):
    copied(explorer)
    assert the(explorer, "nn-code").layout.display is None
    for name, value in change.items():
        setattr(explorer, name, value)
    assert the(explorer, "nn-code").layout.display == "none"


def test_save_png_carries_scale_and_parameters(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    picture = Image.open(io.BytesIO(saved["heatmap-1.png"]))
    assert picture.text["Method"] == "nni.LRP()"
    assert picture.text["Explanation"] == explorer.digest()


def test_save_numbers_is_exact(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    explorer.compare = nni.Gradient()
    explorer.drain()
    clicks(explorer, "nn-save-numbers")
    with np.load(io.BytesIO(saved["attribution-1.npz"])) as first:
        np.testing.assert_array_equal(first["attribution"], explorer.explanation.attribution)
        np.testing.assert_array_equal(first["x"], explorer.explanation.x)
    with np.load(io.BytesIO(saved["attribution-2.npz"])) as second:
        assert str(second["method"]) == "nni.Gradient()"


# --- the drawing


def test_an_empty_canvas_asks_for_a_drawing_and_every_button_works(opened, monkeypatch):
    explorer = opened(nni.draw())
    saved = downloads(explorer, monkeypatch)
    for button in ("nn-cancel", "nn-copy-as-code", "nn-save-png", "nn-save-numbers", "nn-reset"):
        clicks(explorer, button)
        assert explorer.digest() == "Draw a digit on the black square."
    assert (explorer.explanation, saved, heatmap(explorer)) == (None, {}, BLANK)
    explorer.pad.stroke(SEVEN[0])
    assert "predicted 7" in explorer.digest()


def test_a_cleared_canvas_shows_nothing_of_before(drawing):
    clicks(drawing, "nn-clear")
    drawing.drain()
    assert (drawing.explanation, heatmap(drawing)) == (None, BLANK)
    assert drawing.digest() == "Draw a digit on the black square."
    clicks(drawing, "nn-undo")
    assert "predicted 7" in drawing.digest()


def test_only_drawings_have_a_pad(explorer, drawing):
    assert drawing.pad.strokes
    with pytest.raises(AttributeError, match=r"nni.draw\(\) has a pad"):
        _ = explorer.pad


def test_a_growing_stroke_costs_few_messages(drawing, told):
    drawing.pad.stroke([(4, 4), (5, 5)])
    drawing.drain()
    told.clear()
    sends(drawing.pad, type="stroke", stroke="s", start=0, points=[[9, 20]], end=False)
    drawing.drain()
    assert sum(told.values()) <= 16, told
    told.clear()
    clicks_bar(drawing, 7)
    clicks_bar(drawing, 7)
    drawing.drain()
    assert told["Image.value"] <= 1, told


# --- slow work


def test_progress_and_cancel_keep_the_last_good_picture(opened, cnn, digits, slow):
    explorer = opened(nni.explore(cnn, digits))
    before = heatmap(explorer)
    explorer.method = slow
    assert slow.at_work.wait(10)
    assert "slow is at work" in the(explorer, "nn-progress").value
    since = time.perf_counter()
    clicks(explorer, "nn-cancel")
    assert time.perf_counter() - since < 5
    assert status(explorer) == "Cancelled. The picture is the last one that was ready."
    assert "nn-stale" in found(explorer, "nn-heatmap")[0]._dom_classes
    slow.go.release()
    explorer.drain()
    assert heatmap(explorer) == before
    assert status(explorer).startswith("Cancelled")
    assert the(explorer, "nn-progress").value == ""
    explorer.method = nni.Gradient()
    explorer.drain()
    assert "nn-stale" not in found(explorer, "nn-heatmap")[0]._dom_classes


def test_progress_counts_the_steps_and_cancel_says_how_many(opened, cnn, digits, slow):
    explorer = opened(nni.explore(cnn, digits, nni.Gradient()))
    explorer.method = nni.SmoothGrad(of=slow, n_samples=50)
    seen = []
    explorer._status.advance = lambda *progress: seen.append(progress[:3])
    for _ in range(2):
        slow.go.release()
    deadline = time.monotonic() + 10
    while not seen and time.monotonic() < deadline:
        time.sleep(0.001)
    sends(explorer._page, type="escape")
    for _ in range(50):
        slow.go.release()
    explorer.drain()
    what, done, of = seen[0]
    assert (what, of) == ("SmoothGrad", 50)
    assert 0 < done < 50
    assert f"Cancelled after {seen[-1][1]} of 50." in status(explorer)


def test_cancel_with_nothing_to_do_changes_nothing(explorer):
    before = status(explorer)
    clicks(explorer, "nn-cancel")
    assert status(explorer) == before


# --- what goes wrong


def trained():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).train(), torch.rand(1, 1, 2, 2)


def softmaxed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(1))
    return model.eval(), torch.rand(1, 1, 2, 2)


def misshapen():
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).eval(), torch.rand(1, 1, 2, 2)


def spoilt():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), torch.full((1, 1, 2, 2), torch.nan)


def whole_numbers():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    return model.eval(), torch.ones(1, 1, 2, 2, dtype=torch.uint8)


class Broken(nn.Module):
    def forward(self, x):
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (trained, "must be in evaluation mode; got training mode"),
        (softmaxed, "softmax"),
        (misshapen, "must be an input that the model can take; got shape (1, 1, 2, 2)"),
        (spoilt, "must be finite numbers; got 4 pixels that are NaN or infinite"),
        (whole_numbers, "must be a tensor of floating-point numbers; got dtype torch.uint8"),
        (lambda: (Broken().eval(), torch.rand(1, 1, 2, 2)), "lost"),
    ],
    ids=["training", "softmax", "shape", "nan", "dtype", "raises"],
)
def test_what_goes_wrong_is_said_in_place(opened, case, words):
    explorer = opened(nni.explore(*case()))
    assert words in explorer.digest()
    assert 'role="alert"' in the(explorer, "nn-status").value
    assert explorer.explanation is None
    chooses(found(explorer, "nn-method")[0], "Gradient")
    assert words in explorer.digest()


def test_an_operation_without_a_rule_is_named_and_gradients_go_on(opened):
    explorer = opened(nni.explore(*gated()))
    assert "LRP: no rule for" in explorer.digest()
    chooses(found(explorer, "nn-method")[0], "Gradient")
    assert explorer.digest().startswith("nni.Gradient()")
    assert "nn-stale" not in found(explorer, "nn-heatmap")[0]._dom_classes


class InGroups(nn.Module):
    """A layer whose relevance has no picture: ``groups`` makes (N, 2, 2, H, W)."""

    def __init__(self):
        super().__init__()
        self.conv, self.groups = nn.Conv2d(1, 4, 3), nn.Unflatten(1, (2, 2))
        self.flatten, self.dense = nn.Flatten(), nn.Linear(4 * 6 * 6, 3)

    def forward(self, x):
        return self.dense(self.flatten(self.groups(self.conv(x)).relu()))


@pytest.mark.parametrize("open_", [nni.explore, nni.explore_rules, nni.explore_references])
def test_a_layer_without_a_picture_is_said_in_place(opened, monkeypatch, open_):
    explorer = opened(open_(InGroups().eval(), torch.rand(2, 1, 8, 8)))
    saved = downloads(explorer, monkeypatch)
    chooses(the(explorer, "nn-layer"), "groups")
    assert explorer.digest().startswith("heatmap: the attribution must be of shape")
    assert "nn-stale" in found(explorer, "nn-heatmap")[0]._dom_classes
    assert "image/png" not in explorer._repr_mimebundle_()
    clicks(explorer, "nn-save-png")
    assert not saved
    sets(the(explorer, "nn-picture"), value=1)
    assert explorer.digest().startswith("heatmap: the attribution must be of shape")
    chooses(the(explorer, "nn-layer"), "conv")
    assert ", at conv, " in explorer.digest()
    assert status(explorer).startswith("predicted")
    assert "nn-stale" not in found(explorer, "nn-heatmap")[0]._dom_classes


def test_volumes_are_displayed_as_the_sentence_that_refuses_them(opened):
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(128, 3)).eval()
    bundle = opened(nni.explore(model, torch.rand(1, 1, 6, 6, 6)))._repr_mimebundle_()
    assert bundle["text/plain"].startswith("heatmap: the attribution must be of shape")
    assert "image/png" not in bundle


def test_an_error_leaves_the_last_picture_dimmed_until_it_is_mended(explorer):
    before = heatmap(explorer)
    explorer.target = 17
    assert explorer.digest() == (
        "LRP: target must be a class from 0 to 9; got 17. Choose one of the classes."
    )
    assert heatmap(explorer) == before
    assert "nn-stale" in found(explorer, "nn-heatmap")[0]._dom_classes
    clicks_bar(explorer, 3)
    assert "target 3" in explorer.digest()


def test_a_target_out_of_range_from_the_beginning(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, target=17))
    assert "a class from 0 to 9; got 17" in explorer.digest()
    chooses(the(explorer, "nn-target"), "the predicted class")
    assert "predicted" in explorer.digest()


def test_an_error_stays_although_work_was_under_way(opened, cnn, digits, slow):
    explorer = opened(nni.explore(cnn, digits, nni.Gradient()))
    explorer.method = nni.SmoothGrad(of=slow, n_samples=100)
    slow.go.release(2)  # a single row is tried first, to see how many fit into a batch
    wait_until(lambda: "a first picture" in status(explorer))
    sets(the(explorer, "nn-noise_level-field"), value=-1.0)
    slow.go.release(4)
    explorer.drain()
    assert status(explorer).startswith("SmoothGrad: noise_level must be")


def test_a_request_that_is_refused_is_not_called_cancelled(opened, cnn, digits, slow, monkeypatch):
    def refuse():
        raise ValueError("No.")

    explorer = opened(nni.explore(cnn, digits))
    explorer.method = slow
    assert slow.at_work.wait(10)
    monkeypatch.setattr(explorer, "_request", refuse)
    clicks_bar(explorer, 2)
    slow.go.release()
    assert status(explorer.drain()) == "No."


def test_work_that_is_cancelled_after_an_error_is_called_cancelled(opened, cnn, digits, slow):
    explorer = opened(nni.explore(cnn, digits, target=17))
    assert "got 17" in status(explorer)
    explorer.method = slow
    explorer.target = 3
    assert slow.at_work.wait(10)
    clicks(explorer, "nn-cancel")
    assert status(explorer).startswith("Cancelled")
    slow.go.release()
    assert status(explorer.drain()).startswith("Cancelled")


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass within 10 s"
        time.sleep(0.001)


def test_an_illegal_number_that_is_typed(explorer):
    sets(found(explorer, "nn-epsilon-field")[0], value=-1.0)
    assert status(explorer) == (
        "EpsilonGammaBox: epsilon must be a number of at least 0; got -1.0. Try 0.01."
    )
    sets(found(explorer, "nn-epsilon-field")[0], value=0.5)
    assert explorer.digest().startswith("nni.LRP(rules=nni.EpsilonGammaBox(epsilon=0.5))")


def test_an_illegal_number_does_not_outlive_its_error(explorer):
    fields = [found(explorer, f"nn-{name}-field")[0] for name in ("epsilon", "gamma")]
    for field in fields:
        sets(field, value=-1.0)
    clicks_bar(explorer, 3)
    assert "target 3" in explorer.digest()
    assert [field.value for field in fields] == [0.01, 0.25]


def test_rules_that_cannot_be_edited_are_an_error_in_place(explorer):
    sets(found(explorer, "nn-high-field")[0], value=0.0)
    explorer.drain()
    explorer._status.say("")
    chooses(the(explorer._panes[0].controls, "nn-rule-conv2"), "ZPlus")
    assert status(explorer).startswith("ZBox: low must be below high")


def test_a_layer_that_does_not_exist(explorer):
    with pytest.raises(ValueError, match=r"layer must be one of \(input\), conv1, .*'conv9'"):
        explorer.layer = "conv9"
    assert explorer.layer == "(input)"


@pytest.mark.parametrize("x", [torch.rand(5), torch.empty(0, 1, 2, 2), [[1.0]]])
def test_what_is_no_batch_is_refused(cnn, x):
    with pytest.raises(ValueError, match="explore: x must be a batch of pictures"):
        nni.explore(cnn, x)


@pytest.mark.parametrize("target", [[1], (1, 2, 3), torch.tensor([1]), np.array([1, 2, 3])])
def test_a_wrong_number_of_targets_is_refused_at_once(explorer, cnn, digits, target):
    words = "Explorer: target must be one class or {} classes, one per picture; got {} classes"
    with pytest.raises(ValueError, match=words.format(2, len(target))):
        nni.explore(cnn, digits[:2], target=target)
    with pytest.raises(ValueError, match=words.format(4, len(target))):
        explorer.target = target


@pytest.mark.parametrize("methods", [gradient_times_square, nni.LRP(), 3])
def test_methods_that_are_no_list_are_refused(cnn, digits, methods):
    with pytest.raises(ValueError, match=r"methods must be a list of methods; got .*\[\.\.\.\]"):
        nni.explore(cnn, digits, methods=methods)


@pytest.mark.parametrize("name", ["low", "high", "classes"])
@pytest.mark.parametrize("value", [nn.Identity(), 5, "ab"], ids=["module", "number", "text"])
def test_attributes_that_mean_something_else_are_left_alone(opened, digits, name, value):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    setattr(model, name, value)
    explorer = opened(nni.explore(model.eval(), digits, nni.Gradient()))
    assert explorer.digest() == nni.explain(model, digits[:1], nni.Gradient()).digest()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_explorer_that_could_not_be_made_is_closed_in_silence():
    explorer = nni.Explorer.__new__(nni.Explorer)
    with pytest.raises(TypeError):
        explorer.__init__()
    explorer.close()
    del explorer
    gc.collect()


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine"), RuntimeError("mine")])
def test_a_function_that_raises_is_an_error_in_place(opened, cnn, digits, error):
    def mine(model, x, target):
        raise error

    explorer = opened(nni.explore(cnn, digits, mine, methods=[mine, nni.Gradient()]))
    assert "mine" in explorer.digest()
    chooses(found(explorer, "nn-method")[0], "Gradient")
    assert "nni.Gradient()" in explorer.digest()


def test_a_function_that_returns_another_shape(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, lambda model, x, target: x.sum(1)))
    assert "must be a tensor shaped like x, (1, 1, 28, 28)" in explorer.digest()


# --- any model, any method, any target


def test_a_function_is_a_method_under_its_own_name(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, methods=[gradient_times_square, nni.Saliency()]))
    assert found(explorer, "nn-method")[0].options == ("gradient_times_square", "Saliency")
    assert explorer.digest().startswith("gradient_times_square, target")
    explorer.method = nni.SmoothGrad(of=gradient_times_square, n_samples=2)
    assert "SmoothGrad" in explorer.digest()


def test_a_difference_of_classes_and_a_function_as_target(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, target=nni.Difference(7, 1)))
    assert "target 7 − 1" in explorer.digest()
    assert the(explorer, "nn-target").label == "your target"
    explorer.target = lambda logits: logits[:, 3] * 2
    assert "target a function" in explorer.digest()


def test_one_target_per_picture(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, target=torch.tensor([5, 6, 7, 8])))
    assert "target 5" in explorer.digest()
    sets(the(explorer, "nn-picture"), value=2)
    assert "target 7" in explorer.digest()
    assert "target=7" in explorer.code()
    explorer.target = np.array([1, 2, 3, 4])
    assert "target 3" in explorer.digest()
    sets(the(explorer, "nn-picture"), value=1)
    assert "target 2" in explorer.digest()


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)),
         torch.rand(2, 2, 6)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 1)), torch.rand(1, 1, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), torch.rand(1, 1, 5, 5).double()),
    ],
    ids=["vectors", "sequences", "colour", "one output", "float64"],
)  # fmt: skip
def test_any_model_without_a_name_for_its_classes(opened, model, x):
    explorer = opened(nni.explore(model.eval(), x))
    assert explorer.digest() == nni.explain(model, x[:1]).digest()
    assert heatmap(explorer)
    classes = model(x).shape[1]
    assert the(explorer, "nn-target").options[-1] == str(classes - 1)
    refusals = []
    for kind in nni.METHODS:
        explorer.method = kind()
        try:
            expected = nni.explain(model, x[:1], kind()).digest()
        except (ValueError, nni.UnsupportedOperation) as error:
            expected = str(error)
            refusals.append(expected)
        assert explorer.digest() == expected
    assert all("spatial maps" in words or "average of every map" in words for words in refusals)


def test_a_method_that_the_model_cannot_have_is_refused_in_place(explorer, cnn, digits):
    def expected(method):
        return nni.explain(cnn, digits[:1], method).digest()

    sentence = "CAM: the end of the model must be one dense layer on the global average"
    picker, shown = found(explorer, "nn-method")[0], found(explorer, "nn-heatmap")[0]
    chooses(picker, "CAM")
    assert explorer.digest().startswith(sentence)
    assert explorer.digest().endswith("Use GradCAM, which needs no such end.")
    assert "nn-stale" in shown._dom_classes
    chooses(picker, "Grad-CAM")
    assert explorer.digest() == expected(nni.GradCAM())
    assert "nn-stale" not in shown._dom_classes
    explorer.compare = nni.CAM()
    assert explorer.digest().startswith(sentence)
    explorer.compare = None
    assert explorer.digest() == expected(nni.GradCAM())


def test_a_deep_model_on_large_pictures(opened):
    layers = [nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()]
    for _ in range(12):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 30)).eval()
    explorer = opened(nni.explore(model, torch.rand(2, 3, 224, 224)))
    assert explorer.explanation is not None
    assert len(found(explorer, "nn-rule")) == 14
    assert Image.open(io.BytesIO(heatmap(explorer))).size == (224, 224)


# --- explorers among others


@pytest.mark.parametrize(
    "open_",
    [
        lambda *given: nni.explore(*given, nni.Gradient()),
        nni.explore_path,
        nni.explore_noise,
        nni.explore_rules,
        nni.explore_layers,
        nni.explore_references,
        nni.explore_occlusion,
    ],
)
def test_a_model_that_was_trained_is_explained_anew(opened, open_):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    explorer = opened(open_(model, torch.rand(1, 1, 6, 6)))
    with torch.no_grad():
        model[1].weight.mul_(-3)
    clicks(explorer, "nn-reset")
    fresh = opened(open_(model, explorer._source.current()[1]))
    assert explorer.digest() == fresh.digest()
    assert [picture.value for picture in found(explorer, "nn-px")] == [
        picture.value for picture in found(fresh, "nn-px")
    ]


def test_two_explorers_on_one_model_disturb_neither_each_other_nor_the_model(cnn, digits):
    alone = [nni.explain(cnn, digits[:1], m).digest() for m in (nni.LRP(), nni.SmoothGrad())]
    state = {name: value.clone() for name, value in cnn.state_dict().items()}
    with contextlib.ExitStack() as stack:
        two = [nni.explore(cnn, digits, m) for m in (nni.LRP(), nni.SmoothGrad())]
        for explorer in two:
            stack.callback(explorer.close)
        for target in (*range(5), None):
            for explorer in two:
                explorer.target = target
        assert [explorer.digest() for explorer in two] == alone
    assert not cnn.training
    assert all(p.grad is None for p in cnn.parameters())
    assert all(torch.equal(value, cnn.state_dict()[name]) for name, value in state.items())
    assert not any(module._forward_hooks for module in cnn.modules())


def test_changes_from_several_threads_end_on_one_state(explorer):
    def change(targets):
        for target in targets:
            explorer.target = target

    threads = [threading.Thread(target=change, args=(range(10),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    explorer.drain()
    assert explorer.explanation.target_names == (str(explorer.target),) == ("9",)


def test_the_mime_bundle_has_widget_picture_and_numbers(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.digest()
    assert Image.open(io.BytesIO(_bytes(bundle["image/png"]))).text["Method"] == "nni.LRP()"
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.model_id


def _bytes(png):
    return png if isinstance(png, bytes) else base64.b64decode(png)


def test_the_mime_bundle_of_an_error_has_no_picture_of_before(explorer):
    explorer.target = 17
    bundle = explorer._repr_mimebundle_()
    assert "got 17" in bundle["text/plain"]
    assert "image/png" not in bundle


def test_a_slow_explorer_is_displayed_without_waiting_for_its_end(cnn, digits, slow, monkeypatch):
    monkeypatch.setattr("nni_widgets.widgets.bases.live._DISPLAY_WAITS", 0.01)
    explorer = nni.explore(cnn, digits, slow)
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == "The first picture is being computed …"
    assert "image/png" not in bundle
    slow.go.release()
    explorer.drain().close()


def test_large_type(opened):
    assert "nn-large" in opened(nni.draw(large=True))._dom_classes
    assert "nn-large" not in opened(nni.draw())._dom_classes


def test_fifty_explorers_leave_no_thread_and_no_widget(cnn, digits):
    def live(method):
        explorer = nni.explore(cnn, digits, method)
        explorer.compare = nni.Saliency()
        explorer.drain().close()

    live(nni.LRP())
    threads, open_widgets = threading.active_count(), registered()
    for number in range(50):
        live(nni.LRP() if number % 2 else nni.IntegratedGradients(n_steps=2))
    assert (threading.active_count(), registered()) == (threads, open_widgets)
