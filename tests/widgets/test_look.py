"""The explorer Where does it look: maps over the picture and as they are, and a box."""

import copy
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.methods.maps import layers_with_maps
from nni_widgets.pictures import overlay_png, palette_png, picture_png, scale_of
from nni_widgets.pictures.blend import blended_png
from nni_widgets.pictures.boxes import Box, peak
from nni_widgets.widgets.explorers.look import LookExplorer, explore_look
from nni_widgets.widgets.explorers.look.pane import FAMILY
from nni_widgets.widgets.parts.maps import BLANK
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
    trains,
)

SEVEN = [[(8, 8), (20, 8), (13, 22)]]
BOXES = torch.tensor([[2, 3, 12, 14], [0, 0, 16, 16], [5, 5, 10, 16]])
THE_FAMILY = {nni.CAM, nni.GradCAM, nni.GradCAMPlusPlus, nni.LayerCAM, nni.ScoreCAM,
              nni.GuidedGradCAM}  # fmt: skip


@pytest.fixture(scope="module")
def net():
    """A net that ends in the average of its maps, which are 4 × 4 on pictures of 16 × 16."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)]
        layers += [nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        made = nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 3)).eval()
    made.low, made.high = 0.0, 1.0
    return made


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def explorer(opened, net, pictures):
    return opened(explore_look(net, pictures, boxes=BOXES))


def shown(explorer, name):
    return the(explorer, f"nn-{name}").value


def pick(explorer, name, label, number=0):
    chooses(found(explorer, f"nn-{name}")[number], label)
    return explorer.drain()


def raw_of(method, model, x, target=None):
    return method.raw(model, x, target)[0]


def test_it_begins_with_grad_cam_at_the_last_maps(explorer, net, pictures):
    x, method = pictures[:1], nni.GradCAM()
    values, raw = method(net, x)[0, 0], raw_of(method, net, x)
    scale, box = scale_of(values, signed=False), Box(*BOXES[0].tolist())
    assert explorer.method == method
    assert shown(explorer, "look-map") == blended_png(x[0], values, scale, 0.4, 0, 1, box)
    assert shown(explorer, "look-raw") == palette_png(raw, scale_of(raw, signed=False))
    titles = [title.value for title in found(explorer, "nn-title")[:2]]
    assert titles == ["<b>Grad-CAM at 4</b>", "<b>the map of 4: 4 × 4</b>"]
    assert found(explorer, "nn-sum")[1].value == "<p>Each place stands for about 4 × 4 pixels.</p>"
    digest = explorer.digest()
    assert digest.startswith(nni.explain(net, x, method).digest())
    assert "\nmap of 4, 4 × 4: The peak, pixel (" in digest


def test_the_family_is_offered_and_nothing_else(explorer, net, pictures):
    assert set(FAMILY) == THE_FAMILY
    for kind in FAMILY:
        pick(explorer, "method", kind.title)
        assert explorer.method == kind()
        assert explorer.digest().startswith(nni.explain(net, pictures[:1], kind()).digest())


def test_layers_with_maps_are_offered_the_last_one_first(explorer, net, pictures):
    layers = layers_with_maps(net, pictures[:1])
    assert layers == ("0", "1", "2", "3", "4")
    labels = the(explorer.children[-1].children[0], "nn-layer")._options_labels
    assert labels == ("the last with maps", *reversed(layers))
    for layer, places in {"2": 4, "1": 16}.items():
        pick(explorer, "layer", layer)
        assert explorer.method == nni.GradCAM(layer)
        assert f"map of {layer}, {places} × {places}: " in explorer.digest()
    raw = raw_of(nni.GradCAM("1"), net, pictures[:1])
    assert shown(explorer, "look-raw") == palette_png(raw, scale_of(raw, signed=False))
    pick(explorer, "layer", "the last with maps")
    assert explorer.method == nni.GradCAM()


def test_layer_and_upsampling_stay_when_another_method_is_picked(explorer):
    pick(explorer, "layer", "2")
    pick(explorer, "upsampling", "nearest")
    pick(explorer, "method", "Layer-CAM")
    assert explorer.method == nni.LayerCAM("2", "nearest")
    layer = found(explorer, "nn-layer")[0]
    pick(explorer, "method", "CAM")
    assert explorer.method == nni.CAM(upsampling="nearest")
    assert layer.disabled
    assert "map of 4, " in explorer.digest(), "CAM's layer is the one that is averaged"
    pick(explorer, "method", "Score-CAM")
    assert explorer.method == nni.ScoreCAM("2", "nearest")
    assert not layer.disabled


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_overlay_goes_from_the_picture_to_the_map(opened, net, pictures, strength, monkeypatch):
    explorer = opened(explore_look(net, pictures))
    asked = []
    monkeypatch.setattr(net, "forward", lambda x: asked.append(x))
    sets(the(explorer, "nn-overlay"), value=strength)
    assert not asked
    values = explorer.explanation.heatmap()
    scale = scale_of(values, signed=False)
    x, low, high = pictures[0], explorer.explanation.low, explorer.explanation.high
    expected = {
        0.0: picture_png(x, low, high),
        0.5: overlay_png(x, values, scale, 1.0, low, high),
        1.0: palette_png(values, scale),
    }
    np.testing.assert_array_equal(decoded(shown(explorer, "look-map")), decoded(expected[strength]))
    assert explorer.overlay == strength


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("strength", [-0.1, 1.5, "much", None], ids=repr)
def test_a_wrong_strength_is_refused(explorer, strength):
    with pytest.raises(ValueError, match="LookExplorer: overlay must be a number from 0 to 1"):
        explorer.overlay = strength


def test_the_box_is_that_of_the_picture(explorer, net, pictures):
    seen = []
    for number, box in enumerate(BOXES.tolist()):
        sets(the(explorer, "nn-picture"), value=number)
        words = explorer.digest().splitlines()[-1]
        row, column = peak(nni.GradCAM()(net, pictures[number : number + 1])[0, 0])
        inside = box[0] <= row < box[2] and box[1] <= column < box[3]
        where = "inside" if inside else "outside"
        assert f"The peak, pixel ({column}, {row}), is {where} the box. In it: " in words
        assert where in found(explorer, "nn-sum")[0].value
        seen.append(where)
    assert len(set(seen)) == 2


def test_without_boxes_only_the_peak_is_told(opened, net, pictures):
    explorer = opened(explore_look(net, pictures))
    assert "box" not in explorer.digest()
    assert "The peak, pixel (" in explorer.digest()


def test_two_methods_each_on_its_own_scale(explorer, net, pictures):
    second = [the(explorer, f"nn-second-{name}") for name in ("map", "raw")]
    pane = explorer._panes[1].view
    assert pane.layout.display == "none"
    sets(the(explorer, "nn-compare"), value=True)
    pick(explorer, "method", "CAM", 1)
    assert explorer.compare == nni.CAM()
    assert pane.layout.display is None
    raw = raw_of(nni.CAM(), net, pictures[:1])
    assert second[1].value == palette_png(raw, scale_of(raw))
    ends = [each.value for each in found(explorer, "nn-ends")]
    assert len({*ends}) == 4
    first, other = (nni.explain(net, pictures[:1], m).digest() for m in (nni.GradCAM(), nni.CAM()))
    digest = explorer.digest()
    assert digest.startswith(first)
    assert other in digest
    assert digest.count("the box. In it: ") == 2
    explorer.compare = None
    assert explorer.digest() == digest[: digest.index(other) - 1]
    assert pane.layout.display == "none"


def test_the_other_method_is_not_computed_again(explorer):
    explorer.compare = nni.ScoreCAM()
    explorer.drain()
    passes = []
    first = next(explorer._model.children())
    counting = first.register_forward_hook(lambda *_: passes.append(1))
    explorer.method = nni.GradCAMPlusPlus()  # sees that there is a hook now
    explorer.drain()
    passes.clear()
    explorer.method = nni.LayerCAM()
    explorer.drain()
    counting.remove()
    assert passes == [1]


def test_a_class_is_clicked_and_a_pixel_read(explorer, net, pictures):
    clicks_bar(explorer, 2)
    explorer.drain()
    assert explorer.explanation.target_names == ("2",)
    values = nni.GradCAM()(net, pictures[:1], 2)[0, 0]
    sends(explorer._page, type="hover", pane=0, x=0.5, y=0.25)
    told = found(explorer, "nn-hover")
    assert f"pixel (8, 4): {float(values[4, 8]):+.4g}" in told[0].value
    raw = raw_of(nni.GradCAM(), net, pictures[:1], 2)
    sends(explorer._page, type="hover", pane=1, x=0.5, y=0.25)
    assert f"pixel (2, 1): {float(raw[1, 2]):+.4g}" in told[1].value


def test_score_cam_grows(explorer, monkeypatch):
    monkeypatch.setattr("nni_widgets.engine.methods.score_cam.rows_without_graph", lambda *_: 2)
    done = []
    tell = explorer._tell
    monkeypatch.setattr(
        explorer, "_tell", lambda outcome: done.append(outcome.done) or tell(outcome)
    )
    explorer.method = nni.ScoreCAM()
    explorer.drain()
    assert len(done) > 1
    assert done == sorted(done)


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, net, pictures):
    sets(the(explorer, "nn-picture"), value=1)
    explorer.method, explorer.target = nni.LayerCAM("2", "nearest"), 1
    explorer.compare, explorer.overlay = nni.CAM(), 0.75
    explorer.drain()
    cell = copied(explorer)
    call = "explore_look(model, x[1:2], nni.LayerCAM(layer='2', upsampling='nearest'), "
    assert f"nni.{call}boxes=[[0, 0, 16, 16]], target=1)" in cell
    assert "explorer.compare = nni.CAM()" in cell
    assert "explorer.overlay = 0.75" in cell
    cell = cell.replace("nni.explore_look", "explore_look")
    space = {"model": net, "x": pictures, "explore_look": explore_look}
    again = opened(result_of(cell, **space))
    assert again.digest() == explorer.digest()
    for name in ("look-map", "look-raw", "second-map", "second-raw"):
        assert shown(again, name) == shown(explorer, name)


def test_the_copied_cell_has_the_box_itself(opened, net, pictures):
    explorer = opened(explore_look(net, pictures[1:], boxes=BOXES[1:], names=("model", "some")))
    sets(the(explorer, "nn-picture"), value=1)
    cell = copied(explorer.drain()).replace("nni.explore_look", "explore_look")
    space = {"model": net, "some": pictures[1:], "boxes": BOXES, "explore_look": explore_look}
    assert opened(result_of(cell, **space)).digest() == explorer.digest()


def test_after_training_the_maps_are_others(opened, net, pictures):
    net = copy.deepcopy(net)
    explorer = opened(explore_look(net, pictures))
    trains(net)
    clicks(explorer, "nn-reset")
    assert explorer.digest() == opened(explore_look(net, pictures)).digest()


def test_reset_forgets_the_layer_of_another_method(opened, net, pictures):
    explorer = opened(explore_look(net, pictures, nni.CAM()))
    pick(explorer, "method", "Grad-CAM")
    pick(explorer, "layer", "2")
    clicks(explorer, "nn-reset")
    pick(explorer, "method", "Grad-CAM")
    assert explorer.method == nni.GradCAM()


def test_a_drawing(opened):
    explorer = opened(explore_look(strokes=SEVEN))
    assert "\nmap of pool3, 3 × 3: The peak, pixel (" in explorer.digest()
    cell = copied(explorer).replace("nni.explore_look", "explore_look")
    again = opened(result_of(cell, explore_look=explore_look))
    assert again.digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    assert shown(explorer, "look-map") == shown(explorer, "look-raw") == BLANK


def test_reset(explorer):
    begun = explorer.digest()
    pick(explorer, "method", "Layer-CAM")
    pick(explorer, "layer", "1")
    explorer.compare, explorer.overlay = nni.ScoreCAM("2"), 1.0
    sets(the(explorer, "nn-picture"), value=2)
    explorer.drain()
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.method, explorer.compare, explorer.overlay) == (nni.GradCAM(), None, 0.4)
    explorer.compare = explorer._panes[1].method
    assert explorer.drain().compare == nni.GradCAMPlusPlus()


def test_save(explorer, net, pictures, monkeypatch):
    explorer.compare = nni.CAM()
    explorer.drain()
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    kinds = ("heatmap-{}.png", "overlay-{}.png", "attribution-{}.npz", "map-{}.npz")
    assert list(saved) == [kind.format(number) for kind in kinds for number in (1, 2)]
    assert saved["overlay-1.png"] == shown(explorer, "look-map")
    assert saved["overlay-2.png"] == shown(explorer, "second-map")
    raw = np.load(io.BytesIO(saved["map-2.npz"]))["map"]
    np.testing.assert_array_equal(raw, nni.CAM().raw(net, pictures[:1]))


# --- what it is opened with


@pytest.mark.parametrize(
    "method", [nni.Gradient(), nni.GradCAM, nni.SmoothGrad(of=nni.GradCAM()), 3], ids=repr
)
def test_a_method_of_another_family_is_refused(explorer, net, pictures, method):
    expected = "LookExplorer: method must be one of CAM, GradCAM, "
    with pytest.raises(ValueError, match=expected):
        explore_look(net, pictures, method)
    with pytest.raises(ValueError, match=expected):
        explorer.method = method
    with pytest.raises(ValueError, match=expected):
        explorer.compare = method
    assert explorer.compare is None


@pytest.mark.parametrize("boxes", [BOXES[:2], BOXES.float(), [[0, 0, 17, 4]] * 3, "box"], ids=str)
def test_boxes_that_do_not_fit_are_refused(net, pictures, boxes):
    with pytest.raises(ValueError, match=r"explore_look: (boxes|a box) must be"):
        explore_look(net, pictures, boxes=boxes)


def test_boxes_need_pictures():
    with pytest.raises(ValueError, match="explore_look: boxes must be given together with x"):
        explore_look(boxes=BOXES)


def test_cam_on_a_net_without_an_average_is_refused_in_place(opened, cnn, digits):
    explorer = opened(explore_look(cnn, digits, nni.CAM()))
    assert explorer.digest().startswith("CAM: the end of the model must be one dense layer on the ")
    pick(explorer, "method", "Grad-CAM")
    expected = nni.explain(cnn, digits[:1], nni.GradCAM()).digest()
    assert explorer.digest().startswith(expected)
    pick(explorer, "method", "CAM")
    assert "nn-stale" in the(explorer, "nn-look-map")._dom_classes
    assert "nn-stale" in the(explorer, "nn-look-raw")._dom_classes
    pick(explorer, "method", "Grad-CAM")
    assert explorer.digest().startswith(expected)
    assert "nn-stale" not in the(explorer, "nn-look-map")._dom_classes


def test_a_layer_that_is_not_there_is_refused_in_place(explorer):
    begun = explorer.digest()
    explorer.method = nni.GradCAM("nowhere")
    assert explorer.digest().startswith("GradCAM: layer must be a layer of maps")
    assert found(explorer, "nn-layer")[0].value == "nowhere"
    pick(explorer, "layer", "the last with maps")
    assert explorer.digest() == begun


def test_a_map_of_zeros(opened, pictures):
    silent = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)).eval()
    nn.init.constant_(silent[0].bias, -100)
    explorer = opened(explore_look(silent, pictures, boxes=BOXES))
    assert "map of 1, 14 × 14: Nothing in the map is above 0." in explorer.digest()


def after_a_relu(conv, places):
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(places, 3)).eval()


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (after_a_relu(nn.Conv1d(2, 3, 3), 12), torch.rand(2, 2, 6)),
        (after_a_relu(nn.Conv2d(3, 4, 3), 36), torch.rand(2, 3, 5, 5)),
        (after_a_relu(nn.Conv2d(2, 4, 3), 36).double(), torch.rand(1, 2, 5, 5).double()),
    ],
    ids=["sequences", "colour", "float64"],
)
def test_other_pictures(opened, model, x):
    explorer = opened(explore_look(model, x))
    assert explorer.digest().startswith(nni.explain(model, x[:1], nni.GradCAM()).digest())
    assert shown(explorer, "look-map") != BLANK


def test_what_has_no_map_is_refused_in_place(opened):
    explorer = opened(explore_look(nn.Linear(5, 3).eval(), torch.rand(3, 5)))
    assert explorer.digest().startswith("GradCAM: the model must be one with spatial maps")
    layers = [nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)]
    explorer = opened(explore_look(nn.Sequential(*layers).eval(), torch.rand(1, 1, 5, 5, 5)))
    assert explorer.digest().startswith("heatmap: the attribution must be of shape (N, C, H, W)")


def test_large_photographs_with_many_classes(opened):
    layers = [nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(4, 1000)).eval()
    explorer = opened(explore_look(model, torch.rand(2, 3, 224, 224)))
    assert "map of 1, 56 × 56: " in explorer.digest()
    assert decoded(shown(explorer, "look-map")).shape == (224, 224, 3)


def test_accessible_names_and_words(explorer):
    maps = [f"nn-{part}-{kind}" for part in ("look", "second") for kind in ("map", "raw")]
    assert set(maps) == set(LookExplorer.captions)
    for name in maps:
        assert "nn-heatmap" in the(explorer, name)._dom_classes
    for name in ("overlay", "compare", "method", "layer", "upsampling"):
        assert all(each.description for each in found(explorer, f"nn-{name}"))


def test_closing_leaves_no_thread_and_no_widget(net, pictures):
    def live():
        explorer = explore_look(net, pictures, boxes=BOXES).drain()
        explorer.method = nni.CAM()
        explorer.compare = nni.LayerCAM()
        explorer.drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
