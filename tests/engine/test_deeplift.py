"""DeepLIFT against its paper: completeness, a slow reference, nets worked by hand, old mistakes."""

import copy
import gc
import itertools
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift as CaptumDeepLift
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nni_widgets.engine import pairs
from nni_widgets.engine.methods import Gradient, GradientTimesInput
from nni_widgets.engine.methods.baselines import Baseline, Blur, ImageMean, Noise
from nni_widgets.engine.methods.deeplift import DeepLIFT
from nni_widgets.engine.targets import Difference
from nni_widgets.errors import UnsupportedOperation
from tests.oracle import deeplift as oracle
from tests.oracle.hand_graphs import HAND
from tests.oracle.nets import NETS, TROUBLE, Case, Net, conv3
from tests.oracle.random_nets import nets, random_net

from .common import DTYPES, Beside, assert_near, build, hand, random, with_layers
from .test_common import nothing_changes

SOUND = [
    name
    for name, case in NETS.items()
    if not case.tags & (TROUBLE | {"stochastic"}) and name != "attention"
]
WORDS = ("linear", "rescale", "reveal-cancel")
COMPLETE = [
    DeepLIFT(conv=conv, dense=dense)
    for conv, dense in itertools.product(("rescale", "reveal-cancel"), repeat=2)
]
NEAR = {torch.float64: 1e-10, torch.float32: 1e-5}


def everywhere(word: str, reference: float | Tensor = 0.0) -> DeepLIFT:
    """One rule for all nonlinearities."""
    return DeepLIFT(conv=word, dense=word, reference=reference)


def other(case: Case, dtype: torch.dtype = torch.float64, rows: int = 1) -> Tensor:
    """Pictures to be references, unlike those that are explained."""
    return case.input(rows, seed=3, dtype=dtype)


def gap(method: DeepLIFT, model: nn.Module, x: Tensor, target: object = None) -> float:
    """How far the sum is from f(x) − f(x⁰), at the end and at every layer."""
    result = with_layers(method, model, x, target)
    assert bool(result.values.isfinite().all())
    difference = result.score - result.reference_score
    sums = [result.values.flatten(1).sum(1), *(layer.arrived for layer in result.layers[:1])]
    sums += [layer.in_flight for layer in result.layers]
    largest = max(float((total - difference).abs().max()) for total in sums)
    return largest / max(1.0, float(difference.abs().max()))


# --- It adds up -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SOUND)
def test_it_adds_up_at_every_layer(name: str, dtype: torch.dtype) -> None:
    model, x = build(NETS[name], dtype)
    references = (0.0, 0.4, other(NETS[name], dtype), other(NETS[name], dtype, rows=2))
    for method, reference in zip(COMPLETE, references, strict=True):
        assert gap(method.replace(reference=reference), model, x) < NEAR[dtype], method
    for method in COMPLETE[::3]:
        assert gap(method.replace(reference=references[-1]), model, x) < NEAR[dtype], method


@settings(max_examples=60)
@given(case=nets(), word=st.sampled_from(WORDS[1:]), seed=st.integers(0, 99))
def test_it_adds_up_on_random_nets(case: Case, word: str, seed: int) -> None:
    model, x = build(case)
    reference = case.input(1, seed=seed, dtype=torch.float64)
    assert gap(everywhere(word, reference), model, x) < 1e-10


POOLS = [
    nn.MaxPool2d(2), nn.MaxPool2d(3, stride=1), nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d(2, stride=1, dilation=2), nn.MaxPool2d(4, stride=3, ceil_mode=True),
    nn.AdaptiveMaxPool2d(4),
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS[1:])
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("pool_is_first", [True, False])
def test_max_pooling_beside_a_relu(pool: nn.Module, pool_is_first: bool, word: str) -> None:
    """Where Captum's rule loses up to 42 % of the difference."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 2, 7, 7, generator=generator)
    steps = [pool, nn.ReLU()] if pool_is_first else [nn.ReLU(), pool]
    torch.manual_seed(0)
    model = nn.Sequential(conv3(2, 4), *steps, nn.Flatten(), nn.LazyLinear(3)).eval()
    model(x)
    for reference in (0.0, torch.randn(1, 2, 7, 7, generator=generator), x.flip(0)):
        assert gap(everywhere(word, reference), model, x, 1) < 1e-5


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_multipliers_of_a_maximum_lie_between_0_and_1(pool: nn.Module) -> None:
    """Bounded however close the winners' own changes are to 0."""
    x, reference = torch.rand(2, 3, 2, 7, 7).double()
    reference += 1e-9 * torch.randn_like(reference)
    x[:, :, ::2] = reference[:, :, ::2] * (1 + 1e-15)
    model = Net(lambda net, x: net.pool(x).flatten(1), pool=pool).eval()
    windows = model(x).shape[1]
    for target in range(0, windows, 7):
        ratio = DeepLIFT(reference=reference)(model, x, target) / (x - reference)
        ratio = ratio.nan_to_num(0)
        assert float(ratio.min()) >= -1e-6
        assert float(ratio.max()) <= 1 + 1e-6
    assert gap(DeepLIFT(reference=reference), model, x, 0) < 1e-10


