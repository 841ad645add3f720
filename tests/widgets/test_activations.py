"""The Activations explorer: it shows what the engine finds in a layer, a channel, and data."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.synthesis.inversion import Inversion
from nni_widgets.engine.views import activations, filters, strongest_inputs
from nni_widgets.pictures import palette_png, picture_png, scale_of
from nni_widgets.widgets.explorers.activations import (
    ActivationsExplorer,
    excitations,
    explore_activations,
)
from nni_widgets.widgets.explorers.activations.excitations import Excitations
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


@pytest.fixture(scope="module")
def data():
    return nni.data.digits("test")[:40][0]


@pytest.fixture
def explorer(opened, cnn, data):
    return opened(explore_activations(cnn, data))


@pytest.fixture
def quick(monkeypatch):
    """An inversion of a few steps."""
    monkeypatch.setattr("nni_widgets.widgets.explorers.activations.work.inversion_of", few)


def few(layer):
    return Inversion(layer, n_steps=6, keep_every=2)


def shown(explorer, name):
    return the(explorer, f"nn-{name}").value


def order_of(maps):
    strongest = maps[0].flatten(1).amax(1)
    return strongest.sort(descending=True, stable=True).indices.tolist()


def frame(explorer):
    return the(explorer, "nn-tiles-frame")


# --- maps


def test_it_begins_with_the_first_layer_with_weights_and_its_strongest_channel(explorer, cnn, data):
    maps = activations(cnn, data[:1], "conv1")
    channel = order_of(maps)[0]
    assert (explorer.layer, explorer.channel) == ("conv1", None)
    assert shown(explorer, "activation-map") == palette_png(maps[0, channel], scale_of(maps))
    line, strength, *_ = explorer.digest().splitlines()
    assert line == (
        f"conv1: conv2d, makes 16 × 28 × 28. Channel {channel} of 16, number 1 by strength."
    )
    on = int((maps[0, channel] > 0).sum())
    assert strength.startswith(f"conv1[{channel}] is up to ")
    assert strength.endswith(f", above 0 at {on} of 784")


def padded(values):
    return nn.functional.pad(values, (0, 1, 0, 1))


@pytest.mark.parametrize("order", ["strongest first", "in order"])
def test_the_tiles_in_both_orders(explorer, cnn, data, order):
    chooses(the(explorer, "nn-order"), order + (" (default)" if order != "in order" else ""))
    assert explorer.drain().order == order
    maps = activations(cnn, data[:1], "conv1")
    channels = order_of(maps) if order == "strongest first" else list(range(16))
    rows = [torch.cat([padded(maps[0, c]) for c in channels[i : i + 4]], 1) for i in (0, 4, 8, 12)]
    expected = torch.cat(rows)[:-1, :-1]
    assert shown(explorer, "tiles") == palette_png(expected, scale_of(maps))
    sets(frame(explorer), place=[2, 1])
    assert explorer.drain().channel == channels[9]


def test_a_tile_is_clicked_and_seen_large(explorer, cnn, data):
    maps = activations(cnn, data[:1], "conv1")
    channel = order_of(maps)[6]
    sets(frame(explorer), place=[1, 2])
    assert explorer.drain().channel == channel
    assert the(explorer, "nn-channel").value == channel
    assert shown(explorer, "activation-map") == palette_png(maps[0, channel], scale_of(maps))
    assert f"Channel {channel} of 16, number 7 by strength." in explorer.digest()


def test_a_channel_by_its_number(explorer):
    sets(the(explorer, "nn-channel"), value=3)
    assert explorer.drain().channel == 3
    assert frame(explorer).place == divmod(explorer._outcome.value.order.index(3), 4)


def test_the_chosen_channel_is_among_few_tiles(explorer):
    last = explorer._outcome.value.order[-1]
    explorer.n_channels, explorer.channel = 3, last
    explorer.drain()
    assert frame(explorer).place == (1, 0)
    sets(frame(explorer), place=[1, 1])
    explorer.drain()
    assert (explorer.channel, frame(explorer).place) == (last, (1, 0)), "an empty tile is none"


@pytest.mark.parametrize(("label", "shape"), [("relu2", (32, 14, 14)), ("fc1", (64,))])
def test_another_layer(explorer, cnn, data, label, shape):
    chooses(the(explorer, "nn-layer"), f"{label} ({shape[0]})")
    maps = activations(cnn, data[:1], label)
    maps = maps.reshape(1, shape[0], *(shape[1:] or (1, 1)))
    channel = order_of(maps)[0]
    assert explorer.drain().layer == label
    assert f"makes {' × '.join(map(str, shape))}. Channel {channel} of {shape[0]}" in repr(explorer)
    scale = scale_of(maps, signed=bool((maps < 0).any()))
    assert shown(explorer, "activation-map") == palette_png(maps[0, channel], scale)


def test_a_pixel_is_read(explorer, cnn, data):
    maps = activations(cnn, data[:1], "conv1")
    values = maps[0, order_of(maps)[0]]
    sends(explorer._page, type="hover", pane=0, x=0.5, y=0.25)
    assert f"pixel (14, 7): {float(values[7, 14]):+.4g}" in found(explorer, "nn-hover")[0].value


def test_a_class_is_clicked(explorer, cnn, data):
    clicks_bar(explorer, 3)
    explorer.drain()
    made = nni.explain(cnn, data[:1], nni.GradCAM("conv1", "nearest"), 3)
    assert made.digest() in explorer.digest()
    assert shown(explorer, "class-map") == palette_png(made.heatmap(), made.scale())
    explorer.layer = "fc1"
    made = nni.explain(cnn, data[:1], nni.GradientTimesInput(), 3)
    assert made.digest() in explorer.drain().digest()


# --- filters


def test_the_filter_of_the_first_layer(explorer, cnn):
    channel = explorer._outcome.value.channel
    weights = filters(cnn, "conv1")[channel, 0]
    assert shown(explorer, "filter") == palette_png(weights, scale_of(weights, signed=True))
    assert explorer._filter.view.layout.display is None
    explorer.layer = "conv2"
    explorer.drain()
    assert explorer._filter.view.layout.display == "none", "its channels are no colours"
    explorer.layer = "relu1"
    explorer.drain()
    assert explorer._filter.view.layout.display == "none", "it has no weights"


@pytest.mark.parametrize("shape", [(5,), (2, 6), (5, 4, 4)], ids=["vector", "signal", "channels"])
def test_a_filter_without_colours(opened, shape):
    size = int(np.prod(shape))
    model = nn.Sequential(nn.Flatten(), nn.Linear(size, 3)).eval()
    explorer = opened(explore_activations(model, torch.rand(2, *shape)))
    weights = explorer._outcome.value.filter
    assert weights.shape == shape
    values = (weights.mean(0) if len(shape) > 1 else weights).reshape(-1, shape[-1])
    assert shown(explorer, "filter") == palette_png(values, scale_of(values, signed=True))
    assert "full colours" not in explorer._filter._sum.value
    sends(explorer._page, type="hover", pane=2, x=0.0, y=0.0)
    assert f"pixel (0, 0): {float(values[0, 0]):+.4g}<" in explorer._filter._hover.value


def test_a_filter_in_colours(opened):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    explorer = opened(explore_activations(model, torch.rand(2, 3, 8, 8)))
    weights = filters(model, "0")[explorer._outcome.value.channel]
    limit = scale_of(weights, signed=True).limit
    assert shown(explorer, "filter") == picture_png(weights, -limit, limit)


def test_the_weights_of_a_dense_first_layer_are_a_picture(opened, data):
    explorer = opened(explore_activations(nni.models.load("digits-mlp"), data[:2]))
    assert explorer._outcome.value.filter.shape == (1, 28, 28)


# --- strongest inputs


def test_the_strongest_inputs_over_the_data(explorer, cnn, data):
    sets(the(explorer, "nn-channel"), value=5)
    explorer.drain()
    expected = strongest_inputs(cnn, data, "conv1", 5)
    made = explorer._outcome.value.strongest
    assert made.indices.tolist() == expected.indices.tolist()
    torch.testing.assert_close(made.values, expected.values)
    assert torch.equal(made.boxes, expected.boxes)
    for place, crop in enumerate(expected.crops):
        assert shown(explorer, f"crop-{place}") == picture_png(crop, 0.0, 1.0)
    top, left, bottom, right = expected.boxes[0].tolist()
    words = found(explorer, "nn-crop-words")[0].value
    assert f"picture {int(expected.indices[0])}: " in words
    assert f"rows {top}–{bottom - 1}, columns {left}–{right - 1}" in words
    assert words.removeprefix("<small>").removesuffix("</small>") in explorer.digest()


def test_the_data_is_looked_at_once_for_all_channels(explorer, monkeypatch):
    scanned = []
    look = excitations.activations
    monkeypatch.setattr(excitations, "activations", lambda *a: scanned.append(a) or look(*a))
    explorer.channel = 4
    explorer.drain()
    assert scanned == []
    explorer.layer = "relu1"
    explorer.drain()
    assert len(scanned) == 1


def test_a_scan_goes_on_where_it_was_left(cnn, data, monkeypatch):
    monkeypatch.setattr(excitations, "_ROWS_AT_ONCE", 7)
    whole = Excitations(cnn, data)
    assert whole.n_parts == 6
    parts = whole.scan("conv2")
    assert [next(parts), next(parts)] == [1, 2]
    assert list(whole.scan("conv2")) == [3, 4, 5, 6]
    assert list(whole.scan("conv2")) == []
    made, expected = whole.strongest("conv2", 3), strongest_inputs(cnn, data, "conv2", 3)
    assert made.indices.tolist() == expected.indices.tolist()


def test_progress_of_the_scan(opened, cnn, data, monkeypatch):
    monkeypatch.setattr(excitations, "_ROWS_AT_ONCE", 10)
    done = []
    step = ActivationsExplorer._tell
    monkeypatch.setattr(
        ActivationsExplorer,
        "_tell",
        lambda self, outcome: done.append((outcome.done, outcome.of)) or step(self, outcome),
    )
    opened(explore_activations(cnn, data))
    assert done == [(number, 6) for number in range(1, 7)]


def test_images_of_their_own(opened, cnn, data):
    explorer = opened(explore_activations(cnn, data[:1], images=data[20:], layer="conv2"))
    channel = explorer._outcome.value.channel
    expected = strongest_inputs(cnn, data[20:], "conv2", channel)
    assert explorer._outcome.value.strongest.indices.tolist() == expected.indices.tolist()
    assert "strongest inputs of 20, " in explorer._crops._title.value


def test_one_picture_alone_has_no_data(opened, cnn, data):
    explorer = opened(explore_activations(cnn, data[:1]))
    assert explorer._outcome.value.strongest is None
    assert explorer._crops.view.layout.display == "none"
    assert "strongest input" not in explorer.digest()
    few_of_them = opened(explore_activations(cnn, data[:1], images=data[:3]))
    columns = [each.layout.display for each in found(few_of_them, "nn-crop-column")]
    assert columns == [None] * 3 + ["none"] * 6


# --- what was kept


def test_what_was_kept(explorer, cnn, data, quick):
    assert explorer._kept.view.layout.display == "none"
    sets(the(explorer, "nn-what_was_kept"), value=True)
    explorer.drain()
    expected = few("conv1")(cnn, data[:1])
    assert shown(explorer, "kept") == picture_png(expected.images[0], 0.0, 1.0)
    assert "distance left: " in explorer.digest()
    assert "step 6 of 6" in explorer.digest()
    assert explorer._kept.view.layout.display is None
    explorer.what_was_kept = False
    explorer.drain()
    assert "distance left" not in explorer.digest()
    assert explorer._kept.view.layout.display == "none"


def test_another_channel_keeps_the_inversion_of_the_layer(explorer, quick, monkeypatch):
    explorer.what_was_kept = True
    made = explorer.drain()._outcome.value.kept
    monkeypatch.setattr(Inversion, "_steps", lambda *_: 1 / 0)
    explorer.channel = 2
    assert explorer.drain()._outcome.value.kept is made


def test_an_inversion_that_was_left_goes_on(explorer, cnn, data, quick):
    first = next(few("conv1").steps(cnn, data[:1]))
    explorer._looking._last_kept.keep(few("conv1"), data[:1], first)
    explorer.what_was_kept = True
    made = explorer.drain()._outcome.value.kept
    torch.testing.assert_close(made.images, few("conv1")(cnn, data[:1]).images, rtol=0, atol=0)


# --- drawing, code, files, reset, errors


def again(opened, cell, **space):
    cell = cell.replace("nni.explore_activations", "explore_activations")
    return opened(result_of(cell, explore_activations=explore_activations, **space))


def test_a_drawing(opened):
    explorer = opened(explore_activations(strokes=SEVEN))
    assert "strongest inputs of 1000, " in explorer._crops._title.value
    assert explorer.digest().startswith("conv1: conv2d, makes 16 × 28 × 28. ")
    assert again(opened, copied(explorer)).digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    assert shown(explorer, "activation-map") == shown(explorer, "tiles") == BLANK
    explorer.layer = "conv3"
    explorer.pad.strokes = SEVEN
    assert explorer.digest().startswith("conv3: ")


def test_the_copied_cell_makes_the_same(opened, explorer, cnn, data, quick):
    sets(the(explorer, "nn-picture"), value=7)
    explorer.layer, explorer.target = "conv3", 4
    explorer.channel, explorer.n_channels, explorer.order = 9, 20, "in order"
    explorer.what_was_kept = True
    explorer.drain()
    cell = copied(explorer)
    assert "explore_activations(model, x[7:8], 'conv3', images=x, target=4)" in cell
    assert "explorer.channel = 9" in cell
    assert "explorer.order = 'in order'" in cell
    made = again(opened, cell, model=cnn, x=data)
    assert made.digest() == explorer.digest()
    for name in ("tiles", "activation-map", "crop-0", "kept"):
        assert shown(made, name) == shown(explorer, name)


def test_reset(explorer):
    begun = explorer.digest()
    explorer.layer, explorer.channel, explorer.order = "conv2", 3, "in order"
    sets(the(explorer, "nn-picture"), value=2)
    assert explorer.digest() != begun
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.layer, explorer.channel, explorer.n_channels) == ("conv1", None, 36)


def test_save(explorer, cnn, data, monkeypatch, quick):
    explorer.what_was_kept = True
    saved = downloads(explorer.drain(), monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == [
        *("activations.png", "channel.png", "kept.png", "heatmap-1.png", "layer.npz"),
        *("filter.npz", "strongest.npz", "kept.npz", "attribution-1.npz"),
    ]
    layer = np.load(io.BytesIO(saved["layer.npz"]))["activation"]
    np.testing.assert_array_equal(layer, activations(cnn, data[:1], "conv1")[0])
    assert Image.open(io.BytesIO(saved["channel.png"])).text["channel"].startswith("conv1: ")
    strongest = np.load(io.BytesIO(saved["strongest.npz"]))
    assert strongest["boxes"].shape == (9, 4)


def test_what_is_not_there_is_said_in_place(explorer):
    begun = explorer.digest()
    explorer.layer = "nowhere"
    assert explorer.digest().startswith("ActivationsExplorer: layer must be one of conv1, ")
    explorer.layer = "conv1"
    assert explorer.digest() == begun
    explorer.channel = 16
    expected = "ActivationsExplorer: channel must be from 0 to 15 in conv1; got 16."
    assert explorer.digest().startswith(expected)
    assert "nn-stale" in the(explorer, "nn-activation-map")._dom_classes
    assert "nn-stale" in explorer._crops.view._dom_classes
    explorer.channel = None
    assert explorer.digest() == begun
    assert "nn-stale" not in explorer._crops.view._dom_classes
    sets(the(explorer, "nn-n_channels-field"), value=0)
    assert explorer.digest().startswith("Look: n_channels must be a whole number of at least 1")


@pytest.mark.parametrize(
    "images", [torch.zeros(4, 1, 9, 9), torch.zeros(28), "data"], ids=["small", "one", "text"]
)
def test_images_that_do_not_fit_are_refused(cnn, data, images):
    with pytest.raises(ValueError, match="explore_activations: images must be a batch of pictures"):
        explore_activations(cnn, data, images=images)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)),
         torch.rand(3, 2, 6)),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), torch.rand(3, 5)),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).double(),
         torch.rand(2, 2, 5, 5).double()),
    ],
    ids=["sequences", "numbers", "float64"],
)  # fmt: skip
def test_other_inputs(opened, model, x, quick):
    explorer = opened(explore_activations(model.eval(), x))
    explorer.what_was_kept = True
    assert explorer.digest().startswith("0: ")
    assert "strongest input: picture " in explorer.digest()
    assert "distance left: " in explorer.digest()
    assert shown(explorer, "tiles") != BLANK


def test_accessible_names(explorer):
    for name in ActivationsExplorer.captions:
        assert found(explorer, name)
    for name in ("layer", "channel", "order", "n_channels", "what_was_kept"):
        assert the(explorer, f"nn-{name}").description


def test_closing_leaves_no_thread_and_no_widget(cnn, data):
    def live():
        explorer = explore_activations(cnn, data[:3]).drain()
        explorer.layer = "conv2"
        explorer.drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(3):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)


def test_after_training_everything_is_looked_at_again(opened, quick, data):
    model = nni.models.load("digits-cnn")
    explorer = opened(explore_activations(model, data))
    explorer.what_was_kept = True
    explorer.drain()
    trains(model)
    clicks(explorer, "nn-reset")
    again = opened(explore_activations(model, data))
    for each in (explorer, again):
        each.what_was_kept = True
    assert explorer.digest() == again.digest()


def test_strongest_inputs_are_those_of_the_weights_of_now():
    model, images = nni.models.load("digits-cnn"), nni.data.digits("test")[:20][0]
    found = Excitations(model, images)
    list(found.scan("conv1"))
    trains(model)
    list(found.scan("conv1"))
    values = activations(model, images, "conv1").flatten(2).amax(2)[:, 3]
    chosen = values.sort(descending=True, stable=True).indices[: excitations.MOST]
    assert found.strongest("conv1", 3).indices.tolist() == chosen.tolist()


def test_a_drawing_for_a_model_of_double_precision(opened):
    model = nni.models.load("digits-cnn").double()
    explorer = opened(explore_activations(model, strokes=SEVEN))
    assert "strongest input: picture " in explorer.digest()
    again = result_of(copied(explorer), model=model)
    assert opened(again).digest() == explorer.digest()


def test_a_channel_of_numpy_is_one(explorer):
    explorer.channel = np.int64(3)
    assert "Channel 3 of 16" in explorer.digest()
    assert "explorer.channel = 3\n" in copied(explorer)
    for wrong in (2.0, True):
        explorer.channel = wrong
        assert f"channel must be from 0 to 15 in conv1; got {wrong}" in explorer.digest()
