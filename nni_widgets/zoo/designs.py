"""The one list of the zoo's models: how each is built and the recipe it was trained by.

A further model is one further entry in ``DESIGNS``; its weights and card are written by
``python -m nni_widgets.zoo.training NAME``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from nni_widgets.zoo.classifiers import (
    MILD,
    Recipe,
    digits_cnn,
    digits_cnn_designed,
    digits_cnn_nobias,
    digits_mlp,
    digits_resnet,
    lower_biases,
)

CYCLE = "AdamW, one learning-rate cycle, cross-entropy"
HELD_OUT = "MNIST, the last 10,000 training images, left out while it was chosen"
TAKEN_OVER = "nothing: it is that of the other models, and the only one that was tried"
TEST_IMAGES = "the test images, so that the test accuracy is slightly optimistic"


@dataclass(frozen=True)
class Design:
    """A model of the zoo before it is trained.

    ``recipe`` is a frozen dataclass with at least a ``seed`` and the number of ``threads``;
    ``recipe_chosen_on`` names the pictures by which it was chosen. ``family`` is the module of
    ``zoo.training`` that trains and measures the model; ``constrain`` is applied to the model after
    every step of the optimizer. ``weights`` reads the weights of a model that was trained elsewhere
    and is part of another package. ``makes`` is what the model gives, unless logits of ``classes``.
    """

    build: Callable[[], nn.Module]
    architecture: str
    recipe: Any
    recipe_chosen_on: str
    family: str = "classifier"
    optimizer: str = CYCLE
    data: str = "MNIST, all 60,000 training images"
    test_data: str = "MNIST, all 10,000 test images"
    input_shape: tuple[int, ...] = (1, 28, 28)
    classes: tuple[str, ...] = tuple("0123456789")
    makes: str = ""
    constrain: Callable[[nn.Module], None] | None = None
    weights: Callable[[], dict[str, Tensor]] | None = None


DESIGNS: dict[str, Design] = {
    "digits-cnn": Design(
        build=digits_cnn,
        architecture=(
            "three 3 x 3 convolutions (16, 32, 64 channels), each with ReLU and 2 x 2 max-pooling, "
            "then two linear layers (64 units with ReLU, 10 logits)"
        ),
        recipe=Recipe(),
        recipe_chosen_on=TEST_IMAGES,
    ),
    "digits-cnn-nobias": Design(
        build=digits_cnn_nobias,
        architecture="digits-cnn without biases",
        recipe=replace(MILD, epochs=8),
        recipe_chosen_on=HELD_OUT,
    ),
    "digits-cnn-designed": Design(
        build=digits_cnn_designed,
        architecture=(
            "three 3 x 3 convolutions (16, 32, 64 channels), each with ReLU and 2 x 2 average "
            "pooling, dropout of 25 %, then one linear layer (10 logits); no bias is above zero "
            "(clamped after each step)"
        ),
        recipe=replace(MILD, epochs=10),
        recipe_chosen_on=HELD_OUT,
        constrain=lower_biases,
    ),
    "digits-mlp": Design(
        build=digits_mlp,
        architecture="three linear layers (512 and 100 units with ReLU, 10 logits)",
        recipe=replace(MILD, epochs=10),
        recipe_chosen_on=HELD_OUT,
    ),
    "digits-resnet": Design(
        build=digits_resnet,
        architecture=(
            "a 3 x 3 convolution (16 channels) with batch-norm, ReLU and 2 x 2 max-pooling, three "
            "residual blocks of two 3 x 3 convolutions with batch-norm (16, 32, 64 channels, the "
            "last two with stride 2), the mean over all places, then one linear layer (10 logits)"
        ),
        recipe=replace(MILD, epochs=10),
        recipe_chosen_on=TAKEN_OVER,
    ),
}
