"""The Layers explorer: the network as boxes, and what a layer and a channel of it make of x."""

import io
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.anatomy import anatomy
from nni_widgets.pictures import palette_png, scale_of
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_layers(cnn, digits))


def chooses_layer(explorer, label):
    boxes = the(explorer, "nn-boxes")
    sets(boxes, index=[known for _, known in boxes.options].index(label))
    explorer.drain()


def frame(explorer):
    return the(explorer, "nn-tiles-frame")


def maps(explorer, name):
    return the(explorer, name).value


def test_every_operation_is_a_box(explorer, cnn, digits):
    words, labels = zip(*the(explorer, "nn-boxes").options, strict=True)
    assert list(labels) == list(nni.layers(cnn, digits))
    assert words[0] == "conv1 · conv2d · 16 × 28 × 28"
    assert words[-1] == "fc2 · linear · 10"
    assert explorer.layer == "conv1"


def test_the_activations_and_the_strongest_channel(explorer, cnn, digits):
    activation = cnn.conv1(digits[:1])
    strongest = int(nni.strongest(cnn, digits[:1], "conv1")[0, 0])
    assert f"Channel {strongest} of 16, number 1 by strength." in explorer.digest()
    values = activation[0, strongest]
    assert maps(explorer, "nn-activation-map") == palette_png(values, scale_of(activation))
    assert explorer.channel is None
    order = nni.strongest(cnn, digits[:1], "conv1", 16)[0].tolist()
    rows = [
        torch.cat([padded(activation[0, c]) for c in order[i : i + 4]], 1) for i in (0, 4, 8, 12)
    ]
    expected = torch.cat(rows)[:-1, :-1]
    assert maps(explorer, "nn-tiles") == palette_png(expected, scale_of(activation))


def padded(values):
    return nn.functional.pad(values, (0, 1, 0, 1))


@pytest.mark.parametrize(("label", "channel"), [("conv2", 5), ("relu3", 60), ("fc1", 3)])
def test_a_channel_and_its_ways_to_the_pixels(explorer, cnn, digits, label, channel):
    chooses_layer(explorer, label)
    sets(the(explorer, "nn-channel"), value=channel)
    explorer.drain()
    x, rules = digits[:1], explorer.rules
    told = [
        nni.explain(cnn, x, nni.LRP(rules)).at(label),
        nni.explain(cnn, x, nni.DeconvNet(label, channel)),
        nni.explain(cnn, x, nni.LRP(rules, (label, channel))),
    ]
    lines = explorer.digest().partition("\n")
    assert lines[2] == "\n".join(made.digest() for made in told)
    assert lines[0].startswith(f"{label}: ")
    names = ("nn-layer-map", "nn-pattern-map", "nn-through-map")
    for name, made in zip(names, told, strict=True):
        assert maps(explorer, name) == palette_png(made.shown(), made.scale())


def test_relus_show_one_sign_on_an_unsigned_scale(explorer, cnn, digits):
    chooses_layer(explorer, "relu2")
    activation = anatomy(cnn, digits[:1])[4].activation
    values = activation[0, the(explorer, "nn-channel").value]
    expected = palette_png(values, scale_of(activation, signed=False))
    assert maps(explorer, "nn-activation-map") == expected


def test_a_tile_is_clicked(explorer, cnn, digits):
    order = nni.strongest(cnn, digits[:1], "conv1", 16)[0].tolist()
    sets(frame(explorer), place=[1, 2])
    explorer.drain()
    assert explorer.channel == order[6]
    assert the(explorer, "nn-channel").value == order[6]
    assert frame(explorer).place == (1, 2)


def test_an_empty_tile_is_not_chosen(explorer):
    explorer.n_channels = 7
    explorer.drain()
    assert (len(frame(explorer).tops), len(frame(explorer).lefts)) == (3, 3)
    before = frame(explorer).place
    sets(frame(explorer), place=[2, 1])
    explorer.drain()
    assert explorer.channel is None
    assert frame(explorer).place == before


