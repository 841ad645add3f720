"""Methods that change what a backward pass does at the activations: DeconvNet, guided backprop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.chain import runs_its_children
from nni_widgets.engine.checks import check_input, check_logits, check_model, run
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.graph import follow
from nni_widgets.engine.methods.base import Method, Result
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.operations import family
from nni_widgets.engine.propagation import Ledger, propagate
from nni_widgets.engine.rules import Derivative, GuidedReLU, Rule, Share
from nni_widgets.engine.tape import Op, Tape, record
from nni_widgets.engine.targets import Score, Selection, Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole, param

_SMALL = 1 << 12
_ELSEWHERE = Derivative()


class DeconvReLU(Rule):
    """DeconvNet at an activation: positive signals pass, whether the unit was on or not.

    ``1[R > 0] · R``. Source: Zeiler, Fergus 2014, sec. 2.1; as a rule for the backward pass
    Springenberg et al. 2015, sec. 3.4.
    """

    def __call__(self, op: Op, relevance: Tensor) -> Share:
        return Share((relevance.clamp(min=0).sum_to_size(op.values[0].shape),))


class Reconstruction(Method):
    """Base: carry one number back to the pixels, with a rule of one's own at the activations.

    That number is the target's score or, where ``layer`` is named, what is kept of that layer.
    ``masked``: whether the derivative follows the rule's change of the signal.
    """

    at_activations: ClassVar[Rule]
    masked: ClassVar[bool]
    layer: str = param("", "where to begin, a name of nni.layers(model, x); empty: the target")
    channel: int | None = param(None, "which map of that layer; None: all of them")
    keep: str = param("strongest", "what is kept of that layer", choices=("strongest", "all"))

    def validate(self) -> None:
        who = type(self).__name__
        if not isinstance(self.layer, str):
            action = "See nni.layers(model, x)"
            raise invalid(who, "layer", "the name of a layer", repr(self.layer), action)
        if self.channel is None:
            return
        if not is_whole(self.channel) or self.channel < 0:
            expected = "None or a whole number of at least 0"
            raise invalid(who, "channel", expected, repr(self.channel), "Try 0")
        object.__setattr__(self, "channel", int(self.channel))
        if not self.layer:
            expected, given = "None where no layer is named", repr(self.channel)
            raise invalid(who, "channel", expected, given, "Name its layer, or choose a target")

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        found = None
        if not (layers or self.layer or _is_quicker_on_tape(model, x)):
            found = self._by_autograd(model, x, target)
        yield self._on_tape(model, x, target, layers) if found is None else found

    def _by_autograd(self, model: nn.Module, x: Tensor, target: Target) -> Result | None:
        """The whole network in less memory; None where its graph is not known or misses x."""
        who = type(self).__name__
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = run(who, model, leaf.clone())
            check_logits(who, logits)
            if not logits.requires_grad:
                return None
            with follow(logits, _positive, self.masked) as known:
                if not known:
                    return None
                found = logits.detach().clone()
                selection = resolve(target, found, who)
                seed = selection.gradient(found)
                (values,) = torch.autograd.grad(logits, leaf, seed, allow_unused=True)
        return None if values is None else Result(values, selection, found, passes=2)

    def _on_tape(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Result:
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        logits = tape.logits
        selection = resolve(target, logits, who)
        if self.layer:
            tape = _up_to(tape, self.layer, who)
            start = self._kept(tape.ops[-1])
            selection = self._explained(start)
        else:
            start = selection.gradient(logits)
        ledger = Ledger(start) if layers else None
        values = propagate(tape, start, with_activations_by(self.at_activations, tape), ledger)
        return Result(
            values, selection, logits, passes=2, layers=tuple(ledger.layers) if ledger else ()
        )

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        found = []
        if self.layer:
            tape = _up_to(tape, self.layer, who)
            totals = self._kept(tape.ops[-1]).flatten(1).sum(1)
            silent = ", ".join(str(i) for i, total in enumerate(totals.tolist()) if total == 0)
            if silent:
                text = f"{who}: {self._name()} is not active for sample {silent}: nothing to show."
                found.append(Finding("warning", text))
        return found + self._examine_tape(tape)

    def _examine_tape(self, tape: Tape) -> list[Finding]:
        if any(family(op) == "activation" for op in tape.ops):
            return []
        who = type(self).__name__
        what = (
            f"there is no activation before {self.layer!r}"
            if self.layer
            else ("the model has no activation")
        )
        return [Finding("warning", f"{who}: {what}, so it equals the plain gradient.")]

    def _kept(self, op: Op) -> Tensor:
        """The layer's positive activations that are kept, zeros in the place of all others."""
        maps = op.results[0].clamp(min=0)
        if self.channel is not None:
            self._check_channel(op)
            others = torch.arange(maps.shape[1], device=maps.device) != self.channel
            maps = maps.masked_fill(others.reshape(-1, *[1] * (maps.ndim - 2)), 0)
        if self.keep == "all":
            return maps
        flat = maps.flatten(1)
        place = flat.argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter_(1, place, flat.gather(1, place)).view_as(maps)

    def _check_channel(self, op: Op) -> None:
        count = op.results[0].shape[1]
        if self.channel is not None and self.channel >= count:
            expected, given = f"from 0 to {count - 1} in {op.label!r}", repr(self.channel)
            action = "Choose one of its maps"
            raise invalid(type(self).__name__, "channel", expected, given, action)

    def _explained(self, kept: Tensor) -> Selection:
        """The sum of what is kept, as the number that is explained."""
        total = kept.flatten(1).sum(1)

        def activation(_: Tensor) -> Tensor:
            return total

        activation.__name__ = self._name()
        return Score(activation)

    def _name(self) -> str:
        return self.layer if self.channel is None else f"{self.layer}[{self.channel}]"


