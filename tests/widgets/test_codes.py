"""The Code space explorer: what it shows is what generator and model make of its code."""

import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.synthesis import ActivationMaximization, Code, CodeNorm, LogProbability
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.explorers.codes.explorer import Search, explore_codes
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, registered, sets, the, trains


class Generator(nn.Sequential):
    """A generator with weights drawn by chance: quick, and it draws no digits."""

    def __init__(self, code_size=12, seed=0):
        state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        super().__init__(
            nn.Linear(code_size, 40),
            nn.ReLU(),
            nn.Linear(40, 784),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 28, 28)),
        )
        torch.random.set_rng_state(state)
        self.code_size, self.low, self.high = code_size, 0, 1


class Autoencoder(nn.Module):
    """Has codes that are not N(0, 1)."""

    code_size = 5

    def __init__(self):
        super().__init__()
        self.decoder = Generator(5)
        self.codes = SimpleNamespace(draw=self.draw)

    def decode(self, z):
        return self.decoder(z)

    def draw(self, n, seed):
        return 7 + 3 * torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))

    def forward(self, x):
        raise AssertionError("nobody asks for reconstructions")


@pytest.fixture
def generator():
    return Generator().eval()


@pytest.fixture
def explorer(opened, cnn, generator):
    return opened(explore_codes(cnn, generator, 3, n_steps=8))


def dial(explorer, number):
    """The field beside a slider: it has the value."""
    return the(explorer, f"nn-direction-{number}-field")


def test_it_begins_with_a_random_code_and_waits(explorer, cnn, generator):
    z = explorer.z
    torch.testing.assert_close(explorer.made.images, generator(z))
    assert the(explorer, "nn-generated").value == picture_png(generator(z)[0], 0.0, 1.0)
    share = cnn(generator(z)).softmax(1)[0, 3]
    assert f"p(3) {share:.2f}" in explorer.digest()
    assert f"‖z‖² {float(z.square().sum()):.2f}"[:-1] in explorer.digest()
    assert explorer.digest().startswith("your generator: log p(3|g(z)) − 0.001 ‖z‖²\n")
    assert (explorer.playing, explorer.made.step) == (False, 0)


def test_the_sliders_are_the_coordinates_of_the_code(explorer):
    space = explorer._about.generators["your generator"].space
    here = space.coordinates(explorer.z)[0]
    for number, place in enumerate(here.tolist()):
        assert dial(explorer, number).value == pytest.approx(place, abs=0.0051)


def test_a_slider_counts_steps_of_a_twentieth(explorer):
    slider = the(explorer, "nn-direction-0")
    sets(slider, value=100)
    assert explorer.drain().walk == {0: 1.0}
    assert dial(explorer, 0).value == 1.0
    sets(dial(explorer, 0), value=-9.5)
    assert explorer.drain().walk == {0: -9.5}
    assert slider.value == 0, "as far as it goes"


def test_each_slider_moves_the_code_along_its_direction(explorer, cnn, generator):
    space = explorer._about.generators["your generator"].space
    z = explorer.z
    sets(dial(explorer, 2), value=1.5)
    sets(dial(explorer, 5), value=-2.0)
    expected = space.moved(z, {2: 1.5, 5: -2.0})
    torch.testing.assert_close(explorer.drain().z, expected)
    torch.testing.assert_close(explorer.made.images, generator(expected))
    assert explorer.walk == {2: 1.5, 5: -2.0}
    explorer.walk = {0: 1.0}
    torch.testing.assert_close(explorer.drain().z, space.moved(z, {0: 1.0}))
    assert (dial(explorer, 0).value, dial(explorer, 2).value) == (
        pytest.approx(1.0, abs=1e-5),
        pytest.approx(float(space.coordinates(z)[0, 2]), abs=0.0051),
    )


def test_a_slider_that_is_being_moved_is_left_to_the_user(explorer, told):
    for value in (0.5, 1.0, 1.5):
        sets(dial(explorer, 2), value=value)
        explorer.drain()
    assert told["FloatText.value"] == 3, "only the echo of each"


