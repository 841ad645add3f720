"""SmoothGrad, SmoothGrad² and VarGrad against the papers' sums over the same noise, in float64."""

import copy
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import chunks
from nni_widgets.engine.methods.base import AnyMethod, Method, Result
from nni_widgets.engine.methods.gradients import Gradient, Saliency, Sensitivity
from nni_widgets.engine.methods.guided import GuidedBackprop
from nni_widgets.engine.methods.path import IntegratedGradients
from nni_widgets.engine.methods.smooth import SmoothGrad, SmoothGradSquared, VarGrad
from nni_widgets.engine.methods.taylor import NearestRoot, SimpleTaylor
from nni_widgets.pictures.explain import explain
from tests.oracle.closed_forms import Quadratic
from tests.oracle.nets import NETS

from .common import DTYPES, assert_near, build
from .test_bad_input import refusal

KINDS: tuple[type[SmoothGrad], ...] = (SmoothGrad, SmoothGradSquared, VarGrad)
EACH = pytest.mark.parametrize("kind", KINDS)
OF: list[Method] = [
    Gradient(),
    Saliency(),
    IntegratedGradients(n_steps=4, baseline=[0.0, 0.5]),
    GuidedBackprop(),
    SimpleTaylor(root=0.2),
]


@cache
def normal(shape: tuple[int, ...], copy_: int, seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + copy_)
    return torch.randn(shape, generator=generator, dtype=dtype)


def attributions(of: AnyMethod, smooth: SmoothGrad, model: nn.Module, x: Tensor) -> Tensor:
    """That of each noisy copy, one at a time, in float64: ``(copies, N, ...)``."""
    exact, target = copy.deepcopy(model).double(), model(x).argmax(1)
    made = []
    for s in range(smooth.n_samples):
        noisy = [
            (row + smooth.noise_level * (row.max() - row.min())
             * normal(tuple(row.shape), s, smooth.seed, x.dtype))[None].double()
            for row in x
        ]  # fmt: skip
        made.append(torch.cat([of(exact, row, [k]) for row, k in zip(noisy, target, strict=True)]))
    return torch.stack(made)


def statistic(kind: type[SmoothGrad], made: Tensor) -> Tensor:
    mean = made.mean(0)
    return {
        SmoothGrad: mean,
        SmoothGradSquared: (made**2).mean(0),
        VarGrad: ((made - mean) ** 2).mean(0),
    }[kind]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("of", OF, ids=repr)
@EACH
def test_the_papers_sum_over_the_same_noise(
    kind: type[SmoothGrad], of: Method, dtype: torch.dtype
) -> None:
    for name in ("plain", "standardised"):
        model, x = build(NETS[name], dtype, batch=2)
        smooth = kind(of=of, noise_level=0.3, n_samples=11, seed=5)
        expected = statistic(kind, attributions(of, smooth, model, x))
        # A ReLU that float32 rounds to the other side changes a float32 map a little.
        assert_near(smooth(model, x), expected, 1e-10 if dtype == torch.float64 else 1e-4)


def test_the_three_belong_together() -> None:
    model, x = build(NETS["gelu"])
    mean, square, variance = (kind(n_samples=9)(model, x, 1) for kind in KINDS)
    assert_near(variance, square - mean**2, 1e-10)
    assert bool((variance > 0).all())


def test_squares_and_variances_of_a_quadratic_in_closed_form() -> None:
    """The gradient A (x + ε) + b has mean A x + b and variance σ² ‖A_i‖²."""
    model, n = Quadratic().eval(), 6000
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(2)).double()
    sigma = 0.3 * float(x.max() - x.min())
    square = SmoothGradSquared(noise_level=0.3, n_samples=n)(model, x, 1)
    expected = model.squared_smoothgrad(x, sigma, 1)
    torch.testing.assert_close(square, expected, rtol=0.1, atol=0)
    variance = VarGrad(noise_level=0.3, n_samples=n)(model, x, 1)
    spread = (expected - model.gradient(x, 1) ** 2).detach()
    torch.testing.assert_close(variance, spread, rtol=0.1, atol=0)


def test_a_variance_keeps_its_digits_where_the_mean_is_large() -> None:
    """f = 1000 x + x²/2 in float32: the mean square less the squared mean would have none left."""

    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (1e4 * x + x**2 / 2).sum(1, keepdim=True)

    x = torch.tensor([[0.0, 1.0]])
    smooth = VarGrad(noise_level=0.01, n_samples=200)
    noise = torch.stack([normal((2,), s, 0, torch.float32) for s in range(200)]).double()
    exact = (0.01 * noise).var(0, correction=0)
    torch.testing.assert_close(smooth(Steep().eval(), x)[0].double(), exact, rtol=0.05, atol=0)
    assert torch.equal(smooth.replace(noise_level=0.0)(Steep().eval(), x), torch.zeros(1, 2))


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (2, 1, 6, 6), (2, 3, 8), (2, 5)])
def test_there_is_noise_in_every_channel(shape: tuple[int, ...]) -> None:
    """An ancestor looped over no channels: its noise on colour images was exactly 0."""

    class HalfSquare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**2).flatten(1).sum(1, keepdim=True) / 2  # its gradient is x itself

    x = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    change = SmoothGrad(n_samples=1, noise_level=0.2)(HalfSquare().eval(), x) - x
    for sample, noise in zip(x, change, strict=True):
        spread = 0.2 * float(sample.max() - sample.min())
        expected = spread * normal(shape[1:], 0, 0, torch.float64)
        torch.testing.assert_close(noise, expected)
        assert bool((noise.flatten(1) if noise.ndim > 1 else noise).any(-1).all())


