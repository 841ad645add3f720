"""The work of the sanity check: maps of a network whose layers are drawn anew from the top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import Method
from nni_widgets.engine.methods.base import model_lock
from nni_widgets.engine.metrics import Randomisation, layers_from_top, randomised
from nni_widgets.engine.targets import Target
from nni_widgets.errors import UnsupportedOperation
from nni_widgets.params import Declared, param
from nni_widgets.pictures.explain import Explanation, explanation_of
from nni_widgets.session import Step
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.weights import state_of

_MOST_BYTES = 256 * 2**20

Place = tuple[int, str]


class Check(Declared):
    """How layers are drawn anew, and how two maps are compared."""

    independent: bool = param(False, "draw only this layer anew, not also those above it")
    similarity: str = param("rank", "how two maps are compared", choices=("rank", "ssim"))
    absolute: bool = param(True, "compare |R|, without the signs")
    seed: int = param(0, "seed of the random weights", low=0, high=2**31, slider=(0, 20))

    @property
    def measure(self) -> str:
        """What two maps are compared by, in words."""
        return "rank correlation" if self.similarity == "rank" else "SSIM"

    @property
    def metric(self) -> Randomisation:
        """The measure that compares two maps."""
        return Randomisation(similarity=self.similarity, absolute=self.absolute)


@dataclass(frozen=True, eq=False)
class Fate:
    """What becomes of the map of one method: before, with the layers drawn anew, and how alike.

    ``likeness`` is that at each number of layers, ``None`` where it is not known yet; ``refusal``
    says why there is no map.
    """

    trained: Explanation | None = None
    forgetful: Explanation | None = None
    likeness: tuple[float | None, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class Checked:
    """The fates of all methods, by name, with ``level`` of the ``layers`` drawn anew."""

    layers: tuple[str, ...]
    level: int
    check: Check
    fates: Mapping[str, Fate]

    @property
    def explained(self) -> tuple[Explanation, ...]:
        """The maps of the trained network that there are."""
        return tuple(fate.trained for fate in self.fates.values() if fate.trained is not None)

    @property
    def forgetful(self) -> Explanation | None:
        """A map of the network with layers drawn anew, with what this network predicts."""
        made = (fate.forgetful for fate in self.fates.values())
        return next((each for each in made if each is not None), None)

    @property
    def complete(self) -> bool:
        """Whether everything is known of each method that does not refuse."""
        fates = (fate for fate in self.fates.values() if not fate.refusal)
        return all(None not in fate.likeness for fate in fates)

    @property
    def drawn(self) -> tuple[str, ...]:
        """The layers that are drawn anew."""
        first = max(self.level - 1, 0) if self.check.independent else 0
        return self.layers[first : self.level]


@dataclass(eq=False)
class _Known:
    """What has been made for one picture: maps, refusals, and how alike, by how they compare."""

    maps: dict[Place, Explanation] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    likeness: dict[tuple[Randomisation, Place], float] = field(default_factory=dict)


class Copies:
    """The copies of a model with layers drawn anew: all of them, or the last if they are large."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._state = model, state_of(model)
        self._made: dict[tuple[bool, int, int], nn.Module] = {}
        self._bytes = sum(each.numel() * each.element_size() for each in model.parameters())

    def of(self, x: Tensor, level: int, check: Check) -> nn.Module:
        """The copy with this many layers drawn anew."""
        if self._state != (state := state_of(self._model)):
            self._made.clear()
            self._state = state
        key = check.independent, check.seed, level
        if key not in self._made:
            with model_lock:
                made = randomised(self._model, x, level, check.seed, check.independent)
            if self._bytes * (len(self._made) + 1) > _MOST_BYTES:
                self._made.clear()
            self._made[key] = made
        return self._made[key]


