"""Activation maximization: the ascent of an objective, in whatever an image is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.synthesis import starts
from nni_widgets.engine.synthesis.adam import Adam
from nni_widgets.engine.synthesis.box import Box, box_of, says_box
from nni_widgets.engine.synthesis.images import Fourier, Parametrisation, Pixels
from nni_widgets.engine.synthesis.objectives import Logit, LogProbability, Objective, Seen
from nni_widgets.engine.synthesis.priors import L2
from nni_widgets.engine.synthesis.robust import Robustness, shaken
from nni_widgets.engine.synthesis.synthesis import Synthesis, Synthesizer
from nni_widgets.engine.synthesis.terms import Terms, Values, gradient, named, values, weighted
from nni_widgets.engine.synthesis.watch import Watch, watch
from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import param

_TOTAL = ""


@dataclass(frozen=True, eq=False)
class _State:
    """All that an ascent must know to go on; ``history`` has the values of the past steps."""

    image: Parametrisation
    parameters: Tensor
    adam: Adam
    predicted: Tensor | None = None
    history: Values = field(default_factory=dict)
    frames: tuple[tuple[int, Tensor], ...] = ()
    passes: float = 0.0

    @property
    def step(self) -> int:
        """The number of steps taken."""
        return self.adam.steps


class ActivationMaximization(Synthesizer):
    """Activation maximization: the image that is most of what an objective asks for.

    ``max_x objective(x)`` by Adam, from a start, with ∂objective/∂x. What comes out shows what the
    model looks for *and* the priors: without any, it is often noise that convinces the model alone.
    The N images of a batch are N ascents, each by itself.

    Returns a :class:`Synthesis`; a start is images, codes for ``nni.Code(...)``, or by default
    noise (codes drawn at random), one for each target. Steps are measured in shares of the box.
    Raises ``ValueError`` for a start outside the box, a generator that does not fit the model, an
    objective that does not depend on the image.

    Cost: n_steps × (1 F + 1 B), 1 F every ``keep_every`` steps and for each of a code's ``tries``.
    Source: Erhan et al. 2009; Simonyan et al. 2014, sec. 2; Montavon, Samek, Müller 2018, sec. 3.
    """

    title: ClassVar[str] = "Activation maximization"
    objective: Objective = param(LogProbability(0), "what is maximized: objectives − penalties")
    n_steps: int = param(200, "number of steps", low=1, high=10**6, slider=(10, 1000), log=True)
    step_size: float = param(
        0.05, "size of a step, as a share of the range", low=1e-9, slider=(0.002, 0.5), log=True
    )
    image: Parametrisation = param(
        Pixels(), "what images are made of", options=lambda: (Pixels, Fourier)
    )
    robust: tuple[Robustness, ...] = param((), "how images are shaken before the model sees them")
    seed: int = param(0, "seed of the start and the shaking", low=0, high=2**31, slider=(0, 20))
    keep_every: int = param(
        10, "steps between two frames", low=1, high=10**6, slider=(1, 100), log=True
    )

    def validate(self) -> None:
        who = type(self).__name__
        several = self.robust if isinstance(self.robust, (tuple, list)) else (self.robust,)
        object.__setattr__(self, "robust", tuple(several))
        wanted: list[tuple[str, object, type, str]] = [
            ("objective", self.objective, Objective, "nni.LogProbability(3) - 0.01 * nni.L2()"),
            ("image", self.image, Parametrisation, "nni.Pixels()"),
            *(("each of robust", change, Robustness, "nni.Jitter(2)") for change in self.robust),
        ]
        for name, given, kind, example in wanted:
            if not isinstance(given, kind):
                expected = f"a value such as {example}"
                raise invalid(who, name, expected, repr(given), "Call its class to make one")
        if not self.objective.terms:
            expected = "a sum of at least one term"
            raise invalid(
                who, "objective", expected, "a sum of none", "Give a term a weight other than 0"
            )

    @torch.inference_mode(False)
    @torch.no_grad()
    def examine(self, model: nn.Module, start: Tensor | None = None) -> list[Finding]:
        """What would keep the ascent from leaving the start, or bend what it means.

        Raises what a call would raise. Cost: that of one step.
        """
        who, found = type(self).__name__, list[Finding]()
        check_model(who, model)
        state = self._begin(model, start)
        after = _Ascent.of(self, model, state).step(state)
        stuck = (after.parameters == state.parameters).flatten(1).all(1)
        if bool(stuck.any()):
            text = (
                f"{who}: the gradient at the start is zero or leads out of the box, for "
                f"{int(stuck.sum())} of {len(stuck)} images, so that nothing changes. "
                "Start from noise, or before a ReLU."
            )
            found.append(Finding("warning", text))
        if not says_box(model) and self.image.box(model) == box_of(model):
            text = (
                f"{who}: the model does not say its range, so that pixels are kept from "
                f"{box_of(model)}. Use nni.models.wrap(model, low=..., high=...)."
            )
            found.append(Finding("note", text))
        return found

    def _steps(self, model: nn.Module, start: Tensor | Synthesis | None) -> Iterator[Synthesis]:
        if isinstance(start, Synthesis):
            state, goal = self._resumed(model, start)
        else:
            state, goal = self._begin(model, start), self.n_steps
        ascent = _Ascent.of(self, model, state)
        if not isinstance(start, Synthesis):
            state, made = ascent.look(state, goal)
            yield made
        while state.step < goal:
            state = ascent.step(state)
            if state.step % self.keep_every == 0 or state.step == goal:
                state, made = ascent.look(state, goal)
                yield made

    def _begin(self, model: nn.Module, start: Tensor | None) -> _State:
        who, n = type(self).__name__, self.objective.n_images
        tries = self.image.n_tries() if start is None else 1
        if tries > 1:
            parameters = self._best(model, n, tries)
        else:
            parameters = self.image.begin(who, model, start, self.seed, n)
        passes = float(tries) if tries > 1 else 0.0
        return _State(self.image, parameters, Adam.before(parameters), passes=passes)

    def _best(self, model: nn.Module, n: int, tries: int) -> Tensor:
        """For each of n images the best of several starts. Cost: one forward pass for each."""
        who = type(self).__name__
        drawn = self.image.begin(who, model, None, self.seed, n * tries).unflatten(0, (tries, n))
        states = [_State(self.image, group, Adam.before(group)) for group in drawn]
        ascent = _Ascent.of(self, model, states[0])
        best = torch.stack([ascent.values(state) for state in states]).argmax(0)
        chosen: Tensor = drawn[best, torch.arange(n, device=best.device)]
        return chosen

    def _resumed(self, model: nn.Module, made: Synthesis) -> tuple[_State, int]:
        who, state = type(self).__name__, made.state
        if not isinstance(state, _State) or state.image != self.image:
            expected = f"made of {self.image!r}"
            given = repr(state.image) if isinstance(state, _State) else repr(made.made_by)
            action = "Resume with the method that made it, or start from its images"
            raise invalid(who, "what is resumed", expected, given, action)
        check_input(who, model, made.images)
        return state, made.of if made.step < made.of else made.step + self.n_steps


@dataclass(frozen=True)
class _Ascent:
    """One model's ascent: what a step and a look need, found once."""

    maker: ActivationMaximization
    model: nn.Module
    box: Box
    watch: Watch
    terms: Terms

    @classmethod
    def of(cls, maker: ActivationMaximization, model: nn.Module, state: _State) -> _Ascent:
        """Find the layers. Cost: one forward pass if there are any."""
        box = maker.image.box(model)
        layers = maker.objective.layers
        x = maker.image.images(state.parameters, box) if layers else state.parameters
        found = watch(type(maker).__name__, model, x, layers)
        return cls(maker, model, box, found, named(maker.objective))

    def step(self, state: _State) -> _State:
        """One step upwards. Cost: one forward and one backward pass."""
        maker, image = self.maker, self.maker.image
        with torch.enable_grad():
            leaf = state.parameters.detach().requires_grad_()
            x = image.images(leaf, self.box)
            shown = shaken(x, maker.robust, maker.seed, state.step)
            whole = maker.objective.needs_logits
            logits, activations = self.watch.see(self.model, shown, whole)
            seen = Seen(x, logits, activations, image.code_of(leaf), state.predicted)
            told = self._told(seen, state.step)
            total = weighted(self.terms, told)
            slope = gradient(type(maker).__name__, total, leaf)
        adam = state.adam.after(slope)
        change = maker.step_size * image.unit(self.box) * adam.direction
        moved = leaf.detach() + change.to(leaf.dtype)
        return replace(
            state,
            parameters=image.inside(moved, self.box),
            adam=adam,
            history=_longer(state, {_TOTAL: total, **told}),
            passes=state.passes + 2,
        )

    def look(self, state: _State, goal: int) -> tuple[_State, Synthesis]:
        """The images as they are now, and what the model makes of them. Cost: a forward pass."""
        seen, logits = self._seen(state)
        x, code = seen.x, seen.code
        state = replace(state, predicted=seen.predicted)
        told = self._told(seen, state.step)
        history = _longer(state, {_TOTAL: weighted(self.terms, told), **told})
        frames = state.frames
        if state.step % self.maker.keep_every == 0:
            frames = (*frames, (state.step, x))
        state = replace(state, frames=frames, passes=state.passes + 1)
        made = Synthesis(
            images=x.clone(),
            logits=logits,
            objective=history.pop(_TOTAL),
            terms=history,
            frames=frames,
            step=state.step,
            of=goal,
            passes=state.passes,
            made_by=self.maker,
            code=None if code is None else code.clone(),
            state=state,
        )
        return state, made

    def values(self, state: _State) -> Tensor:
        """The objective of each image, as it is. Cost: one forward pass."""
        return weighted(self.terms, self._told(self._seen(state)[0], 0))

    def _seen(self, state: _State) -> tuple[Seen, Tensor]:
        """What there is to see of the images as they are, and the logits."""
        x = self.maker.image.images(state.parameters, self.box).clone()
        code = self.maker.image.code_of(state.parameters)
        logits, activations = self.watch.see(self.model, x)
        predicted = logits.argmax(1) if state.predicted is None else state.predicted
        return Seen(x, logits, activations, code, predicted), logits.detach()

    def _told(self, seen: Seen, step: int) -> Values:
        return values(type(self.maker).__name__, self.terms, seen, f"at step {step}")


