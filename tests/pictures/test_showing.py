"""How an explanation shows itself: digest, notebook, files."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from nni_widgets.engine.methods import GradientTimesInput, IntegratedGradients, Saliency
from nni_widgets.pictures import explain
from tests.pictures.nets import LRP_EPSILON, X, convolutional, dense, ramp, with_values


def test_the_digest_of_a_known_map():
    model = ramp(bias=1.0)
    model.classes = ("ramp", "nothing")
    assert explain(model, X, GradientTimesInput()).digest().split("\n") == [
        "nni.GradientTimesInput(), target ramp: predicted ramp (1.00)",
        "ΣR = 5.00 of f(x) = 6.00; gap 1.00 (17 %); 8 stands for 8.0",
        "-3  0  0",
        " 0  0 +8",
    ]


def test_a_digest_survives_noise_and_shows_every_change():
    e = explain(convolutional(), torch.rand(1, 3, 12, 12), LRP_EPSILON)
    values = e.attribution
    noise = 1e-6 * values.abs().max() * (2 * torch.rand_like(values) - 1)
    assert with_values(e, values + noise).digest() == e.digest()
    largest = values.flatten().abs().argmax()
    flipped = values.flatten().clone()
    flipped[largest] *= -1
    changes = [flipped.reshape(values.shape), -values, 2 * values, values.transpose(2, 3)]
    assert len({with_values(e, changed).digest() for changed in changes} | {e.digest()}) == 5
    assert len(e.digest().splitlines()) <= 6


@pytest.mark.parametrize("method", [LRP_EPSILON, Saliency(), IntegratedGradients(n_steps=4)])
def test_vectors_are_explained_too(method):
    e = explain(dense(), torch.rand(2, 6), method)
    assert e.heatmap(1).shape == (1, 6)
    assert len(e.digest().splitlines()[2].split()) == 6
    assert Image.open(io.BytesIO(e.png(1))).width > 2 * 6 * 47


def test_a_notebook_gets_a_picture_and_the_digests():
    e = explain(convolutional(), torch.rand(6, 3, 12, 12), LRP_EPSILON)
    bundle = e._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"image/png", "text/plain"}
    shown = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert shown.height > 4 * 276
    assert shown.height < 5 * 276 + 300
    assert bundle["text/plain"] == "\n".join([*map(e.digest, range(4)), "… and 2 more"])


def test_a_png_carries_its_parameters(tmp_path):
    e = explain(ramp(), torch.cat([X / 2, X]), GradientTimesInput())
    e.save(tmp_path / "map.png", 1)
    texts = Image.open(tmp_path / "map.png").text
    assert texts["Method"] == e.code == "nni.GradientTimesInput()"
    assert texts["Explanation"] == e.digest(1)
    assert texts["Scale"] == "-8 to 8"


def test_raw_values_are_saved_without_pickles(tmp_path):
    e = explain(ramp(), X.repeat(2, 1, 1, 1), GradientTimesInput(), [0, 1])
    e.save(str(tmp_path / "all.npz"))
    with np.load(tmp_path / "all.npz", allow_pickle=False) as saved:
        assert np.array_equal(saved["attribution"], e.attribution.numpy())
        assert np.array_equal(saved["x"], e.x.numpy())
        assert np.array_equal(saved["logits"], e.result.logits.numpy())
        assert saved["target"].tolist() == ["0", "1"]
        assert str(saved["method"]) == "nni.GradientTimesInput()"
    with pytest.raises(ValueError, match=r"save: path must be a file that ends in \.png or \.npz"):
        e.save(tmp_path / "all.jpg")