@EACH
def test_other_noise_with_another_seed_and_the_same_again(kind: type[SmoothGrad]) -> None:
    model, x = build(NETS["plain"])
    first, again, other = (kind(seed=seed, n_samples=6)(model, x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("of", OF, ids=repr)
@EACH
def test_a_batch_is_its_samples_one_by_one(kind: type[SmoothGrad], of: Method) -> None:
    model, x = build(NETS["residual"], batch=3)
    method = kind(of=of, n_samples=13)
    assert_near(method(model, x, 1), torch.cat([method(model, r[None], 1) for r in x]), 1e-10)


@EACH
def test_chunks_do_not_change_the_answer_and_better_ones_follow(
    kind: type[SmoothGrad], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for budget, chunk in ((0, 6), (10**9, 32)):
        monkeypatch.setattr(chunks, "_BUDGET", budget)
        model, x = build(NETS["plain"], batch=3)
        answers.append(kind(n_samples=20)(model, x, 1))
        model, x = build(NETS["plain"], batch=1)
        results = list(kind(n_samples=40).steps(model, x, 1))
        done = [result.done for result in results]
        assert done == ([1, *range(7, 40, 6), 40] if chunk == 6 else [32, 40])
        for result in results:
            assert result.of == 40
            assert result.passes == 1 + 2 * result.done
            assert_near(result.values, kind(n_samples=result.done)(model, x, 1), 1e-10)
    assert_near(answers[0], answers[1], 1e-10)


@EACH
def test_the_target_is_decided_on_the_clean_input(kind: type[SmoothGrad]) -> None:
    model, x = build(NETS["plain"], batch=4)
    noisy = kind(noise_level=2.0, n_samples=8)
    assert torch.equal(noisy(model, x), noisy(model, x, model(x).argmax(1)))


def test_signs_and_channels_follow_from_what_is_averaged() -> None:
    assert SmoothGrad().signed
    assert not SmoothGrad(of=Sensitivity()).signed
    assert SmoothGrad(of=Saliency()).channels == "max"
    for kind in (SmoothGradSquared, VarGrad):
        assert not kind().signed
        assert not kind(of=GuidedBackprop()).signed
        assert kind().channels == "sum"
        model, x = build(NETS["plain"], torch.float32)
        e = explain(model, x, kind(n_samples=3))
        assert e.gap is None
        assert not e.scale().signed
        assert "no decomposition" in e.adds_up()


def test_the_doctor() -> None:
    model, x = build(NETS["plain"])
    for kind in KINDS:
        assert not diagnose(model, x, kind()).findings
        (finding,) = diagnose(model, x, kind(noise_level=0.0)).findings
        assert finding.severity == "warning"
        assert f"{kind.__name__}: 2 of 2 samples get no noise" in finding.text
        uniform = x.clone()
        uniform[1] = 0.5
        assert "1 of 2 samples get no noise" in str(diagnose(model, uniform, kind()))
    assert "no variance" in str(diagnose(model, x, VarGrad(n_samples=1)))
    assert not VarGrad(n_samples=1)(model, x).any()
    rootless = SmoothGrad(of=SimpleTaylor(root=NearestRoot()))
    assert diagnose(model, x, rootless).healthy


@EACH
def test_what_is_refused(kind: type[SmoothGrad]) -> None:
    refusal(lambda: kind(n_samples=0), kind.__name__, "n_samples")
    refusal(lambda: kind(noise_level=-0.1), kind.__name__, "noise_level")
    refusal(lambda: kind(of=Gradient), "method")  # type: ignore[arg-type]
    model, x = build(NETS["plain"], torch.float32)
    refusal(lambda: kind()(model, x.double()), kind.__name__, "torch.float32")
    bad = kind(of=IntegratedGradients(baseline=torch.zeros(5)))
    refusal(lambda: bad(model, x), "baseline", "(5,)")


@EACH
def test_a_long_mean_does_not_stand_still_in_half_precision(kind: type[SmoothGrad]) -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), torch.rand(1, 1, 2, 2)
    expected = statistic(kind, Gradient()(model.bfloat16(), x.bfloat16(), 0).double()[None])
    method = kind(n_samples=5000)
    assert_near(method(model, x.bfloat16(), 0), expected, 0.01)


def test_only_the_last_result_is_kept() -> None:
    """So that the memory of a call is that of a chunk, not of all pictures on the way."""
    model, x = build(NETS["plain"])
    alive: list[int] = []
    made: list[weakref.ref[Result]] = []

    class Watched(SmoothGrad):
        def _steps(self, *given: Any) -> Iterator[Result]:
            for result in super()._steps(*given):
                made.append(weakref.ref(result))
                alive.append(sum(each() is not None for each in made))
                yield result
                del result

    for of in (Gradient(), Watched(n_samples=200)):
        Watched(of=of, n_samples=200)(model, x)
        explain(model, x, Watched(of=of, n_samples=200))
    assert len(made) > 20
    assert max(alive) <= 4


def test_what_is_averaged_is_cut_as_it_is_alone() -> None:
    """A method measures what a row of it keeps; its copies are another measure."""
    model = nn.Sequential(nn.Conv2d(1, 60, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()
    x = torch.rand(1, 1, 32, 32)
    model(x)
    method = IntegratedGradients(n_steps=30)
    alone = copy.deepcopy(model)
    expected = [result.done for result in method.steps(alone, x, 0)]
    SmoothGrad(of=method, n_samples=2)(model, x, 0)
    assert [result.done for result in method.steps(model, x, 0)] == expected
    assert expected[0] < 30
