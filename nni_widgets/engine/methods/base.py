"""What a method is: a value called as ``method(model, x, target)``, able to answer step by step."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from nni_widgets.engine.channels import Channels
from nni_widgets.engine.checks import check_input, check_logits, check_model, run
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.order import in_quickest_order
from nni_widgets.engine.propagation import Layer
from nni_widgets.engine.targets import Selection, Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import Declared

AddsUpTo = Literal["score", "difference", ""]

model_lock = threading.RLock()


@dataclass(frozen=True, eq=False)
class Result:
    """An attribution and what is needed to judge it.

    ``values`` has the shape of x; ``score`` is f(x) and ``reference_score`` f(baseline), where
    there is one, both ``(N,)``; ``layers`` tells what happened at each operation, from the output
    down (propagation methods, if asked for); ``done`` of ``of`` says how complete it is; ``passes``
    counts forward and backward passes of the model per sample so far, NaN where nobody knows. A
    walk down by rules counts as one, though some rules run a layer several times.
    """

    values: Tensor
    selection: Selection
    logits: Tensor
    passes: float
    reference_score: Tensor | None = None
    layers: tuple[Layer, ...] = ()
    done: int = 1
    of: int = 1

    @property
    def score(self) -> Tensor:
        """f(x), the explained number of each sample."""
        return self.selection(self.logits)


class Method(Declared):
    """Base of the attribution methods: a frozen set of hyperparameters that can be called.

    A subclass declares its parameters, its class variables, ``_steps`` and, where there is more to
    say than that the model runs, ``examine``. ``adds_up_to`` is what the attribution should sum to:
    the ``score``, its ``difference`` from the baseline's, or nothing. ``channels`` says how a
    heatmap joins the channels.
    """

    title: ClassVar[str] = ""
    card: ClassVar[Card]
    adds_up_to: ClassVar[AddsUpTo] = ""
    signed: ClassVar[bool] = True
    channels: ClassVar[Channels] = "sum"

    @property
    def name(self) -> str:
        """What errors call the method."""
        return type(self).__name__

    def __call__(self, model: nn.Module, x: Tensor, target: Target = None) -> Tensor:
        """The attribution, shaped like x, in the model's dtype and on its device.

        ``target``: see :mod:`nni_widgets.engine.targets`. Raises ``ValueError`` for a model or
        input that cannot be explained, :class:`UnsupportedOperation` for an operation without rule.
        """
        return final(self.steps(model, x, target)).values

    def steps(
        self, model: nn.Module, x: Tensor, target: Target = None, layers: bool = False
    ) -> Iterator[Result]:
        """Better and better results; the last one is complete. Stop iterating to stop the work.

        The model is locked during a step and free between steps.
        """
        who = self.name
        check_model(who, model)
        check_input(who, model, x)
        work = self._steps(model, ordinary(x), target, layers)
        while True:
            with model_lock, outside_inference():
                result = next(work, None)
            if result is None:
                return
            yield result

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        raise NotImplementedError

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        """What would bend the meaning of this method on this model and input.

        Raises what a call would raise. Cost: about that of one explanation of one picture.
        """
        who = type(self).__name__
        return undefined(who, input_gradient(who, model, x, None)[0])


def undefined(who: str, gradient: Tensor) -> list[Finding]:
    """What to say of a gradient that is not finite everywhere."""
    count = int((~gradient.isfinite().flatten(1).all(1)).sum())
    if not count:
        return []
    text = (
        f"{who}: the gradient of {count} of {len(gradient)} samples is NaN or infinite somewhere, "
        "as that of a root at 0 is. Add a small number where the model takes it."
    )
    return [Finding("error", text)]


class FunctionMethod(Method):
    """A plain function ``function(model, x, target) -> attribution`` as a method.

    Raises ``ValueError`` if what it returns is not a finite tensor shaped like x.
    """

    card = Card("perturbation", "whatever its author asks", "unknown", "a function", "unknown")
    function: Callable[..., Any] = cast(Any, None)

    def code(self, prefix: str) -> str:
        """The function's name: a function is a method wherever one is asked for."""
        return self.name

    @property
    def name(self) -> str:
        """The function's own name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        logits = logits_of(self.name, model, x)
        selection = resolve(target, logits, self.name)
        values = self.function(model, x.clone(), getattr(selection, "index", selection))
        if not isinstance(values, Tensor) or values.shape != x.shape:
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            expected = f"a tensor shaped like x, {tuple(x.shape)}"
            raise invalid(
                self.name, "the attribution", expected, str(shape), "Return one per pixel"
            )
        if not bool(values.isfinite().all()):
            raise invalid(self.name, "the attribution", "finite", "NaN or infinite numbers",
                          "Look for a division by zero")  # fmt: skip
        yield Result(values.detach(), selection, logits, passes=math.nan)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        """Also runs the function on one picture twice, and beside itself with another target."""
        try:
            self(model, x)
        except ValueError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever its author's code raises is told
            return [Finding("error", f"{self.name}: it stops with {_told(error)}.")]
        ranked = logits_of(self.name, model, x[:1])[0].argsort()
        most, least = int(ranked[-1]), int(ranked[0])
        alone, again = (self(model, x[:1], most) for _ in range(2))
        if not torch.allclose(alone, again):
            text = f"{self.name}: two runs give two maps. Draw its random numbers from a seed."
            return [Finding("warning", text)]
        try:
            beside = self(model, torch.cat([x[:1], x[:1]]), [most, least])[:1]
        except Exception as error:  # noqa: BLE001
            kind = type(error).__name__
            text = f"{self.name}: it explains one picture at a time; two stop with {kind}."
            return [Finding("note", text)]
        if float((alone - beside).abs().max()) <= 1e-3 * float(alone.abs().max()):
            return []
        text = (
            f"{self.name}: the map of a picture changes with the target of the picture beside it. "
            "Take each row's own logit: logits[range(len(x)), target]."
        )
        return [Finding("warning", text)]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).rstrip('.')}"


AnyMethod = Method | Callable[..., Any]


def as_method(method: AnyMethod, who: str = "explain", what: str = "method") -> Method:
    """A method as it is; a function of the same signature wrapped as one.

    Raises ``ValueError`` for anything else; ``who`` was given it, and calls it ``what``.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, type) or not callable(method):
        expected = "a method such as nni.LRP(), or a function of (model, x, target)"
        raise invalid(who, what, expected, repr(method), "Call the class to make a method")
    return FunctionMethod(function=method)