# --- It is what the paper says --------------------------------------------------------------------


def compare(this: Beside, word: str, reference: Tensor, target: int, tolerance: float) -> None:
    norms = {"batch_norm", "div", "truediv", "sub"}
    carried = {n for label, op in this.ops.items() if op.kind in norms for n in this.nodes[label]}
    found = [
        oracle.DeepLIFT(this.graph, sample, reference[0], word, carried=carried).contributions(  # type: ignore[arg-type]
            target
        )
        for sample in this.x
    ]
    expected = [torch.stack(at_node) for at_node in zip(*found, strict=True)]
    result = with_layers(everywhere(word, reference), MODEL[id(this)], this.x, target)
    assert_near(result.values, expected[0], tolerance)
    if word == "linear":
        return  # its parts do not sum to the change
    layers = {layer.label: layer.relevance for layer in result.layers}
    for label, nodes in this.nodes.items():
        if len(nodes) == 1:
            at_node = expected[nodes[0]].reshape(layers[label].shape)
            assert_near(layers[label], at_node, tolerance, label)


MODEL: dict[int, nn.Module] = {}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", HAND)
def test_reference_implementation(name: str, word: str) -> None:
    this = hand(name)
    MODEL[id(this)] = NETS[name].build().double()
    for reference in (torch.zeros_like(this.x[:1]), other(NETS[name])):
        compare(this, word, reference, 1, 1e-9)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("seed", range(12))
def test_reference_implementation_on_random_nets(seed: int, word: str) -> None:
    case = random_net(seed)
    this = random(case)
    MODEL[id(this)] = case.build().double()
    compare(this, word, other(case), 2, 1e-9)


CAPTUM = ["average_pool", "grouped_dilated_strided", "mlp", "mlp_norm", "norm_first", "tanh",
          "sigmoid", "softplus", "elu", "leaky_relu"]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CAPTUM)
def test_captum_where_it_is_right(name: str, dtype: torch.dtype) -> None:
    model, x = build(NETS[name], dtype)
    reference = other(NETS[name], dtype)
    theirs = CaptumDeepLift(copy.deepcopy(model)).attribute(
        x, baselines=reference, target=torch.tensor([1, 1])
    )
    assert_near(everywhere("rescale", reference)(model, x, 1), theirs, 1e-5)


@pytest.mark.parametrize("name", ["plain_bias_free", "residual_bias_free", "branches_bias_free"])
def test_black_reference_without_biases_is_gradient_times_input(name: str) -> None:
    """Δy / Δx = y / x is 1 or 0 there (Ancona et al. 2018, sec. 3)."""
    model, x = build(NETS[name])
    assert_near(everywhere("rescale")(model, x, 0), GradientTimesInput()(model, x, 0), 1e-12)


def test_linear_alone_is_the_gradient_times_the_difference() -> None:
    """And adds up where nothing is nonlinear only."""
    model, x = build(NETS["grouped_dilated_strided"])
    reference = other(NETS["grouped_dilated_strided"])
    method = everywhere("linear", reference)
    assert_near(method(model, x, 0), (x - reference) * Gradient()(model, x, 0), 1e-12)
    result = with_layers(method, model, x, 0)
    missing = result.score - result.reference_score - result.values.flatten(1).sum(1)
    lost = sum(layer.lost.get("nonlinearity", 0) for layer in result.layers)
    assert float(missing.abs().max()) > 1e-3
    assert_near(lost, missing, 1e-9)
    model, x = build(NETS["linear_only"])
    assert gap(everywhere("linear", 0.7), model, x) < 1e-12


# --- Worked by hand -------------------------------------------------------------------------------


