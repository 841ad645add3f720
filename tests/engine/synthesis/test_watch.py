"""What is watched with autograd on is what the tape recorded, on every awkward network."""

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.synthesis.watch import watch
from nni_widgets.engine.tape import record
from tests.engine.common import assert_near, build
from tests.engine.test_common import SOUND, nothing_changes
from tests.oracle.nets import NETS, Net, conv3

nets = pytest.mark.parametrize("name", SOUND)


def labels(model: nn.Module, x: Tensor) -> list[str]:
    tape = record(model, x)
    return list(dict.fromkeys(op.label for op in (*tape.ops, *canonical(tape).ops)))


@nets
def test_every_layer_is_seen_as_on_the_tape(name: str) -> None:
    model, x = build(SOUND[name])
    tape = record(model, x)
    expected = {op.label: op.results[0] for t in (tape, canonical(tape)) for op in t.ops}
    with nothing_changes(model, x):
        found = watch("test", model, x, list(expected))
        logits, seen = found.see(model, x)
    assert_near(logits, tape.logits, 1e-12)
    assert list(seen) == list(expected)
    for label, activation in seen.items():
        assert_near(activation, expected[label], 1e-12, label)


@nets
def test_the_graph_leads_from_every_layer_to_the_image(name: str) -> None:
    """The derivative of a random sum over all layers, along a random direction, by differences."""
    model, x = build(SOUND[name])
    found = watch("test", model, x, labels(model, x))
    generator = torch.Generator().manual_seed(1)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    weights = {label: draw(made) for label, made in found.see(model, x)[1].items()}

    def value(images: Tensor) -> Tensor:
        made = found.see(model, images)[1]
        return sum((made[label] * weights[label]).sum() for label in weights)  # type: ignore[return-value]

    leaf, direction = x.clone().requires_grad_(), draw(x)
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    step = 1e-6 * direction
    difference = (value(x + step) - value(x - step)) / 2e-6
    assert_near((gradient * direction).sum(), difference.detach(), 1e-6)


@nets
def test_one_layer_alone_is_the_same(name: str) -> None:
    model, x = build(SOUND[name])
    _, whole = watch("test", model, x, labels(model, x)).see(model, x)
    for label, expected in whole.items():
        logits, seen = watch("test", model, x, [label]).see(model, x, logits=False)
        assert logits is None
        assert torch.equal(seen[label], expected)


def test_the_pass_ends_where_all_is_seen() -> None:
    ran = []

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv1(x).relu()
        ran.append("below")
        x = net.conv2(x)
        ran.append("above")
        return net.head(x.flatten(1))

    model = Net(forward, conv1=conv3(2, 3), conv2=conv3(3, 3), head=nn.Linear(108, 3)).eval()
    x = torch.rand(1, 2, 6, 6)
    found = watch("test", model, x, ["conv1"])
    ran.clear()
    with nothing_changes(model, x):
        found.see(model, x, logits=False)
    assert ran == []
    found.see(model, x)
    assert ran == ["below", "above"]


def test_a_later_write_in_place_does_not_reach_what_was_seen() -> None:
    model, x = build(NETS["inplace_relu"])
    _, seen = watch("test", model, x, ["0"]).see(model, x)
    assert torch.equal(seen["0"], model[0](x))  # type: ignore[index]
    assert bool((seen["0"] < 0).any())


def test_the_name_of_a_convolution_means_it_with_its_batch_norm() -> None:
    """As everywhere else in the package: nni.layers joins the two, the norm's own name stays."""
    model, x = build(NETS["conv_norm_relu"])
    tape = record(model, x)
    norm = next(op for op in tape.ops if op.kind == "batch_norm")
    conv = next(op for op in canonical(tape).ops if op.outputs == norm.outputs)
    _, seen = watch("test", model, x, [conv.label, norm.label]).see(model, x)
    assert torch.equal(seen[conv.label], seen[norm.label])


def test_without_a_name_it_is_the_last_layer_with_places() -> None:
    model, x = build(NETS["plain"])
    _, seen = watch("test", model, x, [""]).see(model, x)
    assert seen[""].ndim == 4
    assert seen[""][0, 0].numel() > 1


def test_refusals() -> None:
    model, x = build(NETS["plain"])
    with pytest.raises(ValueError, match=r"^Who: layer must be one of .*; got 'nose'\. See nni"):
        watch("Who", model, x, ["nose"])
    dense, flat = build(NETS["mlp"])
    with pytest.raises(ValueError, match="Who: layer must be named where the model has no maps"):
        watch("Who", dense, flat, [""])


def test_a_layer_that_does_not_always_run_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        if bool(x.detach().sum() > 0):
            x = net.more(x)
        return net.head(x.flatten(1))

    model = Net(forward, conv=conv3(1, 1), more=conv3(1, 1), head=nn.Linear(16, 2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)
    x = torch.rand(1, 1, 4, 4)
    for label in ("more", "head"):
        found = watch("Who", model, x, [label])
        with pytest.raises(ValueError, match=f"Who: layer '{label}' must be run in every pass"):
            found.see(model, -10 * x)


def test_a_layer_is_not_taken_for_another_where_passes_of_a_batch_are_longer() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = torch.stack(x.unbind())
        return net.head(net.second(net.first(x)).flatten(1))

    model = Net(forward, first=conv3(1, 1), second=conv3(1, 1), head=nn.Linear(16, 2)).eval()
    x = torch.rand(2, 1, 4, 4)
    found = watch("Who", model, x[:1], ["second"])
    _, seen = found.see(model, x[:1])
    assert torch.equal(seen["second"], model.second(model.first(x[:1])))
    with pytest.raises(ValueError, match="Who: layer 'second' must be run in every pass"):
        found.see(model, x)
