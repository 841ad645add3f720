"""The weights of a model: whether they are still the same, and what pictures must be like them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

State = tuple[tuple[int, int], ...]


def state_of(model: Any) -> State:
    """What changes when a weight or a buffer of a model is written to, as training does."""
    buffers = model.buffers() if isinstance(model, nn.Module) else ()
    return weights_of(model) + _versions(buffers)


def weights_of(model: Any) -> State:
    """The same without buffers, to which a model may write whenever it is called."""
    return _versions(model.parameters() if isinstance(model, nn.Module) else ())


def _versions(tensors: Iterable[Tensor]) -> State:
    known = (each for each in tensors if not is_lazy(each))
    return tuple((id(each), 0 if each.is_inference() else each._version) for each in known)


def weight_of(model: Any, otherwise: Tensor | None = None) -> Tensor:
    """A tensor of the precision and on the device of a model; ``pictures.to(it)`` fit the model.

    ``otherwise`` is that of a model without weights, of the usual precision unless given.
    """
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    usual = torch.empty(0) if otherwise is None else otherwise
    return next((each.detach() for each in weights if each.is_floating_point()), usual)


def moved(like: Tensor, name: str) -> str:
    """The same for pictures in copied code, where the model is called ``name``."""
    is_usual = like.dtype == torch.float32 and like.device.type == "cpu"
    return "" if is_usual else f".to(next({name}.parameters()))"
