"""Class activation maps: against Captum, hooks and slow loops, and what broke the ancestors."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest
import torch
from captum.attr import GuidedGradCam as CaptumGuidedGradCam
from captum.attr import LayerGradCam as CaptumGradCam
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from nni_widgets.engine.anatomy import anatomy
from nni_widgets.engine.composites import layers
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import GuidedBackprop
from nni_widgets.engine.methods.activation_map import ActivationMap, LayerMap, MapResult
from nni_widgets.engine.methods.cam import (
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    GuidedGradCAM,
    LayerCAM,
)
from nni_widgets.engine.methods.maps import layers_with_maps, upsample
from nni_widgets.engine.methods.score_cam import ScoreCAM, _unit
from nni_widgets.engine.targets import Difference, Target
from nni_widgets.errors import UnsupportedOperation
from tests.oracle.nets import NETS, TROUBLE, Net, build_seeded, conv3

from .common import DTYPES, NO_MAPS, assert_near, build
from .test_common import nothing_changes

SOUND = {name: case for name, case in NETS.items() if not case.tags & (TROUBLE | {"stochastic"})}
LAYERED: tuple[type[LayerMap], ...] = (GradCAM, GradCAMPlusPlus, LayerCAM, GuidedGradCAM, ScoreCAM)
PLAIN_MAPS = (GradCAM, GradCAMPlusPlus, LayerCAM)
each_method = pytest.mark.parametrize("method", LAYERED)


# --- References: autograd through a hook, one sample and one map at a time ------------------------


def at_module(
    model: nn.Module, layer: str, x: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations of a module, the score's gradient there, and the score."""
    leaves: list[Tensor] = []

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1] * 1

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        scores = score(model(x.clone()))
    finally:
        handle.remove()
    (leaf,) = leaves
    return leaf.detach(), torch.autograd.grad(scores.sum(), leaf)[0], scores.detach()


def grad_cam(a: Tensor, g: Tensor, score: Tensor) -> Tensor:
    return torch.stack(
        [
            sum((g[n, k].mean() * a[n, k] for k in range(a.shape[1])), torch.zeros(())).relu()
            for n in range(len(a))
        ]
    )


def grad_cam_plus_plus(a: Tensor, g: Tensor, score: Tensor) -> Tensor:
    """With Y = exp(score), as printed, divided by Y at the end."""
    made = []
    for n in range(len(a)):
        y = math.exp(score[n])
        total = torch.zeros_like(a[n, 0])
        for k in range(a.shape[1]):
            first, second, third = (y * g[n, k] ** power for power in (1, 2, 3))
            alpha = second / (2 * second + a[n, k].sum() * third)
            alpha[g[n, k] == 0] = 0
            total += (alpha * first.relu()).sum() * a[n, k]
        made.append(total.relu() / y)
    return torch.stack(made)


def layer_cam(a: Tensor, g: Tensor, score: Tensor) -> Tensor:
    return torch.stack(
        [
            sum((g[n, k].relu() * a[n, k] for k in range(a.shape[1])), torch.zeros(())).relu()
            for n in range(len(a))
        ]
    )


