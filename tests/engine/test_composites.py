"""Which rule acts where."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.composites import (
    PRESETS,
    Composite,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    Preset,
    Thirds,
    Uniform,
    as_composite,
    assign,
)
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import LRP, Gradient
from nni_widgets.engine.rules import (
    AlphaBeta,
    Derivative,
    Epsilon,
    Flat,
    Gamma,
    OneToOne,
    Pass,
    Proportional,
    ProportionalPool,
    Rule,
    WinnerTakesAll,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from nni_widgets.engine.tape import record
from tests.oracle.nets import NETS, Net

from .common import assert_near, build


def chosen(name: str, rules: Preset | Rule | dict[str, Rule]) -> dict[str, Rule]:
    return assign(as_composite(rules), canonical(record(*build(NETS[name]))))


def test_presets_on_a_chain() -> None:
    common = {"1": Pass(), "2": WinnerTakesAll(), "4": Pass(), "5": Derivative(), "7": Pass()}
    dense = {"6": Epsilon(), "8": Epsilon()}
    convolutions = {
        EpsilonGammaBox(): (ZBox(), Gamma()),
        EpsilonPlus(): (ZPlus(), ZPlus()),
        EpsilonPlusFlat(): (Flat(), ZPlus()),
        EpsilonAlpha2Beta1(): (AlphaBeta(), AlphaBeta()),
        EpsilonAlpha2Beta1Flat(): (Flat(), AlphaBeta()),
        Uniform(): (Epsilon(), Epsilon()),
    }
    for preset, (first, second) in convolutions.items():
        assert chosen("plain", preset) == common | dense | {"0": first, "3": second}


def in_thirds(count: int) -> list[Rule]:
    """The rules of a chain of dense layers, from the input up."""
    layers = [nn.Linear(3, 3) if place % 3 == 0 else nn.ReLU() for place in range(3 * count)]
    preset = Thirds(upper=Zero(), middle=Epsilon(), lower=Gamma(), first=ZBox())
    ops = canonical(record(nn.Sequential(*layers).eval(), torch.rand(1, 3)))
    rules = assign(preset, ops)
    return [rules[str(3 * place)] for place in range(count)]


def test_thirds_count_layers_with_weights() -> None:
    """Two ReLUs follow each layer and count nothing; the first layer has the rule of the pixels."""
    below, middle, above = Gamma(), Epsilon(), Zero()
    assert in_thirds(1) == [ZBox()]
    assert in_thirds(3) == [ZBox(), middle, above]
    assert in_thirds(6) == [ZBox(), below, middle, middle, above, above]
    assert in_thirds(7) == [ZBox(), below, below, middle, middle, above, above]
    words = Composite({":upper": above, ":middle": middle, ":lower": below})
    rules = assign(words, canonical(record(*build(NETS["plain"]))))
    assert [rules[label] for label in "0368"] == [below, below, middle, above]
    assert rules["1"] == Pass()


def test_thirds_take_any_rule() -> None:
    rules = chosen("plain", Thirds(lower=AlphaBeta(alpha=1.0), first=WSquare(), upper=Epsilon()))
    assert [rules[label] for label in "0368"] == [
        WSquare(), AlphaBeta(alpha=1.0), Epsilon(), Epsilon(),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"^Thirds: middle must be a rule such as"):
        Thirds(middle=Epsilon)  # type: ignore[arg-type]


def test_every_preset_gives_every_layer_a_rule() -> None:
    for preset in PRESETS:
        for name in ("plain", "residual", "conv1d", "conv3d", "bottleneck", "signals"):
            model, x = build(NETS[name])
            assert LRP(rules=preset())(model, x).isfinite().all()


def test_parameters_of_a_preset_reach_its_rules() -> None:
    preset = EpsilonGammaBox(epsilon=0.5, gamma=1.5, low=-1.0, high=(2.0, 3.0))
    rules = chosen("plain", preset)
    assert rules["0"] == ZBox(low=-1.0, high=(2.0, 3.0))
    assert rules["3"] == Gamma(gamma=1.5)
    assert rules["8"] == Epsilon(epsilon=0.5)


def test_the_first_match_decides() -> None:
    rules = chosen("plain", {"3": Flat(), ":conv": WSquare(), "?": Zero(), "*": Gamma()})
    assert [rules[label] for label in "0368"] == [WSquare(), Flat(), Zero(), Zero()]
    rules = chosen("plain", {"*": Gamma(), "3": Flat()})
    assert rules["3"] == Gamma()


def test_patterns_and_words() -> None:
    table = {"features.*": Gamma(), ":last": Zero(), "*": Epsilon()}
    rules = chosen("nested", table)
    assert rules["features.block1.conv"] == rules["features.block2.conv"] == Gamma()
    assert rules["classifier.2.0"] == Zero()
    assert rules["features.pool"] == WinnerTakesAll()
    assert rules["features.block1.act"] == Pass()


def test_every_branch_that_reads_the_input_is_first() -> None:
    rules = chosen("branches", {":first": ZBox(), "*": Epsilon()})
    assert rules["wide"] == rules["narrow"] == ZBox()
    assert rules["head"] == Epsilon()
    rules = chosen("input_used_twice", {":first": ZBox(), "*": Epsilon()})
    assert [rules[label] for label in ("fc", "head", "skip")] == [ZBox(), Epsilon(), ZBox()]
    assert chosen("standardised", EpsilonGammaBox())["conv"] == ZBox()


def test_steps_without_weights_can_be_given_a_rule() -> None:
    rules = chosen("average_pool", {":pool": Derivative(), "*": Epsilon()})
    assert rules["2"] == rules["4"] == Derivative()
    rules = chosen("residual", {":sum": Derivative(), "relu": Derivative(), "*": Epsilon()})
    assert rules["add"] == rules["relu"] == Derivative()
    assert rules["relu#2"] == Pass()
    rules = chosen("plain", {":maxpool": Proportional(), ":relu": Derivative(), "*": Epsilon()})
    assert rules["2"] == Proportional()
    assert rules["1"] == rules["4"] == rules["7"] == Derivative()
    rules = chosen("norm_on_a_conv_used_twice", {":norm": Pass(), "*": Epsilon()})
    assert rules["norm"] == Pass()


def test_winner_or_proportion_at_max_pooling() -> None:
    model = (
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 1, bias=False)).double().eval()
    )
    with torch.no_grad():
        model[2].weight.fill_(2.0)
    x = torch.tensor([[[[1.0, 4.0], [2.0, 1.0]]]], dtype=torch.float64)
    winner = LRP(rules={"*": Zero()})(model, x, 0)
    assert winner.tolist() == [[[[0.0, 8.0], [0.0, 0.0]]]]
    for where in (":maxpool", "0"):
        shared = LRP(rules={where: ProportionalPool(), "*": Zero()})(model, x, 0)
        assert shared.flatten().tolist() == pytest.approx([1.0, 4.0, 2.0, 1.0])


def test_defaults_of_every_family() -> None:
    kinds = {
        "residual": ("add", Proportional()),
        "global_mean": ("mean", Proportional()),
        "standardised": ("sub", OneToOne()),
        "divided_by_255": ("truediv", OneToOne()),
        "norm_first": ("0", Proportional()),
        "branches": ("cat", Derivative()),
        "upsampling": ("upsample", Derivative()),
        "global_max": ("amax", WinnerTakesAll()),
        "gelu": ("1", Pass()),
    }
    for name, (label, rule) in kinds.items():
        rules = chosen(name, Epsilon())
        found = rules.get(label, rules.get("div"))
        assert found == rule, (name, rules)


def test_black_pixels_keep_their_relevance_below_a_scaling() -> None:
    """A box gives black pixels relevance, and dividing by 255 first does not take it away."""
    model, x = build(NETS["divided_by_255"])
    x[:, :, :3] = 0
    undivided = nn.Sequential(model.conv, nn.ReLU(), nn.Flatten(), model.head).eval()
    for rule in (ZBox(), WSquare(), Flat()):
        rules = {":first": rule, "*": Epsilon()}
        given = {**rules, ":first": ZBox(high=255.0)} if isinstance(rule, ZBox) else rules
        expected = LRP(rules=rules)(undivided, x / 255, 0)
        assert expected[:, :, :3].any()
        assert_near(LRP(rules=given)(model, x, 0), expected, 1e-12)


class Rescaled(nn.Module):
    """A network that normalises, moves and pads its input before the first layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3).double()
        self.head = nn.Linear(4 * 6 * 6, 2).double()
        self.mean = torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64).reshape(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = ((x - self.mean) / -0.25).flip(3)
        x = nn.functional.pad(x, (1, 1, 1, 1))
        return self.head(self.conv(x.reshape(len(x), 3, 8, 8)).relu().flatten(1))


def test_the_box_of_the_pixels_is_rescaled_with_them() -> None:
    """Black and white arrive at the first layer exchanged, moved and one pair for each channel."""
    model, x = Rescaled().eval(), torch.rand(2, 3, 6, 6, dtype=torch.float64)
    method = LRP(rules={":first": ZBox(), "*": Epsilon()})
    black, white = ((end - model.mean) / -0.25 for end in (0.0, 1.0))
    ends = [nn.functional.pad(end.expand(1, 3, 6, 6), (1, 1, 1, 1)) for end in (white, black)]
    seen = nn.functional.pad(((x - model.mean) / -0.25).flip(3), (1, 1, 1, 1))
    weight = model.conv.weight

    def forward(a: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(a, w)

    a = model.conv(seen).relu()
    epsilon = Epsilon().epsilon
    logits = model.head(a.flatten(1))
    scores = logits[:, :1]
    at_head = scores / (logits[:, :1] + epsilon * logits[:, :1].sign())
    arrived = (at_head * model.head.weight[0] * a.flatten(1)).reshape_as(a)
    halves = weight.clamp(min=0), weight.clamp(max=0)
    z = forward(seen, weight) - sum(
        forward(end, half) for end, half in zip(ends, halves, strict=True)
    )
    s = arrived / z
    back = nn.functional.conv_transpose2d
    expected = seen * back(s, weight) - sum(
        end * back(s, half) for end, half in zip(ends, halves, strict=True)
    )
    assert_near(method(model, x, 0), expected[:, :, 1:-1, 1:-1].flip(3), 1e-9)
    assert diagnose(model, x, method).healthy
    *_, told = method.steps(model, x, 0, layers=True)
    assert "ZBox()" in {repr(layer.rule) for layer in told.layers}
    with pytest.raises(ValueError, match="one number per channel; got 2 for 3 channels"):
        LRP(rules={":first": ZBox(low=(0.1, 0.1), high=1.0), "*": Epsilon()})(model, x, 0)


def test_shifts_and_scalings_pass_what_arrives() -> None:
    def after(change: object) -> torch.Tensor:
        class Changed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Linear(3, 2, bias=False).double()

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(change(x))  # type: ignore[operator]

        torch.manual_seed(0)
        x = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64)
        model = Changed().eval()
        given = LRP(rules=Flat())(model.head, change(x), 0)  # type: ignore[operator]
        taken = LRP(rules=Flat())(model, x, 0)
        assert_near(taken, given, 1e-12)
        return taken

    for change in (
        lambda x: x + 1, lambda x: x - 1, lambda x: 1 - x, lambda x: 1 + x, lambda x: x * 3,
        lambda x: 3 * x, lambda x: x / 3, lambda x: -x, lambda x: x + x, lambda x: torch.sub(x, 1),
        lambda x: torch.add(x, torch.ones(3).double(), alpha=2), lambda x: torch.rsub(x, 1),
    ):  # fmt: skip
        assert after(change).all()


def test_a_mask_gives_nothing_to_what_it_hides_and_a_broadcast_adds_up() -> None:
    class Masked(nn.Module):
        def __init__(self, mask: torch.Tensor, width: int) -> None:
            super().__init__()
            self.head = nn.Linear(width, 2, bias=False).double()
            self.register_buffer("mask", mask)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head((x * self.mask).flatten(1))

    x = torch.ones(1, 3, dtype=torch.float64)
    hidden = LRP(rules=Flat())(Masked(torch.tensor([1.0, 0.0, 2.0]).double(), 3).eval(), x, 0)
    assert hidden[0, 1] == 0
    assert bool(hidden[0, [0, 2]].all())
    broadcast = Masked(torch.ones(2, 3).double(), 6).eval()
    x = torch.ones(1, 1, 3, dtype=torch.float64)
    result = LRP(rules=Flat())(broadcast, x, 0)
    assert result.shape == x.shape
    torch.testing.assert_close(result.sum(), broadcast(x)[0, 0].detach())


def test_composites_are_values() -> None:
    table = {":first": ZBox(), "*": Epsilon()}
    assert Composite(table=table) == Composite(table=tuple(table.items()))
    assert hash(Composite(table=table)) == hash(Composite(table=dict(table)))
    assert LRP(rules=table) == LRP(rules=Composite(table=table))
    assert LRP(rules=Gamma()) == LRP(rules=Uniform(rule=Gamma()))
    assert as_composite(EpsilonPlus()) is not None
    assert LRP() == LRP(rules=EpsilonGammaBox())


@pytest.mark.parametrize(
    "function", [lambda x: x - x.mean((1, 2, 3), keepdim=True), lambda x: x.flip(3) + x]
)
def test_a_sum_of_two_signals_before_the_first_layer(
    function: Callable[[Tensor], Tensor],
) -> None:
    """It is no shift by a constant: each gets what it contributed."""
    layers = {"conv": nn.Conv2d(2, 3, 3, bias=False), "head": nn.Linear(12, 3, bias=False)}
    model = Net(lambda net, x: net.head(net.conv(function(x)).relu().flatten(1)), **layers)
    model, x = model.double().eval(), torch.rand(2, 2, 4, 4, dtype=torch.float64)
    assert_near(LRP(rules=Zero())(model, x, 1), x * Gradient()(model, x, 1), 1e-6)
    LRP()(model, x)


def test_a_network_without_weights_keeps_its_relevance() -> None:
    model, x = nn.Sequential(nn.ReLU(), nn.Flatten()).eval(), torch.rand(2, 1, 2, 2)
    expected = torch.zeros(2, 4).index_fill_(1, torch.tensor([3]), 1).view_as(x) * x
    assert torch.equal(LRP(rules=Epsilon())(model, x, 3), expected)


def _standardised(x: Tensor) -> Tensor:
    with torch.no_grad():
        mean, spread = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
    return (x - mean) / spread


@pytest.mark.parametrize("units", [_standardised, lambda x: x.masked_fill(x < 0.2, 0)])
def test_each_picture_has_a_box_of_its_own_where_its_units_are(
    units: Callable[[Tensor], Tensor],
) -> None:
    layers = {"conv": nn.Conv2d(2, 3, 3), "head": nn.Linear(12, 3)}
    model = Net(lambda net, x: net.head(net.conv(units(x)).relu().flatten(1)), **layers)
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64) * torch.tensor([0.3, 0.6, 1]).view(3, 1, 1, 1)
    together = LRP()(model.double().eval(), x, 1)
    assert_near(together, torch.cat([LRP()(model, one[None], 1) for one in x]), 1e-12)
