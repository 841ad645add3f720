"""One declaration per parameter: validation, words, code, equality; for every declared class."""

import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import nni_widgets as nni
from nni_widgets.engine import composites, methods, rules
from nni_widgets.params import Declared, Param, as_code, nameless, param, params


def subclasses(of: type) -> Iterator[type]:
    for cls in of.__subclasses__():
        if cls.__module__.startswith("nni_widgets.engine"):
            yield cls
        yield from subclasses(cls)


NEEDS_ARGUMENTS = {
    *("Preset", "Rule", "Method", "Composite", "FunctionMethod", "Constant", "Averaging"),
    *("BoxAtLayer", "Code", "Direction", "Expert", "Match"),
    *("Given", "Localisation", "PointingGame", "RelevanceMass", "Source"),
}
CLASSES = sorted(
    {
        cls
        for cls in subclasses(Declared)
        if cls.__name__ not in NEEDS_ARGUMENTS and cls.__name__ == cls.__qualname__.split(".")[-1]
    },
    key=lambda cls: cls.__name__,
)
NAMES: dict[str, Any] = {
    **{cls.__name__: cls for cls in subclasses(Declared)},
    **{name: getattr(nni, name) for name in nni.__all__},
    "baseline": torch.zeros(2),
}
DECLARED = [
    pytest.param(cls, p, id=f"{cls.__name__}.{p.name}") for cls in CLASSES for p in params(cls)
]
NUMBERS = [case for case in DECLARED if case.values[1].kind in {"int", "float"}]


class Nothing(Declared):
    """A class without parameters."""


class Everything(Declared):
    """One parameter of each kind."""

    count: int = param(3, "how many", low=1, high=9, slider=(2, 5))
    share: float = param(0.5, "how much", low=0.0, high=1.0)
    at_least: float = param(1.0, "a floor", low=0.0)
    at_most: float = param(1.0, "a ceiling", high=2.0)
    free: float = param(0.0, "any number")
    on: bool = param(True, "a switch")
    mode: str = param("fast", "which way", choices=("fast", "slow"))
    part: Nothing = param(Nothing(), "a part", options=lambda: (Nothing,))
    box: float | tuple[float, ...] = param(0.0, "per channel", low=-1.0, high=1.0, per_channel=True)
    image: float | torch.Tensor = param(0.0, "an image", array=True)
    anything: object = param((), "a value")


def test_kinds_follow_from_the_declaration() -> None:
    assert [p.kind for p in params(Everything)] == [
        "int", "float", "float", "float", "float", "bool", "choice", "part", "float", "float",
        "value",
    ]  # fmt: skip
    assert [p.name for p in params(Everything(count=4))] == [p.name for p in params(Everything)]
    assert params(int) == ()


def outside(p: Param) -> list[Any]:
    """Illegal values of a number, from its declaration."""
    wrong: list[Any] = ["3", None, [], True, math.nan, math.inf, -math.inf, 1j]
    if p.per_channel:
        wrong = [value for value in wrong if value != []]
        wrong += [(0.0, "1"), (0.0, math.nan), [None]]
    if p.kind == "int":
        wrong.append(p.default + 0.5)
    step = 1 if p.kind == "int" else 1e-9
    if p.low is not None:
        wrong += [p.low - step, p.low - 100]
    if p.high is not None:
        wrong += [p.high + max(step, abs(p.high) * 1e-9), p.high * 2 + 1]
    return wrong


@pytest.mark.parametrize(("cls", "p"), NUMBERS)
def test_every_bound_of_every_declaration(cls: type[Declared], p: Param) -> None:
    for wrong in outside(p):
        with pytest.raises(ValueError, match=rf"^{cls.__name__}: {p.name} must be ") as caught:
            cls(**{p.name: wrong})
        text = str(caught.value)
        assert text == (
            f"{cls.__name__}: {p.name} must be {p.legal}; got {given(wrong)}. Try {p.default!r}."
        )
        assert "\n" not in text


def given(wrong: Any) -> str:
    """What the sentence quotes: the number of a list that is wrong."""
    return repr(wrong[-1]) if isinstance(wrong, tuple | list) and wrong else repr(wrong)


