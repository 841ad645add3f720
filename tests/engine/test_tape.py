"""The tape: what is recorded, how it is named, and that the recorded pass is the model's own."""

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.methods import LRP, GradCAM, Gradient, GuidedBackprop
from nni_widgets.engine.operations import family
from nni_widgets.engine.propagation import propagate
from nni_widgets.engine.rules import Derivative, Zero
from nni_widgets.engine.tape import Tape, record
from nni_widgets.errors import UnsupportedOperation
from tests.oracle.nets import NETS, TROUBLE, Net, conv3
from tests.oracle.random_nets import random_net

from .common import assert_near, build

SOUND = [n for n, case in NETS.items() if not case.tags & (TROUBLE | {"stochastic"})]


def net(forward: Callable[..., Tensor], **modules: nn.Module) -> tuple[nn.Module, Tensor]:
    """A small float64 model on (2, 2, 4, 4) with a head, and its input."""
    modules = {"conv": conv3(2, 3), "head": nn.Linear(48, 3)} | modules
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 2, 4, 4, generator=generator, dtype=torch.float64)
    return Net(forward, **modules).double().eval(), x


def labels(tape: Tape) -> list[str]:
    return [op.label for op in tape.ops]


def derivative(tape: Tape) -> Tensor:
    """The gradient of all logits by walking the tape with every operation's own derivative."""
    rules = {op.label: Derivative() for op in tape.ops}
    return propagate(tape, torch.ones_like(tape.logits), rules)


@pytest.mark.parametrize("name", SOUND)
def test_the_recorded_pass_is_the_models_own(name: str) -> None:
    model, x = build(NETS[name], torch.float32)
    tape = record(model, x)
    expected = model(x.clone())
    assert torch.equal(tape.logits, expected)
    for op in tape.ops:
        again = op.again(*op.values)
        made = again if isinstance(again, Tensor) else again[0]
        assert torch.equal(made, op.results[0])


@pytest.mark.parametrize("name", SOUND)
def test_walking_the_tape_with_derivatives_gives_autograds_gradient(name: str) -> None:
    model, x = build(NETS[name])
    expected = Gradient()(model, x, lambda logits: logits.sum(1))
    assert_near(derivative(record(model, x)), expected, 1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_canonical_tapes_compute_the_same(seed: int) -> None:
    model, x = build(random_net(seed))
    tape = canonical(record(model, x))
    made = {0: x}
    for op in tape.ops:
        result = op.again(*(made[number] for number in op.inputs))
        made[op.outputs[0]] = result
    assert_near(made[tape.output], model(x), 1e-12)
    assert_near(derivative(tape), Gradient()(model, x, lambda logits: logits.sum(1)), 1e-10)


OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "power": lambda h: h**2,
    "power of a number": lambda h: 2**h,
    "in place": lambda h: h.__ipow__(2),
    "number over": lambda h: 1 / (abs(h) + 1),
    "number less": lambda h: 1 - h,
    "signs": lambda h: +h * -h,
    "rest": lambda h: h % 0.7,
    "matrix": lambda h: h @ torch.eye(4, dtype=h.dtype),
    "matrix before": lambda h: torch.eye(4, dtype=h.dtype) @ h,
    "mask": lambda h: h * ((h > 0) & ~(h > 1)),
}


@pytest.mark.parametrize("form", OPERATORS.values(), ids=OPERATORS)
def test_arithmetic_written_with_operators(form: Callable[[Tensor], Tensor]) -> None:
    model, x = net(lambda net, x: net.head(form(net.conv(x)).flatten(1)))
    tape = record(model, x)
    assert torch.equal(tape.logits, model(x))
    expected = Gradient()(model, x, lambda logits: logits.sum(1))
    assert_near(derivative(tape), expected, 1e-12)


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOUND)
def test_labels_are_unique_and_readable(name: str) -> None:
    tape = record(*build(NETS[name], torch.float32))
    assert len(set(labels(tape))) == len(labels(tape))
    for op in tape.ops:
        assert op.label
        assert op.label == op.label.strip(".")
        assert "__" not in op.label


