"""The one list of the zoo's models: how each is built and the recipe it was trained by.

A further model is one further entry in ``DESIGNS``; its weights and card are written by
``python -m nni_widgets.zoo.training NAME``.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Recipe:
    """The numbers by which a classifier of digits is trained on distorted pictures.

    From ``rotation_degrees`` on they are the largest distortions of a picture. ``scale`` is common
    to both axes, ``aspect`` each axis' own; ``thinning`` and ``thickening`` are the largest shares
    of the eroded or dilated picture.
    """

    seed: int = 0
    threads: int = 1
    epochs: int = 16
    batch_size: int = 128
    peak_learning_rate: float = 3e-3
    warm_up: float = 0.2
    weight_decay: float = 1e-4
    rotation_degrees: float = 12.0
    scale: float = 0.2
    aspect: float = 0.1
    shear_degrees: float = 8.0
    shift_pixels: float = 4.0
    elastic_pixels: float = 1.5
    thinning: float = 0.3
    thickening: float = 0.6


@dataclass(frozen=True)
class Design:
    """A model of the zoo before it is trained."""

    build: Callable[[], nn.Module]
    architecture: str
    recipe: Recipe


def digits_cnn() -> nn.Module:
    """28 x 28 pixels to ten logits; each ReLU stands before its max-pooling."""
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
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * 3 * 3, 64),
            relu4=nn.ReLU(),
            fc2=nn.Linear(64, 10),
        )
    )


DESIGNS: dict[str, Design] = {
    "digits-cnn": Design(
        build=digits_cnn,
        architecture=(
            "three 3 x 3 convolutions (16, 32, 64 channels), each with ReLU and 2 x 2 max-pooling, "
            "then two linear layers (64 units with ReLU, 10 logits)"
        ),
        recipe=Recipe(),
    ),
}
