"""Evidential learning: a network that tells how much it has seen that speaks for each class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nni_widgets.engine.checks import check_input, check_logits, check_model, run
from nni_widgets.errors import invalid

EVIDENCE: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "relu": F.relu,
    "exp": torch.exp,
}
"""What makes evidence, which is never negative, of a logit."""


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """A Dirichlet distribution over class probabilities for each sample: p ~ Dir(α).

    With evidence e_k ≥ 0 for each of K classes, α_k = e_k + 1 and S = Σ α_k, the probabilities
    are the mean α_k / S and the uncertainty is u = K / S: 1 without any evidence, near 0 with much.
    Entropies are in nats, all of them of class labels, not of the density.

    Shape: alpha (N, K), finite and above zero. Raises ``ValueError`` otherwise.
    Source: Sensoy et al. 2018, eq. 1-2.
    """

    alpha: Tensor

    def __post_init__(self) -> None:
        alpha = self.alpha
        if not isinstance(alpha, Tensor) or not alpha.is_floating_point() or alpha.ndim != 2:
            action = "Give alpha = evidence + 1, one row per sample"
            expected = "a floating-point tensor (N, K)"
            raise invalid("Dirichlet", "alpha", expected, _told(alpha), action)
        if alpha.shape[1] < 2:
            given, action = f"{alpha.shape[1]}", "Give one column per class"
            raise invalid("Dirichlet", "the number of classes", "at least 2", given, action)
        wrong = int((~(alpha.isfinite() & (alpha > 0))).sum())
        if wrong:
            given = f"{wrong} numbers that are not"
            action = "Look at the logits: exp evidence overflows early"
            raise invalid("Dirichlet", "alpha", "finite and above zero", given, action)

    @property
    def evidence(self) -> Tensor:
        """How much speaks for each class, e = α − 1, (N, K)."""
        return self.alpha - 1

    @property
    def strength(self) -> Tensor:
        """S = Σ α, (N,)."""
        return self.alpha.sum(1)

    @property
    def probabilities(self) -> Tensor:
        """The mean of p, α / S, (N, K)."""
        return self.alpha / self.strength[:, None]

    @property
    def predicted(self) -> Tensor:
        """The most probable class, int64 (N,)."""
        return self.alpha.argmax(1)

    @property
    def uncertainty(self) -> Tensor:
        """The vacuity u = K / S, (N,): the share of belief that no evidence moved to a class."""
        return self.alpha.shape[1] / self.strength

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each p_k, (N, K)."""
        return _variance(self.probabilities, self.strength[:, None]).sqrt()

    @property
    def entropy(self) -> Tensor:
        """The entropy of the mean of p, (N,): all doubt about the label."""
        p = self.probabilities
        return -torch.xlogy(p, p).sum(1)

    @property
    def expected_entropy(self) -> Tensor:
        """The mean entropy of p, Σ (α_k / S) (ψ(S + 1) − ψ(α_k + 1)), (N,): doubt in the data."""
        gaps = torch.digamma(self.strength[:, None] + 1) - torch.digamma(self.alpha + 1)
        return (self.probabilities * gaps).sum(1)

    @property
    def mutual_information(self) -> Tensor:
        """``entropy`` less ``expected_entropy``, (N,): the doubt that more evidence would end."""
        return (self.entropy - self.expected_entropy).clamp(min=0)


def dirichlet(model: nn.Module, x: Tensor, evidence: str | None = None) -> Dirichlet:
    """What an evidential network believes of each sample.

    ``evidence`` makes α − 1 of the logits: "softplus", "relu" or "exp", as in the training. None:
    what the model names in its attribute ``evidence``, or "softplus" if it names nothing.

    It is float64 on the CPU: beside 1, float32 loses the little evidence of a doubtful sample, and
    its most probable class with it.

    Shape: x (N, ...), logits (N, K). Raises ``ValueError`` for a model in training mode, an input
    that it cannot take, or another evidence. Cost: 1 F. Source: Sensoy et al. 2018, sec. 3.
    """
    check_model("dirichlet", model)
    check_input("dirichlet", model, x)
    own = str(getattr(model, "evidence", "softplus"))
    function = _evidence("dirichlet", own if evidence is None else evidence)
    with torch.no_grad():
        logits = run("dirichlet", model, x)
    check_logits("dirichlet", logits)
    return Dirichlet(function(logits.to("cpu", torch.float64)) + 1)


