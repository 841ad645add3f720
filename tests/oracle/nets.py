"""A catalogue of small awkward networks, each with something that breaks attribution code.

`NETS[name]` is a `Case`; `select` picks cases by tag. Every build of a case gives the same weights
(float32, eval mode) and leaves the global random state alone.

Tags for what a net contains:
    conv, conv1d, conv3d, mlp, relu, maxpool, avgpool, adaptive, batchnorm, dropout, residual,
    concat, split, reshape, pad, grouped, dilated, strided, transposed, upsample, nested,
    functional (operations without a module), inplace, reuse (a module called more than once),
    shared (a module with weights called more than once), scaling (constants applied to the input),
    mask (torch.where or a constant mask), arithmetic, leaky (piecewise linear, but not a ReLU),
    parametrized (weights computed in forward)
Tags for what that means:
    bias-free   without any additive constant; homogeneous of degree one if not smooth
    smooth      not piecewise linear
    gate        two functions of the input are multiplied (squeeze-excite, attention)
    mutates-input   a plain call overwrites the caller's tensor
    stochastic  two calls differ, also in eval mode
Tags for what is wrong with it (`TROUBLE`):
    softmax, tuple, opaque (operations hidden inside TorchScript), disconnected (the output does not
    depend on the input), no-grad (autograd switched off inside), raises (in the middle of forward)
"""

import math
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

TROUBLE = frozenset({"softmax", "tuple", "opaque", "disconnected", "no-grad", "raises"})


@dataclass(frozen=True)
class Case:
    """A network and what it eats: `shape` is one sample's, without the batch, in [0, `high`]."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    tags: frozenset[str]
    high: float = 1.0

    def input(self, batch: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """A batch of pixels in [0, `high`], the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.rand(batch, *self.shape, generator=generator, dtype=torch.float64)
        return (self.high * pixels).to(dtype)


NETS: dict[str, Case] = {}


def select(include: str = "", exclude: str = "") -> dict[str, Case]:
    """The cases that have every tag of `include` and none of `exclude` (separated by spaces)."""
    wanted, unwanted = set(include.split()), set(exclude.split())
    return {
        name: case
        for name, case in NETS.items()
        if wanted <= case.tags and not unwanted & case.tags
    }


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Give every parameter and running statistic a non-trivial value, and return the model."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    with torch.no_grad():
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.dim() > 1:
                    normal(parameter, std=1.4 / math.sqrt(parameter[0].numel()))
                else:
                    normal(parameter, std=0.3)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                assert module.running_mean is not None
                assert module.running_var is not None
                normal(module.running_mean, std=0.3)
                uniform(module.running_var, 0.5, 2.0)
                if module.affine:
                    uniform(module.weight, 0.5, 1.5)
                    module.weight[::3] *= -1
    return model.eval()


