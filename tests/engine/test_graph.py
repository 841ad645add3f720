"""The quick way of guided backprop and DeconvNet gives what the tape gives, or steps aside."""

import pytest
import torch
from torch import Tensor, nn

import nni_widgets as nni
from nni_widgets.engine.graph import follow
from nni_widgets.engine.methods import DeconvNet, GuidedBackprop, Method
from tests.oracle.nets import NETS, TROUBLE

from .common import assert_near, build, with_layers

SOUND = [name for name, case in NETS.items() if not case.tags & (TROUBLE | {"stochastic"})]


def known(model: nn.Module, x: Tensor) -> bool:
    output = model(x.clone().requires_grad_().clone())
    with follow(output, lambda signal: signal, masked=True) as is_known:
        return is_known


@pytest.mark.parametrize("method", [GuidedBackprop(), DeconvNet()], ids=str)
@pytest.mark.parametrize("name", SOUND)
def test_both_ways_give_the_same(method: GuidedBackprop | DeconvNet, name: str) -> None:
    model, x = build(NETS[name])
    assert_near(method(model, x), with_layers(method, model, x).values, 1e-12)


def test_the_quick_way_is_taken_where_it_pays() -> None:
    taken = [name for name in SOUND if known(*build(NETS[name]))]
    assert len(taken) > len(SOUND) / 3
    for name in nni.models.names():
        model = nni.models.load(name)
        if model.classes and not hasattr(model, "members"):  # a logarithm of sums has no rule
            assert known(model, torch.rand(1, *model.input_shape)), name


@pytest.mark.parametrize("constant", [True, False])
def test_a_constant_factor_is_followed_a_product_of_two_signals_is_not(constant: bool) -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return (x * (2 if constant else x.relu())).relu() / 4

    model = nn.Sequential(Product(), nn.Linear(4, 3)).eval()
    assert known(model, torch.rand(1, 1, 2, 2)) == constant


def test_an_unknown_node_is_not_followed() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).erf().relu()[:, :3]

    assert not known(Odd().eval(), torch.rand(1, 1, 2, 2))


def test_only_activations_are_hooked() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        model[2].weight.copy_(torch.tensor([[2.0, -3.0]]))
    x = torch.tensor([[1.0, 1.0]], requires_grad=True)
    arrived = []
    output = model(x)
    with follow(output, lambda signal: arrived.append(signal) or signal, masked=True) as is_known:
        assert is_known
        output.sum().backward()
    (signal,) = arrived
    assert signal.tolist() == [[2.0, -3.0]]


@pytest.mark.parametrize("method", [GuidedBackprop(), DeconvNet()], ids=str)
def test_a_part_of_the_graph_that_the_model_keeps_stays_as_it_was(method: Method) -> None:
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = nn.Parameter(torch.ones(3, 4))
            self.weight = self.raw.relu()

        def forward(self, x: Tensor) -> Tensor:
            return -(x @ self.weight.T).relu()

    model, x = Kept().eval(), torch.rand(2, 4)
    (expected,) = torch.autograd.grad(model(x).sum(), model.raw, retain_graph=True)
    method(model, x)
    (gradient,) = torch.autograd.grad(model(x).sum(), model.raw)
    assert torch.equal(gradient, expected)