def test_play_is_the_search_of_the_engine(explorer, cnn, generator):
    z = explorer.z
    clicks(explorer, "nn-play")
    method = ActivationMaximization(
        LogProbability(3) - 0.001 * CodeNorm(), n_steps=8, step_size=Search().step_size,
        image=Code(generator), keep_every=1,
    )  # fmt: skip
    made = method(cnn, z)
    torch.testing.assert_close(explorer.drain().z, made.code)
    torch.testing.assert_close(explorer.made.objective, made.objective)
    assert explorer.made.objective[-1] > explorer.made.objective[0]
    lines = the(explorer, "nn-objective-curve").marks[0]
    np.testing.assert_allclose(lines.y, made.objective[:, 0], rtol=1e-6)
    space = explorer._about.generators["your generator"].space
    reached = float(space.coordinates(made.code)[0, 3])
    assert dial(explorer, 3).value == pytest.approx(reached, abs=0.0051)


def test_stepping_back_turns_the_sliders_back(explorer):
    explorer.play()
    end = dial(explorer.drain(), 1).value
    explorer.frame = 0
    assert dial(explorer, 1).value != end


def test_a_walk_from_where_the_search_has_led(explorer):
    explorer.play()
    z = explorer.drain().z
    sets(dial(explorer, 0), value=2.0)
    space = explorer._about.generators["your generator"].space
    torch.testing.assert_close(explorer.drain().z, space.moved(z, {0: 2.0}))
    assert explorer.made.step == 0


def test_a_code_on_its_way_to_the_screen_is_not_lost(explorer, monkeypatch):
    explorer.play()
    explorer.drain()
    gate, frames = threading.Event(), explorer._frames

    def slow(*arguments):
        gate.wait(10)
        yield from frames(*arguments)

    monkeypatch.setattr(explorer, "_frames", slow)
    sets(dial(explorer, 0), value=2.0)
    sets(dial(explorer, 1), value=1.0)
    assert explorer.walk == {0: 2.0, 1: 1.0}
    clicks(explorer, "nn-random-code")
    sets(dial(explorer, 0), value=0.5)
    gate.set()
    assert explorer.walk == {0: 0.5}
    assert "seed=1" in explorer.drain().code()


def test_another_class_is_looked_for_from_the_code_on_the_screen(explorer):
    explorer.play()
    z = explorer.drain().z
    clicks_bar(explorer, 6)
    assert torch.equal(explorer.drain().z, z)
    assert (explorer.target, explorer.made.step) == (6, 0)
    sets(the(explorer, "nn-class-typed"), value="0")
    assert explorer.digest().startswith("your generator: log p(0|g(z))")


def test_another_search_begins_where_the_first_one_did(explorer):
    z = explorer.z
    explorer.play()
    explorer.drain()
    sets(the(explorer, "nn-code_norm-field"), value=0.1)
    assert torch.equal(explorer.drain().z, z)
    assert "− 0.1 ‖z‖²" in explorer.digest()
    explorer.search = Search(n_steps=3)
    explorer.play()
    assert explorer.drain().made.step == 3


def test_codes_of_at_least_zero(explorer, generator):
    chooses(the(explorer, "nn-prior"), "positive")
    assert (explorer.drain().z >= 0).all()
    explorer.play()
    assert (explorer.drain().z >= 0).all()
    assert explorer.made.step == 8


def test_random_codes(explorer, generator):
    first = explorer.z
    clicks(explorer, "nn-random-code")
    second = explorer.drain().z
    assert not torch.equal(first, second)
    clicks(explorer, "nn-random-code")
    assert not torch.equal(second, explorer.drain().z)
    explorer.draw(0)
    assert torch.equal(explorer.drain().z, first)


def test_a_code_of_ones_own(explorer, generator):
    explorer.z = torch.full((12,), 0.25)
    torch.testing.assert_close(explorer.drain().made.images, generator(torch.full((1, 12), 0.25)))
    explorer.z = [0.0] * 11
    assert "z must be 12 numbers, as your generator takes; got 11 numbers" in explorer.digest()
    clicks(explorer, "nn-random-code")
    assert "predicted" in explorer.digest()


