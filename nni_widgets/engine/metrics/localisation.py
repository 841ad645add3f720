"""Measures for pictures of which one knows where the thing is: does the map point there?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject, places
from nni_widgets.errors import invalid
from nni_widgets.params import param


class Localisation(Metric):
    """Base of the measures that know where the thing is, in each of the pictures they are given.

    ``boxes`` is one box ``(top, left, bottom, right)`` of whole numbers for each picture, bottom
    and right exclusive, as :func:`nni_widgets.zoo.data.cluttered` has them, or one boolean mask
    for each, shaped like the picture without its channels.
    """

    says_parameters: ClassVar[bool] = True
    boxes: Tensor = param(
        cast(Any, None), "one box (top, left, bottom, right) or mask per picture", array=True
    )

    def validate(self) -> None:
        object.__setattr__(self, "boxes", _checked(type(self).__name__, self.boxes))

    def area(self, x: Tensor) -> Tensor:
        """The share of the places where the thing is, (N,): what a random map scores on average."""
        return self._region(x).flatten(1).double().mean(1)

    def _region(self, x: Tensor) -> Tensor:
        """Where the thing counts as being, (N, *sides) booleans."""
        who, sides = type(self).__name__, tuple(x.shape[min(2, x.ndim - 1) :])
        if len(self.boxes) != len(x):
            expected, given = f"one for each of the {len(x)} pictures", f"{len(self.boxes)}"
            raise invalid(who, "boxes", expected, given, "Give those of these pictures")
        boxes = self.boxes.to(x.device)
        if boxes.dtype == torch.bool:
            if boxes.shape[1:] != sides:
                expected, given = f"masks of shape {sides}", f"{tuple(boxes.shape[1:])}"
                raise invalid(who, "boxes", expected, given, "Leave the channels out")
            return boxes
        if len(sides) != 2 or bool((boxes[:, 2:] > boxes.new_tensor(sides)).any()):
            expected = f"inside the picture, whose sides are {sides}"
            given = f"{boxes.amax(0).tolist()} as the largest numbers"
            raise invalid(who, "boxes", expected, given, "Give (top, left, bottom, right)")
        top, left, bottom, right = boxes.T[:, :, None]
        rows, columns = (torch.arange(side, device=x.device) for side in sides)
        high = (rows >= top) & (rows < bottom)
        wide = (columns >= left) & (columns < right)
        return torch.logical_and(high[:, :, None], wide[:, None, :])


class PointingGame(Localisation):
    """Pointing game: 1 if the map's largest number lies where the thing is, else 0.

    With ``tolerance``, also if it lies at most so many pixels outside, along each axis. The
    channels are summed first. Where several places have the largest number, the score is
    the share of them that is inside. ``area(x)`` is what pointing at random would score.

    Unit: none. Raises ``ValueError`` unless there is a box for every picture. Cost: 1 R, no pass.
    Source: Zhang et al. 2016 (excitation backprop), sec. 4.1, with a tolerance of 15 pixels around
    the object there.

    Quantus takes the largest absolute value.
    """

    title: ClassVar[str] = "Pointing game"
    card: ClassVar[MetricCard] = MetricCard(
        question="Is the most relevant place where the thing is?",
        better="higher",
        range="0 to 1",
        cost="1 R",
        drawbacks="looks at one place alone; needs to know where the thing is; a model that looks "
        "elsewhere is held against the method",
    )
    tolerance: int = param(0, "pixels outside that still count", low=0, slider=(0, 15))

    def _region(self, x: Tensor) -> Tensor:
        region = super()._region(x)
        for axis in range(1, region.ndim):
            region = _widened(region, axis, self.tolerance)
        return region

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        inside = self._region(subject.x).flatten(1)
        values = places(subject.attribution)
        largest = values == values.amax(1, keepdim=True)
        yield Measured(_share(inside & largest, largest), passes=0)


class RelevanceMass(Localisation):
    """Relevance mass: the share of the positive relevance that lies where the thing is.

    ``Σ_inside max(R, 0) / Σ max(R, 0)``, the channels summed first; 0 for a map without positive
    relevance. ``area(x)`` is the share of the area, which a random map scores on average.

    Unit: none. Raises ``ValueError`` unless there is a box for every picture. Cost: 1 R, no pass.
    Source: Arras, Osman, Samek 2022 (CLEVR-XAI), "relevance mass accuracy"; Kohlbrenner et al.
    2020, "inside-total relevance ratio".
    """

    title: ClassVar[str] = "Relevance mass"
    card: ClassVar[MetricCard] = MetricCard(
        question="How much of the relevance lies where the thing is?",
        better="higher",
        range="0 to 1",
        cost="1 R",
        drawbacks="large things are easy to meet: compare with their area; needs to know where "
        "the thing is; a model that looks elsewhere is held against the method",
    )

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        inside = self._region(subject.x).flatten(1)
        positive = places(subject.attribution).clamp(min=0)
        yield Measured(_share(positive * inside, positive), passes=0)


def _checked(who: str, boxes: Any) -> Tensor:
    """Boxes (N, 4) of whole numbers, or boolean masks (N, ...), as a tensor."""
    expected = "whole numbers (N, 4), or boolean masks (N, ...)"
    action = "Give one (top, left, bottom, right) or one mask per picture"
    try:
        found = torch.as_tensor(boxes)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid(who, "boxes", expected, type(boxes).__name__, action) from error
    if found.dtype == torch.bool and found.ndim > 1 and len(found):
        empty = (~found.flatten(1).any(1)).nonzero()
        if len(empty):
            given = f"none in mask {int(empty[0])}"
            raise invalid(who, "boxes", "masks with a place in each", given, "Leave pictures out")
        return found
    is_whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    if not is_whole or found.ndim != 2 or found.shape[1] != 4 or not len(found):
        given = f"{found.dtype} of shape {tuple(found.shape)}"
        raise invalid(who, "boxes", expected, given, action)
    wrong = found[((found[:, :2] < 0) | (found[:, :2] >= found[:, 2:])).any(1)]
    if len(wrong):
        expected = "boxes with 0 ≤ top < bottom and 0 ≤ left < right"
        raise invalid(who, "boxes", expected, f"{wrong[0].tolist()}", action)
    return found.long()


def _widened(region: Tensor, axis: int, by: int) -> Tensor:
    """Also what lies at most ``by`` places before or behind, along an axis."""
    length = region.shape[axis]
    at = torch.arange(length, device=region.device)
    near = (at[:, None] - at).abs() <= by
    return (region.movedim(axis, -1).double() @ near.double() > 0).movedim(-1, axis)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    total = whole.double().sum(1)
    return part.double().sum(1) / torch.where(total > 0, total, 1.0)
