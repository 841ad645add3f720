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
from nni_widgets.engine.uncertainty.thinning import Thinned
from nni_widgets.pictures.heatmap import heatmap
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


@pytest.mark.parametrize("method", [nni.Saliency(), nni.GradientTimesInput()], ids=repr)
def test_channels_are_joined_before_maps_are_counted(method):
    model, x = build(channels=3)
    found = uncertain(model, x, method, MCDropout(n_samples=5), 1)
    made = torch.stack([method(Thinned(model, sample), x[:1], 1)[0] for sample in range(5)])
    drawn = torch.stack([heatmap(each[None], method.channels)[0] for each in made])
    maps = show(found, model).maps(0)
    torch.testing.assert_close(maps["mean"][0], drawn.mean(0))
    torch.testing.assert_close(maps["deviation"][0], drawn.std(0))
    agreeing = (drawn.sign() == drawn.mean(0).sign()).float().mean(0)
    torch.testing.assert_close(maps["agreement"][0], agreeing.where(drawn.mean(0) != 0, 0.0))
    assert maps["mean"][1].signed == method.signed


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
