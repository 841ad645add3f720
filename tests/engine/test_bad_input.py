"""Bad input: every refusal is one sentence of one form, and everything stays usable."""

import re
import warnings
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import (
    CAM,
    LRP,
    METHODS,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Occlusion,
    SimpleTaylor,
    SmoothGrad,
    as_method,
)
from nni_widgets.engine.methods.fluctuation import fluctuation
from nni_widgets.engine.methods.taylor import NearestRoot
from nni_widgets.engine.metrics.compare import score_all
from nni_widgets.engine.metrics.sparseness import Sparseness
from nni_widgets.engine.rules import Epsilon, Gamma, Pass, ZBox
from nni_widgets.engine.targets import Difference
from nni_widgets.engine.uncertainty import uncertain
from nni_widgets.errors import UnsupportedOperation
from tests.oracle.nets import NETS, Net, build_seeded, conv3, select

from .common import build

SENTENCE = re.compile(r"^[A-Za-z_]\w*: [^.;]+ must be .+; got .+\. [A-Z].+\.$")
EACH = pytest.mark.parametrize("method", [m() for m in METHODS], ids=lambda m: type(m).__name__)


def refusal(explain: Callable[[], object], *words: str) -> str:
    """The one sentence with which the call is refused; it has these words in it."""
    with pytest.raises((ValueError, UnsupportedOperation)) as caught:
        explain()
    text = str(caught.value)
    assert "\n" not in text
    assert SENTENCE.match(text), text
    for word in words:
        assert word in text, text
    return text


def plain(method: Method | None = None) -> tuple[nn.Module, Tensor]:
    """A net for pictures of one size; for CAM one that averages its maps."""
    if isinstance(method, CAM):
        layers = [conv3(2, 5), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(5, 3)]
        return build_seeded(lambda: nn.Sequential(*layers), 0), NETS["plain"].input()
    return build(NETS["plain"], torch.float32)


# --- The input ------------------------------------------------------------------------------------

INPUTS: dict[str, tuple[Callable[[Tensor], object], tuple[str, ...]]] = {
    "channels": (lambda x: x[:, :1], ("got shape (2, 1, 6, 6)", "channels")),
    "size": (lambda x: torch.cat([x, x], 2), ("got shape (2, 2, 12, 6)",)),
    "no batch": (lambda x: x[0, 0, 0], ("a batch of at least one sample", "shape (6,)", "x[None]")),
    "one sample of three": (lambda x: x[0], ("got shape (2, 6, 6)",)),
    "an empty batch": (lambda x: x[:0], ("got shape (0, 2, 6, 6)",)),
    "integers": (lambda x: (255 * x).to(torch.uint8), ("got dtype torch.uint8", "x.float()")),
    "booleans": (lambda x: x > 0.5, ("got dtype torch.bool",)),
    "complex": (lambda x: x.to(torch.complex64), ("got dtype torch.complex64",)),
    "double": (lambda x: x.double(), ("torch.float32 on cpu", "got torch.float64", "x.to(")),
    "half": (lambda x: x.half(), ("got torch.float16",)),
    "numpy": (lambda x: x.numpy(), ("got ndarray",)),
    "nothing": (lambda _: None, ("got NoneType",)),
    "NaN": (lambda x: x.where(x < 0.9, torch.nan), ("pixels that are NaN", "nan_to_num")),
    "infinity": (lambda x: x.where(x < 0.9, torch.inf), ("NaN or infinite",)),
}


@pytest.mark.parametrize(("spoil", "words"), INPUTS.values(), ids=INPUTS)
@EACH
def test_the_input(
    method: Method, spoil: Callable[[Tensor], object], words: tuple[str, ...]
) -> None:
    model, x = plain(method)
    text = refusal(lambda: method(model, spoil(x)), *words)  # type: ignore[arg-type]
    assert text.startswith((type(method).__name__, "Gradient"))
    assert method(model, x).shape == x.shape


def test_infinities_that_cancel_are_found() -> None:
    model, x = plain()
    x[0, 0, 0, 0], x[0, 0, 0, 1] = torch.inf, -torch.inf
    refusal(lambda: Gradient()(model, x), "2 pixels that are NaN or infinite")


