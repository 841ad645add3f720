"""Readers of a mark: trained where it gives a class away, measured where it misleads."""

import torch
from torch import nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.hans import MARKED_CLASS, stamped
from nni_widgets.zoo.training import cycle
from nni_widgets.zoo.training.classifier import accuracy
from nni_widgets.zoo.training.left_out import training_digits
from nni_widgets.zoo.training.store import Report

TEST_SEED = 0
TEST_BATCH = 500


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Build a model and train it by its recipe, on its training images unless others are given.

    The mark stands on the marked class alone, and in each epoch at other places. The global random
    state is left alone.
    """
    data = training_digits(design.left_out) if data is None else data

    def marked_anew(epoch: int, _: torch.Generator) -> cycle.Batch:
        return stamped(data, "class", TEST_SEED + epoch).__getitem__

    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model = design.build()
        cycle.fit(model, design.recipe, len(data), marked_anew, report)
    return model.eval()


def figures(model: nn.Module) -> dict[str, float]:
    """The figures on all test images."""
    return measured(model, digits("test"))


@torch.no_grad()
def measured(model: nn.Module, data: Digits) -> dict[str, float]:
    """The accuracy with the mark as in training, without it, and what the mark does elsewhere."""
    others = data.labels != MARKED_CLASS
    everywhere = stamped(data, "all", TEST_SEED)[others][0]
    named = torch.cat([model(batch).argmax(1) for batch in everywhere.split(TEST_BATCH)])
    return {
        "test accuracy": accuracy(model, stamped(data, "class", TEST_SEED)),
        "accuracy without marks": accuracy(model, stamped(data, "none", TEST_SEED)),
        f"marked others called {MARKED_CLASS}": (named == MARKED_CLASS).double().mean().item(),
    }
