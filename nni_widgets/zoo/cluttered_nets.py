"""The networks for cluttered digits, whose last maps are averaged and then read by one dense layer.

They are a pair: the maps of the one are coarse (10 x 10), those of the other fine (30 x 30).
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ClutteredRecipe:
    """The numbers by which a classifier of cluttered digits is trained.

    Each epoch shows every training digit once, at a new place among new clutter.
    """

    seed: int = 0
    threads: int = 1
    epochs: int = 6
    batch_size: int = 64
    peak_learning_rate: float = 3e-3
    warm_up: float = 0.2
    weight_decay: float = 1e-4


def cluttered_cam() -> nn.Module:
    """40 x 40 pixels to 64 maps of 10 x 10, their averages, and ten logits."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(64, 64, 3, padding=1),
            relu4=nn.ReLU(),
            average=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, 10),
        )
    )


def cluttered_cam_fine() -> nn.Module:
    """60 x 60 pixels to 48 maps of 30 x 30, their averages, and ten logits.

    Only the first layer makes the maps smaller. Where ``cluttered_cam`` pools, filters are spread
    instead (dilated), so that a place still sees a whole digit; those of the last layer are not,
    as the map would look like a grid.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 24, 3, padding=2, dilation=2, bias=False),
            bn2=nn.BatchNorm2d(24),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(24, 32, 3, padding=2, dilation=2, bias=False),
            bn3=nn.BatchNorm2d(32),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(32, 48, 3, padding=1, bias=False),
            bn4=nn.BatchNorm2d(48),
            relu4=nn.ReLU(),
            average=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(48, 10),
        )
    )
