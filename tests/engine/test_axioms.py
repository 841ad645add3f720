"""Axioms and closed forms of the path, noise, gradient and guided methods."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import (
    LRP,
    METHODS,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Result,
    Saliency,
    SmoothGrad,
    chunks,
)
from nni_widgets.engine.rules import Zero
from tests.oracle import backward
from tests.oracle.closed_forms import FourCases, Quadratic, ReluRidge, Ridge
from tests.oracle.hand_graphs import HAND, random_graph
from tests.oracle.nets import NETS, select
from tests.oracle.random_nets import random_net

from .common import assert_near, build, suited

TARGET = 1


@pytest.fixture
def ends() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x, baseline = torch.randn(2, 3, 4, generator=generator).double()
    return x, baseline


def last(method: Method, model: nn.Module, x: Tensor, target: int | None = None) -> Result:
    *_, result = method.steps(model, x, target)
    return result


# --- Integrated gradients -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "n_steps", "tolerance"),
    [(Quadratic(), 1, 1e-12), (Quadratic(), 8, 1e-12), (Ridge(torch.tanh), 48, 1e-9),
     (Ridge(lambda z: z**5), 3, 1e-10), (ReluRidge(), 2000, 2e-3)],
    ids=["quadratic, one step", "quadratic", "tanh", "fifth power", "relu"],
)  # fmt: skip
def test_integrated_gradients_in_closed_form(
    model: Quadratic | Ridge, n_steps: int, tolerance: float, ends: tuple[Tensor, Tensor]
) -> None:
    x, baseline = ends
    ours = IntegratedGradients(n_steps=n_steps, baseline=baseline)(model.eval(), x, TARGET)
    assert_near(ours, model.integrated_gradients(x, baseline, TARGET), tolerance)


@pytest.mark.parametrize("name", list(select("smooth", exclude="softmax relu")))
@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients_are_complete(name: str, baseline: float) -> None:
    model, x = build(NETS[name])
    result = last(IntegratedGradients(n_steps=200, baseline=baseline), model, x, TARGET)
    with torch.no_grad():
        change = (model(x) - model(torch.full_like(x, baseline)))[:, TARGET]
    assert result.reference_score is not None
    torch.testing.assert_close(result.score - result.reference_score, change)
    torch.testing.assert_close(result.values.flatten(1).sum(1), change, rtol=1e-3, atol=1e-4)


def test_integrated_gradients_of_a_net_with_kinks_come_near() -> None:
    model, x = build(NETS["plain"])
    result = last(IntegratedGradients(n_steps=1000), model, x, TARGET)
    assert result.reference_score is not None
    change = result.score - result.reference_score
    torch.testing.assert_close(result.values.flatten(1).sum(1), change, rtol=0.01, atol=1e-3)


def test_a_baseline_may_be_one_image_one_colour_or_one_per_sample() -> None:
    model, x = build(NETS["standardised"])
    colour = torch.tensor([0.1, 0.5, 0.9]).double()[:, None, None]
    in_full = IntegratedGradients(baseline=colour.expand_as(x).clone())(model, x, 0)
    for baseline in (colour, colour[None], colour.expand_as(x[0]), colour.float()):
        assert_near(IntegratedGradients(baseline=baseline)(model, x, 0), in_full, 1e-7)
    assert not IntegratedGradients(baseline=x)(model, x, 0).any()


# --- SmoothGrad -----------------------------------------------------------------------------------


def test_smoothgrad_of_a_quadratic(ends: tuple[Tensor, Tensor]) -> None:
    model, x, n = Quadratic().eval(), ends[0][:1], 4000
    sigma = 0.3 * float(x.max() - x.min())
    ours = SmoothGrad(noise_level=0.3, n_samples=n, seed=3)(model, x, TARGET)
    error = model.smoothgrad_error(sigma, n, TARGET)
    off = (ours - model.smoothgrad(x, TARGET))[0].abs()
    assert bool((off < 4 * error).all())
    assert bool((off > 0).all())


def test_smoothgrad_of_a_relu(ends: tuple[Tensor, Tensor]) -> None:
    model, x = ReluRidge().eval(), ends[0][:1]
    sigma = 0.5 * float(x.max() - x.min())
    ours = SmoothGrad(noise_level=0.5, n_samples=8000)(model, x, TARGET)
    assert_near(ours, model.smoothgrad(x, sigma, TARGET), 0.03)


def test_the_noise_is_a_share_of_each_samples_own_range() -> None:
    """The saliency of ½‖x‖² is |x|; noise of σ on a constant pixel makes it σ √(2/π)."""

    class HalfSquare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**2).sum(1, keepdim=True) / 2

    x = torch.tensor([[0.0, 1.0], [0.0, 10.0]], dtype=torch.float64)
    ours = SmoothGrad(of=Saliency(), noise_level=0.2, n_samples=5000)(HalfSquare().eval(), x)
    expected = 0.2 * torch.tensor([1.0, 10.0]) * (2 / torch.pi) ** 0.5
    torch.testing.assert_close(ours[:, 0], expected.double(), rtol=0.05, atol=0)


@pytest.mark.parametrize("of", [m() for m in METHODS if m is not SmoothGrad], ids=str)
def test_no_noise_is_the_method_itself(of: Method) -> None:
    model, x = build(NETS[suited(of, "plain")])
    for n_samples in (1, 4):
        smooth = SmoothGrad(of=of, noise_level=0.0, n_samples=n_samples)(model, x)
        assert_near(smooth, of(model, x), 1e-12)


def test_another_seed_is_other_noise_and_the_same_seed_the_same() -> None:
    model, x = build(NETS["plain"])
    first, again, other = (SmoothGrad(seed=seed)(model, x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_target_is_decided_on_the_clean_input() -> None:
    model, x = build(NETS["plain"])
    noisy = SmoothGrad(noise_level=2.0, n_samples=16)
    assert torch.equal(noisy(model, x), noisy(model, x, model(x).argmax(1)))


# --- Gradients and guided backprop ----------------------------------------------------------------


@pytest.mark.parametrize("name", list(select("bias-free", exclude="smooth")))
def test_gradient_times_input_is_lrp_zero_without_biases(name: str) -> None:
    model, x = build(NETS[name])
    for target in range(NETS[name].classes):
        times_input = GradientTimesInput()(model, x, target)
        assert_near(LRP(rules=Zero())(model, x, target), times_input, 1e-6)
        total = times_input.flatten(1).sum(1)
        torch.testing.assert_close(total, model(x)[:, target].detach())


GUIDED = [name for name in HAND if not {"smooth", "leaky", "gate"} & NETS[name].tags]


@pytest.mark.parametrize("name", GUIDED)
def test_guided_backprop_against_the_graph(name: str) -> None:
    model, x = build(NETS[name])
    graph = HAND[name](model)
    for target in range(NETS[name].classes):
        expected = [backward.backward(graph, row, target, backward.guided)[0] for row in x]
        assert_near(GuidedBackprop()(model, x, target), torch.stack(expected).detach(), 1e-10)


@pytest.mark.parametrize("seed", range(15))
def test_guided_backprop_on_random_nets(seed: int) -> None:
    case = random_net(seed)
    if "leaky" in case.tags:
        case = random_net(seed + 100)
    model, x = build(case)
    if "leaky" in case.tags:
        return
    graph = random_graph(model)
    expected = [backward.backward(graph, row, 0, backward.guided)[0] for row in x]
    assert_near(GuidedBackprop()(model, x, 0), torch.stack(expected).detach(), 1e-10)


def test_the_two_by_two_table() -> None:
    model = FourCases().eval()
    assert torch.equal(Gradient()(model, model.x, 0), model.gradient)
    assert torch.equal(GuidedBackprop()(model, model.x, 0), model.guided)


def test_saliency_is_the_size_of_the_gradient_at_the_chosen_class() -> None:
    model, x = build(NETS["gelu"])
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[:, 2].sum(), leaf)
    assert_near(Gradient()(model, x, 2), expected, 1e-12)
    assert_near(Saliency()(model, x, 2), expected.abs(), 1e-12)


# --- Chunks and steps -----------------------------------------------------------------------------

MANY: list[Method] = [
    IntegratedGradients(n_steps=50),
    SmoothGrad(n_samples=50),
    SmoothGrad(of=LRP(), n_samples=50),
]


class Watched(nn.Module):
    """A model that notes the size of each batch it sees."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.sizes = model, []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.model(x)


