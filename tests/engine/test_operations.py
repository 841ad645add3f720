"""The short cuts of derivatives are those of the operations themselves."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nni_widgets.engine.methods import DeepLIFT
from nni_widgets.engine.operations import derivative
from nni_widgets.engine.tape import record
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
