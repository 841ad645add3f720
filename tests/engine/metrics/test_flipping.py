"""Selectivity, deletion and insertion: worked by hand, against slow loops, and in the corners."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import GradientTimesInput, Saliency
from nni_widgets.engine.methods.baselines import Blur, Noise
from nni_widgets.engine.methods.fills import as_fill
from nni_widgets.engine.metrics.base import Measured, Metric, Subject
from nni_widgets.engine.metrics.chance import RandomAttribution
from nni_widgets.engine.metrics.flipping import Deletion, Flipping, Insertion, Patches, Selectivity
from nni_widgets.engine.targets import Difference

WEIGHT = torch.tensor([4.0, 1.0, 2.0, 3.0], dtype=torch.float64)


class Linear(nn.Module):
    """Logits w·x and its negative."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.weight
        return torch.stack([score, -score], 1)


def network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, 4)).double().eval()


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def complete(metric: Metric, *asked: object) -> Measured:
    *_, last = metric.steps(Subject(*asked))
    return last


def test_of_a_linear_model_the_curve_is_what_is_left_of_the_sum() -> None:
    found = complete(Selectivity(patch=1), Linear(WEIGHT), torch.ones(1, 4).double(),
                     GradientTimesInput(), 0)  # fmt: skip
    assert found.curve.tolist() == [[10, 6, 3, 1, 0]]
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.values.tolist() == [(10 / 2 + 6 + 3 + 1 + 0 / 2) / 4]
    assert (found.passes, found.done, found.of) == (5, 5, 5)


def test_fewer_steps_read_the_same_curve_at_fewer_places() -> None:
    metric = Selectivity(patch=1, n_steps=2)
    found = complete(metric, Linear(WEIGHT), torch.ones(1, 4).double(), GradientTimesInput(), 0)
    assert found.curve.tolist() == [[10, 3, 0]]
    assert found.values.tolist() == [(10 / 2 + 3 + 0 / 2) / 2]


def test_patches_go_in_the_order_of_their_sums_and_reading_decides_ties() -> None:
    x = torch.ones(1, 1, 2, 4, dtype=torch.float64)
    model = Linear(torch.tensor([5.0, -4, 1, 1, 0, 0, 1, -2]).double())
    found = complete(Selectivity(patch=2), model, x, GradientTimesInput(), 0)
    assert found.curve.tolist() == [[2, 1, 0]]
    by_tie = torch.tensor([[3.0, 0, 0, 0, 0, 0, 3, 0]]).double().reshape(x.shape)
    assert complete(Selectivity(patch=2), model, x, by_tie, 0).curve.tolist() == [[2, 1, 0]]


def test_deletion_and_insertion_show_the_probability() -> None:
    x, model = torch.full((1, 4), 0.1).double(), Linear(WEIGHT)
    deleted = torch.tensor([1.0, 0.6, 0.3, 0.1, 0.0]).double()
    found = complete(Deletion(), model, x, GradientTimesInput(), 0)
    assert found.curve[0].tolist() == pytest.approx((2 * deleted).sigmoid().tolist())
    inserted = torch.tensor([0.0, 0.4, 0.7, 0.9, 1.0]).double()
    found = complete(Insertion(fill=0.0), model, x, GradientTimesInput(), 0)
    assert found.curve[0].tolist() == pytest.approx((2 * inserted).sigmoid().tolist())
    assert float(found.values) == pytest.approx(
        float(torch.trapezoid((2 * inserted).sigmoid())) / 4
    )


def by_loops(
    metric: Flipping, model: nn.Module, x: Tensor, target: int, explain: Callable[[Tensor], Tensor]
) -> Tensor:
    """One picture, one patch and one step at a time: the curve of each sample."""
    fill = as_fill("", metric.fill)(x)[0]
    start, end = (fill, x) if isinstance(metric, Insertion) else (x, fill)
    corners = [range(0, side, metric.patch) for side in x.shape[2:]]
    boxes = [
        tuple(slice(at, at + metric.patch) for at in corner)
        for corner in itertools.product(*corners)
    ]
    steps = min(metric.n_steps or len(boxes), len(boxes))
    curves = []
    for i in range(len(x)):
        left, picture, relevance = list(range(len(boxes))), start[i].clone(), explain(x[i : i + 1])
        curve = []
        for step in range(steps + 1):
            while len(boxes) - len(left) < round(step * len(boxes) / steps + 1e-9):
                best = max(left, key=lambda k: float(relevance[(0, slice(None), *boxes[k])].sum()))
                left.remove(best)
                inside = (slice(None), *boxes[best])
                picture[inside] = end[i][inside]
            logits = model(picture[None]).detach()[0]
            shown = logits.softmax(0) if metric.of == "probability" else logits
            curve.append(float(shown[target]))
            if getattr(metric, "again", False):
                relevance = explain(picture[None])
        curves.append(curve)
    return torch.tensor(curves, dtype=torch.float64)


@pytest.mark.parametrize(
    "metric",
    [
        Selectivity(patch=2),
        Selectivity(patch=3, n_steps=3, of="probability", fill="mean"),
        Selectivity(patch=2, n_steps=5, again=True, fill=0.5),
        Selectivity(patch=2, again=True),
        Deletion(n_steps=7, fill="blur"),
        Insertion(),
        Insertion(patch=2, n_steps=0, of="logit", fill=Blur(sigma=1.0)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 6, 6)])
def test_it_is_that_of_the_loops(metric: Flipping, shape: tuple[int, ...]) -> None:
    model, x, method = network(), pictures(*shape), GradientTimesInput()
    found = complete(metric, model, x, method, 1)
    expected = by_loops(metric, model, x, 1, lambda picture: method(model, picture, 1))
    torch.testing.assert_close(found.curve, expected, rtol=1e-10, atol=1e-12)
    area = (expected[:, 1:] + expected[:, :-1]) / 2 * found.shares.diff()
    torch.testing.assert_close(found.values, area.sum(1), rtol=1e-10, atol=1e-12)
    assert (float(found.shares[0]), float(found.shares[-1])) == (0, 1)