def test_a_random_code_is_a_new_one_each_time(explorer):
    seen = [explorer.z]
    for target in (1, 2, 5):
        clicks(explorer, "nn-random-code")
        seen.append(explorer.drain().z)
        explorer.play()
        clicks_bar(explorer.drain(), target)
        explorer.drain()
    assert len({tuple(z[0].tolist()) for z in seen}) == 4


def test_codes_of_few_numbers_have_as_many_directions(opened, cnn):
    explorer = opened(explore_codes(cnn, Generator(code_size=3).eval(), n_steps=2))
    shown = [row.layout.display is None for row in explorer._dials.widget.children]
    assert shown == [True] * 3 + [False] * 5
    explorer.walk = {2: 1.0}
    assert "predicted" in explorer.digest()
    explorer.walk = {3: 1.0}
    assert "walk must be along directions 0 to 2; got direction 3" in explorer.digest()


def test_after_training_the_pictures_are_others(opened, cnn, generator):
    explorer = opened(explore_codes(cnn, generator, 3, n_steps=3))
    trains(generator)
    clicks(explorer, "nn-reset")
    again = opened(explore_codes(cnn, generator, 3, n_steps=3))
    torch.testing.assert_close(explorer.drain().made.images, again.made.images)
    for each in (explorer, again):
        each.walk = {1: 2.0}
    torch.testing.assert_close(explorer.drain().z, again.drain().z)


class Decoder(Generator):
    """Knows the size of its codes, and nothing of how they are distributed."""

    def decode(self, z):
        return self(z)


def test_a_decoder_without_codes_of_its_own(opened, cnn):
    explorer = opened(
        explore_codes(nni.models.load("digits-cnn").double(), Decoder().double().eval())
    )
    assert explorer.z.dtype == torch.float64
    decoder = Decoder().eval()
    del decoder.code_size
    with pytest.raises(ValueError, match="the generator's codes must be known from its code_size"):
        explore_codes(cnn, decoder)


def test_the_generators_of_the_zoo_have_the_precision_of_the_model(opened):
    explorer = opened(explore_codes(nni.models.load("digits-cnn").double(), "digits-gan"))
    assert explorer.made.images.dtype == torch.float64
    explorer.generator = "autoencoder"
    assert "predicted" in explorer.digest()


def test_an_autoencoder_is_a_decoder_with_codes_of_its_own(opened, cnn):
    autoencoder = Autoencoder().eval()
    explorer = opened(explore_codes(cnn, autoencoder, n_steps=4))
    assert torch.equal(explorer.z, autoencoder.draw(1, 0))
    sets(dial(explorer, 0), value=0.0)
    space = explorer.drain()._about.generators["your generator"].space
    assert float(space.coordinates(explorer.z)[0, 0]) == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(space.center, torch.full((5,), 7.0), atol=0.5, rtol=0)


@pytest.mark.parametrize("changes", ["nothing", "walk", "search", "walk after search"])
def test_the_copied_cell_makes_the_same(opened, explorer, cnn, generator, monkeypatch, changes):
    monkeypatch.setattr(nni, "explore_codes", explore_codes, raising=False)
    if "search" in changes:
        explorer.search = Search(n_steps=4, code_norm=0.05)
        explorer.play()
        explorer.drain()
    if "walk" in changes:
        sets(dial(explorer, 1), value=-1.25)
        sets(dial(explorer, 3), value=0.5)
    explorer.drain()
    again = opened(result_of(copied(explorer), model=cnn, generator=generator))
    assert again.digest() == explorer.digest()
    assert torch.equal(again.z, explorer.z)


def test_the_copied_cell_says_how_it_looks(explorer):
    explorer.draw(5)
    assert copied(explorer.drain()).endswith(
        "nni.explore_codes(model, generator, target=3, seed=5, n_steps=8)"
    )