def score_cam(model: nn.Module, a: Tensor, x: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    how = {1: "linear", 2: "bilinear", 3: "trilinear"}[x.ndim - 2]
    made = []
    for n in range(len(x)):
        used, scores = [], []
        for k in range(a.shape[1]):
            if a[n, k].max() == a[n, k].min():
                continue
            mask = functional.interpolate(a[n, k][None, None], size=x.shape[2:], mode=how)[0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            with torch.no_grad():
                scores.append(float(score(model((x[n] * mask)[None]))))
            used.append(a[n, k])
        top = max(scores, default=0.0)
        weights = [math.exp(one - top) for one in scores]
        total = sum((w * m for w, m in zip(weights, used, strict=True)), torch.zeros_like(a[n, 0]))
        made.append((total / max(sum(weights), 1.0)).relu())
    return torch.stack(made)


REFERENCES = {GradCAM: grad_cam, GradCAMPlusPlus: grad_cam_plus_plus, LayerCAM: layer_cam}


def class_1(logits: Tensor) -> Tensor:
    return logits[:, 1]


def hooked_layers() -> list[tuple[str, str]]:
    """Convolutions and ReLUs called once and not merged with what follows, in every network."""
    found = []
    for name, case in SOUND.items():
        if name in NO_MAPS or case.tags & {"arithmetic", "shared", "reuse"}:
            continue
        model, x = build(case)
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
            continue
        parts = anatomy(model, x)
        labels = {part.label for part in parts}
        found += [
            (name, part.label)
            for part in parts
            if part.kind.startswith(("conv", "relu"))
            and part.label in dict(model.named_modules())
            and f"{part.label}#2" not in labels
            and len(part.shape) == x.ndim - 1
        ]
    return found


HOOKED = hooked_layers()


def test_enough_layers_are_hooked() -> None:
    assert len(HOOKED) > 40
    assert len({name for name, _ in HOOKED}) > 30


def ordinary(model: nn.Module) -> nn.Module:
    """The model with activations that do not write into what the hook has."""
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


@pytest.mark.parametrize(("name", "layer"), HOOKED, ids=lambda part: part)
def test_gradient_maps_at_every_layer(name: str, layer: str) -> None:
    model, x = build(SOUND[name])
    seen = at_module(ordinary(model), layer, x, class_1)
    for method in PLAIN_MAPS:
        if method is GradCAMPlusPlus and bool((seen[0] < 0).any()):
            continue
        ours = method(layer=layer).raw(model, x, 1)
        assert_near(ours, REFERENCES[method](*seen).double(), 1e-9, method)


@pytest.mark.parametrize(("name", "layer"), HOOKED[::3], ids=lambda part: part)
def test_score_cam_at_many_layers(name: str, layer: str) -> None:
    model, x = build(SOUND[name])
    a, _, _ = at_module(ordinary(model), layer, x, class_1)
    ours = ScoreCAM(layer=layer).raw(model, x, 1)
    assert_near(ours, score_cam(model, a, x, class_1).double(), 1e-9)


def test_alpha_is_made_of_the_derivatives_of_exp_of_the_score() -> None:
    """Not by the short cut g², g³: the second and third derivative at one place, by autograd."""
    model, x = build(NETS["global_mean"])
    x = x[:1]
    network = cast(Net, model)
    a = network.get_submodule("conv")(x).relu().detach()
    head = network.get_submodule("head")
    total, y = torch.zeros_like(a[0, 0]), float(head(a.mean((2, 3)))[0, 1].detach().exp())
    for k in range(a.shape[1]):
        weight = 0.0
        for place in range(a[0, k].numel()):
            t = torch.zeros((), dtype=a.dtype, requires_grad=True)
            unit = torch.zeros_like(a).view(-1)
            unit[k * a[0, k].numel() + place] = 1
            of_t = head((a + t * unit.view_as(a)).mean((2, 3)))[0, 1].exp()
            (first,) = torch.autograd.grad(of_t, t, create_graph=True)
            (second,) = torch.autograd.grad(first, t, create_graph=True)
            (third,) = torch.autograd.grad(second, t)
            alpha = second / (2 * second + a[0, k].sum() * third)
            weight += float((alpha * first.relu()).detach())
        total += weight * a[0, k]
    assert_near(GradCAMPlusPlus().raw(model, x, 1)[0], total.relu() / y, 1e-10)


# --- Captum ---------------------------------------------------------------------------------------

MODULES = [("plain", "1"), ("plain", "0"), ("average_pool", "3"), ("conv1d", "1"), ("conv3d", "2")]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "layer"), MODULES, ids=str)
def test_captums_grad_cam(name: str, layer: str, dtype: torch.dtype) -> None:
    model, x = build(NETS[name], dtype)
    theirs = CaptumGradCam(model, model.get_submodule(layer))
    expected = theirs.attribute(x.clone(), target=[1, 0], relu_attributions=True)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert expected.abs().sum() > 0
    assert_near(GradCAM(layer).raw(model, x, [1, 0]), expected[:, 0], tolerance)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize(("name", "layer"), [("plain", "1"), ("average_pool", "4")], ids=str)
