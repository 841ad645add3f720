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
one, ``controls.ParameterPanel`` for everything that is declared by ``param`` and
``controls.Stepper`` for a number, ``charts.LineChart``, and ``last.Last`` for what need not be
computed again. ``subject.subject`` makes the first argument, of pictures or of a pad. ``path.py``
and ``noise.py`` are short ones to begin with.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import ipywidgets as widgets
from torch import Tensor

from nni_widgets.engine.targets import Target
from nni_widgets.pictures.explain import Explanation, class_names
from nni_widgets.session import Cache, Outcome, Phase, Request, Status, Step, Worker
from nni_widgets.widgets.controls import button, close_all
from nni_widgets.widgets.copied import Names
from nni_widgets.widgets.inputs import DrawingInput
from nni_widgets.widgets.labels import Labels
from nni_widgets.widgets.maps import MapView
from nni_widgets.widgets.pad import DrawingPad
from nni_widgets.widgets.page import Page
from nni_widgets.widgets.scores import Scores
from nni_widgets.widgets.status import StatusLine
from nni_widgets.widgets.subject import Subject

T = TypeVar("T")

_STYLE = Path(__file__).with_name("style.css")
_DISPLAY_WAITS = float(os.environ.get("NNI_WIDGETS_DISPLAY_WAITS", "1"))
_WAITING = "The first picture is being computed …"
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


