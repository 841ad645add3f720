"""LRP on the tape against LRP with explicit contributions: every rule, at every layer."""

import math
import random as python_random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nni_widgets.engine.composites import (
    Composite,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    Preset,
    Thirds,
)
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    ProportionalPool,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from nni_widgets.errors import UnsupportedOperation
from tests.oracle import lrp
from tests.oracle.closed_forms import HandWorkedLRP
from tests.oracle.graph import Affine, Average, Gather, Input
from tests.oracle.hand_graphs import HAND
from tests.oracle.nets import NETS, Case, Net
from tests.oracle.random_nets import nets

from .common import (
    DTYPES,
    TOLERANCE,
    Beside,
    assert_near,
    build,
    distance,
    hand,
    random,
    reference,
    with_layers,
)

BY_CONTRIBUTION: list[Rule] = [
    Zero(),
    Epsilon(epsilon=1e-6),
    Epsilon(),
    Epsilon(epsilon=0.25),
    Epsilon(epsilon=10.0),
    Gamma(gamma=0.0),
    Gamma(),
    Gamma(gamma=2.0),
    AlphaBeta(alpha=1.0),
    AlphaBeta(),
    AlphaBeta(alpha=3.5),
    ZPlus(),
]
WHATEVER_THE_INPUT: list[Rule] = [ZBox(low=-1.0, high=2.0), WSquare(), Flat()]
RULES = BY_CONTRIBUTION + WHATEVER_THE_INPUT
EXTREME = [Epsilon(epsilon=1e-6), Epsilon(epsilon=10.0), Gamma(gamma=0.0), AlphaBeta(alpha=3.5)]

# The graphs pass x + x and padding through an averaging that is stabilised by 1e-9 and loses what
# arrives at zeros; on the tape the one is a scaling and the other a move, which lose nothing.
STABILISED = {"doubled", "explicit_padding"}


def tolerance(name: str, rule: Rule | None, dtype: torch.dtype) -> float:
    """αβ takes z⁻ as the difference z − z⁺, which costs float32 some digits."""
    if name in STABILISED:
        return 1e-6 if dtype == torch.float64 else 1e-5
    if dtype == torch.float32 and (rule is None or isinstance(rule, AlphaBeta)):
        return 5e-5
    return TOLERANCE[dtype]


def compare(
    case: Case,
    net: Beside,
    method: LRP,
    rule: lrp.Rule,
    rules: dict[int, lrp.Rule],
    dtype: torch.dtype,
    allowed: float,
) -> None:
    """The input, and every node of the graph, has the relevance of an operation that is the same.

    Where sums cancel the formulas themselves magnify rounding: in float32 a hundred times what a
    change of every weight in its last bit does to the reference is allowed too.
    """
    model, x = build(case, dtype)
    targets = [0, case.classes - 1]
    result = with_layers(method, model, x, targets)
    expected = net.relevance(targets, rule, rules)
    ours = {node: [] for node in range(len(expected))} | {0: [result.values]}
    for layer in result.layers:
        for node in net.nodes[layer.label]:
            ours[node].append(layer.relevance)
    far = {}
    for node, found in ours.items():
        assert found, f"no operation computes node {node}"
        nearest = min(distance(relevance, expected[node]) for relevance in found)
        if nearest > allowed:
            far[node] = nearest
    if far and dtype == torch.float32:
        shaken = net.shaken().relevance(targets, rule, rules)
        far = {node: by for node, by in far.items()
               if by > 100 * distance(shaken[node], expected[node])}  # fmt: skip
    assert not far, {node: (net.graph.nodes[node].__class__.__name__, by)
                     for node, by in far.items()}  # fmt: skip