class GuidedBackprop(Reconstruction):
    """Guided backpropagation: the gradient, with negative signals stopped at every ReLU.

    ``R ← 1[a > 0] · 1[R > 0] · R`` at each activation, functional and reused ones too. Sharp
    pictures of what excites the units on the way; nearly the same for every class, so look twice.
    With a ``layer`` it begins at what is kept of it, ``R = max(a, 0)``, and the target is ignored.

    Shape: as x, signed. Unit: logit per unit of a pixel, roughly. Cost: 1 forward, 1 backward pass.
    Raises ``ValueError`` for a layer without channels or an unknown one, a channel out of range.
    Source: Springenberg et al. 2015, sec. 3.4; Adebayo et al. 2018 for the warning.
    """

    title: ClassVar[str] = "Guided backprop"
    card = Card(
        kind="backward rule",
        question="Which fine structure excites the units that lead to this class?",
        cost="1 F + 1 B",
        needs="ReLU-like activations",
        drawbacks="nearly the same picture for every class, and for random weights; "
        "does not add up to anything",
    )
    at_activations: ClassVar[Rule] = GuidedReLU()
    masked: ClassVar[bool] = True


class DeconvNet(Reconstruction):
    """DeconvNet: what a logit, a feature map or one of its units saw, projected back to the pixels.

    One number is kept, all others are 0; then, layer by layer downwards, transposed convolution
    without bias, max-pooling undone by its switches, and ``R ← max(R, 0)`` at each activation,
    whatever its input was. A ``layer`` begins with what is kept of it, ``R = max(a, 0)``, and
    ignores the target; a logit begins with 1. Read it as the pattern, not as evidence for or
    against: only the switches know the picture.

    Shape: as x, signed. Unit: logit per unit of a pixel, roughly. Cost: 1 forward, 1 backward pass.
    Raises ``ValueError`` for a layer without channels or an unknown one, a channel out of range.
    Source: Zeiler, Fergus 2014, sec. 2.1; as a backward pass Springenberg et al. 2015, sec. 3.4.
    """

    title: ClassVar[str] = "DeconvNet"
    card = Card(
        kind="backward rule",
        question="Which pattern in the picture does this logit, feature map or unit answer to?",
        cost="1 F + 1 B",
        needs="ReLUs, and max-pooling: its switches are all that it knows of the picture",
        drawbacks="the same for every picture without max-pooling; little depends on the class; "
        "does not add up to anything",
    )
    at_activations: ClassVar[Rule] = DeconvReLU()
    masked: ClassVar[bool] = False

    def _examine_tape(self, tape: Tape) -> list[Finding]:
        found = super()._examine_tape(tape)
        families = {family(op) for op in tape.ops}
        if "activation" in families and not self.layer and not families & {"maximum", "other"}:
            text = (
                "DeconvNet: the model has no max-pooling, so that its picture is the same for "
                "every input. Use GuidedBackprop, or begin at a layer."
            )
            found.append(Finding("warning", text))
        other = [op for op in tape.ops if family(op) == "activation" and op.kind != "relu"]
        if other:
            named = ", ".join(f"{op.kind} (in {op.label!r})" for op in other)
            text = f"DeconvNet: it is defined for ReLU, and treats {named} as one."
            found.append(Finding("warning", text))
        return found