def build_seeded(construct: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Construct a model and fill it from `seed`, the global random state untouched."""
    with torch.random.fork_rng(devices=[]):
        return randomise(construct(), seed)


def net(
    tags: str, shape: tuple[int, ...] = (2, 6, 6), classes: int = 3, high: float = 1.0
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Enter the decorated constructor into the catalogue, under its own name."""

    def register(construct: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        name = construct.__name__
        seed = zlib.crc32(name.encode())
        NETS[name] = Case(
            partial(build_seeded, construct, seed), shape, classes, frozenset(tags.split()), high
        )
        return construct

    return register


class Net(nn.Module):
    """Named submodules and a function `forward(net, x)`: a network in a few lines."""

    def __init__(self, forward: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> object:
        return self._forward(self, x)


def conv3(inputs: int, outputs: int, **options: object) -> nn.Conv2d:
    """A 3 × 3 convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, **({"padding": 1} | options))


# --- Sequential nets ------------------------------------------------------------------------------


@net("conv relu maxpool")
def plain() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.MaxPool2d(2), conv3(4, 5), nn.ReLU(),
        nn.Flatten(), nn.Linear(45, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


@net("conv relu maxpool bias-free")
def plain_bias_free() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4, bias=False), nn.ReLU(), nn.MaxPool2d(2), conv3(4, 5, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(45, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False),
    )  # fmt: skip


@net("conv relu maxpool")
def pool_before_relu() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


@net("conv relu maxpool")
def overlapping_padded_maxpool() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


@net("conv relu maxpool strided dilated", shape=(2, 7, 7))
def ceil_mode_dilated_maxpool() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.MaxPool2d(2, stride=2, ceil_mode=True),
        nn.MaxPool2d(2, stride=1, dilation=2), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


@net("mlp relu", shape=(7,))
def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 3))


@net("mlp relu bias-free", shape=(7,))
def mlp_bias_free() -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, 9, bias=False), nn.ReLU(), nn.Linear(9, 6, bias=False), nn.ReLU(),
        nn.Linear(6, 3, bias=False),
    )  # fmt: skip


@net("mlp", shape=(7,))
def linear_only() -> nn.Module:
    return nn.Linear(7, 3)


@net("mlp relu", shape=(7,), classes=1)
def one_output() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 1))


@net("mlp relu reshape", shape=(4, 7))
def linear_on_sequence() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))


@net("conv1d relu maxpool strided", shape=(2, 12))
def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(4, 3, 2), nn.BatchNorm1d(3), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(),
        nn.Linear(3, 3),
    )  # fmt: skip


@net("conv3d relu maxpool batchnorm", shape=(1, 4, 4, 4))
def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 3, 3, padding=1), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(3, 2, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 3),
    )  # fmt: skip


@net("conv1d leaky maxpool avgpool adaptive grouped transposed strided", shape=(2, 12))
def signals() -> nn.Module:
    """5 does not divide 12: the windows of the average overlap."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1, groups=2), nn.LeakyReLU(0.1), nn.AdaptiveMaxPool1d(6),
        nn.ConvTranspose1d(4, 3, 4, stride=2, padding=1), nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool1d(5), nn.Flatten(), nn.Linear(15, 3),
    )  # fmt: skip


@net("conv3d relu maxpool avgpool adaptive grouped transposed", shape=(1, 4, 4, 4))
def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool3d(2),
        nn.ConvTranspose3d(4, 2, 2, stride=2, groups=2), nn.ReLU(), nn.AdaptiveMaxPool3d(2),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


# --- In-place, functional and reused operations ---------------------------------------------------


@net("conv relu maxpool inplace")
def inplace_relu() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(inplace=True), nn.MaxPool2d(2), conv3(4, 5), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(45, 3),
    )  # fmt: skip


@net("mlp relu inplace mutates-input", shape=(7,))
def inplace_on_input() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(x.sub_(0.5).relu_())

    return Net(forward, head=nn.Linear(7, 3))


@net("conv relu maxpool functional inplace")
def functional_relu() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(net.conv1(x)), 2)
        x = torch.relu(net.conv2(x))
        x = net.conv3(x)
        x.relu_()
        x = net.conv4(x).clamp(min=0)
        x = F.relu(net.fc1(torch.flatten(x, 1)), inplace=True)
        return net.fc2(x)

    return Net(
        forward, conv1=conv3(2, 4), conv2=conv3(4, 4), conv3=conv3(4, 4), conv4=conv3(4, 4),
        fc1=nn.Linear(36, 8), fc2=nn.Linear(8, 3),
    )  # fmt: skip


@net("conv relu functional")
def functional_layers() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = F.conv2d(x, net.conv.weight, net.conv.bias, padding=1)
        x = torch.conv2d(x.relu(), net.conv.weight.transpose(0, 1), stride=2)
        x = F.relu(F.linear(x.flatten(1), net.fc1.weight, net.fc1.bias))
        return x @ net.fc2.weight.t() + net.fc2.bias

    return Net(forward, conv=conv3(2, 4), fc1=nn.Linear(8, 5), fc2=nn.Linear(5, 3))


@net("conv relu reuse")
def one_relu_everywhere() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.relu(net.conv1(x))
        x = net.relu(net.relu(net.conv2(x)))
        return net.fc2(net.relu(net.fc1(x.flatten(1))))

    return Net(
        forward, relu=nn.ReLU(), conv1=conv3(2, 4), conv2=conv3(4, 2),
        fc1=nn.Linear(72, 6), fc2=nn.Linear(6, 3),
    )  # fmt: skip


@net("conv relu reuse shared")
def shared_conv() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).relu()
        x = net.conv(x).relu()
        return net.head(x.flatten(1))

    return Net(forward, conv=conv3(2, 2), head=nn.Linear(72, 3))


@net("mlp relu parametrized", shape=(7,))
def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(7, 6)), nn.ReLU(), nn.Linear(6, 3))


# --- Sums -----------------------------------------------------------------------------------------


@net("conv relu residual")
def residual() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x).relu()
        x = x + net.conv2(net.conv1(x).relu())
        return net.head(x.relu().flatten(1))

    return Net(
        forward, stem=conv3(2, 3), conv1=conv3(3, 3), conv2=conv3(3, 3), head=nn.Linear(108, 3)
    )