def test_captums_guided_grad_cam(name: str, layer: str) -> None:
    model, x = build(NETS[name])
    theirs = CaptumGuidedGradCam(model, model.get_submodule(layer))
    leaf = x.clone().requires_grad_()
    expected = theirs.attribute(leaf, target=[1, 0], interpolate_mode="bilinear")
    assert expected.abs().sum() > 0
    assert_near(GuidedGradCAM(layer)(model, x, [1, 0]), expected.detach(), 1e-12)


@pytest.mark.parametrize("name", ["residual", "functional_relu", "branches", "relu6_saturated"])
def test_guided_grad_cam_is_a_product(name: str) -> None:
    model, x = build(NETS[name])
    product = GuidedBackprop()(model, x, 1) * GradCAM()(model, x, 1)
    assert_near(GuidedGradCAM()(model, x, 1), product, 1e-12)


# --- CAM: found by what happens, not by position --------------------------------------------------

ENDS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "mean": lambda net, a: net.head(a.mean((2, 3))),
    "two means": lambda net, a: net.head(a.mean(3).mean(2)),
    "flat mean": lambda net, a: net.head(a.flatten(2).mean(-1)),
    "adaptive": lambda net, a: net.head(functional.adaptive_avg_pool2d(a, 1).flatten(1)),
    "whole window": lambda net, a: net.head(functional.avg_pool2d(a, 6)[:, :, 0, 0]),
    "sum over area": lambda net, a: net.head(a.sum((2, 3)) / 36),
    "dropout": lambda net, a: net.head(functional.dropout(a.mean((2, 3)), training=False)),
    "functional": lambda net, a: a.mean((2, 3)) @ net.head.weight.T + net.head.bias,
}
OTHER_ENDS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "maximum": lambda net, a: net.head(a.amax((2, 3))),
    "sum": lambda net, a: net.head(a.sum((2, 3))),
    "half of it": lambda net, a: net.head(a.flatten(2)[..., :18].mean(2)),
    "activation between": lambda net, a: net.head(a.mean((2, 3)).tanh()),
    "ReLU between": lambda net, a: net.head(a.mean((2, 3)).relu()),
    "activation after": lambda net, a: net.head(a.mean((2, 3))).relu(),
    "two branches": lambda net, a: net.head(a.mean((2, 3)) + a.amax((2, 3))),
    "over channels": lambda net, a: net.wide(a.mean(1).flatten(1)),
    "flattened": lambda net, a: net.long(a.flatten(1)),
    "convolution": lambda net, a: net.one(a).mean((2, 3)),
}


def ending(end: Callable[[Net, Tensor], Tensor]) -> tuple[nn.Module, Tensor]:
    """A net whose last dense layer is neither the first nor the last in the list of parameters."""

    def make() -> nn.Module:
        return Net(
            lambda net, x: end(net, net.conv(x).relu()),
            unused=nn.Linear(5, 3), head=nn.Linear(5, 3), wide=nn.Linear(36, 3),
            long=nn.Linear(180, 3), conv=conv3(2, 5), one=nn.Conv2d(5, 3, 1),
        )  # fmt: skip

    return build_seeded(make, 3).double(), NETS["plain"].input(2, dtype=torch.float64)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_cam(end: Callable[[Net, Tensor], Tensor]) -> None:
    model, x = ending(end)
    net = cast(Net, model)
    a = net.get_submodule("conv")(x).relu().detach()
    head = cast(nn.Linear, net.get_submodule("head"))
    targets = [2, 0]
    expected = torch.stack(
        [
            sum((head.weight[c, k] * a[n, k] for k in range(5)), torch.zeros(()))
            for n, c in enumerate(targets)
        ]
    ).detach()
    with nothing_changes(model, x):
        raw = CAM().raw(model, x, targets)
    assert not raw.requires_grad
    assert_near(raw, expected, 1e-12)
    assert bool((raw < 0).any())
    logits = model(x)[[0, 1], targets].detach()
    assert_near(raw.mean((1, 2)) + head.bias[targets].detach(), logits, 1e-10)
    assert_near(GradCAM().raw(model, x, targets) * 36, raw.relu(), 1e-10)


