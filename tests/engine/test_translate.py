"""The mean over translations, against a loop that moves one picture at a time."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import LRP, Gradient, GradientTimesInput, Method
from nni_widgets.engine.methods.base import as_method
from nni_widgets.engine.methods.translate import TranslationAverage
from nni_widgets.engine.rules import Epsilon, Zero
from tests.oracle.nets import NETS, Net

from .common import DTYPES, TOLERANCE, assert_near, build, with_layers


def moved(x: Tensor, by: tuple[int, ...], shift: int) -> Tensor:
    """One sample, moved by padding it with its edge and cutting out another window."""
    axes = x.ndim - 1
    sides = [shift] * (2 * axes)
    padded = functional.pad(x[None], sides, mode="replicate")[0]
    for axis, step in enumerate(by):
        padded = padded.narrow(1 + axis, shift - step, x.shape[1 + axis])
    return padded


def by_loop(method: Method, model: nn.Module, x: Tensor, target: int, shift: int) -> Tensor:
    """Each translation of each sample alone; every number is carried home by its address."""
    out = np.zeros(tuple(x.shape))
    steps = list(itertools.product(range(-shift, shift + 1), repeat=x.ndim - 2))
    for n, sample in enumerate(x):
        addresses = torch.arange(sample.numel(), dtype=torch.float64).view(sample.shape)
        for by in steps:
            R = method(model, moved(sample, by, shift)[None], target)[0].double()
            home = moved(addresses, by, shift).long()
            np.add.at(out[n].reshape(-1), home.flatten().numpy(), R.flatten().numpy())
    return torch.from_numpy(out / len(steps))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("name", ["plain", "conv1d", "conv3d", "residual"])
@pytest.mark.parametrize("of", [LRP(), GradientTimesInput()], ids=str)
def test_the_mean_over_all_translations(
    of: Method, name: str, shift: int, dtype: torch.dtype
) -> None:
    if (name, shift) == ("conv3d", 2):
        shift = 1
    model, x = build(NETS[name], dtype)
    ours = TranslationAverage(of=of, shift=shift)(model, x, 1)
    expected = by_loop(of, *build(NETS[name]), 1, shift)
    assert_near(ours, expected, 10 * TOLERANCE[dtype])


def test_the_sum_is_the_mean_score_of_the_translated_pictures() -> None:
    model, x = build(NETS["plain_bias_free"])
    R = TranslationAverage(of=LRP(rules=Zero()), shift=2)(model, x, 0)
    steps = list(itertools.product(range(-2, 3), repeat=2))
    scores = [model(torch.stack([moved(one, by, 2) for one in x]))[:, 0] for by in steps]
    assert_near(R.flatten(1).sum(1), torch.stack(scores).mean(0).detach(), 1e-9)


def test_a_number_goes_back_to_where_it_came_from() -> None:
    """Moved right by one, the row 1 2 3 becomes 1 1 2: what both ones get is the first pixel's."""
    seen: list[Tensor] = []

    def numbered(_: nn.Module, x: Tensor, __: object) -> Tensor:
        seen.append(x)
        return torch.tensor([1.0, 10.0, 100.0], dtype=x.dtype).expand(x.shape)

    model = Net(lambda _, x: x.flatten(1)).eval()
    x = torch.tensor([[[1.0, 2.0, 3.0]]])
    R = TranslationAverage(of=numbered, shift=1)(model, x, 0)
    rows = torch.cat(seen).flatten(1).tolist()
    assert [1.0, 1.0, 2.0] in rows
    assert [2.0, 3.0, 3.0] in rows
    stay, right, left = [1, 10, 100], [11, 100, 0], [0, 1, 110]
    expected = torch.tensor([[stay, right, left]]).float().mean(1, keepdim=True)
    torch.testing.assert_close(R, expected)


def test_no_shift_is_the_method_itself() -> None:
    for name in ("plain", "mlp"):
        model, x = build(NETS[name])
        for shift in (0, 2) if name == "mlp" else (0,):
            averaged = TranslationAverage(of=LRP(), shift=shift)
            assert_near(averaged(model, x, 1), LRP()(model, x, 1), 1e-12)


def test_the_first_picture_is_the_method_itself_and_better_ones_follow() -> None:
    model, x = build(NETS["plain"], batch=1)
    results = list(TranslationAverage(of=Gradient(), shift=3).steps(model, x, 0))
    assert [result.done for result in results] == sorted({result.done for result in results})
    assert len(results) > 1
    assert results[-1].done == results[-1].of == 49
    assert results[-1].passes == 1 + 49 * 2


def test_the_target_is_that_of_the_clean_picture() -> None:
    """Moved by one, the bright column belongs to another class; it is not what is explained."""
    model = Net(lambda net, x: net.head(x.flatten(1)), head=nn.Linear(4, 4, bias=False)).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(4))
    x = torch.tensor([[[0.0, 2.0, 0.0, 0.0]]])
    R = TranslationAverage(of=Gradient(), shift=1)(model, x)
    torch.testing.assert_close(R, TranslationAverage(of=Gradient(), shift=1)(model, x, 1))
    assert R.flatten().tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])


def test_every_sample_alone_and_the_same_bits_again() -> None:
    model, x = build(NETS["residual"], batch=3)
    method = TranslationAverage(of=LRP(rules=Epsilon()))
    values = method(model, x, [0, 1, 2])
    assert torch.equal(values, method(model, x, [0, 1, 2]))
    alone = torch.cat([method(model, row[None], k) for k, row in enumerate(x)])
    assert_near(values, alone, 1e-10)


def test_form_and_declarations() -> None:
    assert TranslationAverage(of=Gradient()).signed == Gradient().signed
    assert TranslationAverage(shift=1) != TranslationAverage()
    assert as_method(TranslationAverage()) is not None
    assert repr(TranslationAverage(of=Gradient(), shift=1)) == (
        "TranslationAverage(of=Gradient(), shift=1)"
    )
    model, x = build(NETS["plain"])
    assert not with_layers(TranslationAverage(of=Gradient(), shift=1), model, x).layers
    for words in ("got 6", "shortest side, 6"):
        with pytest.raises(ValueError, match=words):
            TranslationAverage(shift=6)(model, x)


def test_the_doctor_asks_the_method_and_looks_for_something_to_move() -> None:
    model, x = build(NETS["mlp"])
    assert "no axis to move along" in str(diagnose(model, x, TranslationAverage()))
    model, x = build(NETS["plain"])
    assert diagnose(model, x, TranslationAverage(of=Gradient())).findings == ()
    assert "outside the box" in str(diagnose(model, 3 * x, TranslationAverage()))
    assert not diagnose(model, x, TranslationAverage(shift=9)).healthy