def in_units_of(net: Beside, node: int, rule: Rule) -> lrp.Rule:
    """The reference of a rule at a layer; the box of the pixels as it arrives there."""
    if not isinstance(rule, ZBox) or not only_units_before(net, net.graph.nodes[node].source):
        return reference(rule)
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (rule.low, rule.high))
    shape = (-1, *[1] * (net.x.ndim - 2))
    ends = [
        net.graph.values(end.reshape(shape).expand(net.x.shape[1:]))[net.graph.nodes[node].source]
        for end in (low, high)
    ]
    return lrp.z_box(torch.minimum(*ends).flatten(), torch.maximum(*ends).flatten())


def only_units_before(net: Beside, node: int) -> bool:
    """Whether the input has only been scaled, averaged and moved there."""
    match net.graph.nodes[node]:
        case Input():
            return True
        case Affine(source):
            return node in net.given and only_units_before(net, source)
        case Gather(source) | Average(source):
            return only_units_before(net, source)
    return False


CASES = [
    pytest.param(name, rule, dtype, id=f"{name}-{rule}-{dtype}")
    for name in HAND
    for rule in (BY_CONTRIBUTION if name in STABILISED else RULES)
    for dtype in DTYPES
    if dtype == torch.float64 or rule not in EXTREME
]


@pytest.mark.parametrize(("name", "rule", "dtype"), CASES)
def test_one_rule_everywhere(name: str, rule: Rule, dtype: torch.dtype) -> None:
    net = hand(name)
    rules = {node: in_units_of(net, node, rule) for node in first_layers(net)}
    compare(NETS[name], net, LRP(rules=rule), reference(rule), rules, dtype,
            tolerance(name, rule, dtype))  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [name for name in HAND if name not in STABILISED])
def test_another_rule_at_every_layer(name: str, dtype: torch.dtype) -> None:
    """A table that names every layer, the rules drawn by lot."""
    net, draw = hand(name), python_random.Random(name)
    for _ in range(3):
        table = {label: draw.choice(RULES) for label in net.affine()}
        rules = {node: in_units_of(net, node, table[label]) for label, node in net.affine().items()}
        compare(NETS[name], net, LRP(rules=table), lrp.zero(), rules, dtype,
                tolerance(name, None, dtype))  # fmt: skip


def reads_input(net: Beside, node: int) -> bool:
    """Whether no other layer with weights lies between the input and this one."""
    match net.graph.nodes[node]:
        case Input():
            return True
        case Affine(source):
            return reads_input(net, source) if node in net.given else False
        case other:
            sources = other.__dict__
    found = [sources[key] for key in ("source", "left", "right") if key in sources]
    return all(reads_input(net, source) for source in [*found, *sources.get("sources", ())])


def first_layers(net: Beside) -> set[int]:
    return {
        node for node in net.affine().values() if reads_input(net, net.graph.nodes[node].source)
    }


def is_convolution(net: Beside, label: str) -> bool:
    return net.ops[label].kind.startswith("conv")


def by_preset(preset: Preset, net: Beside) -> dict[int, lrp.Rule]:
    """What each layer's rule should be, worked out on the graph."""
    first, rules = first_layers(net), {}
    layers = net.affine()
    for place, (label, node) in enumerate(layers.items()):
        convolution = is_convolution(net, label)
        match preset:
            case Thirds():
                share = place / len(layers)
                part = preset.lower if share < 1 / 3 else preset.middle
                rule = reference(part if share < 2 / 3 else preset.upper)
                rule = in_units_of(net, node, preset.first) if node in first else rule
            case EpsilonGammaBox(epsilon=epsilon, gamma=gamma, low=low, high=high):
                rule = lrp.gamma(gamma) if convolution else lrp.epsilon(epsilon)
                rule = in_units_of(net, node, ZBox(low=low, high=high)) if node in first else rule
            case EpsilonPlus(epsilon=epsilon) | EpsilonPlusFlat(epsilon=epsilon):
                rule = lrp.z_plus() if convolution else lrp.epsilon(epsilon)
            case EpsilonAlpha2Beta1(epsilon=epsilon) | EpsilonAlpha2Beta1Flat(epsilon=epsilon):
                rule = lrp.alpha_beta(2.0) if convolution else lrp.epsilon(epsilon)
            case _:
                raise TypeError(preset)
        if isinstance(preset, EpsilonPlusFlat | EpsilonAlpha2Beta1Flat) and node in first:
            rule = lrp.flat()
        rules[node] = rule
    return rules


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "preset",
    [EpsilonGammaBox(), EpsilonGammaBox(epsilon=0.3, gamma=1.0, low=-1.0, high=2.0),
     EpsilonPlus(), EpsilonAlpha2Beta1(epsilon=0.1), EpsilonPlusFlat(epsilon=0.2),
     EpsilonAlpha2Beta1Flat(), Thirds(),
     Thirds(upper=Epsilon(epsilon=0.5), middle=ZPlus(), lower=AlphaBeta(), first=WSquare())],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", [name for name in HAND if name not in STABILISED])