class Scaffold(widgets.VBox, Generic[T]):
    """The common part of all explorers: explains one picture at a time, live.

    ``target`` can be read and set; ``drain`` waits until the pictures are there; ``explanation`` is
    the last one shown; ``digest`` is its short text form. Errors are shown in the explorer, which
    stays usable. ``close`` ends its thread and its widgets.
    """

    opener: ClassVar[str]
    captions: ClassVar[Mapping[str, str]] = {}

    def __init__(self, subject: Subject) -> None:
        self._subject, self._model, self._source = subject, subject.model, subject.source
        self._asking, self._painting = threading.Lock(), threading.RLock()
        self._outcome: Outcome[T] | None = None
        self._busy = False
        self._status = StatusLine()
        classes = class_names(self._model)
        self._scores = Scores(classes, subject.target, self._ask, self._source.count)
        self._page = Page(self._hover, self._cancel)
        cache: Cache[T] = Cache(self._size_of, max_entries=32)
        self._worker: Worker[T] = Worker(self._show, self._fail, self._progress, cache)
        parts = self._parts()
        self._maps = tuple(parts.maps)
        super().__init__(self._layout(parts))
        self._page.explorer = self.model_id
        self.add_class("nn-explorer")
        if subject.large:
            self.add_class("nn-large")
        self._source.connect(self._ask, self._cancel)
        self._status.say(_WAITING)
        self._ask()

    # what an explorer fills in

    def _parts(self) -> Parts:
        raise NotImplementedError

    def _selected(self) -> Any:
        raise NotImplementedError

    def _work(self, x: Tensor, target: Target, selected: Any) -> Iterator[Step[T]]:
        raise NotImplementedError

    def _explained(self, shown: T) -> Sequence[Explanation]:
        raise NotImplementedError

    def _paint(self, shown: T) -> None:
        raise NotImplementedError

    def _arguments(self, names: Names) -> list[str]:
        raise NotImplementedError

    def _settings(self, names: Names) -> dict[str, str]:
        return {}

    def _forget(self) -> None:
        raise NotImplementedError

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

    def _at_work(self) -> str:
        return type(self).__name__

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

    def drain(self, timeout: float = 30.0) -> Self:
        """Wait until everything asked for is shown. Raises ``TimeoutError``.

        A cell that ends with ``explorer.drain()`` is saved with its picture, however slow it is;
        otherwise what takes longer than a second (``NNI_WIDGETS_DISPLAY_WAITS`` in the environment,
        when the package is loaded) is displayed while it is still at work.
        """
        self._worker.drain(timeout)
        return self

    def digest(self) -> str:
        """The numbers that matter, as short text that is the same in every run; waits for them.

        While there is an error, or nothing to explain, it is the sentence that says so.
        """
        self.drain()
        return self._text()

    def code(self) -> str:
        """The cell that makes this picture again."""
        model, name = self._subject.names
        prepare, x = self._source.code(name, model)
        names = Names()
        made = self._made(names, [model, x])
        prepare = self._subject.preparation + prepare
        return f"{names.comment()}import nni_widgets as nni\n\n{prepare}{made}"

    def close(self) -> None:
        """End the worker and close every widget of the explorer."""
        if hasattr(self, "_worker"):  # ipywidgets also closes what could not be made
            self._worker.close()
        for child in (*self.children, self.layout):
            close_all(child)
        super().close()

    def __repr__(self) -> str:
        return self._text()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        with suppress(TimeoutError):  # then the page shows how far the work is
            self.drain(_DISPLAY_WAITS)
        data: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = self._text()
        if self._outcome is not None:
            with suppress(ValueError):  # what has no picture is said in words
                data["image/png"] = next(iter(self._pngs(self._outcome.value).values()))
        return data

    def _text(self) -> str:
        outcome = self._outcome
        if self._status.refused or outcome is None or not outcome.finished:
            return self._status.words
        return self._text_of(outcome.value)

    def _made(self, names: Names, about: list[str]) -> str:
        """The call that opens this explorer on ``about``, model and x, and what is set then."""
        arguments = [*about, *self._arguments(names), *self._target_as_code(names)]
        return opened(f"{self.opener}({', '.join(arguments)})", self._settings(names))

    def _target_as_code(self, names: Names) -> list[str]:
        if self.target is None:
            return []
        return [f"target={names.target(self._scores.of(self._source.number))}"]

    # where it all stands

    def _layout(self, parts: Parts) -> list[widgets.Widget]:
        choices = [widgets.VBox(parts.choices)] if parts.choices else []
        side = widgets.HBox([self._scores.widget, *choices]).add_class("nn-side")
        top = widgets.HBox([self._source.widget, *parts.pictures, side])
        actions = {
            "Cancel": self._cancel,
            "Reset": self._reset,
            "Copy as code": self._copy_code,
            "Save PNG": lambda: self._save(self._pngs, "image/png"),
            "Save numbers": lambda: self._save(self._npzs, "application/octet-stream"),
        }
        buttons = [button(name, act) for name, act in actions.items()]
        foot = widgets.HBox([*buttons, self._status.progress])
        below = widgets.HBox(parts.controls)
        for row in (top, foot, below):
            row.add_class("nn-row")
        self._code = widgets.Textarea(description="code", layout={"display": "none"})
        self._code.add_class("nn-code")
        style = widgets.HTML(f"<style>{_STYLE.read_text()}</style>")
        labels = Labels({**_CAPTIONS, **self.captions})
        hidden = widgets.HBox([style, self._page, labels]).add_class("nn-hidden")
        return [hidden, top, self._status.widget, foot, self._code, below]

    # from a change to a picture

    def _ask(self) -> None:
        """Ask for what is selected now. Callbacks come on several threads: the last one wins."""
        with self._asking:
            current = self._source.current()
            if current is not None:
                self._submit(*current)
        if current is None:
            self._worker.cancel()
            self._show_nothing()

    def _submit(self, key: object, x: Tensor) -> None:
        try:
            self._worker.submit(self._request(key, x))
        except ValueError as error:
            self._worker.cancel()
            self._refuse(error)

    def _request(self, key: object, x: Tensor) -> Request[T]:
        target, selected = self._scores.of(self._source.number), self._selected()

        def work() -> Iterator[Step[T]]:
            return self._work(x, target, selected)

        try:
            return Request((key, target, selected), work)
        except TypeError:  # a method or target that cannot be told from others: no cache
            return Request(object(), work)

    def _show(self, outcome: Outcome[T]) -> None:
        with self._painting:
            if self._source.current() is None:
                return
            self._outcome = outcome
            self._paint(outcome.value)
            self._scores.show(self._scored(outcome.value))
            self._tell(outcome)

    def _look(self) -> None:
        """Paint what is there again; while there is an error, ask again, for it may be gone."""
        if self._status.refused:
            self._ask()
            return
        with self._painting:
            if self._outcome is not None:
                try:
                    self._paint(self._outcome.value)
                except ValueError as error:
                    self._refuse(error)

    def _show_nothing(self) -> None:
        with self._painting:
            self._outcome = None
            for each in self._maps:
                each.clear()
            self._blank()
            self._scores.clear()
            self._status.say(self._source.empty)

    # words

    def _tell(self, outcome: Outcome[T]) -> None:
        made = self._explained(outcome.value)[-1]
        words = [
            f"predicted {made.predicted[0]} ({float(made.probabilities[0].max()):.2f})",
            f"explained: {made.target_names[0]}",
        ]
        cost = f"{made.result.passes:g} passes, {1000 * outcome.elapsed:.0f} ms"
        words.append(f"{made.name}: {cost if outcome.finished else 'a first picture'}")
        self._status.say(" · ".join(words), outcome.generation)

    def _refuse(self, error: BaseException) -> None:
        self._status.refuse(error)
        self._dim()

    def _fail(self, error: BaseException, _: Request[T]) -> None:
        self._refuse(error)

    def _dim(self) -> None:
        for each in self._maps:
            each.dim()

    def _progress(self, status: Status) -> None:
        self._busy = status.phase in (Phase.QUEUED, Phase.WORKING)
        if status.phase is Phase.QUEUED:
            self._status.begin(self._at_work())
        elif status.phase is Phase.WORKING and self._outcome is not None:
            what = self._explained(self._outcome.value)[-1].name
            self._status.advance(what, status.done, status.of, self._outcome.elapsed)
        else:
            self._status.end()
        if status.phase is Phase.CANCELLED:
            self._say_cancelled()

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

    def _cancel(self) -> None:
        """Stop the work; said at once, for a step that is being computed may take a while."""
        self._worker.cancel()
        if self._busy:
            self._say_cancelled()

    def _reset(self) -> None:
        self._source.reset()
        self._scores.set(self._subject.target)
        self._forget()
        self._code.layout.display = "none"
        self._ask()

    def _copy_code(self) -> None:
        if self._source.current() is None:
            self._status.say(self._source.empty)
            return
        self._code.value = self.code()
        self._code.layout.display = None
        self._page.copy(self._code.value)

    def _save(self, files: Callable[[T], Mapping[str, bytes]], kind: str) -> None:
        if self._outcome is None:
            return
        try:
            made = files(self._outcome.value)
        except ValueError as error:
            self._refuse(error)
            return
        for name, content in made.items():
            self._page.download(name, content, kind)


def opened(call: str, settings: Mapping[str, str]) -> str:
    """The code of an opened explorer; with settings it is given a name to set them."""
    if not settings:
        return call
    lines = [f"explorer.{name} = {value}\n" for name, value in settings.items()]
    return f"explorer = {call}\n{''.join(lines)}explorer"