def test_a_weak_channel_takes_the_place_of_the_last_tile(explorer, cnn, digits):
    explorer.n_channels = 4
    weakest = nni.strongest(cnn, digits[:1], "conv1", 16)[0, -1].item()
    explorer.channel = weakest
    explorer.drain()
    assert frame(explorer).place == (1, 1)
    assert "number 16 by strength" in explorer.digest()


def test_another_layer_begins_at_its_strongest_channel(explorer, cnn, digits):
    explorer.channel = 3
    chooses_layer(explorer, "conv3")
    strongest = nni.strongest(cnn, digits[:1], "conv3")[0, 0].item()
    assert explorer.channel is None
    assert the(explorer, "nn-channel").value == strongest
    assert the(explorer, "nn-channel").max == 63


def test_the_strongest_channel_can_be_chosen_to_stay(explorer, cnn, digits):
    strongest = the(explorer, "nn-channel").value
    explorer.channel = strongest
    assert explorer.channel == strongest
    sets(the(explorer, "nn-picture"), value=1)
    explorer.drain()
    assert (explorer.channel, the(explorer, "nn-channel").value) == (strongest, strongest)
    assert f"Channel {strongest} of 16, number" in explorer.digest()


def test_reconstruction_and_rules_are_chosen(explorer, cnn, digits):
    chooses(the(explorer, "nn-reconstruction"), "Guided backprop")
    chooses(the(explorer, "nn-keep"), "all")
    chooses(the(explorer, "nn-rules"), "EpsilonPlus")
    explorer.drain()
    channel = the(explorer, "nn-channel").value
    assert explorer.reconstruction == nni.GuidedBackprop(keep="all")
    made = nni.explain(cnn, digits[:1], nni.GuidedBackprop("conv1", channel, "all"))
    assert made.digest() in explorer.digest()
    assert f"nni.LRP(rules=nni.EpsilonPlus(), through=('conv1', {channel}))" in explorer.digest()


def test_only_what_is_new_is_computed(explorer, monkeypatch):
    calls = []
    forward = explorer._model.forward
    monkeypatch.setattr(explorer._model, "forward", lambda x: calls.append(1) or forward(x))
    explorer.channel = 2
    explorer.drain()
    assert len(calls) == 2, "one for the relevance through the channel, one to reconstruct it"


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=1)
    chooses_layer(explorer, "pool2")
    explorer.channel, explorer.target, explorer.n_channels = 7, 3, 9
    explorer.rules, explorer.reconstruction = nni.Gamma(), nni.GuidedBackprop()
    explorer.drain()
    cell = copied(explorer)
    call = (
        "nni.explore_layers(model, x[1:2], 'pool2', rules=nni.Uniform(rule=nni.Gamma()), target=3)"
    )
    assert call in cell
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    names = ("nn-tiles", "nn-activation-map", "nn-layer-map", "nn-through-map", "nn-pattern-map")
    for name in names:
        assert maps(again, name) == maps(explorer, name)


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_layers(strokes=SEVEN))
    assert opened(result_of(copied(explorer))).digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    for name in ("nn-tiles", "nn-activation-map", "nn-through-map", "nn-pattern-map"):
        assert maps(explorer, name) == BLANK
    assert frame(explorer).tops == ()
    sets(frame(explorer), place=[1, 1])
    assert explorer.digest() == "Draw a digit on the black square."


def test_reset(explorer):
    begun = explorer.digest()
    explorer.layer = "fc1"
    explorer.channel, explorer.n_channels, explorer.rules = 3, 2, nni.Zero()
    explorer.drain()
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.layer, explorer.channel, explorer.n_channels) == ("conv1", None, 16)


