"""A graph that begins at a layer: equal to the tape wherever it is used, and used nearly always."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.above import Above, above
from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.methods import GradCAM
from nni_widgets.engine.methods.maps import head_gradient, layers_with_maps
from nni_widgets.engine.tape import Op, Tape, record
from tests.oracle.nets import NETS, TROUBLE, Net, build_seeded, conv3

from .common import NO_MAPS, assert_near, build
from .test_common import nothing_changes

SOUND = {
    name: case
    for name, case in NETS.items()
    if not case.tags & (TROUBLE | {"stochastic"}) and name not in NO_MAPS
}


def on_tape(model: nn.Module, x: Tensor, layer: str) -> tuple[Tape, Op]:
    tape = canonical(record(model, x))
    return tape, next(op for op in tape.ops if op.label == layer)


def begun_at(model: nn.Module, x: Tensor, layer: str) -> Above | None:
    return above("test", model, x, layer, lambda: on_tape(model, x, layer), start_at)


def start_at(logits: Tensor) -> Tensor:
    return torch.linspace(-1, 1, logits.numel()).view_as(logits).to(logits)


@pytest.mark.parametrize("name", SOUND)
def test_every_layer_of_every_network(name: str) -> None:
    model, x = build(SOUND[name])
    layers = layers_with_maps(model, x)
    found = {layer: [begun_at(model, x, layer) for _ in range(2)] for layer in layers}
    for layer, twice in found.items():
        tape, op = on_tape(model, x, layer)
        expected = head_gradient(tape, op, start_at(tape.logits))
        for part in filter(None, twice):
            assert part.label == layer
            assert torch.equal(part.output, op.results[0])
            assert_near(part.logits, tape.logits, 1e-12)
            assert_near(part.gradient, expected, 1e-10, layer)


def test_it_is_used_nearly_everywhere() -> None:
    used = {}
    for name in sorted(SOUND)[::3]:
        model, x = build(SOUND[name])
        for layer in layers_with_maps(model, x):
            used[name, layer] = begun_at(model, x, layer) is not None
    left = [place for place, is_used in used.items() if not is_used]
    assert len(used) > 80
    assert len(left) < 0.1 * len(used), left


@pytest.mark.parametrize("name", ["plain", "residual_inplace", "functional_relu", "conv_norm_relu"])
def test_nothing_changes(name: str) -> None:
    model, x = build(NETS[name])
    for layer in layers_with_maps(model, x):
        for _ in range(2):
            with nothing_changes(model, x):
                begun_at(model, x, layer)


def two_ways(first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> nn.Module:
    """A net whose way from its first to its second convolution depends on the picture."""

    def forward(net: Net, x: Tensor) -> Tensor:
        a = net.conv1(x)
        a = first(a) if bool(x.mean() > 0.5) else second(a)
        return net.head(net.conv2(a).relu().flatten(1))

    def make() -> nn.Module:
        return Net(forward, conv1=conv3(2, 4), conv2=conv3(4, 4), head=nn.Linear(144, 3))

    return build_seeded(make, 0).double()


@pytest.mark.parametrize(
    "other", [torch.tanh, lambda a: a.relu() * 2, lambda a: a], ids=["kind", "more", "fewer"]
)
def test_a_model_that_runs_otherwise_is_looked_at_again(other: Callable[[Tensor], Tensor]) -> None:
    model, x = two_ways(torch.relu, other), NETS["plain"].input(2, dtype=torch.float64)
    for picture in (0.5 + x / 2, x / 2, 0.5 + x / 3, x / 3):
        part = begun_at(model, picture, "conv2")
        tape, op = on_tape(model, picture, "conv2")
        assert part is not None
        assert torch.equal(part.output, op.results[0])
        assert_near(part.gradient, head_gradient(tape, op, start_at(tape.logits)), 1e-12)


def test_changed_weights_are_seen() -> None:
    model, x = build(NETS["plain"])
    begun_at(model, x, "1")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    part, (tape, op) = begun_at(model, x, "1"), on_tape(model, x, "1")
    assert part is not None
    assert_near(part.gradient, head_gradient(tape, op, start_at(tape.logits)), 1e-12)


def in_a_block(
    forward: Callable[[Net, Tensor], Tensor], *before_the_end: nn.Module
) -> tuple[nn.Module, Tensor]:
    """A Sequential that begins with a block and is known but for it."""

    def make() -> nn.Module:
        block = Net(forward, conv=conv3(2, 2), relu=nn.ReLU(), bounded=nn.Hardtanh(-9, 9))
        end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)
        return nn.Sequential(block, *before_the_end, *end)

    return build_seeded(make, 0).double(), NETS["plain"].input(2, dtype=torch.float64)


def residual(block: Net, x: Tensor) -> Tensor:
    return block.relu(block.conv(block.relu(x)) + x)


def in_place(block: Net, x: Tensor) -> Tensor:
    return block.relu(block.conv(x.mul_(2)))


def functional(block: Net, x: Tensor) -> Tensor:
    return block.conv(x).relu()


@pytest.mark.parametrize(
    ("forward", "layer", "behind"),
    [
        (residual, "0.relu#2", ()),
        (residual, "0.conv", ()),
        (in_place, "0.relu", ()),
        (functional, "0.relu", ()),
        (in_place, "1", (nn.ReLU(inplace=True),)),
        (residual, "0.relu#2", (conv3(2, 2), nn.BatchNorm2d(2))),
        (residual, "0.relu#2", (nn.BatchNorm2d(2), nn.ReLU())),
        (residual, "0.relu#2", (nn.ReLU(), nn.Dropout())),
        (residual, "0.relu#2", (nn.Dropout(), nn.ReLU())),
        (residual, "1", (conv3(2, 2), nn.BatchNorm2d(2))),
        (residual, "0.relu#2", (nn.SiLU(),)),
    ],
)
def test_a_layer_inside_a_block_of_a_sequential(
    forward: Callable[[Net, Tensor], Tensor], layer: str, behind: tuple[nn.Module, ...]
) -> None:
    model, x = in_a_block(forward, *behind)
    for _ in range(2):
        with nothing_changes(model, x):
            part = begun_at(model, x, layer)
        tape, op = on_tape(model, x, layer)
        assert part is not None
        assert torch.equal(part.output, op.results[0])
        assert_near(part.gradient, head_gradient(tape, op, start_at(tape.logits)), 1e-12)


def test_a_block_whose_end_is_known_is_not_watched() -> None:
    """To watch the torch calls costs half as much again."""
    watched: list[int] = []

    def forward(block: Net, x: Tensor) -> Tensor:
        watched.append(torch._C._len_torch_function_stack())
        return residual(block, x)

    model, x = in_a_block(forward)
    GradCAM()(model, x)
    watched.clear()
    GradCAM()(model, x)
    assert watched == [0]


@pytest.mark.parametrize(
    ("ends", "names"),
    [
        ((lambda b, a: b.relu(a), lambda b, a: b.bounded(b.relu(a))), ("relu", "bounded")),
        ((lambda b, a: b.relu(a), lambda b, a: b.relu(b.relu(a) - 1)), ("relu", "relu#2")),
        ((lambda b, a: b.relu(a), lambda b, a: b.relu(a) * 2), ("relu", "mul")),
    ],
)
def test_a_block_that_ends_otherwise_is_looked_at_again(
    ends: tuple[Callable[[Net, Tensor], Tensor], ...], names: tuple[str, str]
) -> None:
    def forward(block: Net, x: Tensor) -> Tensor:
        return ends[int(x.mean() < 0)](block, block.conv(x))

    model, x = in_a_block(forward)
    x = x - x.mean() + 0.1
    found = [last.layer for y in (x, -x, x) for *_, last in [GradCAM().steps(model, y)]]
    assert found == [f"0.{name}" for name in (*names, names[0])]


def grows(sequential: bool) -> tuple[nn.Module, nn.Sequential]:
    """A net that ends in a global average, and the part that more layers are put into."""
    layers = nn.Sequential(conv3(2, 4), nn.ReLU())
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    if sequential:
        return layers.extend(end).double().eval(), layers
    net = Net(lambda net, x: net.end(net.layers(x)), layers=layers, end=nn.Sequential(*end))
    return net.double().eval(), layers


@pytest.mark.parametrize("sequential", [True, False])
def test_the_inferred_layer_follows_a_model_that_grew(sequential: bool) -> None:
    (model, layers), x = grows(sequential), NETS["plain"].input(2, dtype=torch.float64)
    *_, before = GradCAM().steps(model, x)
    layers.insert(2, conv3(4, 4).double())
    layers.insert(3, nn.Sigmoid())
    *_, after = GradCAM().steps(model.eval(), x)
    prefix = "" if sequential else "layers."
    assert (before.layer, after.layer) == (f"{prefix}1", f"{prefix}3")


def test_a_part_that_is_not_differentiated_is_left_to_the_tape() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.no_grad():
            a = net.conv(x).relu()
        return net.head(a.flatten(1))

    model = Net(forward, conv=conv3(2, 4), head=nn.Linear(144, 3)).eval()
    x = NETS["plain"].input()
    op = Op("relu", "", (), (), (), (model.conv(x).relu().detach(),), torch.relu, (), {}, call=2)
    assert above("test", model, x, "relu", lambda: (Tape(x, [op]), op), start_at) is None


@pytest.fixture
def hook_on_all_modules() -> Iterator[None]:
    def doubled(module: nn.Module, given: object, made: Tensor) -> Tensor | None:
        return made * 2 if type(module) is nn.Sequential else None

    hook = nn.modules.module.register_module_forward_hook(doubled)
    yield
    hook.remove()


@pytest.mark.usefixtures("hook_on_all_modules")
def test_a_hook_on_all_modules_is_part_of_the_model() -> None:
    model, x = build(NETS["plain"])
    assert type(model) is nn.Sequential
    part = begun_at(model, x, "1")
    assert part is not None
    assert_near(part.logits, model(x).detach(), 1e-12)


@pytest.mark.parametrize("how", ["hook", "forward"])
def test_a_sequential_that_does_more_than_its_children_is_not_taken_for_one(how: str) -> None:
    model, x = build(NETS["plain"])
    assert type(model) is nn.Sequential
    begun_at(model, x, "1")
    if how == "hook":
        model.register_forward_hook(lambda _, __, made: made * 2)
    else:
        model.forward = lambda x: nn.Sequential.forward(model, x) * 2
    for _ in range(2):
        part, (tape, op) = begun_at(model, x, "1"), on_tape(model, x, "1")
        assert part is not None
        assert_near(part.logits, tape.logits, 1e-12)
        assert_near(part.gradient, head_gradient(tape, op, start_at(tape.logits)), 1e-12)
