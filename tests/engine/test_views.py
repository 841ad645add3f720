"""Activations, filters, the strongest inputs and what their units can see.

Reference for receptive fields: a pixel that is NaN makes every unit NaN that can see it.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nni_widgets as nni
from nni_widgets.engine.anatomy import anatomy
from nni_widgets.engine.receptive import boxes, receptive_field
from nni_widgets.engine.synthesis.watch import watch
from nni_widgets.engine.tape import record
from nni_widgets.engine.views import StrongestInputs, activations, filters, strongest_inputs

from .common import assert_near, build
from .test_bad_input import refusal
from .test_common import SOUND, nothing_changes

COMPARES = {"masks"}
"""Nets whose comparisons turn NaN into a number, so that the reference misses pixels."""


def small() -> tuple[nn.Module, Tensor]:
    """A net whose receptive fields are known by counting: 3, then 3 + 1, then 3 + 1 + 2·2 = 8."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3),
              nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 5, 6)]  # fmt: skip
    return nn.Sequential(*layers).double().eval(), torch.rand(12, 1, 12, 14, dtype=torch.float64)


# --- Activations and filters ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SOUND)
def test_activations_are_those_of_the_anatomy(name: str) -> None:
    model, x = build(SOUND[name], batch=3)
    for part in anatomy(model, x):
        if part.activation.ndim > 1 and len(part.activation) == len(x):
            with nothing_changes(model, x):
                ours = activations(model, x, part.label, batch_size=2)
            assert not ours.requires_grad
            assert_near(ours, part.activation, 1e-12, part.label)


