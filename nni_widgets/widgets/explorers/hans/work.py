"""The work: maps of the pictures of a class, their groups, and one picture before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nni_widgets.engine.metrics.clusters import Clusters, clusters
from nni_widgets.pictures.boxes import Box, peak, share_inside
from nni_widgets.pictures.explain import Explanation, explain, explanations
from nni_widgets.session import Step
from nni_widgets.widgets.explorers.hans.layout import layout
from nni_widgets.widgets.explorers.hans.study import (
    AS_IT_IS,
    MOST_GROUPS,
    Chosen,
    Collection,
    box_around,
    first_of,
)
from nni_widgets.widgets.parts.last import Last
from nni_widgets.widgets.parts.samples import predicted

_AT_FIRST, _NUMBERS_AT_FIRST, _LATER = 16, 2**18, 4


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps ``(n, H, W)`` of the first n of ``x``, and the class predicted for each.

    ``suggested`` is how many groups they fall into by themselves; not known before all are there.
    """

    numbers: Tensor
    x: Tensor
    values: Tensor
    predicted: Tensor
    suggested: int = 0

    @property
    def finished(self) -> bool:
        """Whether every picture has its map, a complete one."""
        return self.suggested > 0


@dataclass(frozen=True, eq=False)
class Grouped:
    """What was chosen, all maps, the box of each picture, and the groups as soon as they are."""

    chosen: Chosen
    maps: Maps
    boxes: tuple[Box, ...]
    groups: Clusters | None

    @property
    def group(self) -> int | None:
        """The chosen group, if there are groups."""
        count = 0 if self.groups is None else len(self.groups.means)
        return self.chosen.group if (self.chosen.group or 0) < count else None

    @property
    def members(self) -> tuple[int, ...]:
        """The places of the pictures of the group, or of all that have a map."""
        if self.groups is None or self.group is None:
            return tuple(range(len(self.maps.values)))
        return tuple((self.groups.labels == self.group).nonzero().flatten().tolist())

    @property
    def place(self) -> int:
        """The place of the chosen picture."""
        members = self.members
        return self.chosen.place if self.chosen.place in members else members[0]

    @property
    def box(self) -> Box:
        """The box in the chosen picture."""
        return self.boxes[self.place]

    @property
    def mean(self) -> Tensor:
        """The mean map of the group."""
        return self.maps.values[list(self.members)].mean(0)

    @property
    def called(self) -> int:
        """For how many pictures of the group their class is predicted."""
        return int((self.maps.predicted[list(self.members)] == self.chosen.label).sum())

    def share(self, places: tuple[int, ...]) -> float:
        """The mean share of the positive relevance that lies in the boxes of these pictures."""
        shares = [share_inside(self.maps.values[place], self.boxes[place]) for place in places]
        return sum(shares) / len(shares)


@dataclass(frozen=True, eq=False)
class Found(Grouped):
    """What there is to see: also the chosen picture before and after the change.

    ``pair`` explains both; ``kept`` tells for how many pictures of the group their class is still
    predicted when each is changed in the same way; ``layout`` has a place for each map, where alike
    ones lie close, as soon as it is known.
    """

    pair: Explanation
    kept: int | None = None
    layout: Tensor | None = None