def test_presets(name: str, preset: Preset, dtype: torch.dtype) -> None:
    net = hand(name)
    compare(NETS[name], net, LRP(rules=preset), lrp.zero(), by_preset(preset, net), dtype,
            tolerance(name, None, dtype))  # fmt: skip


POOLED = [name for name in HAND if "maxpool" in NETS[name].tags]


@pytest.mark.parametrize("rule", [Zero(), Epsilon(), Gamma(), ZPlus()], ids=str)
@pytest.mark.parametrize("name", POOLED)
def test_max_pooling_in_proportion(name: str, rule: Rule) -> None:
    """Every window gives in proportion to its values, up to what stabilises the sum by 1e-9."""
    model, x = build(NETS[name])
    graph = hand(name).graph
    ours = LRP(rules={":maxpool": ProportionalPool(), "*": rule})(model, x, 1)
    theirs = torch.stack([
        lrp.relevance(graph, sample, 1, reference(rule), pooling="proportional")[0] for sample in x
    ])  # fmt: skip
    assert_near(ours, theirs, 1e-6)
    if name == "plain":
        assert distance(ours, LRP(rules=rule)(model, x, 1)) > 1e-3


WINDOWS = {
    "max_pool1d": (nn.MaxPool1d(3, stride=2, padding=1, dilation=2), (2, 9)),
    "max_pool2d": (nn.MaxPool2d((2, 3), stride=(3, 1), padding=(1, 0)), (2, 7, 6)),
    "ceil_mode": (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 7)),
    "dilated": (nn.MaxPool2d(2, stride=1, dilation=(2, 3), ceil_mode=True), (1, 6, 6)),
    "max_pool3d": (nn.MaxPool3d(2, stride=1), (2, 3, 3, 4)),
    "with_indices": (lambda x: functional.max_pool2d(x, 2, return_indices=True)[0], (2, 4, 4)),
    "adaptive1d": (nn.AdaptiveMaxPool1d(4), (2, 7)),
    "adaptive2d": (nn.AdaptiveMaxPool2d((4, None)), (2, 6, 3)),
    "adaptive3d": (nn.AdaptiveMaxPool3d(2), (1, 3, 4, 5)),
    "amax": (lambda x: x.amax((2, 3)), (2, 4, 4)),
    "amax_keepdim": (lambda x: torch.amax(x, dim=-1, keepdim=True), (2, 4, 4)),
    "max": (lambda x: x.max(dim=2).values, (2, 4, 4)),
}


@pytest.mark.parametrize(("pool", "shape"), WINDOWS.values(), ids=WINDOWS)
def test_every_kind_of_window(pool: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    """A cell is in a window if the window's maximum notices it: the shares are written out."""
    size = math.prod(shape)
    cells = torch.eye(size, dtype=torch.float64).view(size, *shape)
    windows = pool(cells).flatten(1).t()
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).double() + 0.1
    values = pool(x).flatten(1)
    head = torch.linspace(-1, 2, values.shape[1], dtype=torch.float64)
    R = values[0] * head
    shares = windows * x.flatten() / (windows @ x.flatten())[:, None]
    model = Net(lambda _, x: pool(x).flatten(1) @ head[:, None]).eval()
    rules = {":maxpool": ProportionalPool(), "*": Zero()}
    assert_near(LRP(rules=rules)(model, x, 0), (R @ shares).view(x.shape), 1e-8)


