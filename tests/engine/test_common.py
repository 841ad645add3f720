"""What must hold for every method on every network: the answer's form, and nothing changed."""

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from nni_widgets.engine.composites import EpsilonAlpha2Beta1, EpsilonPlus
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import (
    LRP,
    METHODS,
    GradCAM,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Occlusion,
    Saliency,
    SmoothGrad,
    as_method,
)
from nni_widgets.engine.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from nni_widgets.engine.targets import Difference, Target
from nni_widgets.errors import UnsupportedOperation
from tests.oracle.nets import NETS, TROUBLE, MiddleFailure, Net, build_seeded, conv3

from .common import DTYPES, assert_near, build, refusal, suited


def cover_the_edge(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """A plain function as people write it: how much the score falls without the first column."""
    covered = x.clone()
    covered[..., 0] = 0
    with torch.no_grad():
        rows = torch.arange(len(x))
        fall = model(x.clone())[rows, target] - model(covered.clone())[rows, target]
    return (x - covered) * fall.reshape(-1, *[1] * (x.ndim - 1))


def quick(method: Method) -> Method:
    """Few steps: the tests here are about form."""
    few = {"n_steps": 5, "n_samples": 5} & method.__dict__.keys()
    return method.replace(**dict.fromkeys(few, 5))


RULES: list[Rule] = [
    Zero(), Epsilon(), Gamma(), AlphaBeta(), ZPlus(), ZBox(), WSquare(), Flat(),
]  # fmt: skip
TABLE = {":first": ZBox(), ":conv": AlphaBeta(alpha=1.0), ":last": Zero(), "*": Epsilon()}
AVERAGED = (LRP, IntegratedGradients, SmoothGrad, GuidedBackprop, Occlusion, Saliency,
            GradCAM)  # fmt: skip
ALL: dict[str, Method] = {
    **{method.__name__: quick(method()) for method in METHODS},
    **{f"SmoothGrad of {m.__name__}": quick(SmoothGrad(of=quick(m()))) for m in AVERAGED},
    **{f"LRP {rule}": LRP(rules=rule) for rule in RULES},
    **{f"LRP {rules}": LRP(rules=rules) for rules in (EpsilonPlus(), EpsilonAlpha2Beta1())},
    "LRP table": LRP(rules=TABLE),
    "a function": as_method(cover_the_edge),
    "SmoothGrad of a function": quick(SmoothGrad(of=cover_the_edge)),
}
NO_GATES = ("LRP", "DeepTaylor", "TranslationAverage")
SOUND = {name: case for name, case in NETS.items() if not case.tags & (TROUBLE | {"stochastic"})}
PAIRS = [
    pytest.param(method, name, id=f"{label}-{name}")
    for label, method in ALL.items()
    for name, case in SOUND.items()
    if not ("gate" in case.tags and any(word in label for word in NO_GATES))
    and not (name == "attention" and "DeepLIFT" in label)
]
EXPLAINED = [pair for pair in PAIRS if not refusal(*pair.values)]
REFUSED = [pair for pair in PAIRS if refusal(*pair.values)]


@cache
def prepared(name: str, dtype: torch.dtype, batch: int = 2) -> tuple[nn.Module, Tensor]:
    return build(SOUND[name], dtype, batch)


class State:
    """Everything that a method could leave changed, as it is now."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.model, self.x = model, x
        self.tensors = [*model.parameters(), *model.buffers(), x]
        self.copies = [tensor.detach().clone() for tensor in self.tensors]
        self.seen = self.flags()

    def flags(self) -> list[Any]:
        tensors = [(id(t), t.requires_grad, t.grad is None, t._version) for t in self.tensors]
        modules = [
            (id(module), module.training, sorted(vars(module)), list(module._modules))
            for module in self.model.modules()
        ]
        hooks = [
            dict(value)
            for owner in (*self.model.modules(), torch_module)
            for name, value in sorted(vars(owner).items())
            if name.endswith("_hooks") and isinstance(value, dict)
        ]
        settings = (
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
            torch.get_num_threads(), torch.random.get_rng_state().tolist(),
            torch.overrides._get_current_function_mode_stack(),
        )  # fmt: skip
        return [tensors, modules, hooks, settings, len(self.tensors)]

    def assert_unchanged(self) -> None:
        for before, now in zip(self.copies, self.tensors, strict=True):
            assert torch.equal(before, now)
        for before, now in zip(self.seen, self.flags(), strict=True):
            assert before == now


@contextmanager
def nothing_changes(model: nn.Module, x: Tensor) -> Iterator[None]:
    state = State(model, x)
    yield
    state.assert_unchanged()


@pytest.mark.parametrize(("method", "name"), EXPLAINED)
def test_every_method_on_every_network(method: Method, name: str) -> None:
    """Shaped like x, in its dtype, finite; the same bits again; each sample by itself.

    Four samples come with their channels last, one sample comes as it is. Not with zB everywhere:
    inside a network its sum can be 0 but for rounding, which is another in another order.
    """
    for dtype in DTYPES:
        many = dtype == torch.float64 and method != LRP(rules=ZBox())
        model, x = prepared(name, dtype, 4 if many else 2)
        with nothing_changes(model, x):
            values = method(model, x)
        assert values.shape == x.shape
        assert values.dtype == dtype
        assert values.is_contiguous()
        assert not values.requires_grad
        assert bool(values.isfinite().all())
        if dtype == torch.float32:
            assert torch.equal(values, method(model, x))
        else:
            alone = [method(model, row[None]) for row in x[-2:]]
            assert_near(values[-2:], torch.cat(alone), 1e-10)


@pytest.mark.parametrize(("method", "name"), REFUSED)
def test_a_network_without_what_the_method_needs_is_refused(method: Method, name: str) -> None:
    model, x = prepared(name, torch.float32)
    with nothing_changes(model, x), pytest.raises((ValueError, UnsupportedOperation)) as caught:
        method(model, x)
    assert refusal(method, name) in str(caught.value)
    report = diagnose(model, x, method)
    assert not report.healthy
    assert refusal(method, name) in str(report)


def test_the_state_notices_what_must_not_happen() -> None:
    def grow(model: nn.Module, x: Tensor) -> None:
        model.extra = 1  # type: ignore[assignment]

    mischief: list[Callable[[nn.Module, Tensor], object]] = [
        lambda model, x: x.add_(1),
        lambda model, x: x.requires_grad_(),
        lambda model, x: model.train(),
        lambda model, x: model(x).sum().backward(),
        lambda model, x: model.register_forward_hook(print),
        lambda model, x: next(model.parameters()).data.add_(1),
        lambda model, x: next(model.parameters()).requires_grad_(False),
        lambda model, x: torch.rand(1),
        grow,
    ]
    for act in mischief:
        model, x = build(NETS["conv_norm_relu"], torch.float32)
        state = State(model, x)
        act(model, x)
        with pytest.raises(AssertionError):
            state.assert_unchanged()


SOME = {label: ALL[label] for label in ("LRP", "IntegratedGradients", "SmoothGrad",
                                        "GuidedBackprop", "Gradient", "a function")}  # fmt: skip
some_methods = pytest.mark.parametrize("method", SOME.values(), ids=SOME)
EVERY = pytest.mark.parametrize("method", ALL.values(), ids=ALL)
TARGETS: dict[str, tuple[Target, Target]] = {
    "a list": ([2, 0], torch.tensor([2, 0])),
    "a tuple": ((2, 0), torch.tensor([2, 0])),
    "one class": (2, torch.tensor([2, 2])),
    "a tensor of one": (torch.tensor(2), [2, 2]),
    "narrow integers": (torch.tensor([2, 0], dtype=torch.uint8), [2, 0]),
    "a function": (lambda logits: logits[:, 1], 1),
    "a difference": (Difference(0, 2), lambda logits: logits[:, 0] - logits[:, 2]),
}


@pytest.mark.parametrize(("first", "second"), TARGETS.values(), ids=TARGETS)
@EVERY
def test_two_ways_to_name_a_target(method: Method, first: Target, second: Target) -> None:
    if "cover_the_edge" in repr(method):
        first, second = (0, [0, 0])
    model, x = prepared(suited(method, "plain"), torch.float64)
    assert_near(method(model, x, first), method(model, x, second), 1e-12)


@EVERY
def test_no_target_is_each_samples_predicted_class(method: Method) -> None:
    model, x = prepared(suited(method, "shared_conv"), torch.float64)
    x = torch.cat([x, 1 - 3 * x, 5 * x.flip(2)])
    predicted = model(x).argmax(1)
    assert len(predicted.unique()) > 1
    assert torch.equal(method(model, x), method(model, x, predicted))


@EVERY
def test_targets_matter(method: Method) -> None:
    model, x = prepared(suited(method, "plain"), torch.float64)
    assert not torch.allclose(method(model, x, 0), method(model, x, 1))


@pytest.mark.parametrize("method", list(SOME.values())[:-1], ids=list(SOME)[:-1])
def test_a_target_function_is_asked_for_each_row_alone(method: Method) -> None:
    model, x = prepared("plain", torch.float64)

    def margin(logits: Tensor) -> Tensor:
        return logits[:, 0] - torch.logsumexp(logits[:, 1:], 1)

    together = method(model, x, margin)
    assert_near(together, torch.cat([method(model, row[None], margin) for row in x]), 1e-10)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
}


@pytest.mark.parametrize("around", SURROUNDINGS.values(), ids=SURROUNDINGS)
@EVERY
def test_in_any_grad_mode(
    method: Method, around: Callable[[], AbstractContextManager[Any]]
) -> None:
    model, x = prepared(suited(method, "residual_inplace"), torch.float64)
    expected = method(model, x)
    with around(), nothing_changes(model, x):
        assert torch.equal(method(model, x), expected)


@EVERY
def test_an_input_made_in_inference_mode(method: Method) -> None:
    model, x = prepared(suited(method, "residual_inplace"), torch.float64)
    expected = method(model, x)
    with torch.inference_mode():
        made = x.clone()
        assert torch.equal(method(model, made), expected)
    assert torch.equal(method(model, made), expected)


@some_methods
def test_batches_in_float32(method: Method) -> None:
    for name in ("plain", "bottleneck", "branches"):
        model, x = prepared(name, torch.float32)
        assert_near(method(model, x), torch.cat([method(model, row[None]) for row in x]), 1e-5)


@EVERY
def test_frozen_parameters_and_an_input_that_requires_a_gradient(method: Method) -> None:
    model, x = prepared(suited(method, "bottleneck"), torch.float64)
    expected = method(model, x)
    frozen = copy.deepcopy(model).requires_grad_(False)
    leaf = x.clone().requires_grad_()
    with nothing_changes(frozen, leaf):
        assert torch.equal(method(frozen, leaf), expected)


class Stop(KeyboardInterrupt):
    """Ctrl-C, recognisable."""


def fails_at_call(error: type[BaseException], call: int) -> tuple[nn.Module, Tensor]:
    """A net that raises in the middle of its n-th forward pass."""
    calls = 0

    def forward(net: Net, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        x = net.conv(x).relu_()
        if calls == call:
            raise error("in the middle")
        return net.head(x.mean((2, 3)))

    model = build_seeded(lambda: Net(forward, conv=conv3(2, 5), head=nn.Linear(5, 3)), 0)
    return model, NETS["plain"].input()


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [MiddleFailure, Stop])
@EVERY
def test_an_error_in_the_middle_leaves_nothing_behind(
    method: Method, error: type[BaseException], call: int
) -> None:
    if call == 2 and not {"n_steps", "n_samples", "function"} & method.__dict__.keys():
        call = 1
    expected = method(*fails_at_call(error, -1))
    model, x = fails_at_call(error, call)
    with nothing_changes(model, x), pytest.raises((error, ValueError)) as caught:
        method(model, x)
    told = caught.value
    assert isinstance(told, error) or isinstance(told.__cause__, error)
    assert torch.equal(method(model, x), expected)


@EVERY
def test_steps_left_early_leave_nothing_behind(method: Method) -> None:
    model, x = prepared(suited(method, "plain"), torch.float32)
    with nothing_changes(model, x):
        steps = method.steps(model, x)
        next(steps)
        steps.close()
    steps = method.steps(model, x)
    next(steps)
    with nothing_changes(model, x):
        del steps


@EVERY
def test_steps_rise_to_the_whole_and_the_last_is_the_answer(method: Method) -> None:
    model, x = prepared(suited(method, "plain"), torch.float64)
    results = list(method.steps(model, x))
    done = [result.done for result in results]
    assert done == sorted(set(done))
    assert done[-1] == results[-1].of
    assert [result.passes for result in results] == sorted(result.passes for result in results)
    assert all(result.values.isfinite().all() for result in results)
    assert torch.equal(results[-1].values, method(model, x))
    assert torch.equal(results[-1].score, model(x).max(1).values)


@EVERY
def test_the_model_is_free_between_steps(method: Method) -> None:
    """What a caller does between two steps, in another grad mode too, does not reach the next."""
    model, x = prepared(suited(method, "plain"), torch.float64)
    expected = method(model, x)
    results = []
    steps = method.steps(model, x)
    for around in (torch.no_grad, nullcontext, torch.inference_mode, torch.enable_grad) * 3:
        with around():
            results.extend(itertools.islice(steps, 1))
            torch.rand(1)
    results.extend(steps)
    assert torch.equal(results[-1].values, expected)


@some_methods
def test_two_threads_with_different_models(method: Method) -> None:
    names = ["plain", "residual_inplace", "functional_relu", "inplace_relu"]
    expected = {name: method(*prepared(name, torch.float64)) for name in names}
    wrong: list[str] = []

    def explain_again_and_again(name: str) -> None:
        model, x = prepared(name, torch.float64)
        for _ in range(4):
            same = torch.equal(method(model, x), expected[name])
            wrong.extend([] if same else [name])

    threads = [threading.Thread(target=explain_again_and_again, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_thread_that_uses_the_model_does_not_enter_the_tape() -> None:
    """While one thread explains, another calls the same model: no operation of it is recorded."""
    model, x = prepared("plain", torch.float64)
    expected, stop = LRP()(model, x), threading.Event()

    def use() -> None:
        while not stop.is_set():
            model(x)

    user = threading.Thread(target=use)
    user.start()
    try:
        assert all(torch.equal(LRP()(model, x), expected) for _ in range(20))
    finally:
        stop.set()
        user.join()


def test_layers_are_told_only_when_asked_for() -> None:
    model, x = prepared("plain", torch.float64)
    for method in (LRP(), GuidedBackprop()):
        (without,), (with_them,) = method.steps(model, x), method.steps(model, x, layers=True)
        assert not without.layers
        assert with_them.layers
        assert torch.equal(without.values, with_them.values)


def test_methods_are_values() -> None:
    for method in ALL.values():
        assert method == method.replace()
        assert hash(method) == hash(method.replace())
    assert IntegratedGradients(n_steps=3) != IntegratedGradients(n_steps=4)
    assert SmoothGrad(of=Gradient()) == SmoothGrad()