BOUND_BY_ANOTHER = {("DeepDream", "tile")}  # it is above the overlap
BOUNDS = [
    pytest.param(cls, p, bound, id=f"{cls.__name__}.{p.name}-{bound:g}")
    for cls, p in (case.values for case in NUMBERS)
    for bound in (p.low, p.high)
    if bound is not None and (cls.__name__, p.name) not in BOUND_BY_ANOTHER
]


@pytest.mark.parametrize(("cls", "p", "bound"), BOUNDS)
def test_a_bound_itself_is_legal(cls: type[Declared], p: Param, bound: float) -> None:
    value = getattr(cls(**{p.name: bound}), p.name)
    assert value == bound
    assert type(value) is (int if p.kind == "int" else float)


@pytest.mark.parametrize(("cls", "p"), DECLARED)
def test_a_declaration_makes_sense(cls: type[Declared], p: Param) -> None:
    """Words in one line; a slider inside the legal range, the default inside both."""
    assert p.doc
    assert not p.doc.endswith(".")
    assert p.check("", p.default) == p.default
    if p.slider is not None:
        low, high = p.slider
        assert low < high
        assert p.check("", low) == low
        assert p.check("", high) == high
        assert low <= p.default <= high
        assert not p.log or low > 0
    elif p.kind in {"int", "float"}:
        pytest.fail("a number needs a slider")


@pytest.mark.parametrize("cls", CLASSES)
def test_the_docstring_has_every_parameter(cls: type[Declared]) -> None:
    text = cls.__doc__ or ""
    assert text
    assert not text.startswith(f"{cls.__name__}(")
    assert max(map(len, text.splitlines())) <= 120
    for p in params(cls):
        (line,) = [line for line in text.splitlines() if line.startswith(f"    {p.name} (default ")]
        assert p.doc in text
        assert repr(p.default) in line
        if p.kind in {"int", "float"}:
            assert p.legal in text


def test_the_words_for_what_is_legal() -> None:
    legal = {p.name: p.legal for p in params(Everything)}
    assert legal["count"] == "a whole number from 1 to 9"
    assert legal["share"] == "a number from 0 to 1"
    assert legal["at_least"] == "a number of at least 0"
    assert legal["at_most"] == "a number of at most 2"
    assert legal["free"] == legal["image"] == "a number"
    assert legal["on"] == "True or False"
    assert legal["mode"] == "one of 'fast', 'slow'"
    assert legal["part"] == legal["anything"] == ""


def test_switches_and_choices() -> None:
    assert Everything(on=False, mode="slow") == Everything().replace(on=False, mode="slow")
    for wrong in ({"on": 1}, {"on": "yes"}, {"mode": "slowly"}, {"mode": 3}, {"mode": ["fast"]}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"Everything: {name} must be "):
            Everything(**wrong)


def test_numbers_take_their_declared_type() -> None:
    value = Everything(count=4.0, share=1, box=[0, 1])
    assert (value.count, value.share, value.box) == (4, 1.0, (0.0, 1.0))
    assert [type(v) for v in (value.count, value.share, *value.box)] == [int, float, float, float]
    image = torch.ones(2)
    assert Everything(image=image).image is image


def test_numbers_of_numpy_are_numbers() -> None:
    value = Everything(
        count=np.int64(5), share=np.float32(0.5), box=[np.float64(1), -1], image=np.float32(0.5)
    )
    assert (value.count, value.share, value.box, value.image) == (5, 0.5, (1.0, -1.0), 0.5)
    given = (value.count, value.share, *value.box, value.image)
    assert [type(number) for number in given] == [int, float, float, float, float]
    for wrong in (
        {"count": np.bool_(True)},
        {"count": np.float64(2.5)},
        {"share": np.float32("nan")},
    ):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"Everything: {name} must be "):
            Everything(**wrong)


class Mine(methods.Saliency):
    """A method that is not of the package."""


def test_only_the_package_s_own_names_have_its_prefix() -> None:
    assert methods.SmoothGrad(of=Mine()).code("nni.") == "nni.SmoothGrad(of=Mine())"