def two_inputs(forward: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """A net (i₁, i₂) → one output, without weights."""
    return Net(lambda _, x: forward(x[:, :1], x[:, 1:])).eval()


class DenseMinimum(nn.Module):
    """min(i₁, i₂) = i₁ − ReLU(i₁ − i₂): figure 3; with sign = 1: max = i₁ + ReLU(i₂ − i₁)."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.h1 = nn.Linear(2, 1, bias=False)
        self.h1.weight.data = torch.tensor([[-sign, sign]], dtype=torch.float64)
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1] + self.sign * self.h1(x).relu()


@pytest.mark.parametrize(
    ("word", "sign", "expected"),
    [
        ("rescale", -1.0, [0.0, 2.0]),  # all to the smaller one
        ("reveal-cancel", -1.0, [1.0, 1.0]),  # half of the minimum each
        ("linear", -1.0, [0.0, 2.0]),
        ("rescale", 1.0, [3.0, 0.0]),
        ("reveal-cancel", 1.0, [2.0, 1.0]),  # Shapley: (3 + 1) / 2 and (2 + 0) / 2
    ],
)
def test_minimum_and_maximum_of_the_paper(word: str, sign: float, expected: list[float]) -> None:
    """Section 3.5.3, i₁ = 3 and i₂ = 2: h₁ = ±1, its parts ±3 and ∓2."""
    x = torch.tensor([[3.0, 2.0]], dtype=torch.float64)
    found = everywhere(word)(DenseMinimum(sign).eval(), x)
    assert found[0].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("inputs", "bias", "expected"),
    [
        # AND = ReLU(i₁ + i₂ − 1): each alone does nothing, together they make 1.
        ([1.0, 1.0], -1.0, {"rescale": [0.5, 0.5], "reveal-cancel": [0.5, 0.5]}),
        ([1.0, 0.0], -1.0, {"rescale": [0.0, 0.0], "reveal-cancel": [0.0, 0.0]}),
        # a bias of 1 and a cancelling pair: h = 1 + 2 − 3 = 0, parts +2 and −3:
        # Δy⁺ = ½[(3 − 1) + (0 − 0)] = 1, Δy⁻ = ½[(0 − 1) + (0 − 3)] = −2
        ([2.0, -3.0], 1.0, {"rescale": [1.0 * 2, -1.0 * 3], "reveal-cancel": [1.0, -2.0]}),
    ],
)
def test_one_relu_by_hand(
    inputs: list[float], bias: float, expected: dict[str, list[float]]
) -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1, bias=False)).double().eval()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (1.0, bias, 1.0), strict=True):
            parameter.fill_(value)
    x = torch.tensor([inputs], dtype=torch.float64)
    for word, numbers in expected.items():
        assert everywhere(word)(model, x)[0].tolist() == pytest.approx(numbers, abs=1e-12), word


def test_saturation() -> None:
    """Figure 1: y = 1 − ReLU(1 − i₁ − i₂) at (1, 1), where the gradient is 0: half each."""
    model = Net(lambda net, x: 1 - net.h(x).relu(), h=nn.Linear(2, 1)).double().eval()
    model.h.weight.data.fill_(-1.0)
    model.h.bias.data.fill_(1.0)
    x = torch.ones(1, 2, dtype=torch.float64)
    assert Gradient()(model, x).tolist() == [[0.0, 0.0]]
    for method in COMPLETE:
        assert method(model, x)[0].tolist() == pytest.approx([0.5, 0.5])


def test_threshold() -> None:
    """Figure 2: y = ReLU(x − 10) grows from 0 without a jump."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).double().eval()
    model[0].weight.data.fill_(1.0)
    model[0].bias.data.fill_(-10.0)
    x = torch.tensor([[9.0], [10.01], [12.0]], dtype=torch.float64)
    found = everywhere("rescale")(model, x, 0)[:, 0].tolist()
    assert found == pytest.approx([0.0, 0.01, 2.0], abs=1e-9)


@pytest.mark.parametrize(
    "maximum",
    [
        torch.maximum,
        lambda a, b: torch.cat([a, b], 1).amax(1, keepdim=True),
        lambda a, b: torch.cat([a, b], 1).max(1, keepdim=True).values,
        lambda a, b: F.max_pool1d(torch.cat([a, b], 1)[:, None], 2)[:, 0],
    ],
    ids=["maximum", "amax", "max", "max_pool1d"],
)
def test_maximum_by_hand(maximum: Callable[[Tensor, Tensor], Tensor]) -> None:
    """From (1, 0) to (0, 2): they meet at 1/3 of the way; 1/3 · (−1) and 2/3 · 2."""
    x = torch.tensor([[0.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
    reference = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = DeepLIFT(reference=reference)(two_inputs(maximum), x, 0)
    assert found.flatten().tolist() == pytest.approx([-1 / 3, 4 / 3, 2.0, 0.0])


def test_product_by_hand() -> None:
    """y = a b from (1, 2) to (3, 5): (2 + 5)/2 · 2 and (1 + 3)/2 · 3 make 15 − 2."""
    x = torch.tensor([[3.0, 5.0]], dtype=torch.float64)
    reference = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    method = DeepLIFT(reference=reference)
    assert method(two_inputs(lambda a, b: a * b), x).tolist() == [[7.0, 6.0]]
    square = method(two_inputs(lambda a, b: a * a + b * 0), x)
    assert square.tolist() == [[8.0, 0.0]]


def test_equal_pixels_get_nothing_and_half_the_weight_below() -> None:
    """Δx = 0 with parts that cancel: they are handed on by ½ w (section 3.5.1), not dropped."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 1, bias=False), nn.Identity(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)
    ).double()  # fmt: skip
    model[0].weight.data = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    x = torch.tensor([[2.0, 2.0]], dtype=torch.float64)
    found = everywhere("reveal-cancel")(model.eval(), x)[0]
    assert float(found.sum()) == pytest.approx(0.0, abs=1e-12)
    weights = (model[2].weight * (model[2].bias > 0) * model[4].weight).detach()
    slope = float(weights)
    assert found.tolist() == pytest.approx([2 * slope, -2 * slope])


NONE = torch.zeros(4, dtype=torch.float64)
NEGATED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a - b": lambda a, b: a - b,
    "rsub": lambda a, b: torch.rsub(b, a),
    "a + -b": lambda a, b: a + -b,
    "b * -1": lambda a, b: a + b * torch.tensor(4 * [-1.0], dtype=torch.float64),
    "1 - b": lambda a, b: a + (1 - b) - 1,
    "b / -2": lambda a, b: (a / 2 + b / -2) * 2,
    "norm": lambda a, b: a + F.batch_norm(b, NONE, NONE + 1, NONE - 1, eps=0),
    "pieces": lambda a, b: torch.cat([a[:, :1] - b[:, :1], a[:, 1:] - b[:, 1:]], 1),
    "mean": lambda a, b: 2 * torch.stack([a, -b]).mean(0),
}


@pytest.mark.parametrize("join", NEGATED.values(), ids=NEGATED)
def test_parts_stay_parts_on_the_way_to_a_nonlinearity(
    join: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """a − b however written is a plus a layer with the weights of b negated."""
    torch.manual_seed(1)
    model = Net(
        lambda net, x: net.head(join(net.a(x), net.b(x)).relu()),
        a=nn.Linear(5, 4), b=nn.Linear(5, 4), head=nn.Linear(4, 3),
    ).double().eval()  # fmt: skip
    added = Net(lambda net, x: net.head((net.a(x) + net.b(x)).relu()),
                **dict(copy.deepcopy(model).named_children())).eval()  # fmt: skip
    for parameter in added.b.parameters():
        parameter.data.neg_()
    x, reference = torch.rand(2, 3, 5).double()
    method = everywhere("reveal-cancel", reference)
    assert_near(method(model, x, 0), method(added, x, 0), 1e-12)
    assert (
        float((method(model, x, 0) - everywhere("rescale", reference)(model, x, 0)).norm()) > 0.01
    )


# --- Mistakes of others, one test each ------------------------------------------------------------


def test_contributions_not_multipliers() -> None:
    """A pixel that equals its reference contributes nothing, whatever its multiplier."""
    (model, x), reference = build(NETS["mlp"]), other(NETS["mlp"])
    x[:, 2] = reference[:, 2]
    for word in WORDS:
        assert bool((everywhere(word, reference)(model, x)[:, 2] == 0).all())


def test_a_unit_that_was_off_and_is_on_is_not_masked_twice() -> None:
    """The slope is Δy / Δx of the signal that arrives: 2 of 5 steps of the input pass."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).double().eval()
    model[0].weight.data.fill_(1.0)
    model[0].bias.data.fill_(-3.0)
    x = torch.tensor([[5.0]], dtype=torch.float64)
    assert float(everywhere("rescale")(model, x)) == pytest.approx(2.0)
    assert float(everywhere("rescale", x)(model, torch.zeros_like(x))) == pytest.approx(-2.0)


def test_parts_are_those_of_the_contributions_not_of_the_units_own_change() -> None:
    """Where all cancels, Δ = 0 and rescale sees nothing; reveal-cancel sees both parts."""
    x = torch.tensor([[2.0, 2.0]], dtype=torch.float64)
    assert everywhere("rescale")(DenseMinimum(-1.0).eval(), x)[0].tolist() == pytest.approx([2, 0])
    found = everywhere("reveal-cancel")(DenseMinimum(-1.0).eval(), x)[0]
    assert found.tolist() == pytest.approx([1.0, 1.0])


def test_tiny_differences_take_the_derivative() -> None:
    """No constant in the denominator: scaled down, the map keeps its direction."""
    model, x = build(NETS["gelu"])
    reference = other(NETS["gelu"])
    direction = x - reference
    near = everywhere("rescale", reference)(model, reference + 1e-13 * direction, 0) / 1e-13
    expected = direction * Gradient()(model, reference.expand_as(x), 0)
    assert_near(near, expected, 2e-2)  # 1e-13 has three digits beside numbers of size 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("step", "bias", "expected"),
    [
        (torch.relu, 1.0, [2.0, -2.0]),
        (torch.relu, -1.0, [0.0, 0.0]),
        (F.relu6, 1.0, [2.0, -2.0]),
        (F.relu6, 7.0, [0.0, 0.0]),
    ],
)
def test_changes_that_cancel_have_the_slope_there(
    step: Callable[[Tensor], Tensor], bias: float, expected: list[float], dtype: torch.dtype
) -> None:
    """What comes to a unit has not changed, but its inputs have: f = step(i₁ + i₂ + b)."""
    model = two_inputs(lambda a, b: step(a + b + bias))
    found = everywhere("rescale")(model, torch.tensor([[2.0, -2.0]], dtype=dtype))
    assert found[0].tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_small_changes_have_the_slope_of_the_secant(dtype: torch.dtype) -> None:
    model = two_inputs(lambda a, b: (a + b - 2**-10).relu())
    found = everywhere("rescale")(model, torch.tensor([[2**-9, 0.0]], dtype=dtype))
    assert found[0].tolist() == [2**-10, 0]


@pytest.mark.parametrize("word", WORDS)
def test_no_randomness_and_no_state(word: str) -> None:
    model, x = build(NETS["dense_block"], torch.float32)
    method = everywhere(word, other(NETS["dense_block"], torch.float32))
    with nothing_changes(model, x):
        first = method(model, x)
    torch.manual_seed(7)
    assert torch.equal(first, method(model, x))
    assert torch.equal(first, method(copy.deepcopy(model), x))


@pytest.mark.parametrize("name", ["plain", "residual", "squeeze_excite", "masks", "bottleneck"])
def test_each_sample_by_itself(name: str) -> None:
    model, x = build(NETS[name])
    for method in COMPLETE:
        for reference in (other(NETS[name]), other(NETS[name], rows=2)):
            whole = method.replace(reference=reference)(model, x, [1, 2])
            for i, old in enumerate(reference.expand_as(x)):
                alone = method.replace(reference=old)(model, x[i, None], i + 1)
                assert_near(whole[i, None], alone, 1e-10)


def test_combinations_go_by_the_layer_before() -> None:
    """Two rules give four maps; each word acts on its own layers only."""
    model, x = build(NETS["plain"])
    maps = [
        DeepLIFT(conv=conv, dense=dense, reference=0.3)(model, x, 0)
        for conv, dense in itertools.product(WORDS, repeat=2)
    ]
    for one, two in itertools.combinations(maps, 2):
        assert float((one - two).abs().max()) > 1e-6
    rules = {
        layer.label: type(layer.rule).__name__ for layer in with_layers(DeepLIFT(), model, x).layers
    }
    assert rules["1"] == rules["4"] == "Rescale"
    assert rules["7"] == "RevealCancel"


# --- The kept reference ---------------------------------------------------------------------------


def large() -> nn.Module:
    """With a weight that is not copied but fingerprinted, and a number that is no parameter."""
    torch.manual_seed(0)
    model = Net(
        lambda net, x: net.head(net.norm(net.wide(net.scale * x).relu()).relu()),
        wide=nn.Linear(40, 2000), norm=nn.BatchNorm1d(2000), head=nn.Linear(2000, 3),
    )  # fmt: skip
    model.scale = 1.0
    return model.eval()


def _double(weight: Tensor) -> None:
    weight.data[:2] *= 2


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "a large weight": lambda m: _double(m.wide.weight),
    "a large weight by a load": lambda m: m.load_state_dict(
        {k: v if k == "norm.num_batches_tracked" else v + 0.1 for k, v in m.state_dict().items()}
    ),
    "a small weight": lambda m: _double(m.head.weight),
    "a bias": lambda m: m.wide.bias.data.mul_(2),
    "the statistics of a norm": lambda m: m.norm.running_mean.add_(0.3),
    "a number": lambda m: setattr(m, "scale", 2.0),
    "a layer": lambda m: setattr(m, "head", nn.Linear(2000, 3).eval()),
    "a hook": lambda m: m.wide.register_forward_hook(lambda *given: given[-1] + 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("word", WORDS[1:])
def test_a_changed_model_is_never_explained_by_its_old_reference_pass(
    change: Callable[[nn.Module], object], word: str
) -> None:
    model, x = large(), torch.rand(2, 40)
    method = everywhere(word, 0.2)
    before = with_layers(method, model, x, 0)
    change(model)
    after, fresh = (with_layers(method, m, x, 0) for m in (model, copy.deepcopy(model)))
    assert torch.equal(after.values, fresh.values)
    assert torch.equal(after.reference_score, fresh.reference_score)
    assert not torch.equal(before.values, after.values)


def test_a_changed_reference_is_run_again() -> None:
    model, x = build(NETS["plain"])
    reference = other(NETS["plain"])
    method = everywhere("rescale", reference)
    method(model, x, 0)
    reference += 1
    assert torch.equal(method(model, x, 0), method(copy.deepcopy(model), x, 0))


WRITES: dict[str, Callable[[Tensor], object]] = {
    "in place": lambda h: h.mul_(2),
    "data": lambda h: h.data.mul_(2),
    "numpy": lambda h: h.numpy().fill(1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("name", ["conv_norm_relu", "residual"])
def test_what_a_hook_took_may_be_written_to(name: str, write: Callable[[Tensor], object]) -> None:
    """As heatmap code does that scales the features that it saved."""
    model, x = build(NETS[name])
    method, taken = everywhere("rescale", 0.2), []
    expected = with_layers(method, copy.deepcopy(model), x, 0)
    for part in model.modules():
        part.register_forward_hook(lambda *given: taken.append(given[-1]))
    method(model, x, 0)
    for value in taken:
        write(value)
    result = with_layers(method, model, x, 0)
    assert torch.equal(result.values, expected.values)
    assert torch.equal(result.reference_score, expected.reference_score)


def test_the_reference_is_run_once() -> None:
    model, x = build(NETS["conv_norm_relu"])
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    results = [with_layers(everywhere("rescale", 0.2), model, x) for _ in range(3)]
    assert seen == [2, 1, 2, 2]
    assert [result.passes for result in results] == [2.5, 2, 2]
    assert torch.equal(results[0].values, results[1].values)


def test_the_kept_tape_does_not_keep_the_model() -> None:
    model, x = build(NETS["plain"])
    DeepLIFT()(model, x)
    assert model in pairs._kept
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_rows_joined_with_pixels() -> None:
    """A reference alone has other shapes there: it is run once for each row instead."""
    model = Net(
        lambda net, x: net.head(net.patch(x.reshape(-1, 9)).relu().reshape(len(x), -1)),
        patch=nn.Linear(9, 4), head=nn.Linear(16, 3),
    ).double().eval()  # fmt: skip
    x, reference = torch.rand(3, 36).double(), torch.rand(1, 36).double()
    for method in COMPLETE:
        method = method.replace(reference=reference)
        rows = [method(model, row[None], 1) for row in x]
        assert_near(method(model, x, 1), torch.cat(rows), 1e-12)


CONSTANTS = {
    "maximum": (0.1, lambda h: torch.maximum(h, h.new_tensor(0.1))),
    "max": (-0.2, lambda h: torch.max(h, torch.full_like(h, -0.2))),
    "clamp": (0.1, lambda h: h.clamp(min=0.1)),
}


@pytest.mark.parametrize(("least", "step"), CONSTANTS.values(), ids=CONSTANTS)
@pytest.mark.parametrize("word", WORDS)
def test_a_maximum_with_a_constant_is_a_nonlinearity(
    least: float, step: Callable[[Tensor], Tensor], word: str
) -> None:
    torch.manual_seed(0)
    layers = {"fc": nn.Linear(6, 9), "head": nn.Linear(9, 3)}
    model = Net(lambda net, x: net.head(step(net.fc(x))), **layers).double().eval()
    same = Net(lambda net, x: net.head((net.fc(x) - least).relu() + least), **layers).eval()
    x, method = torch.rand(5, 6).double(), everywhere(word, 0.3)
    assert_near(method(model, x, 1), method(same, x, 1), 1e-12)
    if word != "linear":
        assert gap(method, model, x, 1) < 1e-12


STRANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "falls, then relu": lambda h: (h.abs() - 0.3).relu(),
    "steep at 0": lambda h: h.relu().sqrt(),
    "no root below 0": lambda h: (h.relu() + 0.01).sqrt(),
    "no logarithm below 0": lambda h: (h.relu() + 0.01).log(),
    "no power below 0": lambda h: (h.relu() + 0.01).pow(1.5),
}


@pytest.mark.parametrize("step", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("word", WORDS[1:])
def test_no_rule_gives_nan(step: Callable[[Tensor], Tensor], word: str) -> None:
    """Parts of a change may be 0, or lead where a function has no value or an infinite slope."""
    torch.manual_seed(0)
    layers = {"fc": nn.Linear(6, 9, bias=False), "head": nn.Linear(9, 3)}
    model, x = (
        Net(lambda net, x: net.head(step(net.fc(x))), **layers).double().eval(),
        torch.rand(5, 6),
    )
    for reference in (0.0, 0.3):
        assert gap(everywhere(word, reference), model, x.double(), 1) < 1e-12


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (lambda h: h.clamp(min=h.flip(1)), "clamp"),
        (lambda h: h[:, :1].clamp(min=h.new_zeros(4)), "clamp"),
        (lambda h: torch.maximum(h[:, :1], h.new_ones(4)), "maximum"),
        (lambda h: torch.einsum("ni,ni,ni->ni", h, h.flip(1), h.roll(1, 1)), "einsum"),
    ],
)
def test_several_signals_where_the_rule_is_for_one_are_refused(
    step: Callable[[Tensor], Tensor], name: str
) -> None:
    model = Net(lambda net, x: net.head(step(net.fc(x))), fc=nn.Linear(4, 4), head=nn.Linear(4, 3))
    with pytest.raises(UnsupportedOperation, match=f"^DeepLIFT: no rule for {name} "):
        DeepLIFT()(model.eval(), torch.rand(2, 4))


@pytest.mark.parametrize(
    "step",
    [lambda h: h[: len(h), 1:], lambda h: h[torch.arange(len(h)), 1:]],
    ids=["a slice", "an index"],
)
def test_a_step_that_counts_the_rows(step: Callable[[Tensor], Tensor]) -> None:
    """The reference alone has another count: it is run once for each row instead."""
    model = Net(
        lambda net, x: net.head(step(net.fc(x)).relu()), fc=nn.Linear(4, 4), head=nn.Linear(3, 3)
    )
    model, x = model.double().eval(), torch.rand(5, 4).double()
    for method in COMPLETE:
        rows = [method(model, row[None], 1) for row in x]
        assert_near(method(model, x, 1), torch.cat(rows), 1e-12)


def test_a_model_that_views_or_writes_to_its_input() -> None:
    """A reference comes as a copy of its own, in the ordinary memory order."""

    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.no_grad():
            x.mul_(2)
        return net.head(net.fc(x.view(len(x), -1)).relu())

    model = Net(forward, fc=nn.Linear(48, 4), head=nn.Linear(4, 3)).eval()
    x, given = torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4)
    kept = given.clone()
    for reference in (
        ImageMean(),
        torch.rand(3, 1, 1),
        given,
        given.contiguous(memory_format=torch.channels_last),
    ):
        result = with_layers(DeepLIFT(reference=reference), model, x.clone())
        assert_near(result.values.flatten(1).sum(1), result.score - result.reference_score, 1e-5)
    assert torch.equal(given, kept)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 0.05), (torch.bfloat16, 0.5)])
