"""Mixtures of Gaussians by expectation-maximization: of pictures, and of an autoencoder's codes.

Each class gets the same number of components, fitted to its own points alone, so that no component
lies between two digits. The result is one mixture over all classes.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.generators import GaussianMixture, PictureMixture
from nni_widgets.zoo.training.samples import judged
from nni_widgets.zoo.training.store import Report

BATCH = 100
K_MEANS_ROUNDS = 10
LEAST_RESPONSIBILITY = 1e-4
LEAST_VARIANCE = 1e-4
OVERSAMPLING = 8


def train(design: Design, report: Report, data: Digits | None = None) -> nn.Module:
    """Fit a mixture to all training pictures, unless others are given.

    The global random state is left alone; ``report`` is told the log-likelihood of each class.
    """
    data = digits("train") if data is None else data
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model: Any = design.build()
        fit(model, data.images.flatten(1), data.labels, design.recipe.epochs, report)
    trained: nn.Module = model.eval()
    return trained


def figures(model: PictureMixture) -> dict[str, float]:
    """Samples as ``digits-cnn`` judges them, and the mean log-density of all test pictures."""
    likelihood = mean_log_density(model, digits("test").images)
    return {**judged(model), "test log-likelihood": likelihood}


@torch.no_grad()
def mean_log_density(density: nn.Module, points: Tensor) -> float:
    """The mean of log p over all points, in nats."""
    return torch.cat([density(batch) for batch in points.split(BATCH)]).double().mean().item()


@torch.no_grad()
def fit(
    model: GaussianMixture, points: Tensor, labels: Tensor, n_rounds: int, report: Report
) -> None:
    """Fit a mixture in place to points (N, size), with as many components for each label."""
    n_components, _, rank = model.factors.shape
    present = labels.unique().tolist()
    parts = []
    for label in present:
        own = points[labels == label]
        part = fitted(own, n_components // len(present), rank, n_rounds)
        report(f"class {label}: log-likelihood {mean_log_density(part, own):.2f}")
        part.scores.add_(math.log(len(own) / len(points)))
        parts.append(part.state_dict())
    model.load_state_dict({key: torch.cat([part[key] for part in parts]) for key in parts[0]})


@torch.no_grad()
def fitted(points: Tensor, n_components: int, rank: int, n_rounds: int) -> GaussianMixture:
    """A mixture fitted to points (N, size): k-means, then ``n_rounds`` of EM."""
    model = GaussianMixture(n_components, points.shape[1], rank)
    responsibilities = clustered(points, n_components)
    for _ in range(n_rounds):
        maximize(model, points, responsibilities)
        joint = torch.cat([model.log_joint(batch) for batch in points.split(BATCH)])
        responsibilities = joint.softmax(1)
    return model


def clustered(points: Tensor, n_clusters: int) -> Tensor:
    """The nearest of ``n_clusters`` centres of k-means for each point, as one-hot rows."""
    centres = points[torch.randperm(len(points))[:n_clusters]]
    for _ in range(K_MEANS_ROUNDS):
        nearest = F.one_hot(torch.cdist(points, centres).argmin(1), n_clusters).to(points)
        sizes = nearest.sum(0)[:, None]
        centres = torch.where(sizes > 0, nearest.T @ points / sizes.clamp(min=1), centres)
    return nearest


def maximize(model: GaussianMixture, points: Tensor, responsibilities: Tensor) -> None:
    """The M-step: each component becomes the probabilistic PCA of its share of the points.

    A component that has lost all its points stays as it is and gets no weight.
    """
    totals = responsibilities.sum(0)
    model.scores.copy_((totals / len(points)).clamp(min=LEAST_RESPONSIBILITY / len(points)).log())
    size, rank = model.factors.shape[1:]
    for component, share in enumerate(responsibilities.T):
        own = share > LEAST_RESPONSIBILITY
        if not own.any():
            continue
        weights = share[own] / share[own].sum()
        mean = weights @ points[own]
        deviations = (points[own] - mean) * weights.sqrt()[:, None]
        _, singular, directions = torch.svd_lowrank(
            deviations, min(rank + OVERSAMPLING, *deviations.shape)
        )
        along, directions = singular[:rank].square(), directions[:, :rank]
        rest = (deviations.square().sum() - along.sum()) / (size - rank)
        variance = rest.clamp(min=LEAST_VARIANCE)
        factors = directions * (along - variance).clamp(min=0).sqrt()
        model.means[component] = mean
        model.factors[component] = F.pad(factors, (0, rank - factors.shape[1]))
        model.noise[component] = variance.sqrt()