VARIANTS: list[Declared] = [
    *[cls() for cls in CLASSES],
    Everything(),
    Everything(count=4, share=0.25, on=False, mode="slow", box=(0.0, 1.0), anything=(1, [2, "x"])),
    rules.Epsilon(epsilon=1e-7),
    rules.Gamma(gamma=1 / 3),
    rules.ZBox(low=-2.1179, high=(2.25, 2.5, 2.75)),
    composites.EpsilonGammaBox(low=(-1.0, -2.0), high=3.0, gamma=0.0),
    composites.Uniform(rule=rules.AlphaBeta(alpha=1.0)),
    composites.Composite(table={"conv1": rules.ZBox(high=2.0), ":conv": rules.Gamma()}),
    methods.LRP(rules=rules.Zero()),
    methods.LRP(rules={":first": rules.WSquare(), "features.*": rules.Flat(), "*": rules.ZPlus()}),
    methods.IntegratedGradients(n_steps=7, baseline=0.5),
    methods.SmoothGrad(of=methods.LRP(rules=composites.EpsilonPlus()), noise_level=0.0, seed=2**31),
    methods.SmoothGrad(of=methods.SmoothGrad(of=methods.Saliency(), n_samples=2)),
]  # fmt: skip


@pytest.mark.parametrize("value", VARIANTS, ids=repr)
def test_code_makes_the_value_again(value: Declared) -> None:
    names = {**NAMES, "Everything": Everything, "Nothing": Nothing}
    again = eval(as_code(value, prefix=""), {}, names)  # noqa: S307 - our own output
    assert again == value
    assert type(again) is type(value)
    assert hash(again) == hash(value) if not isinstance(value, Everything) else True
    assert repr(value) == as_code(value, prefix="")
    assert as_code(value) == repr(value) or "nni." in as_code(value)


def test_code_leaves_defaults_out_and_names_the_package() -> None:
    assert as_code(methods.LRP()) == "nni.LRP()"
    assert as_code(rules.Gamma(gamma=0.5)) == "nni.Gamma(gamma=0.5)"
    assert as_code(methods.SmoothGrad(of=methods.Saliency())) == "nni.SmoothGrad(of=nni.Saliency())"
    table = {"*": rules.Zero()}
    assert as_code(table) == "{'*': nni.Zero()}"
    baseline = methods.IntegratedGradients(baseline=torch.zeros(3))
    assert as_code(baseline) == "nni.IntegratedGradients(baseline=baseline)"


def own(model: object, x: torch.Tensor, target: object) -> torch.Tensor:
    return x


def test_code_of_a_function_is_its_name() -> None:
    assert as_code(methods.as_method(own)) == "own"
    assert as_code(methods.SmoothGrad(of=own)) == "nni.SmoothGrad(of=own)"
    assert repr(methods.SmoothGrad(of=own)) == "SmoothGrad(of=own)"


def test_what_has_no_code_gets_a_name_that_can_be_defined() -> None:
    value = {"a": [methods.SmoothGrad(of=lambda *_: 0)], "b": torch.ones(2), "c": own}
    assert as_code(value) == "{'a': [nni.SmoothGrad(of=method)], 'b': baseline, 'c': own}"
    assert list(nameless(value)) == ["method", "baseline"]
    assert list(nameless(methods.LRP())) == []


@pytest.mark.parametrize("value", VARIANTS, ids=repr)
def test_values_are_frozen_and_compared_by_content(value: Declared) -> None:
    copy = value.replace()
    assert copy == value
    assert copy is not value
    assert value != object()
    for p in params(value):
        with pytest.raises(AttributeError):
            setattr(value, p.name, p.default)
    if not isinstance(value, Everything):
        assert len({value, copy}) == 1
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - made one line above


def test_another_value_is_another_key() -> None:
    assert methods.LRP(rules=rules.Gamma(gamma=0.1)) != methods.LRP(rules=rules.Gamma(gamma=0.2))
    assert rules.Zero() != rules.Epsilon(epsilon=0.0)
    different = {cls() for cls in CLASSES}
    assert len(different) == len(CLASSES)


def test_a_method_with_a_tensor_can_be_compared_and_be_a_key() -> None:
    image = torch.zeros(2, 3)
    value = methods.IntegratedGradients(baseline=image)
    assert value == value.replace()
    assert hash(value) == hash(value.replace())
    assert value != methods.IntegratedGradients()
    assert value != methods.IntegratedGradients(baseline=torch.ones(2, 3))


def test_replace_checks_again() -> None:
    with pytest.raises(ValueError, match="IntegratedGradients: n_steps"):
        methods.IntegratedGradients().replace(n_steps=0)
    with pytest.raises(TypeError):
        methods.IntegratedGradients().replace(steps=3)
