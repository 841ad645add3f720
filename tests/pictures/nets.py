"""Tiny networks whose sums can be computed by hand, and explanations with changed values."""

import dataclasses

import torch
from torch import nn

from nni_widgets.engine.composites import Uniform
from nni_widgets.engine.methods import LRP
from nni_widgets.engine.rules import Epsilon
from nni_widgets.pictures import Explanation

LRP_EPSILON = LRP(Uniform(Epsilon(epsilon=0.01)))
X = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 4.0]])[None, None]

RAMP = torch.tensor([[-3.0, -2.0, -1.0], [0.0, 1.0, 2.0]])


def ramp(bias: float = 0.0) -> nn.Sequential:
    """Two logits of a (1, 2, 3) picture: the pixels times RAMP plus a bias, and always −100."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([RAMP.flatten(), torch.zeros(6)]))
        model[1].bias.copy_(torch.tensor([bias, -100.0]))
    return model.eval()


def convolutional() -> nn.Sequential:
    """A 12 × 12 picture of 3 channels to 4 logits, with random weights and biases."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 4)
    ).eval()


def dense() -> nn.Sequential:
    """Six features to 3 logits, with random weights and biases."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def with_values(e: Explanation, values: torch.Tensor) -> Explanation:
    """The explanation with another attribution."""
    return dataclasses.replace(e, result=dataclasses.replace(e.result, values=values))
