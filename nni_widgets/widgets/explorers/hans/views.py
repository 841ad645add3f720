"""What there is to see: maps in groups, the pictures of one, and a picture before and after."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence

import ipywidgets as widgets

from nni_widgets.pictures.boxes import Box
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.pictures.numbers import percent
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.explorers.hans import told
from nni_widgets.widgets.explorers.hans.before_after import BeforeAfter, key
from nni_widgets.widgets.explorers.hans.group_plot import GroupPlot, sign
from nni_widgets.widgets.explorers.hans.sheet import Sheets
from nni_widgets.widgets.explorers.hans.study import AS_IT_IS, Collection
from nni_widgets.widgets.explorers.hans.work import Found
from nni_widgets.widgets.parts.frame import FramedPicture
from nni_widgets.widgets.parts.maps import MapView


class Views:
    """The charts, pictures and heatmaps of the explorer; ``show`` paints what is found.

    A click on a point of the chart calls ``on_point(place)``, one on a sheet ``on_place(place)``,
    one above the scores ``on_class(number)``; to drag the box calls ``on_box(top, left)``.
    """

    def __init__(
        self,
        pictures: Collection,
        classes: Sequence[str],
        *,
        on_point: Callable[[int], None],
        on_place: Callable[[int], None],
        on_box: Callable[[int, int], None],
        on_class: Callable[[int], None],
    ) -> None:
        self._pictures, self._classes = pictures, classes
        self._plot = GroupPlot(on_point)
        self._legend, self._words, self._counts = (
            widgets.HTML().add_class("nn-words").add_class(f"nn-{name}")
            for name in ("groups-legend", "picture-words", "group-words")
        )
        self._sheets = Sheets(on_place)
        self._framed = FramedPicture(
            "the picture", "nn-changed", "the box", lambda: on_box(*self._framed.place)
        )
        self._mean = MapView("the mean map", "nn-mean-map")
        self._before = MapView("as it is", "nn-before-map")
        self._after = MapView("changed", "nn-after-map")
        self.maps = (self._mean, self._before, self._after)
        self._scores = BeforeAfter(classes, on_class)
        self.chart = (self._plot.widget, self._legend)
        self.group = (*self._sheets.views, widgets.VBox([self._mean.view, self._counts]))
        self.picture = self._framed.view
        scores = widgets.VBox([self._scores.widget, self._words])
        self.answers = (self._before.view, self._after.view, scores)

    def show(self, shown: Found, box: Box, place: int) -> None:
        """Show this, with the frames at this box and on the picture at this place."""
        self._show_chart(shown)
        self._show_group(shown, place)
        self._show_picture(shown)
        self._fit(box)
        self._show_answers(shown)

    def _show_chart(self, shown: Found) -> None:
        if shown.groups is None:
            self._plot.clear()
            self._legend.value = _paragraph("the groups are known when all maps are there")
            return
        if shown.layout is not None:
            self._plot.show(shown.layout, shown.groups.labels, shown.group, shown.place)
        sizes = shown.groups.labels.bincount().tolist()
        each = (f"{sign(g)}&nbsp;{g}:&nbsp;{size}" for g, size in enumerate(sizes))
        count = shown.maps.suggested
        suggested = f"The maps suggest {count} {'group' if count == 1 else 'groups'}."
        self._legend.value = f"<p>{' · '.join(each)}. {suggested}</p>"

    def _show_group(self, shown: Found, place: int) -> None:
        signed, mean = shown.pair.method.signed, shown.mean
        self._sheets.show(shown, place, self._pictures.low, self._pictures.high, signed)
        share = percent(shown.share(shown.members))
        words = f"{told.group(shown)}: on average {share} of the positive relevance in the box."
        self._mean.put(mean, scale_of(mean, signed=signed), words)
        counted = told.counted(shown, self._classes[shown.chosen.label])
        self._counts.value = _paragraph(counted)

    def _show_picture(self, shown: Found) -> None:
        self._framed.entitle(f"picture {shown.place}, {shown.chosen.change}: drag the box")
        picture = picture_png(shown.pair.x[1], self._pictures.low, self._pictures.high)
        self._framed.paint(picture)

    def _fit(self, box: Box) -> None:
        height, width = self._pictures.sides
        size = box.bottom - box.top, box.right - box.left
        tops, lefts = range(height - size[0] + 1), range(width - size[1] + 1)
        self._framed.fit(tops, lefts, size, (height, width), (box.top, box.left))

    def _show_answers(self, shown: Found) -> None:
        pair, change = shown.pair, shown.chosen.change
        self._before.entitle(f"as it is: {told.answer(shown, 0)}")
        self._before.paint(pair, pair.heatmap(0), words=f"{told.inside(shown, 0)}.")
        self._after.entitle(f"{change}: {told.answer(shown, 1)}")
        self._after.paint(pair, pair.heatmap(1), words=f"{told.inside(shown, 1)}.")
        self._after.view.layout.visibility = "hidden" if change == AS_IT_IS else None
        before, after = pair.probabilities.numpy()
        self._scores.show(before, None if change == AS_IT_IS else after)
        self._words.value = "".join(self._lines(shown))

    def _lines(self, shown: Found) -> Iterator[str]:
        """The answers before and after with the colours of their bars, and what is explained."""
        yield f"<p>{key(0)} {html.escape(f'as it is: {told.answer(shown, 0)}')}</p>"
        if (change := shown.chosen.change) != AS_IT_IS:
            yield f"<p>{key(1)} {html.escape(f'{change}: {told.answer(shown, 1)}')}</p>"
        yield _paragraph(f"explained: {shown.pair.target_names[0]}")
        area = told.area(shown.box, self._pictures.sides)
        yield _paragraph(f"box {tuple(shown.box)}: {area}")


def _paragraph(words: str) -> str:
    """A paragraph of plain words."""
    return f"<p>{html.escape(words)}</p>"
