"""Continuity and max-sensitivity by hand, by loops over single pictures, and against Captum."""

import itertools
import math

import pytest
import torch
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from nni_widgets.engine.methods import LRP, Gradient, GradientTimesInput, SmoothGrad
from nni_widgets.engine.metrics.base import Subject
from nni_widgets.engine.metrics.continuity import Continuity, MaxSensitivity, Nearby
from tests.engine.common import assert_near, build
from tests.engine.test_common import nothing_changes
from tests.oracle.nets import NETS

BOTH = pytest.mark.parametrize(
    "metric", [Continuity(), MaxSensitivity(n_samples=9, radius=0.1)], ids=repr
)


class Maximum(nn.Module):
    """max(x₁, x₂), the paper's example of a function whose gradient jumps."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).amax(1, keepdim=True)


def uniform(copy: int, shape: torch.Size, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + copy)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


# --- Continuity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 2), (1, 1, 2)])
def test_the_maximum_of_two_by_hand(shape: tuple[int, ...]) -> None:
    """x = (3, 1) wraps to (1, 3), 2√2 away; the edge repeated gives (3, 3), 2 away, and (1, 1)."""
    x = torch.tensor([3.0, 1.0]).double().reshape(shape)
    wrap = Continuity(border="wrap")
    assert float(wrap(Maximum().eval(), x, Gradient())) == pytest.approx(2 / math.sqrt(8))
    assert float(wrap(Maximum().eval(), x, GradientTimesInput())) == pytest.approx(6 / math.sqrt(8))

    def first(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return x * torch.tensor([1.0, 0.0]).double()

    assert float(Continuity()(Maximum().eval(), x, first)) == pytest.approx(2 / 2)
    assert float(wrap(Maximum().eval(), x, first)) == pytest.approx(2 / math.sqrt(8))


def shifted(x: Tensor, by: tuple[int, ...], wrap: bool) -> Tensor:
    """One picture (C, ...) or (D,) moved place by place."""
    axes = x.shape[1:] if x.ndim > 1 else x.shape
    moved = torch.empty_like(x)
    for to in itertools.product(*map(range, axes)):
        at = [
            (i - step) % side if wrap else min(max(i - step, 0), side - 1)
            for i, step, side in zip(to, by, axes, strict=True)
        ]
        moved[(..., *to)] = x[(..., *at)]
    return moved


@pytest.mark.parametrize("border", ["edge", "wrap"])
@pytest.mark.parametrize(
    ("name", "pixels"), [("plain", 1), ("plain", 2), ("conv1d", 3), ("mlp", 2), ("conv3d", 1)]
)
def test_the_papers_formula_one_shift_at_a_time(name: str, pixels: int, border: str) -> None:
    model, x = build(NETS[name])
    method, target = LRP(), model(x).argmax(1)
    expected = []
    for row, k in zip(x, target.tolist(), strict=True):
        before = method(model, row[None], k)
        axes = max(row.ndim - 1, 1)
        ratios = []
        for by in itertools.product(range(-pixels, pixels + 1), repeat=axes):
            other = shifted(row, by, border == "wrap")[None]
            if not torch.equal(other, row[None]):
                change = (method(model, other, k) - before).abs().sum()
                ratios.append(float(change / (other - row).pow(2).sum().sqrt()))
        expected.append(max(ratios))
    found = Continuity(pixels=pixels, border=border)(model, x, method)
    assert_near(found, torch.tensor(expected, dtype=torch.float64), 1e-9)


def test_pictures_that_do_not_change_when_moved() -> None:
    model, _ = build(NETS["plain"])
    assert Continuity()(model, torch.ones(2, 2, 6, 6).double(), Gradient()).tolist() == [0, 0]


@pytest.mark.parametrize(("shape", "pixels", "side"), [((1, 2, 6, 6), 6, 6), ((1, 7), 9, 7)])
def test_a_shift_larger_than_the_picture(shape: tuple[int, ...], pixels: int, side: int) -> None:
    model = NETS["plain" if len(shape) == 4 else "mlp"].build()
    with pytest.raises(ValueError, match=f"Continuity: pixels must be smaller than .* {side}; got"):
        Continuity(pixels=pixels)(model, torch.rand(shape), Gradient())


# --- Max-sensitivity ------------------------------------------------------------------------------


def test_a_quadratic_by_hand() -> None:
    """R(x) = x for f = ½‖x‖²: the change of the map is that of x."""

    class HalfSquare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**2).sum(1, keepdim=True) / 2

    x, metric = torch.tensor([[3.0, 4.0]]).double(), MaxSensitivity(radius=0.5, n_samples=2000)
    found = float(metric(HalfSquare().eval(), x, Gradient()))
    assert 0.97 * math.sqrt(0.5) / 5 < found <= math.sqrt(0.5) / 5
    found = float(metric.replace(ball="l2")(HalfSquare().eval(), x, Gradient()))
    assert 0.97 * 0.5 / 5 < found <= 0.5 / 5


@pytest.mark.parametrize("name", ["plain", "mlp", "conv1d"])
def test_the_papers_formula_and_captum_on_the_same_noise(name: str) -> None:
    model, x = build(NETS[name])
    metric, target = MaxSensitivity(radius=0.2, n_samples=6, seed=4), model(x).argmax(1)
    noises = [0.4 * uniform(copy, x.shape[1:], 4) - 0.2 for copy in range(6)]
    expected = []
    for row, k in zip(x, target.tolist(), strict=True):
        before = Gradient()(model, row[None], k)
        changes = [Gradient()(model, (row + e)[None], k) - before for e in noises]
        expected.append(max(float(change.norm() / before.norm()) for change in changes))
    found = metric(model, x, Gradient())
    assert_near(found, torch.tensor(expected, dtype=torch.float64), 1e-9)

    def perturbed(rows: Tensor, radius: float) -> Tensor:
        return rows + torch.stack(noises * len(x))

    def explained(given: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        rows = given[0] if isinstance(given, tuple) else given
        return (Gradient()(model, rows, target.repeat_interleave(len(rows) // len(x))),)

    theirs = sensitivity_max(explained, x, perturb_func=perturbed, n_perturb_samples=6)
    assert_near(found, theirs, 1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (1, 2, 4, 5)])
def test_the_noise_fills_its_ball(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    size, copies = x.numel(), torch.arange(3000)
    for ball, norm in (("max", torch.inf), ("l2", 2)):
        metric = MaxSensitivity(radius=0.5, ball=ball)
        radii = (metric._pictures(x, copies) - x).flatten(1).norm(norm, dim=1) / 0.5
        assert bool((radii <= 1).all())
        # A share s^size of the ball is within s of its middle.
        assert float((radii <= 0.5 ** (1 / size)).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_a_map_of_zeros_is_divided_by_one() -> None:
    x = torch.zeros(1, 3).double()

    def itself(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return x

    metric = MaxSensitivity(radius=0.3, n_samples=5)
    expected = max(float((0.6 * uniform(c, x.shape[1:], 0) - 0.3).norm()) for c in range(5))
    assert float(metric(Maximum().eval(), x, itself)) == pytest.approx(expected)
    assert metric.replace(radius=0.0)(Maximum().eval(), x, itself).tolist() == [0]


# --- Both -----------------------------------------------------------------------------------------


@BOTH
def test_a_constant_map_is_perfect(metric: Nearby) -> None:
    model, x = build(NETS["plain"])
    assert metric(model, x, lambda model, x, target: torch.ones_like(x)).tolist() == [0, 0]


@BOTH
def test_a_batch_is_its_samples_one_by_one(metric: Nearby) -> None:
    model, x = build(NETS["residual"], batch=3)
    together = metric(model, x, Gradient())
    assert together.dtype == torch.float64
    assert_near(together, torch.cat([metric(model, row[None], Gradient()) for row in x]), 1e-9)
    assert torch.equal(together, metric(model, x, Gradient()))


@BOTH
@pytest.mark.parametrize("samples", [1, 40])
def test_the_steps_only_rise(metric: Nearby, samples: int) -> None:
    model, x = build(NETS["plain"], batch=samples)
    steps = list(metric.steps(Subject(model, x, Gradient())))
    assert len(steps) == (1 if samples == 1 else steps[-1].of)
    for before, after in itertools.pairwise(steps):
        assert bool((after.values >= before.values).all())
        assert after.done > before.done
    assert steps[-1].done == steps[-1].of
    assert steps[-1].passes == 2 * steps[-1].of
    assert torch.equal(steps[-1].values, metric(model, x, Gradient()))


@BOTH
def test_the_target_is_decided_once_on_x(metric: Nearby) -> None:
    model, x = build(NETS["plain"], batch=3)
    seen = []

    def spy(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        seen.extend(zip(x, torch.as_tensor(target).tolist(), strict=True))
        return x

    metric(model, x, spy)
    targets = model(x).argmax(1).tolist()
    nearest = [int((x - row).flatten(1).norm(dim=1).argmin()) for row, _ in seen[: len(x)]]
    assert [target for _, target in seen[: len(x)]] == [targets[at] for at in nearest]
    counts = torch.tensor([target for _, target in seen[len(x) :]]).bincount(minlength=3)
    assert torch.equal(counts * len(x), torch.tensor(targets).bincount(minlength=3)
                       * len(seen[len(x) :]))  # fmt: skip


@BOTH
def test_nothing_of_the_users_changes(metric: Nearby) -> None:
    model, x = build(NETS["bottleneck"])
    with nothing_changes(model, x):
        metric(model, x, SmoothGrad(n_samples=2))


@BOTH
def test_an_attribution_alone_is_not_enough(metric: Nearby) -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match="method must be a method, because other pictures"):
        metric(model, x, torch.zeros_like(x))


def test_in_float32_nearly_the_same() -> None:
    model, x = build(NETS["plain"])
    ours = MaxSensitivity(ball="l2", radius=0.1)
    wide = ours(model, x, LRP())
    model, x = build(NETS["plain"], torch.float32)
    assert ours(model, x, LRP()).shape == wide.shape
    assert_near(Continuity()(model, x, LRP()), Continuity()(model.double(), x.double(), LRP()),
                1e-4)  # fmt: skip


@pytest.mark.parametrize("wrong", [{"pixels": 0}, {"border": "mirror"}, {"pixels": 1.5}], ids=repr)
def test_bad_continuity(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Continuity: .* must be .*; got"):
        Continuity(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"radius": -1}, {"ball": "l1"}, {"n_samples": 0}], ids=repr)
def test_bad_max_sensitivity(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"MaxSensitivity: .* must be .*; got"):
        MaxSensitivity(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "action"), [(3, "Choose a smaller shift"), (1, "another measure")]
)
def test_a_picture_without_room_for_a_shift(side: int, action: str) -> None:
    model, x = nn.Flatten().eval(), torch.rand(2, 1, side, 5)
    words = f"Continuity: pixels must be smaller than the picture's shortest side, {side}; got 3"
    with pytest.raises(ValueError, match=f"{words}.*{action}"):
        Continuity(pixels=3)(model, x, GradientTimesInput())
