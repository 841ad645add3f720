"""The generators that an explorer offers, and how codes of each are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from nni_widgets.engine.code_space import CodeSpace, code_space
from nni_widgets.engine.synthesis import starts
from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.weights import weight_of, weights_of
from nni_widgets.zoo import models

_ZOO = {
    "DCGAN": "digits-dcgan",
    "GAN": "digits-gan",
    "autoencoder": "digits-autoencoder",
}
OWN = "your generator"
_ENOUGH = 512


@dataclass(frozen=True, eq=False)
class Generator:
    """What a module makes of codes, ``draw`` (n of a seed) and whether these are N(0, 1)."""

    module: nn.Module
    make: Callable[[Tensor], Tensor]
    draw: Callable[[int, int], Tensor]
    standard: bool = True
    _spaces: dict[object, CodeSpace] = field(default_factory=dict)

    @property
    def space(self) -> CodeSpace:
        """Its principal directions. Cost: see :func:`code_space`; once for the weights it has."""
        state = weights_of(self.module)
        space = self._spaces.get(state)
        if space is None:
            space = code_space(self.make, self.draw(_ENOUGH, 0), standard=self.standard)
            self._spaces.clear()
            self._spaces[state] = space
        return space


class Generators:
    """Generators by their names in the picker; each is loaded when it is first asked for.

    ``given`` is a module that maps codes to pictures, an autoencoder with ``decode``, the name of a
    model of the zoo, or None; ``own`` is that module. Those of the zoo have the precision and the
    device of ``model``, which looks at their pictures.
    """

    def __init__(self, who: str, given: nn.Module | str | None, model: nn.Module) -> None:
        self._like = weight_of(model)
        self.own = given if isinstance(given, nn.Module) else None
        self._known: dict[str, Generator] = {}
        self.names = tuple(name for name, model in _ZOO.items() if model in models.names())
        if isinstance(given, nn.Module):
            self._known[OWN] = generator_of(given)
            self._known[OWN].draw(1, 0)  # raises unless it knows the size of its codes
            self.names = (OWN, *self.names)
        elif not self.names or given not in (None, *_ZOO.values(), *_ZOO):
            expected = f"a module, or one of {', '.join(map(repr, _ZOO.values()))}"
            told = repr(given) if isinstance(given, str) else type(given).__name__
            raise invalid(who, "generator", expected, told, "Leave it out to choose one")
        self.first = next(
            (name for name in self.names if given in (name, _ZOO.get(name))), self.names[0]
        )

    def __getitem__(self, name: str) -> Generator:
        if name not in self._known:
            self._known[name] = generator_of(models.load(_ZOO[name]).to(self._like))
        return self._known[name]

    def code(self, name: str, own: str) -> str:
        """A generator as an argument in code; the user's is called ``own``."""
        return own if name == OWN else repr(_ZOO[name])


def generator_of(module: nn.Module) -> Generator:
    """A module as a generator: a decoder with its distribution of codes, or N(0, 1)."""
    described: Any = module
    make = described.decode if hasattr(module, "decode") else module
    if hasattr(module, "decode") and hasattr(module, "codes"):
        return Generator(module, make, described.codes.draw, standard=False)
    return Generator(module, make, lambda n, seed: starts.codes(module, n, seed))
