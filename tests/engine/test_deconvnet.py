"""DeconvNet and guided backprop, from a logit or from a layer, and what ancestors did wrong.

References: the hand-made graphs of the oracle, a deconvnet built from unpooling and transposed
convolutions as in the paper, Captum where its hooks see every ReLU once, and numbers by hand.
"""

import copy
from collections.abc import Callable

import pytest
import torch
from captum.attr import Deconvolution as CaptumDeconvolution
from captum.attr import GuidedBackprop as CaptumGuided
from torch import Tensor, nn
from torch.nn import functional as F

from nni_widgets.engine.composites import layers
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods.gradients import Gradient
from nni_widgets.engine.methods.guided import (
    DeconvNet,
    GuidedBackprop,
    Reconstruction,
    strongest,
)
from nni_widgets.engine.methods.smooth import SmoothGrad
from nni_widgets.pictures.explain import explain
from tests.oracle import backward
from tests.oracle.closed_forms import FourCases
from tests.oracle.graph import Graph
from tests.oracle.hand_graphs import HAND, random_graph
from tests.oracle.nets import NETS, Net
from tests.oracle.random_nets import random_net

from .common import DTYPES, TOLERANCE, assert_near, build, hand, with_layers
from .test_common import nothing_changes

BOTH = pytest.mark.parametrize("kind", [DeconvNet, GuidedBackprop])
RULES: dict[type[Reconstruction], backward.ReluRule] = {
    DeconvNet: backward.deconvnet,
    GuidedBackprop: backward.guided,
}
WITH_RELU = [name for name in HAND if not {"smooth", "leaky", "gate"} & NETS[name].tags]
# Modules only, each ReLU of its own: what Captum's hooks see.
CAPTUM = [
    *("plain", "plain_bias_free", "pool_before_relu", "mlp", "mlp_bias_free"),
    *("conv_norm_relu", "conv1d", "average_pool", "nested"),
]


# --- From a logit ---------------------------------------------------------------------------------


def test_the_two_by_two_table() -> None:
    """Springenberg et al. 2015, figure 1 b: one ReLU, three ways back."""
    model = FourCases().eval()
    x, signal = model.x, torch.tensor([[3.0, -2.0], [5.0, -7.0]])
    on, positive = x[0, 0] > 0, signal > 0
    expected = {Gradient(): signal * on, DeconvNet(): signal * positive,
                GuidedBackprop(): signal * on * positive}  # fmt: skip
    for method, table in expected.items():
        assert method(model, x, 0)[0, 0].tolist() == table.tolist()


@BOTH
@pytest.mark.parametrize("name", WITH_RELU)
def test_against_the_graph(kind: type[Reconstruction], name: str) -> None:
    """Functional, reused and in-place ReLUs, residual sums, concatenations, batch-norm, pools."""
    for dtype in DTYPES:
        model, x = build(NETS[name], dtype)
        graph = HAND[name](NETS[name].build().double())
        for target in range(NETS[name].classes):
            expected = [backward.backward(graph, row, target, RULES[kind])[0] for row in x.double()]
            ours = kind()(model, x, target)
            assert_near(ours, torch.stack(expected).detach(), TOLERANCE[dtype])


@BOTH
@pytest.mark.parametrize("seed", range(15))
def test_random_nets_against_the_graph(kind: type[Reconstruction], seed: int) -> None:
    case = next(case for case in map(random_net, range(seed, 999, 15)) if "leaky" not in case.tags)
    model, x = build(case)
    graph = random_graph(model)
    expected = [backward.backward(graph, row, 0, RULES[kind])[0] for row in x]
    assert_near(kind()(model, x, 0), torch.stack(expected).detach(), 1e-10)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("name", CAPTUM)
@pytest.mark.parametrize(
    ("kind", "peer"), [(DeconvNet, CaptumDeconvolution), (GuidedBackprop, CaptumGuided)]
)
def test_against_captum(kind: type[Reconstruction], peer: Callable[..., object], name: str) -> None:
    model, x = build(NETS[name])
    for target in range(NETS[name].classes):
        leaf = x.clone().requires_grad_()
        theirs = peer(copy.deepcopy(model)).attribute(leaf, target=target)
        assert_near(kind()(model, x, target), theirs, 1e-12)


