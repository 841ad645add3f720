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
from nni_widgets.params import is_whole

_MOST = 2**31


def grey(of: nn.Module | Sequence[int], level: float = 0.5, n: int = 1) -> Tensor:
    """Uniform pictures, ``low + level · (high − low)``: 0 is black, 1 is white.

    ``of``: a model that knows its ``input_shape``, as those of ``nni.models`` do, or the shape
    ``(N, ...)`` of pictures from 0 to 1. Shape: ``(n, *input_shape)``.
    """
    empty, box = _empty(of, n), _box(of)
    _check_level(level)
    return empty + box.dark + level * box.size


def noise(of: nn.Module | Sequence[int], level: float = 0.1, seed: int = 0, n: int = 1) -> Tensor:
    """Grey pictures under normal noise with σ = level · (high − low), kept in the box.

    ``of``: as in :func:`grey`. Each of the n pictures has noise of its own. Shape:
    ``(n, *input_shape)``.
    """
    return noise_in(_box(of), of, level, seed, n)


def noise_in(
    box: Box, of: nn.Module | Sequence[int], level: float = 0.1, seed: int = 0, n: int = 1
) -> Tensor:
    """The same in another box than that of the model."""
    _check_level(level)
    middle = _empty(of, n) + box.dark + 0.5 * box.size
    drawn = noise_of(torch.arange(len(middle)), middle, _seed(seed))
    return (middle + level * box.size * drawn).clamp(*box)


def check_known(who: str, model: nn.Module) -> None:
    """Raise ``ValueError`` unless the model knows the shape of a start that is not given."""
    if isinstance(model, nn.Module) and not getattr(model, "input_shape", None):
        expected, action = "given for a model without an input_shape", "Call it with pictures, too"
        raise invalid(who, "start", expected, "none", action)


def codes(generator: Any, n: int = 1, seed: int = 0) -> Tensor:
    """Codes z ~ N(0, 1) for a generator that knows its ``code_size``. Shape: ``(n, code_size)``."""
    size = getattr(generator, "code_size", None)
    if not is_whole(size):
        expected, given = "known from its code_size", type(generator).__name__
        action = "Set generator.code_size, or give codes (N, size) as the start"
        raise invalid("starts", "the size of the generator's codes", expected, given, action)
    _check_count(n)
    like = _like(generator)
    return noise_of(torch.arange(int(n)), like.new_empty(1, int(size)), _seed(seed))


def _box(of: nn.Module | Sequence[int]) -> Box:
    return box_of(of) if isinstance(of, nn.Module) else Box(0.0, 1.0)


def _empty(of: nn.Module | Sequence[int], n: int) -> Tensor:
    """Zeros of the right shape, dtype and device."""
    _check_count(n)
    is_model = isinstance(of, nn.Module)
    shape: Any = (n, *(getattr(of, "input_shape", None) or ())) if is_model else of
    is_shape = isinstance(shape, (tuple, list)) and all(map(is_whole, shape))
    if not is_shape or len(shape) < 2 or min(shape) < 1:
        given = f"a {type(of).__name__}" if is_model else repr(of)
        expected = "a shape (N, C, H, W), or a model with an input_shape"
        raise invalid("starts", "of", expected, given, "Give the shape")
    return _like(of).new_zeros(tuple(map(int, shape)))


def _check_count(n: int) -> None:
    if not is_whole(n) or n < 1:
        raise invalid("starts", "n", "a whole number of at least 1", repr(n), "Try 1")


def _seed(seed: int) -> int:
    if not is_whole(seed) or not 0 <= seed <= _MOST:
        expected = f"a whole number from 0 to {_MOST:,}"
        raise invalid("starts", "seed", expected, repr(seed), "Try 0")
    return int(seed)


def _check_level(level: float) -> None:
    if not isinstance(level, Real) or not math.isfinite(level):
        raise invalid("starts", "level", "a finite number", repr(level), "Try 0.5")


def _like(module: Any) -> Tensor:
    """A tensor of the dtype and on the device of a module's weights."""
    weights = module.parameters() if isinstance(module, nn.Module) else ()
    return next((w.detach() for w in weights if w.is_floating_point()), torch.empty(0))
