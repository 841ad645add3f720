"""Lean tapes: what a ReLU has cut off is not kept, and no rule gets to know."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.composites import PRESETS, RULES
from nni_widgets.engine.methods import LRP, lrp
from nni_widgets.engine.methods.base import Result, final
from nni_widgets.engine.rules import AlphaBeta, Derivative, Epsilon, Flat, Gamma, Share, WSquare
from nni_widgets.engine.tape import Op, record
from tests.oracle.nets import NETS, TROUBLE, Net, build_seeded, conv3
from tests.oracle.random_nets import random_net

from .common import assert_near, build

WITH_PRODUCTS = {"squeeze_excite", "attention"}
SOUND = [
    name
    for name, case in NETS.items()
    if name not in WITH_PRODUCTS and not case.tags & (TROUBLE | {"stochastic"})
]
TABLES: dict[str, Any] = {
    **{kind.__name__: kind() for kind in (*RULES, *PRESETS)},
    "flat above": {":last": Flat(), "*": Epsilon()},
    "w² amid": {":middle": WSquare(), "*": Epsilon()},
    "derivative above": {":last": Derivative(), "*": Epsilon()},
}
UNSTEADY = {("bottleneck", "ZBox")}  # sums that are 0 but for rounding, which is another one here


def net(forward: Callable[[Net, Tensor], Tensor], **parts: nn.Module) -> tuple[nn.Module, Tensor]:
    """A small float64 model that writes in place where it says, and its input."""
    parts = {"conv": conv3(2, 4), "head": nn.Linear(144, 3)} | parts
    model = build_seeded(lambda: Net(forward, **parts), 4).double()
    return model, NETS["plain"].input(2, dtype=torch.float64)


def result(model: nn.Module, x: Tensor, rules: Any, **more: Any) -> Result:
    return final(LRP(rules, **more).steps(model, x, layers=True))


def full(*asked: Any, **more: Any) -> Result:
    """The same by a tape that keeps everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lrp, "record", lambda model, x, who, lean: record(model, x, who))
        return result(*asked, **more)


def assert_same(ours: Result, other: Result, what: str = "") -> None:
    assert_near(ours.values, other.values, 1e-12, what)
    for layer, expected in zip(ours.layers, other.layers, strict=True):
        assert_near(layer.relevance, expected.relevance, 1e-12, (what, layer.label))


@pytest.mark.parametrize("name", [*SOUND, *range(6)])
def test_it_changes_nothing(name: str | int) -> None:
    model, x = build(NETS[name] if isinstance(name, str) else random_net(name))
    for title, rules in TABLES.items():
        if (name, title) not in UNSTEADY:
            assert_same(result(model, x, rules), full(model, x, rules), title)


def cut(model: nn.Module, x: Tensor) -> list[str]:
    """The labels of what has no negative numbers any more."""
    ops = canonical(record(model, x, lean=True)).ops
    found = [op for op in ops if op.is_cut]
    for op in found:
        (relu,) = (reader for reader in ops if reader.inputs == op.outputs)
        assert relu.args[0] is relu.values[0] is relu.results[0] is op.results[0]
    return [op.label for op in found]


def test_what_is_let_go_of() -> None:
    assert cut(*build(NETS["plain"])) == ["0", "3", "6"]
    assert cut(*net(lambda net, x: net.head(F.relu_(net.conv(x)).flatten(1)))) == ["conv"]
    assert cut(*net(lambda net, x: net.head(net.relu(net.conv(x)).flatten(1)),
                    relu=nn.ReLU(inplace=True))) == ["conv"]  # fmt: skip
    assert cut(*net(lambda net, x: net.head(F.relu_(net.norm(net.conv(x))).flatten(1)),
                    norm=nn.BatchNorm2d(4))) == ["conv"]  # fmt: skip


def test_a_layer_that_is_merged_with_a_norm_further_on() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        one, other = net.conv(x), net.other(x)
        return net.head((F.relu_(net.norm(one)) + other).flatten(1))

    model, x = net(forward, other=conv3(2, 4), norm=nn.BatchNorm2d(4))
    assert cut(model, x) == ["conv"]
    rules = {":last": Flat(), "*": Epsilon()}
    assert_same(result(model, x, rules), full(model, x, rules))


def test_a_chain_that_begins_with_a_relu() -> None:
    model = build_seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)), 4)
    x = NETS["plain"].input(2) - 0.5
    assert cut(model, x) == []
    assert_same(result(model, x, Epsilon()), full(model, x, Epsilon()))


def test_what_something_else_reads_stays() -> None:
    assert cut(*net(lambda net, x: net.head(F.relu(net.conv(x)).flatten(1)))) == []
    assert cut(*net(lambda net, x: net.head(F.relu6(net.conv(x), inplace=True).flatten(1)))) == []
    assert cut(*net(lambda net, x: net.head(F.relu_(x + 0).flatten(1)), head=nn.Linear(72, 3))) == [
        "add"
    ]

    def read_before(net: Net, x: Tensor) -> Tensor:
        made = net.conv(x)
        low = made.amin((2, 3))
        return net.head(F.relu_(made).flatten(1)) + net.low(low)

    model, x = net(read_before, low=nn.Linear(4, 3))
    assert cut(model, x) == []


@pytest.mark.parametrize("act", [torch.sigmoid, F.softplus, torch.tanh])
def test_relevance_of_zeros_from_activations_that_are_not_0_there(
    act: Callable[[Tensor], Tensor],
) -> None:
    model, x = net(lambda net, x: net.head(act(F.relu_(net.conv(x))).flatten(1)))
    assert cut(model, x) == ["conv"]
    for rules in (Epsilon(), Gamma(), AlphaBeta()):
        assert_same(result(model, x, rules), full(model, x, rules))


class Seeing(Epsilon):
    """Shares as ε does, and notes what it sees."""

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        SEEN.append((op.label, float(op.results[0].min()), float(op.values[0].min())))
        return super().__call__(op, relevance)


SEEN: list[tuple[str, float, float]] = []


def test_a_rule_of_ones_own_sees_everything() -> None:
    model, x = net(lambda net, x: net.head(net.relu(net.conv(x)).flatten(1)), relu=nn.ReLU(True))
    least = float(model.get_submodule("conv")(x).detach().min())
    for where in ("conv", ":relu"):
        SEEN.clear()
        result(model, x, {where: Seeing(), "*": Epsilon()})
        ((label, made, read),) = SEEN
        assert (made if label == "conv" else read) == least < 0


def test_the_relevance_of_one_channel_is_the_same() -> None:
    model, x = net(lambda net, x: net.head(F.relu_(net.conv(x)).flatten(1)))
    rules, through = {":last": Flat(), "*": Epsilon()}, ("conv", 1)
    assert_same(result(model, x, rules, through=through), full(model, x, rules, through=through))
