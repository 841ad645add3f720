"""Sensitivity and simple Taylor by their papers, and what the ancestors got wrong in gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import Method, Result
from nni_widgets.engine.methods.baselines import Constant, ImageMean, Several
from nni_widgets.engine.methods.fluctuation import Fluctuation, fluctuation
from nni_widgets.engine.methods.gradients import (
    Gradient,
    GradientTimesInput,
    Saliency,
    Sensitivity,
)
from nni_widgets.engine.methods.guided import GuidedBackprop
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.methods.path import IntegratedGradients
from nni_widgets.engine.methods.taylor import NearestRoot, SimpleTaylor
from nni_widgets.engine.targets import Difference, Target
from nni_widgets.pictures.explain import explain
from tests.oracle.closed_forms import Quadratic, ReluRidge, Ridge
from tests.oracle.nets import NETS, Net, select

from .common import DTYPES, TOLERANCE, assert_near, build
from .test_bad_input import refusal

SMOOTH = ["tanh", "gelu", "attention", "softplus"]
FAMILY: list[Method] = [
    Gradient(),
    Saliency(),
    Sensitivity(),
    GradientTimesInput(),
    SimpleTaylor(),
    SimpleTaylor(root=0.3),
    SimpleTaylor(root=[0.0, 0.4, ImageMean()]),
    SimpleTaylor(root=NearestRoot()),
]
EACH = pytest.mark.parametrize("method", FAMILY, ids=repr)


def slope(model: nn.Module, x: Tensor, target: int) -> Tensor:
    """The gradient of one logit in float64, sample by sample, by torch alone."""
    model = copy.deepcopy(model).double()

    def score(row: Tensor) -> Tensor:
        return model(row[None])[0, target]

    rows = [torch.autograd.functional.jacobian(score, row.double()) for row in x]
    return torch.stack(rows)


def last(method: Method, model: nn.Module, x: Tensor, target: Target = None) -> Result:
    *_, result = method.steps(model, x, target)
    return result


def findings(method: Method, model: nn.Module, x: Tensor) -> list[Finding]:
    return list(diagnose(model, x, method).findings)


# --- Sensitivity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["plain", "residual", "conv1d", "standardised", *SMOOTH])
def test_sensitivity_is_the_squared_gradient(name: str, dtype: torch.dtype) -> None:
    model, x = build(NETS[name], dtype)
    expected = slope(model, x, 1)
    assert_near(Sensitivity()(model, x, 1), expected**2, TOLERANCE[dtype])


def test_sensitivity_sums_to_the_squared_length_of_the_gradient_and_is_squared_once() -> None:
    """The ancestor squared twice: its sum was Σ g⁴."""
    toy = Quadratic(inputs=2, classes=1).eval()
    with torch.no_grad():
        toy.A.copy_(2 * torch.eye(2)[None])
        toy.b.zero_()
        toy.c.fill_(-9.0)
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=torch.float64)  # f = x₁² + x₂² − 9
    ours = Sensitivity()(toy, x, 0)
    torch.testing.assert_close(ours, torch.tensor([[4.0, 16.0], [36.0, 0.0]]).double())
    torch.testing.assert_close(ours.sum(1), Gradient()(toy, x, 0).norm(dim=1) ** 2)


def test_a_heatmap_of_sensitivity_sums_over_the_channels_and_has_no_sign() -> None:
    model, x = build(NETS["standardised"])
    e = explain(model, x, Sensitivity(), target=0)
    assert_near(e.heatmaps, slope(model, x, 0).square().sum(1), 1e-10)
    assert not e.method.signed
    assert e.gap is None
    assert "no decomposition" in e.adds_up()


# --- Simple Taylor --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["plain", "residual", *SMOOTH])
def test_simple_taylor_takes_the_gradient_at_the_root_not_at_x(
    name: str, dtype: torch.dtype
) -> None:
    model, x = build(NETS[name], dtype)
    generator = torch.Generator().manual_seed(3)
    root = torch.rand(x.shape, generator=generator, dtype=torch.float64).to(dtype)
    expected = slope(model, root, 1) * (x - root)
    assert_near(SimpleTaylor(root=root)(model, x, 1), expected, TOLERANCE[dtype])
    assert float((slope(model, x, 1) * (x - root) - expected).norm()) > 1e-3 * expected.norm()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", list(select("bias-free", exclude="smooth")))
def test_gradient_times_input_is_simple_taylor_at_the_root_zero(
    name: str, dtype: torch.dtype
) -> None:
    """As the limit from x: a ReLU has no derivative at 0, and torch says 0 there."""
    model, x = build(NETS[name], dtype)
    for target in range(NETS[name].classes):
        result = last(SimpleTaylor(root=0.0), model, x, target)
        assert_near(result.values, GradientTimesInput()(model, x, target), TOLERANCE[dtype])
        assert bool(result.values.any()) == bool(slope(model, x, target).any())
        assert result.reference_score is not None
        assert float(result.reference_score.abs().max()) < 1e-6


def test_with_biases_the_root_zero_is_not_gradient_times_input_and_the_gap_is_shown() -> None:
    model, x = build(NETS["plain"])
    e = explain(model, x, SimpleTaylor(), target=1)
    assert not torch.allclose(e.attribution, GradientTimesInput()(model, x, 1))
    assert e.reference_score is not None
    assert e.gap is not None
    with torch.no_grad():
        change = (model(x) - model(torch.zeros_like(x)))[:, 1]
    torch.testing.assert_close(e.expected, change)
    torch.testing.assert_close(e.gap, change - e.attribution.flatten(1).sum(1))
    assert float(e.gap.abs().min()) > 1e-3
    assert "f(x) − f(x′) = " in e.adds_up()
    assert "gap" in e.adds_up()


def test_a_linear_score_adds_up_from_any_root(ends: tuple[Tensor, Tensor]) -> None:
    model, x = Ridge(lambda z: z).eval(), ends[0]
    for root in (0.0, 0.7, ends[1], ImageMean(), [0.0, ends[1]], NearestRoot()):
        result = last(SimpleTaylor(root=root), model, x, 2)
        assert result.reference_score is not None
        change = result.score - result.reference_score
        torch.testing.assert_close(result.values.sum(1), change)


def test_several_roots_are_averaged() -> None:
    model, x = build(NETS["tanh"])
    roots = (0.0, 0.3, ImageMean())
    alone = [last(SimpleTaylor(root=root), model, x, 0) for root in roots]
    together = last(SimpleTaylor(root=roots), model, x, 0)
    assert_near(together.values, torch.stack([r.values for r in alone]).mean(0), 1e-12)
    means = torch.stack([r.reference_score for r in alone if r.reference_score is not None])
    torch.testing.assert_close(together.reference_score, means.mean(0))


@pytest.fixture
def ends() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x, other = torch.randn(2, 3, 4, generator=generator).double()
    return x, other


# --- The nearest root -----------------------------------------------------------------------------


def test_the_nearest_root_of_a_linear_score(ends: tuple[Tensor, Tensor]) -> None:
    """x̃ = x − f w / ‖w‖², so R_i = f w_i² / ‖w‖²: all of f, shared out by the squared weights."""
    model, x = Ridge(lambda z: z).eval(), torch.cat([ends[0], -3 * ends[0]])
    result = last(SimpleTaylor(root=NearestRoot()), model, x, 1)
    w = model.w[1].detach()
    expected = result.score[:, None] * w**2 / w.square().sum()
    assert_near(result.values, expected, 1e-10)
    assert bool((result.score < 0).any())
    assert bool((result.score > 0).any())


def test_the_nearest_root_of_a_quadratic() -> None:
    """f = x₁² + x₂² − 9 from outside and inside: the circle, on the ray through x."""
    toy = Quadratic(inputs=2, classes=1).eval()
    with torch.no_grad():
        toy.A.copy_(2 * torch.eye(2)[None])
        toy.b.zero_()
        toy.c.fill_(-9.0)
    x = torch.tensor([[4.0, 3.0], [1.2, 1.6]], dtype=torch.float64)
    root = 3 * x / x.norm(dim=1, keepdim=True)
    result = last(SimpleTaylor(root=NearestRoot()), toy, x, 0)
    assert_near(result.values, 2 * root * (x - root), 1e-9)
    assert result.reference_score is not None
    assert float(result.reference_score.abs().max()) < 1e-12


def test_of_two_roots_on_the_way_the_first_is_found() -> None:
    """f = (x − 1)(x − 2)(x − 3) from x = 4: the way passes 3, 2 and 1."""

    class Cubic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 1) * (x - 2) * (x - 3)

    x = torch.tensor([[4.0]], dtype=torch.float64)
    result = last(SimpleTaylor(root=NearestRoot(reach=8.0)), Cubic().eval(), x, 0)
    torch.testing.assert_close(result.values, torch.tensor([[2.0]]).double())  # f′(3) · 1


def test_the_root_of_a_difference_is_the_boundary_of_two_classes() -> None:
    model, x = build(NETS["tanh"], batch=4)
    logits = model(x).detach()
    first, second = (int(k) for k in logits.mean(0).argsort(descending=True)[:2])
    boundary = Difference(first, second)
    root = NearestRoot(reach=20.0)
    result = last(SimpleTaylor(root=root), model, x, boundary)
    found = root.find("test", model, x, result.selection)
    assert bool(found.found.any())
    at_root = model(found.points[0]).detach()[found.found]
    torch.testing.assert_close(at_root[:, first], at_root[:, second], rtol=0, atol=1e-9)
    assert not torch.allclose(at_root[:, first], torch.zeros(len(at_root)).double(), atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_root_at_a_kink_is_reached_from_the_side_of_x(
    dtype: torch.dtype, ends: tuple[Tensor, Tensor]
) -> None:
    """Behind the kink of max(0, w·x + b) the gradient is 0: there every pixel would get nothing."""
    model, x = ReluRidge().eval().to(dtype), ends[0].to(dtype)
    result = last(SimpleTaylor(root=NearestRoot()), model, x)
    w = model.w[result.logits.argmax(1)].detach()
    expected = result.score[:, None] * w**2 / w.square().sum(1, keepdim=True)
    assert_near(result.values, expected, 1e-10 if dtype == torch.float64 else 1e-5)


class Above(nn.Module):
    """f = ‖x‖² + 1: no root anywhere, nearest to 0 where x is 0."""

    def forward(self, x: Tensor) -> Tensor:
        return (x**2).sum(1, keepdim=True) + 1


def test_without_a_root_the_point_nearest_to_zero_takes_its_place_and_it_is_told() -> None:
    x = torch.tensor([[1.0, 2.0], [2.0, -1.0]], dtype=torch.float64)
    e = explain(Above().eval(), x, SimpleTaylor(root=NearestRoot()), target=0)
    assert e.reference_score is not None
    smallest = e.reference_score
    assert bool((smallest >= 1).all())
    assert bool((smallest < 1.05).all())
    (finding,) = findings(e.method, Above().eval(), x)
    assert finding.severity == "warning"
    assert "2 of 2 samples have no root" in finding.text
    assert "f(x′)" in e.adds_up()
    linear = Ridge(lambda z: z, inputs=2).eval()
    assert not findings(e.method, linear, x)


def test_a_flat_score_has_no_root_and_no_relevance() -> None:
    flat = ReluRidge().eval()
    with torch.no_grad():
        flat.b.fill_(-100.0)
    x = torch.rand(2, 4, dtype=torch.float64)
    for method in (SimpleTaylor(root=NearestRoot()), SimpleTaylor()):
        assert not method(flat, x, 0).any()
    with torch.no_grad():
        flat.b.fill_(0.0)
        flat.w.fill_(0.0)
    assert not SimpleTaylor(root=NearestRoot())(flat, x, 0).any()


# --- What holds for the family --------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("name", ["plain", "attention", "conv1d", "mlp"])
def test_a_batch_is_its_samples_one_by_one(method: Method, name: str) -> None:
    model, x = build(NETS[name], batch=3)
    alone = torch.cat([method(model, row[None], k) for k, row in enumerate(x)])
    assert_near(method(model, x, [0, 1, 2]), alone, 1e-10)


@EACH
def test_the_gradient_of_one_logit_not_of_their_sum(method: Method) -> None:
    """An ancestor differentiated the sum of all logits: the other classes moved its map."""
    model, x = build(NETS["plain"])
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[-1].weight[0] *= 3.0
        other[-1].bias[2] += 1.0
    assert torch.equal(method(model, x, 1), method(other, x, 1))
    assert not torch.equal(method(model, x, 0), method(other, x, 0))


@pytest.mark.parametrize("method", [Gradient(), GradientTimesInput(), SimpleTaylor()], ids=repr)
def test_the_score_not_the_loss(method: Method) -> None:
    """An ancestor differentiated the cross-entropy: the sign is the other one, and f is not it."""
    model, x = build(NETS["linear_only"])
    ours = method(model, x, 0)
    nudged = (x + 1e-3 * Gradient()(model, x, 0)).detach()
    assert bool((model(nudged)[:, 0] > model(x)[:, 0]).all())
    expected = slope(model, x, 0)
    assert_near(ours, expected if method == Gradient() else expected * x, 1e-10)


@EACH
def test_a_second_call_is_the_first_again_and_leaves_no_gradient(method: Method) -> None:
    """An ancestor let x.grad grow: its second call had twice the gradient, or four times R."""
    model, x = build(NETS["plain"])
    x.requires_grad_()
    first = method(model, x, 0)
    assert torch.equal(method(model, x, 0), first)
    assert x.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("method", FAMILY[:4], ids=repr)
def test_the_doctor_names_a_flat_score(method: Method) -> None:
    model, x = ReluRidge().eval(), torch.rand(3, 4, dtype=torch.float64)
    assert not findings(method, build(NETS["plain"])[0], build(NETS["plain"])[1])
    with torch.no_grad():
        model.b.fill_(-100.0)
    (finding,) = findings(method, model, x)
    assert "3 of 3 samples have a gradient of 0" in finding.text


def test_roots_that_make_no_sense() -> None:
    model, x = build(NETS["plain"], torch.float32)
    refusal(lambda: SimpleTaylor(root="zero"), "root", "'zero'")  # type: ignore[arg-type]
    refusal(lambda: SimpleTaylor(root=NearestRoot), "root")  # type: ignore[arg-type]
    refusal(lambda: SimpleTaylor(root=torch.nan), "root", "nan")
    refusal(lambda: NearestRoot(reach=0.5), "reach", "0.5")
    for root in (torch.zeros(5), torch.full((6, 6), torch.inf), torch.zeros(6, dtype=torch.int64)):
        text = refusal(lambda root=root: SimpleTaylor(root=root)(model, x), "baseline")
        assert text.startswith("SimpleTaylor: ")
        assert text in str(diagnose(model, x, SimpleTaylor(root=root)))


def test_roots_as_code() -> None:
    assert repr(SimpleTaylor()) == "SimpleTaylor()"
    assert repr(SimpleTaylor(root=0.5)) == "SimpleTaylor(root=0.5)"
    assert SimpleTaylor(root=0.5) == SimpleTaylor(root=Constant(value=0.5))
    assert repr(SimpleTaylor(root=NearestRoot(reach=2))) == (
        "SimpleTaylor(root=NearestRoot(reach=2.0))"
    )


def test_the_passes_are_those_that_were_made() -> None:
    model, x = build(NETS["plain"], torch.float32)
    rows = 0

    def count(*args: Tensor) -> None:
        nonlocal rows
        rows += len(args[1][0])

    for method in (SimpleTaylor(), SimpleTaylor(root=NearestRoot()), SimpleTaylor(root=[0.0, 0.2])):
        method(model, x, 0)
        hook, rows = model.register_forward_hook(count), 0
        result = last(method, model, x, 0)
        hook.remove()
        backward = 1 + isinstance(method.root, NearestRoot) + isinstance(method.root, Several)
        assert result.passes == rows / len(x) + backward


# --- Fluctuation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standardised", "conv1d", "mlp"])
def test_fluctuation_follows_the_gradient_along_the_noise(name: str) -> None:
    model, x = build(NETS[name])
    x = x * torch.tensor([1.0, 3.0]).double().reshape(-1, *[1] * (x.ndim - 1))
    found = fluctuation(model, x, 1, n_steps=5, noise_level=0.2, seed=4)
    change = deviation(x, 0.2) * noise(torch.zeros(1, dtype=torch.long), x, 4)
    assert found.t.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    for step, t in enumerate(found.t):
        gradient = slope(model, x + t * change, 1)
        assert_near(found.largest[:, step], gradient.abs().flatten(1).amax(1), 1e-10)
        for i, pixel in enumerate(found.pixel.tolist()):
            at_pixel = gradient[(i, slice(None), *pixel)] if x.ndim > 2 else gradient[i, pixel]
            assert_near(found.gradient[i, step], at_pixel, 1e-10)
    shares = found.gradient / found.largest[..., None]
    torch.testing.assert_close(found.share, shares)
    assert float(found.share[:, 0].abs().amax()) == 1.0
    with torch.no_grad():
        torch.testing.assert_close(found.score[:, -1], model(x + change)[:, 1])


def test_fluctuation_decides_the_target_once_and_a_batch_is_its_samples() -> None:
    model, x = build(NETS["plain"], batch=3)
    together = fluctuation(model, x, n_steps=40, noise_level=3.0)
    predicted = model(x).argmax(1)
    assert len(model(x + deviation(x, 3.0) * noise(torch.zeros(1).long(), x, 0)).argmax(1)) == 3
    for i, row in enumerate(x):
        alone = fluctuation(model, row[None], int(predicted[i]), n_steps=40, noise_level=3.0)
        assert_near(together.gradient[i], alone.gradient[0], 1e-10)
        assert torch.equal(together.pixel[i], alone.pixel[0])


def test_fluctuation_of_a_linear_score_is_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 3).double()).eval()
    x = torch.rand(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    found = fluctuation(model, x, 0, pixel=(1, 2), n_steps=7)
    assert isinstance(found, Fluctuation)
    assert found.pixel.tolist() == [[1, 2], [1, 2]]
    assert_near(found.gradient, found.gradient[:, :1].expand_as(found.gradient), 1e-12)
    assert_near(found.gradient[:, 0], slope(model, x, 0)[:, :, 1, 2], 1e-10)


def test_fluctuation_changes_nothing_and_refuses_bad_numbers() -> None:
    model, x = build(NETS["plain"], torch.float32)
    state, before = torch.random.get_rng_state(), x.clone()
    fluctuation(model, x, n_steps=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(x, before)
    for wrong in (1, 2.5, True):
        refusal(lambda wrong=wrong: fluctuation(model, x, n_steps=wrong), "n_steps", repr(wrong))
    for wrong in (-1.0, torch.nan, "much"):
        refusal(lambda wrong=wrong: fluctuation(model, x, noise_level=wrong), "noise_level")
    refusal(lambda: fluctuation(model, x, seed=-1), "seed")
    for pixel in ((6, 0), (0, -1), (0,), 3, (0.0, 1.0)):
        refusal(lambda pixel=pixel: fluctuation(model, x, pixel=pixel), "pixel", "(6, 6)")
    refusal(lambda: fluctuation(model, x[0, 0, 0]), "x", "batch")
    refusal(lambda: fluctuation(model.train(), x), "evaluation mode")


@pytest.mark.parametrize("root", [0.0, 0.5])
def test_simple_taylor_is_integrated_gradients_with_one_node_at_the_root(root: float) -> None:
    """For a quadratic the one-node rule sits half way; the gap between both is the curvature."""
    model = Quadratic().eval()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).double()
    taylor = SimpleTaylor(root=root)(model, x, 0)
    middle = IntegratedGradients(n_steps=1, baseline=root)(model, x, 0)
    curvature = (x - root) * (model.gradient(x, 0) - model.gradient(torch.full_like(x, root), 0))
    assert_near(middle - taylor, curvature / 2, 1e-10)


def test_the_doctor_sees_a_root_where_the_gradient_is_zero() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].bias.fill_(-0.5)
        model[0].weight.fill_(1.0)
    x = torch.full((2, 3), 0.7)
    (finding,) = SimpleTaylor().examine(model, x)
    assert "2 of 2 samples the gradient is 0 at the root" in str(finding)
    assert not SimpleTaylor(root=0.5).examine(model, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_nearest_root_where_the_logits_have_another_dtype(dtype: torch.dtype) -> None:
    inner, x = build(NETS["plain"])
    model = Net(lambda net, x: net.inner(x).float(), inner=inner.to(dtype)).eval()
    method = SimpleTaylor(root=NearestRoot())
    assert_near(method(model, x.to(dtype), 0), method(inner.double(), x, 0), 0.3)


def test_the_nearest_root_of_a_score_with_a_tiny_gradient_in_half_precision() -> None:
    model = nn.Linear(400, 1, bias=False).eval()
    with torch.no_grad():
        model.weight.fill_(1e-4)
    values = SimpleTaylor(root=NearestRoot())(model.half(), torch.ones(1, 400).half(), 0)
    assert_near(values.sum(), torch.tensor(0.04), 0.05)


@pytest.mark.parametrize("method", [Gradient(), GuidedBackprop()], ids=repr)
def test_the_logits_stay_though_the_model_writes_to_its_output(method: Method) -> None:
    kept: list[Tensor] = []

    def forward(net: nn.Module, x: Tensor) -> Tensor:
        for output in kept:
            output.detach().zero_()
        kept.append(net.fc(x.flatten(1)))  # type: ignore[operator]
        return kept[-1]

    model, x = Net(forward, fc=nn.Linear(4, 2)).eval(), torch.rand(2, 1, 2, 2)
    (result,) = method.steps(model, x, 0)
    score = result.score.clone()
    model(x)
    assert torch.equal(result.score, score)


def test_noise_is_drawn_on_the_cpu_whatever_the_default_device() -> None:
    x, copies = torch.rand(1, 1, 2, 2), torch.arange(2)
    expected = noise(copies, x, 0)
    with torch.device("meta"):
        assert torch.equal(noise(copies, x, 0), expected)
