"""The References explorer: compared with what, by which rule, and what arrives at each layer."""

import io
import re
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures import heatmap, palette_png, picture_png, scale_of
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]
PICTURES = ("nn-reference-picture", "nn-change-map", "nn-lift-map")


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_references(cnn, digits))


def bars(explorer):
    return the(explorer, "nn-deltas").marks[0]


def cells_of(explorer, label):
    (row,) = re.findall(
        rf'<tr[^>]*><th scope="row">{re.escape(label)}</th>(.*?)</tr>',
        the(explorer, "nn-layer-table").value,
    )
    return re.findall(r"<td>(.*?)</td>", row)


def test_picture_reference_difference_and_attribution(explorer, cnn, digits):
    reference = digits[1:2]
    explorer.method = method = nni.DeepLIFT(reference=reference)
    made = nni.explain(cnn, digits[:1], method)
    assert explorer.digest().startswith(made.digest())
    assert the(explorer, "nn-reference-picture").value == picture_png(reference[0], 0.0, 1.0)
    change = heatmap(digits[:1] - reference)[0]
    assert the(explorer, "nn-change-map").value == palette_png(change, scale_of(change))
    assert the(explorer, "nn-lift-map").value == palette_png(made.heatmap(), made.scale())
    assert found(explorer, "nn-sum")[1].value == f"<p>{made.adds_up()}</p>"


def test_the_whole_difference_arrives_at_each_layer(explorer):
    expected = float(explorer.explanation.expected)
    handed_on, *lost = bars(explorer).y
    assert handed_on.tolist() == pytest.approx([expected] * 6, rel=1e-5)
    assert not np.any(lost)
    assert list(bars(explorer).x) == ["fc2", "fc1", "conv3", "conv2", "conv1", "(input)"]


def test_the_linear_rule_loses_at_nonlinearities(explorer):
    chooses(the(explorer, "nn-conv"), "linear")
    made = explorer.drain().explanation
    lost = sum(bars(explorer).y[1:].sum(0))
    assert lost == pytest.approx(float(made.gap), abs=0.01 * abs(float(made.expected)))
    assert lost != 0
    relu = next(layer for layer in made.result.layers if layer.label == "relu3")
    arrived, speaks_for, against, words = cells_of(explorer, "relu3")
    assert float(arrived) == pytest.approx(float(relu.arrived), abs=0.06)
    assert float(speaks_for) == pytest.approx(float(relu.relevance.clamp(min=0).sum()), abs=0.06)
    assert against == "−" + f"{-float(relu.relevance.clamp(max=0).sum()):.1f}"
    assert words.endswith(explorer.digest().split("relu3: ")[1].split("\n")[0].split("lost: ")[1])


def test_a_click_on_a_layer_shows_the_map_there(explorer, cnn, digits):
    generation = explorer._worker._generation
    rows = the(explorer, "nn-deltas").marks[1]
    sends(rows, event="element_click", data={"index": 2})
    made = nni.explain(cnn, digits[:1], nni.DeepLIFT(), layer="conv3")
    assert explorer.layer == the(explorer, "nn-layer").value == "conv3"
    assert the(explorer, "nn-lift-map").value == palette_png(made.shown(), made.scale())
    assert explorer.digest().startswith(made.digest())
    assert [opacity > 0 for opacity in rows.opacities] == [False, False, True, *[False] * 3]
    assert the(explorer, "nn-layer-table").value.count('aria-current="true"') == 1
    assert explorer._worker._generation == generation, "the map was there: nothing to compute"
    chooses(the(explorer, "nn-layer"), "(input)")
    assert explorer.digest().startswith(nni.explain(cnn, digits[:1], nni.DeepLIFT()).digest())


def test_every_layer_is_in_the_picker_and_others_are_refused(explorer):
    labels = [layer.label for layer in explorer.explanation.result.layers]
    assert list(the(explorer, "nn-layer").options) == ["(input)", *reversed(labels)]
    with pytest.raises(ValueError, match=r"Explorer: layer must be one of \(input\), conv1"):
        explorer.layer = "conv9"