@pytest.mark.parametrize("word", WORDS)
def test_half_precision_stays_half(word: str, dtype: torch.dtype, near: float) -> None:
    model, x = build(NETS["plain"])
    expected = everywhere(word, 0.3)(model, x, 1)
    values = everywhere(word, 0.3)(model.to(dtype), x.to(dtype), 1)
    assert values.dtype == dtype
    assert_near(values, expected, near)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_long_mean_does_not_stand_still_in_half_precision(dtype: torch.dtype) -> None:
    model, x = build(NETS["plain"])
    method = DeepLIFT(reference=[0.5] * 600)
    expected = DeepLIFT(reference=0.5)(model.to(dtype), x.to(dtype), 1)
    assert_near(method(model, x.to(dtype), 1), expected, 0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_several_references_where_the_logits_have_another_dtype(dtype: torch.dtype) -> None:
    inner, x = build(NETS["plain"])
    model = Net(lambda net, x: net.inner(x).float(), inner=inner.to(dtype)).eval()
    (result,) = DeepLIFT(reference=[0.0, 0.5]).steps(model, x.to(dtype), 1)
    assert (result.values.dtype, result.reference_score.dtype) == (dtype, torch.float32)


# --- Several references, targets ------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2])
def test_several_references_are_averaged(rows: int) -> None:
    model, x = build(NETS["plain"])
    several = torch.stack([NETS["plain"].input(rows, seed, torch.float64) for seed in range(40)])
    method = DeepLIFT(reference=list(several))
    results = list(method.steps(model, x, 1, layers=True))
    single = [with_layers(method.replace(reference=one), model, x, 1) for one in several]
    last = results[-1]
    assert_near(last.values, torch.stack([one.values for one in single]).mean(0), 1e-10)
    scores = torch.stack([one.reference_score for one in single])
    assert_near(last.reference_score, scores.mean(0), 1e-10)
    for i, layer in enumerate(last.layers):
        of_single = torch.stack([one.layers[i].relevance for one in single])
        assert_near(layer.relevance, of_single.mean(0), 1e-10)
    assert gap(method, model, x) < 1e-10
    assert last.done == last.of == 40
    assert len(results) > 1
    first = results[0]
    assert 0 < first.done < 40
    total = first.values.flatten(1).sum(1)
    assert_near(total, first.score - first.reference_score, 1e-10)


def test_layers_of_several_references_where_samples_are_not_the_first_axis() -> None:
    forwards = (
        lambda net, x: net.head(net.fc(x).reshape(-1, 2).relu().reshape(len(x), 4)),
        lambda net, x: net.head(net.fc(x).T.relu().T),
    )
    x, several = torch.rand(3, 4).double(), list(torch.rand(2, 4).double())
    for forward in forwards:
        model = Net(forward, fc=nn.Linear(4, 4), head=nn.Linear(4, 3)).double().eval()
        method = DeepLIFT(reference=several)
        single = [with_layers(method.replace(reference=one), model, x, 1) for one in several]
        for i, layer in enumerate(with_layers(method, model, x, 1).layers):
            of_single = torch.stack([one.layers[i].relevance for one in single])
            assert_near(layer.relevance, of_single.mean(0), 1e-12)


@pytest.mark.parametrize("reference", [Blur(), ImageMean(), Noise(n_samples=3)], ids=repr)
def test_references_made_of_x(reference: Baseline) -> None:
    model, x = build(NETS["plain"])
    for method in COMPLETE:
        assert gap(method.replace(reference=reference), model, x) < 1e-10


TARGETS = {
    "a difference": Difference(0, 2),
    "a sum": lambda f: f[:, 0] + 2 * f[:, 1],
    "a log-probability": lambda f: f.log_softmax(1)[:, 1],
    "a class each": [0, 2],
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_target_adds_up(target: object) -> None:
    model, x = build(NETS["plain"])
    for method in COMPLETE:
        assert gap(method.replace(reference=0.3), model, x, target) < 1e-9


# --- What it refuses and what it tells ------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (torch.zeros(3, 6, 6), "baseline must be .* broadcasts to x"),
        (torch.zeros(1, 1, 2, 6, 6), "baseline must be .* broadcasts to x"),
        (torch.full((6, 6), torch.nan), "baseline must be finite"),
        (float("inf"), "reference must be a number"),
        ("black", "reference must be a number"),
    ],
)
def test_bad_references(reference: Tensor | float, words: str) -> None:
    model, x = build(NETS["plain"], torch.float32)
    with pytest.raises(ValueError, match=f"^DeepLIFT: {words}"):
        DeepLIFT(reference=reference)(model, x)


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="DeepLIFT: conv must be one of 'linear', 'rescale'"):
        DeepLIFT(conv="revealcancel")


