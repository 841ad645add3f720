"""Captum beside ours: each method on a copy of the network in the form that Captum can take."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear
from captum.attr._core.lrp import SUPPORTED_NON_LINEAR_LAYERS
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import (
    Alpha1_Beta0_Rule,
    EpsilonRule,
    GammaRule,
    PropagationRule,
)
from nets import Case, Residual, out_of_place, parted, plain
from torch import Tensor, nn

warnings.filterwarnings("ignore", "Setting .* hooks")
warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")

Attribution = Callable[[], Tensor]


class KnownReLU6(nn.ReLU):
    """ReLU6 as an activation that Captum's methods know."""

    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.relu6(z)


SUPPORTED_NON_LINEAR_LAYERS.append(KnownReLU6)
SUPPORTED_NON_LINEAR[KnownReLU6] = nonlinear


class Forms:
    """The network as Captum can take it, a copy for each of its demands."""

    def __init__(self, model: nn.Module) -> None:
        self.as_it_is = copy.deepcopy(model)
        self.hooked = _with_known_relu6(out_of_place(model))
        self.ruled = _with_known_relu6(plain(model))
        for module in self.ruled.modules():
            if isinstance(module, Residual):
                module.join = Addition_Module()


def _with_known_relu6(model: nn.Module) -> nn.Module:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, KnownReLU6())
    return model


def attribution(key: str, case: Case, forms: Forms, method: Any, chunk: int) -> Attribution | None:
    """Captum's counterpart of our method as a call without arguments, if there is one."""
    model, hooked, ruled = forms.as_it_is, forms.hooked, forms.ruled
    x, target = case.x, case.target
    per_sample = max(1, chunk // len(x))

    def sensitivity() -> Tensor:
        return Saliency(model).attribute(x, target=target, abs=False).square()

    def smoothgrad() -> Tensor:
        return NoiseTunnel(Saliency(model)).attribute(
            x, "smoothgrad", nt_samples=method.n_samples, nt_samples_batch_size=per_sample,
            stdevs=method.noise_level * float(x.max() - x.min()), target=target, abs=False,
        )  # fmt: skip

    def integrated() -> Tensor:
        return IntegratedGradients(model).attribute(
            x, target=target, n_steps=method.n_steps, internal_batch_size=max(chunk, len(x))
        )

    def occlusion() -> Tensor:
        window, stride, channels = method.window, method.stride, x.shape[1]
        return Occlusion(model).attribute(
            x, (channels, window, window), (channels, stride, stride), target=target,
            perturbations_per_eval=per_sample,
        )  # fmt: skip

    last = parted(model, x)[0][-1]

    def grad_cam() -> Tensor:
        maps = LayerGradCam(model, last).attribute(x, target, relu_attributions=True)
        return LayerAttribution.interpolate(maps, x.shape[2:], "bilinear").expand_as(x).detach()

    def relevance(rule: Callable[[], PropagationRule]) -> Attribution:
        def call() -> Tensor:
            for module in ruled.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.rule = rule()
                elif isinstance(module, nn.Flatten):
                    module.rule = EpsilonRule()
            return LRP(ruled).attribute(x, target=target).detach()

        return call

    return {
        "saliency": lambda: Saliency(model).attribute(x, target=target),
        "sensitivity": sensitivity,
        "gradient-input": lambda: InputXGradient(model).attribute(x, target=target).detach(),
        "guided": lambda: GuidedBackprop(hooked).attribute(x, target=target),
        "deconvnet": lambda: Deconvolution(hooked).attribute(x, target=target),
        "epsilon": relevance(lambda: EpsilonRule(epsilon=0.01)),
        "gamma": relevance(lambda: GammaRule(gamma=0.25)),
        "z-plus": relevance(lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True)),
        "rescale": lambda: DeepLift(hooked).attribute(x, target=target).detach(),
        "grad-cam": grad_cam,
        "integrated": integrated,
        "smoothgrad": smoothgrad,
        "occlusion": occlusion,
    }.get(key)
