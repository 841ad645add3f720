"""Continuity on the screen: the picture that slides, and by how much the maps change with it."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from nni_widgets.errors import invalid
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.explorers.quality.charts import ChangeBars
from nni_widgets.widgets.explorers.quality.game import WHO
from nni_widgets.widgets.explorers.quality.slide import FARTHEST, Slid, Slide
from nni_widgets.widgets.parts.controls import SIDE_STYLE, OnError, button
from nni_widgets.widgets.parts.maps import PictureView
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet

_START = (0,)


class SlideView:
    """The moved picture with its slider, the changes of the maps as bars, and how it slides.

    ``on_change()`` is called when something else is to be computed, ``on_error(error)`` when a
    choice is not legal. ``seen`` are the shifts that count for the largest change.
    """

    def __init__(
        self, names: Sequence[str], on_change: Callable[[], None], on_error: OnError
    ) -> None:
        self._on_change, self._quiet = on_change, Quiet()
        self._seen: tuple[int, ...] = _START
        self._picture = PictureView("the picture, moved", "nn-moved")
        self._slider = widgets.IntSlider(
            min=-FARTHEST, max=FARTHEST, value=0, description="shift", style=SIDE_STYLE,
            layout={"width": "252px"},
        ).add_class("nn-shift")  # fmt: skip
        self._slider.observe(self._slid, "value")
        self._bars = ChangeBars(names)
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-slide-words")
        self._sizes = widgets.HTML().add_class("nn-layer-table").add_class("nn-sizes")
        self._panel = ParameterPanel(Slide(), self._ruled, on_error)
        buttons = widgets.HBox(
            [button("All shifts", self._all), button("Forget shifts", self._forget_shifts)]
        )
        self.picture = widgets.VBox([self._picture.view, self._slider, buttons, self._words])
        self.numbers = widgets.HBox([self._bars.widget, self._sizes]).add_class("nn-row")
        self.controls = self._panel.box

    @property
    def slide(self) -> Slide:
        """How the picture slides."""
        return self._panel.value  # type: ignore[return-value]

    @slide.setter
    def slide(self, slide: Slide) -> None:
        self._panel.show(slide)

    @property
    def seen(self) -> tuple[int, ...]:
        """The shifts that were visited, the last one last."""
        return self._seen

    @seen.setter
    def seen(self, shifts: Sequence[int]) -> None:
        self._seen = _checked(shifts)
        with self._quiet:
            self._slider.value = self._seen[-1]

    def forget_shifts(self) -> None:
        """Forget all shifts but the one where the picture is, without calling back."""
        self._seen = self._seen[-1:]

    def forget(self) -> None:
        """Set everything back, without calling back."""
        self._panel.reset(Slide())
        self.seen = _START

    def paint(self, slid: Slid) -> None:
        """Show the picture and the changes."""
        moved = slid.moved
        self._picture.entitle(f"moved by {slid.shift} px {way(slid)}")
        self._picture.paint(moved.x[0], moved.low, moved.high)
        to_come = [0.0] * (len(slid.names) - len(slid.made))
        self._bars.show(
            [slid.change(each) for each in range(len(slid.made))] + to_come,
            [slid.largest(each)[0] for each in range(len(slid.names))],
        )
        self._sizes.value = _table(slid)
        self._words.value = f'<p role="status">{html.escape(in_words(slid))}</p>'

    def clear(self) -> None:
        """Show nothing."""
        self._picture.clear()
        self._bars.clear()
        self._words.value = self._sizes.value = ""

    def _slid(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._seen = _with(self._seen, change["new"])
            self._on_change()

    def _all(self) -> None:
        self._seen = (*(s for s in range(-FARTHEST, FARTHEST + 1) if s != self._seen[-1]),
                      self._seen[-1])  # fmt: skip
        self._on_change()

    def _forget_shifts(self) -> None:
        self.forget_shifts()
        self._on_change()

    def _ruled(self, _: Any) -> None:
        self._on_change()


def in_words(slid: Slid) -> str:
    """How far the picture is from where it was, and where its maps changed most."""
    if not slid.shift:
        return "Move the picture: x′ is x."
    visited = sum(map(bool, slid.changes))
    return f"‖x − x′‖₂ = {number(slid.distance)}; shifts visited: {visited}."


def way(slid: Slid) -> str:
    """The direction of positive shifts."""
    return "to the right" if slid.slide.along == "across" else "down"


def signed(shift: int) -> str:
    """A shift in pixels, with its sign."""
    return f"{shift:+d} px".replace("-", "−") if shift else "0 px"


def _table(slid: Slid) -> str:
    """The changes as numbers."""
    rows = []
    for number_, name in enumerate(slid.names):
        largest, shift = slid.largest(number_)
        now = number(slid.change(number_)) if number_ < len(slid.made) else "…"
        cells = html.escape(name), now, number(largest), signed(shift)
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = ("", "now", "largest so far", "at")
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    caution = (
        "each map divided by Σ|R(x)|"
        if slid.slide.scaled
        else "maps on different scales cannot be compared: see “scaled”"
    )
    body = "".join(rows)
    return (
        f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
        f"<small>{caution}</small>"
    )


def _with(seen: Sequence[int], shift: int) -> tuple[int, ...]:
    return (*(each for each in seen if each != shift), shift)


def _checked(shifts: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers of pixels, at least one; raises ``ValueError`` for anything else."""
    allowed = range(-FARTHEST, FARTHEST + 1)
    given = tuple(shifts)
    if not given or any(isinstance(each, bool) or each not in allowed for each in given):
        expected = f"whole numbers from {-FARTHEST} to {FARTHEST}"
        raise invalid(WHO, "shifts", expected, repr(shifts), "Try (1,)")
    return tuple(dict.fromkeys(reversed([int(each) for each in given])))[::-1]
