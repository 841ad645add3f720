"""Classifiers of single digits: trained on distorted pictures, measured on all test images."""

import torch
from torch import Tensor, nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.training import cycle
from nni_widgets.zoo.training.augmentation import augment
from nni_widgets.zoo.training.left_out import training_digits
from nni_widgets.zoo.training.store import Report

TEST_BATCH = 500


def train(
    design: Design,
    report: Report,
    data: Digits | None = None,
    loss: cycle.Loss = cycle.cross_entropy,
) -> nn.Module:
    """Build a model and train it by its recipe, on its training images unless others are given.

    The global random state is left alone.
    """
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model = design.build()
        fit(model, design, training_digits(design.left_out) if data is None else data, report, loss)
    return model.eval()


def fit(model: nn.Module, design: Design, data: Digits, report: Report, loss: cycle.Loss) -> None:
    """Train a model in place on pictures that are distorted anew in each epoch."""

    def distorted(_: int, generator: torch.Generator) -> cycle.Batch:
        def batch(places: Tensor) -> tuple[Tensor, Tensor]:
            x, y = data[places]
            return augment(x, design.recipe, generator), y

        return batch

    cycle.fit(model, design.recipe, len(data), distorted, report, design.constrain, loss)


def figures(model: nn.Module) -> dict[str, float]:
    """The accuracy on all test images."""
    return measured(model, digits("test"))


def measured(model: nn.Module, data: Digits) -> dict[str, float]:
    """The accuracy on some pictures."""
    return {"test accuracy": accuracy(model, data)}


@torch.no_grad()
def accuracy(model: nn.Module, data: Digits) -> float:
    """The share of pictures whose largest logit is that of their label."""
    hits = 0
    for start in range(0, len(data), TEST_BATCH):
        x, y = data[start : start + TEST_BATCH]
        hits += int((model(x).argmax(1) == y).sum())
    return hits / len(data)