@pytest.mark.parametrize("kind", ["softmax", "layer_norm", "cumsum"])
def test_operations_without_a_rule_are_named(kind: str) -> None:
    step = {
        "softmax": lambda x: x.softmax(1),
        "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
        "cumsum": lambda x: x.cumsum(1).sort(1).values,
    }[kind]
    model = Net(lambda net, x: net.head(step(net.fc(x))), fc=nn.Linear(4, 4), head=nn.Linear(4, 3))
    with pytest.raises(UnsupportedOperation, match=r"^DeepLIFT: no rule for (softmax|layer_norm|)"):
        DeepLIFT()(model.eval(), torch.rand(2, 4))


def test_another_way_for_the_reference() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        h = net.fc(x)
        return net.head(h.relu() if float(x.sum()) > 0 else h.tanh())

    model = Net(forward, fc=nn.Linear(4, 4), head=nn.Linear(4, 3)).eval()
    with pytest.raises(UnsupportedOperation, match=r"same steps .* relu .* tanh"):
        DeepLIFT()(model, torch.rand(1, 4))


def test_an_index_that_depends_on_x_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.fc(x)[:, x[0].argsort()])

    model = Net(forward, fc=nn.Linear(4, 4), head=nn.Linear(4, 3)).eval()
    x = torch.tensor([[0.3, 0.1, 0.2, 0.0]])
    with pytest.raises(UnsupportedOperation, match="getitem that is called with other"):
        DeepLIFT(reference=x.flip(1))(model, x)