class ClassModel(Synthesizer):
    """Class model visualisation: the image with the largest logit among those that are not bright.

    ``max_x f_c(x) − λ ‖x‖²`` from the zero image: the special case of
    :class:`ActivationMaximization` that is returned by ``maximization``. The logit, unlike the
    probability, need not be raised by what speaks against the other classes.

    Returns a :class:`Synthesis`, of one image per target. Raises ``ValueError`` as that does.
    Cost: n_steps × (1 F + 1 B). Source: Simonyan, Vedaldi, Zisserman 2014, sec. 2, eq. (1), which
    leaves λ open and takes zero to be the mean of the pictures.
    """

    title: ClassVar[str] = "Class model"
    target: Target = param(None, "a class, or one per image; None: as the model sees the start")
    penalty: float = param(0.5, "weight λ of ‖x‖²", low=0, slider=(0.01, 2), log=True)
    n_steps: int = param(200, "number of steps", low=1, high=10**6, slider=(10, 1000), log=True)
    step_size: float = param(
        0.05, "size of a step, as a share of the range", low=1e-9, slider=(0.002, 0.5), log=True
    )

    def validate(self) -> None:
        object.__setattr__(self, "target", Logit(self.target).target)

    @property
    def maximization(self) -> ActivationMaximization:
        """The activation maximization that it is."""
        objective = Logit(self.target) - self.penalty * L2()
        return ActivationMaximization(objective, self.n_steps, self.step_size)

    def examine(self, model: nn.Module, start: Tensor | None = None) -> list[Finding]:
        return self.maximization.examine(model, self._zero(model) if start is None else start)

    def _steps(self, model: nn.Module, start: Tensor | Synthesis | None) -> Iterator[Synthesis]:
        start = self._zero(model) if start is None else start
        for made in self.maximization._steps(model, start):
            yield replace(made, made_by=self)

    def _zero(self, model: nn.Module) -> Tensor:
        """A zero image for each target, or what is nearest to it in the box."""
        starts.check_known(type(self).__name__, model)
        blank = starts.grey(model, n=Logit(self.target).n_images)
        return torch.zeros_like(blank).clamp(*box_of(model))


def _longer(state: _State, values: Values) -> Values:
    """The history with one more step ``(T + 1, N)``; NaN at a step that had no such term."""
    unknown = torch.full_like(values[_TOTAL].detach(), torch.nan)
    past = unknown.expand(state.step, -1)
    names = dict.fromkeys((*state.history, *values))
    return {
        name: torch.cat((state.history.get(name, past), values.get(name, unknown).detach()[None]))
        for name in names
    }
