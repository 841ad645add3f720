"""Baselines: the pictures they make, and what integrated gradients make of them."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIG
from torch import Tensor, nn

from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods.base import Result
from nni_widgets.engine.methods.baselines import (
    BASELINES,
    AnyBaseline,
    Baseline,
    Blur,
    Constant,
    ImageMean,
    Noise,
    Several,
    UniformNoise,
    as_baseline,
    scores_of,
)
from nni_widgets.engine.methods.path import IntegratedGradients
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.params import as_code, nameless
from nni_widgets.pictures.explain import explain
from tests.oracle.closed_forms import Quadratic
from tests.oracle.nets import NETS

from .common import DTYPES, TOLERANCE, assert_near, build
from .test_bad_input import refusal

ALL: list[Baseline] = [
    *[baseline() for baseline in BASELINES],
    Constant(value=0.5),
    Blur(sigma=1.0),
    Noise(n_samples=1, noise_level=0.2),
    Several(of=[0.2, Blur(sigma=2.0), Noise(n_samples=2)]),
]
EACH = pytest.mark.parametrize("baseline", ALL, ids=repr)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(baseline: AnyBaseline, model: nn.Module, x: Tensor, target: Target = 1) -> Result:
    *_, last = IntegratedGradients(n_steps=100, baseline=baseline).steps(model, x, target)
    return last


# --- The pictures ---------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("shape", [(3, 3, 6, 5), (2, 1, 9), (2, 2, 4, 3, 2)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pictures_for_each_sample(
    baseline: Baseline, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Shaped like x, finite, the same again, each sample by itself, torch's noise untouched."""
    x = pictures(*shape).to(dtype)
    before, state = x.clone(), torch.random.get_rng_state()
    made = baseline(x)
    assert made.shape[1:] == x.shape
    assert made.dtype == dtype
    assert bool(made.isfinite().all())
    assert torch.equal(made, baseline(x))
    alone = torch.cat([baseline(row[None]) for row in x], 1)
    torch.testing.assert_close(made, alone)
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_blur_is_the_weighted_mean_of_the_surroundings() -> None:
    x, sigma = pictures(1, 1, 4, 5), 1.3
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for r in range(4):
        for c in range(5):
            total = weight = 0.0
            for i in range(4):
                for j in range(5):
                    w = math.exp(-((r - i) ** 2 + (c - j) ** 2) / (2 * sigma**2))
                    total, weight = total + w * float(x[0, 0, i, j]), weight + w
            expected[r, c] = total / weight
    assert_near(Blur(sigma=sigma)(x)[0, 0, 0], expected, 1e-12)


def test_blur_between_the_picture_and_its_mean() -> None:
    x = pictures(2, 3, 5, 7)
    assert torch.equal(Blur(sigma=0.0)(x)[0], x)
    assert_near(Blur(sigma=1e6)(x), ImageMean()(x), 1e-9)
    uniform = torch.full_like(x, 0.3)
    torch.testing.assert_close(Blur(sigma=2.0)(uniform)[0], uniform)


def test_noise_has_its_level_and_its_mean_on_colour_images_too() -> None:
    x = pictures(2, 3, 40, 40)
    x[1] *= 10
    made = Noise(noise_level=0.2, n_samples=4)(x) - x
    spread = 0.2 * (x.flatten(1).amax(1) - x.flatten(1).amin(1))
    deviation = made.transpose(0, 1).flatten(1).std(1)
    torch.testing.assert_close(deviation, spread, rtol=0.03, atol=0)
    assert bool((made.std((3, 4)) > 0.1 * spread[:, None]).all())
    assert abs(float(made[:, 0].mean())) < 0.01
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(Noise(seed=1)(x), Noise(seed=2)(x))


def test_uniform_noise_fills_its_range_and_knows_nothing_of_x() -> None:
    x = pictures(2, 3, 30, 30)
    made = UniformNoise(low=-1.0, high=3.0, n_samples=2)(x)
    assert torch.equal(made, UniformNoise(low=-1.0, high=3.0, n_samples=2)(x * 7))
    assert -1.0 <= float(made.min()) < -0.9
    assert 2.9 < float(made.max()) <= 3.0
    assert abs(float(made.mean()) - 1.0) < 0.1


