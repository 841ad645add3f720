"""Sparseness: the Gini index by its definition, and in the corners."""

import pytest
import torch
from torch import nn

from nni_widgets.engine.methods import Saliency
from nni_widgets.engine.metrics.sparseness import Sparseness, gini


def by_pairs(strengths: torch.Tensor) -> float:
    """Half the mean difference of all pairs over the mean: the other definition of the index."""
    pairs = (strengths[:, None] - strengths).abs().sum() / len(strengths) ** 2
    return float(pairs / (2 * strengths.mean()))


def test_it_is_half_the_relative_mean_difference() -> None:
    strengths = torch.rand(4, 30, dtype=torch.float64)
    assert gini(strengths).tolist() == pytest.approx([by_pairs(row) for row in strengths])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0, 5, 0], 0.75), ([2, -2, 2, 2], 0), ([0, 0, 0, 0], 0), ([0, 0, -1, 1], 0.5),
     ([1, 2, 3, 4], 0.25)],
)  # fmt: skip
def test_worked_by_hand(values: list[float], expected: float) -> None:
    model, x = nn.Linear(4, 3).eval(), torch.rand(1, 4)
    found = Sparseness()(model, x, torch.tensor([values]).float())
    assert found.tolist() == pytest.approx([expected])
    assert found.dtype == torch.float64


def test_channels_are_summed_and_the_scale_does_not_matter() -> None:
    class Sums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :3]

    x, attribution = torch.rand(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    found = Sparseness()(Sums().eval(), x, attribution)
    assert found.equal(gini(attribution.double().sum(1).flatten(1).abs()))
    torch.testing.assert_close(Sparseness()(Sums().eval(), x, attribution * 2e-9), found)


def test_a_batch_is_its_pictures_one_by_one() -> None:
    model, x = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).eval(), torch.rand(3, 6)
    alone = torch.cat([Sparseness()(model, x[i : i + 1], Saliency()) for i in range(3)])
    torch.testing.assert_close(Sparseness()(model, x, Saliency()), alone)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="the attribution must be finite"):
        Sparseness()(nn.Linear(4, 3).eval(), torch.rand(1, 4), torch.full((1, 4), torch.nan))
