"""The generators that an explorer offers, and how codes of each are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.engine.code_space import CodeSpace, code_space
from nni_widgets.engine.synthesis import starts
from nni_widgets.errors import invalid
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
    """A generator, ``draw`` (n codes of a seed) and whether these codes are N(0, 1)."""

    make: Callable[[Tensor], Tensor]
    draw: Callable[[int, int], Tensor]
    standard: bool = True

    @cached_property
    def space(self) -> CodeSpace:
        """Its principal directions. Cost: see :func:`code_space`; once."""
        return code_space(self.make, self.draw(_ENOUGH, 0), standard=self.standard)


class Generators:
    """Generators by their names in the picker; each is loaded when it is first asked for.

    ``given`` is a module that maps codes to pictures, an autoencoder with ``decode``, the name of a
    model of the zoo, or None.
    """

    def __init__(self, who: str, given: nn.Module | str | None) -> None:
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
            self._known[name] = generator_of(models.load(_ZOO[name]))
        return self._known[name]

    def code(self, name: str, own: str) -> str:
        """A generator as an argument in code; the user's is called ``own``."""
        return own if name == OWN else repr(_ZOO[name])


def generator_of(module: nn.Module) -> Generator:
    """A module as a generator: a decoder with its distribution of codes, or N(0, 1)."""
    described: Any = module
    if not hasattr(module, "decode"):
        return Generator(module, lambda n, seed: starts.codes(module, n, seed))
    if hasattr(module, "codes"):
        return Generator(described.decode, described.codes.draw, standard=False)
    size = described.code_size
    return Generator(
        described.decode,
        lambda n, seed: torch.randn(n, size, generator=torch.Generator().manual_seed(seed)),
    )
