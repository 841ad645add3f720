"""What an explorer says: one line of words, errors in place, and how far long work has come."""

from __future__ import annotations

import html
import traceback

import ipywidgets as widgets

_PROGRESS_AFTER = 0.3


class StatusLine:
    """A line that a screen reader reads out, and a progress bar beside it.

    ``words`` is what the line says; ``refused`` whether it is an error.
    """

    def __init__(self) -> None:
        self.words, self.refused = "", False
        self._line = widgets.HTML()
        self._line.add_class("nn-status")
        self.progress = widgets.HTML()
        self.progress.add_class("nn-progress")
        self.widget = self._line

    def say(self, words: str, generation: int | None = None) -> None:
        """Say this; ``generation`` tells which request it answers."""
        self.words, self.refused = words, False
        mark = f' <small class="nn-generation">#{generation}</small>' if generation else ""
        self._line.value = f'<p role="status" aria-live="polite">{html.escape(words)}{mark}</p>'

    def refuse(self, error: BaseException) -> None:
        """Say what went wrong; where it happened is folded away."""
        self.words, self.refused = in_words(error), True
        details = html.escape("".join(traceback.format_exception(error)))
        self._line.value = (
            f'<div role="alert" class="nn-error"><p>{html.escape(self.words)}</p>'
            f"<details><summary>details</summary><pre>{details}</pre></details></div>"
        )

    def begin(self, what: str) -> None:
        """Work begins: the page shows it if it has not ended after a moment."""
        self.progress.value = f'<span class="nn-begun">{html.escape(what)} is at work</span>'

    def advance(self, what: str, done: int, of: int, elapsed: float) -> None:
        """So much of the work is done after ``elapsed`` seconds; quick work is not worth a bar."""
        whole = elapsed * of / done
        if whole < _PROGRESS_AFTER:
            return
        left = max(1, round(whole - elapsed))
        words = f"{html.escape(what)} {done}/{of}, about {left} s"
        self.progress.value = (
            f'<progress max="{of}" value="{done}" aria-label="progress"></progress> {words}'
        )

    def end(self) -> None:
        """Nothing is at work."""
        self.progress.value = ""


def in_words(error: BaseException) -> str:
    """The project's own sentences as they are; any other exception with its name."""
    if isinstance(error, (ValueError, NotImplementedError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")
