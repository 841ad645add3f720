"""What a measure of quality is: a value that gives a method one score for each sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from nni_widgets.engine.channels import joined
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.base import (
    AnyMethod,
    FunctionMethod,
    Method,
    Result,
    as_method,
    final,
    logits_of,
    ordinary,
)
from nni_widgets.engine.methods.chunks import rows_at_once, rows_without_graph
from nni_widgets.engine.targets import Selection, Target, resolve
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
        for measured in self._steps(subject):
            _check_scores(type(self).__name__, measured.values, len(subject.x))
            yield measured

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        raise NotImplementedError


def _check_scores(who: str, values: Any, samples: int) -> None:
    """Raise ``ValueError`` unless there is one score per sample: measures are written by users."""
    if not isinstance(values, Tensor) or values.shape != (samples,):
        is_tensor = isinstance(values, Tensor)
        given = f"shape {tuple(values.shape)}" if is_tensor else f"a {type(values).__name__}"
        expected = f"a tensor of one score per sample, shape ({samples},)"
        raise invalid(who, "the measured values", expected, given, "Give one per sample")


class Given(Method):
    """An attribution made elsewhere, in the place of a method: it knows only its own pictures."""

    title: ClassVar[str] = "attribution"
    values: Tensor = cast(Any, None)

    def validate(self) -> None:
        try:
            object.__setattr__(self, "values", torch.as_tensor(self.values).detach())
        except (TypeError, ValueError, RuntimeError) as error:
            expected, kind = "a tensor or an array of numbers", type(self.values).__name__
            action = "Give one number per pixel"
            raise invalid(self.name, "the attribution", expected, kind, action) from error

    @property
    def name(self) -> str:
        """What errors call it."""
        return "metric"

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        if self.values.shape != x.shape:
            expected, given = f"shaped like x, {tuple(x.shape)}", f"{tuple(self.values.shape)}"
            raise invalid(
                self.name, "the attribution", expected, given, "Give one number per pixel"
            )
        logits = logits_of(self.name, model, x)
        selection = resolve(target, logits, self.name)
        yield Result(self.values.to(x), selection, logits, passes=0)


def asked(method: AnyMethod | Tensor, who: str = "") -> Method:
    """A method as it is; a function, or an attribution (tensor or array), as one.

    Raises ``ValueError`` for anything else, which ``who`` was given.
    """
    if hasattr(method, "shape") and not callable(method):
        return Given(values=method)
    return as_method(method, who or "metric")


class Subject:
    """A method, the pictures it explains and the model: what a metric asks its questions.

    The target is decided once, on x; ``score`` is f(x), (N,), float64. Several metrics can share
    one subject: the attribution is made once. ``who`` begins the sentences of errors, the method's
    name unless given.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        method: AnyMethod | Tensor,
        target: Target = None,
        who: str = "",
    ) -> None:
        self.method = asked(method, who)
        self.who = who or self.method.name
        check_model(self.who, model)
        check_input(self.who, model, x)
        with torch.inference_mode(False):
            self.model, self.x = model, ordinary(x)
            self.logits = logits_of(self.who, model, self.x)
            self.selection = resolve(target, self.logits, self.who)
            self.score = self.selection(self.logits).double()

    @cached_property
    def result(self) -> Result:
        """The explanation of x. Cost: one explanation of each sample."""
        return self.explained(self.model)

    def explained(self, model: nn.Module) -> Result:
        """The explanation of x on this model, or on one that was made from it.

        Raises ``ValueError`` for a map with NaN, which has no order. Cost: one explanation of each
        sample; memory bounded by a chunk, except for a function, which is asked about all at once.
        """
        whole = len(self.x) == 1 or isinstance(self.method, (Given, FunctionMethod))
        every = torch.arange(len(self.x))
        parts = every.split(len(every) if whole else self._rows_at_once)
        made = [self._some(model, self.x[rows], rows) for rows in parts]
        return made[0] if len(made) == 1 else _joined(made, self.selection)

    def _some(self, model: nn.Module, pictures: Tensor, sample: Tensor) -> Result:
        result = final(self.method.steps(model, pictures, self.selection.rows(sample)))
        if not bool(result.values.isfinite().all()):
            given, action = "NaN or infinite numbers", "Look for a division by zero"
            raise invalid(self.who, "the attribution", "finite", given, action)
        return result

    @property
    def _rows_at_once(self) -> int:
        first = torch.zeros(1, dtype=torch.long)

        def one_row() -> Result:
            return self._some(self.model, self.x[:1], first)

        return rows_at_once(self.model, self.x, self.who, one_row)

    @property
    def attribution(self) -> Tensor:
        """R(x), shaped like x, float64."""
        return self.result.values.double()

    def attributions(self, pictures: Tensor, sample: Tensor) -> Tensor:
        """The attributions of other pictures (M, ...), in float64.

        ``sample`` (M,) says to which picture of x each belongs, and so which target it has.
        Cost: one explanation of each; memory bounded by a chunk.
        """
        size = self._rows_at_once
        pieces = zip(pictures.split(size), sample.split(size), strict=True)
        made = (self._some(self.model, rows, of).values.double() for rows, of in pieces)
        return torch.cat(list(made))

    def scores(self, pictures: Tensor, sample: Tensor, softmax: bool = False) -> Tensor:
        """The scores of other pictures (M, ...), in float64.

        ``sample`` (M,) says to which picture of x each belongs, and so which target it has. With
        ``softmax`` the target is read off the probabilities in place of the logits.
        Cost: one forward pass of each; memory bounded by a chunk.
        """
        size = rows_without_graph(self.who, self.model, self.x)
        pieces = zip(pictures.split(size), sample.split(size), strict=True)
        with torch.no_grad():
            outputs = (
                (logits_of(self.who, self.model, rows), self.selection.rows(of))
                for rows, of in pieces
            )
            found = [read(logits.softmax(1) if softmax else logits) for logits, read in outputs]
        return torch.cat(found).double()


def _joined(parts: list[Result], selection: Selection) -> Result:
    """The explanations of the parts of a batch as that of the whole."""
    values = torch.cat([part.values for part in parts])
    references = [part.reference_score for part in parts if part.reference_score is not None]
    return Result(
        values=values,
        selection=selection,
        logits=torch.cat([part.logits for part in parts]),
        passes=sum(part.passes * len(part.values) for part in parts) / len(values),
        reference_score=torch.cat(references) if references else None,
    )


def places(attribution: Tensor) -> Tensor:
    """One number per place, (N, places): the channels of (N, C, H, W) summed, for any method."""
    return joined(attribution, "sum").flatten(1)
