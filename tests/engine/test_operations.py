"""The short cuts of derivatives are those of the operations themselves."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.composites import EpsilonGammaBox
from nni_widgets.engine.methods import LRP, DeepLIFT, Gradient
from nni_widgets.engine.operations import derivative, family
from nni_widgets.engine.propagation import propagate
from nni_widgets.engine.rules import Derivative, Epsilon, ProportionalPool, Zero
from nni_widgets.engine.tape import record
from nni_widgets.engine.views import strongest_inputs
from nni_widgets.errors import UnsupportedOperation
from tests.engine.common import assert_near
from tests.oracle.nets import Net

BOUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": F.relu6,
    "relu6, in place": lambda x: F.relu6(x + 0, inplace=True),
    "ReLU6": nn.ReLU6(),
    "Hardtanh": nn.Hardtanh(),
    "Hardtanh(-2, 0.5)": nn.Hardtanh(-2.0, 0.5),
    "hardtanh, one end": lambda x: F.hardtanh(x, max_val=0.5),
}
bounded = pytest.mark.parametrize("function", BOUNDED.values(), ids=BOUNDED)


@bounded
def test_a_bounded_relu_is_differentiated_by_its_output(
    function: Callable[[Tensor], Tensor],
) -> None:
    """Inside, outside and at each kink."""
    x = torch.tensor([[-3.0, -2.0, -1.0, -0.4, 0.0, 0.3, 0.5, 1.0, 4.0, 6.0, 7.0]])
    op = record(Net(lambda _, x: function(x)).eval(), x).ops[-1]
    signal = torch.arange(1.0, 12.0)[None]
    (found,) = derivative(op, signal)
    assert torch.equal(found, op.vjp(signal)[0])
    assert 0 < int((found != 0).sum()) < 11


@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2, "padding": 3}, {"dilation": (2, 1)}], ids=str
)
def test_a_convolution_of_pictures_is_differentiated(geometry: dict[str, int]) -> None:
    """It has a way of its own where there are few channels and many numbers."""
    weight = torch.randn(16, 3, 5, 5)
    model = Net(lambda _, x: F.conv2d(x, weight, None, **geometry).flatten(1)[:, :9]).eval()
    op = record(model, torch.randn(4, 3, 67, 68)).ops[0]
    signal = torch.randn_like(op.results[0])
    assert signal.numel() > 1 << 16
    assert_near(derivative(op, signal)[0], op.vjp(signal)[0], 1e-5)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: torch.max_pool2d(x, (3, 2), (2, 3), 1),
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
        lambda x: F.max_pool2d(x, kernel_size=2, dilation=2),
    ],
)
def test_pooling_is_differentiated(pool: Callable[[Tensor], Tensor]) -> None:
    op = record(Net(lambda _, x: pool(x).flatten(1)).eval(), torch.randn(2, 3, 8, 9)).ops[0]
    signal = torch.randn_like(op.results[0])
    assert_near(derivative(op, signal)[0], op.vjp(signal)[0], 1e-6)


def test_deeplift_knows_the_slope_at_the_reference_too() -> None:
    """A clamp, which is run again and differentiated, is the same function."""
    torch.manual_seed(0)

    def tight(net: Net, x: Tensor) -> Tensor:
        return net.head(F.hardtanh(net.second(F.hardtanh(net.first(x), -0.2, 0.3)), -0.2, 0.3))

    def clamped(net: Net, x: Tensor) -> Tensor:
        return net.head(net.second(net.first(x).clamp(-0.2, 0.3)).clamp(-0.2, 0.3))

    layers = {"first": nn.Linear(3, 4), "second": nn.Linear(4, 4), "head": nn.Linear(4, 2)}
    x, old = torch.randn(2, 64, 3).double()
    method = DeepLIFT(dense="reveal-cancel", reference=old)
    ours, again = (method(Net(f, **layers).double().eval(), x, 0) for f in (tight, clamped))
    assert_near(ours, again, 1e-10)


HYPER: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "weights": lambda net, x: F.conv2d(net.conv(x), net.inner.weight * x.mean()),
    "bias": lambda net, x: F.conv2d(net.conv(x), net.inner.weight, x.mean((0, 2, 3))[[0, 1, 0]]),
    "weights alone": lambda net, x: F.conv2d(x.new_ones(2, 3, 4, 4), net.inner.weight * x.mean()),
    "norm": lambda net, x: F.batch_norm(
        net.conv(x), net.norm.running_mean, net.norm.running_var, x.mean((0, 2, 3))[[0, 1, 0]]
    ),
}


@pytest.mark.parametrize("function", HYPER.values(), ids=HYPER)
def test_weights_that_were_computed_from_the_input_are_no_layer(
    function: Callable[[Net, Tensor], Tensor],
) -> None:
    model = Net(
        lambda net, x: net.head(function(net, x).flatten(1)),
        conv=nn.Conv2d(2, 3, 3, padding=1), inner=nn.Conv2d(3, 3, 1), norm=nn.BatchNorm2d(3),
        head=nn.Linear(48, 3),
    ).double().eval()  # fmt: skip
    x = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    tape = canonical(record(model, x))
    assert "other" in {family(op) for op in tape.ops}
    rules = {op.label: Derivative() for op in tape.ops}
    found = propagate(tape, torch.ones(2, 3, dtype=torch.float64), rules)
    assert_near(found, Gradient()(model, x, lambda f: f.sum(1)), 1e-12)
    with pytest.raises(UnsupportedOperation, match="no rule for"):
        LRP()(model, x)
    with pytest.raises(UnsupportedOperation, match="no rule for"):
        LRP(rules={":conv": Epsilon(), "*": Epsilon()})(model, x)


NAMED: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "matmul": (
        lambda x, w: torch.matmul(x, w),
        lambda x, w: torch.matmul(other=w, input=x),
    ),
    "mm": (lambda x, w: x.mm(w), lambda x, w: x.mm(mat2=w)),
    "addmm": (
        lambda x, w: torch.addmm(w[0], x, w),
        lambda x, w: torch.addmm(input=w[0], mat1=x, mat2=w),
    ),
    "div": (lambda x, w: (x / 2) @ w, lambda x, w: torch.div(input=x, other=2) @ w),
}


@pytest.mark.parametrize("name", NAMED)
def test_arguments_may_be_named(name: str) -> None:
    weight, x = torch.randn(6, 4), torch.rand(2, 6)
    plain, named = (
        Net(lambda _, x, way=way: way(x, weight) + weight[1]).eval() for way in NAMED[name]
    )
    for rules in (Epsilon(), EpsilonGammaBox()):
        assert torch.equal(LRP(rules=rules)(named, x), LRP(rules=rules)(plain, x))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: torch.maximum(y, torch.zeros(())),
        lambda y: torch.max(torch.zeros(1), y),
        lambda y: torch.max(input=y, other=torch.zeros(1)),
    ],
)
def test_a_maximum_with_a_constant_is_shared_like_one_with_nothing(
    function: Callable[[Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    conv, head = nn.Conv2d(2, 3, 3), nn.Linear(12, 3)
    model = Net(lambda net, x: net.head(function(net.conv(x)).flatten(1)), conv=conv, head=head)
    usual, x = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head).eval(), torch.rand(2, 2, 4, 4)
    shared = LRP(rules={":maxpool": ProportionalPool(), "*": Zero()})(model.eval(), x)
    assert_near(shared, LRP(rules=Zero())(usual, x), 1e-4)
    tape = record(model, x)
    kind = next(op.kind for op in tape.ops if op.kind.startswith("max"))
    seen = strongest_inputs(model, x, kind, 0, n=2)
    assert torch.equal(seen.boxes, strongest_inputs(usual, x, "1", 0, n=2).boxes)
