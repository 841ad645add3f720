"""Plain chains: their tape, made without watching, is the one that watching gives."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from nni_widgets.engine import tape as taping
from nni_widgets.engine.chain import links
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.tape import Tape, record

BODIES: dict[str, Callable[[], nn.Module]] = {
    "same": lambda: nn.Conv2d(4, 4, 3, padding="same", groups=2),
    "strided": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, bias=False),
    "relu": nn.ReLU,
    "in place": lambda: nn.ReLU(inplace=True),
    "bounded": lambda: nn.ReLU6(inplace=True),
    "norm": lambda: nn.BatchNorm2d(4),
    "norm without weights": lambda: nn.BatchNorm2d(4, affine=False, momentum=None),
    "max": lambda: nn.MaxPool2d(2, stride=1, padding=1),
    "max up": lambda: nn.MaxPool2d((3, 2), 2, padding=1, ceil_mode=True),
    "mean": lambda: nn.AvgPool2d(2, 1, padding=1, count_include_pad=False),
    "mean up": lambda: nn.AvgPool2d((2, 3), stride=2, padding=1, ceil_mode=True),
    "dropout": lambda: nn.Dropout(0.4),
    "inner": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(), nn.ReLU()),
}


def chain(*bodies: nn.Module) -> nn.Sequential:
    """A chain on (N, 2, 8, 8) of these modules, which keep 4 channels, with a head."""
    ends = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *bodies, *ends)
    return model.eval()


def pixels(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(3, 2, 8, 8, generator=generator, dtype=dtype)


def watched(model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tape:
    """The tape that the recorder makes of a chain when it does not know it for one."""
    with monkeypatch.context() as patch:
        patch.setattr(taping, "links", lambda model: None)
        return record(model, x)


def assert_same(ours: Tape, theirs: Tape) -> None:
    assert torch.equal(ours.x, theirs.x)
    assert torch.equal(ours.logits, theirs.logits)
    assert ours.output == theirs.output
    assert [op.call for op in ours.ops] == [op.outputs[0] for op in ours.ops]
    for a, b in zip(ours.ops, theirs.ops, strict=True):
        for name in ("kind", "path", "label", "inputs", "outputs"):
            assert getattr(a, name) == getattr(b, name), name
        pairs = [*zip(a.values, b.values, strict=True), *zip(a.results, b.results, strict=True)]
        assert (a.winners is None) == (b.winners is None)
        if a.winners is not None and b.winners is not None:
            pairs.append((a.winners, b.winners))
        assert all(torch.equal(one, other) for one, other in pairs)
        assert torch.equal(a.again(*a.values), b.again(*b.values))
        assert not any(made.requires_grad for made in a.results)


@given(
    st.lists(st.sampled_from(sorted(BODIES)), max_size=4),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_tape_of_a_chain_is_the_one_that_watching_gives(
    names: list[str], dtype: torch.dtype
) -> None:
    model, x = chain(*(BODIES[name]() for name in names)).to(dtype), pixels(dtype)
    assert links(model) is not None
    with pytest.MonkeyPatch.context() as patch:
        assert_same(record(model, x), watched(model, x, patch))
        relevance = LRP()(model, x)
        patch.setattr(taping, "links", lambda model: None)
        assert torch.equal(relevance, LRP()(model, x))


def test_a_module_that_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    relu, conv = nn.ReLU(), nn.Conv2d(4, 4, 3)
    model = chain(relu, nn.Sequential(conv, relu), conv, relu)
    tape = record(model, pixels())
    assert_same(tape, watched(model, pixels(), monkeypatch))
    assert [op.label for op in tape.ops][-6:-3] == ["1#2", "2.0#2", "1#3"]


class Own(nn.Conv2d):
    """A convolution that does more."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def _hooked(model: nn.Sequential) -> None:
    model[1].register_forward_hook(lambda module, given, made: 2 * made)


