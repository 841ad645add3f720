"""Classifiers with dropout: trained as others are, measured with and without it."""

import torch
from torch import Tensor, nn

from nni_widgets.engine.uncertainty.sources import MCDropout
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.fashion import fashion
from nni_widgets.zoo.training.classifier import accuracy
from nni_widgets.zoo.training.classifier import train as train

SOURCE = MCDropout(n_samples=50, seed=0)
TEST_BATCH = 200


def figures(model: nn.Module) -> dict[str, float]:
    """The figures on all test images."""
    return measured(model, digits("test"))


def measured(model: nn.Module, data: Digits) -> dict[str, float]:
    """The accuracy without dropout, and what the entropy under MC dropout tells apart.

    The areas under the ROC curve are those of the entropy of the mean of 50 thinned networks: of
    what they get wrong over what they get right, and of clothes over digits.
    """
    predicted, doubt = _doubted(model, data.images)
    _, strange = _doubted(model, fashion().images)
    right = predicted == data.labels
    return {
        "test accuracy": accuracy(model, data),
        "entropy AUROC, wrong over right": auroc(doubt[~right], doubt[right]),
        "entropy AUROC, clothes over digits": auroc(strange, doubt),
    }


def auroc(high: Tensor, low: Tensor) -> float:
    """The share of pairs of which the first is larger; equal ones count half."""
    ordered = low.sort().values.contiguous()
    below = torch.searchsorted(ordered, high.contiguous())
    not_above = torch.searchsorted(ordered, high.contiguous(), right=True)
    return ((below + not_above).double().mean() / (2 * len(low))).item()


def _doubted(model: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """What is predicted under MC dropout, and its entropy."""
    answers = [SOURCE(model, batch) for batch in pictures.split(TEST_BATCH)]
    predicted = torch.cat([answer.predicted for answer in answers])
    return predicted, torch.cat([answer.entropy for answer in answers])
