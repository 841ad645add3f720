"""The Rules explorer: a rule for each layer, and where the relevance goes under it."""

import io
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures import palette_png, scale_of
from nni_widgets.widgets.parts.charts import HANDED_ON
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]
WEIGHTED = ["fc2", "fc1", "conv3", "conv2", "conv1"]


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_rules(cnn, digits))


def bars(explorer):
    return the(explorer, "nn-flow").marks[0]


def row_of(explorer, label):
    return list(bars(explorer).x).index(label)


def clicks_row(explorer, label):
    index = row_of(explorer, label)
    sends(the(explorer, "nn-flow").marks[1], event="element_click", data={"index": index})


def test_it_begins_with_the_usual_rules_and_the_lowest_layer(explorer, cnn, digits):
    made = nni.explain(cnn, digits[:1])
    assert explorer.digest().startswith(made.digest())
    assert explorer.rules == nni.EpsilonGammaBox(low=0.0, high=1.0)
    assert explorer.layer == "conv1"
    assert explorer.digest().endswith(made.at("conv1").digest())
    assert made.adds_up() in found(explorer, "nn-sum")[0].value


def test_the_bars_are_the_flow(explorer, cnn, digits):
    explorer.rules = nni.EpsilonAlpha2Beta1()
    explorer.drain()
    flow = {row.label: row for row in nni.explain(cnn, digits[:1], nni.LRP(explorer.rules)).flow()}
    parts = bars(explorer).y
    assert set(WEIGHTED) <= set(bars(explorer).x)
    for label, parts_of_row in zip(bars(explorer).x, parts.T, strict=True):
        assert parts_of_row.sum() == pytest.approx(flow[label].arrived, rel=1e-5)
    lost = parts[1:, row_of(explorer, "conv1")]
    largest = max(row.arrived for row in flow.values())
    assert lost.sum() == pytest.approx(sum(flow["conv1"].lost.values()), abs=0.01 * largest)
    assert lost.any()


def test_what_was_lost_where_is_said_in_words(explorer):
    explorer.rules = nni.EpsilonAlpha2Beta1()
    text = explorer.digest()
    assert "conv2, AlphaBeta, alpha 2: " in text
    (line,) = [line for line in text.splitlines() if line.startswith("conv1, ")]
    assert "one-signed units " in line
    legend = the(explorer, "nn-legend").value
    assert HANDED_ON in legend
    assert "one-signed units " in legend
    told = found(explorer, "nn-conservation")[4].value
    assert 'aria-label="conv1: arrived' in told
    assert "one-signed units" in told


def test_a_cause_keeps_its_colour(explorer):
    def colours():
        return dict(explorer._chart.colours)

    before = colours()
    explorer.rules = nni.EpsilonAlpha2Beta1()
    after = colours() if explorer.drain() else {}
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after) > len(before)


def test_a_preset_fills_the_table_and_a_row_changes_it(explorer, cnn, digits):
    chooses(the(explorer, "nn-rules"), "EpsilonPlusFlat")
    explorer.drain()
    rules = [picker.value for picker in found(explorer, "nn-rule")]
    assert rules == [nni.Epsilon, nni.Epsilon, nni.ZPlus, nni.ZPlus, nni.Flat]
    chooses(the(explorer, "nn-rule-conv2"), "WSquare")
    explorer.drain()
    assert explorer.rules.table[3] == ("conv2", nni.WSquare())
    assert the(explorer, "nn-rules").label == "own table"
    expected = nni.explain(cnn, digits[:1], nni.LRP(explorer.rules))
    assert explorer.digest().startswith(expected.digest())
    assert "conv2, WSquare: " in explorer.digest()


def test_the_parameters_of_a_preset_are_controls(explorer):
    (gamma, *_) = found(explorer, "nn-gamma-field")
    sets(gamma, value=0.5)
    explorer.drain()
    assert explorer.rules.gamma == 0.5
    assert "conv2, Gamma, gamma 0.5: " in explorer.digest()
    sets(gamma, value=-1.0)
    assert explorer.digest().startswith("EpsilonGammaBox: gamma must be a number of at least 0;")
    assert "nn-stale" in the(explorer, "nn-layer-map")._dom_classes


@pytest.mark.parametrize("label", ["conv2", "pool1", "fc2"])
def test_a_layer_is_chosen_without_computing(explorer, cnn, digits, label):
    generation = explorer._worker._generation
    chooses(the(explorer, "nn-layer"), label)
    assert explorer._worker._generation == generation
    values = nni.explain(cnn, digits[:1]).layer_map(label)
    assert the(explorer, "nn-layer-map").value == palette_png(values, scale_of(values))
    assert f"relevance at {label}" in found(explorer, "nn-title")[1].value