def test_memory_is_bounded_by_a_batch() -> None:
    rows: list[int] = []

    class Counting(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            rows.append(len(x))
            return super().forward(x)

    plain, x = small()
    model = Counting(*plain).eval()
    strongest_inputs(model, x, "3", 0, n=2, batch_size=5)
    assert max(rows) == 5
    rows.clear()
    strongest_inputs(model, x.repeat(20, 1, 1, 1), "3", 0, n=2)
    assert max(rows) <= 32


def test_filters_are_a_copy_of_the_weights() -> None:
    model, _ = small()
    found = filters(model, "3")
    assert found.shape == (4, 3, 3, 3)
    assert torch.equal(found, model[3].weight)
    assert not found.requires_grad
    found.zero_()
    assert bool(model[3].weight.any())
    assert filters(model, "6").shape == (6, 80)


# --- Receptive fields -----------------------------------------------------------------------------


def seen_by_nan(model: nn.Module, x: Tensor, layer: str, unit: tuple[int, ...]) -> Tensor:
    """Which pixels of one sample make the unit NaN."""
    n_places = x[0, 0].numel()
    probes = x.repeat(n_places, *[1] * (x.ndim - 1))
    for place, probe in enumerate(probes):
        probe.view(len(probe), -1)[:, place] = math.nan
    made = watch("test", model, x, (layer,)).see(model, probes, logits=False)[1][layer]
    return made[(slice(None), *unit)].isnan().view(x.shape[2:])


def field_of(model: nn.Module, x: Tensor, layer: str, unit: tuple[int, ...]) -> Tensor:
    """The places of one sample that the unit can see, in any channel."""
    tape = record(model, x)
    tape.output = watch("test", model, x, (layer,)).places[layer].number
    tape.ops = list(tape.layers())
    mark = torch.zeros_like(tape.ops[-1].results[0])
    mark[(0, *unit)] = 1
    return receptive_field(tape, mark)[0].any(0)


@pytest.mark.parametrize("name", sorted(SOUND))
def test_the_field_is_what_makes_a_unit_nan(name: str) -> None:
    """On every net of the catalogue: a unit in the middle of each layer of maps."""
    model, x = build(SOUND[name], batch=1)
    for part in anatomy(model, x):
        shape = part.activation.shape
        if len(shape) == x.ndim and shape[0] == 1:
            unit = tuple(side // 2 for side in shape[1:])
            theirs = seen_by_nan(model, x, part.label, unit)
            ours = field_of(model, x, part.label, unit)
            assert bool((ours >= theirs).all()), part.label
            assert torch.equal(ours, theirs) or name in COMPARES, part.label


def test_a_unit_that_is_off_and_a_weight_of_zero_see_as_much() -> None:
    """A gradient would be 0 there."""
    model, x = small()
    before = field_of(model, x[:1], "3", (0, 2, 2))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
        model[3].weight[0, 1:] = 0
        model[3].weight[0, :, 0] = 0
    assert not bool(activations(model, x, "1").any())
    assert torch.equal(field_of(model, x[:1], "3", (0, 2, 2)), before)
    assert boxes(before[None, None]).tolist() == [[3, 3, 11, 11]]


def test_boxes_end_outside_and_nothing_is_empty() -> None:
    seen = torch.zeros(2, 3, 5, 7, dtype=torch.bool)
    seen[0, 1, 2, 3] = seen[0, 2, 4, 6] = True
    assert boxes(seen).tolist() == [[2, 3, 5, 7], [0, 0, 0, 0]]
    assert boxes(torch.tensor([[False, True, True, False]])).tolist() == [[1, 3]]


# --- The strongest inputs -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 5])
def test_strongest_inputs_by_hand(batch_size: int | None) -> None:
    model, x = small()
    with nothing_changes(model, x):
        found = strongest_inputs(model, x, "3", 2, n=4, batch_size=batch_size)
    maps = model[:4](x)[:, 2].detach()
    best = maps.flatten(1).amax(1)
    assert found.indices.tolist() == best.argsort(descending=True)[:4].tolist()
    assert_near(found.values, best[found.indices], 1e-12)
    assert torch.equal(found.images, x[found.indices])
    for i, (row, column) in enumerate(found.places.tolist()):
        assert maps[found.indices[i], row, column] == found.values[i]
        top, left = max(2 * row - 1, 0), max(2 * column - 1, 0)
        bottom, right = min(2 * row + 7, 12), min(2 * column + 7, 14)
        assert found.boxes[i].tolist() == [top, left, bottom, right]
        assert torch.equal(found.crops[i], found.images[i, :, top:bottom, left:right])


def test_the_crop_alone_decides_the_activation() -> None:
    """All that is outside of the box may change, and nothing inside it is spare."""
    model, x = small()
    found = strongest_inputs(model, x, "3", 1, n=3)
    for i, (top, left, bottom, right) in enumerate(found.boxes.tolist()):
        other = torch.rand_like(found.images[i])
        other[:, top:bottom, left:right] = found.crops[i]
        unit = (0, 1, *found.places[i].tolist())
        assert_near(model[:4](other[None])[unit], found.values[i], 1e-12)


def test_of_equal_ones_the_first_come_first_and_dense_layers_have_no_place() -> None:
    model, x = small()
    same = x[:1].repeat(5, 1, 1, 1)
    found = strongest_inputs(model, same, "6", 1, n=3, batch_size=2)
    assert found.indices.tolist() == [0, 1, 2]
    assert found.places.shape == (3, 0)
    assert found.boxes.tolist() == [[0, 0, 12, 14]] * 3
    assert found.crops[0].shape == (1, 12, 14)


def test_in_inference_mode() -> None:
    model, x = small()
    expected = strongest_inputs(model, x, "3", 1, n=2)
    with torch.inference_mode():
        found = strongest_inputs(model, x.clone(), "3", 1, n=2)
        assert torch.equal(activations(model, x.clone(), "3"), activations(model, x, "3"))
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.boxes, expected.boxes)


def test_what_excites_a_class_of_the_digits_is_that_class() -> None:
    model, digits = nni.models.load("digits-cnn"), nni.data.digits("test")
    x, labels = digits[:500]
    found = strongest_inputs(model, x, "fc2", 3, n=9)
    assert isinstance(found, StrongestInputs)
    assert labels[found.indices].tolist() == [3] * 9


def test_whole_numbers_of_numpy() -> None:
    model, x = small()
    expected = strongest_inputs(model, x, "3", 2, n=3, batch_size=5)
    whole = (np.int64(number) for number in (2, 3, 5))
    found = strongest_inputs(model, x, "3", *whole)
    assert torch.equal(found.indices, expected.indices)
    assert (found.channel, type(found.channel)) == (2, int)


# --- Bad input ------------------------------------------------------------------------------------


def test_bad_input_is_one_sentence() -> None:
    model, x = small()
    refusal(lambda: activations(model, x, "nowhere"), "layer", "one of 0, 1, 2", "'nowhere'")
    refusal(lambda: activations(model, x[0, 0, 0], "0"), "a batch of at least one sample")
    refusal(lambda: activations(model, x, "0", batch_size=0), "batch_size", "at least 1", "got 0")
    refusal(lambda: activations(model.train(), x, "0"), "in evaluation mode")
    model.eval()
    refusal(lambda: filters(model, "1"), "layer", "one with weights, 0, 3, 6", "got '1'")
    refusal(lambda: filters(nn.ReLU(), "1"), "this model has none")
    refusal(lambda: filters(model, [0]), "layer", "one with weights", "got [0]")  # type: ignore[arg-type]
    refusal(lambda: filters("net", "0"), "model must be a torch.nn.Module")  # type: ignore[arg-type]
    refusal(lambda: activations(model, x, ["0"]), "layer", "one of 0, 1, 2", "got ['0']")  # type: ignore[arg-type]
    refusal(lambda: strongest_inputs(model, x, "3", 4), "channel", "from 0 to 3", "got 4")
    refusal(lambda: strongest_inputs(model, x, "3", True), "channel", "got True")
    refusal(lambda: strongest_inputs(model, x, "3", 0, n=13), "n must be", "from 1 to 12")
    refusal(lambda: strongest_inputs(model, x, "3", 0, n=0), "n must be", "got 0")
