"""How sure an explanation is: the mean, spread and sign agreement of many that might be as right.

A source makes versions of a model and its picture (thinned networks, members, noisy copies). Each
version is explained; of the maps only running statistics are kept, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nni_widgets.engine.channels import joined
from nni_widgets.engine.methods.base import (
    AnyMethod,
    Method,
    Result,
    as_method,
    final,
    model_lock,
)
from nni_widgets.engine.methods.chunks import rows_at_once, totals
from nni_widgets.engine.targets import Classes, Selection, Target, resolve
from nni_widgets.engine.uncertainty.prediction import Prediction
from nni_widgets.engine.uncertainty.sources import (
    MCDropout,
    Models,
    Source,
    Versions,
    check_source,
)
from nni_widgets.engine.uncertainty.thinning import Around
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole


@dataclass(frozen=True, eq=False)
class Spread:
    """Statistics of T maps.

    ``deviation`` is their standard deviation (with T − 1; 0 for one sample). ``agreement`` is the
    share of the samples whose sign is that of the mean, 0 to 1, and 0 where the mean is 0: what is
    near 1 can be relied on, near a half it cannot. All are float32 at least.
    """

    mean: Tensor
    deviation: Tensor
    agreement: Tensor


@dataclass(frozen=True, eq=False)
class Share:
    """The samples in which a picture was taken for one class: how many, and their mean map.

    ``count`` is ``(N,)``; ``mean`` has the shape of x and is 0 where the count is.
    """

    count: Tensor
    mean: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class UncertainAttribution(Spread):
    """The attributions of T samples of an uncertain model, as statistics shaped like x.

    ``heatmaps`` has the statistics of their heatmaps, ``(N, ...)``: the channels of each map are
    joined as by the method before it is counted. ``prediction`` holds the answers of the same
    samples; ``selection`` is the explained target, None where each sample explained its own class.
    ``passes`` counts forward and backward passes of the model per picture.
    """

    x: Tensor
    method: Method
    source: Source
    selection: Selection | None
    prediction: Prediction
    heatmaps: Spread
    shares: Mapping[int, Share]
    passes: float

    @property
    def done(self) -> int:
        """The number of samples so far, T."""
        return self.prediction.done

    @property
    def of(self) -> int:
        """The number of samples that are to come in all."""
        return self.prediction.of

    def of_predicted(self, k: int) -> Share:
        """The samples that predict class ``k``: their number, and the mean of their maps.

        It is a mean, so that classes that are often and seldom predicted can be compared. What is
        explained there is the target: class k itself if it is ``"each"``.
        """
        if not is_whole(k) or not 0 <= k < self.prediction.logits.shape[2]:
            expected = f"a class from 0 to {self.prediction.logits.shape[2] - 1}"
            action = "Give the number of one of the classes"
            raise invalid("of_predicted", "k", expected, repr(k), action)
        none = Share(torch.zeros(len(self.x), dtype=torch.long), torch.zeros_like(self.mean))
        return self.shares.get(k, none)

    def __repr__(self) -> str:
        made = f"{self.method!r} under {self.source!r}, {self.done} of {self.of} samples"
        return f"UncertainAttribution of {tuple(self.mean.shape)} by {made}"


def uncertain(
    model: Models,
    x: Tensor,
    method: AnyMethod,
    source: Source = MCDropout(),  # noqa: B008  # a frozen value
    target: Target | Literal["each"] = None,
) -> UncertainAttribution:
    """Explain every sample of an uncertain model: any method, any source.

    ``target``: see :mod:`nni_widgets.engine.targets`; None is the class of the mean prediction,
    decided once, ``"each"`` what each sample itself predicts. An interruption from the keyboard
    gives what is done, if there is anything.

    Shape: maps as x. Unit: as the method. Raises ``ValueError`` as the source and the method do.
    Cost: T explanations; samples go in batches, except where each has a network of its own and
    the method makes batches itself; memory does not grow with T.
    """
    steps = uncertain_steps(model, x, method, source, target)
    last = next(steps)
    with suppress(KeyboardInterrupt):
        for step in steps:
            last = step
    return last


def uncertain_steps(
    model: Models,
    x: Tensor,
    method: AnyMethod,
    source: Source = MCDropout(),  # noqa: B008  # a frozen value
    target: Target | Literal["each"] = None,
) -> Iterator[UncertainAttribution]:
    """As `uncertain`, better and better; stop iterating to stop the work and keep what is done."""
    method = as_method(method, "uncertain")
    check_source("uncertain", source)
    with torch.inference_mode(False):
        with model_lock:
            versions = source.versions(model, x)
        x = x.detach().clone()  # it is shown later, whatever the caller does with it
    selection = _selection(source, versions, model, x, target)
    work = _Work(method, versions, x, selection)
    statistics, of_heatmaps = _Statistics(x), _Statistics(joined(x, method.channels))
    logits: list[Tensor] = []
    shares: dict[int, Share] = {}
    cost = 0.0
    for which in torch.arange(versions.number).split(work.together):
        values, answers, passes = work.explain(which)
        statistics.add(values)
        heatmaps = joined(values.flatten(0, 1), method.channels)
        of_heatmaps.add(heatmaps.unflatten(0, values.shape[:2]))
        predicted = answers.argmax(2)
        for k in predicted.unique().tolist():
            shares[k] = _enlarged(shares.get(k), values, predicted == k)
        logits.append(answers)
        cost += passes
        yield UncertainAttribution(
            x=x,
            method=method,
            source=source,
            selection=selection,
            prediction=Prediction(torch.cat(logits), versions.number),
            **vars(statistics.spread),
            heatmaps=of_heatmaps.spread,
            shares=dict(shares),
            passes=cost,
        )


def _selection(
    source: Source,
    versions: Versions,
    model: Models,
    x: Tensor,
    target: Target | Literal["each"],
) -> Selection | None:
    """The target, decided once; None where each sample has its own."""
    with model_lock, torch.inference_mode(False), torch.no_grad():
        logits = versions.logits(x, torch.zeros(1, dtype=torch.long))[0]
    if target is None:
        return Classes(source(model, x).predicted.to(x.device))
    if not isinstance(target, str):
        with torch.inference_mode(False):
            return resolve(target, logits, "uncertain")
    if target != "each":
        expected, action = "a target, or the word 'each'", "Use a class index"
        raise invalid("uncertain", "target", expected, repr(target), action)
    return None


class _Work:
    """The explanations of some versions at a time, in batches bounded by memory."""

    def __init__(
        self, method: Method, versions: Versions, x: Tensor, selection: Selection | None
    ) -> None:
        self._method, self._versions, self._x, self._selection = method, versions, x, selection
        zero = torch.zeros(1, dtype=torch.long)
        purpose = type(method).__name__
        self._in_order = versions.mixing == "in order"
        self._size = rows_at_once(versions.first, x, purpose, lambda: self._some(zero, zero))
        self._mixed = versions.mixing == "always" or (
            self._in_order and keeps_rows(method, versions.first, x)
        )
        self.together = max(1, self._size // len(x)) if self._mixed else 1

    def explain(self, which: Tensor) -> tuple[Tensor, Tensor, float]:
        """Maps ``(W, N, ...)``, logits ``(W, N, K)``, and the passes per picture.

        The maps are in float32 at least, for they are added up: in bfloat16, 256 + 1 is 256.
        """
        samples = len(self._x)
        made = self._made(which)
        values = torch.cat([result.values for result in made]).to(totals(self._x))
        logits = torch.cat([result.logits for result in made])
        passes = sum(result.passes * len(result.values) for result in made) / samples
        shape = (len(which), samples)
        return values.unflatten(0, shape), logits.unflatten(0, shape), passes

    def _made(self, which: Tensor) -> list[Result]:
        if self._mixed:
            try:
                return self._rows(which)
            except _OtherRows:  # it does so for these pictures, not for those it was watched with
                self._mixed = False
        return [result for one in which.split(1) for result in self._rows(one)]

    def _rows(self, which: Tensor) -> list[Result]:
        samples = len(self._x)
        parts = torch.arange(len(which) * samples).split(self._size)
        return [self._some(which[part // samples], part % samples) for part in parts]

    def _some(self, which: Tensor, sample: Tensor) -> Result:
        model, rows = self._versions.asked(self._x, which, sample)
        watched = _Watched(model, rows)
        in_order = self._in_order and len(which.unique()) > 1
        target = None if self._selection is None else self._selection.rows(sample)
        last = final(self._method.steps(watched if in_order else model, rows, target))
        if not watched.kept:
            raise _OtherRows
        return last


def keeps_rows(method: Method, model: nn.Module, x: Tensor) -> bool:
    """Whether a method asks the model about nothing but the rows it is given, in their order.

    It is found out by watching it explain two different rows. Cost: one explanation of each at
    most: the first other question ends it.
    """
    rows = torch.cat([x[:1], x[:1] / 2 + 1 / 8])
    watched = _Watched(model, rows)
    with suppress(_OtherRows):
        for _ in method.steps(watched, rows, 0):
            pass
    return watched.kept


class _OtherRows(Exception):
    pass


class _Watched(Around):
    """The model, which refuses other rows than these and remembers that it was asked about them."""

    def __init__(self, model: nn.Module, rows: Tensor) -> None:
        super().__init__(model)
        self._rows, self.kept = rows, True

    def forward(self, x: Tensor) -> Any:
        """The model's answer."""
        if x.shape != self._rows.shape or not torch.equal(x.detach(), self._rows):
            self.kept = False
            raise _OtherRows
        return self.model(x)


