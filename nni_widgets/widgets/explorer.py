"""The explorer: a picture, a model, a method, and why the model decided as it did."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.engine.methods import Method, as_method
from nni_widgets.engine.methods.base import AnyMethod
from nni_widgets.engine.targets import Target
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation, class_names, explanations
from nni_widgets.pictures.heatmap import Scale, scale_of
from nni_widgets.session import Cache, Outcome, Phase, Request, Status, Step, Worker
from nni_widgets.widgets.controls import close_all
from nni_widgets.widgets.copied import Names
from nni_widgets.widgets.inputs import DrawingInput, Source
from nni_widgets.widgets.labels import Labels
from nni_widgets.widgets.pad import DrawingPad
from nni_widgets.widgets.page import Page
from nni_widgets.widgets.panes import INPUT, Pane
from nni_widgets.widgets.scores import Scores
from nni_widgets.widgets.status import StatusLine
from nni_widgets.widgets.view import View

Shown = tuple[Explanation, ...]
_STYLE = Path(__file__).with_name("style.css")
_DISPLAY_WAITS = 4.0
_WAITING = "The first picture is being computed …"
_NAMES = {
    "nn-input": "the picture that is explained",
    "nn-heatmap": "heatmap: orange speaks for the explained class, purple against it",
    "nn-scale": "the scale of the heatmap",
}


class Explorer(widgets.VBox):
    """Explains one picture at a time, live; made by :func:`explore` and :func:`draw`.

    ``method``, ``target``, ``compare``, ``layer`` and ``overlay`` can be read and set; ``drain``
    waits until the pictures are there; ``explanation`` is the last one shown; ``digest`` is its
    short text form. Errors are shown in the explorer, which stays usable. ``close`` ends its thread
    and its widgets.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        methods: Sequence[Method],
        method: Method,
        target: Target = None,
        names: tuple[str, str] = ("model", "x"),
        preparation: str = "",
        large: bool = False,
    ) -> None:
        self._model, self._source = model, source
        self._names, self._preparation = names, preparation
        self._first_target = target
        self._asking, self._painting = threading.Lock(), threading.RLock()
        self._outcome: Outcome[Shown] | None = None
        self._busy = False
        self._status = StatusLine()
        second = methods[1 % len(methods)]
        self._panes = [Pane(methods, each, self._ask, self._refuse) for each in (method, second)]
        self._scores = Scores(class_names(model), target, self._ask, source.count)
        self._view = View(self._look, self._compared)
        self._page = Page(self._hover, self._cancel)
        cache: Cache[Shown] = Cache(_size_of, max_entries=32)
        self._worker: Worker[Shown] = Worker(self._show, self._fail, self._progress, cache)
        super().__init__(self._layout())
        self.add_class("nn-explorer")
        if large:
            self.add_class("nn-large")
        source.connect(self._ask, self._cancel)
        self._status.say(_WAITING)
        self._ask()

    @property
    def method(self) -> Method:
        """The selected method with its parameters."""
        return self._panes[0].method

    @method.setter
    def method(self, method: AnyMethod) -> None:
        self._panes[0].set(as_method(method))
        self._ask()

    @property
    def target(self) -> Target:
        """What is explained: a class, ``None`` for the predicted one, or the target given."""
        return self._scores.target

    @target.setter
    def target(self, target: Target) -> None:
        self._scores.set(target)
        self._ask()

    @property
    def compare(self) -> Method | None:
        """The method beside the first; ``None`` if there is only one."""
        return self._panes[1].method if self._view.compare else None

    @compare.setter
    def compare(self, method: AnyMethod | None) -> None:
        if method is not None:
            self._panes[1].set(as_method(method))
        self._view.compare = method is not None
        self._ask()

    @property
    def layer(self) -> str:
        """The layer whose relevance is shown, or ``(input)``. To set it waits for the picture."""
        return self._view.layer

    @layer.setter
    def layer(self, label: str) -> None:
        self.drain()
        self._view.layer = label

    @property
    def overlay(self) -> float:
        """How much the heatmap covers the picture below it, up to 1; 0 shows it alone."""
        return self._view.overlay

    @overlay.setter
    def overlay(self, strength: float) -> None:
        self._view.overlay = strength

    @property
    def explanation(self) -> Explanation | None:
        """The explanation on the screen; ``None`` while there is nothing to explain."""
        return self._panes[0].explanation

    @property
    def pad(self) -> DrawingPad:
        """The drawing pad of an explorer made by :func:`draw`."""
        if isinstance(self._source, DrawingInput):
            return self._source.pad
        raise AttributeError("Explorer: this one explains given pictures; nni.draw() has a pad.")

    def drain(self, timeout: float = 30.0) -> Explorer:
        """Wait until everything asked for is shown. Raises ``TimeoutError``."""
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
        model, name = self._names
        prepare, x = self._source.code(name)
        names = Names()
        arguments = [model, x, names.method(self.method)]
        if self.target is not None:
            target = self._scores.of(self._source.number)
            arguments.append(f"target={names.target(target)}")
        look = self._look_as_code(names)
        if set(look) <= {"layer"}:
            arguments += [f"layer={layer}" for layer in look.values()]
            made = f"nni.explain({', '.join(arguments)})"
        else:
            set_up = "".join(f"explorer.{name} = {value}\n" for name, value in look.items())
            made = f"explorer = nni.explore({', '.join(arguments)})\n{set_up}explorer"
        return f"{names.comment()}import nni_widgets as nni\n\n{self._preparation}{prepare}{made}"

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
        if self.explanation is not None:
            data["image/png"] = self._as_shown([self.explanation])[0].png()
        return data

    def _text(self) -> str:
        outcome = self._outcome
        shown = [pane.explanation for pane in self._active if pane.explanation is not None]
        if self._status.refused or not shown or outcome is None or not outcome.finished:
            return self._status.words
        return "\n".join(made.digest() for made in self._as_shown(shown))

    def _as_shown(self, explanations: Sequence[Explanation]) -> list[Explanation]:
        """The explanations at the layer that is looked at, where the method has relevance there."""
        layer = "" if self.layer == INPUT else self.layer
        return [
            made.at(layer if layer in {row.label for row in made.result.layers} else "")
            for made in explanations
        ]

    def _look_as_code(self, names: Names) -> dict[str, str]:
        look = {}
        if self.compare is not None:
            look["compare"] = names.method(self.compare, otherwise="second_method")
        if self.layer != INPUT:
            look["layer"] = as_code(self.layer)
        if self.overlay:
            look["overlay"] = as_code(self.overlay)
        return look

    def _layout(self) -> list[widgets.Widget]:
        first, second = self._panes
        side = widgets.HBox([self._scores.widget, self._view.widget]).add_class("nn-side")
        top = widgets.HBox([self._source.widget, first.view, second.view, side])
        foot = widgets.HBox([*self._buttons(), self._status.progress])
        below = widgets.HBox([first.controls, second.controls])
        for row in (top, foot, below):
            row.add_class("nn-row")
        self._show_panes()
        self._code = widgets.Textarea(description="code", layout={"display": "none"})
        self._code.add_class("nn-code")
        style = widgets.HTML(f"<style>{_STYLE.read_text()}</style>")
        hidden = widgets.HBox([style, self._page, Labels(_NAMES)]).add_class("nn-hidden")
        return [hidden, top, self._status.widget, foot, self._code, below]

    def _buttons(self) -> list[widgets.Button]:
        actions = {
            "Cancel": self._cancel,
            "Reset": self._reset,
            "Copy as code": self._copy,
            "Save PNG": self._save_png,
            "Save numbers": self._save_npz,
        }
        buttons = []
        for name, action in actions.items():
            button = widgets.Button(description=name, layout={"width": "auto"})
            button.add_class("nn-" + name.lower().replace(" ", "-"))
            button.on_click(lambda _, act=action: act())
            buttons.append(button)
        return buttons

    @property
    def _active(self) -> list[Pane]:
        return self._panes if self._view.compare else self._panes[:1]

    def _show_panes(self) -> None:
        second = self._panes[1]
        for part in (second.view, second.controls):
            part.layout.display = None if self._view.compare else "none"

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

    def _submit(self, key: Hashable, x: Tensor) -> None:
        try:
            self._worker.submit(self._request(key, x))
        except ValueError as error:
            self._worker.cancel()
            self._refuse(error)

    def _request(self, key: Hashable, x: Tensor) -> Request[Shown]:
        target = self._scores.of(self._source.number)
        methods = [pane.method for pane in self._active]
        try:
            return Request((key, target, *methods), lambda: self._work(x, target, methods))
        except TypeError:  # a method or target that cannot be told from others: no cache
            return Request(object(), lambda: self._work(x, target, methods))

    def _work(self, x: Tensor, target: Target, methods: Sequence[Method]) -> Iterator[Step[Shown]]:
        ready: Shown = ()
        done = 0
        for position, method in enumerate(methods):
            to_come = len(methods) - position - 1
            for made in explanations(self._model, x, method, target):
                result = made.result
                yield Step((*ready, made), done + result.done, done + result.of + to_come)
            ready, done = (*ready, made), done + result.of

    def _show(self, outcome: Outcome[Shown]) -> None:
        with self._painting:
            if self._source.current() is None:
                return
            self._outcome = outcome
            self._paint(outcome.value)
            first = outcome.value[0]
            self._scores.show(first)
            self._view.offer([layer.label for layer in reversed(first.result.layers)])
            self._tell(outcome)

    def _paint(self, shown: Shown) -> None:
        scale = self._common_scale(shown)
        for pane, made in zip(self._active, shown, strict=False):
            pane.show(made, scale, self.layer, self.overlay)

    def _common_scale(self, shown: Shown) -> Scale | None:
        if not self._view.one_scale or len(shown) < 2 or self.layer != INPUT:
            return None
        signed = any(made.method.signed for made in shown)
        return scale_of(*(made.heatmap() for made in shown), signed=signed)

    def _look(self) -> None:
        with self._painting:
            self._paint(tuple(p.explanation for p in self._active if p.explanation is not None))

    def _show_nothing(self) -> None:
        with self._painting:
            self._outcome = None
            for pane in self._panes:
                pane.clear()
            self._scores.clear()
            self._status.say(self._source.empty)

    # words

    def _tell(self, outcome: Outcome[Shown]) -> None:
        made = outcome.value[-1]
        words = [
            f"predicted {made.predicted[0]} ({float(made.probabilities[0].max()):.2f})",
            f"explained: {made.target_names[0]}",
        ]
        cost = f"{made.result.passes:g} passes, {1000 * outcome.elapsed:.0f} ms"
        words.append(f"{made.name}: {cost if outcome.finished else 'a first picture'}")
        self._status.say(" · ".join(words), outcome.generation)

    def _refuse(self, error: BaseException) -> None:
        self._status.refuse(error)
        for pane in self._panes:
            pane.dim()

    def _fail(self, error: BaseException, _: Request[Shown]) -> None:
        self._refuse(error)

    def _progress(self, status: Status) -> None:
        self._busy = status.phase in (Phase.QUEUED, Phase.WORKING)
        if status.phase is Phase.QUEUED:
            self._status.begin(" and ".join(pane.label for pane in self._active))
        elif status.phase is Phase.WORKING and self._outcome is not None:
            what, elapsed = self._outcome.value[-1].name, self._outcome.elapsed
            self._status.advance(what, status.done, status.of, elapsed)
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
        for pane in self._panes:
            pane.dim()

    # what the user does

    def _compared(self) -> None:
        self._show_panes()
        self._ask()

    def _hover(self, number: int, x: float, y: float) -> None:
        if number < len(self._panes):
            self._panes[number].hover(x, y)

    def _cancel(self) -> None:
        """Stop the work; said at once, for a step that is being computed may take a while."""
        self._worker.cancel()
        if self._busy:
            self._say_cancelled()

    def _reset(self) -> None:
        self._source.reset()
        for pane in self._panes:
            pane.reset()
        self._scores.set(self._first_target)
        self._view.reset()
        self._code.layout.display = "none"
        self._show_panes()
        self._ask()

    def _copy(self) -> None:
        if self._source.current() is None:
            self._status.say(self._source.empty)
            return
        self._code.value = self.code()
        self._code.layout.display = None
        self._page.copy(self._code.value)

    def _save_png(self) -> None:
        shown = [pane.explanation for pane in self._active if pane.explanation is not None]
        if self._view.one_scale and len(shown) > 1 and self.layer == INPUT:
            shown = list(shown[0].share_scale(*shown[1:]))
        for number, made in enumerate(self._as_shown(shown), 1):
            self._page.download(f"heatmap-{number}.png", made.png(), "image/png")

    def _save_npz(self) -> None:
        shown = [pane.explanation for pane in self._active if pane.explanation is not None]
        for number, made in enumerate(shown, 1):
            name = f"attribution-{number}.npz"
            self._page.download(name, made.npz(), "application/octet-stream")


def _size_of(shown: Shown) -> int:
    return sum(
        made.attribution.numel() * made.attribution.element_size()
        + sum(layer.relevance.numel() * 4 for layer in made.result.layers)
        for made in shown
    )
