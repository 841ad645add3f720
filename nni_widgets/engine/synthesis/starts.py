"""Where an ascent can start: pictures in which there is nothing to see, and codes drawn at random.

A picture of the data, or the mean of a class, is a start as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.engine.methods.noise import noise as noise_of
from nni_widgets.engine.synthesis.box import Box, box_of
from nni_widgets.errors import invalid


def grey(of: nn.Module | Sequence[int], level: float = 0.5, n: int = 1) -> Tensor:
    """Uniform pictures, ``low + level · (high − low)``: 0 is black, 1 is white.

    ``of``: a model that knows its ``input_shape``, as those of ``nni.models`` do, or the shape
    ``(N, ...)`` of pictures from 0 to 1. Shape: ``(n, *input_shape)``.
    """
    empty, box = _blank(of, n)
    _check_level(level)
    return empty + box.dark + level * box.size


def noise(of: nn.Module | Sequence[int], level: float = 0.1, seed: int = 0, n: int = 1) -> Tensor:
    """Grey pictures under normal noise with σ = level · (high − low), kept in the box.

    ``of``: as in :func:`grey`. Each of the n pictures has noise of its own. Shape:
    ``(n, *input_shape)``.
    """
    middle = grey(of, 0.5, n)
    _, box = _blank(of, n)
    _check_level(level)
    drawn = noise_of(torch.arange(len(middle)), middle, seed)
    return (middle + level * box.size * drawn).clamp(*box)


def codes(generator: Any, n: int = 1, seed: int = 0) -> Tensor:
    """Codes z ~ N(0, 1) for a generator that knows its ``code_size``. Shape: ``(n, code_size)``."""
    size = getattr(generator, "code_size", None)
    if not isinstance(size, int):
        expected, given = "known from its code_size", type(generator).__name__
        action = "Set generator.code_size, or give codes (N, size) as the start"
        raise invalid("starts", "the size of the generator's codes", expected, given, action)
    _check_count(n)
    like = _like(generator)
    return noise_of(torch.arange(n), like.new_empty(1, size), seed)


def _blank(of: nn.Module | Sequence[int], n: int) -> tuple[Tensor, Box]:
    """Zeros of the right shape, dtype and device, with their box."""
    _check_count(n)
    if isinstance(of, nn.Module):
        shape: Any = (n, *(getattr(of, "input_shape", None) or ()))
        empty, box = _like(of), box_of(of)
    else:
        shape, empty, box = of, torch.empty(0), Box(0.0, 1.0)
    is_shape = isinstance(shape, (tuple, list)) and all(type(side) is int for side in shape)
    if not is_shape or len(shape) < 2 or min(shape) < 1:
        given = f"a {type(of).__name__}" if isinstance(of, nn.Module) else repr(of)
        expected = "a shape (N, C, H, W), or a model with an input_shape"
        raise invalid("starts", "of", expected, given, "Give the shape")
    return empty.new_zeros(tuple(shape)), box


def _check_count(n: int) -> None:
    if type(n) is not int or n < 1:
        raise invalid("starts", "n", "a whole number of at least 1", repr(n), "Try 1")


def _check_level(level: float) -> None:
    if not isinstance(level, Real) or not math.isfinite(level):
        raise invalid("starts", "level", "a finite number", repr(level), "Try 0.5")


def _like(module: Any) -> Tensor:
    """A tensor of the dtype and on the device of a module's weights."""
    weights = module.parameters() if isinstance(module, nn.Module) else ()
    return next((w.detach() for w in weights if w.is_floating_point()), torch.empty(0))
