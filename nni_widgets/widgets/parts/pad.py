"""The pen: it paints in the browser at once, and its strokes live in the kernel.

A canvas that paints only when the kernel has answered trails the pen by the network's delay.
Here ``pad.js`` paints, and sends what a stroke has grown by; the whole drawing travels only when
it changes otherwise, or when a page is loaded again. So tests and notebooks draw by the same
strokes as a learner's hand.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import anywidget
from ipywidgets import CallbackDispatcher
from traitlets import Float, Int, Tuple, Unicode, observe, validate

from nni_widgets.errors import invalid

Point = tuple[float, float]
Stroke = tuple[Point, ...]


class DrawingPad(anywidget.AnyWidget):
    """A square to draw on, white on black, with a round pen of diameter ``pen``.

    ``strokes`` is a tuple of strokes, each a tuple of (x, y) points in picture pixels, rounded to
    0.1, where (0, 0) is the upper left corner of the upper left pixel and a stroke of one point is
    a dot. Points outside are moved to at most one pen's width from the border. ``size`` is the
    picture's width in pixels, ``zoom`` the number of CSS pixels for each, ``label`` the name that
    a screen reader says.

    Keyboard: arrows move, space lowers and lifts the pen, Delete clears, Z undoes, Escape cancels.
    """

    _esm = Path(__file__).with_name("pad.js")

    size = Int(28, min=1).tag(sync=True)
    zoom = Int(10, min=1).tag(sync=True)
    pen = Float(2.5, min=0.1).tag(sync=True)
    label = Unicode("Drawing pad").tag(sync=True)
    strokes = Tuple().tag(sync=True)

    _change: Literal["new", "begun", "grown", "undone"] = "new"

    def __init__(self, **traits: Any) -> None:
        self._lock = threading.RLock()
        self._history: list[tuple[Stroke, ...]] = []
        self._open: dict[str, int] = {}
        self._on_change = CallbackDispatcher()
        self._on_cancel = CallbackDispatcher()
        super().__init__(**traits)
        self._history.clear()
        self.on_msg(self._receive)

    def stroke(self, points: Iterable[Iterable[float]]) -> None:
        """Draw one stroke through these points."""
        with self._lock:
            self.strokes = (*self.strokes, tuple(points))

    def clear(self) -> None:
        """Remove all strokes; ``undo`` brings them back."""
        self.strokes = ()

    def undo(self) -> None:
        """Take the last change back: a stroke, a clearing, a drawing put in from outside."""
        with self._lock:
            if self._history:
                with self._as("undone"):
                    self.strokes = self._history.pop()

    def on_change(self, callback: Callable[[DrawingPad], None], remove: bool = False) -> None:
        """Call ``callback(pad)`` whenever the strokes change, also while one is being drawn."""
        self._on_change.register_callback(callback, remove=remove)

    def on_cancel(self, callback: Callable[[DrawingPad], None], remove: bool = False) -> None:
        """Call ``callback(pad)`` when Escape is pressed on the pad."""
        self._on_cancel.register_callback(callback, remove=remove)

    def __repr__(self) -> str:
        return f"DrawingPad(size={self.size}, strokes: {len(self.strokes)})"

    @validate("strokes")
    def _valid_strokes(self, proposal: Mapping[str, Any]) -> tuple[Stroke, ...]:
        return tuple(self._valid_stroke(stroke) for stroke in proposal["value"])

    def _valid_stroke(self, stroke: Iterable[Any]) -> Stroke:
        points = tuple(stroke)
        read = [_read(point) for point in points]
        if not read or None in read:
            wrong = repr(points[read.index(None)]) if read else "no points"
            action = "Give a stroke as [(x, y), ...] in picture pixels."
            raise invalid("DrawingPad", "a stroke", "points of two finite numbers", wrong, action)
        return self._inside(read)

    def _inside(self, points: Iterable[Point | None]) -> Stroke:
        low, high = -self.pen, self.size + self.pen
        return tuple(
            (round(min(max(x, low), high), 1), round(min(max(y, low), high), 1))
            for x, y in filter(None, points)
        )

    def _receive(self, _: object, content: Mapping[str, Any], __: object) -> None:
        match content.get("type"):
            case "stroke":
                self._grow(content)
            case "undo":
                self.undo()
            case "clear":
                self.clear()
            case "cancel":
                self._on_cancel(self)

    def _grow(self, message: Mapping[str, Any]) -> None:
        name, start = str(message.get("stroke")), message.get("start")
        points = self._inside(_read(point) for point in message.get("points") or ())
        with self._lock:
            if start == 0 and points:
                self._open[name] = len(self.strokes)
            if name not in self._open:
                self._refuse(name)
                return
            index = self._open[name]
            if points:
                self._lengthen(index, points)
            if message.get("end"):
                del self._open[name]

    def _lengthen(self, index: int, points: Stroke) -> None:
        before = self.strokes[index] if index < len(self.strokes) else ()
        with self._as("grown" if before else "begun"):
            self.strokes = (*self.strokes[:index], before + points, *self.strokes[index + 1 :])
        self.send({"type": "stroke", "index": index, "start": len(before), "points": points})

    def _refuse(self, name: str) -> None:
        """Tell the pages that a stroke which the drawing has lost meanwhile grows no more."""
        self.send({"type": "lost", "stroke": name})
        self.send_state("strokes")

    @observe("strokes")
    def _note(self, change: Mapping[str, Any]) -> None:
        if self._change in ("new", "begun"):
            self._history.append(change["old"])
        if self._change in ("new", "undone"):
            self._open.clear()
        self._on_change(self)

    def _should_send_property(self, key: str, value: object) -> bool:
        """Keep a growing drawing here: the pages hear of the new points alone."""
        if key == "strokes" and self._change in ("begun", "grown"):
            return False
        return bool(super()._should_send_property(key, value))

    @contextmanager
    def _as(self, change: Literal["begun", "grown", "undone"]) -> Iterator[None]:
        self._change = change
        try:
            yield
        finally:
            self._change = "new"


def _read(point: Any) -> Point | None:
    try:
        x, y = map(float, point)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
