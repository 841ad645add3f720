"""The figures of the course say in words what they show, and show what they say."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from course import figures

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def explained():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, 1.0], [1.0, -1.0]]))
        model[0].bias.copy_(torch.tensor([2.0, 0.0]))
        model[2].weight.copy_(torch.tensor([[1.5, 1.0], [-1.0, 0.0]]))
    x = torch.tensor([[1.0, 2.0]])
    return nni.explain(model, x, nni.LRP(nni.Zero()), target=0)


def parts(drawing, tag):
    return list(ElementTree.fromstring(drawing.svg).iter(SVG + tag))


def test_network_of_weights():
    drawing = figures.network([[1, 2], [4], [8]], [[[2, 1]], [[2]]])
    assert repr(drawing) == "x₁, x₂ = 1, 2\nh₁ = 4\nf = 8"
    assert [text.text for text in parts(drawing, "text")][:3] == ["2", "1", "2"]
    assert len(parts(drawing, "circle")) == 4


def test_network_of_relevance_is_coloured_and_summed():
    drawing = figures.network([[3, -1], [2]], [[[3, -1]]], relevance=True)
    lines = parts(drawing, "line")
    assert [line.get("stroke") for line in lines] == [figures.FOR, figures.AGAINST]
    assert float(lines[0].get("stroke-width")) > float(lines[1].get("stroke-width"))
    assert [text.text for text in parts(drawing, "text")].count("Σ = 2") == 2


def test_flow_tells_what_arrives_and_what_is_kept(explained):
    drawing = figures.flow(explained)
    assert [line.split() for line in repr(drawing).splitlines()] == [
        ["2", "9.00", "nothing"],
        ["0", "9.00", "bias", "3.00"],
        ["pixels", "6.00"],
    ]
    lengths = [int(bar.get("width")) for bar in parts(drawing, "rect")[1:]]
    assert lengths == [230, 230, 153]


def test_digit_tells_how_much_is_ink():
    x = torch.zeros(1, 1, 28, 28)
    x[..., 3:5, 3] = 1
    picture = figures.digit(x)
    assert repr(picture) == "28 × 28 pixels, 2 of them not black"
    assert Image.open(io.BytesIO(picture.png)).size == (224, 224)


def test_gallery_shows_all_on_one_scale():
    model, x = nni.models.load("digits-cnn"), nni.data.digits("test")[:1][0]
    maps = {str(k): nni.explain(model, x, nni.GradientTimesInput(), target=k) for k in (7, 2)}
    picture = figures.gallery(maps)
    lines = repr(picture).splitlines()
    largest = max(float(made.heatmap().abs().max()) for made in maps.values())
    assert [line.partition(":")[0] for line in lines] == ["7", "2", "scale"]
    assert float(lines[-1].removeprefix("scale: ±")) == pytest.approx(largest, rel=0.05)
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)))
    assert pixels.shape == (288, 420, 3)
    assert (pixels[30:220, 10:200] != 255).any()
    assert (pixels[30:220, 220:410] != 255).any()


def test_gallery_cut_off_at_a_quantile_has_a_smaller_scale():
    model, x = nni.models.load("digits-cnn"), nni.data.digits("test")[:1][0]
    maps = {"7": nni.explain(model, x, nni.GradientTimesInput())}
    whole, cut = (repr(figures.gallery(maps, quantile=q)).splitlines() for q in (1.0, 0.97))
    assert whole[0] == cut[0]
    assert float(cut[1].partition("±")[2]) < float(whole[1].partition("±")[2])


def test_maps_without_sign_have_a_scale_from_zero():
    shown = figures.maps({"a": torch.eye(4)}, signed=False, captions={"a": "ΣR = 4"})
    assert repr(shown) == "a: ΣR = 4, pixels from 0 to 1.0\nscale: up to 1.0"
    pixels = np.asarray(Image.open(io.BytesIO(shown.png)))
    assert {tuple(pixels[40, 20]), tuple(pixels[40, 90])} == {(0, 68, 27), (247, 252, 253)}


def test_a_gallery_of_methods_without_sign_has_their_scale():
    x, model = torch.rand(1, 3), nn.Linear(3, 2).eval()
    words = repr(figures.gallery({"S": nni.explain(model, x, nni.Saliency())}))
    assert words.splitlines()[-1].startswith("scale: up to ")


def test_images_are_shown_as_they_are():
    shown = figures.images({"dark": torch.zeros(1, 4, 4), "light": torch.ones(1, 4, 4)})
    assert repr(shown) == "dark: mean 0\nlight: mean 1.0"
    pixels = np.asarray(Image.open(io.BytesIO(shown.png)))
    assert tuple(pixels[60, 60]) == (0, 0, 0)
    assert tuple(pixels[60, 270]) == (255, 255, 255)


def test_a_large_picture_stays_within_its_tile():
    shown = figures.images({"dark": torch.zeros(1, 200, 400), "light": torch.ones(1, 8, 8)})
    pixels = np.asarray(Image.open(io.BytesIO(shown.png)))
    assert (pixels[30:120, 10:200] == 0).all()
    assert (pixels[30:, 206:214] == 255).all()