def test_a_click_on_a_row_chooses_its_layer_and_marks_it(explorer):
    clicks_row(explorer, "conv3")
    assert explorer.layer == "conv3"
    marked = the(explorer, "nn-flow").marks[1].opacities
    assert [bool(opacity) for opacity in marked].index(True) == row_of(explorer, "conv3")
    sends(the(explorer, "nn-flow").marks[1], event="element_click", data={"index": 99})
    assert explorer.layer == "conv3"


def test_a_layer_that_is_not_there_is_refused(explorer):
    with pytest.raises(ValueError, match=r"Explorer: layer must be one of conv1, relu1, .*'conv9'"):
        explorer.layer = "conv9"


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=1)
    explorer.rules, explorer.target = nni.Thirds(lower=nni.AlphaBeta()), 3
    explorer.layer = "pool2"
    cell = copied(explorer)
    call = "nni.explore_rules(model, x[1:2], nni.Thirds(lower=nni.AlphaBeta()), target=3)"
    assert call in cell
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    for name in ("nn-pixel-map", "nn-layer-map"):
        assert the(again, name).value == the(explorer, name).value
    np.testing.assert_array_equal(bars(again).y, bars(explorer).y)


def test_an_edited_table_is_copied(opened, explorer, cnn, digits):
    chooses(the(explorer, "nn-rule-conv3"), "AlphaBeta")
    explorer.drain()
    again = opened(result_of(copied(explorer), model=cnn, x=digits))
    assert again.digest() == explorer.digest()


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_rules(strokes=SEVEN))
    assert opened(result_of(copied(explorer))).digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    assert the(explorer, "nn-pixel-map").value == the(explorer, "nn-layer-map").value == BLANK
    assert not bars(explorer).y.any()


def test_reset(explorer):
    begun = explorer.digest()
    explorer.rules = nni.Zero()
    explorer.layer = "fc1"
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert explorer.layer == "conv1"


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["heatmap-1.png", "heatmap-2.png", "attribution.npz", "flow.npz"]
    flow = np.load(io.BytesIO(saved["flow.npz"]))
    arrived = [row.arrived for row in explorer.explanation.flow()]
    np.testing.assert_allclose(flow["arrived"], arrived, rtol=1e-6)
    assert flow["relevance"].shape == (1, 16, 28, 28)
    assert flow["lost: bias"].shape == flow["arrived"].shape


def test_hover_and_another_class(explorer):
    clicks_bar(explorer, 3)
    explorer.drain()
    assert explorer.explanation.target_names == ("3",)
    sends(explorer._page, type="hover", pane=1, x=0.5, y=0.5)
    assert "pixel (14, 14): " in found(explorer, "nn-hover")[1].value


@pytest.mark.parametrize("rules", [3, "gamma", nni.Gamma], ids=repr)
def test_what_is_no_rule_is_refused(cnn, digits, rules):
    with pytest.raises(ValueError, match="LRP: rules must be a rule, a composite or a table"):
        nni.explore_rules(cnn, digits, rules)


def test_what_goes_wrong_is_said_in_place(explorer):
    explorer.rules = {"conv9": nni.Epsilon()}
    assert explorer.digest().startswith("LRP: the layer of a rule must be one of conv1, conv2")
    assert "nn-stale" in the(explorer, "nn-pixel-map")._dom_classes
    chooses(the(explorer, "nn-layer"), "conv2")
    explorer.rules = nni.Gamma()
    assert "nni.LRP(rules=nni.Uniform(rule=nni.Gamma()))" in explorer.digest()
    assert explorer.layer == "conv2"


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 3)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), torch.rand(1, 1, 5, 5).double()),
    ],
    ids=["vectors", "colour", "float64"],
)
def test_any_model(opened, model, x):
    explorer = opened(nni.explore_rules(model.eval(), x, nni.Epsilon()))
    made = nni.explain(model, x[:1], nni.LRP(nni.Epsilon()))
    assert explorer.digest().startswith(made.digest())


def test_a_residual_network_tells_of_every_layer(opened, digits):
    explorer = opened(nni.explore_rules(nni.models.load("digits-resnet"), digits))
    assert "block3.shortcut.conv" in bars(explorer).x
    assert "block3.shortcut.conv, Gamma" in explorer.digest()
    clicks_row(explorer, "block2.conv1")
    assert explorer.layer == "block2.conv1"


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        nni.explore_rules(cnn, digits).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
