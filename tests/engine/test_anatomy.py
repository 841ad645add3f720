"""The anatomy of a network: its operations, what they read, what they make of x."""

import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.anatomy import INPUT, anatomy
from tests.oracle.nets import NETS

from .common import build
from .test_common import nothing_changes


class Branches(nn.Module):
    """Two branches of the input, one of them split, all added up."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.head = nn.Linear(2 * 5 * 5, 3)

    def forward(self, x):
        a, b = self.drop(self.norm(self.conv(x))).chunk(2, dim=1)
        return self.head((torch.relu(a) + b + x).flatten(1))


def test_parts_name_what_they_read():
    model, x = Branches().eval(), torch.rand(2, 1, 5, 5)
    parts = anatomy(model, x)
    assert [(part.label, part.kind, part.inputs, part.shape) for part in parts] == [
        ("conv", "conv2d", (INPUT,), (4, 5, 5)),
        ("chunk", "chunk", ("conv",), (2, 5, 5)),
        ("relu", "relu", ("chunk",), (2, 5, 5)),
        ("add", "add", ("relu", "chunk"), (2, 5, 5)),
        ("add#2", "add", ("add", INPUT), (2, 5, 5)),
        ("flatten", "flatten", ("add#2",), (50,)),
        ("head", "linear", ("flatten",), (3,)),
    ]
    torch.testing.assert_close(parts[0].activation, model.norm(model.conv(x)))
    torch.testing.assert_close(parts[-1].activation, model(x))
    assert not any(part.activation.requires_grad for part in parts)


@pytest.mark.parametrize("name", sorted(NETS))
def test_the_labels_are_those_of_the_layers(name):
    model, x = build(NETS[name], torch.float32)
    try:
        expected = nni.layers(model, x)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        with pytest.raises(type(error)):
            anatomy(model, x)
        return
    parts = anatomy(model, x)
    assert {part.label: part.kind for part in parts} == expected
    known = {INPUT}
    for part in parts:
        assert known.issuperset(part.inputs)
        known.add(part.label)


def test_bad_input_and_a_model_that_stays_as_it_was():
    model, x = Branches().eval(), torch.rand(2, 1, 5, 5)
    with nothing_changes(model, x):
        anatomy(model, x)
    with pytest.raises(ValueError, match="anatomy: the model must be in evaluation mode"):
        anatomy(Branches(), x)
    with pytest.raises(ValueError, match="anatomy: x must be a batch of at least one sample"):
        anatomy(model, x[0, 0, 0])
