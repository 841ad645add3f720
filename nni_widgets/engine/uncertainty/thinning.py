"""Dropout that is on although the model is in evaluation mode, each time with known masks.

Every dropout call in a forward pass, of a module or a function, becomes a product with a constant
mask. So a thinned network is a network like any other: its tape has a rule for every operation, and
neither the model's mode nor torch's random state is touched.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from nni_widgets.errors import UnsupportedOperation, invalid, sentence

_BLOCK = 16
_SEEDS = 2**32
_SATURATED = 1.7580993408473766
"""SELU tends to minus this on the left: alpha dropout puts that in the place of a dropped unit."""


class Around(nn.Module):
    """A model around another one, whose modules keep their names; neither is copied or changed.

    It says what the model says of itself: ``classes``, ``low``, ``high`` and the like.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = False
        describe_as(self, model)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """The names of the model's own modules: layers are called as they are in the model."""
        yield from self.model.named_modules(*args, **kwargs)


def describe_as(outer: nn.Module, model: nn.Module) -> None:
    """Let a module around a model say what the model says of its answers and its pictures."""
    for name in ("classes", "low", "high", "input_shape", "evidence"):
        said = getattr(model, name, None)
        if said is not None and not isinstance(said, nn.Module):  # a layer may have such a name
            setattr(outer, name, said)


class Thinned(Around):
    """The network that dropout makes of a model: some units are gone, the rest is scaled up.

    ``samples`` says which of the random networks: one number for a whole batch, or one for each of
    its rows. A number always means the same network, for every picture, in every batch, on every
    device; another ``seed`` gives others. Each call of dropout in the forward pass has a mask of
    its own. Any method explains a thinned network that sends through it no other rows than its
    own, or has one sample for all.

    Shape: as the model. Raises :class:`UnsupportedOperation` where dropout reads a tensor whose
    first axis is not the batch, or is inside a recurrent layer or attention.
    Cost: a forward pass, and the masks.
    Source: Srivastava et al. 2014, sec. 4; Gal, Ghahramani 2016, sec. 3.
    """

    def __init__(self, model: nn.Module, samples: int | Tensor = 0, seed: int = 0) -> None:
        super().__init__(model)
        self._masks = _Masks(seed)
        self.met = 0
        self.choose(samples)

    def choose(self, samples: int | Tensor) -> None:
        """Be another network, or another one for each row of the next batch."""
        self.samples = _numbers(samples)

    def forward(self, x: Tensor) -> Any:
        """The logits of the rows; ``met`` tells afterwards how often dropout was called."""
        if len(self.samples) not in {1, len(x)}:
            expected, given = "one, or one for each row of x", f"{len(self.samples)} for {len(x)}"
            raise invalid("Thinned", "samples", expected, given, "Choose others")
        return self._run(x, _Thinning(self._masks, self.samples, len(x)))

    def each(self, x: Tensor) -> Any:
        """The logits of all S networks for all N rows, ``(S · N, K)``, network by network.

        What comes before the first dropout is the same for all networks and is computed once. That
        fails, or gives another number of rows, if something from before it is read again later.
        """
        return self._run(x, _Spreading(self._masks, self.samples, len(x)))

    def _run(self, x: Tensor, thinning: _Thinning) -> Any:
        with thinning:
            made = self.model(x)
        self.met = thinning.met
        return made


class _Form(NamedTuple):
    """How one kind of dropout works: on whole channels or not, with zeros or SELU's other end.

    ``one_sample`` is the number of axes with which torch takes the first one for the channels.
    """

    channels: bool = False
    alpha: bool = False
    one_sample: int = 0


_FORMS: dict[Callable[..., Any], _Form] = {
    functional.dropout: _Form(),
    functional.dropout1d: _Form(channels=True, one_sample=2),
    functional.dropout2d: _Form(channels=True),
    functional.dropout3d: _Form(channels=True, one_sample=4),
    functional.alpha_dropout: _Form(alpha=True),
    functional.feature_alpha_dropout: _Form(channels=True, alpha=True),
    torch.dropout: _Form(),
    torch.dropout_: _Form(),
    torch.feature_dropout: _Form(channels=True),
    torch.feature_dropout_: _Form(channels=True),
    torch.alpha_dropout: _Form(alpha=True),
    torch.alpha_dropout_: _Form(alpha=True),
    torch.feature_alpha_dropout: _Form(channels=True, alpha=True),
    torch.feature_alpha_dropout_: _Form(channels=True, alpha=True),
}


_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
_ATTENTION: dict[Callable[..., Any], int] = {
    functional.multi_head_attention_forward: 10,
    functional.scaled_dot_product_attention: 4,
}
"""At which place of the arguments attention has the p of its dropout."""


