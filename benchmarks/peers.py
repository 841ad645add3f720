"""Captum beside ours: each method on a copy of the network in the form that Captum can take."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from captum.attr import (
    LRP,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import (
    Alpha1_Beta0_Rule,
    EpsilonRule,
    GammaRule,
    PropagationRule,
)
from nets import Block, Case, plain
from torch import Tensor, nn

warnings.filterwarnings("ignore", "Setting .* hooks")
warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")

Attribution = Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    """The hyperparameters that both sides share."""

    steps: int
    chunk: int
    noise_level: float


def prepare(model: nn.Module) -> nn.Module:
    """The network with batch-norm folded, nothing in place, and sums as Captum's module."""
    model = plain(model)
    for module in model.modules():
        if isinstance(module, Block):
            module.join = Addition_Module()
    return model


def attribution(key: str, case: Case, model: nn.Module, setting: Setting) -> Attribution | None:
    """Captum's counterpart of a method as a call without arguments, if there is one."""
    x, target = case.x, case.target
    n, chunk = setting.steps, setting.chunk

    def smoothgrad() -> Tensor:
        deviation = setting.noise_level * float(x.max() - x.min())
        method = NoiseTunnel(Saliency(model))
        return method.attribute(
            x, "smoothgrad", nt_samples=n, nt_samples_batch_size=max(1, chunk // len(x)),
            stdevs=deviation, target=target, abs=False,
        )  # fmt: skip

    def integrated() -> Tensor:
        return IntegratedGradients(model).attribute(
            x, target=target, n_steps=n, internal_batch_size=max(chunk, len(x))
        )

    def relevance(rule: Callable[[], PropagationRule]) -> Attribution:
        def call() -> Tensor:
            for module in model.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.rule = rule()
                elif isinstance(module, nn.Flatten):
                    module.rule = EpsilonRule()
            return LRP(model).attribute(x, target=target).detach()

        return call

    return {
        "saliency": lambda: Saliency(model).attribute(x, target=target),
        "gradient-input": lambda: InputXGradient(model).attribute(x, target=target).detach(),
        "guided": lambda: GuidedBackprop(model).attribute(x, target=target),
        "epsilon": relevance(lambda: EpsilonRule(epsilon=0.01)),
        "gamma": relevance(lambda: GammaRule(gamma=0.25)),
        "z-plus": relevance(lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True)),
        "integrated": integrated,
        "smoothgrad": smoothgrad,
    }.get(key)
