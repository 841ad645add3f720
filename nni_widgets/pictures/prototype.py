"""What was made, to be looked at: the images of a synthesis with what the model makes of them."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

from torch import nn

from nni_widgets.engine.synthesis import Parametrisation, Synthesis
from nni_widgets.errors import invalid
from nni_widgets.params import as_code, is_whole
from nni_widgets.pictures.explain import output_names, picture_range
from nni_widgets.pictures.figure import sheet_png
from nni_widgets.pictures.heatmap import heatmap
from nni_widgets.pictures.readout import block_lines
from nni_widgets.pictures.render import Level

_SHOWN = 10


@dataclass(frozen=True, eq=False, repr=False)
class Shown:
    """A synthesis that shows itself: made by :func:`nni_widgets.show`.

    ``low`` and ``high`` are black and white of the pictures.
    """

    made: Synthesis
    classes: tuple[str, ...]
    low: Level
    high: Level

    def caption(self, i: int) -> str:
        """What the model sees in image ``i`` itself, and how sure it is."""
        count = len(self.made.images)
        if not is_whole(i) or i not in range(count):
            expected = f"an image from 0 to {count - 1}"
            raise invalid("show", "i", expected, repr(i), "Choose one of the batch")
        probabilities = self.made.probabilities[i]
        best = int(probabilities.argmax())
        return f"{self.classes[best]} ({float(probabilities[best]):.2f})"

    def digest(self) -> str:
        """How it was made, and each image as its caption and block means, 8 the brightest."""
        made = self.made
        lines = [f"{as_code(made.made_by)}, step {made.step} of {made.of}"]
        for i in range(min(_SHOWN, len(made.images))):
            eight, blocks = block_lines(heatmap(made.images[i : i + 1], "sum")[0])
            lines += [f"{self.caption(i)}; 8 stands for {eight}", *blocks]
        return "\n".join(lines)

    def png(self) -> bytes:
        """The images side by side, each with its caption."""
        count = min(_SHOWN, len(self.made.images))
        captions = [self.caption(i) for i in range(count)]
        title, metadata = as_code(self.made.made_by), {"Software": "nni_widgets"}
        images = list(self.made.images[:count])
        return sheet_png(images, captions, title, self.low, self.high, metadata)

    def __repr__(self) -> str:
        return self.digest()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        picture = base64.b64encode(self.png()).decode("ascii")
        return {"image/png": picture, "text/plain": repr(self)}


def shown(made: Synthesis, model: nn.Module) -> Shown:
    """The images of a synthesis as a picture, each with the model's answer to it."""
    classes = output_names(model, made.logits.shape[1])
    return Shown(made, classes, *levels_of(made, model))


def levels_of(made: Synthesis, model: nn.Module) -> tuple[Level, Level]:
    """Black and white of what was made: the ends of the box that its pixels were kept in.

    Where a side of it is open they are those of the pixels.
    """
    image = getattr(made.made_by, "image", None)
    if not isinstance(image, Parametrisation):
        return picture_range(model, made.images)
    box = image.box(model)
    if all(map(math.isfinite, box)):
        return box.low, box.high
    return float(made.images.min()), float(made.images.max())