class TwoBlocks(nn.Sequential):
    """Convolution, ReLU, max-pooling, twice, with the deconvnet of the paper attached by hand."""

    def __init__(self, **pooling: int) -> None:
        super().__init__(
            nn.Conv2d(2, 3, 3, padding=1, stride=1), nn.ReLU(), nn.MaxPool2d(2, **pooling),
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2, **pooling),
            nn.Flatten(), nn.LazyLinear(3),
        )  # fmt: skip
        self.double().eval()(torch.rand(1, 2, 13, 13, dtype=torch.float64))

    def climb(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each block: what the ReLU gives, what the pooling gives, its switches."""
        found = []
        for conv, pool in ((self[0], self[2]), (self[3], self[5])):
            active = conv(x).relu()
            x, switches = F.max_pool2d(
                active, pool.kernel_size, pool.stride, pool.padding, return_indices=True
            )
            found.append((active, x, switches))
        return found

    def project(self, x: Tensor, pooled: Tensor) -> Tensor:
        """Unpool, rectify, filter: from the second pooling down to the pixels."""
        (first, _, switches1), (second, _, switches2) = self.climb(x)
        for conv, active, switches in (
            (self[3], second, switches2),
            (self[0], first, switches1),
        ):
            pool = self[2]
            up = F.max_unpool2d(
                pooled, switches, pool.kernel_size, pool.stride, pool.padding, active.shape[2:]
            )
            pooled = F.conv_transpose2d(up.relu(), conv.weight, None, conv.stride, conv.padding)
        return pooled


@pytest.mark.parametrize("pooling", [{}, {"padding": 1}])
def test_the_paper_unpool_rectify_filter(pooling: dict[str, int]) -> None:
    """From a logit, a map and a unit; an odd size, so that the pools leave a border out."""
    torch.manual_seed(2)
    model = TwoBlocks(**pooling)
    x = torch.rand(1, 2, 13, 13, dtype=torch.float64)
    pooled = model.climb(x)[1][1]
    from_logit = model[7].weight[1].reshape(pooled.shape)
    assert_near(DeconvNet()(model, x, 1), model.project(x, from_logit), 1e-12)
    for channel in range(4):
        only = torch.zeros_like(pooled)
        only[0, channel] = pooled[0, channel]
        ours = DeconvNet(layer="5", channel=channel, keep="all")(model, x)
        assert_near(ours, model.project(x, only), 1e-12)
        unit = torch.where(only == only.max(), only, 0)
        ours = DeconvNet(layer="5", channel=channel)(model, x)
        assert_near(ours, model.project(x, unit), 1e-12)


def test_two_runs_are_equal_and_no_bias_takes_part() -> None:
    """The ancestor's transposed layers had random biases: two runs differed by 4 %."""
    model, x = build(NETS["plain"])
    expected = DeconvNet()(model, x, 0)
    torch.manual_seed(1)
    assert torch.equal(DeconvNet()(model, x, 0), expected)
    before = strongest(model, x, "0", 1)
    last = list(model.children())[-1]
    with torch.no_grad():
        last.bias += 3
    assert torch.equal(DeconvNet()(model, x, 0), expected)
    assert torch.equal(strongest(model, x, "0", 1), before)


def test_one_logit_is_kept_and_no_other() -> None:
    """The ancestor projected all ten: a change of another class's weights changed the picture."""
    model, x = build(NETS["plain"])
    expected = DeconvNet()(model, x, 0)
    last = list(model.children())[-1]
    with torch.no_grad():
        last.weight[1:] *= -2
    assert torch.equal(DeconvNet()(model, x, 0), expected)
    assert not torch.equal(DeconvNet()(model, x, 1), expected)


def test_without_max_pooling_it_does_not_see_the_picture() -> None:
    """Springenberg et al. 2015, sec. 3.4: only the switches condition it on the input."""
    model, x = build(NETS["average_pool"])
    ours = DeconvNet()(model, x, 0)
    assert torch.equal(ours[0], ours[1])
    pooled, x = build(NETS["plain"])
    ours = DeconvNet()(pooled, x, 0)
    assert not torch.equal(ours[0], ours[1])


def test_an_activation_that_widens_its_input() -> None:
    model = Net(lambda net, x: net.fc(x.clamp(min=torch.zeros(3, 2).double())[:, 0]),
                fc=nn.Linear(2, 2)).double().eval()  # fmt: skip
    x = torch.rand(3, 1, 2, dtype=torch.float64).expand(3, 1, 2)
    model.forward(x)
    ours = DeconvNet()(model, x, 0)
    assert ours.shape == x.shape


# --- From a layer ---------------------------------------------------------------------------------


def part_of(graph: Graph, node: int) -> Graph:
    """The graph that ends at this node."""
    part = copy.copy(graph)
    part.nodes, part.shapes = graph.nodes[: node + 1], graph.shapes[: node + 1]
    return part


@BOTH
@pytest.mark.parametrize("name", WITH_RELU)
def test_the_strongest_unit_of_every_layer_against_the_graph(
    kind: type[Reconstruction], name: str
) -> None:
    """The graph cut off behind the layer, from its largest value: value × the way back from it."""
    net = hand(name)
    model = NETS[name].build().double()
    compared = 0
    for label, op in net.ops.items():
        shape = op.results[0].shape
        if not net.nodes[label] or len(op.results) > 1 or shape[0] != len(net.x) or len(shape) < 2:
            continue
        part = part_of(net.graph, net.nodes[label][0])
        expected = []
        for row in net.x:
            values = part(row).detach()
            unit = int(values.argmax())
            way = backward.backward(part, row, unit, RULES[kind])[0].detach()
            expected.append(values[unit].clamp(min=0) * way)
        assert_near(kind(layer=label)(model, net.x), torch.stack(expected), 1e-10, label)
        compared += 1
    assert compared


@BOTH
def test_all_is_the_sum_of_the_units_where_all_that_comes_is_positive(
    kind: type[Reconstruction],
) -> None:
    """Below the first ReLU nothing is cut off, so that the way back is linear."""
    model, x = build(NETS["plain"])
    maps = hand("plain").ops["1"].results[0].shape[1]
    every = kind(layer="1", keep="all")(model, x)
    each = [kind(layer="1", keep="all", channel=channel)(model, x) for channel in range(maps)]
    assert_near(every, torch.stack(each).sum(0), 1e-12)
    assert_near(every, Gradient()(Squares(model[:2]), x, 0), 1e-12)


class Squares(nn.Module):
    """Half the sum of the squares of what a network's first layers give: gradient Σ a ∂a."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first = first.eval()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).square().flatten(1).sum(1, keepdim=True) / 2


def test_the_activation_itself_is_isolated_not_a_weight() -> None:
    """One unit sees one window: outside it the picture is zero, exactly."""
    model, x = build(NETS["plain"])
    op = hand("plain").ops["0"]
    for sample in range(len(x)):
        for channel in range(op.results[0].shape[1]):
            values = op.results[0][sample, channel]
            if values.max() <= 0:
                continue
            row, column = divmod(int(values.argmax()), values.shape[-1])
            seen = DeconvNet(layer="0", channel=channel)(model, x[sample : sample + 1])[0]
            weight = model[0].weight[channel].detach()
            padded = F.pad(torch.zeros_like(x[0]), (1, 1, 1, 1))
            pad = model[0].padding[0]
            top, left = row - pad + 1, column - pad + 1
            padded[:, top : top + 3, left : left + 3] = weight * values.max()
            assert_near(seen, padded[:, 1:-1, 1:-1], 1e-12)


@BOTH
def test_a_unit_of_a_dense_layer(kind: type[Reconstruction]) -> None:
    model, x = build(NETS["plain"])
    last = list(layers(model, x))[-1]
    logits = model(x).detach()
    for unit in range(3):
        from_logit = kind()(model, x, unit)
        expected = logits[:, unit].clamp(min=0).reshape(-1, 1, 1, 1) * from_logit
        assert_near(kind(layer=last, channel=unit)(model, x), expected, 1e-12)


@BOTH
def test_each_sample_by_itself_and_nothing_changed(kind: type[Reconstruction]) -> None:
    for name in ("plain", "residual_inplace", "one_relu_everywhere", "branches"):
        for dtype in DTYPES:
            model, x = build(NETS[name], dtype)
            for label in layers(model, x):
                for keep in ("strongest", "all"):
                    method = kind(layer=label, keep=keep)
                    with nothing_changes(model, x):
                        values = method(model, x)
                    assert torch.equal(values, method(model, x))
                    assert values.dtype == dtype
                    one_by_one = torch.cat([method(model, row[None]) for row in x])
                    assert_near(values, one_by_one, TOLERANCE[dtype], label)


def test_the_target_is_ignored_but_still_checked() -> None:
    model, x = build(NETS["plain"])
    method = DeconvNet(layer="0", channel=1)
    assert torch.equal(method(model, x, 0), method(model, x, 1))
    with pytest.raises(ValueError, match="a class from 0 to 2"):
        method(model, x, 7)


@BOTH
def test_an_explanation_names_the_unit_and_its_activation(kind: type[Reconstruction]) -> None:
    model, x = build(NETS["plain"])
    made = explain(model, x, kind(layer="0", channel=2))
    assert made.target_names == ("0[2]", "0[2]")
    assert "channel=2" in made.code
    largest = hand("plain").ops["0"].results[0][:, 2].flatten(1).amax(1).clamp(min=0)
    assert torch.allclose(made.score, largest)
    assert [layer.label for layer in made.result.layers] == ["0"]
    assert "no decomposition" in made.adds_up()
    assert explain(model, x, kind(layer="0")).target_names == ("0", "0")
    whole = with_layers(kind(), model, x)
    assert [layer.label for layer in whole.layers] == list(layers(model, x))[::-1]


def test_smoothgrad_of_a_unit() -> None:
    model, x = build(NETS["plain"])
    still = SmoothGrad(of=GuidedBackprop(layer="0", channel=1), noise_level=0.0, n_samples=2)
    assert_near(still(model, x), GuidedBackprop(layer="0", channel=1)(model, x), 1e-12)


# --- The strongest maps ---------------------------------------------------------------------------


class Maps(nn.Module):
    """Feature maps that are the input's channels, with the maxima that a test puts there."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ReLU()
        self.head = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).amax((2, 3)))