def evidential_loss(
    logits: Tensor,
    labels: Tensor,
    epoch: int,
    annealing_epochs: int = 10,
    evidence: str = "softplus",
) -> Tensor:
    """The loss an evidential network is trained by, the mean over the samples.

    Σ_k (y_k − p̂_k)² + p̂_k (1 − p̂_k) / (S + 1) is the expected squared error under Dir(α), where
    p̂ = α / S and y is 1 at the label. λ KL(Dir(α̃) ‖ Dir(1)) is added, with the evidence for
    wrong classes alone: α̃ = y + (1 − y) α. λ = min(1, epoch / annealing_epochs) lets the network
    find evidence before what misleads is taken away from it.

    Shape: logits (N, K), labels int64 (N,). Returns: a number, with its gradient.
    Raises ``ValueError`` for other shapes, labels that are no class, an epoch below 0.
    Source: Sensoy et al. 2018, eq. 5 and the end of sec. 4 (there the sum over the samples).
    """
    _check_labelled(logits, labels)
    annealing = _annealing(epoch, annealing_epochs)
    alpha = _evidence("evidential_loss", evidence)(logits) + 1
    right = F.one_hot(labels, logits.shape[1]).to(alpha)
    misleading = right + (1 - right) * alpha
    return (_squared_error(alpha, right) + annealing * _from_uniform(misleading)).mean()


def _squared_error(alpha: Tensor, right: Tensor) -> Tensor:
    """E ‖y − p‖² for p ~ Dir(α), (N,): squared bias and variance."""
    strength = alpha.sum(1, keepdim=True)
    p = alpha / strength
    return ((right - p).square() + _variance(p, strength)).sum(1)


def _variance(p: Tensor, strength: Tensor) -> Tensor:
    """The variance of each probability of a Dirichlet distribution with the mean p."""
    return p * (1 - p) / (strength + 1)


def _from_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(α) ‖ Dir(1)), (N,): how far from knowing nothing.

    It is the small difference of large numbers: in float32 the gradient of much evidence is lost.
    """
    given, alpha = alpha, alpha.double()
    strength, n_classes = alpha.sum(1, keepdim=True), alpha.shape[1]
    normaliser = strength.squeeze(1).lgamma() - alpha.lgamma().sum(1) - math.lgamma(n_classes)
    gaps = torch.digamma(alpha) - torch.digamma(strength)
    return (normaliser + ((alpha - 1) * gaps).sum(1)).to(given)


def _annealing(epoch: int, annealing_epochs: int) -> float:
    who = "evidential_loss"
    if not epoch >= 0:
        raise invalid(who, "epoch", "0 or more", repr(epoch), "Count the epochs from 0 or 1")
    if not annealing_epochs > 0:
        action = "Use 10, or 1 for the full penalty from epoch 1 on"
        raise invalid(who, "annealing_epochs", "more than 0", repr(annealing_epochs), action)
    return min(1.0, epoch / annealing_epochs)


def _evidence(who: str, name: str) -> Callable[[Tensor], Tensor]:
    if name not in EVIDENCE:
        known = " or ".join(f'"{each}"' for each in EVIDENCE)
        raise invalid(who, "evidence", known, repr(name), "Name the one of the training")
    return EVIDENCE[name]


def _check_labelled(logits: object, labels: object) -> None:
    who = "evidential_loss"
    if not isinstance(logits, Tensor) or logits.ndim != 2 or 0 in logits.shape:
        expected, action = "a tensor (N, K), N and K not 0", "Give one row of logits per sample"
        raise invalid(who, "logits", expected, _told(logits), action)
    shape = logits.shape[:1]
    if not isinstance(labels, Tensor) or (labels.dtype, labels.shape) != (torch.int64, shape):
        expected = f"an int64 tensor ({len(logits)},), one class per sample"
        raise invalid(
            who, "labels", expected, _told(labels), "Give class numbers, not one-hot rows"
        )
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < logits.shape[1]:
        expected = f"from 0 to {logits.shape[1] - 1}, as there are logits"
        raise invalid(who, "labels", expected, f"{low} to {high}", "Check the number of classes")


def _told(value: object) -> str:
    """A value of the wrong kind, in a few words."""
    if isinstance(value, Tensor):
        return f"shape {tuple(value.shape)} of {value.dtype}"
    return f"{value!r:.80}"
