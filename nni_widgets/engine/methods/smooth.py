"""Statistics of an attribution over noisy copies of the input."""

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
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.params import param


class _Mean:
    """The mean of attributions that come in any order, some for each sample at a time."""

    def __init__(self, x: Tensor) -> None:
        self.total = torch.zeros_like(x)

    def add(self, values: Tensor, sample: Tensor, copy: Tensor) -> None:
        """Count these attributions of copies of the samples with these numbers."""
        self.total.index_add_(0, sample.to(values.device), values)

    def of(self, copies: Tensor) -> Tensor:
        """The statistic, where each sample has had so many copies."""
        return self.total / copies


class _MeanSquare(_Mean):
    """The mean of the squares."""

    def add(self, values: Tensor, sample: Tensor, copy: Tensor) -> None:
        super().add(values.square(), sample, copy)


class _Variance(_Mean):
    """The variance, from differences to the first copy, so that no digits cancel."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.first, self.squares = torch.zeros_like(x), _MeanSquare(x)

    def add(self, values: Tensor, sample: Tensor, copy: Tensor) -> None:
        is_first = copy == 0
        self.first[sample[is_first]] = values[is_first]
        differences = values - self.first[sample]
        super().add(differences, sample, copy)
        self.squares.add(differences, sample, copy)

    def of(self, copies: Tensor) -> Tensor:
        return (self.squares.of(copies) - super().of(copies).square()).clamp(min=0)


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
    _statistic: ClassVar[type[_Mean]] = _Mean
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
        spread = deviation(x, self.noise_level)
        statistic, cost = self._statistic(x), 0.0

        def explain(samples: Tensor, sample: Tensor) -> Result:
            *_, last = method._steps(model, samples, selection.rows(sample), False)
            return last

        def accumulate(rows: Tensor) -> None:
            nonlocal cost
            copy, sample = rows // len(x), rows % len(x)
            noisy = x[sample] + spread[sample] * self._noise(copy, x)
            last = explain(noisy, sample)
            statistic.add(last.values.to(x.dtype), sample, copy)
            cost += last.passes * len(rows) / len(x)

        order = torch.arange(self.n_samples * len(x))
        first = torch.zeros(1, dtype=torch.long)
        size = rows_at_once(model, x, type(method).__name__, lambda: explain(x[:1], first))
        for done in in_chunks(order, len(x), size, accumulate):
            if done >= len(x):
                copies = (done + len(x) - 1 - torch.arange(len(x))) // len(x)
                yield Result(
                    statistic.of(copies.to(x).reshape_as(spread)),
                    selection,
                    logits,
                    passes=1 + cost,
                    done=done // len(x),
                    of=self.n_samples,
                )

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        found, who = list(as_method(self.of).examine(model, x)), type(self).__name__
        still = int((deviation(x, self.noise_level) == 0).sum())
        if still:
            text = (
                f"{who}: {still} of {len(x)} samples get no noise, as noise_level or max x − min x "
                "is 0. Raise noise_level, or leave uniform pictures out."
            )
            found.append(Finding("warning", text))
        return found

    def _noise(self, copies: Tensor, x: Tensor) -> Tensor:
        return noise(copies, x, self.seed)


class SmoothGradSquared(SmoothGrad):
    """SmoothGrad²: the mean square of the attribution of noisy copies, of any method.

    ``R = 1/n Σ R_of(x + ε_s)²``, with the noise of SmoothGrad. It tells where the attribution is
    large, whichever way, also where its sign changes from copy to copy.

    Shape: as x, non-negative. Unit: that of ``of``, squared. Cost: as SmoothGrad.
    Source: Hooker et al. 2019, as SmoothGrad-Squared.
    """

    title: ClassVar[str] = "SmoothGrad²"
    card = Card(
        kind="average",
        question="Where is an attribution large, whichever way, when the picture is shaken?",
        cost="n_samples × that of the averaged method + 1 F",
        needs="what the averaged method needs",
        drawbacks="no sign; few large values rule the picture; does not add up to anything",
    )
    _statistic: ClassVar[type[_Mean]] = _MeanSquare

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """A square has no sign."""
        return False


class VarGrad(SmoothGradSquared):
    """VarGrad: the variance of the attribution over noisy copies, of any method.

    ``R = 1/n Σ (R_of(x + ε_s) − R̄)²``, with the noise of SmoothGrad, whose result is R̄; so
    VarGrad = SmoothGrad² − (SmoothGrad)². It tells where the attribution is not to be relied on.

    Shape: as x, non-negative. Unit: that of ``of``, squared. Cost: as SmoothGrad.
    Source: Adebayo et al. 2018, "Local explanation methods for deep neural networks lack
    sensitivity to parameter values"; Hooker et al. 2019.
    """

    title: ClassVar[str] = "VarGrad"
    card = Card(
        kind="average",
        question="Where does an attribution change most when the picture is shaken?",
        cost="n_samples × that of the averaged method + 1 F",
        needs="what the averaged method needs; at least 2 samples",
        drawbacks="shows the spread, not the attribution: what is large and steady stays dark",
    )
    _statistic: ClassVar[type[_Mean]] = _Variance

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        found = super().examine(model, x)
        if self.n_samples == 1:
            text = (
                "VarGrad: one noisy copy has no variance, so every pixel gets 0. Raise n_samples."
            )
            found.append(Finding("warning", text))
        return found


def _others() -> tuple[type[Method], ...]:
    from nni_widgets.engine.methods import METHODS

    return tuple(method for method in METHODS if not issubclass(method, SmoothGrad))
