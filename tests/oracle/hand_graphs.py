"""Networks of the catalogue written out a second time, as graphs, by hand.

`HAND[name](model)` is the graph of `NETS[name]`; `random_graph(model)` that of any `RandomNet`.
Where a network leaves a choice, the graphs take these:
- A batch-norm is merged into the convolution or linear layer whose output it alone reads; any other
  batch-norm is an affine layer of its own.
- Constants applied to the input (`standardised`, `divided_by_255`) are an affine layer of their
  own, node 1: give it a rule by `rules={1: ...}`.
- Cells added by an explicit `F.pad` are cells; what is shared out to them is lost.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import nn

from .graph import Graph
from .random_nets import SHAPE, Branches, Preactivated, RandomNet, Residual

HAND: dict[str, Callable[[Any], Graph]] = {}


def by_hand(write: Callable[[Any], Graph]) -> Callable[[Any], Graph]:
    HAND[write.__name__] = write
    return write


@by_hand
def plain(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.maxpool(g.relu(g.affine(0, model[0])), kernel=2, stride=2)
    h = g.flatten(g.relu(g.affine(h, model[3])))
    h = g.relu(g.affine(h, model[6]))
    g.affine(h, model[8])
    return g


HAND["plain_bias_free"] = plain


@by_hand
def pool_before_relu(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.maxpool(g.affine(0, model[0]), kernel=2, stride=2))
    g.affine(g.flatten(h), model[4])
    return g


@by_hand
def overlapping_padded_maxpool(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.maxpool(g.affine(0, model[0]), kernel=3, stride=2, padding=1))
    g.affine(g.flatten(h), model[4])
    return g


@by_hand
def mlp(model: Any) -> Graph:
    g = Graph((7,))
    h = g.relu(g.affine(0, model[0]))
    h = g.relu(g.affine(h, model[2]))
    g.affine(h, model[4])
    return g


HAND["mlp_bias_free"] = mlp


@by_hand
def conv1d(model: Any) -> Graph:
    g = Graph((2, 12))
    h = g.maxpool(g.relu(g.affine(0, model[0])), kernel=2, stride=2)
    h = g.relu(g.affine(h, model[3], norm=model[4]))
    g.affine(g.flatten(g.average(h, model[6])), model[8])
    return g


@by_hand
def conv3d(model: Any) -> Graph:
    g = Graph((1, 4, 4, 4))
    h = g.maxpool(g.relu(g.affine(0, model[0], norm=model[1])), kernel=2, stride=2)
    h = g.average(g.relu(g.affine(h, model[4])), model[6])
    g.affine(g.flatten(h), model[8])
    return g


@by_hand
def signals(model: Any) -> Graph:
    g = Graph((2, 12))
    h = g.maxpool(g.activation(g.affine(0, model[0]), model[1]), kernel=2, stride=2)
    h = g.activation(g.affine(h, model[3]), model[4])
    g.affine(g.flatten(g.average(h, model[5])), model[7])
    return g


@by_hand
def volumes(model: Any) -> Graph:
    g = Graph((1, 4, 4, 4))
    h = g.average(g.relu(g.affine(0, model[0])), model[2])
    h = g.maxpool(g.relu(g.affine(h, model[3])), kernel=2, stride=2)
    g.affine(g.flatten(h), model[7])
    return g


@by_hand
def functional_relu(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.maxpool(g.relu(g.affine(0, model.conv1)), kernel=2, stride=2)
    for conv in (model.conv2, model.conv3, model.conv4):
        h = g.relu(g.affine(h, conv))
    h = g.relu(g.affine(g.flatten(h), model.fc1))
    g.affine(h, model.fc2)
    return g


@by_hand
def shared_conv(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model.conv))
    h = g.relu(g.affine(h, model.conv))
    g.affine(g.flatten(h), model.head)
    return g


@by_hand
def residual(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    stem = g.relu(g.affine(0, model.stem))
    h = g.affine(g.relu(g.affine(stem, model.conv1)), model.conv2)
    h = g.relu(g.add(stem, h))
    g.affine(g.flatten(h), model.head)
    return g


HAND["residual_bias_free"] = residual


@by_hand
def residual_inplace(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    x = g.affine(0, model.stem)
    x = g.add(x, g.affine(g.relu(x), model.conv1))
    x = g.add(x, g.affine(g.relu(x), model.conv2))
    y = g.relu(g.add(g.affine(x, model.conv3), x))
    g.affine(g.flatten(y), model.head)
    return g


@by_hand
def stem_used_three_times(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    stem = g.relu(g.affine(0, model.stem))
    first = g.add(stem, g.affine(stem, model.conv1))
    second = g.add(g.relu(first), g.affine(stem, model.conv2))
    g.affine(g.flatten(g.add(second, stem)), model.head)
    return g


@by_hand
def input_used_twice(model: Any) -> Graph:
    g = Graph((5,))
    h = g.add(0, g.relu(g.affine(0, model.fc)))
    g.add(g.affine(h, model.head), g.affine(0, model.skip))
    return g


@by_hand
def bottleneck(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model[0], norm=model[1]))
    for block in model[3]:
        y = g.relu(g.affine(h, block.conv1, norm=block.bn1))
        y = g.relu(g.affine(y, block.conv2, norm=block.bn2))
        y = g.affine(y, block.conv3, norm=block.bn3)
        shortcut = h
        if isinstance(block.downsample, nn.Sequential):
            shortcut = g.affine(h, block.downsample[0], norm=block.downsample[1])
        h = g.relu(g.add(y, shortcut))
    g.affine(g.flatten(g.average(h, model[4])), model[6])
    return g


@by_hand
def conv_norm_relu(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.maxpool(g.relu(g.affine(0, model[0], norm=model[1])), kernel=2, stride=2)
    h = g.relu(g.affine(h, model[4], norm=model[5]))
    g.affine(g.flatten(h), model[8])
    return g


@by_hand
def norm_without_affine(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model[0], norm=model[1]))
    g.affine(g.flatten(h), model[4])
    return g


@by_hand
def mlp_norm(model: Any) -> Graph:
    g = Graph((7,))
    h = g.relu(g.affine(0, model[0], norm=model[1]))
    g.affine(h, model[3], norm=model[4])
    return g


@by_hand
def norm_first(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(g.affine(0, model[0]), model[1]))
    g.affine(g.flatten(g.affine(h, model[3])), model[5])
    return g


@by_hand
def norm_on_a_conv_used_twice(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    x = g.affine(0, model.conv)
    h = g.add(x, g.relu(g.affine(x, model.norm)))
    g.affine(g.flatten(h), model.head)
    return g


@by_hand
def one_conv_two_norms(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model.conv, norm=model.norm1))
    h = g.relu(g.affine(h, model.conv, norm=model.norm2))
    g.affine(g.flatten(h), model.head)
    return g


@by_hand
def dense_block(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    x = g.affine(0, model.stem)
    x = g.concat(x, g.affine(g.relu(g.affine(x, model.norm1)), model.conv1))
    x = g.concat(x, g.affine(g.relu(g.affine(x, model.norm2)), model.conv2))
    h = g.affine(g.relu(g.affine(x, model.norm3)), model.transition)
    g.affine(g.flatten(g.average(h, nn.AvgPool2d(2))), model.head)
    return g


@by_hand
def average_pool(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.average(g.relu(g.affine(0, model[0])), model[2])
    h = g.relu(g.average(g.affine(h, model[3]), model[4]))
    g.affine(g.flatten(h), model[7])
    return g


@by_hand
def adaptive_average_pool(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.average(g.relu(g.affine(0, model[0])), model[2])
    g.affine(g.flatten(h), model[4])
    return g


@by_hand
def global_mean(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.average(g.relu(g.affine(0, model.conv)), lambda x: x.mean((2, 3)))
    g.affine(h, model.head)
    return g


@by_hand
def branches(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.concat(g.relu(g.affine(0, model.wide)), g.relu(g.affine(0, model.narrow)), 0)
    g.affine(g.flatten(h), model.head)
    return g


HAND["branches_bias_free"] = branches


@by_hand
def split_and_chunk(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model.conv))
    bottom_above_top = g.gather(h, lambda x: x[:, :3, [4, 5, 0, 1]].flatten(1))
    first = g.gather(h, lambda x: x[:, 3].flatten(1))
    every_second_row = g.gather(h, lambda x: x[:, 5, [0, 2, 4]].flatten(1))
    g.affine(g.concat(bottom_above_top, first, every_second_row), model.head)
    return g


@by_hand
def reshapes(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.gather(g.relu(g.affine(0, model.conv)), lambda x: x.permute(0, 2, 3, 1))
    h = g.gather(g.affine(h, model.channels), lambda x: x.transpose(1, 3).flatten(1))
    g.affine(h, model.head)
    return g


@by_hand
def grouped_dilated_strided(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = 0
    for conv in (model[0], model[2], model[4]):
        h = g.relu(g.affine(h, conv))
    g.affine(g.flatten(h), model[7])
    return g


@by_hand
def transposed_conv(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(g.relu(g.affine(0, model[0])), model[2]))
    g.affine(g.flatten(h), model[5])
    return g


@by_hand
def upsampling(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model.conv1))
    h = g.gather(h, lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    h = g.relu(g.affine(h, model.conv2))
    rows, columns = [0, 0, 1, 2, 3], [0, 1, 2, 3]
    h = g.gather(h, lambda x: x[:, :, rows][:, :, :, columns])
    g.affine(g.flatten(h), model.head)
    return g


@by_hand
def upsampling_bilinear(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.average(g.relu(g.affine(0, model.conv1)), model.upsample)
    h = g.affine(h, model.conv2)
    stretched = partial(F.interpolate, size=(5, 6), mode="bilinear", align_corners=True)
    g.affine(g.flatten(g.average(h, stretched)), model.head)
    return g


@by_hand
def standardised(model: Any) -> Graph:
    g = Graph((3, 6, 6))
    mean, std = model.mean[0].double(), model.std[0].double()
    h = g.relu(g.affine(g.scale(0, 1 / std, -mean / std), model.conv))
    g.affine(g.flatten(h), model.head)
    return g


@by_hand
def divided_by_255(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(g.scale(0, 1 / 255), model.conv))
    g.affine(g.flatten(h), model.head)
    return g


@by_hand
def doubled(model: Any) -> Graph:
    g = Graph((5,))
    h = g.relu(g.affine(0, model.fc))
    g.affine(g.add(h, h), model.head)
    return g


@by_hand
def unused_branch(model: Any) -> Graph:
    g = Graph((5,))
    g.affine(g.relu(g.affine(0, model.fc)), model.head)
    return g


@by_hand
def nested(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.relu(g.affine(0, model.features.block1.conv))
    h = g.relu(g.affine(h, model.features.block2.conv))
    g.affine(g.flatten(g.maxpool(h, kernel=2, stride=2)), model.classifier[2][0])
    return g


@by_hand
def explicit_padding(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.affine(g.average(0, lambda x: F.pad(x, (0, 1, 2, 0))), model.conv1)
    h = g.affine(g.average(g.relu(h), lambda x: F.pad(x, (1, 1, 1, 1))), model.conv2)
    g.affine(g.flatten(g.relu(h)), model.head)
    return g


@by_hand
def leaky_relu(model: Any) -> Graph:
    g = Graph((2, 6, 6))
    h = g.average(g.activation(g.affine(0, model[0]), model[1]), model[2])
    h = g.activation(g.affine(g.flatten(h), model[4]), model[5])
    g.affine(h, model[6])
    return g


for smooth in ("elu", "silu", "gelu", "hardswish", "softplus", "tanh", "sigmoid", "relu6"):
    HAND[smooth] = leaky_relu


def random_graph(model: RandomNet) -> Graph:
    """The graph of a random network, block by block."""
    g = Graph(SHAPE)
    h = 0
    steps = list(model.steps)
    while steps:
        step = steps.pop(0)
        match step:
            case nn.Conv2d():
                norm = steps.pop(0) if steps and isinstance(steps[0], nn.BatchNorm2d) else None
                h = g.affine(h, step, norm=norm)
            case nn.BatchNorm2d():
                h = g.affine(h, step)
            case nn.ReLU():
                h = g.relu(h)
            case nn.LeakyReLU():
                h = g.activation(h, step)
            case nn.MaxPool2d():
                h = g.maxpool(h, kernel=2, stride=2)
            case nn.AvgPool2d():
                h = g.average(h, step)
            case nn.Dropout():
                pass
            case Residual():
                h = g.add(h, g.affine(g.relu(g.affine(h, step.conv1)), step.conv2))
            case Preactivated():
                h = g.add(h, g.affine(g.relu(g.affine(h, step.norm)), step.conv))
            case Branches():
                h = g.concat(g.relu(g.affine(h, step.conv)), h)
            case _:
                raise TypeError(f"no hand-written graph for {step}")
    g.affine(g.flatten(h), model.head)
    return g