def test_the_strongest_maps_are_the_strongest() -> None:
    """argpartition(-4)[-5:], an ancestor's way, gives four right ones and any fifth."""
    model = Maps().eval()
    order = torch.tensor([[3, 8, 0, 5, 1, 7, 2, 6, 4], [4, 6, 2, 7, 1, 5, 0, 8, 3]])
    x = torch.rand(2, 9, 4, 4) * 0.01
    x[torch.arange(2)[:, None], order, 1, 2] = torch.linspace(9, 1, 9)
    x[0, 4] = 0.9  # the weakest maximum, the largest sum
    for k in range(1, 10):
        assert torch.equal(strongest(model, x, "maps", k), order[:, :k])
    assert torch.equal(strongest(model, x, "maps"), order[:, :5])
    assert strongest(model, torch.ones(1, 9, 4, 4), "maps", 9).tolist() == [list(range(9))]


@BOTH
def test_the_strongest_unit_lies_in_the_strongest_map(kind: type[Reconstruction]) -> None:
    model, x = build(NETS["plain"])
    for label in ("0", list(layers(model, x))[-1]):
        best = strongest(model, x, label, 1)[:, 0].tolist()
        each = [kind(layer=label, channel=c)(model, r[None]) for c, r in zip(best, x, strict=True)]
        assert_near(kind(layer=label)(model, x), torch.cat(each), 1e-12)


