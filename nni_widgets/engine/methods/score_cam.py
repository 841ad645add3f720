"""Score-CAM: a class activation map whose weights are asked for with masked pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.activation_map import LayerMap, MapResult, over_pixels
from nni_widgets.engine.methods.base import Result, logits_of
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.chunks import in_chunks, rows_without_graph
from nni_widgets.engine.methods.maps import along_places, upsample
from nni_widgets.engine.targets import Target, resolve

_MANY = 500


class ScoreCAM(LayerMap):
    """Score-CAM: each map weighted by the score of the picture seen through it, without gradients.

    ``R = ReLU(Σ_k α_k A_k)``, ``α = softmax_k f(x ∘ H_k)``; H_k is A_k at the size of x, scaled to
    [0, 1] by its own minimum and maximum. (Which score the paper subtracts for a baseline does not
    matter: it drops out in the softmax.) A map that is the same everywhere hides nothing and has no
    H_k: it gets the weight 0. With logits a few maps take nearly all the weight; for the softer
    weights of a probability explain one: ``target=lambda f: f.softmax(1)[:, 3]``.

    Shape: as x, non-negative, the same number for all channels of a pixel. Unit: the activations'.
    Raises ``ValueError`` for a layer that is unknown or has no maps.
    Cost: 1 forward pass, and 1 per map that is not constant; memory bounded by a chunk.
    Source: Wang et al. 2020, sec. 3, algorithm 1.
    """

    title: ClassVar[str] = "Score-CAM"
    card = Card(
        kind="class activation",
        question="Which maps of a layer keep what the class needs, and where are they active?",
        cost="1 F + 1 F per map of the layer",
        needs="a layer with maps of more than one place",
        drawbacks="slow for many maps; as coarse as the layer; dimmed pictures are unlike any that "
        "the model has seen",
    )

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        tape, op = self._tape(model, x)
        maps, logits, label = op.results[0], tape.logits, op.label
        del tape, op
        selection = resolve(target, logits, who)
        varied = _is_varied(maps)
        known = torch.zeros_like(varied)
        scores = maps.new_zeros(known.shape)

        @torch.no_grad()
        def measure(rows: Tensor) -> None:
            channel, sample = rows // len(x), rows % len(x)
            masks = _unit(upsample(maps[sample, channel], x, self.upsampling))
            seen = logits_of(who, model, x[sample] * masks[:, None])
            scores[sample, channel] = selection.rows(sample)(seen).to(scores)
            known[sample, channel] = True

        def result(done: int) -> Result:
            weights = _softmax(scores, known)
            raw = (along_places(weights, maps) * maps).sum(1).clamp(min=0)
            values = over_pixels(upsample(raw, x, self.upsampling), x)
            return MapResult(
                values, selection, logits, passes=1 + done / len(x), done=done or 1,
                of=len(order) or 1, raw=raw, layer=label,
            )  # fmt: skip

        order = varied.T.flatten().nonzero()[:, 0]
        if not len(order):
            yield result(0)
            return
        for done in in_chunks(order, len(x), rows_without_graph(who, model, x), measure):
            yield result(done)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        found = super().examine(model, x)
        _, op = self._tape(model, x)
        varied = _is_varied(op.results[0])
        silent = [str(i) for i, row in enumerate(varied) if not bool(row.any())]
        if silent:
            text = (
                f"ScoreCAM: no map of {op.label!r} varies for sample {', '.join(silent)}: "
                "nothing to show."
            )
            found.append(Finding("warning", text))
        if varied.shape[1] > _MANY:
            text = f"ScoreCAM: {varied.shape[1]} maps in {op.label!r}, one forward pass each, "
            found.append(Finding("note", text + "take long. Grad-CAM asks once."))
        return found


def _is_varied(maps: Tensor) -> Tensor:
    """Which maps are not the same everywhere: ``(N, C)`` booleans."""
    flat = maps.flatten(2)
    return flat.amax(2) > flat.amin(2)


def _unit(masks: Tensor) -> Tensor:
    """Each mask scaled to [0, 1] by its minimum and maximum; zeros if those are equal."""
    flat = masks.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    width = torch.where(high > low, high - low, 1)
    return ((flat - low) / width).view_as(masks)


def _softmax(scores: Tensor, known: Tensor) -> Tensor:
    """The softmax over the known scores of each row; 0 for the others."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~known, lowest).softmax(1) * known