@pytest.mark.parametrize("end", OTHER_ENDS.values(), ids=OTHER_ENDS)
def test_cam_refuses_other_ends(end: Callable[[Net, Tensor], Tensor]) -> None:
    model, x = ending(end)
    with pytest.raises(UnsupportedOperation, match=r"CAM: the end of the model must be one dense"):
        CAM()(model, x)
    assert not diagnose(model, x, CAM()).healthy


def test_cam_of_a_difference_and_of_a_function() -> None:
    model, x = ending(ENDS["mean"])
    maps_of = [CAM().raw(model, x, c) for c in range(3)]
    assert_near(CAM().raw(model, x, Difference(2, 1)), maps_of[2] - maps_of[1], 1e-12)
    p = model(x).softmax(1).detach()[:, :, None, None]
    gradient = p[:, 1] * (maps_of[1] - sum(p[:, c] * maps_of[c] for c in range(3)))
    assert_near(CAM().raw(model, x, lambda f: f.softmax(1)[:, 1]), gradient, 1e-10)


@pytest.mark.parametrize(("axes", "kind"), [((2,), nn.Conv1d), ((2, 3, 4), nn.Conv3d)])
def test_cam_in_one_and_three_dimensions(axes: tuple[int, ...], kind: type[nn.Module]) -> None:
    conv = kind(2, 4, 3)

    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.conv(x).relu().mean(axes))

    model = build_seeded(lambda: Net(forward, conv=conv, head=nn.Linear(4, 3)), 1).double()
    x = torch.rand(2, 2, *[5 + len(axes)] * len(axes), dtype=torch.float64)
    raw = CAM().raw(model, x)
    assert raw.shape[1:] == tuple([3 + len(axes)] * len(axes))
    assert CAM()(model, x).shape == x.shape
    assert_near(GradCAM().raw(model, x) * raw[0].numel(), raw.relu(), 1e-10)


# --- Every method on every network ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SOUND.keys() - NO_MAPS))
@each_method
def test_every_network(method: type[LayerMap], name: str) -> None:
    """Also for a class that was not predicted; the same number in all channels, none below 0."""
    model, x = build(SOUND[name])
    values = method()(model, x, 1)
    assert bool(values.isfinite().all())
    if not method.signed:
        assert bool((values >= 0).all())
        assert torch.equal(values, values[:, :1].expand_as(values))


@pytest.mark.parametrize("method", [*LAYERED, CAM])
def test_the_raw_map_and_its_upsampling(method: type[ActivationMap]) -> None:
    model, x = build(NETS["global_mean"])
    x = functional.interpolate(x, scale_factor=2.0)
    pooled = Net(
        lambda net, x: net.body(functional.avg_pool2d(x, 4)), body=model
    ).eval()  # maps of 3 × 3
    for mode in ("bilinear", "nearest"):
        (*_, last) = method(upsampling=mode).steps(pooled, x, 1)  # type: ignore[call-arg]
        result = cast(MapResult, last)
        spread = upsample(result.raw, x, mode)
        assert result.raw.shape == (2, 3, 3)
        assert result.layer == "body.relu"
        assert torch.equal(result.raw, method(upsampling=mode).raw(pooled, x, 1))  # type: ignore[call-arg]
        if mode == "nearest":
            assert torch.equal(spread, result.raw.repeat_interleave(4, 1).repeat_interleave(4, 2))
        if method is not GuidedGradCAM:
            assert torch.equal(result.values, spread[:, None].expand_as(x))


def test_nearest_is_symmetric() -> None:
    rows = torch.arange(3.0).expand(1, 1, 3)[0]
    wide = upsample(rows[None].expand(1, 3, 3), torch.zeros(1, 1, 40, 40), "nearest")[0]
    assert torch.equal(wide, 2 - wide.flip(1))


