"""The class scores, and the choice of what is explained: a bar, a picker, or the user's target."""

from __future__ import annotations

import html
import operator
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from nni_widgets.engine.targets import Target
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole
from nni_widgets.pictures.explain import Explanation
from nni_widgets.widgets.parts.charts import ClassBars
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.quiet import Quiet

_PREDICTED, _OWN = "the predicted class", "your target"
_MOST_IN_WORDS = 3


class Scores:
    """Bars to click, the same as words, and a picker; ``target`` is what is to be explained.

    ``on_change()`` is called when the user chooses a class. A target given from code that is no
    class (a difference, a function, one class for each of ``count`` pictures) stays in the picker
    as "your target".
    """

    def __init__(
        self,
        classes: Sequence[str],
        target: Target,
        on_change: Callable[[], None],
        count: int = 1,
    ) -> None:
        self._count = count
        self._classes, self._on_change, self._quiet = tuple(classes), on_change, Quiet()
        self._bars = ClassBars(self._classes or ("0",), self._choose)
        self._own: Target = None
        self._place = widgets.VBox([self._bars.widget])
        self._words = widgets.HTML()
        self._words.add_class("nn-scores-words")
        self.picker = widgets.Dropdown(description="explain", style=SIDE_STYLE, layout=SIDE)
        self.picker.add_class("nn-target")
        self.picker.observe(self._picked, "index")
        self.widget = widgets.VBox([self._place, self._words, self.picker])
        self.set(target)

    def set(self, target: Target) -> None:
        """Choose a target without calling back. Raises ``ValueError`` for a wrong count."""
        check_count(target, self._count)
        self.target = _plain(target)
        if not (self.target is None or is_whole(self.target)):
            self._own = self.target
        self._show_in_picker()

    def _show_in_picker(self) -> None:
        with self._quiet:
            self.picker.options = [name for name, _ in self._options()]
            self.picker.index = self._position()

    def of(self, number: int) -> Target:
        """The target of sample ``number``; the predicted class for one that came later."""
        length = _length(self.target)
        if length is None:
            return self.target
        if number >= length:
            return None
        return _plain(self.target[number])  # type: ignore[index]

    def show(self, made: Explanation) -> None:
        """Show the scores of an explanation, and mark what it explains."""
        if made.classes != self._classes:
            self._rename(made.classes)
        shares = made.probabilities[0].cpu().numpy()
        index = getattr(made.result.selection, "index", None)
        self._bars.show(shares, None if index is None else int(index[0]))
        best = (-shares).argsort(kind="stable")[:_MOST_IN_WORDS]
        words = ", ".join(f"{self._classes[k]} {shares[k]:.2f}" for k in best)
        self._words.value = f"<small>{html.escape(words)}</small>"

    def clear(self) -> None:
        """Show no score."""
        self._bars.clear()
        self._words.value = ""

    def _rename(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        replaced = self._bars.widget
        self._bars = ClassBars(self._classes, self._choose)
        self._place.children = (self._bars.widget,)
        close_all(replaced)
        self._show_in_picker()

    def _options(self) -> list[tuple[str, Target]]:
        numbered = [(name, number) for number, name in enumerate(self._classes)]
        own = [(_OWN, self._own)] if self._own is not None else []
        return [(_PREDICTED, None), *own, *numbered]

    def _position(self) -> int | None:
        """Where the target stands in the picker, if it does."""
        known = [target for _, target in self._options()]
        if is_whole(self.target):
            first = len(known) - len(self._classes)
            return first + self.target if 0 <= self.target < len(self._classes) else None
        return next(i for i, target in enumerate(known) if target is self.target)

    def _choose(self, target: int) -> None:
        self.set(target)
        self._on_change()

    def _picked(self, change: dict[str, Any]) -> None:
        if not self._quiet and self.picker.index is not None:
            self.target = self._options()[self.picker.index][1]
            self._on_change()


def check_count(target: Target, count: int) -> None:
    """Raise ``ValueError`` unless a target with one class per picture has ``count`` of them."""
    length = _length(target)
    if length not in (None, count):
        expected, given = f"one class or {count} classes, one per picture", f"{length} classes"
        raise invalid("Explorer", "target", expected, given, "Give one class per picture")


def _length(target: Target) -> int | None:
    """How many classes are given, in a sequence, tensor or array; None for any other target."""
    listed = isinstance(target, Sequence) and not isinstance(target, str)
    return len(target) if listed or getattr(target, "ndim", 0) else None  # type: ignore[arg-type]


def _plain(target: Target) -> Target:
    """A single class of any integer type as an ``int``."""
    if isinstance(target, bool) or _length(target) is not None:
        return target
    try:
        return operator.index(target)  # type: ignore[arg-type]
    except TypeError:
        return target
