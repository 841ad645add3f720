"""How sure an explanation is, to be looked at: mean, deviation and agreement, with scales."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from torch import Tensor, nn

from nni_widgets.engine.uncertainty.explanations import UncertainAttribution
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.explain import output_names, picture_range
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.heatmap import Scale, heatmap, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.readout import block_lines, names_of
from nni_widgets.pictures.render import Level

_SHOWN = 4


@dataclass(frozen=True, eq=False, repr=False)
class ShownUncertain:
    """An uncertain attribution that shows itself: made by :func:`nni_widgets.show`.

    Mean and deviation share the unit of the method, agreement is a share from 0 to 1. They are
    those of the samples' heatmaps, whose channels the method joins. ``low`` and ``high`` are black
    and white of the input's picture.
    """

    found: UncertainAttribution
    classes: tuple[str, ...]
    low: Level
    high: Level

    def maps(self, i: int = 0) -> dict[str, tuple[Tensor, Scale]]:
        """Mean, deviation and agreement of picture ``i``, ``(H, W)`` each, with their scales."""
        i = self._picture(i)
        spread = self.found.heatmaps
        mean, deviation, agreement = (
            heatmap(each[i : i + 1, None])[0]
            for each in (spread.mean, spread.deviation, spread.agreement)
        )
        return {
            "mean": (mean, scale_of(mean, signed=self.found.method.signed)),
            "deviation": (deviation, scale_of(deviation, signed=False)),
            "agreement": (agreement, Scale(1.0, signed=False)),
        }

    def target(self, i: int) -> str:
        """What is explained of picture ``i``, in words."""
        if self.found.selection is None:
            return "what each sample predicts"
        return names_of(self.found.selection, self.classes, len(self.found.x))[self._picture(i)]

    def votes(self, i: int) -> str:
        """What the samples predict for picture ``i``: each class and how often, most first."""
        counts = self.found.prediction.votes[self._picture(i)].tolist()
        order = sorted(range(len(counts)), key=lambda k: -counts[k])
        return ", ".join(f"{self.classes[k]} ({counts[k]})" for k in order if counts[k])

    def doubt(self, i: int) -> str:
        """The entropy of picture ``i``, and which part of it is due to the samples' difference."""
        prediction, i = self.found.prediction, self._picture(i)
        entropy = number(float(prediction.entropy[i]), largest=1)
        information = number(float(prediction.mutual_information[i]), largest=1)
        return f"entropy {entropy}, mutual information {information}"

    def digest(self, i: int = 0) -> str:
        """The numbers that matter: votes, doubt, and the three maps as block means, 8 the most."""
        found = self.found
        made = f"{as_code(found.method)} under {as_code(found.source)}"
        lines = [
            f"{made}, {found.done} of {found.of} samples, target {self.target(i)}",
            f"votes {self.votes(i)}; {self.doubt(i)}",
        ]
        for name, (values, _) in self.maps(i).items():
            eight, blocks = block_lines(values)
            lines += [f"{name}: 8 stands for {eight}", *blocks]
        return "\n".join(lines)

    def png(self, i: int = 0) -> bytes:
        """Picture ``i`` beside each of its three maps, as a PNG that carries the digest as text."""
        return self._figure([i])

    def __repr__(self) -> str:
        digests = [self.digest(i) for i in range(min(_SHOWN, len(self.found.x)))]
        more = len(self.found.x) - _SHOWN
        return "\n".join([*digests, f"… and {more} more"] if more > 0 else digests)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        shown = self._figure(list(range(min(_SHOWN, len(self.found.x)))))
        return {"image/png": base64.b64encode(shown).decode("ascii"), "text/plain": repr(self)}

    def _picture(self, i: int) -> int:
        if i not in range(len(self.found.x)):
            expected = f"a picture from 0 to {len(self.found.x) - 1}"
            raise invalid("show", "i", expected, repr(i), "Choose one of the batch")
        return int(i)

    def _figure(self, pictures: list[int]) -> bytes:
        found = self.found
        panels = [
            Panel(found.x[i], values, scale, f"{_WORDS[name]}, target {self.target(i)}. {tail}")
            for i in pictures
            for tail in [f"Votes {self.votes(i)}; {self.doubt(i)}."]
            for name, (values, scale) in self.maps(i).items()
        ]
        title = f"{as_code(found.method)} under {as_code(found.source)}, {found.done} samples"
        texts = "\n".join(self.digest(i) for i in pictures)
        metadata = {"Software": "nni_widgets", "Uncertain explanation": texts}
        return figure_png(panels, title, self.low, self.high, metadata)


def shown_uncertain(found: UncertainAttribution, model: nn.Module) -> ShownUncertain:
    """An uncertain attribution as pictures: mean, deviation and sign agreement."""
    classes = output_names(model, found.prediction.logits.shape[2])
    return ShownUncertain(found, classes, *picture_range(model, found.x))


_WORDS = {
    "mean": "Mean",
    "deviation": "Standard deviation",
    "agreement": "Share of the samples with the sign of the mean",
}
