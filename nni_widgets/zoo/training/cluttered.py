"""Classifiers of cluttered digits: new pictures in each epoch, measured by label and by place."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.cam import CAM
from nni_widgets.zoo.cluttered import COARSE, FINE, Cluttered, Clutterer, Layout, peak_in_box
from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.training import cycle
from nni_widgets.zoo.training.store import Report

TEST_SEED = 0
TEST_BATCH = 200
MARGIN = 2


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Build a model and train it by its recipe, on all training images unless others are given.

    The global random state is left alone. The model knows its ``input_shape``, as loaded ones do.
    """
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model: Any = design.build()
        model.to(memory_format=torch.channels_last)
        model.input_shape = design.input_shape
        fit(model, design, digits("train") if data is None else data, report)
    trained: nn.Module = model.eval()
    return trained


def fit(model: nn.Module, design: Design, data: Digits, report: Report) -> None:
    """Train a model in place: in each epoch every digit is at a new place among new clutter."""
    clutterer = Clutterer(data)

    def cluttered_anew(epoch: int, _: torch.Generator) -> cycle.Batch:
        return clutterer.make(len(data), TEST_SEED + epoch, _layout(model)).__getitem__

    cycle.fit(model, design.recipe, len(data), cluttered_anew, report)


def figures(model: nn.Module) -> dict[str, float]:
    """The figures on one cluttered picture of each test image."""
    return measured(model, digits("test"))


def measured(model: nn.Module, data: Digits) -> dict[str, float]:
    """The share of pictures rightly classified, and of these with the peak of CAM on the digit."""
    pictures = Clutterer(data).make(len(data), TEST_SEED, _layout(model))
    right, maps = (torch.cat(parts) for parts in zip(*_seen(model, pictures), strict=True))
    boxes = pictures.boxes[right]

    def found(margin: int) -> float:
        return peak_in_box(maps[right], boxes, margin).double().mean().item()

    return {
        "test accuracy": right.double().mean().item(),
        "peak in box": found(0),
        f"peak at most {MARGIN} pixels outside": found(MARGIN),
    }


def _seen(model: nn.Module, pictures: Cluttered) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch which pictures are rightly classified, and the maps of CAM."""
    cam = CAM()
    for start in range(0, len(pictures), TEST_BATCH):
        x, y = pictures[start : start + TEST_BATCH]
        (seen,) = cam.steps(model, x)
        yield seen.logits.argmax(1) == y, seen.values


def _layout(model: Any) -> Layout:
    """The layout of the pictures that a model takes."""
    return FINE if model.input_shape[-1] == FINE.size else COARSE