class _Thinning(TorchFunctionMode):
    """Answers each call of dropout with the masks of one sample, or of one for each row."""

    def __init__(self, masks: _Masks, samples: Tensor, rows: int) -> None:
        super().__init__()
        self._masks, self._samples, self.rows = masks, samples, rows
        self.met = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        form = _FORMS.get(func)
        if form is None:
            if _inner_p(func, args, kwargs) > 0:
                expected, given = "a call of its own", f"a part of {func.__name__}"
                _refuse("dropout", expected, given, "Let the model call nn.Dropout behind it")
            return func(*args, **kwargs)
        value = args[0] if args else kwargs["input"]
        p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
        if p == 0:
            return value
        factor, shift = self._factor_and_shift(form, value, p)
        self.met += 1
        if func.__name__.endswith("_") or kwargs.get("inplace"):
            return self.thinned_in_place(value, factor, shift)
        return self.thinned(value, factor, shift)

    def thinned(self, value: Tensor, factor: Tensor, shift: Tensor | None) -> Tensor:
        """The value after dropout."""
        self._check_rows(value)
        return value * factor if shift is None else value * factor + shift

    def thinned_in_place(self, value: Tensor, factor: Tensor, shift: Tensor | None) -> Tensor:
        """The value itself, written to."""
        self._check_rows(value)
        value.mul_(factor)
        return value if shift is None else value.add_(shift)

    def _check_rows(self, value: Tensor) -> None:
        if value.shape[:1] != (self.rows,):
            _refuse_rows(value, self.rows)

    def _factor_and_shift(
        self, form: _Form, value: Tensor, p: float
    ) -> tuple[Tensor, Tensor | None]:
        """Dropout as ``value · factor + shift``, with one row for each sample."""
        shape = tuple(value.shape[1:])
        if form.channels:
            one_sample = value.ndim == form.one_sample
            shape = (1 if one_sample else shape[0], *[1] * (value.ndim - 2))
        masks = self._masks(self.met, self._samples, shape, p)
        kept = masks.to(value.device, value.dtype)  # not to(value): no signal may be read
        if p == 1 or not form.alpha:
            return kept / (1 - p if p < 1 else 1), None
        scale = ((_SATURATED**2 * p + 1) * (1 - p)) ** -0.5
        return kept * scale, (kept - (1 - p)) * (_SATURATED * scale)


class _Spreading(_Thinning):
    """Makes S rows of each at the first dropout, network by network."""

    def thinned(self, value: Tensor, factor: Tensor, shift: Tensor | None) -> Tensor:
        networks = len(factor)
        if value.shape[:1] == (self.rows,):
            rows = value[None]
        elif value.shape[:1] == (networks * self.rows,):
            rows = value.unflatten(0, (networks, self.rows))
        else:
            _refuse_rows(value, self.rows)
        made = rows * factor[:, None]
        return (made if shift is None else made + shift[:, None]).flatten(0, 1)

    def thinned_in_place(self, value: Tensor, factor: Tensor, shift: Tensor | None) -> Tensor:
        raise UnsupportedOperation("Thinned: a tensor cannot be made longer in place.")


class _Masks:
    """Which units stay, 1 or 0: decided by the seed, the call of dropout and the sample alone.

    Sixteen samples are drawn at once; the last ones drawn are kept for the next batch.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._known: dict[tuple[int, tuple[int, ...], float], dict[int, Tensor]] = {}

    def __call__(self, call: int, samples: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
        """The masks of these samples, ``(S, *shape)``."""
        asked, place = (samples // _BLOCK).unique(return_inverse=True)
        known = self._known.get((call, shape, p), {})
        blocks = {
            block: known[block] if block in known else self._drawn(call, block, shape, p)
            for block in asked.tolist()
        }
        self._known[call, shape, p] = blocks
        return torch.cat(list(blocks.values()))[place * _BLOCK + samples % _BLOCK]

    def _drawn(self, call: int, block: int, shape: tuple[int, ...], p: float) -> Tensor:
        start = zlib.crc32(f"{self._seed} {call}".encode())
        with torch.inference_mode(False):
            generator = torch.Generator().manual_seed((start + block) % _SEEDS)
            return (torch.rand((_BLOCK, *shape), generator=generator) >= p).float()


def _numbers(samples: int | Tensor) -> Tensor:
    """The numbers of networks, (S,), on the CPU."""
    try:
        numbers = torch.as_tensor(samples).reshape(-1).cpu()
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    whole = not (numbers.is_floating_point() or numbers.dtype == torch.bool)
    if not whole or not len(numbers) or numbers.min() < 0:
        expected, given = "whole numbers of at least 0", repr(samples)
        raise invalid("Thinned", "samples", expected, given, "Try 0")
    return numbers


def _inner_p(func: Any, args: Any, kwargs: dict[str, Any]) -> float:
    """The p of the dropout that an operation does inside, where no mask can be put."""
    if func in _RECURRENT:
        is_packed = isinstance(args[3], (list, tuple))
        layers, p = args[5:7] if is_packed else args[4:6]
        return float(p) if layers > 1 else 0.0
    place = _ATTENTION.get(func, len(args))
    return float(args[place] if place < len(args) else kwargs.get("dropout_p", 0.0))


def _refuse_rows(value: Tensor, rows: int) -> NoReturn:
    expected, given = f"a tensor with one row for each of {rows}", f"shape {tuple(value.shape)}"
    _refuse("what dropout reads", expected, given, "Let the batch be its first axis")


def _refuse(what: str, expected: str, given: str, action: str) -> NoReturn:
    raise UnsupportedOperation(sentence("Thinned", what, expected, given, action))
