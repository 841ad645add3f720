"""Ensembles: each member is trained alone, from other initial weights and in another order."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.training import cycle
from nni_widgets.zoo.training.classifier import accuracy
from nni_widgets.zoo.training.left_out import training_digits
from nni_widgets.zoo.training.store import Report


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Build an ensemble and train it by its recipe, on its training images unless others are given.

    The pictures are as they are: nothing keeps a member from being too sure. The global random
    state is left alone.
    """
    data = training_digits(design.left_out) if data is None else data
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model: Any = design.build()
        for number, member in enumerate(model.members):
            recipe = replace(design.recipe, seed=design.recipe.seed + number)
            cycle.fit(member, recipe, len(data), lambda *_: data.__getitem__, report)
    trained: nn.Module = model.eval()
    return trained


def figures(model: nn.Module) -> dict[str, float]:
    """The figures on all test images."""
    return measured(model, digits("test"))


def measured(model: Any, data: Digits) -> dict[str, float]:
    """The accuracy of all members together, and their mean accuracy alone."""
    alone = [accuracy(member, data) for member in model.members]
    return {
        "test accuracy": accuracy(model, data),
        "mean accuracy of a member": sum(alone) / len(alone),
    }
