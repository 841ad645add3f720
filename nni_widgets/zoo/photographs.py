"""The bundled photographs with their credits, pictures of one's own, ImageNet's class names."""

import csv
import functools
import json
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, SupportsIndex

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole
from nni_widgets.zoo.picture_file import File, read_image

FOLDER = Path(__file__).with_name("data")


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

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, key: str | SupportsIndex) -> Tensor:
        with Image.open(FOLDER / "photographs" / f"{self._name(key)}.jpg") as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB")))
        return _unit_range(pixels.permute(2, 0, 1))

    def _name(self, key: str | SupportsIndex) -> str:
        if isinstance(key, Tensor) and key.ndim:
            raise ValueError(
                f"Photographs: a picture must be asked for by its name or number; got a tensor of "
                f"shape {tuple(key.shape)}. Choose from photographs().names."
            )
        if isinstance(key, str):
            if key in self._credits:
                return key
            raise ValueError(
                f"Photographs: a name must be one of {', '.join(self._names)}; got {key!r}. "
                "Choose one of these."
            )
        try:
            return self._names[operator.index(key)]
        except TypeError:
            raise ValueError(
                "Photographs: a picture must be asked for by its name or number; got "
                f"{key!r:.80}. Choose from photographs().names."
            ) from None
        except IndexError:
            raise IndexError(
                f"Photographs: an index must be from {-len(self)} to {len(self) - 1}; got {key!r}. "
                "Choose a smaller one or a name."
            ) from None

    def __repr__(self) -> str:
        return f"Photographs({', '.join(self._names)})"


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
    chosen = album.names if names is None else _listed(names)
    if not chosen:
        given, action = "none", "Leave names out for all of them"
        raise invalid("photograph_batch", "names", "at least one name", given, action)
    batch = torch.stack([album[name] for name in chosen])
    return F.interpolate(batch, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def picture(file: File, size: int = 224) -> Tensor:
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


def short_names() -> tuple[str, ...]:
    """Each class's first name; where two share it they get their numbers, "crane (134)"."""
    first = [names.partition(",")[0] for names in imagenet_classes()]
    shared = {name for name, count in Counter(first).items() if count > 1}
    return tuple(f"{name} ({k})" if name in shared else name for k, name in enumerate(first))


def _listed(names: str | Sequence[str | SupportsIndex]) -> tuple[str | SupportsIndex, ...]:
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Iterable):
        expected, action = "names or numbers of photographs", "Put a single number in brackets"
        raise invalid("photograph_batch", "names", expected, repr(names), action)
    return tuple(names)


def _side(size: object, who: str) -> int:
    if not is_whole(size) or size < 1:
        expected = "a whole number of pixels, at least 1"
        raise invalid(who, "size", expected, repr(size), "Use 224 for the network of photographs")
    return int(size)


def _unit_range(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255)