@pytest.mark.parametrize(
    "metric", [Selectivity(patch=2), Selectivity(patch=3, again=True), Deletion(), Insertion()]
)
@pytest.mark.parametrize("target", [None, Difference(1, 2)])
def test_a_batch_is_its_pictures_one_by_one(metric: Metric, target: object) -> None:
    model, x = network(), pictures(5, 3, 6, 5)
    for method in (Saliency(), RandomAttribution()):
        together = metric(model, x, method, target)
        alone = torch.cat([metric(model, x[i : i + 1], method, target) for i in range(len(x))])
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)
        assert together.equal(metric(model, x, method, target))


def test_more_pictures_than_go_at_once() -> None:
    model, x, rows = network(), pictures(70, 3, 5, 5), []
    model.register_forward_hook(lambda _, given, made: rows.append(len(made)))
    *between, last = Selectivity(patch=2).steps(Subject(model, x, Saliency()))
    assert [one.done for one in between] == sorted({one.done for one in between})
    assert len(between) > 5
    assert all(bool(one.values.isnan().any()) for one in between)
    assert last.done == last.of == 70 * 10
    assert max(rows) == 70
    assert sum(rows) >= 700
    alone = Selectivity(patch=2)(model, x[66:67], Saliency())
    torch.testing.assert_close(last.values[66:67], alone)


def test_signals_and_volumes() -> None:
    for shape in ((3, 2, 9), (2, 1, 3, 4, 5)):
        x = pictures(*shape)
        model = Linear(pictures(x[0].numel()) - 0.5)
        patch = 2
        found = complete(Selectivity(patch=patch), model, x, GradientTimesInput(), 0)
        patches = Patches("", x, patch)
        parts = (x * model.weight.reshape(x.shape[1:])).sum(1).flatten(1)
        sums = patches.sums(parts).sort(1, descending=True).values
        left = found.curve[:, :1] - sums.cumsum(1)
        torch.testing.assert_close(found.curve[:, 1:], left)
        sides = torch.tensor(x.shape[2:])
        assert patches.count == int(((sides + patch - 1) // patch).prod())


def test_a_function_and_an_attribution_are_measured_too() -> None:
    model, x = network(), pictures(2, 3, 6, 6)

    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return Saliency()(model, x, target)

    expected = Selectivity()(model, x, Saliency())
    assert Selectivity()(model, x, ours).equal(expected)
    assert Selectivity()(model, x, Saliency()(model, x)).equal(expected)
    assert Selectivity(again=True)(model, x, ours).equal(
        Selectivity(again=True)(model, x, Saliency())
    )


def test_the_best_order_of_a_linear_model_beats_chance_and_the_worst() -> None:
    model, x = Linear(pictures(36) - 0.5), pictures(20, 1, 6, 6)

    def worst(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return -GradientTimesInput()(model, x, target)

    for metric in (Selectivity(patch=2), Deletion(), Insertion(fill=0.0)):
        scores = [
            metric(model, x, m, 0) for m in (GradientTimesInput(), RandomAttribution(), worst)
        ]
        best, chance, last = scores if metric.card.better == "lower" else scores[::-1]
        assert bool((best <= last).all())
        assert float(best.mean()) < float(chance.mean()) < float(last.mean())


def test_explaining_anew_follows_what_is_left() -> None:
    """f = max(x1, x2) + x3: only after the first is gone does the second speak."""

    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = x[:, :2].amax(1) + x[:, 2]
            return torch.stack([score, -score], 1)

    x = torch.tensor([[3.0, 2.0, 1.0]])
    asked = (Largest().eval(), x, GradientTimesInput(), 0)
    assert complete(Selectivity(patch=1), *asked).curve.tolist() == [[4, 3, 2, 0]]
    assert complete(Selectivity(patch=1, again=True), *asked).curve.tolist() == [[4, 3, 1, 0]]


@pytest.mark.parametrize(
    ("metric", "method", "words"),
    [
        (Selectivity(patch=7), Saliency(), "Selectivity: patch must be at most 6"),
        (Deletion(patch=7), Saliency(), "Deletion: patch must be at most 6"),
        (Selectivity(again=True), torch.rand(2, 3, 6, 6), "method must be a method, because"),
        (Selectivity(), torch.rand(2, 3, 6, 5), "the attribution must be shaped like x"),
        (Selectivity(), torch.full((2, 3, 6, 6), torch.nan), "the attribution must be finite"),
        (Selectivity(fill=Noise()), Saliency(), "fill must be one picture for each sample; got 4"),
        (Selectivity(fill=torch.rand(5)), Saliency(), "Selectivity: baseline must be .* broadcast"),
    ],
)
def test_what_cannot_be_measured_is_refused(metric: Metric, method: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metric(network(), pictures(2, 3, 6, 6), method)


def test_bad_pictures_and_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Selectivity()(network(), pictures(0, 3, 6, 6), Saliency())
    with pytest.raises(ValueError, match="pixels that are NaN"):
        Selectivity()(network(), pictures(1, 3, 6, 6) * torch.nan, Saliency())
    with pytest.raises(ValueError, match="Deletion: fill must be a number"):
        Deletion(fill="grey")
    with pytest.raises(ValueError, match="Selectivity: of must be one of"):
        Selectivity(of="loss")
    with pytest.raises(ValueError, match=r"Insertion: x must be pictures .* to blur"):
        Insertion()(Linear(WEIGHT), torch.ones(1, 4).double(), GradientTimesInput())
