"""The pictures beside the one that is looked at: those to morph towards, and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.errors import invalid
from nni_widgets.pictures.explain import class_names
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.samples import checked_labels
from nni_widgets.zoo import data

_DIGIT = (1, 28, 28)
_HELD_OUT = 2000
_TOWARDS = "towards"


@dataclass(frozen=True, eq=False)
class Beside:
    """Pictures to morph ``towards``, and pictures ``held_out`` from all training with their labels.

    ``towards_code`` and ``held_out_code`` are what they are called in copied code; nothing if they
    are the test digits that are taken unless others are given. ``first`` is the other picture of
    the beginning.
    """

    towards: Tensor | None = None
    towards_code: str = ""
    held_out: tuple[Tensor, Tensor] | None = None
    held_out_code: str = ""
    first: int = 0

    @property
    def count(self) -> int:
        """How many pictures there are to morph towards."""
        return 0 if self.towards is None else len(self.towards)

    def arguments(self, other: int, morph: float, names: Names) -> list[str]:
        """The arguments of the opener, as code, if this one is the other picture."""
        made = []
        if self.towards_code and morph:
            if self.towards_code == _TOWARDS:
                names.function(self.towards, _TOWARDS)
            made.append(f"towards={self.towards_code}[{other}:{other + 1}]")
        if self.held_out_code:
            made.append(f"held_out={names.function(self.held_out, self.held_out_code)}")
        return made


def beside(
    model: nn.Module,
    x: Tensor | None,
    x_code: str,
    towards: Tensor | None,
    held_out: Sequence[Any] | None,
) -> Beside:
    """What is given, or what can be taken: the other pictures of x, or bundled test digits.

    Raises ``ValueError`` for pictures that are not like x, or labels that do not fit them.
    """
    reads_digits = class_names(model) == data.Digits.classes and _shape(model, x) == _DIGIT
    known = None if x is None else tuple(x.shape[1:])
    code, first = "", 0
    if towards is not None:
        _check_pictures("towards", towards, known)
        code = _TOWARDS
    elif x is not None and len(x) > 1:
        towards, code, first = x, x_code, 1
    elif reads_digits:
        digits = data.digits("test")
        towards = torch.cat([digits.of(k) for k in range(len(digits.classes))])
    if held_out is not None:
        return Beside(towards, code, _checked(held_out, known), "held_out", first)
    some = data.digits("test")[:_HELD_OUT] if reads_digits else None
    return Beside(towards, code, some, "", first)


def _shape(model: nn.Module, x: Tensor | None) -> tuple[int, ...]:
    given: Any = getattr(model, "input_shape", ()) if x is None else x.shape[1:]
    return tuple(given)


def _checked(held_out: Sequence[Any], known: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    if not isinstance(held_out, (tuple, list)) or len(held_out) != 2:
        expected, action = "two tensors, pictures and labels", "Give (pictures, labels)"
        raise invalid("explore_uncertainty", "held_out", expected, repr(held_out)[:60], action)
    pictures, given = held_out
    _check_pictures("held_out", pictures, known)
    labels = checked_labels(given, len(pictures))
    if labels is None or len(pictures) < 2:
        expected = "pictures with labels, one at least to fit and one to judge"
        shown = f"{len(pictures)} pictures {'without' if labels is None else 'with'} labels"
        raise invalid("explore_uncertainty", "held_out", expected, shown, "Give more")
    return pictures, torch.tensor(labels)


def _check_pictures(what: str, pictures: Any, known: tuple[int, ...] | None) -> None:
    is_batch = isinstance(pictures, Tensor) and pictures.ndim > 1 and len(pictures) > 0
    fits = is_batch and pictures.is_floating_point()
    if not fits or known not in (None, tuple(pictures.shape[1:])):
        expected = "a batch of pictures (N, ...) like x"
        is_tensor = isinstance(pictures, Tensor)
        shown = f"{pictures.dtype} {tuple(pictures.shape)}" if is_tensor else repr(pictures)
        raise invalid("explore_uncertainty", what, expected, shown[:60], "Leave it out")
