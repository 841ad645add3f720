"""What a picture is compared with: the baselines of path methods, references, fills and roots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import logits_of
from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.targets import Selection
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, param

_AT_ONCE = 32
_SHARP = 1e-6


class Baseline(Declared):
    """Base of the baselines: how to make pictures x′ in which there is nothing to see.

    A subclass says in ``__call__`` which B pictures each sample of a batch is compared with. A
    method that compares takes the mean over them. A plain number or tensor is a `Constant`, a list
    is `Several`, wherever a baseline is asked for.

    Source: Sturmfels, Lundberg, Lee 2020 compare the choices for integrated gradients.
    """

    title: ClassVar[str] = ""

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        """The pictures for each sample of x, ``(B, *x.shape)``, in its dtype and on its device.

        Raises ``ValueError``, in the name of ``who``, where x has no such pictures.
        """
        raise NotImplementedError


class Constant(Baseline):
    """The same whatever x is: one value for all pixels, or a picture that broadcasts to x.

    The picture may be another image, one colour ``(C, 1, 1)``, or the mean of a data set.
    """

    title: ClassVar[str] = "Constant"
    value: float | Tensor = param(
        0.0, "one value for all pixels, or a tensor like x", slider=(0, 1), array=True
    )

    def code(self, prefix: str) -> str:
        """The value itself: it is a baseline wherever one is asked for."""
        return as_code(self.value, prefix)

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        who = who or type(self).__name__
        picture = self._picture(who).to(x).contiguous()
        if not bool(picture.isfinite().all()):
            expected, given = f"finite numbers in {x.dtype}", "NaN or infinite numbers"
            raise invalid(who, "baseline", expected, given, "Clean it, or bring it to x's scale")
        try:
            return picture.expand_as(x)[None]
        except RuntimeError as error:
            expected = f"a number or a tensor that broadcasts to x, {tuple(x.shape)}"
            action = "Reshape it, or give several pictures as a list"
            given = f"shape {tuple(picture.shape)}"
            raise invalid(who, "baseline", expected, given, action) from error

    def _picture(self, who: str) -> Tensor:
        if isinstance(self.value, (int, float)):
            return torch.tensor(self.value, dtype=torch.float64)
        expected = "finite floating-point numbers"
        try:
            picture = torch.as_tensor(self.value).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            given, action = type(self.value).__name__, "Give a tensor"
            raise invalid(who, "baseline", expected, given, action) from error
        if not picture.is_floating_point():
            action = "Bring it to the scale of x with .float() and a division"
            raise invalid(who, "baseline", expected, f"dtype {picture.dtype}", action)
        return picture


class Blur(Baseline):
    """The picture itself, blurred: its rough colours stay, its fine structure is gone.

    Each pixel becomes the mean of its surroundings, weighted by a normal distribution of standard
    deviation ``sigma`` and cut off at the edge; a uniform picture stays what it is.

    Source: Fong, Vedaldi 2017, sec. 4.1, for the blur as a way to delete.
    """

    title: ClassVar[str] = "Blurred picture"
    sigma: float = param(4.0, "standard deviation, in pixels", low=0, slider=(0, 20))

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        if x.ndim < 3:
            who, given = who or type(self).__name__, f"shape {tuple(x.shape)}"
            raise invalid(
                who, "x", "pictures (N, C, ...) to blur", given, "Choose another baseline"
            )
        for dimension in range(2, x.ndim):
            mean = _surroundings(x.shape[dimension], self.sigma).to(x)
            x = (x.movedim(dimension, -1) @ mean.t()).movedim(-1, dimension)
        return x[None]


class Noise(Baseline):
    """The picture itself under normal noise with σ = noise_level · (max x − min x).

    ``n_samples`` noisy copies; every sample of a batch gets the same noise.

    Source: Sturmfels, Lundberg, Lee 2020, section on the Gaussian baseline.
    """

    title: ClassVar[str] = "Picture + noise"
    noise_level: float = param(
        0.5, "standard deviation of the noise, as a share of max − min", low=0, slider=(0, 1)
    )
    n_samples: int = param(4, "number of noisy copies", low=1, high=10_000, slider=(1, 32))
    seed: int = param(0, "seed of the noise", low=0, high=2**31, slider=(0, 20))

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        copies = noise(torch.arange(self.n_samples), x, self.seed)
        return x + deviation(x, self.noise_level) * copies[:, None]


class UniformNoise(Baseline):
    """Pictures of nothing but noise: each pixel alike anywhere between ``low`` and ``high``.

    ``n_samples`` of them; every sample of a batch gets the same.

    Source: Sturmfels, Lundberg, Lee 2020, section on the uniform baseline.
    """

    title: ClassVar[str] = "Uniform noise"
    low: float = param(0.0, "the smallest pixel", slider=(-1, 1))
    high: float = param(1.0, "the largest pixel", slider=(-1, 1))
    n_samples: int = param(4, "number of pictures", low=1, high=10_000, slider=(1, 32))
    seed: int = param(0, "seed of the noise", low=0, high=2**31, slider=(0, 20))

    def validate(self) -> None:
        if self.low >= self.high:
            given = f"low={self.low:g} and high={self.high:g}"
            raise invalid("UniformNoise", "low", "below high", given, "Exchange them")

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        pictures = noise(torch.arange(self.n_samples), x, self.seed, torch.rand)
        return (self.low + (self.high - self.low) * pictures)[:, None].expand(-1, *x.shape)


class ImageMean(Baseline):
    """One colour all over: the mean of each channel of the picture itself."""

    title: ClassVar[str] = "Mean of the picture"

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        places = tuple(range(2, x.ndim)) or (1,)
        return x.mean(places, keepdim=True).expand_as(x)[None]


class Several(Baseline):
    """Several baselines, all their pictures with the same weight: what comes of them is averaged.

    Any baselines, as a list, or pictures along the first axis of one tensor, such as some of the
    training data. Pictures of one shape are kept as one tensor.

    Source: Erion et al. 2021 for the average over a data set (expected gradients).
    """

    title: ClassVar[str] = "Several"
    of: Sequence[AnyBaseline] | Tensor = param(
        (Constant(), Constant(value=1.0)), "a list of baselines, or a tensor of pictures"
    )

    def validate(self) -> None:
        if hasattr(self.of, "shape"):
            count, given = (self.of.shape or (0,))[0], f"shape {tuple(self.of.shape)}"
        else:
            is_list = isinstance(self.of, (list, tuple))
            count, given = len(self.of) if is_list else 0, repr(self.of)
        if not count:
            expected = "a list of baselines or a tensor of pictures (B, ...)"
            raise invalid("Several", "of", expected, given, "Give at least one")
        if not hasattr(self.of, "shape"):
            baselines = tuple(as_baseline("Several", value, "each of them") for value in self.of)
            object.__setattr__(self, "of", _stacked(baselines))

    def __call__(self, x: Tensor, who: str = "") -> Tensor:
        who = who or type(self).__name__
        return torch.cat([as_baseline(who, each)(x, who) for each in self.of])


AnyBaseline = Baseline | float | Tensor | Sequence[Any]
BASELINES: tuple[type[Baseline], ...] = (Constant, Blur, Noise, UniformNoise, ImageMean, Several)


def as_baseline(who: str, value: AnyBaseline, what: str = "baseline") -> Baseline:
    """A baseline as it is; a number or a tensor as `Constant`, a list as `Several`.

    Raises ``ValueError`` that blames the parameter ``what`` of ``who``.
    """
    if isinstance(value, Baseline):
        return value
    if isinstance(value, (list, tuple)):
        return Several(of=value)
    try:
        return Constant(value=value)  # type: ignore[arg-type]
    except ValueError as error:
        expected = "a number, a picture, a list of them, or a value such as nni.Blur()"
        raise invalid(who, what, expected, repr(value), "Try 0.0") from error


def scores_of(who: str, model: nn.Module, pictures: Tensor, selection: Selection) -> Tensor:
    """The explained score of B pictures for each of N samples, ``(B, N)``. Cost: B forward passes.

    ``pictures`` is ``(B, N, ...)``; a batch has at most N rows, or 32 if that is more.
    """
    count, samples = pictures.shape[:2]
    rows = torch.arange(count * samples).split(max(samples, _AT_ONCE))
    flat = pictures.flatten(0, 1)
    scores = [selection.rows(row % samples)(logits_of(who, model, flat[row])) for row in rows]
    return torch.cat(scores).reshape(count, samples)


def _surroundings(size: int, sigma: float) -> Tensor:
    """The weights, ``(size, size)``, with which each pixel of a line becomes a mean."""
    place = torch.arange(size, dtype=torch.float64)
    weights = torch.exp(-(((place[:, None] - place) / max(sigma, _SHARP)) ** 2) / 2)
    return weights / weights.sum(1, keepdim=True)


def _stacked(baselines: tuple[Baseline, ...]) -> tuple[Baseline, ...] | Tensor:
    """Pictures of one kind as one tensor, which copied code can name; anything else as it is."""
    values = [baseline.value for baseline in baselines if isinstance(baseline, Constant)]
    pictures = [value for value in values if isinstance(value, Tensor)]
    kinds = {(picture.shape, picture.dtype, picture.device) for picture in pictures}
    return (
        torch.stack(pictures) if len(pictures) == len(baselines) and len(kinds) == 1 else baselines
    )
