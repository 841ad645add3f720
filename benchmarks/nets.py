"""The networks of the benchmark and the pictures they are run on."""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nni_widgets.zoo import data, models
from nni_widgets.zoo.classifiers import digits_cnn


@dataclass(frozen=True)
class Case:
    """A network, its input and the classes to explain; ``kind`` selects the targets."""

    title: str
    kind: str
    model: nn.Module
    x: Tensor
    target: Tensor


class Residual(nn.Module):
    """A branch beside a shortcut, added to it in place."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.join: Callable[[Tensor, Tensor], Tensor] = operator.iadd

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        return self.join(self.branch(x), kept)


def conv_norm(before: int, after: int, size: int, stride: int, groups: int = 1) -> nn.Sequential:
    """A convolution without bias and its batch-norm."""
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def resnet18(width: int) -> nn.Module:
    """Shaped like ResNet-18 (width 64)."""
    channels = (width, width, 2 * width, 4 * width, 8 * width)
    stem = [conv_norm(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    blocks: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        stride = 1 if before == after else 2
        blocks += [*basic_block(before, after, stride), *basic_block(after, after, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 1000)]
    return nn.Sequential(*stem, *blocks, *head)


def basic_block(before: int, after: int, stride: int) -> list[nn.Module]:
    """Two convolutions with batch-norm beside a shortcut."""
    branch = nn.Sequential(
        conv_norm(before, after, 3, stride), nn.ReLU(inplace=True), conv_norm(after, after, 3, 1)
    )
    shortcut = None if before == after else conv_norm(before, after, 1, stride)
    return [Residual(branch, shortcut), nn.ReLU(inplace=True)]


def efficientnet_lite0(width: int) -> nn.Module:
    """Shaped like EfficientNet-Lite0 (width 64): 16 inverted-residual blocks."""
    wide, before = width // 2, width // 2
    layers: list[nn.Module] = [conv_norm(3, wide, 3, 2), nn.ReLU6(inplace=True)]
    for expansion, channels, repeats, first_stride, size in LITE0_STAGES:
        after = channels * width // 64
        for stride in (first_stride, *[1] * (repeats - 1)):
            layers.append(inverted_residual(before, expansion * before, after, size, stride))
            before = after
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(20 * width, 1000)]
    layers += [conv_norm(before, 20 * width, 1, 1), nn.ReLU6(inplace=True)]
    return nn.Sequential(*layers, *head)


LITE0_STAGES = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)
"""Tan, Le 2019, table 1: expansion, channels, repeats, stride, size of the depthwise kernel."""


def inverted_residual(before: int, wide: int, after: int, size: int, stride: int) -> nn.Module:
    """Expanded by 1 × 1, filtered depthwise, projected without an activation."""
    depthwise = conv_norm(wide, wide, size, stride, groups=wide)
    layers = [depthwise, nn.ReLU6(inplace=True), conv_norm(wide, after, 1, 1)]
    if wide != before:
        layers = [conv_norm(before, wide, 1, 1), nn.ReLU6(inplace=True), *layers]
    branch = nn.Sequential(*layers)
    return Residual(branch) if before == after and stride == 1 else branch


def vgg16(width: int) -> nn.Module:
    """Shaped like VGG-16 (width 64)."""
    layers: list[nn.Module] = []
    before = 3
    for repeats, factor in ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)):
        for _ in range(repeats):
            layers += [nn.Conv2d(before, factor * width, 3, padding=1), nn.ReLU(inplace=True)]
            before = factor * width
        layers.append(nn.MaxPool2d(2))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    for inputs in (before * 49, 64 * width):
        layers += [nn.Linear(inputs, 64 * width), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(64 * width, 1000))


@dataclass(frozen=True)
class Shape:
    """A network at 224 pixels: its title, how it is built and the kind of its targets."""

    title: str
    build: Callable[[int], nn.Module]
    kind: str


SHAPES = {
    "vgg": Shape("VGG-16-shaped", vgg16, "plain"),
    "resnet": Shape("ResNet-18-shaped", resnet18, "residual"),
    "lite": Shape("EfficientNet-lite0-shaped", efficientnet_lite0, "residual"),
}
WITH_MAPS = ("digits-resnet", "cluttered-cam", "cluttered-cam-fine")
"""Trained networks of the package that are measured by the methods that explain by maps alone."""
NETS = ("digits", *SHAPES, *WITH_MAPS)


def case(name: str, batch: int, quick: bool) -> Case:
    """One of ``NETS``; ``quick`` makes the large ones narrow and small."""
    if name == "digits":
        return _digits(batch)
    if name in WITH_MAPS:
        digits = data.digits("test")[7:] if name == "digits-resnet" else data.cluttered(batch)[:]
        return _case(f"{name}, trained", "digits", models.load(name), digits[0][:batch])
    torch.manual_seed(0)
    shape = SHAPES[name]
    width, pixels = (8, 64) if quick else (64, 224)
    x = torch.rand(batch, 3, pixels, pixels)
    with torch.device("meta"):
        model = shape.build(width)
    model = _with_random_weights(model.to_empty(device="cpu"), torch.rand(4, *x.shape[1:]))
    return _case(f"{shape.title}, {pixels} pixels, random weights", shape.kind, model, x)


def _digits(batch: int) -> Case:
    try:
        model, weights = models.load("digits-cnn"), "trained"
    except FileNotFoundError:
        torch.manual_seed(0)
        model, weights = digits_cnn().eval(), "random weights, as the trained ones are missing"
    x, _ = data.digits("test")[7 : 7 + batch]
    return _case(f"digits-cnn, {weights}", "digits", model, x)


def _case(title: str, kind: str, model: nn.Module, x: Tensor) -> Case:
    with torch.no_grad():
        target = model(x).argmax(1)
    return Case(f"{title}, batch {len(x)}", kind, model, x, target)


def _with_random_weights(model: nn.Module, x: Tensor) -> nn.Module:
    """He weights, small biases, and batch-norm with the statistics of the pictures x."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        model.train()(x)
    return model.eval()


def parted(model: nn.Module, x: Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    """The network up to its last maps of more than one place, and what reads them."""
    made, length = x[:1].clone(), 0
    with torch.no_grad():
        for number, module in enumerate(model, 1):
            made = module(made)
            length = number if made.ndim == 4 and made[0, 0].numel() > 1 else length
    return model[:length], model[length:]


def out_of_place(model: nn.Module) -> nn.Module:
    """A copy that computes the same with nothing in place."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6, nn.Dropout)):
            module.inplace = False
        if isinstance(module, Residual):
            module.join = operator.add
    return model


def plain(model: nn.Module) -> nn.Module:
    """A copy that computes the same with nothing in place and batch-norm folded."""
    model = out_of_place(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential) and isinstance(child[-1], nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(child[0], child[1]))
    return model


def frozen(model: nn.Module) -> nn.Module:
    """The same network on the same memory, with weights that ask for no gradient."""
    same = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, same)
