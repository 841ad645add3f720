"""How the pictures of an explorer are shown: at which layer, over the input, one or two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from nni_widgets.errors import invalid
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE
from nni_widgets.widgets.parts.panes import INPUT
from nni_widgets.widgets.parts.quiet import Quiet


class View:
    """The choices that need no new computation, and the switch to a second method.

    ``on_look()`` is called when the same explanations are to be painted otherwise,
    ``on_compare()`` when the second method is switched on or off.
    """

    def __init__(self, on_look: Callable[[], None], on_compare: Callable[[], None]) -> None:
        self._quiet = Quiet()
        self._layer = widgets.Dropdown(
            description="layer", options=[INPUT], style=SIDE_STYLE, layout=SIDE
        )
        self._overlay = widgets.FloatSlider(
            description="overlay", max=1.0, step=0.05, style=SIDE_STYLE, layout=SIDE
        )
        self._compare, self._shared, self._difference = (
            widgets.Checkbox(value=value, description=text, indent=False, layout=dict(SIDE))
            for value, text in (
                (False, "compare two methods"),
                (True, "one scale for both"),
                (True, "difference A − B"),
            )
        )
        self._show_choices()
        named = {
            "layer": self._layer,
            "overlay": self._overlay,
            "compare": self._compare,
            "shared": self._shared,
            "difference": self._difference,
        }
        for name, widget in named.items():
            widget.add_class(f"nn-{name}")
            told = self._compared(on_compare) if name == "compare" else on_look
            widget.observe(lambda _, tell=told: None if self._quiet else tell(), "value")
        self.widget = widgets.VBox(list(named.values()))

    @property
    def layer(self) -> str:
        """Where the relevance is shown: a layer's label, or ``(input)``."""
        return str(self._layer.value)

    @layer.setter
    def layer(self, label: str) -> None:
        if label not in self._layer.options:
            known = ", ".join(self._layer.options)
            raise invalid("Explorer", "layer", f"one of {known}", repr(label), "Correct its name")
        self._layer.value = label

    @property
    def overlay(self) -> float:
        """How much the heatmap covers the input; 0 shows it alone."""
        return float(self._overlay.value)

    @overlay.setter
    def overlay(self, strength: float) -> None:
        self._overlay.value = strength

    @property
    def compare(self) -> bool:
        """Whether two methods are shown."""
        return bool(self._compare.value)

    @compare.setter
    def compare(self, both: bool) -> None:
        self._compare.value = both

    @property
    def one_scale(self) -> bool:
        """Whether two pictures share their scale."""
        return self.compare and bool(self._shared.value)

    @one_scale.setter
    def one_scale(self, shared: bool) -> None:
        self._shared.value = shared

    @property
    def difference(self) -> bool:
        """Whether the difference of two pictures is shown."""
        return self.compare and bool(self._difference.value)

    @difference.setter
    def difference(self, shown: bool) -> None:
        self._difference.value = shown

    def offer(self, labels: Sequence[str]) -> None:
        """Let the user choose among these layers; the chosen one stays if it is among them."""
        options = (INPUT, *labels)
        if options == tuple(self._layer.options):
            return
        with self._quiet:
            wanted = self._layer.value
            self._layer.options = options
            self._layer.value = wanted if wanted in options else INPUT
            self._layer.disabled = len(options) == 1

    def reset(self) -> None:
        """Show one picture, at the input, without calling back."""
        with self._quiet:
            self._layer.value, self._overlay.value = INPUT, 0.0
            self._shared.value = self._difference.value = True
            self._compare.value = False
        self._show_choices()

    def _compared(self, on_compare: Callable[[], None]) -> Callable[[], None]:
        def tell() -> None:
            self._show_choices()
            on_compare()

        return tell

    def _show_choices(self) -> None:
        """What concerns two pictures is offered while there are two."""
        for choice in (self._shared, self._difference):
            choice.layout.display = None if self.compare else "none"
