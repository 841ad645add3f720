"""Where made pictures begin: noise, grey, a picture of the data, the mean of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nni_widgets.engine.synthesis import starts
from nni_widgets.engine.synthesis.box import Box, box_of
from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.weights import weight_of
from nni_widgets.zoo import data

NOISE, PICTURE, MEAN, GREY = "noise", "picture", "class mean", "grey"
_DIGIT = (1, 28, 28)


class Pictures(Protocol):
    """Pictures of the data; ``Digits`` are some."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: slice) -> tuple[Tensor, Tensor]:
        """Some pictures ``(n, ...)`` and their classes."""

    def mean_of(self, label: int) -> Tensor:
        """The mean of a class, ``(1, ...)``."""


class Beginnings:
    """The starts that there are for a model; ``offered`` are their names.

    ``x`` are pictures ``(N, ...)`` of the data and ``y`` their classes; digits are known. ``who``
    owns the error sentences.
    """

    def __init__(self, who: str, model: nn.Module, x: Tensor | None, y: Any) -> None:
        self._who, self._model = who, model
        if x is not None and not (isinstance(x, Tensor) and x.ndim > 1 and len(x)):
            expected = "a batch of pictures (N, ...)"
            given = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise invalid(who, "x", expected, given, "Use x[None] for one")
        shape = x.shape[1:] if x is not None else getattr(model, "input_shape", None)
        if shape is None:
            expected, given = "given for a model without an input_shape", "none"
            action = "Give pictures (N, C, H, W), or use nni.models.wrap(..., input_shape=...)"
            raise invalid(who, "x", expected, given, action)
        self._shape = tuple(shape)
        self._pictures: Pictures | None = None
        if x is not None:
            self._pictures = _Given(who, x, y)
        elif self._shape == _DIGIT:
            self._pictures = data.digits("test")
        has_classes = self._pictures is not None and (x is None or y is not None)
        known = {NOISE: True, PICTURE: self._pictures is not None, MEAN: has_classes, GREY: True}
        self.offered = tuple(name for name, there in known.items() if there)

    def checked(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """These starts, or all there are. Raises ``ValueError`` for any other."""
        listed = isinstance(names, Sequence) and not isinstance(names, str)
        chosen = self.offered if names is None else tuple(names) if listed else ()
        if not chosen or not all(name in self.offered for name in chosen):
            expected = f"a list of some of {', '.join(map(repr, self.offered))}"
            raise invalid(self._who, "starts", expected, repr(names), "Leave it out for all")
        return chosen

    def batch(
        self, names: Sequence[str], target: int, picture: int, seed: int, box: Box | None = None
    ) -> Tensor:
        """One picture for each name, ``(n, ...)``; noise and grey lie in the box."""
        make: dict[str, Callable[[], Tensor]] = {
            NOISE: lambda: self._in_box(starts.noise((1, *self._shape), seed=seed), box),
            GREY: lambda: self.grey(box),
            PICTURE: lambda: self._picture(picture),
            MEAN: lambda: self.mean_of(target),
        }
        return torch.cat([make[name]() for name in names])

    def grey(self, box: Box | None = None) -> Tensor:
        """A grey picture, ``(1, ...)``."""
        return self._in_box(starts.grey((1, *self._shape)), box)

    def mean_of(self, target: int) -> Tensor:
        """The mean of all pictures of a class, ``(1, ...)``."""
        if self._pictures is None:
            expected, given = "that of known pictures", "no x and y"
            raise invalid(self._who, "the mean of a class", expected, given, "Give x and y")
        return self._like_model(self._pictures.mean_of(target))

    def _picture(self, number: int) -> Tensor:
        pictures = self._pictures
        count = 0 if pictures is None else len(pictures)
        if pictures is None or number >= count:
            expected = f"from 0 to {count - 1}"
            raise invalid(self._who, "picture", expected, number, "Choose another picture")
        return self._like_model(pictures[number : number + 1][0])

    def _in_box(self, shares: Tensor, box: Box | None) -> Tensor:
        """Pictures from 0 to 1 in this box, that of the model unless given."""
        box = box_of(self._model) if box is None else box
        return self._like_model(box.dark + box.size * shares)

    def _like_model(self, x: Tensor) -> Tensor:
        return x.to(weight_of(self._model, x))


class _Given:
    """The user's pictures ``(N, ...)``, and their classes ``(N,)`` if they are known."""

    def __init__(self, who: str, x: Tensor, y: Any) -> None:
        self._who, self._x = who, x
        self._y = torch.full((len(x),), -1) if y is None else self._classes(y)

    def _classes(self, y: Any) -> Tensor:
        """The classes as a tensor, which may be given as a list or an array."""
        expected, action = f"{len(self._x)} classes, one per picture", "Give the y that goes with x"
        try:
            classes = torch.as_tensor(y, device=self._x.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise invalid(self._who, "y", expected, f"{y!r:.80}", action) from error
        if tuple(classes.shape) != (len(self._x),):
            raise invalid(self._who, "y", expected, f"shape {tuple(classes.shape)}", action)
        return classes

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: slice) -> tuple[Tensor, Tensor]:
        return self._x[index], self._y[index]

    def mean_of(self, label: int) -> Tensor:
        of_class = self._x[self._y == label]
        if not len(of_class):
            expected, given = "that of a class with pictures", f"class {label} without any"
            raise invalid(self._who, "the mean", expected, given, "Choose another class")
        return of_class.mean(0, keepdim=True)
