"""The method that knows nothing: the same for the same picture, and only for it."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.metrics.chance import RandomAttribution


class Sums(nn.Module):
    """Two logits: the sum of the picture, and its negative."""

    def __init__(self) -> None:
        super().__init__()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([total, -total], 1)


def pictures(count: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 1, 6, 7, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_shaped_like_x_and_the_same_when_asked_again(dtype: torch.dtype) -> None:
    x = pictures(dtype=dtype)
    torch.manual_seed(3)
    first = RandomAttribution()(Sums(), x)
    torch.manual_seed(4)
    assert (first.shape, first.dtype) == (x.shape, dtype)
    assert first.equal(RandomAttribution()(Sums(), x))


def test_a_picture_gets_the_same_numbers_in_any_batch() -> None:
    x = pictures()
    together = RandomAttribution()(Sums(), x)
    alone = [RandomAttribution()(Sums(), x[i : i + 1]) for i in (4, 0, 2)]
    assert torch.cat(alone).equal(together[[4, 0, 2]])


def test_the_order_in_memory_does_not_matter() -> None:
    x = torch.rand(2, 3, 4, 5)
    other = x.to(memory_format=torch.channels_last)
    assert RandomAttribution()(Sums(), x).equal(RandomAttribution()(Sums(), other))


def test_another_picture_or_seed_gets_others_that_have_nothing_in_common() -> None:
    x = torch.rand(1, 1, 50, 50)
    near = x.clone()
    near[0, 0, 0, 0] += 1e-6
    first = RandomAttribution()(Sums(), x).flatten()
    for other in (RandomAttribution()(Sums(), near), RandomAttribution(seed=1)(Sums(), x)):
        assert abs(float(torch.corrcoef(torch.stack([first, other.flatten()]))[0, 1])) < 0.1


def test_the_numbers_are_standard_normal() -> None:
    values = RandomAttribution()(Sums(), torch.rand(4, 100, 100)).double()
    assert abs(float(values.mean())) < 0.02
    assert abs(float(values.std()) - 1) < 0.02


def test_the_state_of_torch_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    RandomAttribution()(Sums(), pictures())
    assert torch.get_rng_state().equal(before)


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="RandomAttribution: target must be a class from 0 to 1"):
        RandomAttribution()(Sums(), pictures(), target=2)