def test_labels_of_modules_functions_and_further_uses() -> None:
    tape = record(*build(NETS["one_relu_everywhere"]))
    assert labels(tape) == [
        "conv1", "relu", "conv2", "relu#2", "relu#3", "flatten", "fc1", "relu#4", "fc2",
    ]  # fmt: skip
    tape = record(*build(NETS["nested"]))
    assert labels(tape)[0] == "features.block1.conv"
    assert "classifier.2.0" in labels(tape)
    assert labels(record(*build(NETS["residual"])))[:5] == [
        "stem",
        "relu",
        "conv1",
        "relu#2",
        "conv2",
    ]


def test_labels_say_where_a_function_was_called() -> None:
    inner = Net(lambda net, x: F.relu(net.conv(x)) * 2, conv=conv3(3, 3))
    model, x = net(lambda net, x: net.head(net.block(net.conv(x)).flatten(1)), block=inner)
    assert labels(record(model, x)) == [
        "conv", "block.conv", "block.relu", "block.mul", "flatten", "head",
    ]  # fmt: skip


def test_a_module_whose_operations_are_several() -> None:
    class Swish(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 1).relu() - 1

    model, x = net(lambda net, x: net.head(net.act(net.conv(x)).flatten(1)), act=Swish())
    assert labels(record(model, x)) == ["conv", "act", "act#2", "act#3", "flatten", "head"]


def test_dead_branches_are_not_on_the_tape() -> None:
    assert "auxiliary" not in labels(record(*build(NETS["unused_branch"])))


# --- In place -------------------------------------------------------------------------------------

WRITES: dict[str, Callable[..., Tensor]] = {
    "a statement": lambda net, x: net.head((lambda y: (y.relu_(), y)[1])(net.conv(x)).flatten(1)),
    "through a second name": lambda net, x: net.head(_twice(net.conv(x)).flatten(1)),
    "functional": lambda net, x: net.head(F.relu(net.conv(x), inplace=True).flatten(1)),
    "positional": lambda net, x: net.head(F.relu(net.conv(x), True).flatten(1)),
    "leaky, by name": lambda net, x: net.head(F.leaky_relu_(net.conv(x), 0.2).flatten(1)),
    "hardtanh": lambda net, x: net.head(F.hardtanh(net.conv(x), -1.0, 0.5, True).flatten(1)),
    "arithmetic": lambda net, x: net.head(_arithmetic(net.conv(x), x).flatten(1)),
    "with alpha": lambda net, x: net.head(net.conv(x).add_(x[:, :1], alpha=0.5).flatten(1)),
    "on the input": lambda net, x: net.head(net.conv(x.mul_(2).clamp_(min=0)).flatten(1)),
    "mask": lambda net, x: net.head(net.conv(x).masked_fill_(net.conv(x) > 1, 0.0).flatten(1)),
    "after a view died": lambda net, x: net.head((net.conv(x)[:, :, 0].sum() * 0 + net.conv(x)
                                                  ).relu_().flatten(1)),
}  # fmt: skip


def _twice(y: Tensor) -> Tensor:
    same = y
    y.add_(1)
    same.mul_(2.0)
    return y


def _arithmetic(y: Tensor, x: Tensor) -> Tensor:
    y += 1
    y *= 0.5
    y -= x[:, :1]
    y /= 3
    return y


@pytest.mark.parametrize("forward", WRITES.values(), ids=WRITES)
def test_in_place_calls_mean_what_they_mean_in_torch(forward: Callable[..., Tensor]) -> None:
    model, x = net(forward)
    before = x.clone()
    tape = record(model, x)
    assert torch.equal(tape.logits, model(before.clone()))
    assert torch.equal(x, before)
    assert_near(derivative(tape), Gradient()(model, x, lambda f: f.sum(1)), 1e-12)


