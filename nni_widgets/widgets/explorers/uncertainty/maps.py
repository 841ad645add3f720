"""The four maps: mean, deviation and sign agreement of the samples' maps, and the doubt's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from nni_widgets.engine.methods.base import as_method
from nni_widgets.engine.uncertainty import UncertainAttribution
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import Explanation
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.heatmap import Scale, heatmap, scale_of
from nni_widgets.pictures.numbers import number, percent
from nni_widgets.pictures.readout import block_lines
from nni_widgets.pictures.render import Level, picture_png
from nni_widgets.widgets.explorers.uncertainty.told import target_of
from nni_widgets.widgets.explorers.uncertainty.work import Doubted
from nni_widgets.widgets.parts.maps import MapView

_RELIABLE = 0.75
_STRONG = 0.25


@dataclass(frozen=True, eq=False)
class Shown:
    """A map with its scale, its title and a sentence about it."""

    values: Tensor
    scale: Scale
    title: str
    words: str


class Maps:
    """The views of the four maps, in the order of the page."""

    def __init__(self) -> None:
        self.views = [
            MapView(title, f"nn-{name}-map")
            for name, title in (
                ("mean", "mean"),
                ("deviation", "deviation"),
                ("agreement", "agreement of signs"),
                ("doubt", "causes of the doubt"),
            )
        ]

    def show(self, shown: Doubted, classes: Sequence[str]) -> None:
        """Show the maps that are there; those still to come are dimmed."""
        known = list(_all_maps(shown, classes))
        for view, each in zip(self.views, known, strict=False):
            view.entitle(each.title)
            view.put(each.values, each.scale, each.words)
        for view in self.views[len(known) :]:
            view.dim()

    def dim(self) -> None:
        """Mark all maps as those of before."""
        for view in self.views:
            view.dim()

    def clear(self) -> None:
        """Show no map."""
        for view in self.views:
            view.clear()

    def digest(self, shown: Doubted, classes: Sequence[str]) -> list[str]:
        """The maps as block means, each under its title and its sentence."""
        lines = []
        for each in _all_maps(shown, classes):
            eight, blocks = block_lines(each.values)
            lines += [f"{each.title}. {each.words} 8 stands for {eight}", *blocks]
        return lines

    def png(
        self, shown: Doubted, classes: Sequence[str], words: str, levels: tuple[Level, Level]
    ) -> bytes:
        """The maps that are there below one another, each beside the picture; or the picture."""
        panels = [
            Panel(shown.x[0], each.values, each.scale, f"{each.title}. {each.words}")
            for each in _all_maps(shown, classes)
        ]
        if not panels:
            return picture_png(shown.x[0], *levels, magnify=8)
        source, method = as_code(shown.question.cause), as_code(shown.question.method)
        metadata = {"Software": "nni_widgets", "Method": method, "Source": source}
        title = f"{method} under {source}, {shown.motion}. {words}"
        return figure_png(panels, title, *levels, metadata)


def _all_maps(shown: Doubted, classes: Sequence[str]) -> Iterator[Shown]:
    if shown.maps is not None:
        yield from _statistics(shown.maps, classes)
        if shown.entropy is not None:
            yield _doubt(shown.entropy)


def _statistics(maps: UncertainAttribution, classes: Sequence[str]) -> Iterator[Shown]:
    method, spread = as_method(maps.method), maps.heatmaps
    mean, deviation, agreement = (
        heatmap(each[:1, None])[0] for each in (spread.mean, spread.deviation, spread.agreement)
    )
    size = mean.abs()
    strong = size > _STRONG * size.max()
    title = f"mean {method.title} for {target_of(maps, classes)}"
    total = (
        f"The mean of {maps.done} of {maps.of}; its sum is {number(float(mean.sum()), digits=2)}."
    )
    yield Shown(mean, scale_of(mean, signed=method.signed), title, total)
    ratio = float((deviation / size)[strong].mean()) if bool(strong.any()) else 0.0
    words = f"Where the mean is strong, the spread is {percent(ratio)} of it."
    yield Shown(deviation, scale_of(deviation, signed=False), "standard deviation", words)
    reliable = (
        float((agreement >= _RELIABLE)[strong].double().mean()) if bool(strong.any()) else 0.0
    )
    agreed = (
        f"Where the mean is strong: {_RELIABLE:g} or more in {percent(reliable)} of the pixels."
    )
    yield Shown(agreement, Scale(1.0, signed=False), "agreement of signs", agreed)


def _doubt(entropy: Explanation) -> Shown:
    values = entropy.heatmap()
    score, total = (number(float(each), 1) for each in (entropy.score[0], values.sum()))
    words = f"{entropy.name} of the entropy {score}: orange raises it. Its sum is {total}."
    scale = scale_of(values, signed=as_method(entropy.method).signed)
    return Shown(values, scale, "causes of the doubt", words)
