"""DeepDream: a photograph ascends an objective, from coarse to fine, and shows what layers see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.checks import check_input
from nni_widgets.engine.methods.base import logits_of
from nni_widgets.engine.methods.maps import places
from nni_widgets.engine.synthesis import starts
from nni_widgets.engine.synthesis.box import Box, box_of
from nni_widgets.engine.synthesis.objectives import Energy, Objective, Seen
from nni_widgets.engine.synthesis.robust import Jitter, shaken
from nni_widgets.engine.synthesis.synthesis import Synthesis, Synthesizer
from nni_widgets.engine.synthesis.terms import (
    Terms,
    Values,
    gradient,
    histories,
    named,
    values,
    weighted,
)
from nni_widgets.engine.synthesis.tiles import Tile, tiles
from nni_widgets.engine.synthesis.watch import Watch, watch
from nni_widgets.engine.tape import record
from nni_widgets.errors import invalid
from nni_widgets.params import param

_WHO = "DeepDream"


@dataclass(frozen=True, eq=False)
class _State:
    """What must be known to go on. ``picture`` has the size of its octave."""

    photographs: Tensor
    picture: Tensor
    predicted: Tensor
    step: int = 0
    of: int = 0
    totals: tuple[Tensor, ...] = ()
    terms: tuple[Values, ...] = ()
    frames: tuple[tuple[int, Tensor], ...] = ()
    passes: float = 0.0


class DeepDream(Synthesizer):
    """DeepDream: a photograph is changed until a layer sees more of what it sees in it.

    At each of ``n_octaves`` sizes, from small to large, ``n_steps`` steps along the gradient g of
    the objective: ``x ← x + step_size · g / rms(g)``, kept in the box; rms per picture, so that a
    step is as strong in every layer. What was dreamt is enlarged and added to the photograph at the
    next size. Before each step the picture is rolled by up to ``jitter`` pixels; larger pictures
    than a tile are seen tile by tile. Early layers draw strokes, later ones eyes and animals.

    Any objective will do: ``nni.Channel("blocks.9.add", 7) - 1e-6 * nni.TotalVariation()``.
    Penalties are sums over the pixels of an octave, layers are means over their places. A tile is
    exact where the layer sees no more than half the overlap, and where tile and overlap are
    multiples of the layer's stride. Resuming what is complete dreams on from there.

    Returns a :class:`Synthesis`, of the size of the photographs ``(N, C, H, W)``; its objective is
    that of the octave at each step. Raises ``ValueError`` for an unknown layer or one without maps,
    a picture outside the box, one too small for the octaves.
    Cost: n_octaves · n_steps × (1 F + 1 B up to the layer), 2 F every ``keep_every`` steps.
    Source: Mordvintsev, Olah, Tyka 2015, "Inceptionism" and its notebook.
    """

    title: ClassVar[str] = "DeepDream"
    objective: Objective | None = param(
        None, "what is maximized; None: the energy of a layer two thirds of the way up"
    )
    n_octaves: int = param(4, "number of sizes", low=1, high=20, slider=(1, 6))
    octave_scale: float = param(1.4, "ratio of two sizes", low=1.01, high=4, slider=(1.1, 2))
    n_steps: int = param(10, "steps at each size", low=1, high=10**4, slider=(1, 50))
    step_size: float = param(
        0.02, "mean change of a step, as a share of the range", low=1e-6, high=1,
        slider=(0.002, 0.1), log=True,
    )  # fmt: skip
    jitter: int = param(
        16, "largest shift before a step, in pixels", low=0, high=1000, slider=(0, 32)
    )
    tile: int = param(512, "side of a tile, in pixels", low=8, slider=(128, 1024))
    overlap: int = param(128, "pixels that neighbouring tiles share", low=0, slider=(0, 256))
    seed: int = param(0, "seed of the jitter", low=0, high=2**31, slider=(0, 20))
    keep_every: int = param(5, "steps between two frames", low=1, slider=(1, 50))

    def validate(self) -> None:
        if self.objective is not None and not isinstance(self.objective, Objective):
            expected, given = "a value such as nni.Energy('conv2')", repr(self.objective)
            raise invalid(_WHO, "objective", expected, given, "Call its class to make one")
        if self.objective is not None and not self.objective.terms:
            expected, action = "a sum of at least one term", "Give a term a weight other than 0"
            raise invalid(_WHO, "objective", expected, "a sum of none", action)
        if self.overlap >= self.tile:
            expected, given = f"below tile, {self.tile}", repr(self.overlap)
            raise invalid(_WHO, "overlap", expected, given, "Try a quarter of the tile")

    def _steps(self, model: nn.Module, start: Tensor | Synthesis | None) -> Iterator[Synthesis]:
        state = self._resumed(start) if isinstance(start, Synthesis) else self._begin(model, start)
        dream = _Dream.of(self, model, state)
        if not isinstance(start, Synthesis):
            state, made = dream.look(state)
            yield made
        while state.step < state.of:
            state = dream.step(state)
            if state.step % self.keep_every == 0 or state.step == state.of:
                state, made = dream.look(state)
                yield made

    def _begin(self, model: nn.Module, start: Tensor | None) -> _State:
        if start is None:
            starts.check_known(_WHO, model)
            n = 1 if self.objective is None else self.objective.n_images
            start = starts.noise(model, seed=self.seed, n=n)
        check_input(_WHO, model, start)
        if start.ndim != 4:
            expected, given = "pictures (N, C, H, W)", f"shape {tuple(start.shape)}"
            raise invalid(_WHO, "start", expected, given, "Use x[None] for one picture")
        box_of(model).check(_WHO, "start", start, "Scale it, or name the model's range")
        predicted, photographs = logits_of(_WHO, model, start).argmax(1), start.clone()
        return _State(photographs, photographs, predicted, of=self.length, passes=1)

    def _resumed(self, made: Synthesis) -> _State:
        """The state to go on with: of a dream that is complete, the beginning of another one."""
        state, by = made.state, made.made_by
        if not isinstance(state, _State) or not isinstance(by, DeepDream):
            given, action = repr(by), "Resume it with the method that made it"
            raise invalid(_WHO, "what is resumed", "made by DeepDream", given, action)
        if state.step == state.of:
            return replace(state, photographs=state.picture, of=state.of + self.length)
        mine, theirs = ((m.n_octaves, m.octave_scale, m.n_steps) for m in (self, by))
        if mine != theirs:
            expected, given = f"made in the same octaves and steps, {mine}", str(theirs)
            action = "Resume it with those, or start from its images"
            raise invalid(_WHO, "what is resumed", expected, given, action)
        return state

    @property
    def length(self) -> int:
        """The number of steps at all sizes."""
        return self.n_octaves * self.n_steps

    def size(self, octave: int, x: Tensor) -> tuple[int, int]:
        """Rows and columns of an octave of x; the last octave is x itself."""
        factor = self.octave_scale ** (self.n_octaves - 1 - octave)
        height, width = (max(round(side / factor), 1) for side in x.shape[-2:])
        return height, width

    def tiles(self, x: Tensor) -> tuple[Tile, ...]:
        """The parts of x that the model sees one after the other."""
        return tiles(x, self.tile, self.overlap)


@dataclass(frozen=True)
class _Dream:
    """One model's dream: what a step and a look need, found once.

    ``of_model`` are the terms that read the model, tile by tile, ``of_pixels`` the others.
    """

    maker: DeepDream
    model: nn.Module
    box: Box
    watch: Watch
    of_model: Terms
    of_pixels: Terms

    @classmethod
    def of(cls, maker: DeepDream, model: nn.Module, state: _State) -> _Dream:
        """Find the layers. Cost: four forward passes of a tile at most."""
        photograph = state.photographs[:1]
        first = maker.tiles(photograph)[0].of(photograph)
        objective = maker.objective or Energy(_usual_layer(model, first))
        found = watch(_WHO, model, first, objective.layers)
        of_model: Terms = {}
        of_pixels: Terms = {}
        for name, (weight, term) in named(objective).items():
            reads_model = term.needs_logits or bool(term.layers)
            (of_model if reads_model else of_pixels)[name] = weight, term
        dream = cls(maker, model, box_of(model), found, of_model, of_pixels)
        dream._check_maps(first)
        dream._check_octaves(photograph)
        return dream

    def step(self, state: _State) -> _State:
        """One step upwards. Cost: one forward and one backward pass up to the layer."""
        maker, picture = self.maker, self._at_octave(state)
        with torch.enable_grad():
            leaf = picture.detach().requires_grad_()
            shown = shaken(leaf, (Jitter(maker.jitter),), maker.seed, state.step)
            found, slope = self._climb(shown.detach(), state)
            (direction,) = torch.autograd.grad(shown, leaf, slope)
            if self.of_pixels:
                held = self._values(self.of_pixels, Seen(leaf), state)
                direction = direction + gradient(_WHO, weighted(self.of_pixels, held), leaf)
                found |= {name: value.detach() for name, value in held.items()}
        change = maker.step_size * self.box.size * _normalised(direction)
        return replace(
            state,
            picture=(picture + change).clamp(self.box.low, self.box.high),
            step=state.step + 1,
            totals=(*state.totals, weighted(self._terms, found)),
            terms=(*state.terms, found),
            passes=state.passes + 2,
        )

    def look(self, state: _State) -> tuple[_State, Synthesis]:
        """The pictures as they are now, in full size. Cost: two forward passes."""
        images = self._at_size(state, state.photographs.shape[2:]).clone()
        found = _mean([(part, seen) for part, _, seen in self._by_tile(images, state)])
        found |= self._values(self.of_pixels, Seen(images), state)
        frames = state.frames
        if state.step % self.maker.keep_every == 0:
            frames = (*frames, (state.step, images))
        state = replace(state, frames=frames, passes=state.passes + 2)
        made = Synthesis(
            images=images.clone(),
            logits=logits_of(_WHO, self.model, images),
            objective=torch.stack((*state.totals, weighted(self._terms, found))),
            terms=histories((*state.terms, found)),
            frames=frames,
            step=state.step,
            of=state.of,
            passes=state.passes,
            made_by=self.maker,
            state=state,
        )
        return state, made

    @property
    def _terms(self) -> Terms:
        return self.of_model | self.of_pixels

    def _climb(self, x: Tensor, state: _State) -> tuple[Values, Tensor]:
        """The values of the model's terms, and the gradient of their sum at x, tile by tile."""
        slope, found = torch.zeros_like(x), []
        for part, tile, seen in self._by_tile(x, state):
            upwards = part.share * gradient(_WHO, weighted(self.of_model, seen), tile)
            slope[(..., *part.inner)] = upwards[(..., *part.within)]
            found.append((part, {name: value.detach() for name, value in seen.items()}))
        return _mean(found), slope

    def _by_tile(self, x: Tensor, state: _State) -> Iterator[tuple[Tile, Tensor, Values]]:
        """Each tile, its pixels, and the values of the model's terms there, in their graph."""
        for part in self.maker.tiles(x) if self.of_model else ():
            tile = part.of(x).detach().requires_grad_()
            seen = Seen(tile, *self._see(tile), predicted=state.predicted)
            yield part, tile, self._values(self.of_model, seen, state)

    def _see(self, x: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
        needs_logits = any(term.needs_logits for _, term in self.of_model.values())
        return self.watch.see(self.model, x, needs_logits)

    def _values(self, terms: Terms, seen: Seen, state: _State) -> Values:
        return values(_WHO, terms, seen, f"at step {state.step}")

    def _at_octave(self, state: _State) -> Tensor:
        """The picture at the size of the next step."""
        maker = self.maker
        done = maker.length - (state.of - state.step)
        return self._at_size(state, maker.size(done // maker.n_steps, state.photographs))

    def _at_size(self, state: _State, size: Sequence[int]) -> Tensor:
        """What was dreamt so far, added to the photographs at another size, inside the box."""
        now = state.picture.shape[2:]
        if tuple(size) == tuple(now):
            return state.picture
        dreamt = state.picture - _resized(state.photographs, now)
        picture = _resized(state.photographs, size) + _resized(dreamt, size)
        return picture.clamp(self.box.low, self.box.high)

    def _check_maps(self, x: Tensor) -> None:
        for layer, maps in self._see(x)[1].items():
            if maps.ndim != x.ndim:
                expected, given = "one of maps (N, C, H, W)", f"shape {tuple(maps.shape)}"
                action = "Choose one below, or use nni.ActivationMaximization"
                raise invalid(_WHO, f"layer {layer!r}", expected, given, action)

    def _check_octaves(self, photograph: Tensor) -> None:
        size = self.maker.size(0, photograph)
        smallest = _resized(photograph, size)
        try:
            self._see(self.maker.tiles(smallest)[0].of(smallest))
        except ValueError as error:
            if self.maker.n_octaves == 1:
                raise
            expected = "so few that the model can take the smallest picture"
            given = f"{self.maker.n_octaves}, which makes it {size[0]} x {size[1]} pixels"
            action = "Use fewer octaves, a smaller octave_scale or a larger picture"
            raise invalid(_WHO, "n_octaves", expected, given, action) from error


def _usual_layer(model: nn.Module, x: Tensor) -> str:
    """The layer two thirds of the way up, of those with maps that all paths lead through.

    There features are shapes and parts, no longer strokes, and still many fit into a picture.
    """
    ops = canonical(record(model, x, _WHO)).ops
    last_read = {number: at for at, op in enumerate(ops) for number in op.inputs}
    found, open_until = [], last_read.get(0, 0)
    for at, op in enumerate(ops):
        if open_until <= at and op.results[0].ndim == x.ndim and places(op) > 1:
            found.append(op.label)
        open_until = max([open_until, *(last_read.get(number, at) for number in op.outputs)])
    if not found:
        expected, given = "one with maps (N, C, H, W)", "a model without"
        raise invalid(_WHO, "the model", expected, given, "Use nni.ActivationMaximization")
    return found[2 * len(found) // 3]


def _mean(found: Sequence[tuple[Tile, Values]]) -> Values:
    """The values of the terms in the whole picture: each tile counts by its share."""
    whole = sum(part.share for part, _ in found)
    total: Values = {}
    for part, seen in found:
        for name, value in seen.items():
            total[name] = total.get(name, 0) + part.share / whole * value
    return total


def _normalised(slope: Tensor) -> Tensor:
    """The gradient of each picture with a root mean square of 1; one that is 0 stays so."""
    flat = slope.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    mean = flat.square().mean(1, keepdim=True).sqrt()
    return (flat / mean).masked_fill(mean == 0, 0).view_as(slope)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures at another size, smoothed where they get smaller."""
    if tuple(size) == tuple(x.shape[2:]):
        return x
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    resized = functional.interpolate(wide, size=tuple(size), mode="bilinear", antialias=True)
    return resized.to(x.dtype)
