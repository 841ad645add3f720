"""Statistics of an attribution over noisy copies of the input."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.averaging import Averaging, Copies, Mean, MeanSquare, Variance
from nni_widgets.engine.methods.base import AnyMethod, Method, as_method
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.gradients import Gradient
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.params import param


class SmoothGrad(Averaging):
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

    def _copies(self, x: Tensor) -> Copies:
        spread = deviation(x, self.noise_level)

        def noisy(sample: Tensor, copy: Tensor) -> Tensor:
            return x[sample] + spread[sample] * self._noise(copy, x)

        return Copies(self.n_samples, noisy)

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
    _statistic: ClassVar[type[Mean]] = MeanSquare

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
    _statistic: ClassVar[type[Mean]] = Variance

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