@net("conv relu residual bias-free")
def residual_bias_free() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x).relu()
        x = x + net.conv2(net.conv1(x).relu())
        return net.head(x.relu().flatten(1))

    return Net(
        forward, stem=conv3(2, 3, bias=False), conv1=conv3(3, 3, bias=False),
        conv2=conv3(3, 3, bias=False), head=nn.Linear(108, 3, bias=False),
    )  # fmt: skip


@net("conv relu residual inplace")
def residual_inplace() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x += net.conv1(x.relu())
        x = torch.add(x, net.conv2(F.relu(x)))
        y = net.conv3(x)
        y.add_(x).relu_()
        return net.head(y.flatten(1))

    return Net(
        forward, stem=conv3(2, 3), conv1=conv3(3, 3), conv2=conv3(3, 3), conv3=conv3(3, 3),
        head=nn.Linear(108, 3),
    )  # fmt: skip


@net("conv relu residual functional")
def stem_used_three_times() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        stem = net.stem(x).relu()
        first = stem + net.conv1(stem)
        second = first.relu() + net.conv2(stem)
        return net.head((second + stem).flatten(1))

    return Net(forward, stem=conv3(2, 3), conv1=conv3(3, 3), conv2=conv3(3, 3),
               head=nn.Linear(108, 3))  # fmt: skip


@net("mlp relu residual", shape=(5,))
def input_used_twice() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(x + net.fc(x).relu()) + net.skip(x)

    return Net(forward, fc=nn.Linear(5, 5), head=nn.Linear(5, 3), skip=nn.Linear(5, 3))


@net("mlp relu residual", shape=(5,))
def doubled() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.fc(x).relu()
        return net.head(x + x)

    return Net(forward, fc=nn.Linear(5, 12), head=nn.Linear(12, 3))


@net("conv relu residual batchnorm strided nested")
def bottleneck() -> nn.Module:
    def block(inputs: int, width: int, outputs: int, stride: int) -> nn.Module:
        def forward(net: Net, x: Tensor) -> Tensor:
            y = net.relu(net.bn1(net.conv1(x)))
            y = net.relu(net.bn2(net.conv2(y)))
            y = net.bn3(net.conv3(y))
            y += net.downsample(x)
            return net.relu(y)

        downsample = nn.Identity() if inputs == outputs else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )  # fmt: skip
        return Net(
            forward, relu=nn.ReLU(inplace=True),
            conv1=nn.Conv2d(inputs, width, 1, bias=False), bn1=nn.BatchNorm2d(width),
            conv2=conv3(width, width, stride=stride, bias=False), bn2=nn.BatchNorm2d(width),
            conv3=nn.Conv2d(width, outputs, 1, bias=False), bn3=nn.BatchNorm2d(outputs),
            downsample=downsample,
        )  # fmt: skip

    return nn.Sequential(
        conv3(2, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Sequential(block(4, 2, 6, stride=2), block(6, 2, 6, stride=1)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


@net("mlp relu arithmetic functional", shape=(5,))
def arithmetic() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.fc1(2 * x - 1).relu()
        y = 0.5 - net.fc2(-x / 3)
        return net.head(torch.sub(y, x)) * 1.5 + torch.tensor([0.1, -0.2, 0.3], dtype=x.dtype)

    return Net(forward, fc1=nn.Linear(5, 12), fc2=nn.Linear(12, 12), head=nn.Linear(12, 3))


@net("mlp relu", shape=(5,))
def unused_branch() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.fc(x).relu()
        net.auxiliary(x)
        return net.head(x)

    return Net(forward, fc=nn.Linear(5, 12), auxiliary=nn.Linear(12, 2), head=nn.Linear(12, 3))


# --- Batch-norm -----------------------------------------------------------------------------------


@net("conv relu batchnorm maxpool")
def conv_norm_relu() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        conv3(4, 4, bias=False), nn.BatchNorm2d(4, eps=0.1), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


@net("conv relu batchnorm")
def norm_without_affine() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


@net("mlp relu batchnorm", shape=(7,))
def mlp_norm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3), nn.BatchNorm1d(3)
    )


@net("conv relu batchnorm")
def norm_first() -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm2d(2), conv3(2, 4), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(),
        nn.Linear(144, 3),
    )  # fmt: skip


