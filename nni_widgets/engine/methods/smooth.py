"""Methods that average another method over noisy copies of the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import AnyMethod, Method, Result, as_method, logits_of
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.chunks import in_chunks, rows_at_once
from nni_widgets.engine.methods.gradients import Gradient
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.params import param


class SmoothGrad(Method):
    """SmoothGrad: the mean attribution of noisy copies, of any method.

    ``R = 1/n Σ R_of(x + ε_s)``, ε_s normal with σ = noise_level · (max x − min x). The target is
    decided once, on the clean input; every sample of a batch gets the same noise.

    Shape: as x. Unit: as ``of``. Cost: n_samples × the cost of ``of`` and 1 forward pass; memory
    bounded by a chunk. Source: Smilkov et al. 2017, sec. 3.
    """

    title: ClassVar[str] = "SmoothGrad"
    card = Card(
        kind="average",
        question="Which part of an attribution stays when the picture is shaken a little?",
        cost="n_samples × that of the averaged method + 1 F",
        needs="what the averaged method needs",
        drawbacks="slow; the amount of noise is a matter of taste; explains blurred surroundings",
    )
    of: AnyMethod = param(Gradient(), "the method that is averaged", options=lambda: _others())
    noise_level: float = param(
        0.15, "standard deviation of the noise, as a share of max − min", low=0, slider=(0, 0.5)
    )
    n_samples: int = param(
        32, "number of noisy copies", low=1, high=10_000, slider=(1, 128), log=True
    )
    seed: int = param(0, "seed of the noise", low=0, high=2**31, slider=(0, 20))

    def validate(self) -> None:
        object.__setattr__(self, "of", as_method(self.of))

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether ``of`` is."""
        return as_method(self.of).signed

    @property
    def channels(self) -> Literal["sum", "max"]:  # type: ignore[override]
        """As ``of`` joins them."""
        return as_method(self.of).channels

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        method = as_method(self.of)
        logits = logits_of(type(self).__name__, model, x)
        selection = resolve(target, logits, type(self).__name__)
        like_x = (-1, *[1] * (x.ndim - 1))
        flat = x.flatten(1)
        deviation = (self.noise_level * (flat.amax(1) - flat.amin(1))).reshape(like_x)
        total, cost = torch.zeros_like(x), 0.0

        def explain(samples: Tensor, sample: Tensor) -> Result:
            *_, last = method._steps(model, samples, selection.rows(sample), False)
            return last

        def accumulate(rows: Tensor) -> None:
            nonlocal cost
            copy, sample = rows // len(x), rows % len(x)
            noisy = x[sample] + deviation[sample] * self._noise(copy, x)
            last = explain(noisy, sample)
            total.index_add_(0, sample, last.values.to(total.dtype))
            cost += last.passes * len(rows) / len(x)

        order = torch.arange(self.n_samples * len(x))
        first = torch.zeros(1, dtype=torch.long)
        size = rows_at_once(model, x, type(method).__name__, lambda: explain(x[:1], first))
        for done in in_chunks(order, len(x), size, accumulate):
            if done >= len(x):
                copies = (done + len(x) - 1 - torch.arange(len(x))) // len(x)
                yield Result(
                    total / copies.to(x).reshape(like_x),
                    selection,
                    logits,
                    passes=1 + cost,
                    done=done // len(x),
                    of=self.n_samples,
                )

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        return as_method(self.of).examine(model, x)

    def _noise(self, copies: Tensor, x: Tensor) -> Tensor:
        """The noise of these copies; each has a seed of its own, in whatever batch it comes."""
        generator = torch.Generator()
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        first, last = int(copies.min()), int(copies.max())
        made = [
            torch.randn(
                x.shape[1:],
                generator=generator.manual_seed(self.seed * 1_000_003 + copy),
                dtype=dtype,
            )
            for copy in range(first, last + 1)
        ]
        return torch.stack(made)[copies - first].to(x)


def _others() -> tuple[type[Method], ...]:
    from nni_widgets.engine.methods import METHODS

    return tuple(method for method in METHODS if method is not SmoothGrad)
