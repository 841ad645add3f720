"""Which class a picture is made for: its bar is clicked, or its name typed."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets as widgets
from torch import Tensor

from nni_widgets.errors import invalid
from nni_widgets.params import is_whole
from nni_widgets.widgets.parts.charts import ClassBars
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE, Mistyped, OnError
from nni_widgets.widgets.parts.quiet import Quiet

_MOST_IN_WORDS = 3


class ClassPicker:
    """Bars to click, the same as words, and a field to type the name or the number of a class in.

    ``target`` is the number of the chosen class; ``on_change()`` is called when the user chooses
    one, ``on_error(error)`` when what was typed is no class. ``who`` owns the error sentences.
    """

    def __init__(
        self,
        who: str,
        classes: Sequence[str],
        target: int | str,
        on_change: Callable[[], None],
        on_error: OnError,
    ) -> None:
        self._who, self.classes = who, tuple(classes)
        self._on_change, self._on_error, self._quiet = on_change, on_error, Quiet()
        self._bars = ClassBars(self.classes, self.choose)
        self._words = widgets.HTML().add_class("nn-scores-words")
        self._field = widgets.Combobox(
            description="class",
            options=self.classes,
            continuous_update=False,
            style=SIDE_STYLE,
            layout=SIDE,
        ).add_class("nn-class-typed")
        self._field.observe(self._typed, "value")
        self.widget = widgets.VBox([self._bars.widget, self._words, self._field])
        self.set(target)

    @property
    def name(self) -> str:
        """The name of the chosen class."""
        return self.classes[self.target]

    def set(self, target: int | str) -> None:
        """Choose a class by its number or name, without calling back. Raises ``ValueError``."""
        self.target = self._number(target)
        with self._quiet:
            self._field.value = self.name

    def choose(self, target: int | str) -> None:
        """Choose a class by its number or name, as the user does. Raises ``ValueError``."""
        self.set(target)
        self._on_change()

    def show(self, probabilities: Tensor) -> None:
        """Show the probability of each class, ``(K,)``, and mark the chosen one."""
        shares = probabilities.float().cpu().numpy()
        self._bars.show(shares, self.target)
        best = (-shares).argsort(kind="stable")[:_MOST_IN_WORDS]
        words = ", ".join(f"{self.classes[k]} {shares[k]:.2f}" for k in best)
        self._words.value = f"<small>{html.escape(words)}</small>"

    def _number(self, target: int | str) -> int:
        if isinstance(target, str) and target in self.classes:
            return self.classes.index(target)
        number = int(target) if isinstance(target, str) and target.isdecimal() else target
        if not is_whole(number) or number not in range(len(self.classes)):
            expected = f"a class: a name, or a number from 0 to {len(self.classes) - 1}"
            given = f"{target!r:.80}"
            raise invalid(self._who, "target", expected, given, "Click a bar")
        return int(number)

    def _typed(self, change: dict[str, str]) -> None:
        if self._quiet:
            return
        try:
            self.set(change["new"])
        except ValueError as error:
            self._on_error(Mistyped(error, lambda: self.set(self.target)))
        else:
            self._on_change()


class ForAClass:
    """What an explorer has that makes pictures for a class: ``target``, that of its ``_picker``."""

    _picker: ClassPicker

    @property
    def target(self) -> int:
        """The class that pictures are made for, by its number; set it by number or name."""
        return self._picker.target

    @target.setter
    def target(self, target: int | str) -> None:
        self._picker.choose(target)