def _is_quicker_on_tape(model: nn.Module, x: Tensor) -> bool:
    """Whether pictures are so small, and the model so plain, that autograd's nodes take longer."""
    return x.numel() <= _SMALL and runs_its_children(model)


def _positive(signal: Tensor) -> Tensor:
    return signal.clamp(min=0)


def strongest(model: nn.Module, x: Tensor, layer: str, k: int = 5) -> Tensor:
    """The k maps of a layer with the largest activations, the strongest first, for each sample.

    Shape: ``(N, k)``, channel indices to give to ``DeconvNet(layer=layer, channel=...)``; of maps
    that are equally strong the first comes first. Raises ``ValueError`` for an unknown layer, one
    without channels, or more maps than it has. Cost: 1 forward pass.
    Source: Zeiler, Fergus 2014, sec. 4.
    """
    who = "strongest"
    check_model(who, model)
    check_input(who, model, x)
    op = _up_to(canonical(record(model, x.detach(), who)), layer, who).ops[-1]
    n, count, *_ = op.results[0].shape
    strength = op.results[0].reshape(n, count, -1).amax(2)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= count:
        expected = f"a whole number from 1 to {count}, the maps of {layer!r}"
        raise invalid(who, "k", expected, repr(k), "Ask for fewer")
    return strength.sort(dim=1, descending=True, stable=True).indices[:, :k]


def with_activations_by(rule: Rule, tape: Tape) -> dict[str, Rule]:
    """This rule at the activations of a tape, the derivative elsewhere."""
    return {op.label: rule if family(op) == "activation" else _ELSEWHERE for op in tape.ops}


def _up_to(tape: Tape, layer: str, who: str) -> Tape:
    """The part of the tape that leads to a layer, which becomes its output.

    Raises ``ValueError`` unless the layer is on the tape and has one output ``(N, C, ...)``.
    """
    op = next((op for op in tape.ops if op.label == layer), None)
    if op is None:
        expected = f"one of {', '.join(op.label for op in tape.ops)}"
        raise invalid(who, "layer", expected, repr(layer), "See nni.layers(model, x)")
    shapes = [tuple(result.shape) for result in op.results]
    if len(shapes) > 1 or len(shapes[0]) < 2 or shapes[0][0] != len(tape.x):
        expected = "a layer with one output of shape (N, C, ...)"
        given = f"{layer!r} with {' and '.join(map(str, shapes))}"
        raise invalid(who, "layer", expected, given, "Name a convolution or an activation")
    part = dataclasses.replace(tape, output=op.outputs[0])
    return dataclasses.replace(part, ops=list(part.layers()))
