"""Modified copies of weights, made once per rule and layer, kept while the weight is the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_SMALL = 1 << 16
_copies = WeakTensorKeyDictionary()


def modified(
    weight: Tensor, purpose: str, change: Callable[[Tensor], Tensor], depends: Tensor | float = 0.0
) -> Tensor:
    """``change(weight)``; for a large weight the copy of the last call, if it is still true.

    One copy is kept per weight and purpose, as long as the weight lives. It is made anew when the
    weight or ``depends`` (what else the copy is made of) has changed.
    """
    if weight.numel() < _SMALL:
        return change(weight.detach())
    copies: dict[str, tuple[Tensor, Tensor]] = _copies.setdefault(weight, {})
    others = torch.as_tensor(depends).detach().double().flatten().cpu()
    state = torch.cat([_fingerprint(weight), others])
    if purpose not in copies or not torch.equal(copies[purpose][0], state):
        copies[purpose] = (state, change(weight.detach()))
    return copies[purpose][1]


def _fingerprint(weight: Tensor) -> Tensor:
    """Changes with the weight, also when it is written to through ``.data``, which torch hides."""
    numbers = weight.detach().flatten()
    sample = numbers[:: numbers.numel() // 1024 | 1].double().cpu()
    version = 0 if weight.is_inference() else weight._version
    known = (float(numbers.sum()), version, weight.data_ptr() % (1 << 40))
    return torch.cat([sample, sample.new_tensor(known)])