def _write_into_a_slice(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    x[:, 0] = 0
    return net.head(x.flatten(1))


def _read_after_write(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    view = x.flatten(1)
    x.relu_()
    return net.head(view)


def _write_through_a_view(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    x.view(2, -1).relu_()
    return net.head(x.flatten(1))


def _copy_into(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    made = torch.zeros_like(x)
    made.copy_(x)
    return net.head(made.flatten(1))


def _fill(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    made = x.relu()
    made.zero_()
    return net.head((made + x).flatten(1))


def _into_an_output(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    return net.head(torch.add(x, x, out=torch.empty_like(x)).flatten(1))


def _add_into_a_part_of_a_constant(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    made = torch.zeros_like(x)
    made[:, 0].add_(x[:, 0])
    return net.head((made + x).flatten(1))


REFUSED = [_write_into_a_slice, _read_after_write, _write_through_a_view, _copy_into, _fill,
           _into_an_output, _add_into_a_part_of_a_constant]  # fmt: skip


@pytest.mark.parametrize("forward", REFUSED, ids=lambda f: f.__name__[1:])
def test_writes_that_cannot_be_followed_are_refused(forward: Callable[..., Tensor]) -> None:
    model, x = net(forward)
    for method in (LRP(rules=Zero()), GuidedBackprop()):
        with pytest.raises(
            UnsupportedOperation, match="cannot follow the in-place write"
        ) as caught:
            list(method.steps(model, x, layers=True))
        assert type(method).__name__ in str(caught.value)
        assert "the model's forward" in str(caught.value)


def test_a_write_in_place_keeps_the_dtype() -> None:
    offset = torch.full((3, 1, 1), 0.1, dtype=torch.float64)

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        x -= offset
        return net.head(x.flatten(1))

    model, x = net(forward)
    model, x = model.float(), x.float()
    tape = record(model, x)
    assert torch.equal(tape.logits, model(x))
    assert_near(derivative(tape), Gradient()(model, x, lambda f: f.sum(1)), 1e-6)


def test_a_refusal_names_the_module() -> None:
    block = Net(lambda _, x: x[:, 0].relu_().sum() + x)
    model, x = net(lambda net, x: net.head(net.block(net.conv(x)).flatten(1)), block=block)
    model.block._forward = lambda _, x: _set_first(x)
    with pytest.raises(UnsupportedOperation, match="in 'block'"):
        record(model, x)


def _set_first(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


# --- Out of sight ---------------------------------------------------------------------------------


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return 3 * x

    @staticmethod
    def backward(context: object, signal: Tensor) -> Tensor:
        return 3 * signal


SIDEWAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "autograd.Function": Tripled.apply,
    "with a call behind it": lambda y: 2 * Tripled.apply(y) + 1,
    "torch.vmap": torch.vmap(lambda row: 3 * row),
    "complex numbers": lambda y: torch.fft.irfft(torch.fft.rfft(y), n=4),
}
sideways = pytest.mark.parametrize("function", SIDEWAYS.values(), ids=SIDEWAYS)


@sideways
def test_a_signal_with_a_part_out_of_sight_is_not_walked(
    function: Callable[[Tensor], Tensor],
) -> None:
    """To leave the part out would be a wrong answer without a word."""
    block = Net(lambda _, y: y + function(y))
    model, x = net(lambda net, x: net.head(net.block(net.conv(x)).flatten(1)), block=block)
    assert torch.equal(record(model, x).logits, model(x))
    with pytest.raises(UnsupportedOperation, match=r"LRP: .* in 'block', because a part"):
        LRP(rules=Zero())(model, x)
    with pytest.raises(UnsupportedOperation, match=r"record: .* in 'block', because a part"):
        derivative(record(model, x))


@sideways
def test_what_reads_no_part_out_of_sight_is_walked(function: Callable[[Tensor], Tensor]) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.conv(x)
        with torch.no_grad():
            gate = function(y)
        return net.head((y * gate + (function(y) + y).detach()).flatten(1))

    model, x = net(forward)
    tape = record(model, x)
    assert_near(derivative(tape), Gradient()(model, x, lambda f: f.sum(1)), 1e-12)


@sideways
def test_methods_of_autograd_see_all(function: Callable[[Tensor], Tensor]) -> None:
    model, x = net(lambda net, x: net.head((lambda y: y + function(y))(net.conv(x)).flatten(1)))
    maps = model.conv(x)
    weights = model.head.weight[0].view(1, 3, 4, 4)
    slope = {"complex numbers": 2.0, "with a call behind it": 7.0}
    factor = next((slope[name] for name in slope if SIDEWAYS[name] is function), 4.0)
    expected = ((factor * weights).mean((2, 3), keepdim=True) * maps).sum(1).relu()
    assert_near(GradCAM(layer="conv").raw(model, x, 0), expected.detach(), 1e-12)


def test_what_the_model_keeps_is_as_after_a_plain_pass() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        net.mean = 0.9 * net.mean + 0.1 * x.mean()
        return net.head(net.conv(x).flatten(1))

    model, x = net(forward)
    model.register_buffer("mean", torch.zeros((), dtype=torch.float64))
    record(model, x)
    assert not model.mean.requires_grad
    assert_near(model.mean, 0.1 * x.mean(), 1e-12)


def test_weights_that_are_computed_are_constants() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        weight = net.conv.weight - net.conv.weight.mean((1, 2, 3), keepdim=True)
        return net.head(F.conv2d(x, weight, padding=1).flatten(1))

    model, x = net(forward)
    tape = record(model, x)
    assert [op.unseen for op in tape.ops] == ["", "", ""]
    assert not tape.logits.requires_grad


# --- Several outputs, constants -------------------------------------------------------------------


def _plus_itself(y: Tensor) -> Tensor:
    return y + y.contiguous()


def _with_ones(y: Tensor, x: Tensor) -> Tensor:
    return torch.cat([y[:, :2], torch.ones_like(x[:, :1])], 1)


OUTPUTS: dict[str, Callable[..., Tensor]] = {
    "chunk, one unused": lambda net, y, x: net.small(y.chunk(3, 1)[1].flatten(1)),
    "max with indices": lambda net, y, x: net.rows(y.max(dim=3)[0].flatten(1)),
    "unbind": lambda net, y, x: net.head(torch.stack(y.unbind(1)[::-1], 1).flatten(1)),
    "topk": lambda net, y, x: net.small(y.flatten(1).topk(16, 1).values),
    "sort": lambda net, y, x: net.head(y.flatten(1).sort(1).values),
    "split, all used": lambda net, y, x: net.small(sum(y.split(1, 1)).flatten(1)),
    "a constant in a list": lambda net, y, x: net.head(_with_ones(y, x).flatten(1)),
    "a square": lambda net, y, x: net.head(y.square().flatten(1)),
    "the same value twice": lambda net, y, x: net.head((y + y).flatten(1)),
    "a value and its alias": lambda net, y, x: net.head(_plus_itself(y).flatten(1)),
    "a size": lambda net, y, x: net.head((y * float(x.shape[2])).flatten(1)),
    "shape arithmetic": lambda net, y, x: net.head(y.view(len(x), -1)),
}


@pytest.mark.parametrize("forward", OUTPUTS.values(), ids=OUTPUTS)
def test_several_outputs_and_constants(forward: Callable[..., Tensor]) -> None:
    model, x = net(
        lambda net, x: forward(net, net.conv(x), x), small=nn.Linear(16, 3), rows=nn.Linear(12, 3)
    )
    tape = record(model, x)
    assert torch.equal(tape.logits, model(x))
    assert_near(derivative(tape), Gradient()(model, x, lambda f: f.sum(1)), 1e-12)


def test_a_failure_that_the_model_catches_does_not_shift_the_names() -> None:
    def attempt(net: Net, x: Tensor) -> Tensor:
        try:
            net.wrong(x)
        except RuntimeError:
            x = net.conv(x)
        return net.head(x.relu().flatten(1))

    model, x = net(attempt, wrong=conv3(5, 3))
    assert labels(record(model, x)) == ["conv", "relu", "flatten", "head"]


def test_another_thread_in_the_middle_of_the_model_does_not_shift_the_names() -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait(_: Net, x: Tensor) -> Tensor:
        entered.set()
        leave.wait(10)
        return x

    def forward(net: Net, x: Tensor) -> Tensor:
        other = threading.Thread(target=net.waiting, args=(x.detach(),))
        other.start()
        entered.wait(10)
        x = net.conv(x).relu()
        leave.set()
        other.join()
        return net.head(x.flatten(1))

    model, x = net(forward, waiting=Net(wait))
    assert labels(record(model, x)) == ["conv", "relu", "flatten", "head"]


def test_constants_made_from_the_input_stop_there() -> None:
    model, x = net(lambda net, x: net.head((net.conv(x) + torch.zeros_like(x[:, :1])).flatten(1)))
    assert labels(record(model, x)) == ["conv", "add", "flatten", "head"]


def test_batch_norm_is_merged_only_where_it_alone_reads_the_layer() -> None:
    merged = canonical(record(*build(NETS["bottleneck"])))
    assert "batch_norm" not in {op.kind for op in merged.ops}
    kept = canonical(record(*build(NETS["norm_on_a_conv_used_twice"])))
    assert "batch_norm" in {op.kind for op in kept.ops}


def test_batch_norm_behind_dropout_is_merged() -> None:
    model, x = net(
        lambda net, x: net.head(net.norm(net.drop(net.conv(x))).relu().flatten(1)),
        drop=nn.Dropout2d(), norm=nn.BatchNorm2d(3),
    )  # fmt: skip
    assert labels(canonical(record(model, x))) == ["conv", "relu", "flatten", "head"]


def test_a_bias_added_by_hand_is_the_layers_bias() -> None:
    model, x = net(lambda net, x: F.linear(net.conv(x).flatten(1), net.head.weight) + net.head.bias)
    usual, _ = net(lambda net, x: net.head(net.conv(x).flatten(1)))
    usual.load_state_dict(model.state_dict())
    assert [op.kind for op in canonical(record(model, x)).ops] == ["conv2d", "flatten", "linear"]
    assert_near(LRP()(model, x), LRP()(usual, x), 1e-12)


@pytest.mark.parametrize("write", ["x @ w.t()", "matmul", "mm", "addmm", "linear"])
def test_every_way_to_write_a_dense_layer_is_one(write: str) -> None:
    ways: dict[str, Callable[..., Tensor]] = {
        "x @ w.t()": lambda x, w, b: x @ w.t() + b,
        "matmul": lambda x, w, b: torch.matmul(x, w.t()) + b,
        "mm": lambda x, w, b: x.mm(w.t()) + b,
        "addmm": lambda x, w, b: torch.addmm(b, x, w.t()),
        "linear": F.linear,
    }
    way = ways[write]
    model, x = net(
        lambda net, x: way(net.conv(x).relu().flatten(1), net.head.weight, net.head.bias)
    )
    usual, _ = net(lambda net, x: net.head(net.conv(x).relu().flatten(1)))
    usual.load_state_dict(model.state_dict())
    assert [family(op) for op in canonical(record(model, x)).ops].count("affine") == 2
    assert_near(LRP()(model, x), LRP()(usual, x), 1e-12)


def test_a_value_of_which_only_the_dtype_is_read_gets_no_signal() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return (x * torch.ones(1, 3).to(x)).sum(1, keepdim=True)

    model = type("Reads", (nn.Module,), {"forward": forward})().eval()
    x = torch.rand(2, 3, dtype=torch.float64)
    tape = record(model, x)
    (cast,) = [op for op in tape.ops if op.kind == "to"]
    (signal,) = cast.vjp(torch.ones(1, 3, dtype=torch.float64))
    assert not signal.any()


def test_a_model_that_writes_to_its_input_without_a_graph_does_not_write_to_the_users() -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            x.mul_(2)
        return self.fc(x.flatten(1))  # type: ignore[operator,no-any-return]

    model = type("Writes", (nn.Module,), {"forward": forward})()
    model.fc = nn.Linear(4, 2)
    x = torch.ones(1, 1, 2, 2)
    GuidedBackprop()(model.eval(), x)
    LRP(rules=Zero())(model, x)
    assert bool((x == 1).all())


def test_a_threshold_is_an_activation() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Threshold(0.1, 0.0), nn.Linear(4, 2)).eval()
    assert LRP(rules=Zero())(model, torch.rand(1, 3)).isfinite().all()


def test_logits_stay_when_the_model_writes_to_its_last_output():
    kept = []

    def forward(m, x):
        kept.append(m.head(m.conv(x).flatten(1)))
        return kept[-1]

    model, x = net(forward)
    tape = record(model, x)
    before = tape.logits.clone()
    with torch.no_grad():
        kept[-1].zero_()
    torch.testing.assert_close(tape.logits, before)
