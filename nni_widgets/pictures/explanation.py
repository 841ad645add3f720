"""An explanation: an attribution with all that is needed to read it, judge it and show it."""

from __future__ import annotations

import base64
import dataclasses
import io
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nni_widgets.engine.methods.base import FunctionMethod, Method, Result
from nni_widgets.errors import invalid
from nni_widgets.params import as_code
from nni_widgets.pictures.figure import Panel, figure_png
from nni_widgets.pictures.flow import FlowRow, flow_rows, lost_by_cause, map_of_layer
from nni_widgets.pictures.heatmap import Scale, heatmap, scale_of
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.readout import Sums, block_lines, names_of
from nni_widgets.pictures.render import Level

_SHOWN = 4


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why the model answers as it does, for N samples: made by :func:`explain`.

    ``low`` and ``high`` are black and white of the input's picture; ``shared_scale`` is given by
    :meth:`share_scale`, ``layer`` by :meth:`at`: pictures and digest then show the relevance there,
    not at the input. All raw values are kept; only pictures are scaled.
    """

    x: Tensor
    method: Method
    result: Result
    classes: tuple[str, ...]
    low: Level
    high: Level
    shared_scale: Scale | None = None
    layer: str = ""

    @property
    def attribution(self) -> Tensor:
        """The raw values, shaped like x."""
        return self.result.values

    @property
    def name(self) -> str:
        """The method's name for people."""
        return self.method.title or repr(self.method)

    @property
    def code(self) -> str:
        """The method as code."""
        plain = isinstance(self.method, FunctionMethod)
        return repr(self.method) if plain else as_code(self.method)

    @property
    def target_names(self) -> tuple[str, ...]:
        """What is explained, in words, for each sample."""
        return names_of(self.result.selection, self.classes, len(self.x))

    @property
    def predicted(self) -> tuple[str, ...]:
        """The class that the model predicts for each sample."""
        return tuple(self.classes[k] for k in self.result.logits.argmax(1).tolist())

    @property
    def probabilities(self) -> Tensor:
        """The softmax of the logits, ``(N, K)``."""
        return _exact(self.result.logits).softmax(1)

    @property
    def score(self) -> Tensor:
        """f(x), the explained number of each sample, ``(N,)``."""
        return self.result.score

    @property
    def reference_score(self) -> Tensor | None:
        """f(x′) at the baseline, if the method has one."""
        return self.result.reference_score

    @property
    def total(self) -> Tensor:
        """ΣR, what the attribution of each sample sums to: ``(N,)``, float64 on the CPU."""
        return _exact(self.attribution).flatten(1).sum(1)

    @property
    def expected(self) -> Tensor | None:
        """What it should sum to: f(x), or f(x) − f(x′); None if it is no decomposition."""
        if self.method.adds_up_to == "score":
            return _exact(self.score)
        if self.method.adds_up_to == "difference" and self.reference_score is not None:
            return _exact(self.score) - _exact(self.reference_score)
        return None

    @property
    def gap(self) -> Tensor | None:
        """What is missing, expected − ΣR; None if the method is no decomposition."""
        return None if self.expected is None else self.expected - self.total

    @property
    def relative_gap(self) -> Tensor | None:
        """|gap| as a share of |expected|: 0 if both are 0, infinite if only ``expected`` is."""
        if self.gap is None or self.expected is None:
            return None
        return torch.where(self.gap == 0, 0.0, (self.gap / self.expected).abs())

    @property
    def passes(self) -> float:
        """The cost: forward and backward passes of the model for each sample."""
        return self.result.passes

    @cached_property
    def heatmaps(self) -> Tensor:
        """One number per place, ``(N, H, W)``."""
        return heatmap(self.attribution, self.method.channels)

    def scale(self, i: int = 0) -> Scale:
        """The scale of sample ``i``: the shared one, or that of its own shown map."""
        return self.scale_for(self.shown(i))

    def scale_for(self, values: Tensor) -> Scale:
        """The scale for one map of this explanation, such as a layer's: the shared or its own."""
        return self.shared_scale or scale_of(values, signed=self.method.signed)

    def share_scale(self, *others: Explanation) -> tuple[Explanation, ...]:
        """This explanation and the others, all samples of each, to be shown on one scale."""
        all_of_them = (self, *others)
        signed = any(one.method.signed for one in all_of_them)
        maps = (one.shown(i) for one in all_of_them for i in range(len(one.x)))
        scale = scale_of(*maps, signed=signed)
        return tuple(dataclasses.replace(one, shared_scale=scale) for one in all_of_them)

    def heatmap(self, i: int = 0) -> Tensor:
        """The heatmap of sample ``i``, ``(H, W)``."""
        return self.heatmaps[self._sample(i)]

    def at(self, layer: str) -> Explanation:
        """This explanation, shown at a layer; an empty string is the input.

        Raises ``ValueError`` if the method has no relevance there.
        """
        if layer:
            self.layer_map(layer)
        return dataclasses.replace(self, layer=layer)

    def shown(self, i: int = 0) -> Tensor:
        """The map that is shown of sample ``i``: the heatmap, or the relevance at ``layer``."""
        return self.layer_map(self.layer, i) if self.layer else self.heatmap(i)

    def flow(self, i: int = 0) -> tuple[FlowRow, ...]:
        """Layer by layer from the output down; empty unless the method propagates."""
        return flow_rows(self.result.layers, self._sample(i))

    def layer_map(self, label: str, i: int = 0) -> Tensor:
        """The relevance at a layer's output, ``(H, W)``, or ``(1, K)`` for a dense layer."""
        return map_of_layer(self.result.layers, label, self._sample(i))

    def sums(self, i: int = 0) -> Sums:
        """ΣR of sample ``i``, what it should be, and where the rest is."""
        i = self._sample(i)
        reference, expected = self.reference_score, self.expected
        lost = lost_by_cause(self.result.layers, i) if expected is not None else {}
        if lost and self.gap is not None:
            lost["target function"] = float(self.gap[i]) - sum(lost.values())
        return Sums(
            total=float(self.total[i]),
            score=float(self.score[i]),
            reference=None if reference is None else float(reference[i]),
            expected=None if expected is None else float(expected[i]),
            lost=lost,
        )

    def adds_up(self, i: int = 0) -> str:
        """One sentence: does the attribution sum to what it should, and where is the rest?"""
        sums = self.sums(i)
        if sums.gap is not None:
            return ": ".join(filter(None, (str(sums), sums.causes())))
        if isinstance(self.method, FunctionMethod):
            return f"{self.name} does not say what it should sum to: {sums}."
        total = number(sums.total, digits=2)
        return (
            f"{self.name} is no decomposition: its sum {total} means nothing; "
            "compare places, not sums."
        )

    def digest(self, i: int = 0) -> str:
        """The numbers that matter in a few lines that are equal on every machine.

        Method, target, prediction; the sums; the heatmap as block means, the largest being 8 or -8.
        """
        eight, blocks = block_lines(self.shown(i))
        where = f", at {self.layer}" if self.layer else ""
        heading = f"{self.code}{where}, {self._answer(i)}"
        return "\n".join([heading, f"{self.sums(i)}; 8 stands for {eight}", *blocks])

    def png(self, i: int = 0) -> bytes:
        """Sample ``i``, its heatmap and the scale, as a PNG that carries its parameters as text."""
        return self._figure([self._sample(i)])

    def npz(self) -> bytes:
        """The raw values of all samples, the inputs, the targets and the method's code."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            attribution=array_of(self.attribution),
            x=array_of(self.x),
            logits=array_of(self.result.logits),
            target=np.array(self.target_names),
            method=np.array(self.code),
        )
        return buffer.getvalue()

    def save(self, path: str | Path, i: int = 0) -> None:
        """Write sample ``i`` as ``.png``, or the raw values of all as ``.npz``."""
        path = Path(path)
        if path.suffix == ".png":
            path.write_bytes(self.png(i))
        elif path.suffix == ".npz":
            path.write_bytes(self.npz())
        else:
            expected = "a file that ends in .png or .npz"
            raise invalid("save", "path", expected, str(path), "Choose one of these endings")

    def __repr__(self) -> str:
        digests = [self.digest(i) for i in range(min(_SHOWN, len(self.x)))]
        more = len(self.x) - _SHOWN
        return "\n".join([*digests, f"… and {more} more"] if more > 0 else digests)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        shown = self._figure(list(range(min(_SHOWN, len(self.x)))))
        return {"image/png": base64.b64encode(shown).decode("ascii"), "text/plain": repr(self)}

    def _answer(self, i: int) -> str:
        probability = number(float(self.probabilities[i].max()), largest=1)
        return f"target {self.target_names[i]}: predicted {self.predicted[i]} ({probability})"

    def _figure(self, samples: list[int]) -> bytes:
        panels = [
            Panel(self.x[i], self.shown(i), self.scale(i), f"{self._answer(i)}. {self.adds_up(i)}")
            for i in samples
        ]
        metadata = {
            "Software": "nni_widgets",
            "Method": self.code,
            "Scale": "\n".join(str(self.scale(i)) for i in samples),
            "Explanation": "\n".join(self.digest(i) for i in samples),
        }
        return figure_png(panels, self.code, self.low, self.high, metadata)

    def _sample(self, i: int) -> int:
        if i not in range(len(self.x)):
            expected = f"a sample from 0 to {len(self.x) - 1}"
            raise invalid("Explanation", "i", expected, repr(i), "Choose one of the batch")
        return int(i)


def _exact(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)


def array_of(values: Tensor) -> NDArray[Any]:
    """The values in their own type; those of bfloat16, which NumPy lacks, in float32."""
    known = values.float() if values.dtype == torch.bfloat16 else values
    return known.detach().cpu().numpy()
