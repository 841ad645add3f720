"""The explorer: a picture, a model, a method, and why the model decided as it did."""

from __future__ import annotations

import html
import traceback
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import METHODS, Method, as_method
from nni_widgets.engine.methods.base import AnyMethod
from nni_widgets.engine.targets import Difference, Target
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation, explanations
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.session import Cache, Outcome, Phase, Request, Status, Step, Worker
from nni_widgets.widgets.charts import ClassBars
from nni_widgets.widgets.controls import close_all
from nni_widgets.widgets.inputs import BatchInput, DrawingInput, Source
from nni_widgets.widgets.labels import Labels
from nni_widgets.widgets.page import Page
from nni_widgets.widgets.panes import INPUT, Pane, name_of
from nni_widgets.zoo import models

Shown = tuple[Explanation, ...]
_STYLE = Path(__file__).with_name("style.css")
_PROGRESS_AFTER = 0.3
_PREDICTED = -1
_WIDE = {"width": "236px"}
_NAMES = {
    "nn-input": "the picture that is explained",
    "nn-heatmap": "heatmap: orange speaks for the explained class, purple against it",
    "nn-scale": "the scale of the heatmap",
    "nn-picture": "picture number",
    "nn-overlay": "strength of the heatmap over the picture",
    "nn-scores": "probability of each class; a table is in the status line",
}