def test_save(explorer, cnn, digits, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    pictures = [f"heatmap-{n}.png" for n in (1, 2, 3)]
    numbers = [f"attribution-{n}.npz" for n in (1, 2, 3)]
    assert list(saved) == [*pictures, "activations.png", *numbers, "layer.npz"]
    layer = np.load(io.BytesIO(saved["layer.npz"]))
    np.testing.assert_allclose(layer["activation"], cnn.conv1(digits[:1]).detach(), atol=1e-6)
    assert layer["relevance"].shape == (1, 16, 28, 28)


def test_hover_and_another_class(explorer):
    clicks_bar(explorer, 3)
    explorer.drain()
    assert explorer.explanation.target_names == ("3",)
    sends(explorer._page, type="hover", pane=2, x=0.5, y=0.5)
    assert "pixel (14, 14): " in found(explorer, "nn-hover")[2].value


def test_what_is_not_there_is_refused(opened, cnn, digits):
    explorer = opened(nni.explore_layers(cnn, digits, "conv9"))
    assert explorer.digest().startswith("LayersExplorer: layer must be one of conv1, relu1, ")
    explorer.layer = "conv2"
    assert explorer.digest().startswith("conv2: conv2d of pool1, makes 32 × 14 × 14.")
    with pytest.raises(ValueError, match="reconstruction must be DeconvNet"):
        explorer.reconstruction = nni.DeconvNet("conv1")
    with pytest.raises(ValueError, match="LRP: rules must be a rule, a composite or a table"):
        nni.explore_layers(cnn, digits, rules=3)


def test_a_channel_and_a_layer_out_of_range(explorer):
    with pytest.raises(ValueError, match="channel must be a whole number from 0 to 15; got 16"):
        explorer.channel = 16
    with pytest.raises(ValueError, match=r"Explorer: layer must be one of conv1, .*; got 'conv9'"):
        explorer.layer = "conv9"


class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 4, 3), nn.Linear(8, 3)

    def forward(self, x):
        a, b = self.conv(x).chunk(2, dim=1)
        return self.head((a.relu() + b).flatten(1))


def test_a_layer_of_several_outputs_is_refused_in_place(opened):
    explorer = opened(nni.explore_layers(Split().eval(), torch.rand(1, 1, 6)))
    before = maps(explorer, "nn-through-map")
    chooses_layer(explorer, "chunk")
    assert explorer.digest().startswith("LRP: the layer of through must be one of conv, ")
    assert maps(explorer, "nn-through-map") == before
    chooses_layer(explorer, "add")
    assert explorer.digest().startswith("add: add of relu and chunk, makes 2 × 4. ")


@pytest.mark.parametrize(
    ("model", "x", "layer"),
    [
        (nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(3, 5), "1"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 3)),
         torch.rand(2, 3, 5, 5), "0"),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double(),
         torch.rand(2, 2, 6).double(), "1"),
    ],
    ids=["vectors", "colour", "strips, float64"],
)  # fmt: skip
def test_any_model(opened, model, x, layer):
    explorer = opened(nni.explore_layers(model.eval(), x, layer))
    made = nni.explain(model, x[:1], nni.LRP(explorer.rules))
    assert made.at(layer).digest() in explorer.digest()
    columns = len(frame(explorer).lefts)
    assert columns == (1 if x.ndim == 3 else 2)


def test_a_residual_network_has_its_branches(opened, digits):
    explorer = opened(nni.explore_layers(nni.models.load("digits-resnet"), digits))
    words = [words for words, _ in the(explorer, "nn-boxes").options]
    assert "block1.add · add · 16 × 14 × 14 · of block1.conv2 and pool1" in words
    assert the(explorer, "nn-lines").value.count("nn-skip") == 5


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        nni.explore_layers(cnn, digits).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)


def test_a_channel_of_numpy_is_one(explorer):
    explorer.channel = np.int64(3)
    assert "Channel 3 of 16" in explorer.digest()
    assert "explorer.channel = 3\n" in copied(explorer)