def test_strongest_changes_nothing_and_works_in_any_grad_mode() -> None:
    model, x = build(NETS["inplace_relu"], torch.float32)
    label = next(iter(layers(model, x)))
    with nothing_changes(model, x):
        expected = strongest(model, x, label, 2)
    for around in (torch.no_grad, torch.inference_mode):
        with around():
            assert torch.equal(strongest(model, x.clone(), label, 2), expected)


# --- Refusals and the doctor ----------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], Reconstruction], str]] = {
    "unknown layer": (lambda: DeconvNet(layer="conv9"), "layer must be one of 0, 1,.*got 'conv9'"),
    "no name": (lambda: DeconvNet(layer=3), "layer must be the name of a layer; got 3"),
    "channel too large": (lambda: DeconvNet(layer="0", channel=99), "from 0 to .* in '0'; got 99"),
    "channel negative": (lambda: DeconvNet(layer="0", channel=-1), "at least 0; got -1"),
    "channel no number": (lambda: DeconvNet(layer="0", channel=1.5), "whole number.*got 1.5"),
    "a yes for a channel": (lambda: DeconvNet(layer="0", channel=True), "got True"),
    "channel of a logit": (lambda: GuidedBackprop(channel=1), "None where no layer is named"),
    "what to keep": (lambda: GuidedBackprop(layer="0", keep="some"), "'strongest', 'all'; got"),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG)