def test_the_mean_of_each_channel() -> None:
    x = pictures(2, 3, 4, 5)
    made = ImageMean()(x)
    assert torch.equal(made[0, :, :, 0, 0], x.mean((2, 3)))
    assert torch.equal(made, made[..., :1, :1].expand_as(made))
    features = pictures(2, 6)
    assert torch.equal(ImageMean()(features)[0, :, 0], features.mean(1))


def test_several_are_all_of_them_in_turn() -> None:
    x = pictures(2, 1, 4, 4)
    parts = [Constant(value=0.2), Blur(sigma=1.0), Noise(n_samples=3)]
    made = Several(of=parts)(x)
    assert torch.equal(made, torch.cat([part(x) for part in parts]))
    nested = Several(of=[parts[0], Several(of=parts[1:])])
    assert torch.equal(nested(x), made)
    stack = pictures(5, 1, 4, 4, seed=1)
    assert torch.equal(Several(of=stack)(x), stack[:, None].expand(5, 2, 1, 4, 4))
    assert torch.equal(Several(of=list(stack))(x), Several(of=stack)(x))
    assert Several()(x).flatten(1).unique(dim=1).flatten().tolist() == [0.0, 1.0]


# --- What is a baseline ---------------------------------------------------------------------------


def test_a_number_a_picture_and_a_list_are_baselines() -> None:
    image = pictures(1, 4, 4)
    assert IntegratedGradients(baseline=0.5).baseline == Constant(value=0.5)
    assert IntegratedGradients(baseline=1) == IntegratedGradients(baseline=1.0)
    assert IntegratedGradients(baseline=image).baseline == Constant(value=image)
    assert IntegratedGradients(baseline=[0.0, 0.5]) == IntegratedGradients(baseline=(0, 0.5))
    blur = Blur()
    assert as_baseline("test", blur) is blur


@EACH
def test_code_makes_a_method_with_this_baseline_again(baseline: Baseline) -> None:
    method = IntegratedGradients(baseline=baseline)
    names = {kind.__name__: kind for kind in (*BASELINES, IntegratedGradients)}
    again = eval(as_code(method, prefix=""), {}, names)  # noqa: S307 - our own output
    assert again == method
    assert hash(again) == hash(method)
    assert pickle.loads(pickle.dumps(method)) == method  # noqa: S301 - made one line above


def test_code_of_baselines() -> None:
    def code(baseline: AnyBaseline) -> str:
        return as_code(IntegratedGradients(baseline=baseline))

    assert code(0.0) == "nni.IntegratedGradients()"
    assert code(0.5) == "nni.IntegratedGradients(baseline=0.5)"
    assert code(Blur(sigma=2.0)) == "nni.IntegratedGradients(baseline=nni.Blur(sigma=2.0))"
    several = "nni.IntegratedGradients(baseline=nni.Several(of=(0.0, nni.ImageMean())))"
    assert code([0.0, ImageMean()]) == several


def test_pictures_in_a_list_have_one_name_in_code_and_make_the_same_again() -> None:
    images = [pictures(1, 4, 4, seed=seed) for seed in (1, 2)]
    method = IntegratedGradients(baseline=images)
    code = "nni.IntegratedGradients(baseline=nni.Several(of=baseline))"
    assert as_code(method) == code
    assert list(nameless(method)) == ["baseline"]
    assert method == method.replace()
    x = pictures(2, 1, 4, 4)
    assert torch.equal(Several(of=torch.stack(images))(x), method.baseline(x))


# --- Integrated gradients -------------------------------------------------------------------------


