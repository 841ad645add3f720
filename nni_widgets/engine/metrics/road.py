"""Remove and debias: pixel flipping whose holes are filled so that their shape tells little."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nni_widgets.engine.methods.noise import deviation, noise
from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject, places
from nni_widgets.errors import invalid
from nni_widgets.params import param

_BESIDE, _DIAGONAL = 1 / 6, 1 / 12
_NUMBERS_AT_ONCE = 2**21


class ROAD(Metric):
    """ROAD, remove and debias: what is left without the least, less without the most relevant.

    ``mean over shares s of p(x without the share s of least relevant pixels) − p(x without the
    share s of most relevant pixels)``, s = 1 / (n_steps + 1), 2 / (n_steps + 1), …: how far the
    curve LeRF, least relevant first, is above the curve MoRF, most relevant first. Higher is
    better; 0 is what chance gets. The measured curve is their difference. A removed pixel
    becomes the mean of its eight neighbours, weighted 1/6 beside and 1/12 diagonally, removed ones
    included (a linear system, solved exactly), plus normal noise with σ = noise_level · (max x −
    min x): the shape of the hole then tells the model little.

    Shape: for pictures (N, C, H, W) and signals (N, C, L). Unit: a probability (or a logit). The
    paper counts right answers in place of probabilities. Quantus too, in the MoRF order alone, at
    odd percentages; its score is one number for the whole batch at each of them.
    Raises ``ValueError`` for inputs without neighbours. Cost: 1 R + 2 F per step.
    Source: Rong et al. 2022, section on noisy linear imputation.
    """

    title: ClassVar[str] = "ROAD"
    card = MetricCard(
        question="Is more left without the least relevant pixels than without the most relevant?",
        better="higher",
        range="−1 to 1",
        cost="1 R + 2 F per step",
        drawbacks="where pixels are scattered their neighbours bring them back, so that coarse "
        "maps are favoured; only the order of the pixels counts",
    )
    n_steps: int = param(9, "how many shares, evenly spaced", low=1, slider=(1, 20))
    noise_level: float = param(
        0.01, "standard deviation of the noise, as a share of max − min", low=0, slider=(0, 0.2)
    )
    of: Literal["logit", "probability"] = param(
        "probability", "what is read of the target", choices=("logit", "probability")
    )
    seed: int = param(0, "seed of the noise", low=0, high=2**31, slider=(0, 20))

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        x = subject.x
        difference = torch.zeros(len(x), self.n_steps + 1, dtype=torch.float64, device=x.device)
        shares = torch.arange(self.n_steps + 1, dtype=torch.float64, device=x.device)
        shares = shares / (self.n_steps + 1)
        for step in range(1, self.n_steps + 1):
            most, least = (self._left(subject, step, first) for first in ("most", "least"))
            difference[:, step] = least - most
            score = difference[:, 1 : step + 1].mean(1)
            yield Measured(score, 2 * step, difference.clone(), shares, step, self.n_steps)

    def without(
        self, x: Tensor, relevance: Tensor, step: int, first: Literal["most", "least"] = "most"
    ) -> Tensor:
        """The pictures x without the share ``step / (n_steps + 1)`` of their pixels, imputed.

        ``relevance`` is (N, places), as of :func:`places`; ties go in the order of reading.
        """
        _check_neighbours(x)
        order = relevance.argsort(dim=1, descending=first == "most", stable=True)
        count = order.shape[1] * step // (self.n_steps + 1)
        removed = torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :count], True)
        removed = removed.reshape(len(x), *x.shape[2:])
        shake = noise(torch.tensor([step]), x, self.seed) * deviation(x, self.noise_level)
        return torch.where(removed[:, None], imputed(x, removed) + shake, x)

    def _left(self, subject: Subject, step: int, first: Literal["most", "least"]) -> Tensor:
        """What the model says of the target without the most, or least, relevant: (N,)."""
        x, relevance = subject.x, places(subject.attribution)
        every = torch.arange(len(x), device=x.device)
        found = []
        for sample in every.split(_rows_at_once(x)):
            pictures = self.without(x[sample], relevance[sample], step, first)
            found.append(subject.scores(pictures, sample, self.of == "probability"))
        return torch.cat(found)


def imputed(x: Tensor, removed: Tensor) -> Tensor:
    """Pictures whose ``removed`` places, (N, H, W), are the weighted means of their neighbours.

    At the borders the weights of the neighbours that there are are scaled to sum to 1. The system
    is solved exactly, in float64, all pictures at once, row of pixels by row of pixels: each
    depends on the next alone, once all before it are known (block elimination). Signals (N, C, L)
    have removed places (N, L). Raises ``ValueError`` for other shapes.
    """
    _check_neighbours(x)
    if x.ndim == 3:
        return imputed(x[..., None], removed[..., None])[..., 0]
    if x.shape[2] < x.shape[3]:
        return imputed(x.mT, removed.mT).mT
    filled = _eliminated(x.double().permute(2, 0, 3, 1), removed.permute(1, 0, 2))
    return filled.permute(1, 3, 0, 2).to(x)


def _check_neighbours(x: Tensor) -> None:
    if x.ndim not in {3, 4}:
        expected, action = "pictures (N, C, H, W) or signals (N, C, L)", "Choose another measure"
        raise invalid("ROAD", "x", expected, f"shape {tuple(x.shape)}", action)


def _eliminated(values: Tensor, removed: Tensor) -> Tensor:
    """The rows of pixels (H, N, W, C) with the removed ones (H, N, W) solved for."""
    height, width = len(values), values.shape[2]
    within, across = _line(width, 0.0, _BESIDE), _line(width, _BESIDE, _DIAGONAL)
    within, across = within.to(values.device), across.to(values.device)
    rows = within.sum(1) + across.sum(1) * (2 - _is_edge(height)[:, None].to(values))
    identity = torch.eye(width, dtype=torch.float64, device=values.device)
    gone = removed.double()[..., None] / rows.clamp(min=_DIAGONAL)[:, None, :, None]
    known = torch.where(removed[..., None], 0.0, values)
    later: list[Tensor] = []
    found: list[Tensor] = []
    for row in range(height):
        inner, right = identity - gone[row] * within, known[row]
        if row:
            inner = inner - gone[row] * (across @ later[-1])
            right = right + gone[row] * (across @ found[-1])
        outer = gone[row] * across if row + 1 < height else torch.zeros_like(inner)
        solved = torch.linalg.solve(inner, torch.cat([outer, right], dim=2))
        later.append(solved[:, :, :width])
        found.append(solved[:, :, width:])
    for row in reversed(range(height - 1)):
        found[row] = found[row] + later[row] @ found[row + 1]
    return torch.stack(found)


def _line(width: int, here: float, aside: float) -> Tensor:
    """The weights between the pixels of a row and of a row: the same place, and one aside."""
    line = torch.full((width,), here, dtype=torch.float64).diag()
    if width > 1:
        beside = torch.full((width - 1,), aside, dtype=torch.float64)
        line = line + beside.diag(1) + beside.diag(-1)
    return line


def _is_edge(height: int) -> Tensor:
    """How many of the two neighbouring rows each row lacks."""
    place = torch.arange(height)
    return (place == 0).double() + (place == height - 1).double()


def _rows_at_once(x: Tensor) -> int:
    """How many pictures are imputed together, by the memory that elimination takes."""
    sides = x.shape[2:]
    return max(1, _NUMBERS_AT_ONCE // (math.prod(sides) * (min(sides) if len(sides) > 1 else 1)))