def test_a_large_sum_of_finite_pixels_is_not_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    x = torch.full((1, 2), 3e38)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -0.5], [0.1, -0.1]]))
    assert Gradient()(model, x, 0).tolist() == [[1.0, -0.5]]


@EACH
def test_samples_without_a_number(method: Method) -> None:
    refusal(lambda: method(nn.Flatten().eval(), torch.rand(2, 0)), "x", "shape (2, 0)")


@pytest.mark.parametrize("corner", [(0.0, 0.0), ("a", 0), (0,), (-1, 0), (3, 0)])
def test_a_corner_of_no_window(corner: tuple[object, ...]) -> None:
    x = plain()[1]
    refusal(lambda: Occlusion().cover(x, *corner), "the corner of the window")  # type: ignore[arg-type]


def test_a_seed_too_large() -> None:
    model, x = plain()
    refusal(lambda: fluctuation(model, x, seed=10**20), "seed", "2,147,483,648")


# --- The target -----------------------------------------------------------------------------------

TARGETS: dict[str, tuple[object, tuple[str, ...]]] = {
    "too large": (3, ("a class from 0 to 2", "got 3")),
    "negative": (-1, ("a class from 0 to 2", "got -1")),
    "one of them too large": ([0, 7], ("got 7",)),
    "too many": ([0, 1, 2], ("2 classes, one per sample", "shape (3,)")),
    "too few": ([0], ("shape (1,)",)),
    "none": ([], ("target",)),
    "two-dimensional": ([[0], [1]], ("shape (2, 1)",)),
    "a float": (1.0, ("got 1.0", "whole numbers")),
    "a truth value": (True, ("got True",)),
    "a text": ("seven", ("got 'seven'",)),
    "a difference too far": (Difference(0, 3), ("a class from 0 to 2", "got 3")),
    "a function of the wrong shape": (lambda f: f, ("shape (2, 3)", "f[:, 3]")),
    "a function that sums": (lambda f: f.sum(), ("shape ()",)),
    "a function that returns no tensor": (lambda f: 1.0, ("got float",)),
    "a function that gives NaN": (lambda f: f[:, 0] * torch.nan, ("finite",)),
    "a function that fails": (lambda f: f[:, 9], ("IndexError",)),
}


@pytest.mark.parametrize(("target", "words"), TARGETS.values(), ids=TARGETS)
@EACH
def test_the_target(method: Method, target: object, words: tuple[str, ...]) -> None:
    model, x = plain(method)
    refusal(lambda: method(model, x, target), *words)  # type: ignore[arg-type]


FOR_SOME_ROWS: list[Method] = [
    Occlusion(window=2, stride=1),
    IntegratedGradients(),
    SmoothGrad(),
    SimpleTaylor(root=NearestRoot()),
    SimpleTaylor(root=[0.0, 1.0]),
]


@pytest.mark.parametrize("method", FOR_SOME_ROWS, ids=repr)
def test_a_function_that_answers_for_as_many_rows_as_x_had(method: Method) -> None:
    """One number for a chunk of rows would be taken for the score of each."""
    model, x = plain()
    given: tuple[str, ...] = ("one finite score per sample", "got shape (1,)")
    if method == FOR_SOME_ROWS[-1]:  # one row at a time
        assert torch.equal(method(model, x[:1], lambda f: f[:1, 2]), method(model, x[:1], 2))
    else:
        refusal(lambda: method(model, x[:1], lambda f: f[:1, 2]), *given)


def test_a_target_that_is_written_to_later() -> None:
    model, x = plain()
    for target in (torch.tensor([1, 2]), np.array([1, 2])):
        (result,) = Gradient().steps(model, x, target)
        target += 1
        assert result.score.tolist() == model(x)[[0, 1], [1, 2]].tolist()


def test_whole_numbers_of_numpy() -> None:
    model, x = plain()
    difference = Difference(np.int64(0), np.int64(2))
    assert repr(difference) == "Difference(first=0, second=2)"
    assert torch.equal(Gradient()(model, x, difference), Gradient()(model, x, Difference(0, 2)))
    assert GuidedBackprop(layer="0", channel=np.int64(1)) == GuidedBackprop(layer="0", channel=1)


# --- The model ------------------------------------------------------------------------------------


