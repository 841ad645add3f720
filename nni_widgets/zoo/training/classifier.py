"""Classifiers of single digits: trained on distorted pictures, measured on all test images."""

import torch
from torch import Tensor, nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.training import cycle
from nni_widgets.zoo.training.augmentation import augment
from nni_widgets.zoo.training.store import Report

TEST_BATCH = 500


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Build a model and train it by its recipe, on all training images unless others are given.

    The global random state is left alone.
    """
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model = design.build()
        fit(model, design, digits("train") if data is None else data, report)
    return model.eval()


def fit(model: nn.Module, design: Design, data: Digits, report: Report) -> None:
    """Train a model in place on pictures that are distorted anew in each epoch."""

    def distorted(_: int, generator: torch.Generator) -> cycle.Batch:
        def batch(places: Tensor) -> tuple[Tensor, Tensor]:
            x, y = data[places]
            return augment(x, design.recipe, generator), y

        return batch

    cycle.fit(model, design.recipe, len(data), distorted, report, design.constrain)


def figures(model: nn.Module) -> dict[str, float]:
    """The accuracy on all test images."""
    return {"test accuracy": accuracy(model, digits("test"))}


def validate(design: Design, n: int, report: Report) -> None:
    """Train without the last ``n`` training images and tell the accuracy on them.

    Raises ``ValueError`` if no image would be left.
    """
    data = digits("train")
    if n >= len(data):
        raise ValueError(f"validate: n must be less than {len(data)}; got {n}. Leave fewer out.")
    rest, held_out = split(data, n)
    reached = accuracy(train(design, report, rest), held_out)
    report(f"{reached:.2%} on {n:,} training images that were left out")


def split(data: Digits, n: int) -> tuple[Digits, Digits]:
    """The pictures without the last ``n``, and these."""

    def part(places: slice) -> Digits:
        x, y = data[places]
        return Digits((x * 255).round().byte(), y)

    return part(slice(None, -n)), part(slice(-n, None))


@torch.no_grad()
def accuracy(model: nn.Module, data: Digits) -> float:
    """The share of pictures whose largest logit is that of their label."""
    hits = 0
    for start in range(0, len(data), TEST_BATCH):
        x, y = data[start : start + TEST_BATCH]
        hits += int((model(x).argmax(1) == y).sum())
    return hits / len(data)