@EACH
def test_integrated_gradients_are_the_mean_over_the_pictures(baseline: Baseline) -> None:
    """Against Captum, one picture at a time; complete against the mean f(x′)."""
    model, x = build(NETS["tanh"], batch=2)
    result = whole(baseline, model, x)
    made = baseline(x)
    theirs = [
        CaptumIG(model).attribute(
            x, baselines=picture, target=1, n_steps=100, method="gausslegendre"
        )
        for picture in made
    ]
    assert_near(result.values, torch.stack(theirs).mean(0), 1e-6)
    with torch.no_grad():
        reference = torch.stack([model(picture)[:, 1] for picture in made]).mean(0)
    torch.testing.assert_close(result.reference_score, reference)
    change = result.score - reference
    torch.testing.assert_close(result.values.flatten(1).sum(1), change, rtol=1e-6, atol=1e-7)
    assert result.passes == 1 + len(made) + 2 * 100 * len(made)
    assert (result.done, result.of) == (100, 100)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_integrated_gradients_from_the_paper(dtype: torch.dtype) -> None:
    """(x − x′) times the mean gradient, in closed form: without the factor the sum is another."""
    model = Quadratic().eval().to(dtype)
    x, first, second = pictures(3, 4, seed=1).to(dtype)[:, None].unbind()
    images = [first[0], second[0]]
    exact = copy.deepcopy(model).double()
    expected = torch.stack(
        [exact.integrated_gradients(x.double(), start.double(), 2) for start in (first, second)]
    ).mean(0)
    method = IntegratedGradients(n_steps=4, baseline=images)
    assert_near(method(model, x, 2), expected, TOLERANCE[dtype])
    e = explain(model, x, method, target=2)
    assert e.relative_gap is not None
    assert float(e.relative_gap) < 10 * TOLERANCE[dtype]


@EACH
@pytest.mark.parametrize("name", ["plain", "residual"])
def test_a_batch_is_its_samples_one_by_one_and_a_second_call_the_first(
    baseline: Baseline, name: str
) -> None:
    """An ancestor kept its list of points: its second call was twice the first."""
    model, x = build(NETS[name], batch=3)
    method = IntegratedGradients(n_steps=7, baseline=baseline)
    together = method(model, x, [0, 1, 2])
    assert torch.equal(method(model, x, [0, 1, 2]), together)
    alone = torch.cat([method(model, row[None], k) for k, row in enumerate(x)])
    assert_near(together, alone, 1e-10)


def test_the_target_is_decided_once_at_x_not_at_every_step() -> None:
    """An ancestor took the largest logit anew at each point of the way."""
    model, x = build(NETS["shared_conv"])
    x = torch.cat([x, 1 - 3 * x, 5 * x.flip(2)])
    others = x.roll(1, 0)
    predicted = model(x).argmax(1)
    assert bool((model((x + 3 * others) / 4).argmax(1) != predicted).any())
    for baseline in (others, [0.0, others], UniformNoise(high=5.0)):
        method = IntegratedGradients(n_steps=16, baseline=baseline)
        assert torch.equal(method(model, x), method(model, x, predicted))


def test_the_first_of_many_pictures_is_an_estimate_that_rises_to_the_whole() -> None:
    model, x = build(NETS["softplus"], torch.float32, batch=2)
    method = IntegratedGradients(n_steps=16, baseline=UniformNoise(n_samples=8))
    results = list(method.steps(model, x, 1))
    assert len(results) > 3
    assert [result.done for result in results] == sorted({result.done for result in results})
    assert results[-1].done == results[-1].of == 16
    first, last = results[0].values, results[-1].values
    assert 0 < float((first - last).norm() / last.norm()) < 0.5


def test_scores_of_many_pictures_are_asked_for_in_batches() -> None:
    model, x = build(NETS["plain"], torch.float32, batch=3)
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    made = UniformNoise(n_samples=50)(x)
    selection = resolve([0, 1, 2], torch.zeros(3, 3), "test")
    scores = scores_of("test", model, made, selection)
    assert sizes == [32, 32, 32, 32, 22]
    with torch.no_grad():
        for k in range(3):
            torch.testing.assert_close(scores[:, k], model(made[:, k])[:, k])


def test_a_baseline_that_requires_a_gradient_or_was_made_in_inference_mode() -> None:
    model, x = build(NETS["plain"])
    image = pictures(*x.shape[1:])
    expected = IntegratedGradients(baseline=image)(model, x, 0)
    with torch.inference_mode():
        made = image.clone()
    for other in (image.clone().requires_grad_(), made, image.numpy()):
        ours = IntegratedGradients(baseline=other)(model, x, 0)
        assert torch.equal(ours, expected)
        assert not ours.requires_grad


