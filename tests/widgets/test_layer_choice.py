"""The picker of layers: results of blocks first, and what it says of each."""

import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.widgets.parts.layer_choice import LayerPicker, layers_of, results
from tests.widgets.user import chooses


@pytest.fixture(scope="module")
def resnet():
    model = nni.models.load("digits-resnet")
    return layers_of(model, torch.rand(1, *model.input_shape))


def test_all_layers_with_channels_in_their_order(cnn, digits):
    found = layers_of(cnn, digits[:1])
    assert [layer.label for layer in found] == list(nni.layers(cnn, digits[:1]))
    assert {layer.label: layer.shape for layer in found}["conv2"] == (32, 14, 14)
    fc = found[-1]
    assert (fc.label, fc.channels, fc.n_places) == ("fc2", 10, 1)
    assert (found[0].channels, found[0].n_places) == (16, 784)


def test_what_only_rescales_pixels_is_left_out():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(self.conv(2 * x - 1).mean((2, 3)))

    labels = [layer.label for layer in layers_of(Net().eval(), torch.rand(1, 1, 5, 5))]
    assert labels == ["conv", "mean", "fc"]


def test_the_result_of_a_block_is_its_last_layer(resnet):
    labels = [layer.label for layer in results(resnet)]
    assert [each for each in labels if "block" in each] == [
        *("block1.relu2", "block2.relu2", "block3.relu2")
    ]
    assert {"conv1", "fc"} <= set(labels)


def test_a_network_without_blocks_has_results_only(cnn, digits):
    found = layers_of(cnn, digits[:1])
    assert results(found) == found


def test_results_are_offered_first(resnet):
    picker = LayerPicker("", lambda: None)
    assert picker.widget.options == (("the usual one", ""),)
    picker.offer(resnet)
    picker.show("block2.conv1")
    labels = [label for _, label in picker.widget.options]
    assert sorted(labels) == sorted(layer.label for layer in resnet)
    assert labels[: len(results(resnet))] == [layer.label for layer in results(resnet)]
    words = dict(map(reversed, picker.widget.options))
    assert words["block2.relu2"] == "block2.relu2 (32)"
    assert words["block2.conv1"] == "block2.conv1 (32, inside)"


def test_only_the_user_is_heard(resnet):
    heard = []
    picker = LayerPicker("", lambda: heard.append(picker.label))
    picker.offer(resnet)
    picker.show("conv1")
    assert (heard, picker.label) == ([], "")
    chooses(picker.widget, "block1.relu2 (16)")
    assert heard == ["block1.relu2"]
    picker.show("nowhere")
    assert picker.widget.value == "nowhere"
