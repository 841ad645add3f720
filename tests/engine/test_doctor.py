"""The model doctor: what it finds, and that it raises nothing and changes nothing."""

import pytest
import torch
from torch import nn

from nni_widgets.engine.doctor import Report, diagnose
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods import (
    LRP,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    SmoothGrad,
    as_method,
)
from nni_widgets.engine.rules import Epsilon, ZBox
from nni_widgets.engine.synthesis import ActivationMaximization, Logit, Unit
from tests.oracle.nets import NETS, TROUBLE, Net

from .common import build

WRONG = [name for name, case in NETS.items() if case.tags & TROUBLE] + [
    "squeeze_excite",
    "attention",
]


def words(report: Report, severity: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.severity == severity]


def test_a_healthy_model() -> None:
    report = diagnose(*build(NETS["plain_bias_free"]))
    assert report.healthy
    assert report.findings == ()
    assert "suits" in str(report)


@pytest.mark.parametrize("name", WRONG)
def test_what_lrp_refuses_the_doctor_says_in_the_same_words(name: str) -> None:
    model, x = NETS[name].build(), NETS[name].input()
    with pytest.raises((ValueError, NotImplementedError)) as caught:
        LRP()(model, x)
    report = diagnose(model, x)
    assert not report.healthy
    assert words(report, "error") == [str(caught.value)]
    assert str(report) == f"error: {caught.value}"


def test_training_mode_and_bad_pixels() -> None:
    model, x = build(NETS["plain"])
    assert "model.eval()" in str(diagnose(model.train(), x))
    assert "nan_to_num" in str(diagnose(model.eval(), x * torch.nan))
    assert "shape" in str(diagnose(model, x[0]))
    assert not model.training


def test_pixels_outside_the_box() -> None:
    model, x = build(NETS["plain"])
    assert not words(diagnose(model, x), "warning")
    (text,) = words(diagnose(model, 3 * x), "warning")
    assert "outside the box 0.0 … 1.0" in text
    assert "'0'" in text
    wide = LRP(rules={":first": ZBox(low=(-1.0, 0.0), high=(4.0, 4.0)), "*": Epsilon()})
    assert not words(diagnose(model, 3 * x, wide), "warning")
    assert diagnose(model, 3 * x).healthy


def test_pixels_outside_the_box_are_named_those_that_the_model_rescales_itself_are_not() -> None:
    model, x = build(NETS["standardised"])
    assert not words(diagnose(model, x), "warning")
    (text,) = words(diagnose(model, 3 * x), "warning")
    assert "lie outside the box 0.0 … 1.0" in text


def test_biases_are_named() -> None:
    (text,) = words(diagnose(*build(NETS["plain"])), "note")
    assert "4 layers have a bias" in text
    assert "0, 3, 6, 8" in text


def test_guided_backprop_without_an_activation() -> None:
    (text,) = words(diagnose(*build(NETS["linear_only"]), GuidedBackprop()), "warning")
    assert "plain gradient" in text
    assert not diagnose(*build(NETS["plain"]), GuidedBackprop()).findings


def cover(model: nn.Module, x: torch.Tensor, target: object) -> torch.Tensor:
    return torch.zeros_like(x)


@pytest.mark.parametrize("method", [Gradient(), IntegratedGradients(), as_method(cover)], ids=str)
@pytest.mark.parametrize("name", ["squeeze_excite", "attention", "scripted", "plain"])
def test_gradient_methods_need_no_rules(name: str, method: Gradient) -> None:
    model, x = NETS[name].build(), NETS[name].input()
    assert diagnose(model, x, method).healthy
    assert method(model, x).shape == x.shape


def test_smoothgrad_needs_what_its_method_needs() -> None:
    model, x = NETS["squeeze_excite"].build(), NETS["squeeze_excite"].input()
    assert diagnose(model, x, SmoothGrad()).healthy
    assert not diagnose(model, x, SmoothGrad(of=SmoothGrad(of=LRP()))).healthy


@pytest.mark.parametrize("name", ["detaches_input", "ends_in_softmax", "returns_tuple"])
@pytest.mark.parametrize("method", [Gradient(), GuidedBackprop(), SmoothGrad()], ids=str)
def test_gradient_methods_are_refused_what_they_cannot_do(name: str, method: Gradient) -> None:
    assert not diagnose(NETS[name].build(), NETS[name].input(), method).healthy


def test_the_most_severe_comes_first() -> None:
    report = diagnose(*(lambda model, x: (model, 3 * x))(*build(NETS["plain"])))
    assert [finding.severity for finding in report.findings] == ["warning", "note"]
    assert str(Finding("note", "x")) == "note: x"


def test_what_makes_images_is_examined_too() -> None:
    model, x = build(NETS["plain"])
    report = diagnose(model, torch.zeros_like(x), ActivationMaximization(Unit("0", 10**6)))
    assert "channel must be from 0 to" in str(report)
    assert not report.healthy
    assert diagnose(model, x.clamp(0, 1), ActivationMaximization(Logit(0))).healthy


def own_logit(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(model(leaf)[range(len(x)), target].sum(), leaf)[0]


def all_rows_logits(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


def by_chance(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(x)


def without_a_number(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return x * torch.nan


def one_by_one(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return x * x.reshape(1, *x.shape[1:]).mean()


def test_an_own_function_is_run() -> None:
    model, x = build(NETS["plain"])
    assert not diagnose(model, x, own_logit).findings
    (text,) = words(diagnose(model, x, all_rows_logits), "warning")
    assert text.startswith("all_rows_logits: the map of a picture changes with the target of ")
    (text,) = words(diagnose(model, x, by_chance), "warning")
    assert text.startswith("by_chance: two runs give two maps. ")
    (text,) = words(diagnose(model, x, without_a_number), "error")
    assert text.startswith("without_a_number: the attribution must be finite; ")
    (text,) = words(diagnose(model, x, lambda model, x, target: 1 / 0), "error")
    assert "it stops with ZeroDivisionError: division by zero." in text
    (text,) = words(diagnose(model, x[:1], one_by_one), "note")
    assert text.startswith("one_by_one: it explains one picture at a time; two stop with ")


def test_errors_call_an_own_function_by_its_name() -> None:
    model, x = build(NETS["plain"])
    (text,) = words(diagnose(model.train(), x, own_logit), "error")
    assert text.startswith("own_logit: the model must be in evaluation mode; ")


@pytest.mark.parametrize(
    "method", [LRP(), Gradient(), SmoothGrad(), IntegratedGradients()], ids=str
)
def test_inference_mode_changes_no_finding(method: Method) -> None:
    model, x = build(NETS["plain"])
    with torch.inference_mode():
        made_here = x.clone()
        inside = diagnose(model, x, method)
    assert str(inside) == str(diagnose(model, made_here, method)) == str(diagnose(model, x, method))


@pytest.mark.parametrize("method", [Gradient(), SmoothGrad(), IntegratedGradients()], ids=str)
def test_a_gradient_that_is_not_finite(method: Method) -> None:
    model = Net(lambda net, x: net.fc(x.flatten(1).sqrt()), fc=nn.Linear(4, 2)).eval()
    report = diagnose(model, torch.tensor([[[0.0, 1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0, 2.0]]]), method)
    assert "the gradient of 1 of 2 samples is NaN or infinite" in words(report, "error")[0]
