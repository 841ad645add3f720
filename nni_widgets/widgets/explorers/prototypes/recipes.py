"""What a prototype is to be, and how it is made: the parameters of the Prototypes explorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nni_widgets.engine.synthesis import (
    L2,
    ActivationMaximization,
    Channel,
    Expert,
    Fourier,
    Jitter,
    Logit,
    LogProbability,
    Objective,
    Parametrisation,
    Pixels,
    Rotate,
    TotalVariation,
    Unit,
)
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, param, params
from nni_widgets.widgets.explorers.prototypes.experts import NOBODY, Density
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.objective import steps_a_frame

ZERO, CLASS_MEAN = "zero", "class mean"
_SHAKING = (Jitter(2), Rotate(5.0))


class Aim(Declared):
    """What is maximized; the score of a class takes the class that is chosen."""

    objective: Objective = param(
        LogProbability(),
        "what is maximized",
        options=lambda: (LogProbability, Logit, Unit, Channel),
    )


class Priors(Declared):
    """What pictures are held to."""

    l2: float = param(0.0, "weight of ‖x − center‖²", low=0, slider=(0, 0.2))
    center: str = param(ZERO, "what pictures are kept near", choices=(ZERO, CLASS_MEAN))
    total_variation: float = param(0.0, "weight of the total variation", low=0, slider=(0, 0.2))
    expert: str = param(NOBODY, "who says how likely a picture is, log p(x)")
    expert_weight: float = param(0.01, "weight of log p(x)", low=0, slider=(0, 0.2))


class Making(Declared):
    """How pictures are made."""

    n_steps: int = param(200, "number of steps", low=1, high=10**5, slider=(10, 1000), log=True)
    step_size: float = param(
        0.05, "size of a step, as a share of the range", low=1e-9, slider=(0.002, 0.5), log=True
    )
    image: Parametrisation = param(
        Pixels(), "what pictures are made of", options=lambda: (Pixels, Fourier)
    )
    robust: bool = param(
        False, "whether pictures are shifted and turned before the model sees them"
    )
    picture: int = param(0, "number of the picture that one starts from", low=0, slider=(0, 99))
    seed: int = param(0, "seed of the noise and the shaking", low=0, high=2**31, slider=(0, 20))


@dataclass(frozen=True)
class Recipe:
    """All parameters: an aim, priors, and how pictures are made."""

    aim: Aim = field(default_factory=Aim)
    priors: Priors = field(default_factory=Priors)
    making: Making = field(default_factory=Making)

    def with_parameters(self, who: str, given: Mapping[str, Any]) -> Recipe:
        """A recipe with these parameters, which may belong to any part. Raises ``ValueError``."""
        parts: dict[str, Any] = {"aim": self.aim, "priors": self.priors, "making": self.making}
        owners = {each.name: name for name, part in parts.items() for each in params(part)}
        for name, value in given.items():
            if name not in owners:
                action = "See the help of nni.explore_prototypes"
                raise invalid(who, "a parameter", f"one of {', '.join(owners)}", name, action)
            owner = owners[name]
            parts[owner] = parts[owner].replace(**{name: value})
        return Recipe(**parts)

    def code(self, names: Names) -> list[str]:
        """The parameters that are not at their default, as arguments in code."""
        return [
            f"{each.name}={names.method(getattr(part, each.name))}"
            for part in (self.aim, self.priors, self.making)
            for each in params(part)
            if getattr(part, each.name) != each.default
        ]

    def method(
        self, target: int, mean: Callable[[], Tensor], expert: Callable[[str], Density]
    ) -> ActivationMaximization:
        """The activation maximization; mean and expert are asked for if they are needed."""
        making = self.making
        return ActivationMaximization(
            self._objective(target, mean, expert),
            n_steps=making.n_steps,
            step_size=making.step_size,
            image=making.image,
            robust=_SHAKING if making.robust else (),
            seed=making.seed,
            keep_every=steps_a_frame(making.n_steps),
        )

    def _objective(
        self, target: int, mean: Callable[[], Tensor], expert: Callable[[str], Density]
    ) -> Objective:
        whole, priors = self.aim.objective, self.priors
        if isinstance(whole, (LogProbability, Logit)):
            whole = whole.replace(target=target)
        if priors.l2:
            center = L2(mean()) if priors.center == CLASS_MEAN else L2()
            whole = whole - priors.l2 * center
        if priors.total_variation:
            whole = whole - priors.total_variation * TotalVariation()
        if self._asks_an_expert:
            whole = whole + priors.expert_weight * Expert(expert(priors.expert))
        return whole

    @property
    def _asks_an_expert(self) -> bool:
        return self.priors.expert != NOBODY and self.priors.expert_weight > 0

    def formula(self, name: str) -> str:
        """What is maximized, in the signs of a formula, for the class of this name."""
        priors, words = self.priors, _said(self.aim.objective, name)
        if priors.l2:
            center = f"x − mean of {name}" if priors.center == CLASS_MEAN else "x"
            words += f" − {priors.l2:g} ‖{center}‖²"
        if priors.total_variation:
            words += f" − {priors.total_variation:g} TV(x)"
        if self._asks_an_expert:
            words += f" + {priors.expert_weight:g} log p(x) of the {priors.expert}"
        return words


def _said(objective: Objective, name: str) -> str:
    if isinstance(objective, LogProbability):
        return f"log p({name}|x)"
    if isinstance(objective, Logit):
        return f"logit of {name}"
    if isinstance(objective, (Unit, Channel)):
        layer = objective.layer or "the last layer with places"
        return f"{type(objective).__name__.lower()} {objective.channel} of {layer}"
    return as_code(objective)
