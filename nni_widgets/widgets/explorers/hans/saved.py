"""What is saved: a sheet of the mean map and the picture before and after, and the numbers."""

from __future__ import annotations

import torch

from nni_widgets.pictures.boxes import share_inside
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.pictures.numbers import percent
from nni_widgets.widgets.explorers.hans import told
from nni_widgets.widgets.explorers.hans.study import AS_IT_IS, Collection
from nni_widgets.widgets.explorers.hans.work import Found
from nni_widgets.widgets.parts.files import npz


def png_of(found: Found, pictures: Collection, name: str, digest: str) -> bytes:
    """The sheet, as PNG; ``name`` is the class of the pictures, ``digest`` goes with it."""
    metadata = {"Software": "nni_widgets", "Explanation": digest}
    panels, title = panels_of(found, name), told.groups(found, name)
    return figure_png(panels, title, pictures.low, pictures.high, metadata)


def panels_of(found: Found, name: str) -> list[Panel]:
    """The mean of the group, the chosen picture, and what the change has made of it."""
    pair, mean = found.pair, found.mean
    panels = [
        Panel(
            found.maps.x[list(found.members)].mean(0),
            mean,
            scale_of(mean, signed=pair.method.signed),
            f"mean picture and mean map of {told.counted(found, name)}",
        ),
        Panel(
            pair.x[0],
            pair.heatmap(0),
            pair.scale(0),
            f"{told.picture(found, name)}; {told.inside(found, 0)}",
        ),
    ]
    if found.chosen.change != AS_IT_IS:
        inside = percent(share_inside(pair.heatmap(1), found.box))
        words = f"box {found.chosen.change}: {told.answer(found, 1)}; in the box {inside}"
        panels.append(Panel(pair.x[1], pair.heatmap(1), pair.scale(1), words))
    return panels


def npz_of(found: Found) -> bytes:
    """The numbers, as an archive of arrays."""
    kept = {"numbers": found.maps.numbers, "maps": found.maps.values, "mean": found.mean}
    kept |= {"predicted": found.maps.predicted, "boxes": torch.tensor(found.boxes)}
    kept |= {"x": found.pair.x, "attribution": found.pair.attribution}
    kept["logits"] = found.pair.result.logits
    if found.groups is not None:
        kept |= {"groups": found.groups.labels, "embedding": found.groups.embedding}
        kept["eigenvalues"] = found.groups.eigenvalues
    if found.layout is not None:
        kept["layout"] = found.layout
    return npz(**kept)
