"""Which layers are drawn anew, that nothing else changes, and the similarities by loops."""

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nni_widgets.engine.methods import LRP, Gradient, GradientTimesInput, SmoothGrad
from nni_widgets.engine.metrics.base import Measured, Subject
from nni_widgets.engine.metrics.randomisation import Randomisation, layers_from_top, randomised
from nni_widgets.engine.metrics.similarity import (
    correlation,
    rank_correlation,
    ranks,
    structural_similarity,
)
from nni_widgets.engine.uncertainty import Averaged, MCDropout
from tests.engine.common import assert_near, build
from tests.engine.test_common import nothing_changes
from tests.oracle.nets import NETS

CALLED = ["plain", "mlp", "conv1d", "conv3d", "shared_conv", "residual", "bottleneck",
          "one_conv_two_norms", "dense_block", "nested", "branches"]  # fmt: skip


class Late(nn.Module):
    """Defined from the output to the input; one layer by function, one twice, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.by_function = nn.Linear(4, 4)
        self.first = nn.Linear(5, 4)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.first(x).relu()).relu()
        x = F.linear(x, self.by_function.weight, self.by_function.bias).relu()
        x = self.head(self.twice(x))
        return (x * self.scale).to(self.first.weight.dtype)


LATE = ("", "head", "twice", "by_function", "first")


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    """The modules whose own parameters or buffers differ."""
    old, new = weights(before), weights(after)
    return {name.rpartition(".")[0] for name in old if not torch.equal(old[name], new[name])}


def last(metric: Randomisation, *subject: object) -> Measured:
    *_, measured = metric.steps(Subject(*subject))  # type: ignore[arg-type]
    return measured


# --- Layers ---------------------------------------------------------------------------------------


def test_layers_in_the_order_in_which_they_run_not_in_which_they_are_defined() -> None:
    assert layers_from_top(Late().eval(), torch.rand(2, 5)) == LATE


@pytest.mark.parametrize("name", CALLED)
def test_layers_are_those_that_hooks_see_called(name: str) -> None:
    model, x = build(NETS[name])
    watched, calls = copy.deepcopy(model), list[str]()
    for path, module in watched.named_modules():
        if list(module.parameters(recurse=False)):
            module.register_forward_hook(lambda *_, path=path: calls.append(path))
    watched(x)
    assert layers_from_top(model, x) == tuple(dict.fromkeys(reversed(calls)))


def test_recurrent_layers_and_attention_are_seen() -> None:
    class Sequences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.norm = nn.Linear(4, 2), nn.LayerNorm(4)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            h, _ = self.lstm(x)
            h, _ = self.attention(h, h, h, need_weights=False)
            return self.head(self.norm(h).mean(1))

    model, x = Sequences().eval(), torch.rand(2, 6, 3)
    layers = layers_from_top(model, x)
    assert layers == ("head", "norm", "attention.out_proj", "attention", "lstm")
    new = randomised(model, x, 5)
    assert changed(model, new) >= {"head", "attention", "lstm", "attention.out_proj"}
    assert not torch.allclose(model(x), new(x))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Flatten(), "layers_from_top: the model must be one whose weights are read"),
        (nn.Linear(4, 2).train(), "in evaluation mode"),
        (lambda x: x, "must be a torch.nn.Module"),
    ],
)
def test_models_without_layers_are_refused(model: nn.Module, words: str) -> None:
    if isinstance(model, nn.Flatten):
        model.eval()
    with pytest.raises(ValueError, match=words):
        layers_from_top(model, torch.rand(2, 4))


# --- Randomised copies ----------------------------------------------------------------------------


def test_only_the_top_layers_change_and_the_model_stays() -> None:
    model, x = Late().eval(), torch.rand(2, 5)
    model.scale.data = torch.tensor([1.0, 2.0, 6.0])
    for number in range(len(LATE) + 1):
        with nothing_changes(model, x):
            new = randomised(model, x, number)
        assert changed(model, new) == set(LATE[:number])
        assert not any(module.training for module in new.modules())
    for number in range(1, len(LATE) + 1):
        with nothing_changes(model, x):
            new = randomised(model, x, number, independent=True)
        assert changed(model, new) == {LATE[number - 1]}
    assert changed(model, randomised(model, x, 0, independent=True)) == set()


def test_a_layers_new_weights_depend_on_the_seed_and_its_number_alone() -> None:
    model, x = Late().eval(), torch.rand(2, 5)
    one, two, other = (randomised(model, x, *args) for args in ((2,), (4,), (4, 1)))
    torch.manual_seed(99)
    alone = randomised(model, x, 2, independent=True)
    assert torch.equal(one.head.weight, two.head.weight)
    assert torch.equal(one.head.weight, alone.head.weight)
    assert not torch.equal(two.head.weight, other.head.weight)
    assert not torch.equal(two.twice.weight, two.by_function.weight)


def test_weights_are_drawn_as_before_training() -> None:
    model = nn.Sequential(nn.Linear(400, 50), nn.BatchNorm1d(50), nn.Linear(50, 2)).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), model[1].running_mean, model[1].running_var):
            tensor.fill_(7.0)
    new = randomised(model, torch.rand(2, 400), 3).requires_grad_(False)
    bound = 1 / math.sqrt(400)
    assert 0.95 * bound < float(new[0].weight.abs().max()) <= bound
    assert new[0].weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    norm = new[1]
    for tensor, value in ((norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0),
                          (norm.running_var, 1)):  # fmt: skip
        assert torch.equal(tensor, torch.full((50,), float(value)))


def test_what_cannot_reset_itself_keeps_mean_and_spread() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(3 + 2 * torch.randn(5, 4000))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.T

    model = Plain().eval()
    weight = randomised(model, torch.rand(1, 4000), 1).weight.detach()
    assert weight.mean() == pytest.approx(3, abs=0.1)
    assert weight.std() == pytest.approx(2, abs=0.1)
    together = torch.stack([weight.flatten(), model.weight.detach().flatten()])
    assert abs(float(torch.corrcoef(together)[0, 1])) < 0.05


def test_a_reset_behind_the_back_of_autograd_counts() -> None:
    class Ours(nn.Linear):
        def reset_parameters(self) -> None:
            self.weight.data.fill_(7)
            self.bias.data.zero_()

    model = Ours(6, 3).eval()
    nn.init.normal_(model.weight)
    changed = randomised(model, torch.rand(1, 6), 1)
    assert changed.weight.unique().tolist() == [7]
    assert not changed.bias.any()


def test_weights_computed_from_others_are_drawn_too() -> None:
    """The reset of a layer with weight norm writes to a weight that the next call computes anew."""
    model, x = build(NETS["weight_norm"])
    new = randomised(model, x, len(layers_from_top(model, x)))
    for name, parameter in new.named_parameters():
        if parameter.numel() > 1:
            assert not torch.equal(parameter, model.get_parameter(name)), name


def test_a_shared_layer_stays_shared() -> None:
    model, x = build(NETS["shared_conv"])
    names = dict(model.named_modules())
    new = randomised(model, x, len(layers_from_top(model, x)))
    assert dict(new.named_modules()).keys() == names.keys()
    assert new(x).isfinite().all()


def test_in_inference_mode_and_in_float64() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(3, 2)).double().eval()
        new = randomised(model, torch.rand(1, 3, dtype=torch.float64), 1)
    assert new[0].weight.dtype == torch.float64
    assert not new[0].weight.is_inference()
    assert changed(model, new) == {"0"}


@pytest.mark.parametrize("number", [-1, 6, 1.0, True, None])
def test_a_number_of_layers_that_does_not_exist(number: object) -> None:
    model, x = Late().eval(), torch.rand(2, 5)
    words = "n_layers must be a whole number from 0 to 5, the layers with weights; got"
    with pytest.raises(ValueError, match=words):
        randomised(model, x, number)  # type: ignore[arg-type]
    if isinstance(number, int) and number > 5:
        with pytest.raises(ValueError, match=f"Randomisation: {words}"):
            Randomisation(n_layers=number)(model, x, Gradient())


def test_whole_numbers_of_numpy_and_no_other_seed() -> None:
    model, x = Late().eval(), torch.rand(2, 5)
    assert changed(randomised(model, x, 2), randomised(model, x, np.int64(2))) == set()
    with pytest.raises(ValueError, match="randomised: seed must be a whole number; got 'a'"):
        randomised(model, x, 2, seed="a")  # type: ignore[arg-type]


def test_a_reset_that_must_be_told_something_is_none() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))

        def reset_parameters(self, deviation: float) -> None:
            nn.init.normal_(self.weight, std=deviation)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    model = Own().eval()
    assert not randomised(model, torch.rand(2, 5), 1).weight.equal(model.weight)


def test_a_model_that_cannot_be_copied() -> None:
    model, x = Late().eval(), torch.rand(2, 5)
    model.kept = model(x)
    with pytest.raises(ValueError, match=r"the model must be one that copy\.deepcopy can copy"):
        randomised(model, x, 1)


# --- Similarities ---------------------------------------------------------------------------------


def by_hand_ranks(row: list[float]) -> list[float]:
    return [sum(b < a for b in row) + (sum(b == a for b in row) + 1) / 2 for a in row]


def by_hand_pearson(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    da, db = [v - mean_a for v in a], [v - mean_b for v in b]
    product = sum(u * v for u, v in zip(da, db, strict=True))
    return product / math.sqrt(sum(v * v for v in da) * sum(v * v for v in db))


def test_ranks_and_correlations_by_loops() -> None:
    a = torch.randint(0, 4, (6, 30)).double()
    b = torch.rand(6, 30, dtype=torch.float64)
    assert torch.equal(ranks(a), torch.tensor([by_hand_ranks(row) for row in a.tolist()]).double())
    for function, prepare in ((correlation, list), (rank_correlation, by_hand_ranks)):
        expected = [
            by_hand_pearson(prepare(u), prepare(v))
            for u, v in zip(a.tolist(), b.tolist(), strict=True)
        ]
        torch.testing.assert_close(function(a, b), torch.tensor(expected, dtype=torch.float64))


def test_rank_correlation_by_hand() -> None:
    """1 − 6 Σd² / n(n² − 1) without ties."""
    a, b = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([[10.0, 30, 20, 400]])
    assert rank_correlation(a, b).item() == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert rank_correlation(a, -b.exp()).item() == pytest.approx(-(1 - 6 * 2 / (4 * 15)), abs=0.21)
    assert rank_correlation(a, a.exp()).item() == pytest.approx(1)


@pytest.mark.parametrize("function", [correlation, rank_correlation])
def test_rows_of_one_value(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    still, rising = torch.full((1, 3), 0.1), torch.tensor([[1.0, 2.0, 4.0]])
    found = [float(function(a, b)) for a, b in itertools.product((still, rising), repeat=2)]
    assert found == pytest.approx([1, 0, 0, 1])
    assert float(function(1e-200 * rising.double(), rising)) == pytest.approx(1)


def by_hand_ssim(a: Tensor, b: Tensor, dynamic_range: float) -> float:
    """Two-dimensional, window by window."""
    sides = [min(11, side if side % 2 else side - 1) for side in a.shape]
    weight = torch.tensor(
        [[math.exp(-((i - sides[0] // 2) ** 2 + (j - sides[1] // 2) ** 2) / (2 * 1.5**2))
          for j in range(sides[1])] for i in range(sides[0])], dtype=torch.float64)  # fmt: skip
    weight /= weight.sum()
    c1, c2 = (0.01 * dynamic_range) ** 2, (0.03 * dynamic_range) ** 2
    values = []
    for i in range(a.shape[0] - sides[0] + 1):
        for j in range(a.shape[1] - sides[1] + 1):
            u, v = (t[i : i + sides[0], j : j + sides[1]] for t in (a, b))
            mu, mv = (weight * u).sum(), (weight * v).sum()
            uu, vv = (weight * (u - mu) ** 2).sum(), (weight * (v - mv) ** 2).sum()
            uv = (weight * (u - mu) * (v - mv)).sum()
            values.append((2 * mu * mv + c1) * (2 * uv + c2)
                          / ((mu**2 + mv**2 + c1) * (uu + vv + c2)))  # fmt: skip
    return float(torch.stack(values).mean())


@pytest.mark.parametrize("sides", [(14, 17), (6, 7), (1, 12)])
def test_ssim_window_by_window(sides: tuple[int, int]) -> None:
    a, b = torch.rand(2, 3, *sides, dtype=torch.float64) - 0.3
    expected = [by_hand_ssim(u, v, 2) for u, v in zip(a, b, strict=True)]
    torch.testing.assert_close(
        structural_similarity(a, b, 2), torch.tensor(expected, dtype=torch.float64)
    )
    assert_near(structural_similarity(a, a, 2), torch.ones(3), 1e-12)
    assert_near(structural_similarity(a * 0, a * 0, 2), torch.ones(3), 1e-12)


def test_ssim_of_signals_is_that_of_pictures_with_one_row() -> None:
    a, b = torch.rand(2, 3, 20, dtype=torch.float64)
    assert_near(structural_similarity(a, b, 1), structural_similarity(a[:, None], b[:, None], 1),
                1e-12)  # fmt: skip


# --- The metric -----------------------------------------------------------------------------------


def blind(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """An edge detector: it looks at the picture alone."""
    return x.diff(dim=-1, prepend=x[..., :1])


@pytest.mark.parametrize("similarity", ["rank", "ssim"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_map_that_does_not_look_at_the_weights_stays(similarity: str, absolute: bool) -> None:
    model, x = build(NETS["plain"])
    metric = Randomisation(similarity=similarity, absolute=absolute)
    measured = last(metric, model, x, blind)
    layers = len(layers_from_top(model, x))
    assert_near(measured.curve, torch.ones(2, layers + 1), 1e-12)
    assert torch.equal(metric(model, x, blind), measured.curve[:, -1])
    assert metric(model, x, Gradient()).max() < 0.9


@pytest.mark.parametrize("name", ["plain", "conv1d", "mlp", "residual"])
@pytest.mark.parametrize("absolute", [True, False])
def test_the_curve_layer_by_layer(name: str, absolute: bool) -> None:
    model, x = build(NETS[name])
    target = model(x).argmax(1)
    names = layers_from_top(model, x)
    measured = last(Randomisation(seed=3, absolute=absolute), model, x, Gradient())

    def joined(values: Tensor) -> Tensor:
        summed = (values.sum(1) if values.ndim > 2 else values).flatten(1)
        return summed.abs() if absolute else summed

    before = joined(Gradient()(model, x, target))
    for number in range(len(names) + 1):
        after = joined(Gradient()(randomised(model, x, number, seed=3), x, target))
        expected = [
            by_hand_pearson(by_hand_ranks(u), by_hand_ranks(v))
            for u, v in zip(before.tolist(), after.tolist(), strict=True)
        ]
        assert_near(
            measured.curve[:, number], torch.tensor(expected, dtype=torch.float64), 1e-9, number
        )
    assert measured.values.dtype == torch.float64
    assert measured.shares.tolist() == [n / len(names) for n in range(len(names) + 1)]
    assert (measured.done, measured.of) == (len(names), len(names))


def test_ssim_of_maps_scaled_by_their_largest_number() -> None:
    model, x = build(NETS["plain"])
    target = model(x).argmax(1)
    maps = [Gradient()(m, x, target).sum(1) for m in (model, randomised(model, x, 2))]
    a, b = (m / m.abs().amax((1, 2), keepdim=True) for m in maps)
    expected = [by_hand_ssim(u, v, 2) for u, v in zip(a, b, strict=True)]
    measured = Randomisation(similarity="ssim", absolute=False, n_layers=2)(model, x, Gradient())
    assert_near(measured, torch.tensor(expected, dtype=torch.float64), 1e-9)


def test_the_target_stays_that_of_the_trained_model() -> None:
    model, x = build(NETS["plain"], batch=5)
    asked = []

    def spy(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        asked.append(torch.as_tensor(target).tolist())
        return x

    Randomisation()(model, x, spy)
    assert asked == [model(x).argmax(1).tolist()] * (1 + len(layers_from_top(model, x)))


def test_fewer_layers_are_the_beginning_of_more() -> None:
    model, x = build(NETS["bottleneck"])
    every = last(Randomisation(), model, x, LRP())
    some = last(Randomisation(n_layers=3), model, x, LRP())
    assert torch.equal(some.curve, every.curve[:, :4])
    assert torch.equal(some.values, every.curve[:, 3])
    steps = list(Randomisation(n_layers=3).steps(Subject(model, x, LRP())))
    assert [step.done for step in steps] == [1, 2, 3]
    assert [step.passes for step in steps] == [2, 4, 6]
    for step in steps:
        assert torch.equal(step.curve, every.curve[:, : step.done + 1])


def test_a_batch_is_its_samples_one_by_one_and_again_the_same() -> None:
    model, x = build(NETS["residual"], batch=3)
    metric = Randomisation(n_layers=2)
    together = metric(model, x, GradientTimesInput(), 1)
    alone = torch.cat([metric(model, row[None], GradientTimesInput(), 1) for row in x])
    assert_near(together, alone, 1e-9)
    assert torch.equal(together, metric(model, x, GradientTimesInput(), 1))
    assert not torch.equal(together, metric.replace(seed=1)(model, x, GradientTimesInput(), 1))


def test_the_mean_prediction_of_an_uncertain_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Dropout(), nn.Linear(9, 3)).eval()
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    source = MCDropout(n_samples=5)
    averaged = Averaged(model, source)
    assert layers_from_top(averaged, x) == ("3", "1")
    found = Randomisation()(averaged, x, Gradient())
    before = Gradient()(averaged, x, target := averaged(x).argmax(1))
    after = Gradient()(Averaged(randomised(model, x, 2), source), x, target)
    assert_near(found, Randomisation().likeness(before.double(), after.double()), 1e-6)
    assert 0 < found.abs().max() < 0.9


def test_nothing_of_the_users_changes() -> None:
    model, x = build(NETS["bottleneck"])
    with nothing_changes(model, x):
        Randomisation(n_layers=2)(model, x, SmoothGrad(n_samples=2))


def test_a_map_of_one_value() -> None:
    model, x = build(NETS["plain"])
    nothing = Randomisation(n_layers=1)(model, x, lambda model, x, target: torch.zeros_like(x))
    assert nothing.tolist() == [1, 1]


def test_what_cannot_be_asked_again_is_refused() -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match="Randomisation: method must be a method"):
        Randomisation()(model, x, torch.zeros_like(x))
    with pytest.raises(ValueError, match="similarity must be one of 'rank', 'ssim'"):
        Randomisation(similarity="hog")
