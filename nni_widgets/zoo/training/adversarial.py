"""Generators of digits, each trained against a discriminator that also learns the ten classes.

The discriminator gives ten logits, and with Z the sum of their exponentials a picture is real with
the probability Z / (Z + 1) (Salimans et al. 2016, Improved techniques for training GANs, section
5). The generator wants its pictures to be taken for real, each for one class, and all classes to
be equally frequent (Springenberg 2016, Unsupervised and semi-supervised learning with categorical
GANs). Without the last wish it hardly makes any 0.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.generators import (
    PIXELS,
    AdversarialRecipe,
    digits_dcgan,
    digits_gan,
)
from nni_widgets.zoo.training.samples import judged
from nni_widgets.zoo.training.store import Report

BETAS = (0.5, 0.999)
LEAK = 0.2
N_CLASSES = 10
NORM_BATCHES, NORM_BATCH = 20, 500

figures = judged


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Train a generator on all training pictures, unless others are given.

    The result has the exponential mean of its weights. The global random state is left alone.
    """
    recipe = design.recipe
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        duel = Duel(design, digits("train") if data is None else data)
        for epoch in range(recipe.epochs):
            told = duel.epoch()
            report(f"epoch {epoch + 1} of {recipe.epochs}: {told}")
        return duel.result()


class Duel:
    """A generator, its discriminator, and all that changes while they are trained."""

    def __init__(self, design: Design, data: Digits) -> None:
        self.recipe: AdversarialRecipe = design.recipe
        self.data = data
        self.generator: Any = design.build()
        self.discriminator = DISCRIMINATORS[design.build](self.recipe.dropout)
        self.mean = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(self.recipe.averaging)
        )
        self.optimizers = [
            torch.optim.Adam(player.parameters(), self.recipe.learning_rate, BETAS)
            for player in (self.generator, self.discriminator)
        ]
        n_steps = self.recipe.epochs * -(-len(data) // self.recipe.batch_size)
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: max(0.0, min(1.0, 2 * (1 - step / n_steps)))
            )
            for optimizer in self.optimizers
        ]

    def epoch(self) -> str:
        """Show the discriminator each picture once; tells the mean losses of both."""
        totals = torch.zeros(2)
        for batch in torch.randperm(len(self.data)).split(self.recipe.batch_size):
            losses = self.step(*self.data[batch])
            totals += torch.stack(losses) * len(batch)
            for schedule in self.schedules:
                schedule.step()
            self.mean.update_parameters(self.generator)
        generator, discriminator = (totals / len(self.data)).tolist()
        return f"loss {generator:.3f} of the generator, {discriminator:.3f} of the discriminator"

    def step(self, real: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the discriminator, then one of the generator on the same pictures."""
        made = self.generator(torch.randn(len(real), self.generator.code_size))
        for_generator, for_discriminator = self.optimizers

        of_real, of_made = self.discriminator(torch.cat([real, made.detach()])).chunk(2)
        discriminator_loss = against_generator(of_real, of_made, labels)
        _descend(for_discriminator, discriminator_loss)

        self.discriminator.requires_grad_(False)
        of_made = self.discriminator(made)
        generator_loss = against_discriminator(of_made, self.recipe.certainty, self.recipe.balance)
        _descend(for_generator, generator_loss)
        self.discriminator.requires_grad_(True)
        return generator_loss.detach(), discriminator_loss.detach()

    def result(self) -> nn.Module:
        """The generator with its mean weights, and batch-norms that fit these."""
        model = self.mean.module
        codes = [torch.randn(NORM_BATCH, self.generator.code_size) for _ in range(NORM_BATCHES)]
        with torch.no_grad():
            update_bn(codes, model)
        return model.eval()


def against_generator(real: Tensor, made: Tensor, labels: Tensor) -> Tensor:
    """The discriminator's loss from its logits: real or made, and which class if real."""
    reality = F.softplus(-real.logsumexp(1)).mean() + F.softplus(made.logsumexp(1)).mean()
    return reality + F.cross_entropy(real, labels)


def against_discriminator(made: Tensor, certainty: float, balance: float) -> Tensor:
    """The generator's loss from the logits of its pictures.

    ``certainty`` weighs the mean entropy of p(class | picture), ``balance`` the divergence of the
    classes' mean probabilities from equal ones.
    """
    log_p = made.log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1).mean()
    share = log_p.exp().mean(0)
    divergence = (share * share.log()).sum() + math.log(made.shape[1])
    return F.softplus(-made.logsumexp(1)).mean() + certainty * entropy + balance * divergence


def dense_discriminator(dropout: float) -> nn.Module:
    """784 pixels to 512 and 256 units and ten logits."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(PIXELS, 512),
            relu1=nn.LeakyReLU(LEAK),
            dropout1=nn.Dropout(dropout),
            fc2=nn.Linear(512, 256),
            relu2=nn.LeakyReLU(LEAK),
            dropout2=nn.Dropout(dropout),
            fc3=nn.Linear(256, N_CLASSES),
        )
    )


def convolutional_discriminator(dropout: float) -> nn.Module:
    """28 x 28 pixels to 32 maps of 14 x 14, 64 of 7 x 7 places, and ten logits."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 32, 4, stride=2, padding=1),
            relu1=nn.LeakyReLU(LEAK),
            dropout1=nn.Dropout2d(dropout),
            conv2=nn.Conv2d(32, 64, 4, stride=2, padding=1),
            relu2=nn.LeakyReLU(LEAK),
            dropout2=nn.Dropout2d(dropout),
            flatten=nn.Flatten(),
            fc=nn.Linear(64 * 7 * 7, N_CLASSES),
        )
    )


DISCRIMINATORS: dict[Callable[[], nn.Module], Callable[[float], nn.Module]] = {
    digits_gan: dense_discriminator,
    digits_dcgan: convolutional_discriminator,
}


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
