"""The weights of a model: told apart after training, and what pictures must be like them."""

import torch
from torch import nn

from nni_widgets.widgets.parts.weights import moved, weight_of, weights_of
from tests.widgets.user import trains


def test_training_changes_the_weights_and_a_call_does_not():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = weights_of(model)
    model(torch.rand(5, 3))
    assert weights_of(model) == before, "only the buffers have changed"
    trains(model)
    assert weights_of(model) != before


def test_what_is_no_module_has_no_weights():
    assert weights_of(None) == weights_of(len) == ()


def test_pictures_become_like_the_weights():
    x = torch.rand(2, 3)
    assert x.to(weight_of(nn.Linear(3, 2).double())).dtype == torch.float64
    assert x.to(weight_of(nn.Flatten())).dtype == torch.float32
    assert weight_of(nn.Flatten(), x.double()).dtype == torch.float64
    assert not weight_of(nn.Linear(3, 2)).requires_grad


def test_the_same_in_code():
    assert moved(torch.empty(0), "model") == ""
    double = torch.empty(0, dtype=torch.float64)
    assert moved(double, "net") == ".to(next(net.parameters()))"
