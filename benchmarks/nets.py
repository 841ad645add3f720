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
from nni_widgets.zoo.designs import digits_cnn


@dataclass(frozen=True)
class Case:
    """A network, its input and the classes to explain; ``kind`` selects the targets."""

    title: str
    kind: str
    model: nn.Module
    x: Tensor
    target: Tensor


class Block(nn.Module):
    """Two convolutions with batch-norm beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(before, after, 3, stride),
            nn.ReLU(inplace=True),
            conv_norm(after, after, 3, 1),
        )
        changes = stride != 1 or before != after
        self.shortcut = conv_norm(before, after, 1, stride) if changes else None
        self.join: Callable[[Tensor, Tensor], Tensor] = operator.iadd
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        return self.relu(self.join(self.branch(x), kept))


def conv_norm(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    """A convolution without bias and its batch-norm."""
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def resnet18(width: int) -> nn.Module:
    """Shaped like ResNet-18 (width 64)."""
    channels = (width, width, 2 * width, 4 * width, 8 * width)
    blocks = []
    for before, after in itertools.pairwise(channels):
        stride = 1 if before == after else 2
        blocks += [Block(before, after, stride), Block(after, after, 1)]
    stem = [conv_norm(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 1000)]
    return nn.Sequential(*stem, *blocks, *head)


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


def case(name: str, batch: int, quick: bool) -> Case:
    """One of ``digits``, ``vgg``, ``resnet``; ``quick`` makes the large ones narrow and small."""
    if name == "digits":
        return _digits(batch)
    torch.manual_seed(0)
    width, pixels = (8, 32) if quick else (64, 224)
    x = torch.rand(batch, 3, pixels, pixels)
    with torch.device("meta"):
        model = (vgg16 if name == "vgg" else resnet18)(width)
    model = _with_random_weights(model.to_empty(device="cpu"), x)
    kind = "residual" if name == "resnet" else "plain"
    title = "ResNet-18-shaped" if name == "resnet" else "VGG-16-shaped"
    return _case(f"{title}, {pixels} pixels, random weights", kind, model, x)


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
    """He weights, small biases, and batch-norm with the statistics of ``x``."""
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
        model.train()(x.expand(max(2, len(x)), -1, -1, -1).clone())
    return model.eval()


def plain(model: nn.Module) -> nn.Module:
    """A copy that computes the same with batch-norm folded and nothing in place."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(module, (nn.ReLU, nn.Dropout)):
            module.inplace = False
        if isinstance(module, Block):
            module.join = operator.add
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential) and isinstance(child[-1], nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(child[0], child[1]))
    return model


def frozen(model: nn.Module) -> nn.Module:
    """The same network on the same memory, with weights that ask for no gradient."""
    same = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, same)