def test_a_single_way_needs_a_single_picture() -> None:
    x = pictures(2, 1, 4, 4)
    assert torch.equal(IntegratedGradients(baseline=Blur())._baseline_like(x), Blur()(x)[0])
    refusal(lambda: IntegratedGradients(baseline=[0.0, 1.0])._baseline_like(x), "2 pictures")


def test_the_doctor_names_a_baseline_that_is_the_picture() -> None:
    model, x = build(NETS["plain"])
    for same in (x, Blur(sigma=0.0), Noise(noise_level=0.0)):
        method = IntegratedGradients(baseline=same)
        (finding,) = diagnose(model, x, method).findings
        assert finding.severity == "warning"
        assert "the baseline is the picture itself" in finding.text
        assert not method(model, x).any()
    assert not diagnose(model, x, IntegratedGradients()).findings


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", ["black", None, True, torch.nan, -math.inf, 1j, Blur, [0.0, "white"], [], {}, [[]]]
)
def test_what_is_no_baseline(wrong: object) -> None:
    text = refusal(lambda: IntegratedGradients(baseline=wrong))  # type: ignore[arg-type]
    assert text.startswith(("IntegratedGradients: baseline", "Several: "))


WRONG: dict[str, tuple[object, str]] = {
    "shape": (torch.zeros(5), "got shape (5,)"),
    "too many samples": (torch.zeros(7, 2, 6, 6), "got shape (7, 2, 6, 6)"),
    "NaN": (torch.full((6, 6), torch.nan), "got NaN or infinite numbers"),
    "infinity": (np.full((6, 6), np.inf), "got NaN or infinite numbers"),
    "bytes": (torch.zeros(6, 6, dtype=torch.uint8), "got dtype torch.uint8"),
    "complex": (torch.zeros(6, dtype=torch.complex64), "got dtype torch.complex64"),
    "objects": (np.array([None, "x"]), "got ndarray"),
    "one of several": ([0.0, torch.zeros(5)], "got shape (5,)"),
    "one of a stack": (Several(of=torch.zeros(4, 5)), "got shape (5,)"),
}


@pytest.mark.parametrize(("baseline", "words"), WRONG.values(), ids=WRONG)
def test_pictures_that_do_not_suit_x(baseline: AnyBaseline, words: str) -> None:
    model, x = build(NETS["plain"], torch.float32)
    method = IntegratedGradients(baseline=baseline)
    text = refusal(lambda: method(model, x), "baseline", words)
    assert text.startswith("IntegratedGradients: ")
    assert str(diagnose(model, x, method)) == f"error: {text}"


def test_numbers_and_stacks_that_make_no_sense() -> None:
    refusal(lambda: Blur(sigma=-1.0), "sigma", "-1.0")
    refusal(lambda: Noise(n_samples=0), "n_samples")
    refusal(lambda: UniformNoise(low=1.0, high=1.0), "below high", "low=1 and high=1")
    for empty in ([], (), torch.zeros(0, 3), torch.tensor(1.0), 0.5, "ab"):
        refusal(lambda empty=empty: Several(of=empty), "Several: of", "at least one")
    refusal(lambda: Blur()(torch.rand(2, 5)), "Blur: x", "(2, 5)")
    method = IntegratedGradients(baseline=Blur())
    refusal(lambda: method(*build(NETS["mlp"])), "IntegratedGradients: x", "to blur")


def test_many_steps_do_not_stand_still_in_half_precision() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), torch.rand(1, 1, 2, 2)
    expected = IntegratedGradients(n_steps=1)(model.bfloat16(), x.bfloat16(), 0)
    assert_near(IntegratedGradients(n_steps=1000)(model, x.bfloat16(), 0), expected, 0.01)


def test_a_baseline_too_large_for_the_dtype_of_x_is_told() -> None:
    model, x = build(NETS["plain"], torch.float32)
    for value in (1e300, torch.full((6, 6), 1e300, dtype=torch.float64)):
        method = IntegratedGradients(baseline=value)
        refusal(lambda method=method: method(model, x), "baseline", "torch.float32")