def test_reset(explorer):
    before = explorer.digest()
    explorer.target = 1
    sets(dial(explorer, 0), value=3.0)
    explorer.play()
    explorer.drain()
    clicks(explorer, "nn-random-code")
    assert explorer.digest() != before
    clicks(explorer, "nn-reset")
    assert explorer.digest() == before
    assert explorer.walk == {}


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert saved["generated.png"] == explorer._repr_mimebundle_()["image/png"]
    numbers = np.load(io.BytesIO(saved["generated.npz"]))
    np.testing.assert_array_equal(numbers["code"], explorer.z)


class Wide(Generator):
    """Makes pictures beyond the range of the model."""

    def forward(self, z):
        return 3 * super().forward(z)


def without_code_size():
    made = Generator().eval()
    del made.code_size
    return made


@pytest.mark.parametrize(
    ("generator", "words"),
    [
        (Wide().eval(), "pixels from 0 to 1"),
        (nn.Sequential(Generator(), nn.AvgPool2d(2)).eval(), "code_size"),
        (without_code_size(), "known from its code_size"),
        (Generator().train(), "eval"),
        ("no-such-gan", "generator must be a module, or one of 'digits-dcgan'"),
        (torch.zeros(2, 1, 28, 28), "generator must be a module, or .*; got Tensor. Leave it out"),
    ],
    ids=["range", "wrapped", "size", "training", "name", "pictures"],
)
def test_a_generator_that_does_not_fit_is_refused(cnn, generator, words):
    with pytest.raises(ValueError, match=words):
        explore_codes(cnn, generator)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "eleven"}, "target must be a class"),
        ({"l2": 0.1}, "a parameter must be one of code_norm, n_steps, step_size, prior; got l2"),
        ({"code_norm": -1}, "Search: code_norm must be a number of at least 0; got -1"),
    ],
)
def test_what_is_not_legal_is_refused(cnn, generator, arguments, words):
    with pytest.raises(ValueError, match=words):
        explore_codes(cnn, generator, **arguments)


def test_a_walk_or_a_generator_that_is_not_there(explorer):
    with pytest.raises(ValueError, match="walk must be along directions 0 to 7; got direction 8"):
        explorer.walk = {8: 1.0}
    with pytest.raises(ValueError, match="generator must be one of 'your generator'"):
        explorer.generator = "other"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("walk", [1], r"walk must be coordinates by direction; got \[1\]"),
        ("walk", {0.0: 1}, "walk must be along directions 0 to 7; got direction 0.0"),
        ("walk", {0: float("nan")}, "walk must be to finite numbers; got {0: nan}"),
        ("walk", {0: "far"}, "walk must be to finite numbers; got {0: 'far'}"),
        ("z", None, "z must be finite numbers; got None"),
        ("z", [float("nan")] * 12, "z must be finite numbers"),
        ("search", {"n_steps": 3}, "search must be such as explorer.search; got {'n_steps': 3}"),
    ],
)
def test_what_is_no_place_is_refused_and_nothing_changes(explorer, name, value, words):
    before, cell = explorer.digest(), copied(explorer)
    with pytest.raises(ValueError, match=words):
        setattr(explorer, name, value)
    assert (explorer.digest(), copied(explorer)) == (before, cell)


@pytest.mark.parametrize("seed", [-1, "a", 2.5, True, 2**40])
def test_what_is_no_seed_is_refused(explorer, cnn, generator, seed):
    with pytest.raises(ValueError, match="seed must be a whole number from 0 to 2,147,483,648"):
        explorer.draw(seed)
    with pytest.raises(ValueError, match="seed must be a whole number from 0 to 2,147,483,648"):
        explore_codes(cnn, generator, seed=seed)


def test_a_seed_of_numpy_is_one(explorer):
    explorer.draw(np.int64(3))
    assert "seed=3, " in copied(explorer.drain())


def test_closing_leaves_no_thread_and_no_widget(cnn, generator):
    def live():
        explore_codes(cnn, generator, n_steps=2).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(3):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
