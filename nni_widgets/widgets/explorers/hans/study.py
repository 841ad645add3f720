"""What can be asked about a set of pictures, and the set itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nni_widgets.engine.methods import LRP, METHODS
from nni_widgets.engine.methods.base import AnyMethod, as_method
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param, params
from nni_widgets.pictures.boxes import Box
from nni_widgets.pictures.render import Level

WHO = "HansExplorer"
AS_IT_IS, WIPED, MARKED = CHANGES = "as it is", "wiped", "marked"
BLACK, MEAN = "black", "mean"
MOST_GROUPS = 9
_FEWEST = 3
_BOX_SHARE = 8


class Study(Declared):
    """How pictures are explained and grouped, and with what a box is wiped."""

    method: AnyMethod = param(LRP(), "what explains the pictures", options=lambda: METHODS)
    n_pictures: int = param(
        100, "number of pictures of the class", low=_FEWEST, high=1000, slider=(10, 300)
    )
    n_groups: int = param(
        0,
        "number of groups; 0: as many as the maps suggest",
        low=0,
        high=MOST_GROUPS,
        slider=(0, MOST_GROUPS),
    )
    fill: str = param(BLACK, "what a box is wiped with", choices=(BLACK, MEAN))


@dataclass(frozen=True)
class Chosen:
    """What is selected; without a ``target`` the class of the pictures is explained.

    ``group`` is one of the groups or all pictures, ``place`` the one that is looked at, ``box`` the
    same for all pictures, or unless given each picture's own.
    """

    label: int
    target: int | None
    study: Study
    group: int | None = None
    place: int = 0
    box: Box | None = None
    change: str = AS_IT_IS

    @property
    def explained(self) -> int:
        """The class whose score is explained."""
        return self.label if self.target is None else self.target

    @property
    def grouping(self) -> tuple[object, ...]:
        """All that makes the groups: two that are equal have the same."""
        study = self.study
        return self.label, self.explained, study.method, study.n_pictures, study.n_groups


@dataclass(frozen=True, eq=False)
class Collection:
    """Pictures, the class of each where it is known, and where its mark is or would be.

    ``low`` is black, ``high`` is white.
    """

    images: Tensor
    labels: Tensor | None
    boxes: tuple[Box, ...]
    low: Level
    high: Level

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        height, width = self.images.shape[2:]
        return height, width

    def changed(self, x: Tensor, boxes: tuple[Box, ...], change: str, fill: str) -> Tensor:
        """Pictures of it with the box of each wiped, or filled with white as a mark."""
        if change == AS_IT_IS:
            return x
        after = x.clone()
        for picture, (top, left, bottom, right) in zip(after, boxes, strict=True):
            if change == WIPED and fill == MEAN:
                ink = picture.flatten(1).mean(1)
            else:
                ink = torch.as_tensor(self.high if change == MARKED else self.low).to(x).flatten()
            picture[:, top:bottom, left:right] = ink[:, None, None]
        return after


def class_number(given: Any, classes: Sequence[str], what: str = "label") -> int:
    """A class by its name or number. Raises ``ValueError``."""
    if isinstance(given, str) and given in classes:
        return classes.index(given)
    if isinstance(given, bool) or given not in range(len(classes)):
        expected = f"a class: a name, or a number from 0 to {len(classes) - 1}"
        raise invalid(WHO, what, expected, repr(given), "Try 0")
    return int(given)


def with_parameters(study: Study, given: Mapping[str, Any]) -> Study:
    """The study with other parameters. Raises ``ValueError``."""
    known = [each.name for each in params(study)]
    for name in given:
        if name not in known:
            action = "See the help of nni.explore_hans"
            raise invalid(WHO, "a parameter", f"one of {', '.join(known)}", name, action)
    method = {"method": as_method(given["method"], WHO)} if "method" in given else {}
    replaced: Study = study.replace(**{**given, **method})
    return replaced


def first_of(labels: Tensor, label: int, count: int, name: str) -> Tensor:
    """The numbers of the first pictures of a class. Raises ``ValueError`` for too few."""
    found = (labels == label).nonzero().flatten()[:count]
    if len(found) < _FEWEST:
        what = f"the number of pictures of class {name}"
        expected = f"at least {_FEWEST}, for groups"
        raise invalid(WHO, what, expected, len(found), "Choose another class")
    return found


def box_around(place: tuple[int, int], sides: tuple[int, int]) -> Box:
    """A box of an eighth of a picture's sides, as near to the middle of a place as it fits."""
    spans = []
    for at, side in zip(place, sides, strict=True):
        size = max(1, side // _BOX_SHARE)
        start = min(max(at - size // 2, 0), side - size)
        spans.append((start, start + size))
    (top, bottom), (left, right) = spans
    return Box(top, left, bottom, right)
