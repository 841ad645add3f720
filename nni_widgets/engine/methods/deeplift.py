"""DeepLIFT: what each difference from a reference contributes to the score's difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nni_widgets.engine.findings import Finding
from nni_widgets.engine.lift import NONLINEAR, Word, choose, multiply_down
from nni_widgets.engine.methods.base import AddsUpTo, Method, Result, logits_of
from nni_widgets.engine.methods.baselines import BASELINES, AnyBaseline, Constant, as_baseline
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.chunks import in_chunks, rows_at_once, totals
from nni_widgets.engine.pairs import record_pair
from nni_widgets.engine.propagation import Layer, Ledger
from nni_widgets.engine.targets import Score, Selection, Target, resolve
from nni_widgets.params import param


class DeepLIFT(Method):
    """DeepLIFT: hand the score's difference from a reference down, layer by layer, to the pixels.

    ``R_i = m_i (x_i − x⁰_i)``, where the multipliers m obey a chain rule. At a nonlinearity they
    are ``Δy / Δx`` (rescale), one for the positive and one for the negative contributions to it
    (reveal-cancel: shows what cancels out), or the derivative (linear: does not add up). Otherwise
    the map sums to f(x) − f(x⁰), also through max-pooling and gates. With several references it is
    the mean over them (DeepSHAP).

    Shape: as x, signed. Unit: logit. Raises ``ValueError`` if the reference does not broadcast to
    x, :class:`UnsupportedOperation` for an operation without a rule (softmax, layer norm).
    Cost: 2 forward and 1 backward passes, one forward less when the reference, one picture, is
    that of the last call; reveal-cancel: 1 forward and 1 backward pass of its layers more.
    Source: Shrikumar et al. 2017 (arXiv 1704.02685), sec. 3; its choice of rules sec. 3.5 and 4.2;
    several references: Lundberg, Lee 2017 (SHAP), sec. 4.2.
    """

    title: ClassVar[str] = "DeepLIFT"
    card = Card(
        kind="propagation",
        question="What does each pixel's difference from a reference add to the score's?",
        cost="2 F + B; F + B if the reference stays; 1 F + 1 B more for reveal-cancel",
        needs="a reference that means 'nothing there'; a rule for every operation",
        drawbacks="the answer depends on the reference; pixels equal to it get nothing",
    )
    adds_up_to: ClassVar[AddsUpTo] = "difference"
    conv: Word = param("rescale", "the rule after convolutions", choices=tuple(NONLINEAR))
    dense: Word = param("reveal-cancel", "the rule after dense layers", choices=tuple(NONLINEAR))
    reference: AnyBaseline = param(
        Constant(), "x⁰: a number, a picture, or how to make one", options=lambda: BASELINES
    )

    def validate(self) -> None:
        reference = as_baseline(type(self).__name__, self.reference, "reference")
        object.__setattr__(self, "reference", reference)

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        references = self._references(x)
        if len(references) == 1:
            yield self._lift(model, x, references[0], target, layers)
        else:
            yield from self._mean(model, x, references, target, layers)

    def _lift(
        self, model: nn.Module, x: Tensor, reference: Tensor, target: Target, layers: bool
    ) -> Result:
        """The explanation by one reference, or one for each sample."""
        who = type(self).__name__
        passes = record_pair(model, x, reference, who)
        rules = choose(passes, {"conv": self.conv, "dense": self.dense}, who)
        selection = resolve(target, passes.logits, who)
        old = passes.reference_logits.expand_as(passes.logits)
        start = _multiplier(selection, passes.logits, old)
        ledger = Ledger(start * (passes.logits - old)) if layers else None
        values = multiply_down(passes, start, rules, ledger)
        return Result(
            values,
            selection,
            passes.logits,
            passes=passes.cost + 1,
            reference_score=selection(old),
            layers=tuple(ledger.layers) if ledger else (),
        )

    def _mean(
        self, model: nn.Module, x: Tensor, references: Tensor, target: Target, layers: bool
    ) -> Iterator[Result]:
        """The mean over the references, which is better with each chunk."""
        who = type(self).__name__
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        mean = _Mean(x, logits)

        def explain(rows: Tensor) -> Result:
            which, sample = rows // len(x), rows % len(x)
            of_rows = references[which, sample % references.shape[1]]
            return self._lift(model, x[sample], of_rows, selection.rows(sample), layers)

        order = torch.arange(len(references) * len(x))
        size = len(x)  # layers may join the samples with another axis: one reference at a time
        if not layers:
            size = rows_at_once(model, x, (who, self.conv, self.dense), lambda: explain(order[:1]))
        for done in in_chunks(
            order, len(x), size, lambda rows: mean.add(explain(rows), rows % len(x))
        ):
            if done >= len(x):
                yield Result(
                    mean.of(mean.values).to(x.dtype),
                    selection,
                    logits,
                    passes=1 + 3 * done / len(x),
                    reference_score=mean.of(mean.score).to(logits.dtype),
                    layers=mean.layers(),
                    done=done // len(x),
                    of=len(references),
                )

    def _references(self, x: Tensor) -> Tensor:
        """Shape: ``(number of references, N, ...)``, or one row where all samples have the same."""
        who = type(self).__name__
        references = as_baseline(who, self.reference)(x, who)
        return references[:, :1] if references.stride(1) == 0 else references

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        self(model, x)
        found = []
        if "linear" in (self.conv, self.dense):
            text = "DeepLIFT: the rule 'linear' takes derivatives at nonlinearities, so that the "
            action = "map does not add up. Use 'rescale' or 'reveal-cancel'."
            found.append(Finding("warning", text + action))
        same = x == self._references(x)
        if bool(same.flatten(2).all(2).any()):
            text = "DeepLIFT: a picture equals its reference: there is no difference to explain. "
            found.append(Finding("warning", text + "Use another reference."))
        elif bool(same.any()):
            share = f"{float(same.to(x.dtype).mean()):.0%}"
            text = f"DeepLIFT: {share} of the pixels equal the reference and get nothing."
            found.append(Finding("note", text))
        return found


class _Mean:
    """Results for some rows at a time, added up for each sample; layers for all samples at once."""

    def __init__(self, x: Tensor, logits: Tensor) -> None:
        self.values, self.score = totals(x), totals(logits[:, 0])
        self._seen = totals(x.new_zeros(len(x)))
        self._layers: list[Layer] = []

    def add(self, result: Result, sample: Tensor) -> None:
        """Add the rows' results to those of their samples."""
        sample = sample.to(self.values.device)
        if not self._layers:
            self._layers = [_each(layer, totals) for layer in result.layers]
        self._seen.index_add_(0, sample, torch.ones_like(self._seen)[sample])
        self.values.index_add_(0, sample, result.values.to(self.values))
        if result.reference_score is not None:
            self.score.index_add_(0, sample, result.reference_score.to(self.score))
        for total, layer in zip(self._layers, result.layers, strict=True):
            for so_far, part in zip(_tensors(total), _tensors(layer), strict=True):
                so_far.add_(part)

    def of(self, total: Tensor) -> Tensor:
        """The mean per sample of what was added up."""
        return total / self._seen.reshape(-1, *[1] * (total.ndim - 1))

    def layers(self) -> tuple[Layer, ...]:
        """What happened at each layer, in the mean."""
        return tuple(_each(layer, lambda total: total / self._seen[0]) for layer in self._layers)


def _tensors(layer: Layer) -> tuple[Tensor, ...]:
    return layer.relevance, layer.arrived, layer.in_flight, *layer.lost.values()


def _each(layer: Layer, change: Callable[[Tensor], Tensor]) -> Layer:
    """The layer with every tensor changed."""
    return dataclasses.replace(
        layer,
        relevance=change(layer.relevance),
        arrived=change(layer.arrived),
        in_flight=change(layer.in_flight),
        lost={cause: change(lost) for cause, lost in layer.lost.items()},
    )


def _multiplier(selection: Selection, logits: Tensor, old: Tensor) -> Tensor:
    """What each logit's change stands for in the score's.

    For a function on the logits: its derivative, averaged on the straight way between them.
    """
    if not isinstance(selection, Score):
        return selection.gradient(logits)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    total = torch.zeros_like(logits)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += float(weight) * selection.gradient(torch.lerp(old, logits, float(node)))
    return total


_NODES = 16
