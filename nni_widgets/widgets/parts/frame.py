"""A picture with a frame on it that the user drags: a window, or one tile of many.

The frame moves in the browser at once, as the pen does; the kernel hears where it stands. A canvas
of ipycanvas would keep the Tab key for itself, and trail the pointer by the network's delay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import ipywidgets as widgets
from traitlets import Int, Tuple, Unicode

from nni_widgets.widgets.parts.maps import BLANK, title_of, titled
from nni_widgets.widgets.parts.quiet import Quiet


class Frame(anywidget.AnyWidget):
    """One of the places ``tops`` × ``lefts`` as a box of ``size`` in a picture of ``side``.

    ``place`` is the (row, column) among them where it stands, moved by the pointer or arrow keys.
    """

    _esm = Path(__file__).with_name("frame.js")

    label = Unicode().tag(sync=True)
    tops = Tuple().tag(sync=True)
    lefts = Tuple().tag(sync=True)
    size = Tuple((1, 1)).tag(sync=True)
    side = Tuple((1, 1)).tag(sync=True)
    place = Tuple(Int(), Int(), default_value=(0, 0)).tag(sync=True)

    def __repr__(self) -> str:
        return f"Frame({self.label!r}, place={self.place})"


class FramedPicture:
    """A plain picture below its title, and a frame on it; ``on_move()`` is called when it is moved.

    ``name`` is the CSS class of the picture, ``label`` what the frame is called.
    """

    def __init__(self, title: str, name: str, label: str, on_move: Callable[[], None]) -> None:
        self._quiet = Quiet()
        self._title = titled(title)
        self._picture = widgets.Image(value=BLANK, width="252").add_class("nn-px").add_class(name)
        self._frame = Frame(label=label).add_class("nn-frame-layer").add_class(f"{name}-frame")
        self._frame.observe(lambda _: None if self._quiet else on_move(), "place")
        both = widgets.Box([self._picture, self._frame]).add_class("nn-framed")
        self.view = widgets.VBox([self._title, both]).add_class("nn-view")

    @property
    def place(self) -> tuple[int, int]:
        """The row and the column where the frame stands."""
        row, column = self._frame.place
        return row, column

    def paint(self, picture: bytes) -> None:
        """Show this PNG."""
        self._picture.value = picture

    def fit(
        self,
        tops: Sequence[int],
        lefts: Sequence[int],
        size: tuple[int, int],
        side: tuple[int, int],
        place: tuple[int, int],
    ) -> None:
        """Offer these places to the frame and put it at one of them, without calling back."""
        with self._quiet, self._frame.hold_sync():
            self._frame.tops, self._frame.lefts = tuple(tops), tuple(lefts)
            self._frame.size, self._frame.side, self._frame.place = size, side, place

    def entitle(self, title: str) -> None:
        """Put other words above the picture."""
        self._title.value = title_of(title)

    def clear(self) -> None:
        """Show no picture and no frame."""
        self._picture.value = BLANK
        self.fit((), (), (1, 1), (1, 1), (0, 0))
