"""What a measure of quality is: a value that gives a method one score for each sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.base import AnyMethod, Method, Result, as_method, final, logits_of
from nni_widgets.engine.methods.chunks import rows_at_once
from nni_widgets.engine.methods.occlusion import ForwardOnly, rows_without_graph
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import Declared

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class MetricCard:
    """What one must know to read a score.

    ``better`` is the direction, ``range`` the values that can be, ``cost`` in passes through the
    model (F forward, B backward) or in explanations of the method (R).
    """

    question: str
    better: Better
    range: str
    cost: str
    drawbacks: str


@dataclass(frozen=True, eq=False)
class Measured:
    """The scores of a method, and what they were made from.

    ``values`` is (N,). ``curve`` is (N, S + 1), where the score is an area under one, over the
    ``shares`` (S + 1,) of the picture, 0 to 1. ``passes`` counts forward and backward passes of the
    model per sample, the explanation itself left out. ``done`` of ``of`` says how complete it is.
    """

    values: Tensor
    passes: float
    curve: Tensor | None = None
    shares: Tensor | None = None
    done: int = 1
    of: int = 1


class Metric(Declared):
    """Base of the measures: frozen hyperparameters, called as ``metric(model, x, method)``.

    A subclass declares its parameters, its class variables and ``_steps``. ``asks_again`` says
    that it explains other pictures than x too, so that an attribution alone is not enough.
    """

    title: ClassVar[str] = ""
    card: ClassVar[MetricCard]
    asks_again: ClassVar[bool] = False

    def __call__(
        self, model: nn.Module, x: Tensor, method: AnyMethod | Tensor, target: Target = None
    ) -> Tensor:
        """One score per sample, (N,), in float64.

        ``method`` is a method, a function of ``(model, x, target)`` or, for a measure that does not
        ask again, an attribution shaped like x. Raises ``ValueError`` as the method does.
        """
        return final(self.steps(Subject(model, x, method, target))).values

    def steps(self, subject: Subject) -> Iterator[Measured]:
        """Better and better scores; the last are complete. Stop iterating to stop the work."""
        if self.asks_again and isinstance(subject.method, Given):
            expected = "a method, because other pictures are explained too"
            action = "Give the method, such as nni.LRP()"
            raise invalid(type(self).__name__, "method", expected, "an attribution", action)
        yield from self._steps(subject)

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        raise NotImplementedError


class Given(Method):
    """An attribution made elsewhere, in the place of a method: it knows only its own pictures."""

    values: Tensor = cast(Any, None)

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        if self.values.shape != x.shape:
            expected, given = f"shaped like x, {tuple(x.shape)}", f"{tuple(self.values.shape)}"
            raise invalid("metric", "the attribution", expected, given, "Give one number per pixel")
        if not bool(self.values.isfinite().all()):
            given, action = "NaN or infinite numbers", "Look for a division by zero"
            raise invalid("metric", "the attribution", "finite", given, action)
        logits = logits_of("metric", model, x)
        selection = resolve(target, logits, "metric")
        yield Result(self.values.detach().to(x), selection, logits, passes=0)


class Subject:
    """A method, the pictures it explains and the model: what a metric asks its questions.

    The target is decided once, on x; ``score`` is f(x), (N,), float64. Several metrics can share
    one subject: the attribution is made once. ``who`` begins the sentences of errors.
    """

    def __init__(
        self, model: nn.Module, x: Tensor, method: AnyMethod | Tensor, target: Target = None
    ) -> None:
        self.method = Given(values=method) if isinstance(method, Tensor) else as_method(method)
        self.who = type(self.method).__name__
        check_model(self.who, model)
        check_input(self.who, model, x)
        self.model, self.x = model, x.detach()
        self.logits = logits_of(self.who, model, self.x)
        self.selection = resolve(target, self.logits, self.who)
        self.score = self.selection(self.logits).double()
        self._forward = ForwardOnly(self.who, model)

    @cached_property
    def result(self) -> Result:
        """The explanation of x. Cost: one explanation of each sample."""
        return final(self.method.steps(self.model, self.x, self.selection))

    @property
    def attribution(self) -> Tensor:
        """R(x), shaped like x, float64."""
        return self.result.values.double()

    def attributions(self, pictures: Tensor, sample: Tensor) -> Tensor:
        """The attributions of other pictures (M, ...), in float64.

        ``sample`` (M,) says to which picture of x each belongs, and so which target it has.
        Cost: one explanation of each; memory bounded by a chunk.
        """
        first = torch.zeros(1, dtype=torch.long)

        def explain(rows: Tensor, of: Tensor) -> Tensor:
            return final(self.method.steps(self.model, rows, self.selection.rows(of))).values

        size = rows_at_once(self.model, self.x, self.who, lambda: explain(self.x[:1], first))
        pieces = zip(pictures.split(size), sample.split(size), strict=True)
        return torch.cat([explain(rows, of).double() for rows, of in pieces])

    def scores(self, pictures: Tensor, sample: Tensor, softmax: bool = False) -> Tensor:
        """The scores of other pictures (M, ...), in float64.

        ``sample`` (M,) says to which picture of x each belongs, and so which target it has. With
        ``softmax`` the target is read off the probabilities in place of the logits.
        Cost: one forward pass of each; memory bounded by a chunk.
        """
        size = rows_without_graph(self.who, self.model, self.x)
        pieces = zip(pictures.split(size), sample.split(size), strict=True)
        with torch.no_grad():
            outputs = ((self._forward(rows), self.selection.rows(of)) for rows, of in pieces)
            found = [read(logits.softmax(1) if softmax else logits) for logits, read in outputs]
        return torch.cat(found).double()


def places(attribution: Tensor) -> Tensor:
    """One number per place, (N, places): the channels of (N, C, H, W) summed, as in a heatmap."""
    joined = attribution.sum(1) if attribution.ndim > 2 else attribution
    return joined.flatten(1)