class _Statistics:
    """Running statistics of maps that come some versions at a time: ``(W, N, ...)``.

    Source: Chan, Golub, LeVeque 1983 (updating formulae for means and variances).
    """

    def __init__(self, like: Tensor) -> None:
        self._mean = self._squares = self._positive = self._negative = totals(like)
        self._count = 0

    def add(self, values: Tensor) -> None:
        """Count these maps."""
        old, new = self._count, len(values)
        mean = values.mean(0)
        change = mean - self._mean
        within = (values - mean).square().sum(0)
        self._count = old + new
        self._mean = self._mean + change * (new / self._count)
        self._squares = self._squares + within + change.square() * (old * new / self._count)
        self._positive = self._positive + (values > 0).sum(0)
        self._negative = self._negative + (values < 0).sum(0)

    @property
    def spread(self) -> Spread:
        """The statistics so far."""
        agreeing = torch.where(self._mean > 0, self._positive, self._negative)
        return Spread(
            mean=self._mean,
            deviation=(self._squares / max(1, self._count - 1)).sqrt(),
            agreement=torch.where(self._mean == 0, 0.0, agreeing / self._count),
        )


def _enlarged(share: Share | None, values: Tensor, chosen: Tensor) -> Share:
    """The share with those of the maps that are chosen, ``(W, N)`` booleans."""
    along = (*chosen.shape, *[1] * (values.ndim - 2))
    added = chosen.sum(0).cpu()
    total = torch.where(chosen.reshape(along), values, 0.0).sum(0)
    if share is None:
        share = Share(torch.zeros_like(added), torch.zeros_like(total))
    count = share.count + added
    parts = [number.to(total).reshape(along[1:]) for number in (added, count.clamp(min=1))]
    return Share(count, share.mean + (total - parts[0] * share.mean) / parts[1])
