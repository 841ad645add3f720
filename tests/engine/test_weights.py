"""Copies of weights are kept while the weight is the same, and no longer."""

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine import weights
from nni_widgets.engine.composites import EpsilonGammaBox, EpsilonPlus
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.rules import AlphaBeta, Gamma, ZPlus

from .common import assert_near


def large() -> tuple[nn.Module, Tensor]:
    """Layers of more than 65536 weights, so that their copies are kept; a norm that is merged."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(256, 260), nn.BatchNorm1d(260), nn.ReLU(), nn.Linear(260, 256), nn.ReLU(),
        nn.Linear(256, 3),
    ).eval()  # fmt: skip
    return model, torch.rand(2, 256)


METHODS = [LRP(rules=Gamma()), LRP(rules=ZPlus()), LRP(rules=AlphaBeta()), LRP(),
           LRP(rules=EpsilonPlus())]  # fmt: skip


def step(model: nn.Module, x: Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(x)[:, 0].sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def load(model: nn.Module, x: Tensor) -> None:
    model.load_state_dict({k: v * 1.5 if v.is_floating_point() else v
                           for k, v in model.state_dict().items()})  # fmt: skip


def assign_data(model: nn.Module, x: Tensor) -> None:
    model[0].weight.data = torch.randn_like(model[0].weight)


def assign_in_load(model: nn.Module, x: Tensor) -> None:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state["3.weight"] = -state["3.weight"]
    model.load_state_dict(state, assign=True)


def write_hidden(model: nn.Module, x: Tensor) -> None:
    model[3].weight.data.normal_()


def write_in_no_grad(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model[0].weight.mul_(-1)


def write_through_numpy(model: nn.Module, x: Tensor) -> None:
    model[0].weight.detach().numpy()[:] *= -1


def change_the_norm(model: nn.Module, x: Tensor) -> None:
    model[1].running_var.data.mul_(9)


def exchange(model: nn.Module, x: Tensor) -> None:
    model[0].weight = nn.Parameter(torch.randn(260, 256))


CHANGES = [step, load, assign_data, assign_in_load, write_hidden, write_in_no_grad,
           write_through_numpy, change_the_norm, exchange]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_is_seen(change: Callable[[nn.Module, Tensor], None], method: LRP) -> None:
    model, x = large()
    stale = method(model, x, 1)
    change(model, x)
    fresh = method(copy.deepcopy(model), x, 1)
    assert not torch.allclose(fresh, stale)
    assert_near(method(model, x, 1), fresh, 1e-6)


def test_the_copy_is_kept_while_the_weight_is_the_same() -> None:
    model, x = large()
    made: list[str] = []

    def change(weight: Tensor) -> Tensor:
        made.append("once more")
        return weight.clamp(min=0)

    first, second = (weights.modified(model[0].weight, "test", change) for _ in range(2))
    assert first is second
    assert len(made) == 1
    write_hidden(nn.ModuleList([model[0]] * 4), x)
    weights.modified(model[0].weight, "test", change)
    assert len(made) == 2


def test_another_parameter_of_the_rule_is_another_copy() -> None:
    model, x = large()
    for gamma in (0.1, 2.0, 0.1):
        rules = Gamma(gamma=gamma)
        expected = LRP(rules=rules)(copy.deepcopy(model), x, 0)
        assert_near(LRP(rules=rules)(model, x, 0), expected, 1e-6)


def test_one_weight_with_two_norms() -> None:
    """The copy with a norm merged belongs to weight and norm together."""
    torch.manual_seed(0)

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.head = nn.Linear(256, 256), nn.Linear(256, 3)
            self.norms = nn.ModuleList([nn.BatchNorm1d(256), nn.BatchNorm1d(256)])
            self.norms[1].running_var.fill_(7.0)

        def forward(self, x: Tensor) -> Tensor:
            for norm in self.norms:
                x = norm(self.fc(x)).relu()
            return self.head(x)

    model, x = Shared().eval(), torch.rand(2, 256)
    first = LRP(rules=EpsilonGammaBox())(model, x, 0)
    assert torch.equal(LRP(rules=EpsilonGammaBox())(model, x, 0), first)
    assert_near(first, LRP(rules=EpsilonGammaBox())(model.double(), x.double(), 0), 1e-4)


def test_copies_die_with_the_model() -> None:
    model, x = large()
    before = len(weights._copies)
    LRP(rules=Gamma())(model, x)
    assert len(weights._copies) > before
    weight = weakref.ref(model[0].weight)
    del model
    gc.collect()
    assert weight() is None
    assert len(weights._copies) == before


def test_weights_that_were_made_in_inference_mode() -> None:
    """They have no version: what changes in them is seen by its numbers."""
    with torch.inference_mode():
        model, x = large()
    usual, x = large()[0], x.clone()
    for method in METHODS:
        assert torch.equal(method(model, x, 0), method(usual, x, 0))
    with torch.inference_mode():
        model[3].weight.mul_(2)
    usual[3].weight.data.mul_(2)
    for method in METHODS:
        assert torch.equal(method(model, x, 0), method(usual, x, 0))