@each_method
def test_targets(method: type[LayerMap]) -> None:
    model, x = build(NETS["plain"])
    pairs: list[tuple[Target, Target]] = [
        ([2, 0], torch.tensor([2, 0])),
        (None, model(x).argmax(1)),
        (1, class_1),
        (Difference(0, 2), lambda f: f[:, 0] - f[:, 2]),
    ]
    for first, second in pairs:
        assert_near(method()(model, x, first), method()(model, x, second), 1e-12)
    assert not torch.allclose(method()(model, x, 0), method()(model, x, 1))


@each_method
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_in_any_grad_mode(method: type[LayerMap], around: Callable[[], torch.no_grad]) -> None:
    model, x = build(NETS["residual_inplace"])
    expected = method()(model, x)
    with around(), nothing_changes(model, x):
        assert torch.equal(method()(model, x), expected)
    frozen, leaf = build(NETS["residual_inplace"])[0].requires_grad_(False), x.requires_grad_()
    assert torch.equal(method()(frozen, leaf), expected)


# --- Which layer ----------------------------------------------------------------------------------


def layer_of(method: LayerMap, model: nn.Module, x: Tensor) -> str:
    (*_, last) = method.steps(model, x)
    return cast(MapResult, last).layer


INFERRED = {"plain": "4", "global_mean": "relu", "squeeze_excite": "mul", "residual": "relu#3"}


@pytest.mark.parametrize(("name", "layer"), INFERRED.items())
def test_the_inferred_layer(name: str, layer: str) -> None:
    model, x = build(NETS[name])
    for method in LAYERED:
        assert layer_of(method(), model, x) == layer


def test_batch_norm_belongs_to_its_convolution() -> None:
    model, x = build(NETS["conv_norm_relu"])
    kinds = layers(model, x)
    conv = next(label for label, kind in kinds.items() if kind.startswith("conv"))
    norm = next(n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d))
    seen = at_module(ordinary(model), norm, x, class_1)
    assert_near(GradCAM(conv).raw(model, x, 1), grad_cam(*seen), 1e-9)


def test_no_layer_is_inferred_where_the_axes_were_moved() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        last = net.conv(x).relu().permute(0, 2, 3, 1) * 2
        return net.head(last.flatten(1))

    model = Net(forward, conv=conv3(2, 5), head=nn.Linear(180, 3)).eval()
    assert layer_of(GradCAM(), model, torch.rand(1, 2, 6, 6)) == "relu"


class BackwardOps(TorchDispatchMode):
    """Counts what runs backward, whoever calls it; of a convolution only to its input."""

    NAMES: ClassVar[dict[str, str]] = {
        "convolution_backward": "conv2d",
        "threshold_backward": "relu",
        "max_pool2d_with_indices_backward": "max_pool2d",
    }

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.__name__.split(".")[0]
        if name in self.NAMES:
            self.kinds[self.NAMES[name]] += 1
        if name == "convolution_backward":
            assert args[-1] == [True, False, False], "to the weights too"
        return func(*args, **(kwargs or {}))


def written_again() -> tuple[nn.Module, Tensor]:
    """A net that writes into the output of its last ReLU: it has to be followed on the tape."""

    def forward(net: Net, x: Tensor) -> Tensor:
        a = net.conv2(net.conv1(x).relu()).relu_()
        a += 0.5
        return net.head(net.conv3(a).relu().flatten(1))

    def make() -> nn.Module:
        convs = {f"conv{n}": conv3(wide, 4) for n, wide in ((1, 2), (2, 4), (3, 4))}
        return Net(forward, **convs, head=nn.Linear(144, 3))

    return build_seeded(make, 0).double(), NETS["plain"].input(2, dtype=torch.float64)


@pytest.mark.parametrize("make", [lambda: build(NETS["plain"]), written_again])
@pytest.mark.parametrize("method", PLAIN_MAPS)
def test_nothing_below_the_layer_runs_backward(
    method: type[LayerMap], make: Callable[[], tuple[nn.Module, Tensor]]
) -> None:
    model, x = make()
    kinds = layers(model, x)
    known = BackwardOps.NAMES.values()
    for place, label in enumerate(layers_with_maps(model, x)):
        method(layer=label)(model, x)  # the first call also finds out how the layer is reached
        with BackwardOps() as seen:
            method(layer=label)(model, x)
        above = list(kinds.values())[place + 1 :]
        assert seen.kinds == Counter(kind for kind in above if kind in known)