class Checks:
    """Checks methods on one model; what was made for the last picture and seed is kept."""

    def __init__(self, model: nn.Module, methods: Mapping[str, Method]) -> None:
        self._model, self._methods = model, methods
        self._copies = Copies(model)
        self._layers: dict[torch.Size, tuple[str, ...]] = {}
        self._trained: Last[_Known] = Last(model)
        self._forgetful: Last[_Known] = Last(model)

    def steps(self, x: Tensor, target: Target, check: Check, level: int) -> Iterator[Step[Checked]]:
        """First the maps of the trained network and those at ``level``, then at all levels."""
        layers = self.layers_of(x)
        work = _Work(
            self._model,
            self._methods,
            self._copies,
            x.detach().clone(),
            target,
            check,
            layers,
            min(level, len(layers)),
            _kept(self._trained, target, x),
            _kept(self._forgetful, (target, check.seed, check.independent), x),
        )
        return work.steps()

    def layers_of(self, x: Tensor) -> tuple[str, ...]:
        """What the layers that can be drawn anew are called, from the top."""
        with model_lock:
            if x.shape not in self._layers:
                names = layers_from_top(self._model, x)
                self._layers[x.shape] = tuple(name or "the model itself" for name in names)
            return self._layers[x.shape]


@dataclass(eq=False)
class _Work:
    """One request: a picture, a target, and how many layers are drawn anew."""

    model: nn.Module
    methods: Mapping[str, Method]
    copies: Copies
    x: Tensor
    target: Target
    check: Check
    layers: tuple[str, ...]
    level: int
    trained: _Known
    forgetful: _Known
    growing: dict[Place, Explanation] = field(default_factory=dict)

    def steps(self) -> Iterator[Step[Checked]]:
        done, of = 0, len(self.methods) * (len(self.layers) + 1) + 1
        for level in dict.fromkeys((0, self.level, *range(len(self.layers) + 1))):
            for name in self.methods:
                done += 1
                for _ in self._made_and_compared(level, name):
                    yield Step(self._checked(), done, of)
            if len(self.trained.refusals) == len(self.methods):
                raise ValueError(next(iter(self.trained.refusals.values())))
        yield Step(self._checked(), of, of)

    def _made_and_compared(self, level: int, name: str) -> Iterator[None]:
        """Make a map, better and better, and say how alike it is, as far as that is not known."""
        known, place = self._known(level), (level, name)
        if place in known.maps and self._key(place) not in known.likeness:
            self._compare(known, place)
            yield
        elif place not in known.maps and not self._refusal(name):
            yield from self._made(known, place)

    def _made(self, known: _Known, place: Place) -> Iterator[None]:
        _, name = place
        try:
            for made in self._maps(*place):
                if made.result.done == made.result.of:
                    known.maps[place] = made
                    self._compare(known, place)
                self.growing[place] = made
                yield
        except (UnsupportedOperation, ValueError) as error:
            known.refusals[name] = str(error)
        self.growing.pop(place, None)

    def _maps(self, level: int, name: str) -> Iterator[Explanation]:
        method, model, target = self.methods[name], self.model, self.target
        if level:
            model = self.copies.of(self.x, level, self.check)
            target = self.trained.maps[0, name].result.selection
        for result in method.steps(model, self.x, target):
            yield explanation_of(self.model, self.x, method, result)

    def _refusal(self, name: str) -> str:
        return self.trained.refusals.get(name) or self.forgetful.refusals.get(name) or ""

    def _checked(self) -> Checked:
        fates = {name: self._fate(name) for name in self.methods}
        return Checked(self.layers, self.level, self.check, fates)

    def _fate(self, name: str) -> Fate:
        levels = range(len(self.layers) + 1)
        return Fate(
            self._map(0, name),
            self._map(self.level, name),
            tuple(self._likeness((level, name)) for level in levels),
            self._refusal(name),
        )

    def _map(self, level: int, name: str) -> Explanation | None:
        """The map, or as much as there is of it."""
        place = level, name
        return self._known(level).maps.get(place) or self.growing.get(place)

    def _known(self, level: int) -> _Known:
        return self.forgetful if level else self.trained

    def _likeness(self, place: Place) -> float | None:
        level, _ = place
        return self._known(level).likeness.get(self._key(place))

    def _key(self, place: Place) -> tuple[Randomisation, Place]:
        return self.check.metric, place

    def _compare(self, known: _Known, place: Place) -> None:
        _, name = place
        pair = self.trained.maps[0, name], known.maps[place]
        before, after = (made.attribution.double() for made in pair)
        likeness = self.check.metric.likeness(before, after)
        known.likeness[self._key(place)] = float(likeness)


def _kept(last: Last[_Known], key: object, x: Tensor) -> _Known:
    known = last.get(key, x)
    if known is None:
        known = _Known()
        last.keep(key, x, known)
    return known
