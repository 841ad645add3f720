"""One learning-rate cycle of AdamW: how all classifiers are trained, whatever their pictures."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nni_widgets.zoo.training.store import Report

Batch = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The pictures and labels with these numbers."""

Loss = Callable[[Tensor, Tensor, int], Tensor]
"""The loss of logits, given the labels and the number of the epoch, counted from 1."""


def cross_entropy(logits: Tensor, labels: Tensor, _: int) -> Tensor:
    """The cross-entropy, the same in every epoch."""
    return F.cross_entropy(logits, labels)


def fit(
    model: nn.Module,
    recipe: Any,
    n: int,
    epochs: Callable[[int, torch.Generator], Batch],
    report: Report,
    constrain: Callable[[nn.Module], None] | None = None,
    loss: Loss = cross_entropy,
) -> None:
    """Train a model in place; ``report`` is told the mean loss of each epoch.

    ``epochs(number, generator)`` gives the n pictures of an epoch, counted from 1; what is random
    in them may come from the generator, which also draws their order. ``constrain`` is applied to
    the model after every step.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_learning_rate,
        total_steps=recipe.epochs * -(-n // recipe.batch_size),
        pct_start=recipe.warm_up,
    )
    model.train()
    for epoch in range(1, recipe.epochs + 1):
        total, batch_of = 0.0, epochs(epoch, generator)
        for places in torch.randperm(n, generator=generator).split(recipe.batch_size):
            x, y = batch_of(places)
            error = loss(model(x), y, epoch)
            optimizer.zero_grad()
            torch.autograd.backward(error)
            optimizer.step()
            schedule.step()
            if constrain is not None:
                constrain(model)
            total += error.item() * len(places)
        report(f"epoch {epoch} of {recipe.epochs}: loss {total / n:.4f}")