def test_the_layer_that_is_written_to_in_place() -> None:
    """By finite differences of what lies above the layer."""
    model, x = written_again()
    net = cast(Net, model)
    a = net.get_submodule("conv2")(net.get_submodule("conv1")(x).relu()).relu().detach()

    def score(a: Tensor) -> Tensor:
        above = net.get_submodule("conv3")(a + 0.5).relu().flatten(1)
        return net.get_submodule("head")(above)[:, 1].detach()

    assert layer_of(GradCAM("relu#2"), model, x) == "relu#2"
    weights = torch.zeros(len(x), a.shape[1], dtype=a.dtype)
    for channel in range(a.shape[1]):
        step = torch.zeros_like(a)
        step[:, channel] = 1e-6
        weights[:, channel] = (score(a + step) - score(a - step)) / 2e-6 / a[0, 0].numel()
    expected = (weights[:, :, None, None] * a).sum(1).relu()
    assert bool((expected > 0).any())
    assert_near(GradCAM("relu#2").raw(model, x, 1), expected, 1e-6)


# --- 0/0, small and large numbers -----------------------------------------------------------------


def dead(places: int = 6) -> tuple[nn.Module, Tensor]:
    """A net whose last maps are zero."""
    model, _ = ending(ENDS["mean"])
    with torch.no_grad():
        cast(nn.Conv2d, model.get_submodule("conv")).bias.fill_(-1e3)  # type: ignore[union-attr]
    return model, torch.rand(2, 2, places, places, dtype=torch.float64)


@pytest.mark.parametrize("method", [*LAYERED, CAM])
def test_a_map_of_zeros_stays_zero(method: type[ActivationMap]) -> None:
    model, x = dead()
    assert torch.equal(method()(model, x), torch.zeros_like(x))
    if method is not CAM:
        report = str(diagnose(model, x, method()))
        assert "for sample 0, 1: nothing" in report


def test_grad_cam_of_what_speaks_against_is_zero() -> None:
    """The case in which a map divided by its maximum was NaN."""
    model, x = ending(ENDS["mean"])
    with torch.no_grad():
        cast(nn.Linear, model.get_submodule("head")).weight[1] = -1
    assert torch.equal(GradCAM()(model, x, 1), torch.zeros_like(x))
    assert bool((GradCAM()(model, x, lambda f: -f[:, 1]) > 0).any())


def test_grad_cam_plus_plus_with_small_and_large_scores() -> None:
    """exp(score) would overflow, the square of the gradient vanish."""
    model, x = ending(ENDS["mean"])
    model, x = model.float(), x.float()
    head = cast(nn.Linear, model.get_submodule("head"))
    usual = GradCAMPlusPlus().raw(model, x, 1)
    assert bool((usual > 0).any())
    with torch.no_grad():
        assert head.bias is not None
        head.bias += 1e4
    assert_near(GradCAMPlusPlus().raw(model, x, 1), usual, 1e-6)
    with torch.no_grad():
        head.weight *= 1e-25
    small = GradCAMPlusPlus().raw(model, x, 1)
    with torch.no_grad():
        head.weight *= 0.5
    smaller = GradCAMPlusPlus().raw(model, x, 1)
    assert bool((small > 0).any())
    assert_near(2e25 * smaller, 1e25 * small, 1e-5)


def test_grad_cam_plus_plus_at_a_pole_of_its_weights() -> None:
    a = torch.tensor([[[[-2.0, 0.0]], [[1.0, 1.0]]]])
    g = torch.tensor([[[[1.0, 0.0]], [[2.0, 0.0]]]])
    raw = GradCAMPlusPlus()._map(a, g)
    assert torch.allclose(raw, torch.tensor([[[2 / 6, 2 / 6]]]))


