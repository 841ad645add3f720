"""A network of one's own, made ready for methods and explorers in one line.

They read from a model what its classes are called and which numbers are black and white. Most
networks carry neither, and many expect numbers that no picture has; ``wrap`` adds both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import run
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole

Level = float | Sequence[float]
"""One number, or one per channel."""

Preprocess = Callable[[Tensor], Tensor]


class Normalize(nn.Module):
    """``(x - mean) / std``; a number for all channels, or one number per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same shape."""
        return (x - self._along(x, self.mean)) / self._along(x, self.std)

    def _along(self, x: Tensor, values: Tensor) -> Tensor:
        channels = x.shape[1]
        if len(values) not in (1, channels):
            given = f"{len(values)} for {channels} channels"
            action = "Give one number, or as many as the picture has channels"
            raise invalid("wrap", "mean and std", "one number per channel", given, action)
        return values.reshape(-1, *[1] * (x.ndim - 2))


class Wrapped(nn.Module):
    """A module behind its preprocessing, with names for its classes and a range for its pixels.

    The layers keep the names that they have in the module. It starts in the module's mode, and as
    in any container ``train()`` and ``eval()`` then set both.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocess: Preprocess | None,
        classes: tuple[str, ...],
        low: Level,
        high: Level,
        input_shape: tuple[int, ...] | None,
    ) -> None:
        super().__init__()
        self.module, self.preprocess = module, preprocess
        self.classes, self.low, self.high, self.input_shape = classes, low, high, input_shape
        if isinstance(evidence := getattr(module, "evidence", None), str):
            self.evidence = evidence
        self.training = module.training

    def forward(self, x: Tensor) -> Any:
        """What the module makes of the preprocessed pixels."""
        logits = self.logits(x)
        self.check_classes(logits)
        return logits

    def logits(self, x: Tensor) -> Any:
        """As a call, whether or not the classes fit."""
        return self.module(x if self.preprocess is None else self.preprocess(x))

    def check_classes(self, logits: Any) -> None:
        """Raise ``ValueError`` unless every logit has a name, or none has."""
        if not self.classes or not isinstance(logits, Tensor) or logits.ndim != 2:
            return
        if len(self.classes) != logits.shape[1]:
            expected = f"{logits.shape[1]} names, one for each output of the module"
            action = "Name them all in their order, or leave classes out"
            raise invalid("wrap", "classes", expected, len(self.classes), action)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Every module, the layers by the names that they have in the wrapped one."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        yield from self.module.named_modules(memo, prefix, remove_duplicate)
        if isinstance(self.preprocess, nn.Module):
            path = f"{prefix}.preprocess".lstrip(".")
            yield from self.preprocess.named_modules(memo, path, remove_duplicate)

    def get_submodule(self, target: str) -> nn.Module:
        """The layer of this name, as ``named_modules`` gives it."""
        is_own = not target or target.partition(".")[0] in self._modules
        return super().get_submodule(target) if is_own else self.module.get_submodule(target)


def wrap(
    module: nn.Module,
    classes: Sequence[str] | None = None,
    low: Level = 0.0,
    high: Level = 1.0,
    preprocess: Preprocess | tuple[Level, Level] | None = None,
    input_shape: Sequence[int] | None = None,
) -> Wrapped:
    """A network of one's own with what methods and explorers want to know; it is not changed.

    ``model = nni.models.wrap(resnet.eval(), classes=names, preprocess=(mean, std))`` takes pixels
    from ``low`` to ``high`` (numbers, or one per channel) and gives ``module(preprocess(x))``.
    ``preprocess`` is a function or module that torch can differentiate, or a pair of mean and
    standard deviation. Constants there are a change of units: all relevance passes them.
    Resize and crop before, so that there is a pixel for every attribution.

    Layers keep their names, weights are shared, and its ``evidence``, if it names one, is named.
    The mode is the module's: methods refuse training mode, and ``eval()`` of the result is that of
    the module too.

    Shape: x ``(N, *input_shape)``; if it is given, and nothing is in training mode, it is tried.
    Raises ``ValueError`` for what is no module, names that do not fit its outputs, levels that are
    no range, and an ``input_shape`` that the module does not take.
    """
    if not isinstance(module, nn.Module):
        given, action = type(module).__name__, "Pass the network itself, as in wrap(Net())"
        raise invalid("wrap", "module", "a torch.nn.Module", given, action)
    lows, highs = _numbers(low, "low"), _numbers(high, "high")
    _check_range(lows, highs)
    wrapped = Wrapped(
        module,
        _prepared(preprocess, module),
        _names(classes),
        _level(lows),
        _level(highs),
        _shape(input_shape),
    )
    if wrapped.input_shape is not None and not any(part.training for part in wrapped.modules()):
        _try_out(wrapped, wrapped.input_shape)
    return wrapped