def test_the_input_becomes_the_reference(explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=2)
    clicks(explorer, "nn-use-the-input-as-reference")
    assert "The picture equals its reference: there is nothing to explain." in explorer.digest()
    sets(the(explorer, "nn-picture"), value=1)
    method = nni.DeepLIFT(reference=digits[2:3])
    assert explorer.digest().startswith(nni.explain(cnn, digits[1:2], method).digest())
    assert the(explorer, "nn-reference-picture").value == picture_png(digits[2], 0.0, 1.0)
    chooses(the(explorer, "nn-reference"), "Constant (default)")
    assert explorer.drain().method == nni.DeepLIFT()
    chooses(the(explorer, "nn-reference"), "Chosen picture")
    assert "baseline = x[2:3]\n" in explorer.code()


def test_the_chosen_reference_is_kept_when_the_batch_changes(opened, cnn, digits):
    x = digits.clone()
    explorer = opened(nni.explore_references(cnn, x))
    clicks(explorer, "nn-use-the-input-as-reference")
    explorer.drain()
    x[0] = 1.0
    sets(the(explorer, "nn-picture"), value=1)
    explorer.drain()
    assert the(explorer, "nn-reference-picture").value == picture_png(digits[0], 0.0, 1.0)


@pytest.mark.parametrize(
    ("reference", "title", "differs"),
    [
        (nni.Blur(sigma=2.0), "the reference x′", "Every pixel differs"),
        (nni.ImageMean(), "the reference x′", "Every pixel differs"),
        (nni.Noise(n_samples=3), "3 references", "Every pixel differs"),
        (nni.Several(of=[0.0, 1.0]), "2 references", "Every pixel differs"),
        (nni.UniformNoise(n_samples=4), "4 references", "Every pixel differs"),
        (nni.UniformNoise(n_samples=5), "4 of 5 references", "Every pixel differs"),
    ],
    ids=repr,
)
def test_any_reference(explorer, cnn, digits, reference, title, differs):
    x = digits[:1]
    explorer.method = method = nni.DeepLIFT(reference=reference)
    digest = explorer.digest()
    assert digest.startswith(nni.explain(cnn, x, method).digest())
    assert differs in digest
    titles = [each.value for each in found(explorer, "nn-title")]
    assert titles[0] == f"<b>{title}</b>"
    pictures = reference(x)[:, 0]
    assert ("the mean of" in titles[1]) == (len(pictures) > 1)
    side_by_side = {
        4: lambda p: torch.cat([torch.cat((p[0], p[1]), -1), torch.cat((p[2], p[3]), -1)], -2)
    }.get(len(pictures[:4]), lambda p: torch.cat(tuple(p), -1))(pictures)
    expected = picture_png(side_by_side, 0.0, 1.0)
    assert the(explorer, "nn-reference-picture").value == expected
    change = heatmap(x - pictures.mean(0))[0]
    assert the(explorer, "nn-change-map").value == palette_png(change, scale_of(change))


def test_the_controls_are_those_of_the_method(explorer):
    chooses(the(explorer, "nn-dense"), "rescale")
    chooses(the(explorer, "nn-reference"), "Blurred picture")
    sets(the(explorer, "nn-sigma-field"), value=3.0)
    method = nni.DeepLIFT(dense="rescale", reference=nni.Blur(sigma=3.0))
    assert explorer.drain().method == method


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=2)
    clicks(explorer, "nn-use-the-input-as-reference")
    sets(the(explorer, "nn-picture"), value=1)
    chooses(the(explorer, "nn-conv"), "reveal-cancel")
    explorer.target, explorer.layer = 3, "relu2"
    cell = copied(explorer)
    assert cell == (
        "import nni_widgets as nni\n\nbaseline = x[2:3]\n"
        "explorer = nni.explore_references(model, x[1:2], "
        "nni.DeepLIFT(conv='reveal-cancel', reference=baseline), target=3)\n"
        "explorer.layer = 'relu2'\nexplorer"
    )
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.drain().digest()
    for name in PICTURES:
        assert the(again, name).value == the(explorer, name).value