def test_score_cam_gives_constant_maps_no_weight() -> None:
    model, x = ending(ENDS["mean"])
    conv = cast(nn.Conv2d, model.get_submodule("conv"))
    with torch.no_grad():
        assert conv.bias is not None
        conv.weight[:4], conv.bias[:] = 0, torch.tensor([0.3, 7.0, 0.0, 1e-3, 1.0]).double()
    results = list(ScoreCAM().steps(model, x, 1))
    assert results[-1].of == 2
    a = conv(x).relu().detach()
    assert_near(cast(MapResult, results[-1]).raw, a[:, 4], 1e-12)


def test_a_mask_without_a_range_is_zero() -> None:
    masks = torch.stack([torch.full((2, 2), 3.0), torch.arange(4.0).view(2, 2)])
    assert torch.equal(_unit(masks), torch.stack([torch.zeros(2, 2), masks[1] / 3]))


def test_score_cam_comes_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build(NETS["plain"])
    monkeypatch.setattr("nni_widgets.engine.methods.score_cam.rows_without_graph", lambda *_: 3)
    results = list(ScoreCAM().steps(model, x, 1))
    done = [result.done for result in results]
    assert len(done) > 1
    assert done == sorted(set(done))
    assert done[-1] == results[-1].of
    assert all(bool(result.values.isfinite().all()) for result in results)
    assert results[-1].passes == 1 + done[-1] / 2
    monkeypatch.undo()
    assert_near(results[-1].values, ScoreCAM()(model, x, 1), 1e-12)


# --- Refusals and the doctor ----------------------------------------------------------------------


@each_method
def test_bad_layers(method: type[LayerMap]) -> None:
    model, x = build(NETS["plain"])
    last = list(layers(model, x))[-1]
    who = method.__name__
    with pytest.raises(
        ValueError, match=rf"{who}: layer must be a layer of maps.*one of 0, 1.*'no"
    ):
        method(layer="nowhere")(model, x)
    with pytest.raises(ValueError, match=rf"layer must be .*; got '{last}' of shape \(2, 3\)"):
        method(layer=last)(model, x)
    with pytest.raises(ValueError, match="layer must be the name of a layer; got 3"):
        method(layer=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="upsampling must be one of 'bilinear', 'nearest'"):
        method(upsampling="raw")
    assert "error" in str(diagnose(model, x, method(layer="nowhere")))


def test_the_doctor() -> None:
    model, x = ending(ENDS["adaptive"])
    assert str(diagnose(model, x, CAM())).startswith("nothing")
    assert str(diagnose(model, x, ScoreCAM())).startswith("nothing")
    pool = next(label for label in layers(model, x) if "pool" in label)
    for method in LAYERED:
        assert "have one place" in str(diagnose(model, x, method(layer=pool)))
        assert bool(method(layer=pool)(model, x).isfinite().all())
    before = "conv"
    assert "negative activations" in str(diagnose(model, x, GradCAMPlusPlus(layer=before)))
    assert "negative activations" not in str(diagnose(model, x, GradCAMPlusPlus()))


PASSES = {
    CAM: 1,
    GradCAM: 2,
    GradCAMPlusPlus: 2,
    LayerCAM: 2,
    GuidedGradCAM: 3,
    ScoreCAM: 1 + 9 / 2,  # five maps of two samples, of which one is constant
}


@pytest.mark.parametrize("method", [*LAYERED, CAM])
def test_what_is_said_of_a_result(method: type[ActivationMap]) -> None:
    model, x = build(NETS["global_mean"])
    (*_, last) = method().steps(model, x)
    assert last.passes == PASSES[method]
    assert torch.equal(last.score, model(x).amax(1))
    assert method.signed == (method in {CAM, GuidedGradCAM})
    assert method.channels == ("sum" if method is GuidedGradCAM else "max")
    assert method.adds_up_to == ""


@pytest.mark.parametrize("method", [*LAYERED, CAM])
def test_cards_and_code(method: type[ActivationMap]) -> None:
    assert "Source:" in (method.__doc__ or "")
    assert method.title
    assert method.card.question.endswith("?")
    assert method() == method().replace()
    assert method().code("nni.") == f"nni.{method.__name__}()"
    if method is not CAM:
        assert method("conv2").code("") == f"{method.__name__}(layer='conv2')"  # type: ignore[call-arg]
