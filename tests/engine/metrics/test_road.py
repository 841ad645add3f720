"""ROAD: the imputation against a dense system, its curves against loops, and its corners."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import GradientTimesInput, Saliency
from nni_widgets.engine.metrics import road as module
from nni_widgets.engine.metrics.base import Subject, places
from nni_widgets.engine.metrics.chance import RandomAttribution
from nni_widgets.engine.metrics.road import ROAD, imputed


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, 4)).double().eval()


def by_dense_system(picture: Tensor, removed: Tensor) -> Tensor:
    """One picture (C, H, W): an equation for every removed pixel, all neighbours written out."""
    channels, height, width = picture.shape
    unknown = [tuple(at) for at in removed.nonzero().tolist()]
    matrix = torch.zeros(len(unknown), len(unknown), dtype=torch.float64)
    right = torch.zeros(len(unknown), channels, dtype=torch.float64)
    for row, (i, j) in enumerate(unknown):
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                at = (i + di, j + dj)
                if at == (i, j) or not (0 <= at[0] < height and 0 <= at[1] < width):
                    continue
                weight = 1 / 12 if di and dj else 1 / 6
                matrix[row, row] += weight
                if at in unknown:
                    matrix[row, unknown.index(at)] -= weight
                else:
                    right[row] += weight * picture[:, at[0], at[1]]
    filled = picture.clone()
    solved = torch.linalg.lstsq(matrix, right).solution if unknown else right
    for row, (i, j) in enumerate(unknown):
        filled[:, i, j] = solved[row]
    return filled


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("sides", [(5, 5), (4, 7), (7, 3), (1, 6), (6, 1), (2, 2)])
def test_removed_pixels_are_the_means_of_their_neighbours(
    sides: tuple[int, int], share: float
) -> None:
    x, removed = random(3, 2, *sides), random(3, *sides, seed=1) < share
    removed[:, 0, 0] = False
    found = imputed(x, removed)
    for picture, gone, ours in zip(x, removed, found, strict=True):
        torch.testing.assert_close(ours, by_dense_system(picture, gone), rtol=1e-9, atol=1e-10)
    kept = ~removed[:, None].expand_as(x)
    assert found[kept].equal(x[kept])


def test_one_pixel_worked_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2, 3], [4, 100, 6], [7, 8, 9]]]])
    removed = torch.zeros(1, 3, 3, dtype=torch.bool)
    removed[0, 1, 1] = True
    expected = (2 + 4 + 6 + 8) / 6 + (1 + 3 + 7 + 9) / 12
    assert float(imputed(x, removed)[0, 0, 1, 1]) == pytest.approx(expected)
    corner = torch.zeros(1, 3, 3, dtype=torch.bool)
    corner[0, 0, 0] = True
    expected = (2 / 6 + 4 / 6 + 100 / 12) / (5 / 12)
    assert float(imputed(x, corner)[0, 0, 0, 0]) == pytest.approx(expected)


def test_a_signal_is_a_straight_line_between_what_is_left() -> None:
    x = torch.tensor([[[1.0, 9, 9, 4, 9, 6, 9]]], dtype=torch.float64)
    removed = x[:, 0] == 9
    found = imputed(x, removed)[0, 0].tolist()
    assert found == pytest.approx([1, 2, 3, 4, 5, 6, 6])


@pytest.mark.parametrize("shape", [(3, 2, 6, 5), (3, 2, 5, 6)])
@pytest.mark.parametrize("of", ["probability", "logit"])
def test_it_is_the_mean_of_what_the_loops_find(shape: tuple[int, ...], of: str) -> None:
    metric = ROAD(n_steps=3, noise_level=0.0, of=of)
    model, x, method = network(), random(*shape), Saliency()
    relevance = method(model, x, 1).sum(1)
    expected = torch.zeros(len(x), 4, dtype=torch.float64)
    for i, step in ((i, step) for i in range(len(x)) for step in (1, 2, 3)):
        flat = relevance[i].flatten().tolist()
        rising = sorted(range(len(flat)), key=lambda place: flat[place])
        count = len(flat) * step // 4
        shown = []
        for gone in (rising[:count], rising[len(flat) - count :]):
            removed = torch.zeros(len(flat), dtype=torch.bool)
            removed[gone] = True
            picture = by_dense_system(x[i], removed.reshape(shape[2:]))
            logits = model(picture[None]).detach()[0]
            shown.append(float((logits.softmax(0) if of == "probability" else logits)[1]))
        expected[i, step] = shown[0] - shown[1]
    *early, last = metric.steps(Subject(model, x, method, 1))
    torch.testing.assert_close(last.curve, expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(last.values, expected[:, 1:].mean(1), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(early[0].values, expected[:, 1], rtol=1e-8, atol=1e-10)
    assert last.shares.tolist() == [0, 0.25, 0.5, 0.75]
    assert (last.passes, last.done, last.of) == (6, 3, 3)


def test_the_noise_is_as_large_as_it_says_and_only_in_the_holes() -> None:
    x = 5 * random(2, 2, 40, 40)
    x[:, :, 0, 0], x[:, :, 0, 1] = 0, 5
    relevance = random(2, 1600, seed=3)
    quiet = ROAD(noise_level=0.0).without(x, relevance, 5)
    found = ROAD(noise_level=0.1).without(x, relevance, 5)
    added = (found - quiet)[found != quiet]
    assert len(added) == 2 * 2 * 800
    assert float(added.std()) == pytest.approx(0.5, rel=0.05)
    assert found.equal(ROAD(noise_level=0.1).without(x, relevance, 5))
    assert not found.equal(ROAD(noise_level=0.1, seed=1).without(x, relevance, 5))


def test_a_batch_is_its_pictures_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), random(5, 2, 6, 5)
    for method in (GradientTimesInput(), RandomAttribution()):
        together = ROAD()(model, x, method)
        alone = torch.cat([ROAD()(model, x[i : i + 1], method) for i in range(5)])
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)
        with monkeypatch.context() as few:
            few.setattr(module, "_NUMBERS_AT_ONCE", 300)
            torch.testing.assert_close(ROAD()(model, x, method), together, rtol=1e-10, atol=1e-12)
        assert together.equal(ROAD()(model, x, method))


def test_what_is_right_is_better_than_chance_and_the_contrary_worse() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = 10 * x[:, 0, 2:4, 2:4].mean((1, 2))
            return torch.stack([score, torch.zeros_like(score)], 1)

    model, x = Square().eval(), torch.zeros(6, 1, 8, 8)
    x[:, :, 2:4, 2:4] = 1
    truth = x + 0.01 * random(6, 1, 8, 8).float()
    right, wrong = ROAD()(model, x, truth, 0), ROAD()(model, x, -truth, 0)
    chance = ROAD()(model, x + 1e-3 * random(6, 1, 8, 8).float(), RandomAttribution(), 0)
    assert bool((right > 0.3).all())
    assert bool((wrong < -0.3).all())
    assert abs(float(chance.mean())) < 0.2


def test_the_shape_of_a_hole_is_not_seen_on_a_plain_ground() -> None:
    x = torch.full((1, 1, 6, 6), 0.3, dtype=torch.float64)
    found = ROAD(noise_level=0.0).without(x, places(random(1, 1, 6, 6)), 9)
    torch.testing.assert_close(found, x)


def test_inputs_without_neighbours_are_refused() -> None:
    model = nn.Linear(4, 3).double().eval()
    with pytest.raises(ValueError, match=r"ROAD: x must be pictures \(N, C, H, W\) or signals"):
        ROAD()(model, random(2, 4), Saliency())
    with pytest.raises(ValueError, match="ROAD: n_steps must be a whole number of at least 1"):
        ROAD(n_steps=0)