class Work:
    """Gives the steps for what is chosen; what has not changed is not computed again."""

    def __init__(self, model: nn.Module, pictures: Collection, classes: tuple[str, ...]) -> None:
        self._model, self._pictures, self._classes = model, pictures, classes
        self._predicted: Last[Tensor] = Last(model)
        self._maps: Last[Maps] = Last(model)
        self._groups: Last[Clusters] = Last()
        self._pair: Last[Explanation] = Last(model)
        self._layout: Last[Tensor] = Last()

    def __call__(self, chosen: Chosen) -> Iterator[Step[Found]]:
        """First pictures at once, then all maps, their groups, and at last their layout."""
        name, count = self._classes[chosen.label], chosen.study.n_pictures
        numbers = first_of(self._labels(), chosen.label, count, name)
        of = len(numbers) + 2
        for maps in self._mapped(chosen, numbers):
            if not maps.finished:
                yield Step(self._found(chosen, maps, None), len(maps.values), of)
        found = self._found(chosen, maps, self._grouped(chosen, maps))
        if chosen.change != AS_IT_IS:
            found = replace(found, kept=self._kept(found))
        known = self._layout.get(None, maps.values)
        if known is None:
            yield Step(found, of - 1, of)
            known = layout(maps.values)
            self._layout.keep(None, maps.values, known)
        yield Step(replace(found, layout=known), of, of)

    def _labels(self) -> Tensor:
        """The class of every picture, or that which the model predicts."""
        images, labels = self._pictures.images, self._pictures.labels
        if labels is None:
            labels = self._predicted.get(None, images)
        if labels is None:
            labels = torch.tensor(predicted(self._model, images))
            self._predicted.keep(None, images, labels)
        return labels

    def _mapped(self, chosen: Chosen, numbers: Tensor) -> Iterator[Maps]:
        x, key = self._pictures.images[numbers], (chosen.explained, chosen.study.method)
        known = self._maps.get(key, x)
        if known is not None:
            yield known
            return
        maps = Maps(numbers, x, x[:0, 0], numbers[:0])
        for some in _parts(x):
            for made in explanations(self._model, some, chosen.study.method, chosen.explained):
                so_far = replace(
                    maps,
                    values=torch.cat([maps.values, made.heatmaps]),
                    predicted=torch.cat([maps.predicted, made.result.logits.argmax(1).cpu()]),
                )
                if len(so_far.values) < len(x) or made.result.done < made.result.of:
                    yield so_far
            maps = so_far
        maps = replace(maps, suggested=min(clusters(maps.values[:, None], 1).eigengap, MOST_GROUPS))
        self._maps.keep(key, x, maps)
        yield maps

    def _grouped(self, chosen: Chosen, maps: Maps) -> Clusters:
        count = min(chosen.study.n_groups or maps.suggested, len(maps.values))
        groups = self._groups.get(count, maps.values)
        if groups is None:
            groups = clusters(maps.values[:, None], count)
            self._groups.keep(count, maps.values, groups)
        return groups

    def _found(self, chosen: Chosen, maps: Maps, groups: Clusters | None) -> Found:
        boxes = self._boxes(chosen, maps)
        pair = self._explained(Grouped(chosen, maps, boxes, groups))
        return Found(chosen, maps, boxes, groups, pair)

    def _boxes(self, chosen: Chosen, maps: Maps) -> tuple[Box, ...]:
        """Each picture's own box, or the same for all: that chosen, or where the maps are most."""
        if chosen.box is None and self._pictures.boxes:
            return tuple(self._pictures.boxes[number] for number in maps.numbers.tolist())
        box = chosen.box or box_around(peak(maps.values.mean(0)) or (0, 0), self._pictures.sides)
        return (box,) * len(maps.x)

    def _explained(self, found: Grouped) -> Explanation:
        chosen = found.chosen
        both = torch.cat([found.maps.x[[found.place]], self._changed(found, (found.place,))])
        key = chosen.explained, chosen.study.method
        pair = self._pair.get(key, both)
        if pair is None:
            made = explain(self._model, both, chosen.study.method, chosen.explained)
            (pair,) = made.share_scale()
            self._pair.keep(key, both, pair)
        return pair

    def _changed(self, found: Grouped, places: tuple[int, ...]) -> Tensor:
        chosen, boxes = found.chosen, tuple(found.boxes[place] for place in places)
        x = found.maps.x[list(places)]
        return self._pictures.changed(x, boxes, chosen.change, chosen.study.fill)

    def _kept(self, found: Grouped) -> int:
        after = predicted(self._model, self._changed(found, found.members))
        return after.count(found.chosen.label)


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    """The first pictures, few of them to be quick, then the others, more at once."""
    few = max(1, min(_AT_FIRST, _NUMBERS_AT_FIRST // x[0].numel()))
    return x[:few], *(x[few:].split(_LATER * few) if len(x) > few else ())
