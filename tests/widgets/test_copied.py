"""Copied code names everything, and says which of the names are still to be defined."""

import functools

import pytest
import torch

import nni_widgets as nni
from nni_widgets.engine.methods import as_method
from nni_widgets.widgets.parts.copied import Names


def own(model, x, target):
    return x


def margin(logits):
    return logits[:, 0]


@pytest.mark.parametrize(
    ("target", "code"),
    [(3, "3"), (nni.Difference(3, 8), "nni.Difference(3, 8)"), (margin, "margin")],
)
def test_targets_with_code(target, code):
    names = Names()
    assert (names.target(target), names.comment()) == (code, "")


@pytest.mark.parametrize("target", [lambda logits: logits[:, 0], functools.partial(margin)])
def test_a_target_without_code(target):
    names = Names()
    assert names.target(target) == "target"
    assert names.comment() == "# define target: it has no code of its own\n"


@pytest.mark.parametrize(
    ("method", "code", "undefined"),
    [
        (as_method(own), "own", ""),
        (as_method(lambda model, x, target: x), "method", "method"),
        (as_method(functools.partial(own)), "method", "method"),
        (nni.SmoothGrad(of=own), "nni.SmoothGrad(of=own)", ""),
        (
            nni.SmoothGrad(of=functools.partial(own)),
            "nni.SmoothGrad(of=method)",
            "method",
        ),
        (
            nni.SmoothGrad(of=nni.IntegratedGradients(baseline=torch.ones(1, 28, 28))),
            "nni.SmoothGrad(of=nni.IntegratedGradients(baseline=baseline))",
            "baseline",
        ),
        (
            nni.LRP({"conv*": nni.ZPlus()}),
            "nni.LRP(rules=nni.Composite(table=(('conv*', nni.ZPlus()),)))",
            "",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_methods(method, code, undefined):
    names = Names()
    assert names.method(method) == code
    assert names.comment() == (undefined and f"# define {undefined}: it has no code of its own\n")


def test_two_methods_without_code_have_two_names():
    names = Names()
    nameless = as_method(lambda model, x, target: x)
    made = [names.method(nameless), names.method(nameless, otherwise="second_method")]
    assert made == ["method", "second_method"]
    comment = "# define method, second_method: they have no code of their own\n"
    assert names.comment() == comment