def test_a_reference_without_code_is_to_be_defined(explorer, digits):
    explorer.method = nni.DeepLIFT(reference=digits[1:2])
    assert copied(explorer).startswith("# define baseline: it has no code of its own\n")


def test_a_drawing_its_reference_and_their_copied_cell(opened):
    explorer = opened(nni.explore_references(strokes=SEVEN))
    clicks(explorer, "nn-use-the-input-as-reference")
    explorer.pad.strokes = [*SEVEN, [(8, 15), (18, 15)]]
    digest = explorer.digest()
    assert "gap 0.0" in digest
    assert "equal the reference and get nothing" in digest
    assert opened(result_of(copied(explorer))).digest() == digest
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    for name in PICTURES:
        assert the(explorer, name).value == BLANK
    assert the(explorer, "nn-layer-table").value == ""
    clicks(explorer, "nn-use-the-input-as-reference")
    assert explorer.digest() == "Draw a digit on the black square."


def test_reset(explorer):
    begun = explorer.digest()
    clicks(explorer, "nn-use-the-input-as-reference")
    sets(the(explorer, "nn-picture"), value=3)
    explorer.layer = "conv2"
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.layer, explorer.method) == ("(input)", nni.DeepLIFT())


def test_save(explorer, monkeypatch, digits):
    explorer.method = nni.DeepLIFT(conv="linear", reference=digits[1:2])
    explorer.drain()
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == [
        "heatmap-1.png",
        "reference.png",
        "attribution-1.npz",
        "references.npz",
    ]
    assert saved["reference.png"] == the(explorer, "nn-reference-picture").value
    numbers = np.load(io.BytesIO(saved["references.npz"]))
    np.testing.assert_array_equal(numbers["references"], digits[1:2])
    np.testing.assert_array_equal(numbers["difference"], digits[:1] - digits[1:2])
    made = explorer.explanation
    assert numbers["arrived"][0] == pytest.approx(float(made.expected), rel=1e-5)
    assert numbers["lost"].sum() == pytest.approx(float(made.gap), rel=1e-4)


def test_hover_and_another_class(explorer):
    clicks_bar(explorer, 3)
    explorer.drain()
    assert explorer.explanation.target_names == ("3",)
    for pane in (0, 1):
        sends(explorer._page, type="hover", pane=pane, x=0.5, y=0.5)
        assert "pixel (14, 14): " in found(explorer, "nn-hover")[pane].value


@pytest.mark.parametrize("method", [nni.LRP(), nni.DeepLIFT, 3])
def test_a_method_without_a_reference_is_refused(cnn, digits, method):
    with pytest.raises(ValueError, match="ReferencesExplorer: method must be one that compares"):
        nni.explore_references(cnn, digits, method)


def test_what_goes_wrong_is_said_in_place(explorer):
    before = the(explorer, "nn-lift-map").value
    explorer.method = nni.DeepLIFT(reference=torch.zeros(5, 5))
    digest = explorer.digest()
    assert digest.startswith("DeepLIFT: ")
    assert "must be a number or a tensor that broadcasts to x" in digest
    assert the(explorer, "nn-lift-map").value == before
    assert "nn-stale" in the(explorer, "nn-lift-map")._dom_classes
    explorer.method = nni.DeepLIFT(dense="rescale")
    assert explorer.digest().startswith("nni.DeepLIFT(dense='rescale')")


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)).double(), torch.rand(1, 1, 5, 5).double()),
    ],
    ids=["vectors", "colour", "float64"],
)
@pytest.mark.parametrize("reference", [0.0, [0.0, 0.5, 1.0]], ids=["one", "three"])
def test_any_model(opened, model, x, reference):
    method = nni.DeepLIFT(reference=reference)
    explorer = opened(nni.explore_references(model.eval(), x, method))
    assert explorer.digest().startswith(nni.explain(model, x[:1], method).digest())
    assert list(bars(explorer).x)[-1] == "(input)"


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        nni.explore_references(cnn, digits).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
