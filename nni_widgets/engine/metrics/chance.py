"""The method that knows nothing: what a measure gives to chance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.base import Method, Result, logits_of
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.params import param

_SEED_BYTES = 8


class RandomAttribution(Method):
    """Random numbers: an attribution that has looked at nothing, as the lowest bar for the others.

    ``R_i ~ N(0, 1)``, drawn by a generator whose seed is a hash of ``seed`` and of the picture: the
    same picture gets the same numbers whenever it is asked for, in whatever batch, and another
    picture, however near, gets others. A method that a measure cannot tell from this one is, in the
    eyes of that measure, worth nothing; or the measure sees nothing.

    Shape: as x, signed. Unit: none. Raises ``ValueError`` where the model cannot take x.
    Cost: 1 forward pass, which only decides the target.
    """

    title: ClassVar[str] = "Random"
    card = Card(
        kind="perturbation",
        question="What would chance say?",
        cost="1 F",
        needs="nothing",
        drawbacks="it explains nothing, and is meant to",
    )
    seed: int = param(0, "seed of the numbers", low=0, high=2**31, slider=(0, 20))

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        values = torch.stack([self._numbers(picture) for picture in x.cpu()])
        yield Result(values.to(x), selection, logits, passes=1)

    def _numbers(self, picture: Tensor) -> Tensor:
        content = picture.contiguous().view(torch.uint8).numpy().tobytes()
        key = self.seed.to_bytes(_SEED_BYTES, "little")
        digest = hashlib.blake2b(content, digest_size=_SEED_BYTES, key=key).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return torch.randn(picture.shape, generator=generator, dtype=torch.float64)
