"""Batches of pictures go with their channels last, wherever a model takes them so."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import LRP, DeepLIFT, GradCAM, Method, Saliency
from nni_widgets.engine.order import channels_last, in_quickest_order
from tests.oracle.nets import NETS, Net, build_seeded, conv3

from .common import assert_near, build

METHODS: list[Method] = [Saliency(), GradCAM(), LRP(), DeepLIFT()]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


class Watched:
    """A net, and the strides of what it was given."""

    def __init__(self, head: Callable[[Net, Tensor], Tensor]) -> None:
        self.strides: list[tuple[int, ...]] = []

        def forward(net: Net, x: Tensor) -> Tensor:
            self.strides.append(x.stride())
            return head(net, net.conv(x).relu())

        def make() -> nn.Module:
            return Net(forward, conv=conv3(2, 3), head=nn.Linear(108, 3))

        self.model = build_seeded(make, 0)


def flattened(net: Net, maps: Tensor) -> Tensor:
    return net.head(maps.flatten(1))  # type: ignore[no-any-return]


def viewed(net: Net, maps: Tensor) -> Tensor:
    return net.head(maps.view(len(maps), -1))  # type: ignore[no-any-return]


LAST, ORDINARY = (72, 1, 12, 2), (72, 36, 6, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_by_the_strides_of_one_channel_too(channels: int) -> None:
    x = torch.rand(2, channels, 4, 5)
    moved = channels_last(x)
    assert torch.equal(moved, x)
    assert moved.stride() == (20 * channels, 1, 5 * channels, channels)
    assert moved.data_ptr() != x.data_ptr()


@every_method
def test_few_pictures_come_as_they_are_and_many_with_their_channels_last(method: Method) -> None:
    net = Watched(flattened)
    method(net.model, NETS["plain"].input(3))
    assert set(net.strides) == {ORDINARY}
    net.strides.clear()
    method(net.model, NETS["plain"].input(4))
    assert LAST in net.strides


@every_method
def test_a_model_that_fails_on_it_gets_the_ordinary_order_now_and_later(method: Method) -> None:
    net, same, x = Watched(viewed), Watched(flattened), NETS["plain"].input(4)
    expected = torch.cat([method(same.model, row[None]) for row in x])
    assert_near(method(net.model, x), expected, 1e-5)
    assert LAST in net.strides
    net.strides.clear()
    assert_near(method(net.model, x), expected, 1e-5)
    assert LAST not in net.strides


def test_a_failure_in_both_orders_is_told_and_not_remembered() -> None:
    model, x = nn.ReLU(), torch.rand(4, 1, 2, 2)
    seen: list[tuple[int, ...]] = []

    def refuse(given: Tensor) -> Tensor:
        seen.append(given.stride())
        raise ValueError(f"number {len(seen)}")

    for told in ("number 2", "number 4"):
        with pytest.raises(ValueError, match=told):
            in_quickest_order(model, x, refuse)
    assert seen == [(4, 1, 2, 1), (4, 4, 2, 1)] * 2


def test_what_is_no_picture_comes_as_it_is() -> None:
    for shape in ((8, 3), (8, 3, 5), (8, 3, 5, 2, 2)):
        x = torch.rand(shape)
        assert in_quickest_order(nn.ReLU(), x, lambda given: given) is x


def test_a_kept_reference_serves_one_picture_and_many() -> None:
    """Its tape has the memory order of the pictures beside it."""
    model, x = build(NETS["plain"], batch=6)
    for pictures in (x[:1], x, x[:2], x[2:]):
        expected = torch.cat([DeepLIFT()(model, row[None]) for row in pictures])
        assert_near(DeepLIFT()(model, pictures), expected, 1e-10)
