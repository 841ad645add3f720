"""A picture cut into patches, which the user chooses one after the other.

The chosen patches are marked in the browser at once, as the pen paints. What the kernel alone
knows, the grid and an order of the patches, is drawn below them by ipycanvas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import anywidget
import ipywidgets as widgets
from ipycanvas import MultiCanvas
from traitlets import Int, Tuple, Unicode

from nni_widgets.widgets.parts.maps import BLANK, title_of, titled
from nni_widgets.widgets.parts.overlay import Overlay
from nni_widgets.widgets.parts.quiet import Quiet

Place = tuple[int, int]

_WIDTH, _SHARP = 252, 2
_GRID, _HALO = "#7f7f7f", "#ffffff"
_LARGEST_LETTERS = 15


class Patches(anywidget.AnyWidget):
    """Places ``tops`` × ``lefts`` in a picture of ``side``: each begins there and ends at the next.

    ``chosen`` are the (row, column) of the chosen ones, in their order, at ``most`` so many.
    """

    _esm = Path(__file__).with_name("patches.js")

    label = Unicode().tag(sync=True)
    tops = Tuple().tag(sync=True)
    lefts = Tuple().tag(sync=True)
    side = Tuple((1, 1)).tag(sync=True)
    most = Int(1).tag(sync=True)
    chosen = Tuple().tag(sync=True)

    def __repr__(self) -> str:
        return f"Patches({self.label!r}, chosen: {len(self.chosen)})"


class PatchPicture:
    """A picture below its title, a grid over it, and the patches that are chosen.

    ``on_choose()`` is called when the user has chosen a patch or taken one back. ``name`` is the
    CSS class of the picture, ``label`` what the patches are called.
    """

    def __init__(self, title: str, name: str, label: str, on_choose: Callable[[], None]) -> None:
        self._quiet = Quiet()
        self._title = titled(title)
        self._picture = widgets.Image(value=BLANK, width=str(_WIDTH)).add_class("nn-px")
        self._picture.add_class(name)
        self._patches = Patches(label=label).add_class("nn-frame-layer").add_class(f"{name}-board")
        self._patches.observe(lambda _: None if self._quiet else on_choose(), "chosen")
        self._overlay = Overlay(1, 1, layers=2)
        self._overlay.canvas.add_class("nn-drawn").add_class(f"{name}-grid")
        layers = [self._picture, self._overlay.canvas, self._patches]
        stack = widgets.Box(layers).add_class("nn-framed")
        self.view = widgets.VBox([self._title, stack]).add_class("nn-view")

    @property
    def chosen(self) -> tuple[Place, ...]:
        """The row and column of each chosen patch, in the order in which they were chosen."""
        return tuple((int(row), int(column)) for row, column in self._patches.chosen)

    @chosen.setter
    def chosen(self, places: Iterable[Place]) -> None:
        with self._quiet:
            self._patches.chosen = tuple(places)

    def paint(self, picture: bytes) -> None:
        """Show this PNG."""
        self._picture.value = picture

    def fit(self, tops: Sequence[int], lefts: Sequence[int], side: Place, most: int) -> None:
        """Cut a picture of this height and width here; ``most`` patches can be chosen."""
        with self._patches.hold_sync():
            self._patches.tops, self._patches.lefts = tuple(tops), tuple(lefts)
            self._patches.side, self._patches.most = side, most

    def draw(self, order: Sequence[Place] = (), colour: str = _GRID) -> None:
        """Draw the grid, and the numbers 1, 2, … on the patches of an order."""
        rows, columns = self._patches.side
        scale = _SHARP * _WIDTH / columns
        xs = [scale * left for left in (*self._patches.lefts, columns)]
        ys = [scale * top for top in (*self._patches.tops, rows)]
        canvas = self._overlay.canvas
        size = _SHARP * _WIDTH, max(1, round(scale * rows))
        if (canvas.width, canvas.height) != size:
            canvas.width, canvas.height = size
        self._overlay.draw(lambda layers: _draw(layers, xs, ys, tuple(order), colour))

    def clear(self) -> None:
        """Show no picture, no grid and no choice."""
        self._picture.value, self.chosen = BLANK, ()
        self.fit((), (), (1, 1), 1)
        self._overlay.clear()

    def entitle(self, title: str) -> None:
        """Put other words above the picture."""
        self._title.value = title_of(title)


def _draw(
    layers: MultiCanvas,
    xs: Sequence[float],
    ys: Sequence[float],
    order: Sequence[Place],
    colour: str,
) -> None:
    """The lines of the grid on the lower layer, the numbers of the order on the upper one."""
    grid, numbers = layers[0], layers[1]
    grid.fill_style = _GRID
    for x in xs[1:-1]:
        grid.fill_rect(x - 0.5, 0, 1, ys[-1])
    for y in ys[1:-1]:
        grid.fill_rect(0, y - 0.5, xs[-1], 1)
    letters = min(_SHARP * _LARGEST_LETTERS, 0.6 * max(b - a for a, b in pairwise(ys)))
    numbers.font = f"bold {max(8, round(letters))}px sans-serif"
    numbers.text_align, numbers.text_baseline = "center", "middle"
    numbers.fill_style, numbers.stroke_style, numbers.line_width = colour, _HALO, 5
    for number, (row, column) in enumerate(order, 1):
        x, y = (xs[column] + xs[column + 1]) / 2, (ys[row] + ys[row + 1]) / 2
        numbers.stroke_text(str(number), x, y)
        numbers.fill_text(str(number), x, y)