class Explorer(widgets.VBox):
    """Explains one picture at a time, live; made by :func:`explore` and :func:`draw`.

    ``method``, ``target`` and ``layer`` can be read and set; ``drain`` waits until the pictures
    are there; ``explanation`` is the last one shown; ``digest`` is its short text form. Errors are
    shown in the explorer, which stays usable. ``close`` ends its thread and its widgets.
    """

    def __init__(
        self,
        model: nn.Module,
        source: type[BatchInput] | type[DrawingInput],
        content: Any,
        method: AnyMethod,
        target: int | None,
        methods: Sequence[AnyMethod],
        names: tuple[str, str],
        preparation: str = "",
        large: bool = False,
    ) -> None:
        self._model, self._names, self._preparation = model, names, preparation
        self._start = as_method(method), target
        self._target = target
        self._quiet = True
        known = [as_method(each) for each in methods]
        self._cache: Cache[Shown] = Cache(_size_of, max_entries=32)
        self._worker: Worker[Shown] = Worker(self._show, self._fail, self._progress, self._cache)
        self._source = self._make_source(source, content)
        self._panes = [
            Pane(known, self._start[0], self._ask, self._refuse),
            Pane(known, known[1 % len(known)], self._ask, self._refuse),
        ]
        self._classes = self._class_names()
        self._build(large)
        super().__init__(self._layout())
        self.add_class("nn-explorer")
        if large:
            self.add_class("nn-large")
        self._quiet = False
        self._ask()

    # what can be read and set

    @property
    def method(self) -> Method:
        """The selected method with its parameters."""
        return self._panes[0].method

    @method.setter
    def method(self, method: AnyMethod) -> None:
        self._panes[0].set(as_method(method))
        self._ask()

    @property
    def target(self) -> int | None:
        """The class that is explained; ``None`` is the predicted one."""
        return self._target

    @target.setter
    def target(self, target: int | None) -> None:
        self._choose(target)

    @property
    def layer(self) -> str:
        """The layer whose relevance is shown, or ``(input)``."""
        return str(self._layer.value)

    @layer.setter
    def layer(self, label: str) -> None:
        if label not in self._layer.options:
            known = ", ".join(self._layer.options)
            raise invalid("Explorer", "layer", f"one of {known}", repr(label), "Correct its name")
        self._layer.value = label

    @property
    def explanation(self) -> Explanation | None:
        """The explanation on the screen; ``None`` while there is nothing to explain."""
        return self._panes[0].explanation

    @property
    def pad(self) -> Any:
        """The drawing pad of an explorer made by :func:`draw`."""
        return cast(DrawingInput, self._source).pad

    def drain(self, timeout: float = 30.0) -> Explorer:
        """Wait until everything asked for is shown. Raises ``TimeoutError``."""
        self._worker.drain(timeout)
        return self

    def digest(self) -> str:
        """The numbers that matter, as short text that is the same in every run."""
        if self.explanation is None:
            return self._message
        lines = [self.explanation.digest(0)]
        if self.layer != INPUT:
            lines.append(f"shown at layer {self.layer}")
        return "\n".join(lines)

    def code(self) -> str:
        """The cell that makes this picture again."""
        model, name = self._names
        prepare, x = self._source.code(model, name)
        arguments = [model, x, as_code(self.method)]
        if self._target is not None:
            arguments.append(f"target={self._target}")
        if self.layer != INPUT:
            arguments.append(f"layer={self.layer!r}")
        return (
            "import nni_widgets as nni\n\n"
            f"{self._preparation}{prepare}nni.explain({', '.join(arguments)})"
        )

    def close(self) -> None:
        """End the worker and close every widget of the explorer."""
        self._worker.close()
        for child in (*self.children, self.layout):
            close_all(child)
        super().close()

    def __repr__(self) -> str:
        return self.digest()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        self.drain()
        bundle = super()._repr_mimebundle_(**kwargs)
        data: dict[str, Any] = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = self.digest()
        if self.explanation is not None:
            data["image/png"] = self.explanation.png()
        return data

    # what it is built of

    def _make_source(
        self, source: type[BatchInput] | type[DrawingInput], content: Any
    ) -> Source:
        if source is DrawingInput:
            return DrawingInput(content, self._ask)
        return BatchInput(self._model, content, self._ask)

    def _class_names(self) -> tuple[str, ...]:
        classes = getattr(self._model, "classes", None)
        return tuple(map(str, classes)) if classes else ()

    def _build(self, large: bool) -> None:
        self._bars = ClassBars(self._classes or ("0",), self._choose)
        self._layer = widgets.Dropdown(
            description="layer", options=[INPUT], style={"description_width": "60px"}, layout=_WIDE
        )
        self._layer.add_class("nn-layer")
        self._layer.observe(lambda _: self._repaint(), "value")
        self._target_picker = widgets.Dropdown(
            description="explain",
            options=self._target_options(),
            value=self._picked_target,
            style={"description_width": "60px"}, layout=_WIDE,
        )
        self._target_picker.add_class("nn-target")
        self._target_picker.observe(self._target_picked, "value")
        self._overlay = widgets.FloatSlider(
            description="overlay", max=1.0, step=0.05, style={"description_width": "60px"}, layout=_WIDE
        )
        self._overlay.add_class("nn-overlay")
        self._overlay.observe(lambda _: self._repaint(), "value")
        self._compare = widgets.Checkbox(description="compare two methods", indent=False, layout=_WIDE)
        self._compare.add_class("nn-compare")
        self._compare.observe(self._comparing, "value")
        self._shared = widgets.Checkbox(
            value=True, description="one scale for both", indent=False, layout=_WIDE
        )
        self._shared.add_class("nn-shared")
        self._shared.observe(lambda _: self._repaint(), "value")
        self._message = ""
        self._status = widgets.HTML()
        self._status.add_class("nn-status")
        self._bar = widgets.IntProgress(layout=widgets.Layout(width="160px"))
        self._bar.add_class("nn-progress")
        self._bar.layout.visibility = "hidden"
        self._code = widgets.Textarea(
            description="code", layout=widgets.Layout(width="100%", height="120px", display="none")
        )
        self._code.add_class("nn-code")
        self._page = Page(self._hover, self._cancel)
        self._labels = Labels(_NAMES)

    def _layout(self) -> list[widgets.Widget]:
        first, second = self._panes
        self._scores = widgets.VBox([self._bars.widget])
        choices = [self._target_picker, self._layer, self._overlay, self._compare, self._shared]
        side = widgets.VBox([self._scores, *choices])
        top = widgets.HBox([self._source.widget, first.view, second.view, side])
        below = widgets.HBox([first.controls, second.controls])
        for part in (second.view, second.controls, self._shared):
            part.layout.display = "none"
        foot = widgets.HBox([*self._buttons(), self._bar])
        for row in (top, below, foot):
            row.add_class("nn-row")
        style = widgets.HTML(f"<style>{_STYLE.read_text()}</style>")
        hidden = widgets.HBox([style, self._page, self._labels])
        hidden.add_class("nn-hidden")
        return [hidden, top, self._status, foot, self._code, below]

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

    def _target_options(self) -> list[tuple[str, int]]:
        numbered = [(name, number) for number, name in enumerate(self._classes)]
        return [("the predicted class", _PREDICTED), *numbered]

    @property
    def _picked_target(self) -> int:
        """The target as the picker has it; a class not yet known by name comes with the names."""
        if self._target is None or self._target >= len(self._classes):
            return _PREDICTED
        return self._target

    # from a change to a picture

    def _ask(self) -> None:
        if self._quiet:
            return
        x = self._source.x
        if x is None:
            self._worker.cancel()
            self._show_nothing()
            return
        methods = [pane.method for pane in self._active]
        key: Hashable = (self._source.key, self._target, tuple(methods))
        try:
            request = Request(key, lambda: self._work(x, self._target, methods))
        except TypeError:
            request = Request(object(), lambda: self._work(x, self._target, methods))
        self._worker.submit(request)

    @property
    def _active(self) -> list[Pane]:
        return self._panes if self._compare.value else self._panes[:1]

    def _work(
        self, x: Tensor, target: Target, methods: list[Method]
    ) -> Iterator[Step[Shown]]:
        ready: Shown = ()
        done = 0
        for position, method in enumerate(methods):
            to_come = len(methods) - position - 1
            for made in explanations(self._model, x, method, target):
                result = made.result
                yield Step((*ready, made), done + result.done, done + result.of + to_come)
            ready, done = (*ready, made), done + result.of

    def _show(self, outcome: Outcome[Shown]) -> None:
        self._outcome = outcome
        self._paint(outcome.value)
        first = outcome.value[0]
        chosen = getattr(first.result.selection, "index", None)
        probabilities = first.probabilities[0].cpu().numpy()
        if not self._classes:
            self._classes = tuple(map(str, range(len(probabilities))))
            self._make_bars()
        self._bars.show(probabilities, None if chosen is None else int(chosen[0]))
        self._offer_layers(first)
        self._tell(outcome)

    def _paint(self, shown: Shown) -> None:
        scale = None
        if self._compare.value and self._shared.value and len(shown) > 1 and self.layer == INPUT:
            signed = any(made.method.signed for made in shown)
            scale = scale_of(*(made.heatmap(0) for made in shown), signed=signed)
        for pane, made in zip(self._active, shown, strict=False):
            pane.show(made, scale, self.layer, self._overlay.value)

    def _repaint(self) -> None:
        if self._quiet:
            return
        shown = tuple(pane.explanation for pane in self._active if pane.explanation is not None)
        try:
            self._paint(shown)
        except ValueError as error:
            self._refuse(error)

    def _make_bars(self) -> None:
        replaced = self._bars.widget
        self._bars = ClassBars(self._classes, self._choose)
        self._scores.children = (self._bars.widget,)
        close_all(replaced)
        self._quiet = True
        try:
            self._target_picker.options = self._target_options()
            self._target_picker.value = self._picked_target
        finally:
            self._quiet = False

    def _offer_layers(self, made: Explanation) -> None:
        options = (INPUT, *(layer.label for layer in reversed(made.result.layers)))
        if options != tuple(self._layer.options):
            self._quiet = True
            try:
                wanted = self._layer.value
                self._layer.options = options
                self._layer.value = wanted if wanted in options else INPUT
                self._layer.disabled = len(options) == 1
            finally:
                self._quiet = False

    def _show_nothing(self) -> None:
        for pane in self._panes:
            pane.clear()
        self._bars.clear()
        self._say(self._source.empty)

    # words

    def _tell(self, outcome: Outcome[Shown]) -> None:
        made = outcome.value[-1]
        logits = made.result.logits[0]
        best = int(logits.argmax())
        share = float(made.probabilities[0, best])
        words = [
            f"predicted {self._classes[best]} ({share:.2f})",
            f"explained: {made.target_names[0]}",
            f"{name_of(made.method)}: {made.result.passes:g} passes, {1000 * outcome.elapsed:.0f} ms",
        ]
        if not outcome.finished:
            words.append(f"{outcome.done} of {outcome.of}")
        self._say(" · ".join(words), generation=outcome.generation)

    def _say(self, text: str, generation: int | None = None) -> None:
        self._message = text
        mark = f' <small class="nn-generation">#{generation}</small>' if generation else ""
        self._status.value = (
            f'<p role="status" aria-live="polite">{html.escape(text)}{mark}</p>'
        )

    def _refuse(self, error: BaseException) -> None:
        self._message = str(error) or type(error).__name__
        details = "".join(traceback.format_exception(error))
        self._status.value = (
            f'<div role="alert" class="nn-error"><p>{html.escape(self._message)}</p>'
            f"<details><summary>details</summary><pre>{html.escape(details)}</pre></details></div>"
        )
        for pane in self._panes:
            pane.dim()

    def _fail(self, error: BaseException, _: Request[Shown]) -> None:
        self._refuse(error)

    def _progress(self, status: Status) -> None:
        working = status.phase is Phase.WORKING
        slow = working and self._outcome.elapsed > _PROGRESS_AFTER / 2
        self._bar.layout.visibility = "visible" if slow else "hidden"
        if slow:
            self._bar.max, self._bar.value = status.of, status.done
        if status.phase is Phase.CANCELLED:
            for pane in self._panes:
                pane.dim()
            self._say("cancelled: the picture is the last one that was ready")

    # what the buttons do

    def _choose(self, target: int | None) -> None:
        self._target = target
        self._quiet = True
        try:
            self._target_picker.value = self._picked_target
        finally:
            self._quiet = False
        self._ask()

    def _target_picked(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._choose(None if change["new"] == _PREDICTED else change["new"])

    def _comparing(self, change: dict[str, Any]) -> None:
        for part in (self._panes[1].view, self._panes[1].controls, self._shared):
            part.layout.display = "" if change["new"] else "none"
        self._ask()

    def _hover(self, number: int, x: float, y: float) -> None:
        if number < len(self._panes):
            self._panes[number].hover(x, y)

    def _cancel(self) -> None:
        self._worker.cancel()

    def _reset(self) -> None:
        method, target = self._start
        self._quiet = True
        try:
            self._source.reset()
            self._panes[0].reset(method)
            self._layer.value, self._overlay.value = INPUT, 0.0
            self._compare.value = False
            self._code.layout.display = "none"
        finally:
            self._quiet = False
        self._choose(target)

    def _copy(self) -> None:
        self._code.value = self.code()
        self._code.layout.display = ""
        self._page.copy(self._code.value)

    def _save_png(self) -> None:
        if self.explanation is not None:
            self._page.download("heatmap.png", self.explanation.png(), "image/png")

    def _save_npz(self) -> None:
        if self.explanation is not None:
            content = self.explanation.npz()
            self._page.download("attribution.npz", content, "application/octet-stream")


def explore(
    model: nn.Module,
    x: Tensor,
    method: AnyMethod | None = None,
    target: int | None = None,
    *,
    methods: Sequence[AnyMethod] | None = None,
    names: tuple[str, str] = ("model", "x"),
    large: bool = False,
) -> Explorer:
    """Explore why a model decides as it does on a batch of pictures.

    ``x``: pictures ``(N, ...)`` as the model takes them; ``method``: a method or a function of
    ``(model, x, target)``, LRP at first; ``target``: a class, or ``None`` for the predicted one;
    ``methods``: what the picker offers, all methods at first; ``names``: what model and x are
    called in copied code; ``large``: large type, for a projector.

    A model may carry ``classes`` (names), ``low`` and ``high`` (the range of its pixels).
    Raises ``ValueError`` if x is not a batch of pictures.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) == 0:
        given = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise invalid("explore", "x", "a batch of pictures (N, ...)", given, "Use x[None] for one")
    return Explorer(
        model, BatchInput, x, *_chosen(method, methods, target), names=names, large=large
    )


def draw(
    model: nn.Module | None = None,
    method: AnyMethod | None = None,
    target: int | None = None,
    *,
    strokes: Sequence[Any] = (),
    methods: Sequence[AnyMethod] | None = None,
    large: bool = False,
) -> Explorer:
    """Draw a digit and see what the model thinks, and why, while you draw.

    ``model``: takes ``(1, 1, 28, 28)`` pixels from 0 to 1; ``digits-cnn`` if none is given.
    ``strokes``: a drawing to begin with. The other parameters are those of :func:`explore`.
    """
    preparation = ""
    if model is None:
        model = models.load("digits-cnn")
        preparation = 'model = nni.models.load("digits-cnn")\n'
    return Explorer(
        model,
        DrawingInput,
        strokes,
        *_chosen(method, methods, target),
        names=("model", "x"),
        preparation=preparation,
        large=large,
    )


def _chosen(
    method: AnyMethod | None, methods: Sequence[AnyMethod] | None, target: int | None
) -> tuple[AnyMethod, int | None, Sequence[AnyMethod]]:
    offered = tuple(methods) if methods else tuple(kind() for kind in METHODS)
    chosen = offered[0] if method is None else method
    return chosen, target, offered


def _size_of(shown: Shown) -> int:
    return sum(
        made.attribution.numel() * made.attribution.element_size()
        + sum(layer.relevance.numel() * 4 for layer in made.result.layers)
        for made in shown
    )
