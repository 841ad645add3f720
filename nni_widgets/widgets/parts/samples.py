"""Which picture of a batch: by number, at random, by its class, by whether the model is right."""

from __future__ import annotations

import html
import random
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.base import logits_of, model_lock, ordinary
from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.status import in_words

_WHO = "explore"
_ALL, _RIGHT, _WRONG = "all pictures", "the model is right", "the model is wrong"
_ANY = "any class"
_STYLE, _WIDTH = {"description_width": "46px"}, {"width": "252px"}
_AT_ONCE = 256


class Samples:
    """A slider over the pictures, a button for any of them, filters if their classes are known.

    ``number`` is the place of the chosen picture in the batch; ``on_change()`` is called when the
    user changes it. ``predict()`` gives the predicted class of every picture; it is called when
    the user asks whether the model is right.
    """

    def __init__(
        self,
        count: int,
        labels: Sequence[int] | None,
        classes: Sequence[str],
        predict: Callable[[], Sequence[int]],
        on_change: Callable[[], None],
    ) -> None:
        self._labels = tuple(labels or ())
        self._classes, self._predict = classes, predict
        self._on_change, self._quiet = on_change, Quiet()
        self._in_effect = _ALL, _ANY
        self._count, self._among = count, list(range(count))
        self.number = 0
        self._slider = widgets.IntSlider(
            max=count - 1, description="picture", style=_STYLE, layout=_WIDTH
        ).add_class("nn-picture")
        self._slider.observe(self._moved, "value")
        self.random = button("Random", self._pick)
        self._answer, self._class = (
            self._filter(name, options)
            for name, options in (
                ("show", (_ALL, _RIGHT, _WRONG)),
                ("class", (_ANY, *(self._name(k) for k in sorted(set(self._labels))))),
            )
        )
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-sample-words")
        self._filters = widgets.VBox([self._answer, self._class, self._words])
        self._filters.add_class("nn-filters")
        self._filters.layout.display = None if labels is not None else "none"
        self.widget = widgets.VBox([self._slider, self._filters])
        self._show()

    def add(self) -> None:
        """One more picture, whose class is not known; it is chosen."""
        self._count += 1
        self._unfilter()
        self._go_to(self._count - 1)

    def reset(self) -> None:
        """Back to the first of all pictures, without calling back."""
        self._unfilter()
        self._go_to(0)

    def _filter(self, name: str, options: Sequence[str]) -> widgets.Dropdown:
        made = widgets.Dropdown(description=name, options=options, style=_STYLE, layout=_WIDTH)
        made.observe(self._filtered, "value")
        return made.add_class(f"nn-{name}")

    def _unfilter(self) -> None:
        with self._quiet:
            self._answer.value, self._class.value = self._in_effect = _ALL, _ANY
        self._among = list(range(self._count))

    def _go_to(self, number: int) -> None:
        self.number = number
        with self._quiet:
            self._slider.max = len(self._among) - 1
            self._slider.value = self._among.index(number)
        self._show()

    def _filtered(self, _: Any) -> None:
        if self._quiet:
            return
        before = self.number
        try:
            predictions = self._predictions()
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self._refuse(in_words(error))
            return
        among = [number for number in range(self._count) if self._fits(number, predictions)]
        if not among:
            self._refuse("No picture is like that; the one before stays.")
            return
        self._among, self._in_effect = among, (self._answer.value, self._class.value)
        self._go_to(before if before in among else among[0])
        if self.number != before:
            self._on_change()

    def _refuse(self, words: str) -> None:
        """Say why the filters that were chosen are not in effect, and show those that are."""
        with self._quiet:
            self._answer.value, self._class.value = self._in_effect
        self._say(words)

    def _predictions(self) -> Sequence[int]:
        """The predicted classes, if they matter."""
        if self._answer.value == _ALL:
            return ()
        self._say("The model looks at all pictures …")
        return self._predict()

    def _fits(self, number: int, predictions: Sequence[int]) -> bool:
        if self._answer.value == _ALL and self._class.value == _ANY:
            return True
        label = self._label(number)
        if label is None or self._class.value not in (_ANY, self._name(label)):
            return False
        if self._answer.value == _ALL:
            return True
        return (predictions[number] == label) is (self._answer.value == _RIGHT)

    def _label(self, number: int) -> int | None:
        return self._labels[number] if number < len(self._labels) else None

    def _moved(self, _: Any) -> None:
        if not self._quiet:
            self.number = self._among[self._slider.value]
            self._show()
            self._on_change()

    def _pick(self) -> None:
        others = [place for place, n in enumerate(self._among) if n != self.number]
        if others:
            self._slider.value = random.choice(others)

    def _show(self) -> None:
        for part in (self._slider, self.random):
            part.layout.display = None if self._count > 1 else "none"
        label = self._label(self.number)
        name = "not known" if label is None else self._name(label)
        self._say(f"picture {self.number}, class: {name}; one of {len(self._among)}")

    def _say(self, words: str) -> None:
        self._words.value = f"<small>{html.escape(words)}</small>"

    def _name(self, label: int) -> str:
        return self._classes[label] if 0 <= label < len(self._classes) else str(label)


def checked_labels(labels: Any, count: int) -> tuple[int, ...] | None:
    """One whole number per picture, or None; raises ``ValueError`` for anything else."""
    if labels is None:
        return None
    expected, action = (
        f"one class per picture, {count} whole numbers",
        "Give the y that goes with x",
    )
    try:
        given = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid(_WHO, "labels", expected, repr(labels), action) from error
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if not whole or given.shape != (count,):
        words = f"{given.dtype} of shape {tuple(given.shape)}".removeprefix("torch.")
        raise invalid(_WHO, "labels", expected, words, action)
    return tuple(given.tolist())


def predicted(model: nn.Module, batch: Tensor) -> tuple[int, ...]:
    """The class that the model predicts for each picture, asked under the engine's lock."""
    check_model(_WHO, model)
    check_input(_WHO, model, batch)
    classes: list[int] = []
    for some in ordinary(batch).split(_AT_ONCE):
        with model_lock, torch.inference_mode(False):
            classes += logits_of(_WHO, model, some).argmax(1).tolist()
    return tuple(classes)
