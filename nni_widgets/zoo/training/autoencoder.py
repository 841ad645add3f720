"""Autoencoders: trained to copy pictures, then a mixture of Gaussians is fitted to their codes."""

from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.generators import Autoencoder
from nni_widgets.zoo.training import mixture
from nni_widgets.zoo.training.samples import judged
from nni_widgets.zoo.training.store import Report

BATCH = 500


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Train an autoencoder on all training pictures, unless others are given.

    The global random state is left alone.
    """
    data = digits("train") if data is None else data
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model: Any = design.build()
        fit(model, design, data, report)
        codes = torch.cat([model.encode(batch) for batch in data.images.split(BATCH)]).detach()
        mixture.fit(model.codes, codes, data.labels, design.recipe.mixture_rounds, report)
    trained: nn.Module = model.eval()
    return trained


def fit(model: Autoencoder, design: Design, data: Digits, report: Report) -> None:
    """Make the reconstructions like the pictures; their error becomes that of the model.

    ``report`` is told the squared error per pixel of each epoch.
    """
    recipe = design.recipe
    optimizer = torch.optim.AdamW([*model.encoder.parameters(), *model.decoder.parameters()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_learning_rate,
        total_steps=recipe.epochs * -(-len(data) // recipe.batch_size),
        pct_start=recipe.warm_up,
    )
    for epoch in range(recipe.epochs):
        total = 0.0
        for batch in torch.randperm(len(data)).split(recipe.batch_size):
            x, _ = data[batch]
            loss = (x - model(x)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        report(f"epoch {epoch + 1} of {recipe.epochs}: squared error {total / len(data):.5f}")
    with torch.no_grad():
        model.error.copy_(squared_error(model, data.images).sqrt())


@torch.no_grad()
def squared_error(model: nn.Module, pictures: Tensor) -> Tensor:
    """The mean squared error per pixel of the reconstructions of pictures."""
    return torch.stack(
        [(batch - model(batch)).square().mean(0) * len(batch) for batch in pictures.split(BATCH)]
    ).sum(0).mean() / len(pictures)


def figures(model: nn.Module) -> dict[str, float]:
    """Samples as ``digits-cnn`` judges them, and how well all test pictures are reconstructed.

    The last is the error's share of the pictures' variance, taken over all pixels together.
    """
    test = digits("test").images
    unexplained = squared_error(model, test) / (test - test.mean(0)).square().mean()
    return {**judged(model), "test variance left": unexplained.item()}
