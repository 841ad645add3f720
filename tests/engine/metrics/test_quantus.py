"""Values of Quantus 0.6.0 where it follows the papers, kept here: it is no dependency of ours.

Made by ``quantus.Sparseness(abs=True)``, ``quantus.RelevanceMassAccuracy()`` on the positive part
and ``quantus.PointingGame()``, each with ``normalise=False``, on the maps that these tests measure;
the last one on maps moved to the right by 12 pixels, so that some of them miss.
"""

import pytest
import torch

import nni_widgets as nni
from nni_widgets.engine.metrics.base import Subject


@pytest.fixture(scope="module")
def subject():
    """LRP on six cluttered digits, and where these are."""
    model, made = nni.models.load("cluttered-cam"), nni.data.cluttered(6)
    attribution = nni.LRP()(model, made.images, made.labels)
    return Subject(model, made.images, attribution, made.labels), made.boxes


def measured(metric, subject):
    *_, last = metric.steps(subject)
    return last.values


def test_sparseness(subject):
    quantus = torch.tensor([0.90862, 0.88162, 0.90961, 0.86434, 0.90298, 0.91871])
    found = measured(nni.Sparseness(), subject[0])
    torch.testing.assert_close(found.float(), quantus, rtol=0, atol=1e-4)


def test_relevance_mass(subject):
    quantus = torch.tensor([0.96151, 0.95123, 0.89440, 0.91614, 0.96815, 0.92788])
    found = measured(nni.RelevanceMass(subject[1]), subject[0])
    torch.testing.assert_close(found.float(), quantus, rtol=0, atol=1e-4)


def test_pointing_game(subject):
    quantus = [False, True, False, True, False, False]
    of_maps, boxes = subject
    moved = of_maps.method.values.roll(12, dims=3)
    elsewhere = Subject(of_maps.model, of_maps.x, moved, of_maps.selection)
    assert measured(nni.PointingGame(boxes), elsewhere).bool().tolist() == quantus
