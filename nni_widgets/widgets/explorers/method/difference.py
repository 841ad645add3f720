"""What one explanation says more than another: the difference of their maps."""

from __future__ import annotations

from torch import Tensor

from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.parts.maps import MapView


class DifferenceView(MapView):
    """A − B, place by place, on a signed scale of its own."""

    def __init__(self) -> None:
        super().__init__("A − B", "nn-difference-map")

    def show(self, a: Explanation, b: Explanation) -> None:
        """Show the difference of what is shown of both; nothing if they differ in shape."""
        values = difference(a, b)
        if values is None:
            self.clear()
            return
        self.put(values, scale_of(values), in_words(a, b, values))


def difference(a: Explanation, b: Explanation) -> Tensor | None:
    """The map of A less that of B, if they have the same shape."""
    first, second = a.shown(), b.shown()
    return first - second if first.shape == second.shape else None


def in_words(a: Explanation, b: Explanation, values: Tensor) -> str:
    """What the difference sums to, and whether that can mean something."""
    total = f"{a.name} − {b.name}: Σ = {number(float(values.sum()), digits=2)}"
    if a.method.adds_up_to and b.method.adds_up_to:
        return f"{total}, both in the unit of the logit."
    return f"{total}; the two have different units, so compare places only."


def difference_png(a: Explanation, b: Explanation) -> bytes | None:
    """The difference as a picture to save, beside the input."""
    values = difference(a, b)
    if values is None:
        return None
    words, title = in_words(a, b, values), f"{a.code} − {b.code}"
    panel = Panel(a.x[0], values, scale_of(values), words)
    texts = {"Software": "nni_widgets", "Method": title, "Explanation": words}
    return figure_png([panel], title, a.low, a.high, texts)
