"""What several answers of an uncertain model say together: how sure it is, and of what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The logits ``(T, N, K)`` of T samples from an uncertain model for N pictures.

    Everything else is computed from them in float64 on the CPU. Entropies are in nats, from 0 to
    log K. The entropy of the mean is the whole uncertainty; the part that is left when one sample
    is believed is the expected entropy (the data's own ambiguity), the rest the mutual information
    (the samples contradict each other: what the model has not learnt).

    ``of`` is the number of samples that are to come in all.
    Source: Gal, Ghahramani 2016 (MC dropout), sec. 4; Houlsby et al. 2011 (BALD), eq. 2;
    Depeweg et al. 2018 for the two parts.
    """

    logits: Tensor
    of: int

    @property
    def done(self) -> int:
        """How many samples there are, T."""
        return len(self.logits)

    @cached_property
    def samples(self) -> Tensor:
        """The probabilities that each sample gives, softmax of its logits: ``(T, N, K)``."""
        return self._log_samples.exp()

    @cached_property
    def probabilities(self) -> Tensor:
        """p̄, the mean of the samples' probabilities, not the softmax of mean logits: ``(N, K)``."""
        return self.samples.mean(0)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """The logarithm of p̄, finite where p̄ underflows: ``(N, K)``."""
        return log_mean(self._log_samples)

    @property
    def predicted(self) -> Tensor:
        """The class of the mean prediction, ``(N,)``."""
        return self.log_probabilities.argmax(1)

    @property
    def votes(self) -> Tensor:
        """How many samples predict each class, ``(N, K)`` whole numbers that sum to T."""
        chosen = torch.nn.functional.one_hot(self._log_samples.argmax(2), self.logits.shape[2])
        return chosen.sum(0)

    @property
    def entropy(self) -> Tensor:
        """H[p̄] = −Σ p̄ log p̄, the whole uncertainty: ``(N,)``."""
        return entropy(self.log_probabilities)

    @property
    def expected_entropy(self) -> Tensor:
        """The mean of the samples' own entropies: ``(N,)``."""
        return entropy(self._log_samples).mean(0)

    @property
    def mutual_information(self) -> Tensor:
        """H[p̄] − mean H[p_t], how far the samples contradict each other: ``(N,)``, at least 0."""
        return (self.entropy - self.expected_entropy).clamp(min=0)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each probability over the samples, ``(N, K)``; 0 for one."""
        if self.done == 1:
            return torch.zeros_like(self.probabilities)
        return self.samples.std(0)

    @cached_property
    def _log_samples(self) -> Tensor:
        return self.logits.detach().to("cpu", torch.float64).log_softmax(2)

    def __repr__(self) -> str:
        shape = tuple(self.logits.shape[1:])
        return f"Prediction of {shape} from {self.done} of {self.of} samples"


def entropy(log_probabilities: Tensor) -> Tensor:
    """H = −Σ p log p over the last axis; a probability of 0 adds nothing."""
    return -(log_probabilities.exp() * log_probabilities.clamp(min=_LEAST)).sum(-1)


def log_mean(log_samples: Tensor) -> Tensor:
    """The logarithm of the mean over the first axis of what these are the logarithms of."""
    return log_samples.logsumexp(0) - math.log(len(log_samples))


_LEAST = -1e4