@net("conv relu batchnorm residual")
def norm_on_a_conv_used_twice() -> nn.Module:
    """The batch-norm must not be merged: the sum reads the convolution as it was."""

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        return net.head((x + net.norm(x).relu()).flatten(1))

    return Net(forward, conv=conv3(2, 3), norm=nn.BatchNorm2d(3), head=nn.Linear(108, 3))


@net("conv relu batchnorm reuse shared")
def one_conv_two_norms() -> nn.Module:
    """Two calls of one convolution, each followed by a batch-norm of its own."""

    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.norm1(net.conv(x)).relu()
        x = net.norm2(net.conv(x)).relu()
        return net.head(x.flatten(1))

    return Net(
        forward, conv=conv3(2, 2), norm1=nn.BatchNorm2d(2), norm2=nn.BatchNorm2d(2),
        head=nn.Linear(72, 3),
    )  # fmt: skip


@net("conv relu batchnorm concat avgpool")
def dense_block() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = torch.cat([x, net.conv1(net.norm1(x).relu())], 1)
        x = torch.cat([x, net.conv2(net.norm2(x).relu())], 1)
        x = F.avg_pool2d(net.transition(net.norm3(x).relu()), 2)
        return net.head(x.flatten(1))

    return Net(
        forward, stem=conv3(2, 2),
        norm1=nn.BatchNorm2d(2), conv1=conv3(2, 2, bias=False),
        norm2=nn.BatchNorm2d(4), conv2=conv3(4, 2, bias=False),
        norm3=nn.BatchNorm2d(6), transition=nn.Conv2d(6, 3, 1, bias=False),
        head=nn.Linear(27, 3),
    )  # fmt: skip


# --- Pooling and dropout --------------------------------------------------------------------------


@net("conv relu avgpool")
def average_pool() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.AvgPool2d(2), conv3(4, 4),
        nn.AvgPool2d(3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


@net("conv relu avgpool")
def average_pool_real_cells_only() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


@net("conv relu avgpool adaptive")
def adaptive_average_pool() -> nn.Module:
    """4 does not divide 6: the windows overlap."""
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 3)
    )


@net("conv relu maxpool adaptive")
def adaptive_max_pool() -> nn.Module:
    return nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(64, 3)
    )


@net("conv relu avgpool functional")
def global_mean() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.conv(x).relu().mean((2, 3)))

    return Net(forward, conv=conv3(2, 5), head=nn.Linear(5, 3))


@net("conv relu avgpool functional")
def global_sum_keepdim() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).relu().mean(-1, keepdim=True).sum(dim=2, keepdim=True)
        return net.head(x.flatten(1))

    return Net(forward, conv=conv3(2, 5), head=nn.Linear(5, 3))


@net("conv relu maxpool functional")
def global_max() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.conv(x).relu().amax((2, 3)))

    return Net(forward, conv=conv3(2, 5), head=nn.Linear(5, 3))


@net("conv relu maxpool functional split")
def maxima_with_indices() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x, _ = F.max_pool2d(net.conv(x).relu(), 2, return_indices=True)
        return net.head(x.max(dim=3).values.flatten(1))

    return Net(forward, conv=conv3(2, 5), head=nn.Linear(15, 3))


@net("conv relu dropout functional")
def dropout() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.drop2d(net.conv(x).relu())
        x = F.dropout(x, 0.5, training=net.training)
        return net.head(net.drop(x.flatten(1)))

    return Net(
        forward, conv=conv3(2, 4), drop2d=nn.Dropout2d(0.5), drop=nn.Dropout(0.5, inplace=True),
        head=nn.Linear(144, 3),
    )  # fmt: skip


@net("mlp relu dropout functional stochastic", shape=(7,))
def dropout_always_on() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(F.dropout(net.fc(x).relu(), 0.5, training=True))

    return Net(forward, fc=nn.Linear(7, 32), head=nn.Linear(32, 3))


# --- Branches and shapes --------------------------------------------------------------------------


@net("conv relu concat")
def branches() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = torch.cat((net.wide(x).relu(), net.narrow(x).relu(), x), dim=1)
        return net.head(x.flatten(1))

    return Net(forward, wide=conv3(2, 3), narrow=nn.Conv2d(2, 2, 1), head=nn.Linear(252, 3))


@net("conv relu concat bias-free")
def branches_bias_free() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = torch.cat((net.wide(x).relu(), net.narrow(x).relu(), x), dim=1)
        return net.head(x.flatten(1))

    return Net(
        forward, wide=conv3(2, 3, bias=False), narrow=nn.Conv2d(2, 2, 1, bias=False),
        head=nn.Linear(252, 3, bias=False),
    )  # fmt: skip