@pytest.mark.parametrize("method", MANY, ids=str)
def test_memory_is_bounded_by_a_chunk_and_the_result_does_not_depend_on_it(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest, results = [], []
    for budget in (0, 50_000, 10**9):
        monkeypatch.setattr(chunks, "_BUDGET", budget)
        model, x = build(NETS["plain"], batch=3)
        watched = Watched(model).eval()
        results.append(method(watched, x, TARGET))
        largest.append(max(watched.sizes))
        assert sum(watched.sizes) >= 50 * 3
    assert largest[0] == 6
    assert largest[0] < largest[1] < largest[2] == 32
    for result in results[1:]:
        assert_near(result, results[0], 1e-12)


@pytest.mark.parametrize("net", ["plain", "residual"])
@pytest.mark.parametrize("method", MANY, ids=str)
def test_more_steps_do_not_make_larger_batches(
    method: Method, net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_BUDGET", 50_000)
    name = "n_steps" if isinstance(method, IntegratedGradients) else "n_samples"
    largest = []
    for n in (60, 300):
        model, x = build(NETS[net], batch=1)
        watched = Watched(model).eval()
        method.replace(**{name: n})(watched, x)
        largest.append(max(watched.sizes))
    assert largest[0] == largest[1] < 32


@pytest.mark.parametrize("method", MANY, ids=str)
def test_where_rows_are_large_the_first_picture_comes_early_and_the_last_is_whole(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_BUDGET", 1)
    model, x = build(NETS["plain"], batch=2)
    results = list(method.steps(model, x, TARGET))
    assert len(results) >= 2
    assert results[0].done == 1
    assert [r.of for r in results] == [50] * len(results)
    assert results[-1].done == 50
    assert torch.equal(results[-1].values, method(model, x, TARGET))


@pytest.mark.parametrize("method", MANY[:1], ids=str)
def test_a_first_picture_is_an_estimate_of_the_last(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_BUDGET", 1)
    model, x = build(NETS["softplus"], batch=1)
    first, *_, last_one = method.steps(model, x, TARGET)
    assert 0 < float((first.values - last_one.values).norm() / last_one.values.norm()) < 0.5


def test_passes_are_counted_per_sample() -> None:
    model, x = build(NETS["plain"], batch=2)
    assert last(Gradient(), model, x).passes == 2
    assert last(LRP(), model, x).passes == 2
    assert last(IntegratedGradients(n_steps=10), model, x).passes == 2 + 20
    assert last(SmoothGrad(n_samples=10), model, x).passes == pytest.approx(1 + 20)
