"""Infidelity and sensitivity-n: linear models by hand, the papers' sums by loops, and Captum."""

import math

import pytest
import torch
from captum.metrics import infidelity
from torch import Tensor, nn

from nni_widgets.engine.methods import LRP, Gradient, GradientTimesInput, SmoothGrad
from nni_widgets.engine.methods.baselines import Blur, UniformNoise
from nni_widgets.engine.metrics.base import Metric, Subject
from nni_widgets.engine.metrics.faithfulness import Infidelity, SensitivityN
from nni_widgets.engine.metrics.similarity import correlation
from tests.engine.common import assert_near, build
from tests.engine.test_common import nothing_changes
from tests.oracle.nets import NETS

EACH = pytest.mark.parametrize(
    "metric",
    [
        Infidelity(n_samples=9, window=2),
        Infidelity(perturbation="noise", n_samples=9, normalised=False),
        SensitivityN(n_sizes=3, n_sets=9),
    ],
    ids=repr,
)
SHAPES = pytest.mark.parametrize("shape", [(3, 2, 5, 6), (3, 2, 7), (3, 9), (2, 1, 4, 4, 5)])


class Linear(nn.Module):
    """wᵀx + 0.7 for each of two classes, x of any shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.dense = nn.Linear(math.prod(shape[1:]), 2).double()
        nn.init.normal_(self.dense.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x.flatten(1))


def draws(copies: int, shape: tuple[int, ...], seed: int, draw: object) -> list[Tensor]:
    generator = torch.Generator()
    return [
        draw(shape, generator=generator.manual_seed(seed * 1_000_003 + copy), dtype=torch.float64)  # type: ignore[operator]
        for copy in range(copies)
    ]


# --- Infidelity -----------------------------------------------------------------------------------


@SHAPES
@pytest.mark.parametrize("normalised", [True, False])
def test_a_linear_model_is_told_without_error(shape: tuple[int, ...], normalised: bool) -> None:
    model, x = Linear(shape).eval(), torch.rand(shape, dtype=torch.float64)
    noise = Infidelity(perturbation="noise", normalised=normalised, n_samples=20)
    square = Infidelity(window=2, normalised=normalised, n_samples=20)
    assert noise(model, x, Gradient()).max() < 1e-20
    assert square(model, x, GradientTimesInput()).max() < 1e-20
    assert noise(model, x, GradientTimesInput()).min() > 1e-3
    assert square(model, x, Gradient()).min() > 1e-3
    # The scale of a map, and its sign as a whole, only count where it is not normalised.
    twice = square(model, x, -2 * GradientTimesInput()(model, x))
    assert bool((twice < 1e-20).all() if normalised else (twice > 1e-3).all())


def test_one_square_by_hand() -> None:
    """f = x₁ + 2x₂ at (3, 1), a window of one: falls 3 or 2; R = (1, 0) tells 1 or 0."""

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * torch.tensor([1.0, 2.0])).sum(1, keepdim=True)

    x, relevance = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    metric = Infidelity(window=1, n_samples=50, normalised=False, seed=2)
    first = sum(float(u) < 0.5 for u in draws(50, (1,), 2, torch.rand)) / 50
    assert 0.2 < first < 0.8
    found = float(metric(Sum().eval(), x, relevance))
    assert found == pytest.approx(first * (1 - 3) ** 2 + (1 - first) * (0 - 2) ** 2)
    # β = E[told · fall] / E[told²] = 3, so that only the second square is missed.
    found = float(metric.replace(normalised=True)(Sum().eval(), x, relevance))
    assert found == pytest.approx((1 - first) * 2**2)
    # Filled with 1, the second square changes nothing.
    found = float(metric.replace(fill=1.0)(Sum().eval(), x, relevance))
    assert found == pytest.approx(first * (1 - 2) ** 2 + (1 - first) * 0)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("name", ["plain", "mlp", "conv1d"])
def test_noise_by_a_loop_and_against_captum(name: str, normalised: bool) -> None:
    model, x = build(NETS[name])
    model.requires_grad_(False)
    target, attribution = model(x).argmax(1), Gradient()(model, x)
    metric = Infidelity(perturbation="noise", noise_level=0.3, n_samples=7, seed=5,
                        normalised=normalised)  # fmt: skip
    normal = draws(7, tuple(x.shape[1:]), 5, torch.randn)
    expected = []
    for row, relevance, k in zip(x, attribution, target.tolist(), strict=True):
        changes = [0.3 * float(row.max() - row.min()) * e for e in normal]
        told = [float((change * relevance).sum()) for change in changes]
        falls = [float((model(row[None]) - model((row - c)[None]))[0, k]) for c in changes]
        beta = sum(t * f for t, f in zip(told, falls, strict=True)) / sum(t * t for t in told)
        beta = beta if normalised else 1.0
        expected.append(sum((beta * t - f) ** 2 for t, f in zip(told, falls, strict=True)) / 7)
    found = metric(model, x, Gradient())
    assert_near(found, torch.tensor(expected, dtype=torch.float64), 1e-9)
    spread = 0.3 * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).repeat_interleave(7)
    changes = torch.stack(normal * len(x)) * spread.reshape(-1, *[1] * (x.ndim - 1))
    theirs = infidelity(
        lambda given: model(given), lambda given: (changes, given - changes), x, attribution,
        target=target, n_perturb_samples=7, normalize=normalised,
    )  # fmt: skip
    assert_near(found, theirs, 1e-9)


def test_squares_by_a_loop() -> None:
    model, x = build(NETS["plain"])
    model.requires_grad_(False)
    target, attribution = model(x).argmax(1), LRP()(model, x)
    fill = Blur(sigma=1.0)
    found = Infidelity(window=3, n_samples=8, normalised=False, fill=fill)(model, x, LRP())
    expected = []
    for row, covered, relevance, k in zip(x, fill(x)[0], attribution, target.tolist(), strict=True):
        errors = []
        for draw in draws(8, (1,), 0, torch.rand):
            top, left = divmod(int(draw * 16), 4)
            changed = row.clone()
            changed[:, top : top + 3, left : left + 3] = covered[:, top : top + 3, left : left + 3]
            fall = float((model(row[None]) - model(changed[None]))[0, k])
            errors.append((float(relevance[:, top : top + 3, left : left + 3].sum()) - fall) ** 2)
        expected.append(sum(errors) / 8)
    assert_near(found, torch.tensor(expected, dtype=torch.float64), 1e-9)


def test_a_map_of_zeros_is_as_wrong_as_the_falls_are_large() -> None:
    model, x = build(NETS["plain"])
    subject = Subject(model, x, torch.zeros_like(x))
    metric = Infidelity(window=2, n_samples=5)
    *_, measured = metric.steps(subject)
    assert torch.equal(measured.values, metric.replace(normalised=False)(model, x, x * 0))
    assert bool((measured.values > 0).all())


# --- Sensitivity-n --------------------------------------------------------------------------------


@SHAPES
def test_a_linear_model_goes_with_its_contributions(shape: tuple[int, ...]) -> None:
    model, x = Linear(shape).eval(), torch.rand(shape, dtype=torch.float64)
    *_, measured = SensitivityN(n_sets=12).steps(Subject(model, x, GradientTimesInput()))
    assert_near(measured.curve, torch.ones_like(measured.curve), 1e-9)
    against = SensitivityN(n_sets=12)(model, x, lambda *a: -GradientTimesInput()(*a))
    assert_near(against, -torch.ones(len(x)), 1e-9)
    other = SensitivityN(n_sets=12, fill=0.5)(model, x, GradientTimesInput())
    assert bool((other < 0.999).all())


@pytest.mark.parametrize("name", ["plain", "mlp", "conv1d"])
def test_the_papers_correlation_set_by_set(name: str) -> None:
    model, x = build(NETS[name])
    model.requires_grad_(False)
    target, attribution = model(x).argmax(1), LRP()(model, x)
    count = x[0].numel() if x.ndim == 2 else x[0, 0].numel()
    *_, measured = SensitivityN(n_sizes=3, n_sets=6, seed=2).steps(Subject(model, x, LRP()))
    sizes = [round(math.exp(i / 2 * math.log(0.8 * count))) for i in range(3)]
    assert measured.shares.tolist() == [size / count for size in sizes]
    every = draws(18, (count,), 2, torch.rand)
    for at, size in enumerate(sizes):
        sums, falls = (torch.zeros(len(x), 6).double() for _ in range(2))
        for number, draw in enumerate(every[6 * at : 6 * at + 6]):
            chosen = draw.argsort()[:size]
            for i, k in enumerate(target.tolist()):
                changed, relevance = x[i].clone(), attribution[i]
                changed.reshape(-1, count)[:, chosen] = 0
                sums[i, number] = relevance.reshape(-1, count)[:, chosen].sum()
                falls[i, number] = (model(x[i : i + 1]) - model(changed[None]))[0, k]
        assert_near(measured.curve[:, at], correlation(sums, falls), 1e-9)
    assert_near(measured.values, measured.curve.mean(1), 1e-12)


def test_an_empty_picture_shows_nothing() -> None:
    model, _ = build(NETS["plain"], torch.float32)
    x = torch.zeros(3, 2, 6, 6)
    assert SensitivityN(n_sets=5)(model, x, torch.zeros_like(x)).tolist() == [1, 1, 1]
    assert SensitivityN(n_sets=5)(model, x, torch.rand(3, 2, 6, 6)).tolist() == [0, 0, 0]
    assert Infidelity(n_samples=5)(model, x, torch.rand(3, 2, 6, 6)).tolist() == [0, 0, 0]


def test_sizes_of_small_inputs() -> None:
    assert SensitivityN()._sizes(1) == [1]
    assert SensitivityN()._sizes(2) == [1, 2]
    assert SensitivityN(n_sizes=5)._sizes(784) == [1, 5, 25, 125, 627]


# --- Both -----------------------------------------------------------------------------------------


@EACH
def test_a_batch_is_its_samples_one_by_one(metric: Metric) -> None:
    model, x = build(NETS["residual"], batch=3)
    together = metric(model, x, LRP())
    assert together.dtype == torch.float64
    assert_near(together, torch.cat([metric(model, row[None], LRP()) for row in x]), 1e-9)
    assert torch.equal(together, metric(model, x, LRP()))
    assert torch.equal(together, metric(model, x, LRP()(model, x)))
    assert not torch.equal(together, metric.replace(seed=1)(model, x, LRP()))


@EACH
def test_steps_reach_the_whole(metric: Metric) -> None:
    model, x = build(NETS["plain"], batch=40)
    steps = list(metric.steps(Subject(model, x, LRP())))
    assert [step.done for step in steps] == sorted({step.done for step in steps})
    assert len(steps) > 1
    assert steps[-1].done == steps[-1].of
    assert steps[-1].passes == (27 if isinstance(metric, SensitivityN) else 9)
    assert torch.equal(steps[-1].values, metric(model, x, LRP()))


@EACH
def test_the_target_counts(metric: Metric) -> None:
    model, x = build(NETS["plain"])
    target = model(x).argmax(1)
    assert torch.equal(metric(model, x, LRP()), metric(model, x, LRP(), target))
    assert not torch.equal(metric(model, x, LRP()), metric(model, x, LRP(), (target + 1) % 3))


@EACH
def test_nothing_of_the_users_changes(metric: Metric) -> None:
    model, x = build(NETS["bottleneck"])
    with nothing_changes(model, x):
        metric(model, x, SmoothGrad(n_samples=2))


@EACH
def test_in_float32_nearly_the_same(metric: Metric) -> None:
    model, x = build(NETS["plain"], torch.float32)
    attribution = LRP()(model, x)
    rough = metric(model, x, attribution)
    assert rough.dtype == torch.float64
    if not isinstance(metric, Infidelity) or metric.perturbation == "square":
        fine = metric(model.double(), x.double(), attribution.double())
        assert_near(rough, fine, 1e-3)


def test_bad_input() -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match="Infidelity: window must be at most 6, the picture's"):
        Infidelity(window=7)(model, x, LRP())
    for kind in (Infidelity, SensitivityN):
        with pytest.raises(ValueError, match=f"{kind.__name__}: fill must be one picture for each"):
            kind(fill=UniformNoise(n_samples=2))(model, x, LRP())
        with pytest.raises(ValueError, match=f"{kind.__name__}: fill must be"):
            kind(fill="black")
        with pytest.raises(ValueError, match="shaped like x"):
            kind()(model, x, x[:1])
    for wrong in ({"perturbation": "patch"}, {"n_samples": 0}, {"noise_level": -0.1}):
        with pytest.raises(ValueError, match=r"Infidelity: .* must be .*; got"):
            Infidelity(**wrong)
    with pytest.raises(ValueError, match="SensitivityN: n_sets must be a whole number from 2"):
        SensitivityN(n_sets=1)
