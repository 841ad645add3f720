"""The classifiers of single digits: how each is built, and the numbers it is trained by."""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.errors import invalid

DROPOUT = 0.2
N_MEMBERS = 5
EVIDENCE = "softplus"


@dataclass(frozen=True)
class PlainRecipe:
    """The numbers by which a classifier of digits is trained on the pictures as they are."""

    seed: int = 0
    threads: int = 1
    epochs: int = 6
    batch_size: int = 128
    peak_learning_rate: float = 3e-3
    warm_up: float = 0.2
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class Recipe(PlainRecipe):
    """The numbers by which a classifier of digits is trained on distorted pictures.

    From ``rotation_degrees`` on they are the largest distortions of a picture. ``scale`` is common
    to both axes, ``aspect`` each axis' own; ``thinning`` and ``thickening`` are the largest shares
    of the eroded or dilated picture.
    """

    epochs: int = 16
    rotation_degrees: float = 12.0
    scale: float = 0.2
    aspect: float = 0.1
    shear_degrees: float = 8.0
    shift_pixels: float = 4.0
    elastic_pixels: float = 1.5
    thinning: float = 0.3
    thickening: float = 0.6


MILD = Recipe(scale=0.1, aspect=0.0, shift_pixels=2.0, thinning=0.0, thickening=0.0)


@torch.no_grad()
def lower_biases(model: nn.Module) -> None:
    """Set each positive bias to zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.clamp_(max=0)


def digits_cnn(bias: bool = True) -> nn.Module:
    """28 x 28 pixels to ten logits; each ReLU stands before its max-pooling."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1, bias=bias),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1, bias=bias),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3, padding=1, bias=bias),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * 3 * 3, 64, bias=bias),
            relu4=nn.ReLU(),
            fc2=nn.Linear(64, 10, bias=bias),
        )
    )


def digits_cnn_nobias() -> nn.Module:
    """``digits_cnn`` without any bias: scaling the picture scales the logits."""
    return digits_cnn(bias=False)


def digits_cnn_designed() -> nn.Module:
    """A network that is easier to explain: average pooling, dropout, one dense layer."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.AvgPool2d(2),
            conv3=nn.Conv2d(32, 64, 3, padding=1),
            relu3=nn.ReLU(),
            pool3=nn.AvgPool2d(2),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.25),
            fc=nn.Linear(64 * 3 * 3, 10),
        )
    )


def digits_dropout() -> nn.Module:
    """``digits_cnn`` with dropout: of whole maps after each pooling, of units before the last."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            dropout1=nn.Dropout2d(DROPOUT),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            dropout2=nn.Dropout2d(DROPOUT),
            conv3=nn.Conv2d(32, 64, 3, padding=1),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            dropout3=nn.Dropout2d(DROPOUT),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * 3 * 3, 64),
            relu4=nn.ReLU(),
            dropout4=nn.Dropout(DROPOUT),
            fc2=nn.Linear(64, 10),
        )
    )


def digits_evidential() -> nn.Module:
    """``digits_cnn``, whose logits are read as evidence: ``evidence`` names the function."""
    model: Any = digits_cnn()
    model.evidence = EVIDENCE
    built: nn.Module = model
    return built


class DeepEnsemble(nn.Module):
    """Networks that answer together: the logarithm of the mean of their probabilities."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not self.members:
            action = "Give it at least one network"
            raise invalid("DeepEnsemble", "members", "networks", "none", action)

    def forward(self, x: Tensor) -> Tensor:
        """The pictures of a batch to log p, (N, K), of which a softmax gives p again."""
        answers = torch.stack([member(x).log_softmax(1) for member in self.members])
        return answers.logsumexp(0) - math.log(len(self.members))


def digits_ensemble() -> nn.Module:
    """Five times ``digits_cnn``."""
    return DeepEnsemble(digits_cnn() for _ in range(N_MEMBERS))


def digits_mlp() -> nn.Module:
    """784 pixels to 512 and 100 units and ten logits; flattens the picture itself."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(28 * 28, 512),
            relu1=nn.ReLU(),
            fc2=nn.Linear(512, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, 10),
        )
    )


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, their result added to the (projected) input."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_inputs != n_outputs:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(n_inputs, n_outputs, 1, stride, bias=False),
                    norm=nn.BatchNorm2d(n_outputs),
                )
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_inputs, H, W) to (N, n_outputs, H / stride, W / stride), rounded up."""
        branch = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        total: Tensor = self.relu2(branch + self.shortcut(x))
        return total


def digits_resnet() -> nn.Module:
    """28 x 28 pixels to ten logits: a stem, three residual blocks, the mean over all places."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            block1=ResidualBlock(16, 16, stride=1),
            block2=ResidualBlock(16, 32, stride=2),
            block3=ResidualBlock(32, 64, stride=2),
            pool2=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, 10),
        )
    )
