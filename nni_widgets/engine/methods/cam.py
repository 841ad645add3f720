"""Class activation maps: which places of a layer's maps speak for the class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from torch import Tensor, nn

from nni_widgets.engine.above import Above, above
from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.channels import Channels
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.activation_map import (
    ActivationMap,
    LayerMap,
    MapResult,
    examined,
    over_pixels,
)
from nni_widgets.engine.methods.base import Result
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.guided import with_activations_by
from nni_widgets.engine.methods.maps import (
    UPSAMPLINGS,
    along_places,
    head_gradient,
    pooled_maps,
    upsample,
)
from nni_widgets.engine.propagation import propagate
from nni_widgets.engine.rules import GuidedReLU
from nni_widgets.engine.tape import record
from nni_widgets.engine.targets import Selection, Target, resolve
from nni_widgets.params import param


class CAM(ActivationMap):
    """CAM: what each place adds to the score, where the network ends in a global average.

    ``R = Σ_k w_k A_k``, upsampled; A_k are the maps that are averaged, w_k the weights of the
    target's logit in the dense layer that follows. Its bias apart, the mean of R before upsampling
    is the logit. For a target that is a function of the logits w is its derivative.

    Shape: as x, signed, the same number for all channels of a pixel. Unit: that of the score.
    Raises :class:`UnsupportedOperation` unless one dense layer reads the average of every map.
    Cost: 1 forward pass. Source: Zhou et al. 2016, sec. 2, eq. (2).
    """

    title: ClassVar[str] = "CAM"
    card = Card(
        kind="class activation",
        question="What does each place of the last maps add to the score?",
        cost="1 F",
        needs="a global average of maps, then one dense layer",
        drawbacks="as coarse as the last maps, and only for networks that end so",
    )
    upsampling: str = param("bilinear", "how the map gets the size of x", choices=UPSAMPLINGS)

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        tape = canonical(record(model, x, who))
        op, dense = pooled_maps(tape, who)
        selection = resolve(target, tape.logits, who)
        maps, weights = op.results[0], selection.gradient(tape.logits) @ dense
        raw = (along_places(weights, maps) * maps).sum(1)
        values = over_pixels(upsample(raw, x, self.upsampling), x)
        yield MapResult(values, selection, tape.logits, passes=1, raw=raw, layer=op.label)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        who = type(self).__name__
        op, _ = pooled_maps(canonical(record(model, x, who)), who)
        return examined(who, op)


class GradientMap(LayerMap):
    """Base: a map made of a layer's activations A and the score's derivative g there.

    The derivative is taken from the logits down to the layer and no further.
    """

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        resolved: list[Selection] = []

        def start(logits: Tensor) -> Tensor:
            resolved.append(resolve(target, logits, who))
            return resolved[-1].gradient(logits)

        part = above(who, model, x, self.layer, lambda: self._tape(model, x), start)
        part = part or self._on_tape(model, x, start)
        raw = self._map(part.output, part.gradient)
        values = over_pixels(upsample(raw, x, self.upsampling), x)
        yield MapResult(values, resolved[-1], part.logits, passes=2, raw=raw, layer=part.label)

    def _on_tape(self, model: nn.Module, x: Tensor, start: Callable[[Tensor], Tensor]) -> Above:
        tape, op = self._tape(model, x)
        gradient = head_gradient(tape, op, start(tape.logits))
        return Above(op.label, op.results[0], tape.logits, gradient)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        tape, op = self._tape(model, x)
        who = type(self).__name__
        start = resolve(None, tape.logits, who).gradient(tape.logits)
        raw = self._map(op.results[0], head_gradient(tape, op, start))
        found = examined(who, op)
        silent = [str(i) for i, row in enumerate(raw.flatten(1)) if not bool(row.any())]
        if silent:
            text = (
                f"{who}: the map of {op.label!r} is 0 everywhere for sample {', '.join(silent)}: "
                "nothing there speaks for the predicted class. Choose another layer or target."
            )
            found.append(Finding("warning", text))
        return found

    def _map(self, maps: Tensor, gradient: Tensor) -> Tensor:
        raise NotImplementedError


class GradCAM(GradientMap):
    """Grad-CAM: where the maps of a layer, weighted by their mean gradient, speak for the class.

    ``R = ReLU(Σ_k α_k A_k)``, ``α_k`` the mean over the places of ``∂f/∂A_k``. On the maps of `CAM`
    α is w divided by the number of places. What speaks against the class is cut off: to see it,
    explain its negative, ``target=lambda f: -f[:, 3]``.

    Shape: as x, non-negative, the same number for all channels of a pixel. Unit: logit per place.
    Raises ``ValueError`` for a layer that is unknown or has no maps.
    Cost: 1 forward pass, 1 backward pass of what lies above the layer.
    Source: Selvaraju et al. 2017, sec. 3, eq. (1) and (2).
    """

    title: ClassVar[str] = "Grad-CAM"
    card = Card(
        kind="class activation",
        question="Where are the features of a layer that speak for the class?",
        cost="1 F + 1 B above the layer",
        needs="a layer with maps of more than one place",
        drawbacks="as coarse as the layer; one weight per map, as if it were worth the same "
        "everywhere: below the last maps it can show what the score does not use",
    )

    def _map(self, maps: Tensor, gradient: Tensor) -> Tensor:
        means = gradient.mean(tuple(range(2, gradient.ndim)), keepdim=True)
        return (means * maps).sum(1).relu_()


class GradCAMPlusPlus(GradientMap):
    """Grad-CAM++: as Grad-CAM, but places with a positive gradient only, so that small parts count.

    ``R = ReLU(Σ_k w_k A_k)``, ``w_k = Σ α ReLU(g)``, ``α = g² / (2 g² + g³ ΣA_k)``, 0 where g is 0;
    ``g = ∂f/∂A``, f the score. The paper explains ``Y = exp(f)``, whose derivatives are ``g Y``,
    ``g² Y``, ``g³ Y`` where f is piecewise linear: α is this one, and w gets the factor Y. It is
    left out, as it is the same at all places and overflows for large f. α is computed as
    ``1 / (2 + g ΣA_k)`` where g is positive (elsewhere it does not count): squares of small
    gradients would vanish, and so does the map with a small constant added below.

    Shape: as x, non-negative, the same number for all channels of a pixel. Unit: logit.
    Raises ``ValueError`` for a layer that is unknown or has no maps.
    Cost: 1 forward pass, 1 backward pass of what lies above the layer.
    Source: Chattopadhay et al. 2018, sec. 3.
    """

    title: ClassVar[str] = "Grad-CAM++"
    card = Card(
        kind="class activation",
        question="Where are all the features of a layer that speak for the class?",
        cost="1 F + 1 B above the layer",
        needs="a layer with maps of more than one place, after a ReLU",
        drawbacks="as coarse as the layer; positive gradients alone, so that classes look alike; "
        "its derivation needs a piecewise linear network",
    )

    def _map(self, maps: Tensor, gradient: Tensor) -> Tensor:
        positive = gradient.clamp(min=0)
        below = 2 + positive * along_places(maps.flatten(2).sum(2), maps)
        shares = (positive / below).masked_fill(below == 0, 0)
        return (along_places(shares.flatten(2).sum(2), maps) * maps).sum(1).clamp(min=0)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        _, op = self._tape(model, x)
        found = super().examine(model, x)
        if bool((op.results[0] < 0).any()):
            text = (
                f"GradCAMPlusPlus: {op.label!r} has negative activations, for which its weights "
                "are not meant. Choose the ReLU after it."
            )
            found.append(Finding("warning", text))
        return found


class LayerCAM(GradientMap):
    """Layer-CAM: each place of each map weighted by its own positive gradient.

    ``R = ReLU(Σ_k ReLU(∂f/∂A_k) · A_k)``. As no mean is taken over the places, early layers with
    fine maps can be read too.

    Shape: as x, non-negative, the same number for all channels of a pixel. Unit: logit.
    Raises ``ValueError`` for a layer that is unknown or has no maps.
    Cost: 1 forward pass, 1 backward pass of what lies above the layer.
    Source: Jiang et al. 2021, sec. III (a single layer, without its tanh scaling for fusion).
    """

    title: ClassVar[str] = "Layer-CAM"
    card = Card(
        kind="class activation",
        question="At which places would more of what a layer found there raise the score?",
        cost="1 F + 1 B above the layer",
        needs="a layer with maps of more than one place",
        drawbacks="noisy at early layers; positive gradients alone: evidence against is not seen",
    )

    def _map(self, maps: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.clamp(min=0) * maps).sum(1).clamp(min=0)


class GuidedGradCAM(GradCAM):
    """Guided Grad-CAM: the fine structure of guided backprop, where Grad-CAM finds the class.

    ``R = guided backprop · upsampled Grad-CAM``, pixel by pixel.

    Shape: as x, signed. Unit: none of use. Raises ``ValueError`` for a layer that is unknown or
    has no maps. Cost: 1 forward pass, 1 backward pass, 1 more of what lies above the layer.
    Source: Selvaraju et al. 2017, sec. 3.2.
    """

    title: ClassVar[str] = "Guided Grad-CAM"
    card = Card(
        kind="class activation",
        question="Which fine structure is there, at the places that speak for the class?",
        cost="1 F + 1 B + 1 B above the layer",
        needs="ReLU-like activations and a layer with maps of more than one place",
        drawbacks="the structure is guided backprop's, nearly the same for every class and for "
        "random weights; only the place depends on the class",
    )
    signed: ClassVar[bool] = True
    channels: ClassVar[Channels] = "sum"

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        tape, op = self._tape(model, x)
        selection = resolve(target, tape.logits, type(self).__name__)
        start = selection.gradient(tape.logits)
        raw = self._map(op.results[0], head_gradient(tape, op, start))
        fine = propagate(tape, start, with_activations_by(GuidedReLU(), tape))
        values = fine * upsample(raw, x, self.upsampling)[:, None]
        yield MapResult(values, selection, tape.logits, passes=3, raw=raw, layer=op.label)