@net("conv relu concat split functional")
def split_and_chunk() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        left, right = net.conv(x).relu().chunk(2, dim=1)
        top, _, bottom = torch.split(left, 2, dim=2)
        first, *_, last = right.unbind(1)
        rows = torch.cat([bottom, top], 2).flatten(1)
        return net.head(torch.cat([rows, first.flatten(1), last[:, ::2].flatten(1)], 1))

    return Net(forward, conv=conv3(2, 6), head=nn.Linear(126, 3))


@net("conv relu reshape functional")
def reshapes() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).relu().permute(0, 2, 3, 1)
        x = net.channels(x).transpose(1, 3).contiguous()
        x = x.view(x.size(0), -1).unsqueeze(1).reshape(-1, 1, 3, 36)
        return net.head(torch.squeeze(x, 1).flatten(start_dim=1).view(-1, 108))

    return Net(forward, conv=conv3(2, 4), channels=nn.Linear(4, 3), head=nn.Linear(108, 3))


@net("conv relu pad functional")
def explicit_padding() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv1(F.pad(x, (0, 1, 2, 0))).relu()
        return net.head(net.conv2(net.pad(x)).relu().flatten(1))

    return Net(
        forward, conv1=nn.Conv2d(2, 3, 3), pad=nn.ZeroPad2d(1), conv2=nn.Conv2d(3, 2, 3),
        head=nn.Linear(60, 3),
    )  # fmt: skip


@net("conv relu grouped dilated strided")
def grouped_dilated_strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.ReLU(),
        nn.Conv2d(4, 4, (3, 2), stride=(2, 3), padding=(1, 0), groups=4), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


@net("conv relu dilated")
def same_padding() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, (3, 5), padding="same", dilation=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(108, 3),
    )


@net("conv relu transposed strided")
def transposed_conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 2, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(72, 3),
    )  # fmt: skip


@net("conv relu upsample functional")
def upsampling() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.upsample(net.conv1(x).relu())
        x = F.interpolate(net.conv2(x).relu(), size=(5, 4), mode="nearest")
        return net.head(x.flatten(1))

    return Net(
        forward, conv1=nn.Conv2d(2, 3, 3, stride=2), upsample=nn.Upsample(scale_factor=2),
        conv2=conv3(3, 2), head=nn.Linear(40, 3),
    )  # fmt: skip


@net("conv relu upsample functional")
def upsampling_bilinear() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.upsample(net.conv1(x).relu())
        x = F.interpolate(net.conv2(x), size=(5, 6), mode="bilinear", align_corners=True)
        return net.head(x.flatten(1))

    return Net(
        forward, conv1=nn.Conv2d(2, 3, 3, stride=2),
        upsample=nn.Upsample(scale_factor=2, mode="bilinear"), conv2=conv3(3, 2),
        head=nn.Linear(60, 3),
    )  # fmt: skip


@net("conv relu maxpool nested dropout")
def nested() -> nn.Module:
    """Paths such as `features.block1.conv`."""

    def block(inputs: int, outputs: int) -> nn.Module:
        def forward(net: Net, x: Tensor) -> Tensor:
            return net.act(net.conv(x))

        return Net(forward, conv=conv3(inputs, outputs), act=nn.ReLU())

    def features(net: Net, x: Tensor) -> Tensor:
        return net.pool(net.block2(net.block1(x)))

    def forward(net: Net, x: Tensor) -> Tensor:
        return net.classifier(net.features(x))

    return Net(
        forward,
        features=Net(features, block1=block(2, 3), block2=block(3, 4), pool=nn.MaxPool2d(2)),
        classifier=nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Sequential(nn.Linear(36, 3))),
    )  # fmt: skip


# --- Constants on the input, masks, gates ---------------------------------------------------------


@net("conv relu scaling", high=255.0)
def divided_by_255() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.conv(x / 255).relu().flatten(1))

    return Net(forward, conv=conv3(2, 3), head=nn.Linear(108, 3))


@net("conv relu scaling", shape=(3, 6, 6))
def standardised() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.conv((x - net.mean) / net.std).relu().flatten(1))

    model = Net(forward, conv=conv3(3, 3), head=nn.Linear(108, 3))
    model.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    model.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    return model