def _try_out(wrapped: Wrapped, shape: tuple[int, ...]) -> None:
    x = _like(wrapped).new_zeros(1, *shape)
    with torch.no_grad(), torch.random.fork_rng():
        logits = run("wrap", cast(nn.Module, wrapped.logits), x)
    wrapped.check_classes(logits)


def _prepared(
    preprocess: Preprocess | tuple[Level, Level] | None, module: nn.Module
) -> Preprocess | None:
    if isinstance(preprocess, (tuple, list)) and len(preprocess) == 2:
        mean, std = _numbers(preprocess[0], "mean"), _numbers(preprocess[1], "std")
        if min(std) <= 0:
            action = "The pixels are divided by it"
            raise invalid("wrap", "std", "above 0", preprocess[1], action)
        like = _like(module)
        return Normalize(like.new_tensor(mean), like.new_tensor(std)).train(module.training)
    if preprocess is None or (callable(preprocess) and not isinstance(preprocess, type)):
        return preprocess
    expected, action = "a function, a module or a pair (mean, std)", "Call a class to make one"
    raise invalid("wrap", "preprocess", expected, f"{preprocess!r:.80}", action)


def _like(module: nn.Module) -> Tensor:
    """A tensor of the dtype and on the device of the module's weights."""
    weights = (weight for weight in module.parameters() if weight.is_floating_point())
    return next(weights, torch.empty(0)).detach()


def _names(classes: Sequence[str] | None) -> tuple[str, ...]:
    if classes is None:
        return ()
    names = classes.tolist() if isinstance(classes, np.ndarray) else classes
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    if not listed or not all(isinstance(name, str) for name in names):
        expected, action = "a sequence of names", 'For example ("cat", "dog")'
        raise invalid("wrap", "classes", expected, f"{classes!r:.80}", action)
    return tuple(map(str, names))


def _numbers(level: Any, what: str) -> tuple[float, ...]:
    """A level as a tuple: of one number, or of one per channel."""
    listed = level.reshape(-1).tolist() if isinstance(level, (Tensor, np.ndarray)) else level
    numbers = tuple(listed) if isinstance(listed, (tuple, list)) else (listed,)
    if not numbers or not all(isinstance(n, Real) and math.isfinite(n) for n in numbers):
        expected, action = "a finite number, or one per channel", "For example 0.5"
        raise invalid("wrap", what, expected, f"{level!r:.80}", action)
    return tuple(map(float, numbers))


def _level(numbers: tuple[float, ...]) -> Level:
    return numbers if len(numbers) > 1 else numbers[0]


def _check_range(lows: tuple[float, ...], highs: tuple[float, ...]) -> None:
    each = len(lows) == len(highs)
    pairs = zip(lows, highs, strict=True) if each else itertools.product(lows, highs)
    if not (each or 1 in (len(lows), len(highs))) or any(low >= high for low, high in pairs):
        given, action = (
            f"{_level(lows)} and {_level(highs)}",
            "Give what is black and what is white",
        )
        raise invalid("wrap", "low", "below high, channel by channel", given, action)


def _shape(input_shape: Sequence[int] | None) -> tuple[int, ...] | None:
    if input_shape is None:
        return None
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    if not shape or not all(map(_is_side, shape)):
        expected, action = "the shape of one sample, (C, H, W)", "Leave the batch out"
        raise invalid("wrap", "input_shape", expected, repr(input_shape), action)
    return tuple(map(int, shape))


def _is_side(side: object) -> bool:
    return is_whole(side) and side > 0
