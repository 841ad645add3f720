"""An uncertain explanation shows itself: three maps on their scales, and a text to compare."""

import base64
import io

import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.uncertainty.explanations import uncertain
from nni_widgets.engine.uncertainty.sources import Ensemble, MCDropout
from nni_widgets.pictures import uncertain as pictures
from nni_widgets.pictures.show import show


def build(channels=1):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(16 * channels, 3, bias=False)
    ).eval()
    net.classes, net.low, net.high = ("cat", "dog", "owl"), 0.0, 1.0
    return net, torch.rand(6, channels, 4, 4)


@pytest.fixture(scope="module")
def shown():
    model, x = build()
    found = uncertain(model, x, nni.GradientTimesInput(), MCDropout(n_samples=40), 1)
    return show(found, model)


def test_the_maps_stand_on_their_scales(shown):
    maps = shown.maps(2)
    assert list(maps) == ["mean", "deviation", "agreement"]
    for name, (values, scale) in maps.items():
        assert torch.equal(values, getattr(shown.found, name)[2, 0])
        assert scale.signed == (name == "mean")
    assert maps["agreement"][1].limit == 1
    assert maps["mean"][1].limit == pytest.approx(float(shown.found.mean[2].abs().max()))


def test_channels_are_joined_as_the_method_says():
    model, x = build(channels=3)
    found = uncertain(model, x, nni.Saliency(), MCDropout(n_samples=5), 1)
    maps = show(found, model).maps(0)
    assert torch.equal(maps["mean"][0], found.mean[0].amax(0))
    assert not maps["mean"][1].signed
    assert torch.equal(maps["deviation"][0], found.deviation[0].amax(0))
    assert torch.equal(maps["agreement"][0], found.agreement[0].amax(0))


@pytest.mark.parametrize(("channels", "said"), [(1, [False] * 3), (3, [False, True, True])])
def test_a_caption_says_where_a_channel_stands_for_all(channels, said, monkeypatch):
    model, x = build(channels)
    found = uncertain(model, x, nni.LRP(), MCDropout(n_samples=3), 1)
    drawn = []
    monkeypatch.setattr(pictures, "figure_png", lambda panels, *_: drawn.extend(panels) or b"")
    show(found, model).png()
    assert [", largest channel, target dog." in panel.caption for panel in drawn] == said


def test_the_digest_tells_votes_doubt_and_maps(shown):
    lines = shown.digest(0).splitlines()
    assert lines[0] == (
        "nni.GradientTimesInput() under nni.MCDropout(n_samples=40), 40 of 40 samples, target dog"
    )
    votes = shown.found.prediction.votes[0].tolist()
    best = max(range(3), key=lambda k: votes[k])
    assert lines[1].startswith(f"votes {shown.classes[best]} ({votes[best]})")
    assert "entropy " in lines[1]
    assert "mutual information 0." in lines[1]
    assert len(lines) == 2 + 3 * 5
    assert lines[2].startswith("mean: 8 stands for ")
    named = [entry.split(" (")[0] for entry in shown.votes(0).split(", ")]
    assert set(named) == {shown.classes[k] for k in range(3) if votes[k]}


def test_it_shows_itself(shown):
    bundle = shown._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert bundle["text/plain"] == repr(shown)
    assert repr(shown).endswith("… and 2 more")
    one = Image.open(io.BytesIO(shown.png(1)))
    assert picture.height > 3 * one.height
    assert shown.digest(1) in one.text["Uncertain explanation"]


def test_each_sample_with_a_target_of_its_own():
    model, x = build()
    found = uncertain([model, build()[0]], x, nni.LRP(), Ensemble(), "each")
    shown = show(found, nn.Identity())
    assert "target what each sample predicts" in shown.digest()
    assert shown.classes == ("0", "1", "2")


def test_refusals(shown):
    with pytest.raises(ValueError, match=r"^show: what is shown must be a Synthesis or an Unc"):
        show(torch.zeros(1), nn.Identity())
    for ask in (shown.maps, shown.target, shown.votes, shown.doubt, shown.digest, shown.png):
        for i in (6, -1, "0"):
            with pytest.raises(ValueError, match=r"^show: i must be a picture from 0 to 5"):
                ask(i)


def test_names_that_do_not_fit_the_outputs_are_left_out(shown):
    model, _ = build()
    model.classes = ("cat", "dog")
    assert show(shown.found, model).classes == ("0", "1", "2")
