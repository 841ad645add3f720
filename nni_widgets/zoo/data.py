"""The bundled data: digits, photographs and class names; and drawings made by a pen.

Everything is read from files of the package and cached; what is handed out is always a fresh copy.
Pictures are float32 tensors with pixels in [0, 1].
"""

import csv
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, SupportsIndex

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nni_widgets.errors import invalid
from nni_widgets.zoo.pen import draw_onto, drawing
from nni_widgets.zoo.picture_file import read_image

__all__ = [
    "Digits",
    "Photographs",
    "digits",
    "draw_onto",
    "drawing",
    "imagenet_classes",
    "photograph_batch",
    "photographs",
    "picture",
]

Index = SupportsIndex | slice | Sequence[int] | Tensor | np.ndarray

FOLDER = Path(__file__).with_name("data")
DIGIT_FILES = {"test": FOLDER / "mnist_test.npz", "train": FOLDER / "training" / "mnist_train.npz"}


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
        """The first ``n`` pictures of the class ``label``, (n, 1, 28, 28)."""
        places = self._of(label, "of")
        if n not in range(1, len(places) + 1):
            raise ValueError(
                f"Digits.of: n must be a whole number from 1 to {len(places)}; got {n!r}. "
                f"This set has {len(places)} pictures of {label}."
            )
        return self[places[:n]][0]

    def mean_of(self, label: int) -> Tensor:
        """The mean of all pictures of the class ``label``, (1, 1, 28, 28)."""
        return self[self._of(label, "mean_of")][0].mean(0, keepdim=True)

    def _of(self, label: int, who: str) -> Tensor:
        if label not in range(len(self.classes)):
            raise ValueError(
                f"Digits.{who}: label must be a digit from 0 to 9; got {label!r}. Name one of them."
            )
        return (self._labels == label).nonzero().flatten()

    def __repr__(self) -> str:
        return f"Digits({len(self):,} pictures of 28 x 28 pixels in [0, 1], classes 0 to 9)"


class Photographs:
    """Photographs of 384 x 384 pixels: ``photographs()["koala"]`` is a (3, 384, 384) tensor.

    A picture is found by its name or by its place in ``names``; ``credits`` tells for each name
    who took the picture, under which licence, and where it comes from.
    """

    __slots__ = ("_credits", "_names")

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def __init__(self, credit_of: Mapping[str, Mapping[str, str]]) -> None:
        self._credits = credit_of
        self._names = tuple(sorted(credit_of))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all pictures, in alphabetical order."""
        return self._names

    @property
    def credits(self) -> dict[str, dict[str, str]]:
        """For each name the author, licence and origin of the picture."""
        return {name: dict(self._credits[name]) for name in self._names}

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, key: str | SupportsIndex) -> Tensor:
        with Image.open(FOLDER / "photographs" / f"{self._name(key)}.jpg") as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB")))
        return _unit_range(pixels.permute(2, 0, 1))

    def _name(self, key: str | SupportsIndex) -> str:
        if isinstance(key, str):
            if key in self._credits:
                return key
            raise ValueError(
                f"Photographs: a name must be one of {', '.join(self._names)}; got {key!r}. "
                "Choose one of these."
            )
        try:
            return self._names[key]
        except IndexError:
            raise IndexError(
                f"Photographs: an index must be from {-len(self)} to {len(self) - 1}; got {key!r}. "
                "Choose a smaller one or a name."
            ) from None

    def __repr__(self) -> str:
        return f"Photographs({', '.join(self._names)})"


@functools.cache
def digits(split: str = "test") -> Digits:
    """MNIST's 10,000 test digits or its 60,000 training digits.

    Raises ``FileNotFoundError`` for "train" where only the wheel is installed: the training set
    is part of the repository.
    """
    if split not in DIGIT_FILES:
        raise ValueError(
            f'digits: split must be "test" or "train"; got {split!r}. Choose one of the two.'
        )
    path = DIGIT_FILES[split]
    if not path.exists():
        raise FileNotFoundError(
            f"digits: the {split} set must be in {path}; got no such file. "
            "An installed wheel leaves the training set out: clone the project's repository and "
            "install it from there with pip install -e ."
        )
    with np.load(path, allow_pickle=False) as archive:
        pixels, labels = torch.from_numpy(archive["images"]), torch.from_numpy(archive["labels"])
    return Digits(pixels.unsqueeze(1), labels.long())


@functools.cache
def photographs() -> Photographs:
    """The bundled photographs, each free to use; pictures are decoded when they are asked for."""
    path = FOLDER / "photographs" / "CREDITS.csv"
    with path.open(newline="", encoding="utf-8") as table:
        return Photographs(
            {
                Path(row["file"]).stem: {key: row[key] for key in ("author", "licence", "origin")}
                for row in csv.DictReader(table)
            }
        )


def photograph_batch(
    names: str | Sequence[str | SupportsIndex] | None = None, size: int = 224
) -> Tensor:
    """Photographs as a batch for a network, (N, 3, size, size): all of them, or those named.

    Resized by antialiased bicubic interpolation and clamped to [0, 1].
    """
    side = _side(size, "photograph_batch")
    album = photographs()
    chosen = album.names if names is None else (names,) if isinstance(names, str) else tuple(names)
    if not chosen:
        given, action = "none", "Leave names out for all of them"
        raise invalid("photograph_batch", "names", "at least one name", given, action)
    batch = torch.stack([album[name] for name in chosen])
    return F.interpolate(batch, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def picture(file: str | Path | bytes, size: int = 224) -> Tensor:
    """A picture file of one's own, or its bytes, as a batch of one, (1, 3, size, size).

    It stands upright, is cut to a square in the middle and resized; what is transparent becomes
    white. Raises ``ValueError`` for what is no PNG, JPEG, GIF or WebP picture, is too large, or
    moves.
    """
    side = _side(size, "picture")
    pixels = torch.from_numpy(np.array(read_image(file, side, side, 3, "picture")))
    return _unit_range(pixels.permute(2, 0, 1).contiguous()[None])


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of a network's outputs."""
    entries = json.loads((FOLDER / "imagenet_classes.json").read_text(encoding="utf-8"))
    return tuple(names for _, names in entries)


def _side(size: object, who: str) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        expected = "a whole number of pixels, at least 1"
        raise invalid(who, "size", expected, repr(size), "Use 224 for the network of photographs")
    return size


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