def test_a_named_number_that_depends_on_x_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(F.leaky_relu(net.fc(x), negative_slope=float(x.sum())))

    model = Net(forward, fc=nn.Linear(4, 4), head=nn.Linear(4, 3)).eval()
    with pytest.raises(UnsupportedOperation, match="leaky_relu that is called with other numbers"):
        DeepLIFT()(model, torch.tensor([[0.3, 0.1, 0.2, 0.0]]))


@pytest.mark.parametrize(
    "step",
    [lambda x: x * (x.roll(1, 1) > 0.4), lambda x: x.masked_fill(x.roll(1, 1) > 0.4, 0)],
    ids=["times a mask", "filled"],
)
def test_a_mask_of_other_numbers_is_refused_where_no_multiplier_can_tell(
    step: Callable[[Tensor], Tensor],
) -> None:
    """The first number equals its reference, but only x masks it."""
    model = Net(lambda net, x: net.head(step(x)), head=nn.Linear(4, 3)).double().eval()
    x = torch.tensor([[0.3, 0.5, 0.2, 0.9]]).double()
    assert gap(DeepLIFT(reference=torch.tensor([0.1, 0.1, 0.6, 0.8])), model, x, 1) < 1e-12
    with pytest.raises(UnsupportedOperation, match="that is called with other numbers"):
        DeepLIFT(reference=torch.tensor([0.3, 0.1, 0.6, 0.1]))(model, x, 1)


def test_the_doctor() -> None:
    model, x = build(NETS["plain"])
    assert DeepLIFT(reference=-1.0).examine(model, x) == []
    x[0, :, 0] = 0
    (note,) = DeepLIFT().examine(model, x)
    assert note.severity == "note"
    assert "8% of the pixels" in note.text
    x[0] = 0
    (warning,) = DeepLIFT().examine(model, x)
    assert "equals its reference" in warning.text
    (warning,) = everywhere("linear", -1.0).examine(model, x)
    assert "does not add up" in warning.text
    model, x = build(NETS["ends_in_softmax"])
    with pytest.raises(ValueError, match="softmax"):
        DeepLIFT().examine(model, x)
