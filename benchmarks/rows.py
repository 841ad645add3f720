"""The rows of the table: which method is measured against which limit, target and reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import differences
import numpy as np
import reference
import torch
from torch import Tensor, nn

from nni_widgets.engine.composites import EpsilonGammaBox
from nni_widgets.engine.methods import (
    LRP,
    DeconvNet,
    DeepLIFT,
    DeepTaylor,
    GradCAM,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    LayerCAM,
    Method,
    Occlusion,
    Saliency,
    ScoreCAM,
    Sensitivity,
    SimpleTaylor,
    SmoothGrad,
    TranslationAverage,
)
from nni_widgets.engine.rules import AlphaBeta, Epsilon, Gamma, ZPlus

Targets = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A method, its targets by kind of network in units of the limit, and its reference in float64.

    The limit is so many plain passes: G, forward and backward to the input only, F, forward without
    a graph, and H, forward, and backward to the last maps only.
    """

    key: str
    method: Method
    targets: Targets
    reference: Callable[[nn.Module, Tensor, Tensor], Tensor]
    gradients: int = 1
    forwards: int = 0
    heads: int = 0


def rows(x: Tensor, steps: int) -> tuple[Row, ...]:
    """The rows for pictures like x; ``steps`` for the path and noise methods."""
    return *_gradients(x), *_backward_rules(), *_lift(), *_averages(steps), *_maps(x), _occlusion(x)


def _targets(digits: float, plain: float, residual: float | None = None) -> Targets:
    return {"digits": digits, "plain": plain, "residual": residual or plain}


_ONE = _targets(1.25, 1.05)


def _gradients(x: Tensor) -> tuple[Row, ...]:
    gradient, root = reference.gradient, x[:1] / 2
    return (
        Row("saliency", Saliency(), _ONE, lambda *a: gradient(*a).abs()),
        Row("sensitivity", Sensitivity(), _ONE, lambda *a: gradient(*a).square()),
        Row("gradient-input", GradientTimesInput(), _ONE, lambda m, x, t: x * gradient(m, x, t)),
        Row("simple-taylor", SimpleTaylor(root=root), _ONE,
            lambda *a: reference.taylor(*a, root.double()), forwards=1),
    )  # fmt: skip


def _backward_rules() -> tuple[Row, ...]:
    lrp, z_plus = reference.relevance, reference.z_plus
    ε, γ, αβ = reference.epsilon(0.01), reference.gamma(0.25), reference.alpha_beta(2.0)
    composite = _targets(2.0, 1.75, 2.2)
    return (
        Row("guided", GuidedBackprop(), _ONE, reference.guided),
        Row("deconvnet", DeconvNet(), _ONE, reference.deconvnet),
        Row("epsilon", LRP(Epsilon()), _targets(1.5, 1.15), lambda *a: lrp(*a, ε, ε)),
        Row("z-plus", LRP(ZPlus()), _targets(1.8, 1.6), lambda *a: lrp(*a, z_plus, z_plus)),
        Row("gamma", LRP(Gamma()), _targets(1.8, 1.6, 2.1), lambda *a: lrp(*a, γ, γ)),
        Row("alpha-beta", LRP(AlphaBeta()), _targets(2.0, 2.2), lambda *a: lrp(*a, αβ, αβ)),
        Row("epsilon-gamma-box", LRP(EpsilonGammaBox()), composite,
            lambda *a: lrp(*a, γ, ε, box=True)),
        Row("deep-taylor", DeepTaylor(), composite,
            lambda *a: lrp(*a, z_plus, z_plus, box=True)),
    )  # fmt: skip


def _lift() -> tuple[Row, ...]:
    """DeepLIFT by one rule each, with the pass of the reference kept from the call before."""
    lift = differences.deeplift
    return (
        Row("rescale", DeepLIFT(conv="rescale", dense="rescale"), _targets(1.2, 0.85),
            lambda *a: lift(*a, "rescale"), forwards=1),
        Row("reveal-cancel", DeepLIFT(conv="reveal-cancel", dense="reveal-cancel"),
            _targets(2.5, 3.0), lambda *a: lift(*a, "reveal-cancel"), forwards=1),
    )  # fmt: skip


def _averages(steps: int) -> tuple[Row, ...]:
    many = _targets(1.1, 1.03)
    nodes, weights = (torch.from_numpy(v) / 2 for v in np.polynomial.legendre.leggauss(steps))
    smooth, moved = SmoothGrad(n_samples=steps), TranslationAverage(of=Gradient(), shift=1)
    return (
        Row("integrated", IntegratedGradients(n_steps=steps), many,
            lambda *a: reference.integrated(*a, nodes + 0.5, weights), gradients=steps),
        Row("smoothgrad", smooth, many, lambda *a: _smooth(smooth, *a), gradients=steps),
        Row("translation", moved, many, lambda *a: reference.translated(*a, 1), gradients=9),
    )  # fmt: skip


def _maps(x: Tensor) -> tuple[Row, ...]:
    """Score-CAM on digits only, whose last maps are 64: the others have up to 1280."""
    once = _targets(1.15, 1.05)
    score = Row("score-cam", ScoreCAM(), _targets(0.7, 1.0), reference.score_cam,
                gradients=0, forwards=65)  # fmt: skip
    return (
        Row("grad-cam", GradCAM(), once, reference.grad_cam, gradients=0, heads=1),
        Row("layer-cam", LayerCAM(), once, reference.layer_cam, gradients=0, heads=1),
        *((score,) if x.shape[1] == 1 else ()),
    )


def _occlusion(x: Tensor) -> Row:
    """Half overlapping windows on a digit, 16 windows side by side on a larger picture."""
    side = x.shape[-1]
    window, stride = (4, 2) if x.shape[1] == 1 else (side // 4, side // 4)
    count = ((side - window) // stride + 1) ** 2
    return Row(
        "occlusion",
        Occlusion(window=window, stride=stride),
        _targets(0.7, 1.0),
        lambda *a: reference.occluded(*a, window, stride),
        gradients=0,
        forwards=count + 1,
    )


def _smooth(method: SmoothGrad, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The mean gradient at the noisy copies that the method makes of the float32 input."""

    def exact(_: nn.Module, noisy: Tensor, index: Tensor) -> Tensor:
        return reference.gradient(model, noisy.double(), index).to(noisy)

    return method.replace(of=exact)(copy.deepcopy(model).float(), x.float(), target).double()
