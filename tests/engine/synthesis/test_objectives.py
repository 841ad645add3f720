"""Objectives: their formulas, their gradients, their algebra, and what they refuse."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nni_widgets.engine.synthesis import (
    L2,
    Channel,
    CodeNorm,
    Direction,
    Energy,
    Expert,
    Logit,
    LogProbability,
    Match,
    Objective,
    Seen,
    Sum,
    TotalVariation,
    Unit,
)
from nni_widgets.engine.synthesis.inversion import AlphaNorm
from nni_widgets.engine.synthesis.watch import watch
from nni_widgets.engine.targets import Difference
from nni_widgets.params import as_code
from tests.engine.common import assert_near, build
from tests.oracle.nets import NETS


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian(x: Tensor) -> Tensor:
    """The log-density of a standard normal distribution, but for a constant."""
    return -x.square().flatten(1).sum(1) / 2


MAPS, LOGITS, X, Z = drawn(2, 3, 4, 5), drawn(2, 6, seed=1), drawn(2, 1, 4, 3, seed=2), drawn(2, 7)
SEEN = Seen(X, LOGITS, {"layer": MAPS, "dense": MAPS[:, :, 0, 0], "line": MAPS[:, :, 0]}, Z)


def test_formulas_on_the_output() -> None:
    assert_near(Logit(2)(SEEN), LOGITS[:, 2], 1e-15)
    probabilities = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    assert_near(LogProbability(2)(SEEN), probabilities[:, 2].log(), 1e-14)
    assert_near(LogProbability([3, 1])(SEEN), probabilities[[0, 1], [3, 1]].log(), 1e-14)
    assert_near(Logit(torch.tensor([3, 1]))(SEEN), LOGITS[[0, 1], [3, 1]], 1e-15)
    margin = LOGITS[:, 0] - LOGITS[:, 4]
    assert_near(Logit(Difference(0, 4))(SEEN), margin, 1e-15)
    assert_near(LogProbability(Difference(0, 4))(SEEN), margin, 1e-13)
    assert_near(Logit(lambda f: f[:, 0] - f[:, 4])(SEEN), margin, 1e-15)


def test_no_target_is_the_class_predicted_at_the_start() -> None:
    start = Seen(X, LOGITS, predicted=torch.tensor([5, 0]))
    assert_near(Logit()(start), LOGITS[[0, 1], [5, 0]], 1e-15)
    assert_near(Logit()(Seen(X, LOGITS)), LOGITS.max(1).values, 1e-15)


def test_formulas_on_a_layer() -> None:
    assert_near(Unit("layer", 1)(SEEN), MAPS[:, 1, 2, 2], 1e-15)
    assert_near(Unit("layer", 1, row=0, column=4)(SEEN), MAPS[:, 1, 0, 4], 1e-15)
    assert_near(Unit("layer", 1, column=4)(SEEN), MAPS[:, 1, 2, 4], 1e-15)
    assert Unit("layer", 1, *np.unravel_index(9, (4, 5))) == Unit("layer", 1, row=1, column=4)
    assert_near(Unit("dense", 2)(SEEN), MAPS[:, 2, 0, 0], 1e-15)
    assert_near(Unit("line", 2, column=3)(SEEN), MAPS[:, 2, 0, 3], 1e-15)
    assert_near(Channel("layer", 2)(SEEN), MAPS[:, 2].mean((1, 2)), 1e-15)
    assert_near(Channel("dense", 2)(SEEN), MAPS[:, 2, 0, 0], 1e-15)
    assert_near(Energy("layer")(SEEN), (MAPS**2).mean((1, 2, 3)) / 2, 1e-15)
    vector = torch.tensor([1.0, -2.0, 0.5])
    expected = (MAPS * vector[:, None, None]).sum(1).mean((1, 2))
    assert_near(Direction("layer", vector)(SEEN), expected, 1e-14)
    assert_near(Direction("layer", [0, 0, 1])(SEEN), Channel("layer", 2)(SEEN), 1e-14)  # type: ignore[arg-type]


def test_formulas_of_penalties() -> None:
    assert_near(L2()(SEEN), (X**2).sum((1, 2, 3)), 1e-15)
    assert_near(L2(center=0.5)(SEEN), ((X - 0.5) ** 2).sum((1, 2, 3)), 1e-15)
    assert_near(L2(center=X[0])(SEEN), ((X - X[0]) ** 2).sum((1, 2, 3)), 1e-15)
    assert_near(CodeNorm()(SEEN), (Z**2).sum(1), 1e-15)
    wanted = drawn(1, 3, 4, 5, seed=5)
    distance = ((MAPS - wanted) ** 2).sum((1, 2, 3)) / (wanted**2).sum()
    assert_near(Match("layer", wanted)(SEEN), distance, 1e-14)
    assert_near(Match("layer", 0 * MAPS + wanted)(SEEN), distance, 1e-14)
    assert float(Match("layer", MAPS)(SEEN).abs().max()) == 0
    assert_near(Expert(gaussian)(SEEN), -(X**2).sum((1, 2, 3)) / 2, 1e-15)


LARGE = 3 + torch.rand(1, 8, 96, 96).half()
SUMS = [
    L2(),
    TotalVariation(),
    TotalVariation(1.0),
    AlphaNorm(2.0),
    CodeNorm(),
    Energy("a"),
    Direction("a", torch.ones(8)),
    Match("a", 2 * LARGE),
]


@pytest.mark.parametrize("objective", SUMS, ids=str)
def test_sums_over_large_pictures_stay_finite_in_half_precision(objective: Objective) -> None:
    of = [Seen(x, activations={"a": x}, code=x) for x in (LARGE, LARGE.float())]
    half, single = map(objective, of)
    assert bool(half.isfinite().all())
    assert_near(half, single, 1e-5)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_total_variation_pixel_by_pixel(beta: float) -> None:
    expected = []
    for picture in X[:, 0].tolist():
        total = 0.0
        for i, row in enumerate(picture):
            for j, pixel in enumerate(row):
                down = picture[i + 1][j] - pixel if i + 1 < len(picture) else 0.0
                right = row[j + 1] - pixel if j + 1 < len(row) else 0.0
                total += math.hypot(down, right) ** beta
        expected.append(total)
    found = TotalVariation(beta=beta)(SEEN)
    assert_near(found, torch.tensor(expected, dtype=torch.float64), 1e-3 if beta == 1 else 1e-6)


def test_total_variation_of_an_even_picture_is_zero_and_has_a_gradient() -> None:
    even = torch.full((1, 3, 4, 4), 0.7, requires_grad=True)
    value = TotalVariation(beta=1.0)(Seen(even))
    (gradient,) = torch.autograd.grad(value.sum(), even)
    assert abs(float(value.detach())) < 1e-8
    assert bool((gradient == 0).all())


def test_total_variation_has_a_gradient_in_half_precision() -> None:
    even = torch.full((1, 1, 4, 4), 0.7, dtype=torch.float16, requires_grad=True)
    (gradient,) = torch.autograd.grad(TotalVariation(beta=1.0)(Seen(even)).sum(), even)
    assert bool((gradient == 0).all())


EVERY: dict[str, Callable[[str, Tensor], Objective]] = {
    "Logit": lambda label, a: Logit(1),
    "LogProbability": lambda label, a: LogProbability([0, 2]),
    "Unit": lambda label, a: Unit(label, 1),
    "Channel": lambda label, a: Channel(label, 1),
    "Energy": lambda label, a: Energy(label),
    "Direction": lambda label, a: Direction(label, drawn(a.shape[1], seed=3)),
    "Match": lambda label, a: Match(label, a.detach().roll(1, 1) + 1),
    "L2": lambda label, a: L2(center=0.3),
    "TotalVariation": lambda label, a: TotalVariation(beta=1.5),
    "Expert": lambda label, a: Expert(gaussian),
    "Sum": lambda label, a: Logit(1) - 0.3 * Channel(label, 0) + 2 * TotalVariation(),
}
AWKWARD = {
    "residual": "conv1",
    "residual_inplace": "conv3",
    "functional_relu": "conv3",
    "functional_layers": "conv2d#2",
    "inplace_relu": "0",
    "one_relu_everywhere": "relu#2",
    "shared_conv": "conv#2",
    "stem_used_three_times": "stem",
    "dense_block": "",
}


@pytest.mark.parametrize("net", AWKWARD)
@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_gradients_by_finite_differences(make: Callable[..., Objective], net: str) -> None:
    model, x = build(NETS[net])
    label = AWKWARD[net]
    _, first = watch("test", model, x, [label]).see(model, x)
    objective = make(label, first[label])
    found = watch("test", model, x, objective.layers)

    def value(images: Tensor) -> Tensor:
        logits, activations = found.see(model, images, objective.needs_logits)
        return objective(Seen(images, logits, activations))

    leaf = x.clone().requires_grad_()
    values = value(leaf)
    assert values.shape == (len(x),)
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    for seed in range(3):
        direction = drawn(*x.shape, seed=seed)
        step = 1e-6 * direction
        difference = (value(x + step) - value(x - step)).detach() / 2e-6
        assert_near((gradient * direction).flatten(1).sum(1), difference, 1e-5)


TERMS: list[Objective] = [Logit(1), LogProbability(2), L2(), L2(center=0.5), Channel("layer", 1)]
terms = st.sampled_from(TERMS)
weights = st.integers(-32, 32).map(lambda n: n / 4)  # sums and products of these are exact
sums = st.lists(st.tuples(weights, terms), max_size=4).map(lambda pairs: Sum(tuple(pairs)))
objectives = st.one_of(terms, sums)


def as_a_set(objective: Objective) -> dict[Objective, float]:
    return {term: weight for weight, term in objective.terms}


@given(objectives, objectives, objectives, weights)
def test_sums_are_a_vector_space(a: Objective, b: Objective, c: Objective, w: float) -> None:
    for left, right in (
        (a + b - b, a),
        (a + b, b + a),
        ((a + b) + c, a + (b + c)),
        (w * (a + b), w * a + w * b),
        (-1 * -a, a),
        (a - b, a + -b),
        (a + a, 2 * a),
        (a - a, Sum()),
        (a * w, w * a),
        (np.float64(w) * a, w * a),
        (0 * a, Sum()),
        (sum([a, b, c]), a + b + c),
    ):
        assert as_a_set(left) == as_a_set(right)
        assert all(weight != 0 for weight, _ in left.terms)


@pytest.mark.parametrize(
    "term",
    [Logit(np.array([1, 2])), L2(center=np.zeros(3)), Direction("layer", [1.0, 0.0, 2.0])],  # type: ignore[arg-type]
    ids=["numpy target", "numpy center", "list"],
)
def test_an_objective_with_an_array_or_a_list_adds_up(term: Objective) -> None:
    total = 0.5 * (term - L2() + term)
    assert total.terms == ((1.0, term), (-0.5, L2()))


def test_objectives_with_tensors_of_other_shapes_are_compared() -> None:
    assert L2(center=torch.ones(2)) != L2(center=torch.ones(3))
    assert len((L2(center=torch.ones(2)) + L2(center=torch.ones(3))).terms) == 2


@given(sums)
def test_a_sum_is_worth_its_weighted_terms(total: Sum) -> None:
    expected = sum((w * term(SEEN) for w, term in total.terms), torch.zeros(2).double())
    assert_near(total(SEEN), expected, 1e-12)


@given(objectives)
def test_the_code_makes_the_same_again(objective: Objective) -> None:
    names = {cls.__name__: cls for cls in (Logit, LogProbability, L2, Channel, Sum)}
    again = eval(as_code(objective, ""), names)  # noqa: S307
    assert as_a_set(again) == as_a_set(objective)


def test_what_a_sum_says_of_itself() -> None:
    total = LogProbability(3) - 0.05 * L2() + 2 * Channel("conv", 1)
    assert as_code(total) == (
        "nni.LogProbability(target=3) - 0.05 * nni.L2() "
        "+ 2.0 * nni.Channel(layer='conv', channel=1)"
    )
    assert repr(-L2() - Logit(1)) == "-L2() - Logit(target=1)"
    assert repr(Sum()) == "Sum()"
    assert total.layers == ("conv",)
    assert total.needs_logits
    assert not (2 * Channel("conv", 1)).needs_logits
    assert (Logit(range(4)) - L2()).n_images == 4


REFUSED = {
    "too many targets": (lambda: Logit([1, 2, 3])(SEEN), "Logit: target must be one class or 2"),
    "no such class": (lambda: LogProbability(6)(SEEN), "LogProbability: target must be a class fr"),
    "one output": (
        lambda: LogProbability(0)(Seen(X, LOGITS[:, :1])),
        "LogProbability: the model's output must be several logits; got one",
    ),
    "no logits": (lambda: Logit(0)(Seen(X)), "Logit: the logits must be among what is seen"),
    "no layer": (lambda: Energy("other")(SEEN), "Energy: layer 'other' must be among the activ"),
    "a layer that is no name": (lambda: Energy(3), "Energy: layer must be the name of a layer"),
    "no such channel": (lambda: Channel("layer", 3)(SEEN), "Channel: channel must be from 0 to 2"),
    "a negative channel": (lambda: Channel("layer", -1), "Channel: channel must be a whole num"),
    "no such row": (lambda: Unit("layer", 0, row=4)(SEEN), "Unit: row and column must be inside"),
    "no row in a line": (lambda: Unit("line", 0, row=1)(SEEN), "Unit: row and column must be lef"),
    "no place at all": (lambda: Unit("dense", 0, column=1)(SEEN), "Unit: row and column must be"),
    "half a row": (lambda: Unit("layer", 0, row=0.5), "Unit: row must be a whole number"),
    "a short vector": (
        lambda: Direction("layer", torch.ones(2))(SEEN),
        r"Direction: vector must be a tensor of shape \(3,\)",
    ),
    "no vector": (lambda: Direction("layer")(SEEN), "Direction: vector must be finite numbers"),
    "infinite": (
        lambda: Direction("layer", torch.full((3,), torch.inf))(SEEN),
        "Direction: vector must be finite",
    ),
    "features of another layer": (
        lambda: Match("layer", MAPS[:, :2])(SEEN),
        "Match: features must be activations of the layer",
    ),
    "silent features": (lambda: Match("layer", 0 * MAPS)(SEEN), "Match: features must be not all"),
    "a centre too large": (
        lambda: L2(center=torch.zeros(3, 2, 1, 4, 3))(SEEN),
        "L2: center must be a number or a tensor that broadcasts",
    ),
    "a vector as a picture": (
        lambda: TotalVariation()(Seen(X.flatten(1))),
        "TotalVariation: x must be pictures",
    ),
    "no code": (lambda: CodeNorm()(Seen(X)), "CodeNorm: the image must be made from a code"),
    "no density": (lambda: Expert(), "Expert: density must be a module or a function"),
    "a density in training": (
        lambda: Expert(torch.nn.Dropout()),
        "Expert: density must be in evaluation mode",
    ),
    "a density per pixel": (
        lambda: Expert(lambda x: x)(SEEN),
        r"Expert: the answer of density must be log p\(x\)",
    ),
    "a density that fails": (
        lambda: Expert(torch.nn.Linear(5, 1).double().eval())(SEEN),
        "Expert: the input of density must be one it can take; got shape",
    ),
    "a weight that is none": (lambda: Sum(((torch.nan, L2()),)), "Sum: terms must be pairs of a"),
    "a number as a term": (lambda: Sum((1.0,)), "Sum: terms must be pairs of a"),
}


@pytest.mark.parametrize(("act", "told"), REFUSED.values(), ids=REFUSED)
def test_refusals(act: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}.*\\.$"):
        act()
