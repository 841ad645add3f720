"""MNIST as it is bundled: kept as bytes, handed out as pictures with pixels in [0, 1]."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, SupportsIndex

import numpy as np
import torch
from torch import Tensor

Index = SupportsIndex | slice | Sequence[int] | Tensor | np.ndarray

FOLDER = Path(__file__).with_name("data")
FILES = {"test": FOLDER / "mnist_test.npz", "train": FOLDER / "training" / "mnist_train.npz"}


class Digits:
    """Handwritten digits of MNIST in their original order, white ink on black ground.

    ``digits[7:8]`` gives ``(x, y)`` of shapes (1, 1, 28, 28) and (1,); ``digits[7]`` gives one
    picture (1, 28, 28) and its label as a 0-d tensor, so a ``Digits`` is a torch data set too.
    Lists of indices, index tensors and masks work as they do on tensors.

    Pixels are stored as bytes and become float32 only where they are asked for.
    """

    __slots__ = ("_labels", "_pixels")

    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self._pixels = pixels
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: Index) -> tuple[Tensor, Tensor]:
        places = _places(index, len(self))
        return _unit_range(self._pixels[places]), self._labels[places].clone()

    @property
    def images(self) -> Tensor:
        """All pictures, float32 (n, 1, 28, 28): 31 MB for the test set, 188 MB for training."""
        return _unit_range(self._pixels)

    @property
    def labels(self) -> Tensor:
        """All labels, int64 (n,)."""
        return self._labels.clone()

    def of(self, label: int, n: int = 1) -> Tensor:
        """The first ``n`` pictures of the class ``label``, (n, 1, 28, 28).

        Raises ``ValueError`` for a class without pictures in this set, and for more than there are.
        """
        places = self._of(label, "of")
        if not isinstance(n, SupportsIndex) or n not in range(1, len(places) + 1):
            raise ValueError(
                f"{type(self).__name__}.of: n must be a whole number from 1 to {len(places)}; "
                f"got {n!r}. This set has {len(places)} pictures of {label}."
            )
        return self[places[:n]][0]

    def mean_of(self, label: int) -> Tensor:
        """The mean of all pictures of the class ``label``, (1, 1, 28, 28).

        Raises ``ValueError`` for a class without pictures in this set.
        """
        return self[self._of(label, "mean_of")][0].mean(0, keepdim=True)

    def _of(self, label: int, who: str) -> Tensor:
        if label not in range(len(self.classes)):
            raise ValueError(
                f"{type(self).__name__}.{who}: label must be a class from 0 to "
                f"{len(self.classes) - 1}; got {label!r}. Name one of them."
            )
        places = (self._labels == label).nonzero().flatten()
        if not len(places):
            raise ValueError(
                f"{type(self).__name__}.{who}: label must be a class of this set; got {label!r}, "
                "of which there is no picture. Take more pictures or another class."
            )
        return places

    def __repr__(self) -> str:
        return f"Digits({len(self):,} pictures of 28 x 28 pixels in [0, 1], classes 0 to 9)"


def digits(split: str = "test") -> Digits:
    """MNIST's 10,000 test digits or its 60,000 training digits.

    Raises ``FileNotFoundError`` for "train" where only the wheel is installed: the training set
    is part of the repository; ``ValueError`` for any other split.
    """
    if not isinstance(split, str) or split not in FILES:
        raise ValueError(
            f'digits: split must be "test" or "train"; got {split!r:.80}. Choose one of the two.'
        )
    return _stored(split)


@functools.cache
def _stored(split: str) -> Digits:
    path = FILES[split]
    if not path.exists():
        raise FileNotFoundError(
            f"digits: the {split} set must be in {path}; got no such file. "
            "An installed wheel leaves the training set out: clone the project's repository and "
            "install it from there with pip install -e ."
        )
    return Digits(*read(path))


def read(path: Path) -> tuple[Tensor, Tensor]:
    """The pixels, uint8 (n, 1, 28, 28), and the labels, int64 (n,), of a bundled file."""
    with np.load(path, allow_pickle=False) as archive:
        pixels, labels = torch.from_numpy(archive["images"]), torch.from_numpy(archive["labels"])
    return pixels.unsqueeze(1), labels.long()


def _unit_range(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255)


def _places(index: Index, length: int) -> Tensor:
    """Whatever ``Digits`` takes as an index, as an int64 tensor of places."""
    if isinstance(index, slice):
        return torch.from_numpy(np.arange(*index.indices(length)))
    try:
        places = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError):
        places = torch.tensor(math.nan)
    if places.dtype == torch.bool and places.shape == (length,):
        return places.nonzero().flatten()
    if places.numel() and (places.dtype == torch.bool or not _holds_integers(places)):
        raise TypeError(
            "Digits: an index must be an integer, a slice, integers or a mask over all pictures; "
            f"got {index!r:.80}. Write digits[7] or digits[7:8]."
        )
    places = places.long()
    if places.numel() and not -length <= places.min() <= places.max() < length:
        raise IndexError(
            f"Digits: an index must be from {-length} to {length - 1}; got {index!r:.80}. "
            "Choose a smaller one."
        )
    return places


def _holds_integers(values: Tensor) -> bool:
    return not (values.is_floating_point() or values.is_complex())
