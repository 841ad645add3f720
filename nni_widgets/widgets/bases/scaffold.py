"""What every explorer is made of, so that a new one is only its own pictures and controls.

The scaffold has the thread, the class scores, the status line, progress and cancel, the buttons,
copied code, saved files, pointer and keys, the digest, and the saved picture of a notebook. An
explorer is a subclass: its ``__init__`` makes its widgets and then calls ``super().__init__``; its
widgets call ``self._ask`` when something new is to be computed, ``self._look`` when the same is to
be painted otherwise, and ``self._refuse`` with an error. It fills in

==================  ==============================================================================
``opener``          the function that opens it, as copied code calls it
``_parts``          its widgets, each in its place
``_selected``       what is selected now: a frozen value, equal if the same is to be computed
``_work``           the work on a picture as steps, the first one soon; runs in the thread
``_explained``      the explanations in a step's value: scores, sums, digest and files are theirs
``_paint``          show a step's value; also called when only the look has changed
``_arguments``      the arguments of the opener after model and x, as code
``_settings``       attributes to set after that, as code; each is a property with a setter
``_forget``         set its own controls back, without calling back
==================  ==============================================================================

and may override ``_text_of`` (the digest), ``_pngs`` and ``_npzs`` (saved files), ``_scored``
(whose class scores are shown), ``_at_work`` (what progress is called), ``_blank`` (what else is
emptied when there is nothing to explain) and ``captions`` (accessible names by CSS class). What it
is made of: ``maps.MapView`` and ``maps.PictureView``, ``frame.FramedPicture`` to point at a part of
one, ``panel.ParameterPanel`` for everything that is declared by ``param`` and ``controls.Stepper``
for a number, ``charts.LineChart``, and ``last.Last`` for what need not be computed again, all in
``parts``. ``subject.subject`` makes the first argument, of pictures or of a pad.
``explorers/path.py`` and ``explorers/noise.py`` are short ones to begin with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ipywidgets as widgets
from torch import Tensor

from nni_widgets.engine.targets import Target
from nni_widgets.pictures.explain import Explanation, class_names
from nni_widgets.session import Outcome, Request, Step
from nni_widgets.widgets.bases.live import Live, opened, request_of
from nni_widgets.widgets.parts.controls import button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.inputs import DrawingInput
from nni_widgets.widgets.parts.maps import MapView
from nni_widgets.widgets.parts.pad import DrawingPad
from nni_widgets.widgets.parts.scores import Scores
from nni_widgets.widgets.parts.subject import Subject
from nni_widgets.widgets.parts.weights import state_of

T = TypeVar("T")

_CAPTIONS = {
    "nn-input": "the picture that is explained",
    "nn-heatmap": "heatmap: orange speaks for the explained class, purple against it",
    "nn-scale": "the scale of the heatmap",
}


@dataclass(frozen=True, eq=False)
class Parts:
    """The widgets of an explorer: beside the input, below the class scores, below the buttons.

    ``maps`` are those of its heatmaps that are dimmed, emptied and pointed at, in their order.
    """

    maps: Sequence[MapView]
    pictures: Sequence[widgets.Widget]
    choices: Sequence[widgets.Widget] = ()
    controls: Sequence[widgets.Widget] = ()


class Scaffold(Live[T]):
    """The common part of the explorers that explain one picture at a time.

    ``target`` can be read and set; ``drain`` waits until the pictures are there; ``explanation`` is
    the last one shown; ``digest`` is its short text form. Errors are shown in the explorer, which
    stays usable. ``close`` ends its thread and its widgets.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._model, self._source = subject, subject.model, subject.source
        classes = class_names(self._model)
        self._scores = Scores(classes, subject.target, self._ask, self._source.count)
        super().__init__(subject.large)
        self._source.connect(self._ask, self._cancel)
        self._begin()

    # what an explorer fills in

    def _parts(self) -> Parts:
        raise NotImplementedError

    def _selected(self) -> Any:
        raise NotImplementedError

    def _work(self, x: Tensor, target: Target, selected: Any) -> Iterator[Step[T]]:
        raise NotImplementedError

    def _explained(self, shown: T) -> Sequence[Explanation]:
        raise NotImplementedError

    def _arguments(self, names: Names) -> list[str]:
        raise NotImplementedError

    def _settings(self, names: Names) -> dict[str, str]:
        return {}

    def _text_of(self, shown: T) -> str:
        return "\n".join(made.digest() for made in self._explained(shown))

    def _pngs(self, shown: T) -> dict[str, bytes]:
        made = self._explained(shown)
        return {f"heatmap-{number}.png": each.png() for number, each in enumerate(made, 1)}

    def _npzs(self, shown: T) -> dict[str, bytes]:
        made = self._explained(shown)
        return {f"attribution-{number}.npz": each.npz() for number, each in enumerate(made, 1)}

    def _scored(self, shown: T) -> Explanation:
        return self._explained(shown)[0]

    def _blank(self) -> None:
        """Empty what the scaffold does not know."""

    def _size_of(self, shown: T) -> int:
        return sum(
            made.attribution.numel() * made.attribution.element_size()
            + sum(layer.relevance.numel() * 4 for layer in made.result.layers)
            for made in self._explained(shown)
        )

    # what can be asked and told from code

    @property
    def target(self) -> Target:
        """What is explained: a class, ``None`` for the predicted one, or the target given."""
        return self._scores.target

    @target.setter
    def target(self, target: Target) -> None:
        self._scores.set(target)
        self._ask()

    @property
    def explanation(self) -> Explanation | None:
        """The explanation on the screen; ``None`` while there is nothing to explain."""
        outcome = self._outcome
        return None if outcome is None else self._explained(outcome.value)[0]

    @property
    def pad(self) -> DrawingPad:
        """The drawing pad of an explorer that was opened without pictures."""
        if isinstance(self._source, DrawingInput):
            return self._source.pad
        raise AttributeError("Explorer: this one explains given pictures; nni.draw() has a pad.")

    def code(self) -> str:
        """The cell that makes this picture again."""
        model, name = self._subject.names
        prepare, x = self._source.code(name, model)
        names = Names()
        made = self._made(names, [model, x])
        prepare = self._subject.preparation + prepare
        return f"{names.comment()}import nni_widgets as nni\n\n{prepare}{made}"

    def _made(self, names: Names, about: list[str]) -> str:
        """The call that opens this explorer on ``about``, model and x, and what is set then."""
        arguments = [*about, *self._arguments(names), *self._target_as_code(names)]
        return opened(f"{self.opener}({', '.join(arguments)})", self._settings(names))

    def _target_as_code(self, names: Names) -> list[str]:
        if self.target is None:
            return []
        return [f"target={names.target(self._scores.of(self._source.number))}"]

    # where it all stands

    def _layout(self) -> list[widgets.Widget]:
        parts = self._parts()
        self._maps = tuple(parts.maps)
        choices = [widgets.VBox(parts.choices)] if parts.choices else []
        side = widgets.HBox([self._scores.widget, *choices]).add_class("nn-side")
        top = [self._source.widget, *parts.pictures, side]
        return self._stacked([top], parts.controls, first=[button("Cancel", self._cancel)])

    def _captions(self) -> Mapping[str, str]:
        return {**_CAPTIONS, **self.captions}

    # from a change to a picture

    def _request(self) -> Request[T] | None:
        current = self._source.current()
        if current is None:
            return None
        key, x = current
        target, selected = self._scores.of(self._source.number), self._selected()

        def work() -> Iterator[Step[T]]:
            return self._work(x, target, selected)

        return request_of((key, target, selected, state_of(self._model)), work)

    def _show(self, outcome: Outcome[T]) -> None:
        with self._painting:
            if self._source.current() is not None:
                super()._show(outcome)

    def _show_nothing(self) -> None:
        for each in self._maps:
            each.clear()
        self._blank()
        self._scores.clear()
        self._status.say(self._source.empty)

    # words

    def _tell(self, outcome: Outcome[T]) -> None:
        self._scores.show(self._scored(outcome.value))
        made = self._explained(outcome.value)[-1]
        words = [
            f"predicted {made.predicted[0]} ({float(made.probabilities[0].max()):.2f})",
            f"explained: {made.target_names[0]}",
        ]
        passes, milliseconds = made.result.passes, f"{1000 * outcome.elapsed:.0f} ms"
        cost = milliseconds if math.isnan(passes) else f"{passes:g} passes, {milliseconds}"
        words.append(f"{made.name}: {cost if outcome.finished else 'a first picture'}")
        self._status.say(" · ".join(words), outcome.generation)

    def _dim(self) -> None:
        for each in self._maps:
            each.dim()

    def _advance(self, outcome: Outcome[T]) -> None:
        what = self._explained(outcome.value)[-1].name
        self._status.advance(what, outcome.done, outcome.of, outcome.elapsed)

    def _say_cancelled(self) -> None:
        if self._source.current() is None:
            return
        outcome = self._outcome
        part = outcome is not None and not outcome.finished
        at = f" after {outcome.done} of {outcome.of}" if part and outcome else ""
        self._status.say(f"Cancelled{at}. The picture is the last one that was ready.")
        self._dim()

    # what the user does

    def _hover(self, number: int, x: float, y: float) -> None:
        if number < len(self._maps):
            self._maps[number].hover(x, y)

    def _reset(self) -> None:
        self._source.reset()
        self._scores.set(self._subject.target)
        super()._reset()

    def _copy_code(self) -> None:
        if self._source.current() is None:
            self._status.say(self._source.empty)
        else:
            super()._copy_code()
