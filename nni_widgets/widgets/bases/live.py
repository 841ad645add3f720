"""A widget with a thread: what is asked for is computed step by step, and every step is painted.

This is what the explorers of pictures that are given (``scaffold``) and of pictures that are made
(``studio``) share: thread, status line, progress, errors in place, buttons, copied code, saved
files, pointer and keys, the digest, and the saved picture of a notebook. A base on top of it says
what is asked for and what there is to see.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import ipywidgets as widgets

from nni_widgets.session import Cache, Outcome, Phase, Request, Status, Step, Worker
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.controls import Mistyped, button
from nni_widgets.widgets.parts.labels import Labels
from nni_widgets.widgets.parts.page import Page
from nni_widgets.widgets.parts.status import StatusLine

T = TypeVar("T")

_STYLE = Path(__file__).with_name("style.css")
_DISPLAY_WAITS = float(os.environ.get("NNI_WIDGETS_DISPLAY_WAITS", "1"))
_WAITING = "The first picture is being computed …"


class Live(widgets.VBox, Generic[T]):
    """The part of an explorer that does not depend on what it shows.

    A subclass makes its widgets, calls ``super().__init__`` and then ``self._begin()``. It fills in
    the methods below that raise ``NotImplementedError``. ``self._ask`` asks for what is wanted now,
    ``self._look`` paints the same otherwise, ``self._refuse`` shows an error.
    """

    opener: ClassVar[str]
    captions: ClassVar[Mapping[str, str]] = {}

    def __init__(self, large: bool = False) -> None:
        self._asking, self._painting = threading.Lock(), threading.RLock()
        self._outcome: Outcome[T] | None = None
        self._busy, self._newest = False, 0
        self._wanted: Request[T] | None = None
        self._mistyped: list[Mistyped] = []
        self._status = StatusLine()
        self._page = Page(self._hover, self._cancel)
        cache: Cache[T] = Cache(self._size_of, max_entries=32)
        self._worker: Worker[T] = Worker(self._show, self._fail, self._progress, cache)
        super().__init__(self._layout())
        self._page.explorer = self.model_id
        self.add_class("nn-explorer")
        if large:
            self.add_class("nn-large")

    # what a base fills in

    def _layout(self) -> list[widgets.Widget]:
        """The children; see ``_stacked``."""
        raise NotImplementedError

    def _request(self) -> Request[T] | None:
        """What is wanted now, or None if there is nothing to show. May raise ``ValueError``."""
        raise NotImplementedError

    def _paint(self, shown: T) -> None:
        """Show a step's value; also called when only the look has changed."""
        raise NotImplementedError

    def _tell(self, outcome: Outcome[T]) -> None:
        """Say in the status line what is shown."""
        raise NotImplementedError

    def _text_of(self, shown: T) -> str:
        """The digest."""
        raise NotImplementedError

    def _pngs(self, shown: T) -> dict[str, bytes]:
        """The pictures to save by file name; the first one stays in a saved notebook."""
        raise NotImplementedError

    def _npzs(self, shown: T) -> dict[str, bytes]:
        """The numbers to save by file name."""
        raise NotImplementedError

    def _size_of(self, shown: T) -> int:
        """About how many bytes a value takes in the cache."""
        raise NotImplementedError

    def _advance(self, outcome: Outcome[T]) -> None:
        """Say how far the work has come."""
        raise NotImplementedError

    def _say_cancelled(self) -> None:
        """Say that the work has been left, and what is on the screen."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Set every control back, without calling back."""
        raise NotImplementedError

    def code(self) -> str:
        """The cell that makes this picture again."""
        raise NotImplementedError

    def _captions(self) -> Mapping[str, str]:
        """Accessible names by CSS class."""
        return self.captions

    def _at_work(self) -> str:
        """What the work is called."""
        return type(self).__name__

    def _settled(self, outcome: Outcome[T]) -> bool:
        """Whether this outcome has the numbers that the digest tells."""
        return outcome.finished

    def _show_nothing(self) -> None:
        """Empty everything: there is nothing to show."""

    def _dim(self) -> None:
        """Mark the pictures as those of before."""

    def _hover(self, number: int, x: float, y: float) -> None:
        """The pointer is in a heatmap, at these shares of its width and height."""

    # what can be asked and told from code

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

        While there is an error, or nothing to show, it is the sentence that says so.
        """
        self.drain()
        return self._text()

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
        if self._outcome is not None and not self._status.refused:
            with suppress(ValueError):  # what has no picture is said in words
                data["image/png"] = next(iter(self._pngs(self._outcome.value).values()))
        return data

    def _text(self) -> str:
        outcome = self._outcome
        if self._status.refused or outcome is None or not self._settled(outcome):
            return self._status.words
        return self._text_of(outcome.value)

    # where it all stands

    def _stacked(
        self,
        above: Sequence[Sequence[widgets.Widget]],
        below: Sequence[widgets.Widget],
        first: Sequence[widgets.Widget] = (),
    ) -> list[widgets.Widget]:
        """Rows of pictures, then the status line, the buttons, and the controls below.

        ``first`` stands before the buttons that every explorer has.
        """
        actions = {
            "Reset": self._reset,
            "Copy as code": self._copy_code,
            "Save PNG": lambda: self._save(self._pngs, "image/png"),
            "Save numbers": lambda: self._save(self._npzs, "application/octet-stream"),
        }
        buttons = [button(name, act) for name, act in actions.items()]
        *tops, foot, last = [
            widgets.HBox(each).add_class("nn-row")
            for each in (*above, [*first, *buttons, self._status.progress], below)
        ]
        self._code = widgets.Textarea(description="code", layout={"display": "none"})
        self._code.add_class("nn-code")
        style = widgets.HTML(f"<style>{_STYLE.read_text()}</style>")
        hidden = widgets.HBox([style, self._page, Labels(self._captions())]).add_class("nn-hidden")
        return [hidden, *tops, self._status.widget, foot, self._code, last]

    # from a change to a picture

    def _begin(self) -> None:
        """Ask for the first picture."""
        self._status.say(_WAITING)
        self._ask()

    def _ask(self) -> None:
        """Ask for what is wanted now."""
        self._submit(self._request)

    def _submit(self, make: Callable[[], Request[T] | None]) -> None:
        """Ask for what this makes. Callbacks come on several threads: the last one wins."""
        self._hide_code()
        with self._asking:
            self._wanted = None
            try:
                self._wanted = request = make()
            except ValueError as error:
                self._refuse(error)
                return
            while self._mistyped:  # what was wrong is wanted no more
                self._mistyped.pop().undo()
            if request is not None:
                self._status.refused = False
                self._newest = self._worker.submit(request)
        if request is None:
            self._worker.cancel()
            with self._painting:
                self._outcome = None
                self._show_nothing()

    def _show(self, outcome: Outcome[T]) -> None:
        with self._painting:
            self._outcome = outcome
            self._paint(outcome.value)
            self._tell(outcome)

    def _look(self) -> None:
        """Paint what is there again; while there is an error, ask again, for it may be gone."""
        if self._status.refused:
            self._ask()
            return
        self._hide_code()
        with self._painting:
            if self._outcome is not None:
                try:
                    self._paint(self._outcome.value)
                except ValueError as error:
                    self._refuse(error)

    # words

    def _refuse(self, error: BaseException) -> None:
        """Stop the work, whose words would take the place of the error's, and say the error."""
        self._worker.cancel()
        if isinstance(error, Mistyped):
            self._mistyped.append(error)
        self._say_error(error)

    def _fail(self, error: BaseException, request: Request[T]) -> None:
        """Say an error of the work, unless something else is wanted by now."""
        if request == self._wanted:
            self._say_error(error)

    def _say_error(self, error: BaseException) -> None:
        with self._painting:
            self._status.refuse(error)
            self._dim()

    def _progress(self, status: Status) -> None:
        self._busy = status.phase in (Phase.QUEUED, Phase.WORKING)
        if status.phase is Phase.QUEUED:
            self._status.begin(self._at_work())
        elif status.phase is Phase.WORKING and self._outcome is not None:
            self._advance(self._outcome)
        else:
            self._status.end()
        if status.phase is Phase.CANCELLED and not self._status.refused:
            self._say_cancelled()

    # what the user does

    def _cancel(self) -> None:
        """Stop the work; said at once, for a step that is being computed may take a while."""
        self._worker.cancel()
        if self._busy and not self._status.refused:
            self._say_cancelled()

    def _reset(self) -> None:
        self._forget()
        self._ask()

    def _copy_code(self) -> None:
        self._code.value = self.code()
        self._code.layout.display = None
        self._page.copy(self._code.value)

    def _hide_code(self) -> None:
        """Show no longer the code of a picture that is about to change."""
        self._code.layout.display = "none"

    def _save(self, files: Callable[[T], Mapping[str, bytes]], kind: str) -> None:
        if self._outcome is None:
            return
        try:
            made = files(self._outcome.value)
        except ValueError as error:
            self._say_error(error)
            return
        for name, content in made.items():
            self._page.download(name, content, kind)


def request_of(key: Any, work: Callable[[], Iterator[Step[T]]]) -> Request[T]:
    """A request with this key; one that cannot be told from others is never found in the cache."""
    try:
        return Request(key, work)
    except TypeError:
        return Request(object(), work)


def opened(call: str, settings: Mapping[str, str]) -> str:
    """The code of an opened explorer; with settings it is given a name to set them."""
    if not settings:
        return call
    lines = [f"explorer.{name} = {value}\n" for name, value in settings.items()]
    return f"explorer = {call}\n{''.join(lines)}explorer"
