"""Groups that are known are found, again and the same, however the maps are ordered or scaled."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nni_widgets.engine.metrics.clusters import clusters

SIZES = [30, 20, 14]
TRUTH = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))


def maps(noise: float = 0.3, shape: tuple[int, ...] = (2, 12, 12)) -> Tensor:
    """30 maps with the relevance at the beginning, 20 with it at the end, 14 in the middle."""
    generator = torch.Generator().manual_seed(1)
    made = noise * torch.randn(len(TRUTH), *shape, generator=generator)
    for row, group in zip(made, TRUTH.tolist(), strict=True):
        start = {0: 0, 1: shape[-1] - 4, 2: shape[-1] // 2 - 2}[group]
        row[..., start : start + 4] += 1
    return made * torch.rand(len(made), *[1] * len(shape), generator=generator).add(0.1)


@pytest.mark.parametrize("shape", [(2, 12, 12), (1, 40), (16,), (1, 6, 6, 12)])
def test_known_groups_are_found(shape: tuple[int, ...]) -> None:
    made = maps(shape=shape)
    found = clusters(made, 3)
    assert torch.equal(found.labels, TRUTH)
    assert found.eigengap == 3
    assert found.embedding.shape == (64, 2)
    assert found.means.shape == (3, *shape)
    for group in range(3):
        torch.testing.assert_close(found.means[group], made[group == TRUTH].mean(0))


def test_the_eigenvalues_are_those_of_a_laplacian() -> None:
    found = clusters(maps(), 3)
    assert found.eigenvalues.dtype == torch.float64
    assert abs(float(found.eigenvalues[0])) < 1e-9
    assert bool((found.eigenvalues.diff() >= -1e-12).all())
    assert float(found.eigenvalues[-1]) < 2
    assert float(found.eigenvalues[2]) < 0.05 < 0.2 < float(found.eigenvalues[3])


def test_eigenvectors_belong_to_their_eigenvalues() -> None:
    """Written out once more, pair by pair, for few maps."""
    made = maps()[::4]
    pooled = torch.nn.functional.adaptive_avg_pool2d(made.double().sum(1), 6).flatten(1)
    points = pooled / pooled.norm(dim=1, keepdim=True)
    count = len(points)
    joined = torch.full((count, count), 0.01 * 10 / count).double()
    for i in range(count):
        others = sorted((float((points[i] - points[j]).norm()), j) for j in range(count) if j != i)
        for _, j in others[:10]:
            joined[i, j] += 0.5
            joined[j, i] += 0.5
    degree = joined.sum(1)
    laplacian = torch.eye(count).double() - joined / (degree[:, None] * degree).sqrt()
    found = clusters(made, 4, size=6)
    for value, vector in zip(found.eigenvalues[1:4], found.embedding.T, strict=True):
        torch.testing.assert_close(laplacian @ vector, value * vector, rtol=1e-7, atol=1e-9)
        assert float(vector.norm()) == pytest.approx(1)
        assert float(vector[vector.abs().argmax()]) > 0


def test_the_same_again_and_whatever_the_seed() -> None:
    made, before = maps(), torch.get_rng_state()
    first, again, other = clusters(made, 3), clusters(made, 3), clusters(made, 3, seed=7)
    for name in ("labels", "means", "embedding", "eigenvalues"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert torch.equal(first.labels, other.labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_of_the_maps_does_not_matter() -> None:
    made, order = maps(), torch.randperm(64, generator=torch.Generator().manual_seed(3))
    assert torch.equal(clusters(made[order], 3).labels, clusters(made, 3).labels[order])


def test_the_scale_of_a_map_does_not_matter() -> None:
    made = maps()
    scales = torch.logspace(-6, 6, 64)[:, None, None, None]
    assert torch.equal(clusters(made * scales, 3).labels, TRUTH)


def test_groups_are_numbered_by_size() -> None:
    assert torch.equal(clusters(maps().flip(0), 3).labels, TRUTH.flip(0))
    assert clusters(maps(), 3).labels.bincount().tolist() == SIZES


def test_more_and_fewer_groups() -> None:
    made = maps()
    assert clusters(made, 1).labels.unique().tolist() == [0]
    two = clusters(made, 2)
    assert two.embedding.shape == (64, 2)
    assert all(len(two.labels[group == TRUTH].unique()) == 1 for group in range(3))
    many = clusters(made, 8)
    assert many.embedding.shape == (64, 7)
    counts = many.labels.bincount()
    assert len(counts) == 8
    assert bool((counts.diff() <= 0).all())


def test_few_and_equal_maps() -> None:
    made = torch.eye(3).reshape(3, 1, 3)
    assert clusters(made, 3).labels.tolist() == [0, 1, 2]
    same = clusters(torch.ones(5, 1, 4, 4), 2)
    assert same.labels.max() < 2
    assert bool(same.means.isfinite().all())
    assert bool(clusters(torch.zeros(5, 1, 4, 4), 1).embedding.isfinite().all())


def test_means_have_the_dtype_and_shape_of_the_maps() -> None:
    made = maps().double()
    assert clusters(made, 3).means.dtype == torch.float64
    assert clusters(made.float().requires_grad_(), 3).means.dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "n", "size", "words"),
    [
        (maps()[:2], 2, 14, "attributions must be finite maps of at least 3"),
        (maps()[0, 0, 0], 2, 14, "attributions must be finite maps"),
        ("maps", 2, 14, "attributions must be finite maps"),
        (maps() / 0, 2, 14, "got NaN or infinite numbers"),
        (maps(), 0, 14, "n must be a whole number from 1 to 64"),
        (maps(), 65, 14, "n must be a whole number from 1 to 64"),
        (maps(), 2.0, 14, "n must be a whole number"),
        (maps(), 2, 0, "size must be a whole number of at least 1"),
    ],
)
def test_bad_input(given: Tensor, n: int, size: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"clusters: .*{words}"):
        clusters(given, n, size=size)


def test_whole_numbers_of_numpy_and_no_others() -> None:
    assert clusters(maps(), np.int64(3), size=np.int64(4)).labels.max() == 2
    with pytest.raises(ValueError, match="clusters: seed must be a whole number; got 'a'"):
        clusters(maps(), 3, seed="a")  # type: ignore[arg-type]
