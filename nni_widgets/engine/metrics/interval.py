"""How far a mean over so few samples can be trusted: the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole

_NUMBERS_AT_ONCE = 2**21


@dataclass(frozen=True)
class Interval:
    """A mean, the interval that holds the true one in ``level`` of all cases, and the sample size.

    ``low`` and ``high`` are NaN where fewer than two samples say nothing about their spread.
    """

    mean: float
    low: float
    high: float
    count: int
    level: float = 0.95


def interval(
    values: Tensor | Sequence[float], level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """The bootstrap confidence interval of the mean of ``values``, N numbers.

    N values are drawn with replacement ``n_resamples`` times; the interval is what the means of
    these draws leave between their (1 − level) / 2 quantiles (the percentile interval). It speaks
    about other pictures of the same kind, not about the same pictures again. For less than some 20
    values it is too narrow. NaN values are left out; ``count`` says how many there are without.

    Raises ``ValueError`` for values of another shape, a level outside 0 to 1, no resamples.
    Source: Efron, Tibshirani 1993, ch. 13.
    """
    kept = _checked(values, level, n_resamples, seed)
    kept = kept[~kept.isnan()]
    count = len(kept)
    mean = float(kept.mean()) if count else math.nan
    if count < 2:
        return Interval(mean, math.nan, math.nan, count, level)
    means = _means(kept, n_resamples, seed).sort().values
    outside = min(round((1 - level) / 2 * n_resamples), (n_resamples - 1) // 2)
    low, high = means[outside], means[-1 - outside]
    return Interval(mean, float(low), float(high), count, level)


def _means(values: Tensor, n_resamples: int, seed: int) -> Tensor:
    generator, count = torch.Generator().manual_seed(seed), len(values)
    at_once = max(1, _NUMBERS_AT_ONCE // count)
    sizes = [min(at_once, n_resamples - done) for done in range(0, n_resamples, at_once)]
    drawn = (torch.randint(count, (size, count), generator=generator) for size in sizes)
    return torch.cat([values[index].mean(1) for index in drawn])


def _checked(values: Tensor | Sequence[float], level: float, n_resamples: int, seed: int) -> Tensor:
    expected, action = "one number per sample, (N,)", "Take one method and one measure"
    try:
        numbers = torch.as_tensor(values).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        given = type(values).__name__
        raise invalid("interval", "values", expected, f"a {given}", action) from error
    if numbers.ndim != 1:
        given = f"shape {tuple(numbers.shape)}"
        raise invalid("interval", "values", expected, given, action)
    if not isinstance(level, Real) or not 0 < level < 1:
        raise invalid("interval", "level", "between 0 and 1", repr(level), "Try 0.95")
    if not is_whole(n_resamples) or n_resamples < 1:
        expected = "a whole number of at least 1"
        raise invalid("interval", "n_resamples", expected, repr(n_resamples), "Try 2000")
    if not is_whole(seed):
        raise invalid("interval", "seed", "a whole number", repr(seed), "Try 0")
    return numbers
