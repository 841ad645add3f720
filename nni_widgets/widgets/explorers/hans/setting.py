"""What stays while one explores: a model, its pictures, the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.base import logits_of, model_lock
from nni_widgets.errors import invalid
from nni_widgets.pictures.boxes import boxes_of
from nni_widgets.pictures.explain import output_names, picture_range
from nni_widgets.widgets.explorers.hans.study import Collection
from nni_widgets.widgets.parts.samples import checked_labels
from nni_widgets.zoo import data, models

_WHO = "explore_hans"
_MODEL, _DIGIT, _MARKED_CLASS = "digits-hans", (1, 28, 28), 8


@dataclass(frozen=True, eq=False)
class Setting:
    """A model, its pictures, the names of its classes, and the class to begin with.

    ``code`` are the first arguments of the opener in copied code.
    """

    model: nn.Module
    pictures: Collection
    classes: tuple[str, ...]
    label: int
    code: tuple[str, ...] = ()
    large: bool = False


def setting(
    model: nn.Module | None,
    images: Any,
    labels: Any,
    boxes: Any,
    names: tuple[str, str, str, str],
    large: bool,
) -> Setting:
    """What is given, or else the bundled model and its digits. Raises ``ValueError``."""
    code = [names[0]] if model is not None else []
    given = {"images": images, "labels": labels, "boxes": boxes}
    code += [
        f"{key}={name}"
        for (key, value), name in zip(given.items(), names[1:], strict=True)
        if value is not None
    ]
    model = models.load(_MODEL) if model is None else model
    pictures = bundled(model, given) if images is None else collection(model, images, labels, boxes)
    some = pictures.images[:1]
    check_model(_WHO, model)
    check_input(_WHO, model, some)
    with model_lock:
        logits = logits_of(_WHO, model, some)
    check_classes(pictures.labels, logits.shape[1])
    first = _MARKED_CLASS if images is None else first_label(pictures, logits)
    return Setting(model, pictures, output_names(model, logits.shape[1]), first, tuple(code), large)


def check_classes(labels: Tensor | None, count: int) -> None:
    """Raise ``ValueError`` unless all labels are among so many classes."""
    wrong = [] if labels is None else labels[(labels < 0) | (labels >= count)].tolist()
    if wrong:
        expected = f"classes of the model, from 0 to {count - 1}"
        raise invalid(_WHO, "labels", expected, wrong[0], "Give the labels that the model has")


def first_label(pictures: Collection, logits: Tensor) -> int:
    """The class to begin with: that of most pictures, or what is predicted for the first one."""
    labels = pictures.labels
    return int(logits[0].argmax() if labels is None else labels.bincount().argmax())


def bundled(model: nn.Module, given: Mapping[str, Any]) -> Collection:
    """The bundled digits with marks. Raises ``ValueError`` if the model is not for them."""
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        action = "Give the images too"
        raise invalid(_WHO, extra[0], "given with images", "no images", action)
    if tuple(getattr(model, "input_shape", None) or ()) != _DIGIT:
        expected, action = "given for a model of other pictures than digits", "Give images (N, ...)"
        raise invalid(_WHO, "images", expected, "None", action)
    hans = data.hans()
    return collection(model, hans.images, hans.labels, hans.boxes)


def collection(model: nn.Module, images: Any, labels: Any, boxes: Any) -> Collection:
    """Pictures that are given. Raises ``ValueError``."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        shown = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images)
        expected, action = "a batch of pictures (N, C, H, W)", "Use x[None] for one"
        raise invalid(_WHO, "images", expected, shown, action)
    known = checked_labels(labels, len(images))
    return Collection(
        images.detach(),
        None if known is None else torch.tensor(known),
        () if boxes is None else boxes_of(boxes, images, _WHO),
        *picture_range(model, images),
    )