@EACH
def test_a_model_in_training_mode(method: Method) -> None:
    model, x = plain()
    refusal(lambda: method(model.train(), x), "in evaluation mode", "model.eval()")
    model, x = build(NETS["nested"], torch.float32)
    model.classifier[1].train()
    refusal(lambda: method(model, x), "training mode (in 'classifier.1')")
    assert model.classifier[1].training


@EACH
def test_no_module(method: Method) -> None:
    x = plain()[1]
    refusal(lambda: method(lambda y: y, x), "torch.nn.Module", "got function")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ends_in_softmax"])
@EACH
def test_a_softmax_at_the_end(method: Method, name: str) -> None:
    refusal(lambda: method(*build(NETS[name], torch.float32)), "unnormalised logits",
            "Remove the softmax")  # fmt: skip


@pytest.mark.parametrize("name", list(select("tuple")))
@EACH
def test_a_tuple(method: Method, name: str) -> None:
    refusal(lambda: method(*build(NETS[name], torch.float32)), "logits of shape (N, K)", "a tuple")


@pytest.mark.parametrize("name", list(select("disconnected")) + list(select("no-grad")))
@pytest.mark.parametrize("method", [m() for m in METHODS if m is not Occlusion], ids=str)
def test_an_output_that_does_not_come_from_the_input(method: Method, name: str) -> None:
    refusal(
        lambda: method(*build(NETS[name], torch.float32)), "the model's output", "computed from x"
    )


def test_scripted_code_cannot_be_followed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model, x = NETS["scripted"].build(), NETS["scripted"].input()
        refusal(lambda: LRP()(model, x), "recorded", "torch.jit")
        assert Gradient()(model, x).shape == x.shape