def test_refusals(make: Callable[[], Reconstruction], words: str) -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match=words):
        make()(model, x)


def test_layers_without_channels_are_refused() -> None:
    model, x = build(NETS["split_and_chunk"])
    several = [label for label, step in layers(model, x).items() if step in {"chunk", "split"}]
    assert several
    for label in several:
        with pytest.raises(ValueError, match=r"one output of shape \(N, C, ...\); got .* with \("):
            DeconvNet(layer=label)(model, x)
        with pytest.raises(ValueError, match="strongest: layer must be"):
            strongest(model, x, label)


@pytest.mark.parametrize("k", [0, 99, True, 1.0])
def test_strongest_refuses_more_maps_than_there_are(k: int) -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match="strongest: k must be a whole number from 1 to"):
        strongest(model, x, "0", k)
    with pytest.raises(ValueError, match="evaluation mode"):
        strongest(copy.deepcopy(model).train(), x, "0")


def found(name: str, method: Reconstruction) -> str:
    return str(diagnose(*build(NETS[name]), method))


def test_the_doctor() -> None:
    assert found("plain", DeconvNet()).startswith("nothing")
    assert "no activation, so it equals the plain gradient" in found("linear_only", DeconvNet())
    assert "no max-pooling" in found("average_pool", DeconvNet())
    assert "no max-pooling" not in found("average_pool", DeconvNet(layer="2"))
    assert "no max-pooling" not in found("average_pool", GuidedBackprop())
    assert "treats gelu" in found("gelu", DeconvNet())
    assert "no activation before '0'" in found("plain", GuidedBackprop(layer="0"))
    assert "error: DeconvNet: layer must be one of" in found("plain", DeconvNet(layer="nope"))


def test_the_doctor_says_that_a_unit_is_off() -> None:
    model = Maps().eval()
    x = torch.rand(3, 9, 2, 2)
    x[1, 4] = -1
    report = str(diagnose(model, x, DeconvNet(layer="maps", channel=4)))
    assert "maps[4] is not active for sample 1: nothing to show" in report
    assert not DeconvNet(layer="maps", channel=4)(model, x)[1].any()


@BOTH
def test_the_card_and_the_code(kind: type[Reconstruction]) -> None:
    assert kind.card.kind == "backward rule"
    assert "Source" in (kind.__doc__ or "")
    method = kind(layer="conv3", channel=5, keep="all")
    assert method.code("") == f"{kind.__name__}(layer='conv3', channel=5, keep='all')"
    assert kind().code("nni.") == f"nni.{kind.__name__}()"
