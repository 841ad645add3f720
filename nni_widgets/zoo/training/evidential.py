"""Evidential classifiers: trained to find evidence, measured by what they do without any."""

import torch
from torch import Tensor, nn

from nni_widgets.engine.uncertainty.evidential import dirichlet, evidential_loss
from nni_widgets.zoo.classifiers import EVIDENCE
from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.training import classifier
from nni_widgets.zoo.training.store import Report

TEST_BATCH = 500


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Build a model and train it by its recipe, on its training images unless others are given.

    In the first epoch misleading evidence costs nothing, so that there is some for each class: one
    for which there is none never comes back. The global random state is left alone.
    """

    def loss(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        return evidential_loss(logits, labels, epoch - 1, design.recipe.epochs, EVIDENCE)

    return classifier.train(design, report, data, loss)


def figures(model: nn.Module) -> dict[str, float]:
    """The figures on all test images."""
    return measured(model, digits("test"))


@torch.no_grad()
def measured(model: nn.Module, data: Digits) -> dict[str, float]:
    """The accuracy, and the mean uncertainty u of what is right and of what is wrong.

    What is predicted is read from the logits, which rounding never makes equal as it does tiny
    evidence.
    """
    batches = data.images.split(TEST_BATCH)
    right = torch.cat([model(batch).argmax(1) for batch in batches]) == data.labels
    u = torch.cat([dirichlet(model, batch).uncertainty for batch in batches])
    return {
        "test accuracy": right.double().mean().item(),
        "mean u where right": u[right].mean().item(),
        "mean u where wrong": u[~right].mean().item(),
    }