_Each = TypeVar("_Each")


def final(results: Iterable[_Each]) -> _Each:
    """The last of the results; the others are let go one by one."""
    (last,) = deque(results, maxlen=1)
    return last


def ordinary(x: Tensor) -> Tensor:
    """The input without its history, a copy if it was made in inference mode."""
    with outside_inference():
        return x.clone() if x.is_inference() else x.detach()


def outside_inference() -> AbstractContextManager[Any]:
    """Leaves torch's inference mode, and costs nothing where it is not entered."""
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else _NOTHING


_NOTHING = nullcontext()


def logits_of(who: str, model: nn.Module, x: Tensor) -> Tensor:
    """The checked logits of x, without a graph. Cost: one forward pass."""
    return in_quickest_order(model, x, lambda moved: _logits_of(who, model, moved))


def _logits_of(who: str, model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits = run(who, model, x.clone())
    check_logits(who, logits)
    return cast(Tensor, logits.clone())  # a model may write to its output again


def input_gradient(
    who: str, model: nn.Module, x: Tensor, target: Target
) -> tuple[Tensor, Tensor, Selection]:
    """The gradient of the target's score at x, with the logits and the resolved target.

    Nothing but the input is differentiated. Cost: one forward and one backward pass.
    """
    return in_quickest_order(model, x, lambda moved: _input_gradient(who, model, moved, target))


def _input_gradient(
    who: str, model: nn.Module, x: Tensor, target: Target
) -> tuple[Tensor, Tensor, Selection]:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        logits = run(who, model, leaf.clone())
        check_logits(who, logits)
        found = logits.detach().clone()
        selection = resolve(target, found, who)
        gradient = None
        if logits.requires_grad:
            seed = selection.gradient(found)
            (gradient,) = torch.autograd.grad(logits, leaf, seed, allow_unused=True)
    if gradient is None:
        expected, given = "computed from x by differentiable operations", "no gradient at x"
        action = "Avoid .detach() and torch.no_grad()"
        raise invalid(who, "the model's output", expected, given, action)
    return gradient.contiguous(), found, selection