@net("conv relu mask functional")
def masks() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv1(x)
        x = net.conv2(torch.where(x > 0, x, torch.zeros_like(x)))
        x = net.conv3(x * (x > 0))
        return net.head((x * net.window).masked_fill(x < 0, 0.0).flatten(1))

    model = Net(
        forward, conv1=conv3(2, 3), conv2=conv3(3, 3), conv3=conv3(3, 2), head=nn.Linear(72, 3)
    )
    model.register_buffer("window", torch.linspace(0, 1, 6))
    return model


@net("conv relu avgpool gate smooth reuse")
def squeeze_excite() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).relu()
        gate = net.excite(net.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return net.head((x * gate[:, :, None, None]).flatten(1))

    return Net(
        forward, conv=conv3(2, 4), squeeze=nn.Linear(4, 2), excite=nn.Linear(2, 4),
        head=nn.Linear(144, 3),
    )  # fmt: skip


@net("mlp gate smooth residual", shape=(4, 6))
def attention() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = x + net.attend(x, x, x, need_weights=False)[0]
        return net.head(net.norm(x).mean(1))

    return Net(
        forward, attend=nn.MultiheadAttention(6, 2, batch_first=True), norm=nn.LayerNorm(6),
        head=nn.Linear(6, 3),
    )  # fmt: skip


# --- Activations other than ReLU ------------------------------------------------------------------


def _with_activation(name: str, activation: Callable[[], nn.Module], tags: str) -> None:
    def construct() -> nn.Module:
        return nn.Sequential(
            conv3(2, 4), activation(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(36, 6), activation(), nn.Linear(6, 3),
        )  # fmt: skip

    construct.__name__ = name
    net(f"conv avgpool {tags}")(construct)


_with_activation("leaky_relu", lambda: nn.LeakyReLU(0.1), "leaky")
_with_activation("prelu", nn.PReLU, "leaky")
_with_activation("relu6", nn.ReLU6, "leaky")
_with_activation("elu", nn.ELU, "smooth")
_with_activation("silu", nn.SiLU, "smooth")
_with_activation("gelu", nn.GELU, "smooth")
_with_activation("hardswish", nn.Hardswish, "smooth")
_with_activation("softplus", nn.Softplus, "smooth")
_with_activation("tanh", nn.Tanh, "smooth")
_with_activation("sigmoid", nn.Sigmoid, "smooth")


@net("conv leaky functional arithmetic")
def relu6_saturated() -> nn.Module:
    """Reaches the upper kink, which inputs in [0, 1] alone do not."""

    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(F.relu6(8 * net.conv(x)).flatten(1))

    return Net(forward, conv=conv3(2, 4), head=nn.Linear(144, 3))


# --- Trouble --------------------------------------------------------------------------------------


@net("conv relu softmax smooth")
def ends_in_softmax() -> nn.Module:
    return nn.Sequential(conv3(2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3), nn.Softmax(dim=1))


@net("conv relu softmax smooth functional")
def ends_in_log_softmax() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return F.log_softmax(net.head(net.conv(x).relu().flatten(1)), dim=-1)

    return Net(forward, conv=conv3(2, 3), head=nn.Linear(108, 3))


@net("conv relu tuple")
def returns_tuple() -> nn.Module:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        features = net.conv(x).relu()
        return net.head(features.flatten(1)), features

    return Net(forward, conv=conv3(2, 3), head=nn.Linear(108, 3))


def _scripted() -> nn.Module:
    """TorchScript is deprecated, but people still load it: silence what torch says about that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(NETS["plain"].build())


NETS["scripted"] = Case(_scripted, (2, 6, 6), 3, frozenset({"conv", "relu", "maxpool", "opaque"}))


@net("mlp disconnected", shape=(7,))
def ignores_input() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(torch.ones(x.shape[0], 4, dtype=x.dtype))

    return Net(forward, head=nn.Linear(4, 3))


@net("mlp disconnected", shape=(7,))
def detaches_input() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(x.detach())

    return Net(forward, head=nn.Linear(7, 3))


@net("mlp relu no-grad", shape=(7,))
def features_without_grad() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = net.fc(x).relu()
        return net.head(x)

    return Net(forward, fc=nn.Linear(7, 4), head=nn.Linear(4, 3))


class MiddleFailure(RuntimeError):
    """What `raises_in_the_middle` raises, so that a test can tell it from any other error."""


@net("conv relu raises inplace")
def raises_in_the_middle() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        net.conv(x).relu_()
        raise MiddleFailure("the model failed in the middle of its forward pass")

    return Net(forward, conv=conv3(2, 3), head=nn.Linear(108, 3))
