"""Methods that read the gradient at the input itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from nni_widgets.engine.channels import Channels
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import AddsUpTo, Method, Result, input_gradient, undefined
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.targets import Target


class Gradient(Method):
    """The gradient of the score: which small change of a pixel would raise it, which lower it.

    ``R_i = ∂f/∂x_i``. It tells how to change the decision, not what the decision is made of.

    Shape: as x, signed. Unit: logit per unit of a pixel. Cost: 1 forward, 1 backward pass.
    Source: Simonyan et al. 2014, sec. 3.
    """

    title: ClassVar[str] = "Gradient"
    card = Card(
        kind="gradient",
        question="Which small change of a pixel would raise the score, which would lower it?",
        cost="1 F + 1 B",
        needs="a differentiable model",
        drawbacks="noisy; explains a change of the score, not the score; blind at saturation",
    )

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        gradient, logits, selection = input_gradient(type(self).__name__, model, x, target)
        yield Result(self._map(gradient, x), selection, logits, passes=2)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        gradient, _, _ = input_gradient(type(self).__name__, model, x, None)
        flat = int((gradient.flatten(1) == 0).all(1).sum())
        if not flat:
            return undefined(type(self).__name__, gradient)
        text = (
            f"{type(self).__name__}: {flat} of {len(x)} samples have a gradient of 0 everywhere, "
            "as the score is flat. Use a method that looks further, such as IntegratedGradients."
        )
        return [Finding("warning", text)]

    def _map(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient


class Saliency(Gradient):
    """Saliency: how strongly the score reacts to each pixel, whichever way.

    ``R_i = |∂f/∂x_i|``; a heatmap takes the largest over the channels.

    Shape: as x, non-negative. Unit: logit per unit of a pixel. Cost: 1 forward, 1 backward pass.
    Source: Simonyan et al. 2014, sec. 3.1.
    """

    title: ClassVar[str] = "Saliency"
    card = Card(
        kind="gradient",
        question="To which pixels is the score most sensitive?",
        cost="1 F + 1 B",
        needs="a differentiable model",
        drawbacks="noisy; no sign: for and against look alike",
    )
    signed: ClassVar[bool] = False
    channels: ClassVar[Channels] = "max"

    def _map(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient.abs()


class Sensitivity(Gradient):
    """Sensitivity analysis: the squared gradient, how strongly the score reacts to each pixel.

    ``R_i = (∂f/∂x_i)²``, which sums to ‖∇f‖²: it shares out the steepness of the score, not the
    score. A heatmap sums over the channels.

    Shape: as x, non-negative. Unit: logit² per unit of a pixel². Cost: 1 forward, 1 backward pass.
    Source: Montavon, Samek, Müller 2018, sec. 4.1.
    """

    title: ClassVar[str] = "Sensitivity"
    card = Card(
        kind="gradient",
        question="Which pixels make the score steep: a small change there changes it most?",
        cost="1 F + 1 B",
        needs="a differentiable model",
        drawbacks="noisy; no sign; decomposes the squared length of the gradient, not the score",
    )
    signed: ClassVar[bool] = False

    def _map(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient.square()


class GradientTimesInput(Gradient):
    """Gradient × input: the first-order Taylor term between x and the root point 0.

    ``R_i = x_i ∂f/∂x_i``, the gradient taken at x. It sums to f(x) exactly if the network is
    piecewise linear and has no biases, and is `SimpleTaylor` then; what the biases contribute is
    missing otherwise.

    Shape: as x, signed. Unit: logit. Cost: 1 forward, 1 backward pass.
    Source: Shrikumar et al. 2016; as simple Taylor decomposition Montavon, Samek, Müller 2018,
    sec. 4.2.
    """

    title: ClassVar[str] = "Gradient × input"
    card = Card(
        kind="gradient",
        question="What does each pixel add to the score, to first order, against black?",
        cost="1 F + 1 B",
        needs="a differentiable model; adds up only without biases",
        drawbacks="noisy; black pixels get nothing; the share of the biases is missing",
    )
    adds_up_to: ClassVar[AddsUpTo] = "score"

    def _map(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient * x
