"""Who can say how likely a picture is: the densities of the zoo, loaded when they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.zoo import models

Density = Callable[[Tensor], Tensor]

_DIGIT = (1, 28, 28)
NOBODY = "none"
_ZOO = {"mixture": "digits-mixture", "autoencoder": "digits-autoencoder"}


def experts_for(
    who: str, shape: Sequence[int], given: Mapping[str, Density] | None
) -> dict[str, Callable[[], Density]]:
    """How to get each expert by its name: those given, or those of the zoo for this shape.

    Raises ``ValueError`` for what are no experts by their names; ``who`` owns the sentence.
    """
    if given is not None:
        if not isinstance(given, Mapping) or NOBODY in given:
            expected = f"a dict of functions by names other than {NOBODY!r}"
            raise invalid(who, "experts", expected, f"{given!r:.80}", "Try {'mine': log_p}")
        return {name: partial(_itself, density) for name, density in given.items()}
    if tuple(shape) != _DIGIT:
        return {}
    known = {name: model for name, model in _ZOO.items() if model in models.names()}
    return {name: partial(_density_of, model) for name, model in known.items()}


def experts_as_code(experts: Mapping[str, Density], names: Names) -> str:
    """Given experts in copied code: functions by their names."""
    codes = (
        f"{name!r}: {names.function(each, f'expert_{at}')}"
        for at, (name, each) in enumerate(experts.items(), 1)
    )
    return f"{{{', '.join(codes)}}}"


def _itself(density: Density) -> Density:
    return density


@cache
def _density_of(name: str) -> Density:
    """The density of a model of the zoo, of pictures of any precision."""
    model: Any = models.load(name)
    weight = next(model.parameters())

    def log_density(x: Tensor) -> Tensor:
        density: Tensor = model.log_density(x.to(weight))
        return density.to(x)

    return log_density