def test_the_larger_of_two_branches_in_proportion() -> None:
    model = Net(lambda _, x: torch.maximum(2 * x, 3 - x) @ torch.ones(2, 1).double()).eval()
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    rules = {":maxpool": ProportionalPool(), "*": Zero()}
    torch.testing.assert_close(LRP(rules=rules)(model, x, 0), torch.tensor([[4.0, 2.0]]).double())
    with pytest.raises(UnsupportedOperation, match=r"ProportionalPool must be the rule of a maxi"):
        LRP(rules={"add": ProportionalPool(), "*": Zero()})(*build(NETS["residual"]), 0)


def test_a_box_per_channel() -> None:
    net = hand("standardised")
    preset = EpsilonGammaBox(low=(-0.2, -0.1, 0.0), high=(1.3, 1.5, 1.7))
    compare(NETS["standardised"], net, LRP(rules=preset), lrp.zero(), by_preset(preset, net),
            torch.float64, 1e-7)  # fmt: skip


def test_a_box_that_does_not_hold_the_pixels_is_widened() -> None:
    """With [0, 1] alone the shares of the first picture were 1000 and −999 of its score."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval().double()
    with torch.no_grad():
        model[0].weight.fill_(1)
    x = torch.tensor([[1.0, -0.999], [0.5, 0.25], [2.0, 1.0]], dtype=torch.float64)
    values = LRP(ZBox())(model, x, 0)
    torch.testing.assert_close(values, torch.tensor([[0.001, 0], [0.5, 0.25], [2, 1]]).double())


STABLE = [rule for rule in RULES if rule not in EXTREME and rule != AlphaBeta()]


@pytest.mark.parametrize(
    ("dtype", "rules"),
    [(torch.float64, RULES), (torch.float32, STABLE)],
    ids=["float64", "float32"],
)
@settings(max_examples=60)
@given(case=nets(), draw=st.randoms(use_true_random=False))
def test_random_nets(
    case: Case, draw: python_random.Random, dtype: torch.dtype, rules: list[Rule]
) -> None:
    rule, net = draw.choice(rules), random(case)
    first = {node: in_units_of(net, node, rule) for node in first_layers(net)}
    compare(case, net, LRP(rules=rule), reference(rule), first, dtype,
            tolerance("", rule, dtype))  # fmt: skip


@settings(max_examples=40)
@given(case=nets(), draw=st.randoms(use_true_random=False))
def test_random_tables_on_random_nets(case: Case, draw: python_random.Random) -> None:
    net = random(case)
    table = {label: draw.choice(RULES) for label in net.affine()}
    rules = {node: in_units_of(net, node, table[label]) for label, node in net.affine().items()}
    compare(case, net, LRP(rules=Composite(table=table)), lrp.zero(), rules, torch.float64,
            TOLERANCE[torch.float64])  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Zero(), HandWorkedLRP.zero),
        (Epsilon(epsilon=1.0), HandWorkedLRP.epsilon1),
        (Gamma(gamma=1.0), HandWorkedLRP.gamma1),
        (ZPlus(), HandWorkedLRP.z_plus),
        (AlphaBeta(alpha=2.0), HandWorkedLRP.alpha2_beta1),
        ({":first": ZBox(low=0.0, high=3.0), "*": Zero()}, HandWorkedLRP.z_box_0_3),
        ({":first": WSquare(), "*": Zero()}, HandWorkedLRP.w_square),
        ({":first": Flat(), "*": Zero()}, HandWorkedLRP.flat),
    ],
    ids=str,
)
def test_with_pencil_and_paper(rules: object, expected: torch.Tensor) -> None:
    model = HandWorkedLRP().eval()
    assert_near(LRP(rules=rules)(model, model.x, 0), expected, 1e-12)
