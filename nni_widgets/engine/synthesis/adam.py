"""Adam as a value: what it remembers is not changed but made anew, so that any step can be kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MEAN, _MEAN_OF_SQUARES, _LEAST = 0.9, 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class Adam:
    """Running means of the gradient and of its square, number by number, after ``steps`` steps.

    Source: Kingma, Ba 2015, algorithm 1, with its β₁, β₂ and ε.
    """

    mean: Tensor
    square: Tensor
    steps: int = 0

    @classmethod
    def before(cls, parameters: Tensor) -> Adam:
        """Before the first step; the means are kept in float32 at least, where ε is not 0."""
        dtype = torch.promote_types(parameters.dtype, torch.float32)
        zeros = torch.zeros_like(parameters, dtype=dtype)
        return cls(zeros, zeros)

    def after(self, gradient: Tensor) -> Adam:
        """After a step with this gradient."""
        gradient = gradient.to(self.mean)
        return Adam(
            self.mean.lerp(gradient, 1 - _MEAN),
            self.square.lerp(gradient.square(), 1 - _MEAN_OF_SQUARES),
            self.steps + 1,
        )

    @property
    def direction(self) -> Tensor:
        """Where the step leads: about 1 for each number whose gradient keeps its sign."""
        mean = self.mean / (1 - _MEAN**self.steps)
        square = self.square / (1 - _MEAN_OF_SQUARES**self.steps)
        return mean / (square.sqrt() + _LEAST)