def _hooked_before(model: nn.Sequential) -> None:
    model[1].register_forward_pre_hook(lambda module, given: (2 * given[0],))


def _hooked_as_a_whole(model: nn.Sequential) -> None:
    model.register_forward_hook(lambda module, given, made: 2 * made)


def _hooked_inside(model: nn.Sequential) -> None:
    model[2].register_forward_hook(lambda module, given, made: 2 * made)


def _given_a_forward(model: nn.Sequential) -> None:
    model[1].forward = lambda x: 2 * x  # type: ignore[method-assign]


def _given_a_forward_as_a_whole(model: nn.Sequential) -> None:
    forward = model.forward
    model.forward = lambda x: 2 * forward(x)  # type: ignore[method-assign]


def _given_a_convolution(model: nn.Sequential) -> None:
    """What people do to let pictures be tiled without a seam."""
    conv = model[0]
    conv._conv_forward = lambda x, w, b: 2 * nn.Conv2d._conv_forward(conv, x, w, b)


def _given_a_call(model: nn.Sequential) -> None:
    relu = model[1]
    relu._call_impl = lambda x: 2 * relu.forward(x)


def _of_another_class(model: nn.Sequential) -> None:
    model[0] = Own(2, 4, 3, padding=1)


def _reflecting(model: nn.Sequential) -> None:
    model[0].padding_mode = "reflect"


def _normed_by_the_batch(model: nn.Sequential) -> None:
    model.insert(1, nn.BatchNorm2d(4, track_running_stats=False))


def _parametrized(model: nn.Sequential) -> None:
    parametrizations.weight_norm(model[0])


def _pruned(model: nn.Sequential) -> None:
    prune.random_unstructured(model[0], "weight", 0.5)


@pytest.mark.parametrize(
    "change",
    [
        *(_hooked, _hooked_before, _hooked_as_a_whole, _hooked_inside, _given_a_forward),
        *(_given_a_convolution, _given_a_call),
        *(_given_a_forward_as_a_whole, _of_another_class, _reflecting, _parametrized, _pruned),
        _normed_by_the_batch,
    ],
)
def test_what_does_more_than_its_modules_is_watched(
    change: Callable[[nn.Sequential], None],
) -> None:
    model = chain(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1)))
    assert links(model) is not None
    change(model)
    assert links(model) is None
    model.eval()
    assert torch.equal(record(model, pixels()).logits, model(pixels()))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(nn.ReLU, "forward"), (nn.Sequential, "forward"), (nn.Conv2d, "_conv_forward")],
)
def test_a_class_that_was_given_another_method_is_watched(
    kind: type[nn.Module], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = chain(nn.ReLU()), getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda *args: 2 * given(*args))
    assert links(model) is None
    assert torch.equal(record(model, pixels()).logits, model(pixels()))


def test_a_child_that_is_none_fails_as_it_does_in_the_model() -> None:
    model = chain(nn.ReLU())
    model.register_module("left out", None)
    with pytest.raises(TypeError, match="NoneType"):
        model(pixels())
    with pytest.raises(ValueError, match="'NoneType' object is not callable"):
        record(model, pixels())


def test_a_hook_on_all_modules_is_seen() -> None:
    model = chain(nn.ReLU())
    hook = nn.modules.module.register_module_forward_hook(lambda module, given, made: None)
    try:
        assert links(model) is None
    finally:
        hook.remove()
    assert links(model) is not None


@pytest.mark.parametrize("x", [torch.rand(3, 5, 8, 8), torch.rand(3, 2, 1, 1, 1, 1)])
def test_an_input_that_does_not_fit_is_told_in_the_same_words(
    x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain(nn.ReLU())
    with pytest.raises(ValueError, match="an input that the model can take") as ours:
        record(model, x)
    with pytest.raises(ValueError, match="an input that the model can take") as theirs:
        watched(model, x, monkeypatch)
    assert str(ours.value) == str(theirs.value)
