"""Networks of random order: convolution, pooling, norm, activation, residual, branches.

A network is a list of block names and a seed, so a failing one is printed and shrunk by hypothesis
as just that: `random_case(("conv", "norm", "relu"), seed=3)`.
"""

import random
from collections.abc import Sequence
from functools import partial

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from .nets import Case, build_seeded, conv3

SHAPE = (2, 6, 6)
CLASSES = 3
BLOCKS = (
    "conv",
    "strided",
    "relu",
    "relu_inplace",
    "leaky",
    "norm",
    "maxpool",
    "avgpool",
    "dropout",
    "residual",
    "preactivated",
    "branches",
)
MOST_CHANNELS = 8
FEWEST_PIXELS = 3


class Residual(nn.Module):
    """x + conv(relu(conv(x)))"""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels, bias=bias)
        self.conv2 = conv3(channels, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x).relu())


class Preactivated(nn.Module):
    """x + conv(relu(norm(x))): the norm may follow a convolution that is also read by the sum."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = conv3(channels, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(torch.relu(self.norm(x)))
        y += x
        return y


class Branches(nn.Module):
    """concat(relu(conv(x)), x)"""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.conv = conv3(channels, 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x).relu(), x], 1)


class RandomNet(nn.Module):
    """The blocks one after the other, then one linear layer.

    A block that does not fit is left out: a norm after a norm (or after one with dropout between:
    what is merged into what would be a matter of taste), a norm in a bias-free net, pooling of
    three pixels, more branches than channels to spare, and an in-place ReLU where it would
    overwrite the input or what an earlier ReLU saved for its gradient.
    """

    def __init__(self, blocks: Sequence[str], bias: bool = True) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        channels, size = SHAPE[0], SHAPE[1]
        for block in blocks:
            previous = self.steps[-1] if len(self.steps) else None
            acting = [step for step in self.steps if not isinstance(step, nn.Dropout)]
            norm_fits = bias and not isinstance(previous, nn.BatchNorm2d | nn.Dropout)
            match block:
                case "conv":
                    self.steps.append(conv3(channels, 3, bias=bias))
                    channels = 3
                case "strided" if size > FEWEST_PIXELS:
                    self.steps.append(conv3(channels, 4, stride=2, bias=bias))
                    channels, size = 4, (size + 1) // 2
                case "relu":
                    self.steps.append(nn.ReLU())
                case "relu_inplace" if acting and not isinstance(acting[-1], nn.ReLU):
                    self.steps.append(nn.ReLU(inplace=True))
                case "leaky":
                    self.steps.append(nn.LeakyReLU(0.2))
                case "norm" if norm_fits:
                    self.steps.append(nn.BatchNorm2d(channels))
                case "maxpool" if size > FEWEST_PIXELS:
                    self.steps.append(nn.MaxPool2d(2))
                    size //= 2
                case "avgpool" if size > FEWEST_PIXELS:
                    self.steps.append(nn.AvgPool2d(2))
                    size //= 2
                case "dropout":
                    self.steps.append(nn.Dropout(0.3))
                case "residual":
                    self.steps.append(Residual(channels, bias))
                case "preactivated" if norm_fits:
                    self.steps.append(Preactivated(channels, bias))
                case "branches" if channels < MOST_CHANNELS:
                    self.steps.append(Branches(channels, bias))
                    channels += 2
        self.head = nn.Linear(channels * size * size, CLASSES, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return self.head(x.flatten(1))


def random_case(blocks: Sequence[str], seed: int, bias: bool = True) -> Case:
    """The case with these blocks, its weights drawn from `seed`."""
    construct = partial(RandomNet, tuple(blocks), bias)
    tags = {"random", *blocks} | (set() if bias else {"bias-free"})
    return Case(partial(build_seeded, construct, seed), SHAPE, CLASSES, frozenset(tags))


def random_net(seed: int, bias: bool = True) -> Case:
    """Two to eight random blocks, the same for the same seed."""
    chooser = random.Random(seed)
    blocks = chooser.choices(BLOCKS, k=chooser.randint(2, 8))
    return random_case(blocks, seed, bias)


def nets(bias: bool | None = None) -> st.SearchStrategy[Case]:
    """Hypothesis strategy: any order of up to six blocks; `bias=None` draws that too."""
    return st.builds(
        random_case,
        st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=6).map(tuple),
        seed=st.integers(0, 1000),
        bias=st.booleans() if bias is None else st.just(bias),
    )