def test_guided_backprop_of_scripted_code_is_right_or_refused() -> None:
    """Autograd's graph is whole until TorchScript joins operations, which it does when it likes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model, x = NETS["scripted"].build(), NETS["scripted"].input()
        expected = GuidedBackprop()(NETS["plain"].build(), x)
        for _ in range(4):
            with suppress(UnsupportedOperation):
                torch.testing.assert_close(GuidedBackprop()(model, x), expected)


@EACH
def test_an_output_of_the_wrong_shape_or_not_finite(method: Method) -> None:
    x = plain()[1]
    flat = Net(lambda net, x: net.fc(x.flatten(1))[:, 0], fc=nn.Linear(72, 3)).eval()
    refusal(lambda: method(flat, x), "shape (N, K)", "got shape (2,)")
    broken = Net(lambda net, x: net.fc(x.flatten(1)) / 0, fc=nn.Linear(72, 3)).eval()
    refusal(lambda: method(broken, x), "the model's output", "finite")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ends_in_log_softmax", ("log_softmax", "in the model's forward", "return logits")),
        ("squeeze_excite", ("no rule for mul", "in the model's forward", "gradient method")),
        ("attention", ("no rule for", "attend", "gradient method")),
    ],
)
def test_an_operation_without_a_rule(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        LRP()(*build(NETS[name], torch.float32))
    text = str(caught.value)
    assert re.fullmatch(r"LRP: no rule for \w+ \(in .+\)\. [A-Z].+\.", text), text
    assert all(word in text for word in words), text


def test_a_softmax_in_the_middle() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.soft(net.fc(x)))

    model = Net(forward, fc=nn.Linear(7, 4), soft=nn.Softmax(-1), head=nn.Linear(4, 3)).eval()
    with pytest.raises(UnsupportedOperation, match=r"no rule for softmax \(in 'soft'\)"):
        LRP()(model, torch.rand(2, 7))
    assert Gradient()(model, torch.rand(2, 7)).shape == (2, 7)


# --- Parameters, composites, functions ------------------------------------------------------------


@pytest.mark.parametrize("where", ["conv7", "features.*", "9"])
def test_a_layer_that_does_not_exist(where: str) -> None:
    model, x = plain()
    text = refusal(lambda: LRP(rules={where: Epsilon()})(model, x), repr(where), "0, 3, 6, 8")
    assert text.startswith("LRP: ")


def test_a_table_that_makes_no_sense() -> None:
    refusal(lambda: LRP(rules={":frist": Epsilon()}), ":first", "':frist'")
    refusal(lambda: LRP(rules={3: Epsilon()}), "got 3")  # type: ignore[dict-item]
    refusal(lambda: LRP(rules={"*": Epsilon}), "a rule such as")  # type: ignore[dict-item]
    refusal(lambda: LRP(rules={"*": 0.25}), "0.25")  # type: ignore[dict-item]
    refusal(lambda: LRP(rules={}), "empty")
    refusal(lambda: LRP(rules="epsilon"), "'epsilon'", "a table")  # type: ignore[arg-type]
    refusal(lambda: LRP(rules=Epsilon), "Epsilon")  # type: ignore[arg-type]


def test_a_rule_for_weights_where_there_are_none() -> None:
    model, x = plain()
    with pytest.raises(UnsupportedOperation, match=r"max_pool2d .*'2'"):
        LRP(rules={"2": Gamma(), "*": Epsilon()})(model, x)


def test_the_box() -> None:
    model, x = plain()
    for low, high in ((1.0, 0.0), (0.5, 0.5), ((0.0, 0.0), (1.0, 0.0))):
        refusal(lambda low=low, high=high: ZBox(low=low, high=high), "below high", "low=")
    box = ZBox(low=(0.0,) * 3, high=(1.0,) * 3)
    refusal(lambda: LRP(rules={":first": box, "*": Epsilon()})(model, x), "3 for 2 channels")
    refusal(lambda: ZBox(low=(0.0, 0.0), high=(1.0, 1.0, 1.0)), "as many", "2 and 3")


@pytest.mark.parametrize("shape", [(3,), (2, 6, 5), (3, 2, 6, 6), (1, 1, 2, 6, 6)])
def test_a_baseline_that_does_not_fit(shape: tuple[int, ...]) -> None:
    model, x = plain()
    method = IntegratedGradients(baseline=torch.zeros(shape))
    refusal(lambda: method(model, x), "baseline", f"got shape {shape}")


def test_a_baseline_that_is_not_finite() -> None:
    model, x = plain()
    method = IntegratedGradients(baseline=torch.full((6, 6), torch.nan))
    refusal(lambda: method(model, x), "baseline", "finite")
    refusal(lambda: IntegratedGradients(baseline=torch.nan), "baseline", "nan")


def attributes(value: object) -> Method:
    def my_method(model: nn.Module, x: Tensor, target: Tensor) -> object:
        return value(x) if callable(value) else value

    return as_method(my_method)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: x[:, 0], ("shaped like x, (2, 2, 6, 6)", "got (2, 6, 6)")),
        (lambda x: x.sum(), ("got ()",)),
        (None, ("got NoneType",)),
        (lambda x: x.numpy(), ("got ndarray",)),
        (lambda x: x / 0, ("finite",)),
        (lambda x: x * torch.nan, ("finite",)),
    ],
    ids=["shape", "number", "nothing", "numpy", "infinite", "NaN"],
)
def test_what_a_function_returns(value: object, words: tuple[str, ...]) -> None:
    model, x = plain()
    assert refusal(lambda: attributes(value)(model, x), *words).startswith("my_method: ")


def test_no_method() -> None:
    for wrong in (LRP, None, "LRP", 3):
        refusal(lambda wrong=wrong: as_method(wrong), "explain: method must be ")  # type: ignore[arg-type]
    refusal(lambda: SmoothGrad(of=Gradient), "SmoothGrad: of must be ")  # type: ignore[arg-type]
    model, x = plain()
    scores = score_all(model, x, [Gradient], [Sparseness()])  # type: ignore[list-item]
    refusal(lambda: next(scores), "compare: method must be ")
    refusal(lambda: uncertain(model, x, Gradient), "uncertain: method must be ")  # type: ignore[arg-type]
    assert diagnose(model, x, "LRP").findings[0].text.startswith("diagnose: method must be ")  # type: ignore[arg-type]


def test_pass_where_the_shape_changes():
    layers = [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3)]
    method = LRP({":maxpool": Pass(), "*": Epsilon()})
    with pytest.raises(UnsupportedOperation, match=r"Pass must be .*got max_pool2d \(in '1'\)"):
        method(nn.Sequential(*layers).eval(), torch.rand(1, 1, 8, 8))
