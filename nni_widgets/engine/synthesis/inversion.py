"""Feature inversion: which image would a layer take for this one?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from nni_widgets.engine.checks import check_input
from nni_widgets.engine.synthesis import starts
from nni_widgets.engine.synthesis.box import box_of
from nni_widgets.engine.synthesis.maximize import ActivationMaximization
from nni_widgets.engine.synthesis.objectives import Objective, Seen, wide
from nni_widgets.engine.synthesis.priors import Match, TotalVariation
from nni_widgets.engine.synthesis.synthesis import Synthesis, Synthesizer
from nni_widgets.engine.synthesis.watch import watch
from nni_widgets.errors import invalid
from nni_widgets.params import param


class AlphaNorm(Objective):
    """A penalty: pixels far from a centre, ``Σ |x − c|^α``; for a large α only the extreme ones.

    Shape: ``(N,)``. Unit: that of the pixels, to the power of α.
    Source: Mahendran, Vedaldi 2015, sec. 2, R_α.
    """

    title: ClassVar[str] = "α-norm"
    alpha: float = param(6.0, "exponent: 2 is the squared distance", low=1, high=20, slider=(1, 10))
    center: float = param(0.0, "the pixel that costs nothing", slider=(0, 1))

    def __call__(self, seen: Seen) -> Tensor:
        return (wide(seen.x) - self.center).abs().pow(self.alpha).flatten(1).sum(1)


class Inversion(Synthesizer):
    """Feature inversion: an image that a layer cannot tell from x, made from noise.

    ``min_z ‖Φ(z) − Φ(x)‖² / ‖Φ(x)‖² + λ_α R_α(z) + λ_V R_V(z)`` with ``R_α = mean |2z'|^α`` and
    ``R_V = mean ‖∇z'‖^β``, z' being the pixels as shares of the box, counted from its middle. What
    comes back in focus is what the layer still knows of x; what it leaves to the priors it has
    forgotten. Different seeds give different images of the same features.

    Called with the model and the images ``(N, ...)`` to invert; returns a :class:`Synthesis` whose
    term ``Match`` is the distance that is left.
    Raises ``ValueError`` for images outside the box, an unknown layer, one that is silent for x.
    Cost: n_steps × (1 F + 1 B) and 1 F every ``keep_every`` steps.
    Source: Mahendran, Vedaldi 2015, sec. 2, eq. (1); the priors as means over the pixels, in shares
    of the range, as in Mahendran, Vedaldi 2016, sec. 3. Descent by Adam instead of momentum.
    """

    title: ClassVar[str] = "Feature inversion"
    layer: str = param("", "a name of nni.layers(model, x); empty: the last that has places")
    variation: float = param(
        1.0, "weight λ_V of the total variation", low=0, slider=(1e-3, 100), log=True
    )
    beta: float = param(2.0, "exponent β of the total variation", low=1, high=4, slider=(1, 3))
    bound: float = param(0.01, "weight λ_α of the α-norm", low=0, slider=(1e-4, 1), log=True)
    alpha: float = param(6.0, "exponent α of the α-norm", low=1, high=20, slider=(1, 10))
    n_steps: int = param(200, "number of steps", low=1, high=10**6, slider=(10, 1000), log=True)
    step_size: float = param(
        0.05, "size of a step, as a share of the range", low=1e-9, slider=(0.002, 0.5), log=True
    )
    seed: int = param(0, "seed of the noise that it starts from", low=0, high=2**31, slider=(0, 20))
    keep_every: int = param(
        10, "steps between two frames", low=1, high=10**6, slider=(1, 100), log=True
    )

    def validate(self) -> None:
        if not isinstance(self.layer, str):
            action = "See nni.layers(model, x)"
            raise invalid("Inversion", "layer", "the name of a layer", repr(self.layer), action)

    def _steps(self, model: nn.Module, start: Tensor | Synthesis | None) -> Iterator[Synthesis]:
        if isinstance(start, Synthesis):
            maximization = self._maximization(model, start.images, self._match_of(start))
            yield from maximization._steps(model, start)
            return
        if start is None:
            action = "Call it with the model and x"
            raise invalid("Inversion", "x", "the images to invert", "nothing", action)
        check_input("Inversion", model, start)
        action = "Scale it, or name its range by nni.models.wrap(model, low=..., high=...)"
        box_of(model).check("Inversion", "x", start, action)
        found = watch("Inversion", model, start, (self.layer,))
        _, activations = found.see(model, start, logits=False)
        match = Match(self.layer, activations[self.layer].detach())
        begin = self._noise(model, start)
        yield from self._maximization(model, start, match)._steps(model, begin)

    def _noise(self, model: nn.Module, x: Tensor) -> Tensor:
        box, noise = box_of(model), starts.noise(tuple(x.shape), seed=self.seed)
        return (box.dark + box.size * noise).to(x)

    def _maximization(self, model: nn.Module, x: Tensor, match: Match) -> ActivationMaximization:
        """The ascent that it is."""
        box, n_pixels = box_of(model), x[0].numel()
        middle = (box.low + box.high) / 2
        center = middle if math.isfinite(middle) else 0.0
        variation = self.variation / n_pixels / box.size**self.beta
        bound = self.bound / n_pixels * (2 / box.size) ** self.alpha
        objective = -match - bound * AlphaNorm(self.alpha, center)
        if x.ndim > 2:
            objective = objective - variation * TotalVariation(self.beta)
        return ActivationMaximization(
            objective,
            n_steps=self.n_steps,
            step_size=self.step_size,
            seed=self.seed,
            keep_every=self.keep_every,
        )

    def _match_of(self, made: Synthesis) -> Match:
        objective = getattr(made.made_by, "objective", None)
        terms = objective.terms if isinstance(objective, Objective) else ()
        for _, term in terms:
            if isinstance(term, Match) and term.layer == self.layer:
                return term
        expected, given = f"an inversion of layer {self.layer!r}", repr(made.made_by)
        action = "Resume it with the method that made it"
        raise invalid("Inversion", "what is resumed", expected, given, action)
