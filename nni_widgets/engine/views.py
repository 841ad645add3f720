"""Plain views into a network: a layer's activations, its weights, what excites a channel most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.chunks import rows_at_once
from nni_widgets.engine.receptive import boxes, receptive_field
from nni_widgets.engine.synthesis.watch import watch
from nni_widgets.engine.tape import record
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole


@dataclass(frozen=True, eq=False)
class StrongestInputs:
    """The pictures that excite a channel most, the strongest first, and where they do.

    ``values`` (n,) are the activations, ``indices`` (n,) the places in the data, ``images``
    (n, ...) the pictures. ``places`` (n, 2) are row and column of the unit in its map (no numbers
    for a dense layer) and ``boxes`` (n, 4) the part of the picture that it can see: top, left,
    bottom, right, the last two outside.
    """

    layer: str
    channel: int
    values: Tensor
    indices: Tensor
    places: Tensor
    boxes: Tensor
    images: Tensor

    @property
    def crops(self) -> tuple[Tensor, ...]:
        """The part of each picture that its unit can see; smaller at the picture's border."""
        starts, ends = self.boxes.tensor_split(2, 1)
        return tuple(
            image[(..., *map(slice, start, end))]
            for image, start, end in zip(self.images, starts.tolist(), ends.tolist(), strict=True)
        )


@torch.inference_mode(False)
def activations(model: nn.Module, x: Tensor, layer: str, batch_size: int | None = None) -> Tensor:
    """What a layer makes of x: its raw maps, or numbers, one entry per sample.

    ``layer``: a name of ``nni.layers(model, x)``; batch-norm is part of the layer before it. Read a
    map as a picture of where its feature is, in no unit: channels are not comparable.

    Shape: ``(N, C, ...)``. Raises ``ValueError`` for an unknown layer, or one without channels.
    Cost: 1 forward pass up to the layer; besides the result, memory is bounded by a batch.
    """
    return torch.cat(list(_batches("activations", model, x, layer, batch_size)))


def filters(model: nn.Module, layer: str) -> Tensor:
    """The weights of a layer, found by its path in the model; a copy.

    ``(out, in / groups, height, width)`` of a convolution, ``(in, out / groups, height, width)`` of
    a transposed one, ``(out, in)`` of a dense layer. In the first layer a filter is a picture of
    what it looks for: positive where bright pixels excite it. Higher up its channels are features,
    not colours: look at `strongest_inputs` instead.

    Raises ``ValueError`` for a layer without such weights. Cost: nothing.
    """
    if not isinstance(model, nn.Module):
        given = type(model).__name__
        raise invalid("filters", "model", "a torch.nn.Module", given, "Pass the module")
    weighted = {
        path: weight
        for path, module in model.named_modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.ndim > 1
    }
    if not isinstance(layer, str) or layer not in weighted:
        expected = f"one with weights, {', '.join(weighted) or 'of which this model has none'}"
        raise invalid("filters", "layer", expected, repr(layer), "Name a convolution")
    return weighted[layer].detach().clone()


@torch.inference_mode(False)
def strongest_inputs(
    model: nn.Module,
    images: Tensor,
    layer: str,
    channel: int,
    n: int = 9,
    batch_size: int | None = None,
) -> StrongestInputs:
    """The n pictures of a data set that excite a channel most, and the part of each that did.

    A picture counts by its strongest unit; of equally strong ones the first comes first. What the
    crops have in common is what the channel answers to; look beyond the first few, which are its
    extremes.

    Shape: see `StrongestInputs`. Unit: that of the activation. Raises ``ValueError`` for an unknown
    layer, a channel or an n out of range. Cost: 1 forward pass of the data up to the layer, memory
    bounded by a batch; 2 forward passes and 1 backward of the n pictures for the boxes.
    Source: Zeiler, Fergus 2014, sec. 4.1, figure 2.
    """
    who = "strongest_inputs"
    values, units = [], []
    for maps in _batches(who, model, images, layer, batch_size):
        channel = _whole(who, "channel", channel, 0, maps.shape[1] - 1)
        strongest, unit = maps[:, channel].reshape(len(maps), -1).max(1)
        values.append(strongest)
        units.append(unit)
    n = _whole(who, "n", n, 1, len(images))
    order = torch.cat(values).sort(descending=True, stable=True)
    indices = order.indices[:n]
    _, *places = torch.unravel_index(torch.cat(units)[indices], (1, *maps.shape[2:]))
    chosen = images[indices].detach()
    number = watch(who, model, chosen[:1], (layer,)).places[layer].number
    fields = [
        _field(who, model, image[None], number, (channel, *place))
        for image, *place in zip(chosen, *places, strict=True)
    ]
    return StrongestInputs(
        layer=layer,
        channel=channel,
        values=order.values[:n],
        indices=indices,
        places=torch.stack(places, 1) if places else indices.new_empty(n, 0),
        boxes=boxes(torch.cat(fields)),
        images=chosen,
    )


def _batches(
    who: str, model: nn.Module, x: Tensor, layer: str, batch_size: int | None
) -> Iterator[Tensor]:
    """What the layer makes of one batch after the other."""
    check_model(who, model)
    check_input(who, model, x)
    found = watch(who, model, x[:1], (layer,))
    if batch_size is None:
        batch_size = rows_at_once(
            model, x, (who, layer), lambda: found.see(model, x[:1].detach(), logits=False)
        )
    for batch in x.detach().split(_whole(who, "batch_size", batch_size, 1, None)):
        made = found.see(model, batch, logits=False)[1][layer].detach()
        if made.ndim < 2 or len(made) != len(batch):
            expected, given = "one of activations (N, C, ...)", f"shape {tuple(made.shape)}"
            raise invalid(who, f"layer {layer!r}", expected, given, "Choose another layer")
        yield made


def _field(
    who: str, model: nn.Module, x: Tensor, number: int, unit: tuple[int | Tensor, ...]
) -> Tensor:
    """What a unit, a channel and its place in the value of this number, can see of one picture."""
    tape = dataclasses.replace(record(model, x, who), output=number)
    tape.ops = list(tape.layers())
    mark = torch.zeros_like(tape.ops[-1].results[tape.ops[-1].outputs.index(number)])
    mark[(0, *unit)] = 1
    return receptive_field(tape, mark)


def _whole(who: str, name: str, value: int, low: int, high: int | None) -> int:
    if not is_whole(value) or value < low or (high is not None and value > high):
        expected = f"a whole number of at least {low}"
        expected = expected if high is None else f"a whole number from {low} to {high}"
        raise invalid(who, name, expected, repr(value), f"Try {low}")
    return int(value)
