"""The Prototypes explorer: what it makes is what the engine makes, and every control counts."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.synthesis import (
    L2,
    ActivationMaximization,
    Channel,
    Energy,
    Expert,
    Fourier,
    Jitter,
    Logit,
    LogProbability,
    Pixels,
    Rotate,
    TotalVariation,
    Unit,
    starts,
)
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.explorers.prototypes import explore_prototypes
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sets, the, trains

NAMES = ("noise", "picture", "class mean", "grey")


@pytest.fixture
def explorer(opened, cnn):
    return opened(explore_prototypes(cnn, 3, n_steps=8))


@pytest.fixture
def begun(cnn):
    """The four starts for class 3."""
    digits = nni.data.digits("test")
    return torch.cat([starts.noise(cnn), digits[:1][0], digits.mean_of(3), starts.grey(cnn)])


def by_engine(cnn, begun, objective, **parameters):
    method = ActivationMaximization(objective, **{"n_steps": 8, "keep_every": 1, **parameters})
    return method(cnn, begun)


def assert_made(explorer, made):
    torch.testing.assert_close(explorer.drain().made.images, made.images)
    torch.testing.assert_close(explorer.made.objective, made.objective)


def test_what_it_makes_is_what_the_engine_makes(explorer, cnn, begun):
    made = by_engine(cnn, begun, LogProbability(3))
    assert_made(explorer, made)
    for number, image in enumerate(made.images):
        shown = the(explorer, f"nn-prototype-{number}").value
        assert shown == picture_png(image, 0.0, 1.0)
    titles = [title.value for title in found(explorer, "nn-title")]
    colours = the(explorer, "nn-objective-curve").marks[0].colors
    for name, title, colour in zip(NAMES, titles, colours, strict=True):
        assert title == f'<b><i style="background: {colour}"></i>from {name}</b>'


def test_the_words_tell_the_probability_of_the_pictures_shown(explorer, cnn):
    explorer.frame = 2
    shares = cnn(explorer.made.images).softmax(1)[:, 3]
    words = [each.value for each in found(explorer, "nn-words")]
    for share, said in zip(shares, words, strict=True):
        assert f"p(3) {share:.2f}, objective " in said
    assert explorer.digest().endswith("step 2 of 8")
    assert explorer.digest().startswith("maximized: log p(3|x)\nfrom noise: p(3) ")


def test_the_words_stay_those_of_the_pictures_until_there_are_others(explorer, monkeypatch):
    before, saved = explorer.digest(), downloads(explorer, monkeypatch)
    words = [each.value for each in found(explorer, "nn-words")]
    gate, frames = threading.Event(), explorer._frames

    def slow(*arguments):
        gate.wait(10)
        yield from frames(*arguments)

    monkeypatch.setattr(explorer, "_frames", slow)
    clicks_bar(explorer, 6)
    chooses(the(explorer, "nn-scored"), "grey")
    clicks(explorer, "nn-save-png")
    gate.set()
    seen = [each.value for each in found(explorer, "nn-words")]
    text = Image.open(io.BytesIO(saved["prototypes.png"])).text["prototypes"]
    assert (seen, before.startswith(text)) == (words, True)
    assert "p(6)" in explorer.digest()


def test_the_first_frame_is_the_start(explorer, begun):
    explorer.frame = 0
    assert torch.equal(explorer.made.images, begun)


def test_pausing_anywhere_changes_nothing(opened, cnn, explorer):
    for _ in range(3):
        paused = explore_prototypes(cnn, 3, n_steps=8)
        paused.pause()
        paused.drain()
        paused.step_forward()
        paused.drain()
        paused.play()
        opened(paused)
        assert torch.equal(paused.made.images, explorer.made.images)
        assert torch.equal(paused.made.objective, explorer.made.objective)


def test_a_class_is_chosen_by_its_bar_or_typed(explorer, cnn):
    clicks_bar(explorer, 5)
    assert explorer.drain().target == 5
    assert the(explorer, "nn-class-typed").value == "5"
    assert "log p(5|x)" in the(explorer, "nn-formula").value
    sets(the(explorer, "nn-class-typed"), value="7")
    assert explorer.drain().target == 7
    sets(the(explorer, "nn-class-typed"), value="seven")
    assert "target must be a class: a name, or a number from 0 to 9; got 'seven'" in repr(explorer)
    explorer.target = "2"
    assert explorer.digest().startswith("maximized: log p(2|x)")


def test_the_bars_are_those_of_the_chosen_column(explorer):
    bars = the(explorer, "nn-scores").marks[0]
    for number, name in enumerate(NAMES):
        chooses(the(explorer, "nn-scored"), name)
        np.testing.assert_allclose(bars.y, explorer.made.probabilities[number], atol=1e-6)


def test_the_curve_is_the_objective_with_dots_at_the_frame(explorer):
    explorer.frame = 3
    curve = the(explorer, "nn-objective-curve")
    lines, dots = curve.marks
    whole = explorer._outcome.value.frames[-1].objective
    np.testing.assert_allclose(lines.y, whole.T, rtol=1e-6)
    assert list(lines.x) == pytest.approx([step / 8 for step in range(9)])
    assert list(dots.x) == pytest.approx([3 / 8] * 4)
    np.testing.assert_allclose(dots.y, whole[3], rtol=1e-6)
    assert len(lines.colors) == len(NAMES)


def test_priors_are_subtracted(explorer, cnn, begun):
    sets(the(explorer, "nn-l2-field"), value=0.1)
    sets(the(explorer, "nn-total_variation-field"), value=0.05)
    objective = LogProbability(3) - 0.1 * L2() - 0.05 * TotalVariation()
    assert_made(explorer, by_engine(cnn, begun, objective))
    assert "log p(3|x) − 0.1 ‖x‖² − 0.05 TV(x)" in explorer.digest()

    chooses(the(explorer, "nn-center"), "class mean")
    mean = nni.data.digits("test").mean_of(3)
    objective = LogProbability(3) - 0.1 * L2(mean) - 0.05 * TotalVariation()
    assert_made(explorer, by_engine(cnn, begun, objective))
    assert "‖x − mean of 3‖²" in explorer.digest()


def test_a_slider_moves_the_prior(explorer):
    sets(the(explorer, "nn-l2"), value=0.2)
    assert explorer.drain().recipe.priors.l2 == 0.2
    explorer.set(l2=0.05)
    assert the(explorer, "nn-l2").value == pytest.approx(0.05)


def near_grey(x):
    return -(x - 0.5).square().flatten(1).sum(1)


def test_an_expert_is_asked_and_left_out(opened, cnn, begun):
    explorer = opened(
        explore_prototypes(cnn, 3, experts={"near grey": near_grey}, n_steps=8, expert_weight=0.5)
    )
    assert_made(explorer, by_engine(cnn, begun, LogProbability(3)))
    chooses(the(explorer, "nn-expert"), "near grey")
    assert_made(explorer, by_engine(cnn, begun, LogProbability(3) + 0.5 * Expert(near_grey)))
    assert "+ 0.5 log p(x) of the near grey" in explorer.digest()
    sets(the(explorer, "nn-expert_weight-field"), value=0.0)
    assert_made(explorer, by_engine(cnn, begun, LogProbability(3)))
    explorer.set(expert="who", expert_weight=1.0)
    assert "expert must be one of 'none', 'near grey'; got 'who'" in explorer.digest()


def test_how_pictures_are_made(explorer, cnn, begun):
    explorer.set(n_steps=6, step_size=0.1, image=Fourier(decay=0.5), robust=True, seed=0)
    robust = (Jitter(2), Rotate(5.0))
    shape = {"n_steps": 6, "step_size": 0.1, "image": Fourier(decay=0.5), "robust": robust}
    assert_made(explorer, by_engine(cnn, begun, LogProbability(3), **shape))
    chooses(the(explorer, "nn-image"), "Pixels (default)")
    sets(the(explorer, "nn-robust"), value=False)
    assert_made(explorer, by_engine(cnn, begun, LogProbability(3), n_steps=6, step_size=0.1))


def test_a_unit_and_a_channel_of_a_layer(explorer, cnn, begun):
    chooses(the(explorer, "nn-objective"), "Unit")
    chooses(the(explorer, "nn-layer"), "conv2")
    sets(the(explorer, "nn-channel-field"), value=4)
    assert_made(explorer, by_engine(cnn, begun, Unit("conv2", 4)))
    assert "maximized: unit 4 of conv2" in explorer.digest()
    chooses(the(explorer, "nn-objective"), "Channel")
    assert_made(explorer, by_engine(cnn, begun, Channel()))
    assert "channel 0 of the last layer with places" in explorer.digest()
    explorer.set(objective=Channel("conv1", 99))
    assert "channel must be from 0 to 15 in conv1; got 99" in explorer.digest()
    explorer.set(objective=Logit())
    assert_made(explorer, by_engine(cnn, begun, Logit(3)))


def test_any_other_objective_from_code(explorer, cnn, begun):
    explorer.set(objective=Energy("conv2"))
    assert_made(explorer, by_engine(cnn, begun, Energy("conv2")))
    assert "maximized: nni.Energy(layer='conv2')" in explorer.digest()


def test_some_starts_and_another_picture(opened, cnn):
    explorer = opened(explore_prototypes(cnn, 3, starts=["picture"], n_steps=4, picture=9))
    explorer.frame = 0
    assert torch.equal(explorer.made.images, nni.data.digits("test")[9:10][0])
    sets(the(explorer, "nn-picture-field"), value=10_000)
    assert "picture must be from 0 to 9999; got 10000" in explorer.digest()


def test_the_copied_cell_makes_the_same(opened, explorer, cnn, monkeypatch):
    monkeypatch.setattr(nni, "explore_prototypes", explore_prototypes, raising=False)
    monkeypatch.setattr(nni, "Fourier", Fourier, raising=False)
    explorer.set(l2=0.05, center="class mean", image=Fourier(), seed=2)
    explorer.target = 8
    explorer.frame = 3
    cell = copied(explorer)
    call = "nni.explore_prototypes(model, target=8, l2=0.05, center='class mean', n_steps=8, "
    assert f"{call}image=nni.Fourier(), seed=2)" in cell
    assert "explorer.frame = 3" in cell
    again = opened(result_of(cell, model=cnn))
    assert again.digest() == explorer.digest()
    assert torch.equal(again.made.images, explorer.made.images)


def test_the_copied_cell_of_the_simplest_call(opened, monkeypatch):
    monkeypatch.setattr(nni, "explore_prototypes", explore_prototypes, raising=False)
    explorer = opened(explore_prototypes(starts=["grey"], n_steps=4))
    cell = copied(explorer)
    assert 'model = nni.models.load("digits-cnn")\n' in cell
    assert opened(result_of(cell)).digest() == explorer.digest()


def test_the_copied_cell_has_the_experts_that_were_given(opened, cnn):
    def darkness(x):
        return -x.flatten(1).sum(1)

    experts = {"dark": darkness, "bright": lambda x: x.flatten(1).sum(1)}
    explorer = opened(explore_prototypes(cnn, 3, experts=experts, expert="dark", n_steps=2))
    cell = copied(explorer)
    assert cell.startswith("# define expert_2: it has no code of its own\n")
    again = result_of(cell, model=cnn, darkness=darkness, expert_2=experts["bright"])
    assert opened(again).digest() == explorer.digest()


def test_reset(explorer):
    before = explorer.digest()
    explorer.set(l2=0.2, image=Fourier(), objective=Logit())
    explorer.target = 1
    assert explorer.digest() != before
    chooses(the(explorer, "nn-scored"), "grey")
    clicks(explorer, "nn-reset")
    assert explorer.digest() == before
    assert the(explorer, "nn-scored").value == "noise"


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    with Image.open(io.BytesIO(saved["prototypes.png"])) as picture:
        assert picture.size == (4 * 28 * 6, 28 * 6)
        assert picture.text["prototypes"] in explorer.digest()
    numbers = np.load(io.BytesIO(saved["prototypes.npz"]))
    np.testing.assert_array_equal(numbers["images"], explorer.made.images)
    assert numbers["objective"].shape == (9, 4)


class Tiny(nn.Module):
    """A colour classifier of three classes, with names and a range of its own."""

    classes = ("sky", "sea", "sand")
    low, high = -1.0, 1.0

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(75, 3)

    def forward(self, x):
        return self.out(x.flatten(1))


def test_own_model_with_own_pictures(opened):
    model = Tiny().double().eval()
    x, y = torch.rand(6, 3, 5, 5) * 2 - 1, torch.tensor([0, 1, 0, 1, 0, 1])
    explorer = opened(explore_prototypes(model, "sea", x, y, n_steps=4))
    assert explorer.starts == NAMES
    assert explorer.made.images.dtype == torch.float64
    explorer.frame = 0
    torch.testing.assert_close(explorer.made.images[2], x[y == 1].double().mean(0))
    assert float(explorer.made.images[3].abs().max()) == 0, "grey is the middle of its range"
    assert "nni.explore_prototypes(model, x=x, y=y, target=1, n_steps=4)" in copied(explorer)
    explorer.target = "sand"
    assert "the mean must be that of a class with pictures; got class 2" in explorer.digest()
    assert the(explorer, "nn-expert").options == (("none (default)", "none"),)


def test_black_and_white_are_the_ends_of_the_box(opened):
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval(), torch.rand(2, 1, 4, 4)
    for box, image in (((0, 1), Pixels()), ((-3, 3), Pixels(low=-3, high=3))):
        explorer = opened(explore_prototypes(model, 0, x, image=image, n_steps=2))
        for number, image in enumerate(explorer.made.images):
            assert the(explorer, f"nn-prototype-{number}").value == picture_png(image, *box)


def test_noise_and_grey_begin_in_the_box(opened, cnn):
    dark = {"image": Pixels(low=0, high=0.3), "starts": ["noise", "grey"], "n_steps": 1}
    explorer = opened(explore_prototypes(cnn, 3, **dark))
    explorer.frame = 0
    assert explorer.made.images[1].unique().tolist() == pytest.approx([0.15])
    assert explorer.made.images[0].mean() == pytest.approx(0.15, abs=0.01)


def test_after_training_the_prototypes_are_others(opened):
    model, x = Tiny().eval(), torch.rand(3, 3, 5, 5)
    explorer = opened(explore_prototypes(model, 0, x, n_steps=3))
    trains(model)
    clicks(explorer, "nn-reset")
    again = opened(explore_prototypes(model, 0, x, n_steps=3))
    torch.testing.assert_close(explorer.drain().made.images, again.made.images)


class Counting(Tiny):
    """Counts in a buffer how often it is called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_a_model_that_writes_to_its_buffers_goes_on_where_it_was(opened):
    explorer = opened(explore_prototypes(Counting().eval(), 0, torch.rand(3, 3, 5, 5), n_steps=6))
    explorer.frame = 2
    film = explorer._outcome.value
    explorer.play()
    assert explorer.drain()._outcome.value.frames == film.frames


def test_classes_may_be_a_list(opened):
    x, y = torch.rand(4, 3, 5, 5), [0, 1, 0, 1]
    explorer = opened(explore_prototypes(Tiny().eval(), 0, x, y, starts=["class mean"], n_steps=1))
    explorer.frame = 0
    torch.testing.assert_close(explorer.made.images[0], x[::2].mean(0))


@pytest.mark.parametrize("name", ["mixture", "autoencoder"])
def test_the_experts_of_the_zoo_look_at_any_precision(opened, name):
    model = nni.models.load("digits-cnn").double()
    explorer = opened(explore_prototypes(model, 3, starts=["grey"], expert=name, n_steps=2))
    assert explorer.digest().startswith("maximized: log p(3|x) + 0.01 log p(x)")
    assert explorer.made.images.dtype == torch.float64


def test_the_copied_cell_names_what_has_no_code_of_its_own(explorer):
    explorer.set(objective=LogProbability(3) - 0.1 * L2(torch.zeros(1, 1, 28, 28)))
    cell = copied(explorer.drain())
    assert cell.startswith("# define center: it has no code of its own\n")
    assert "0.1 * nni.L2(center=center)" in cell


def test_own_model_with_a_shape_alone(opened):
    model = Tiny().eval()
    model.input_shape = (3, 5, 5)
    explorer = opened(explore_prototypes(model, n_steps=3))
    assert (explorer.starts, explorer.target) == (("noise", "grey"), 2)


def test_vectors_have_words_but_no_picture(opened):
    explorer = opened(explore_prototypes(nn.Linear(7, 4).eval(), 1, torch.rand(3, 7), n_steps=3))
    assert "from picture: p(1) " in explorer.digest()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": 10}, "target must be a class: a name, or a number from 0 to 9; got 10"),
        ({"target": "x"}, "target must be a class"),
        ({"starts": "noise"}, "starts must be a list of some of 'noise', 'picture'"),
        ({"starts": []}, "starts must be a list"),
        ({"l3": 1}, "a parameter must be one of objective, l2, .*; got l3"),
        ({"l2": -1}, "Priors: l2 must be a number of at least 0; got -1"),
        ({"x": torch.zeros(0, 1, 28, 28)}, r"x must be a batch of pictures \(N, ...\); got shape"),
        ({"x": np.zeros((1, 1, 28, 28))}, "x must be a batch of pictures .*; got ndarray"),
        ({"x": torch.zeros(2, 1, 28, 28), "y": "ab"}, "y must be 2 classes, one per picture; got"),
        ({"starts": 3}, "starts must be a list"),
        ({"experts": [len]}, "experts must be a dict of functions by names other than 'none'"),
        ({"experts": {"none": len}}, "experts must be a dict"),
        ({"names": ("model", "x")}, "names must be three, of model, x and y"),
    ],
)
def test_what_is_not_legal_is_refused(cnn, arguments, words):
    with pytest.raises(ValueError, match=words):
        explore_prototypes(cnn, **{"n_steps": 2, **arguments})


def test_a_model_of_unknown_shape_is_refused():
    with pytest.raises(ValueError, match=r"x must be given for a model without an input_shape"):
        explore_prototypes(nn.Flatten())
    with pytest.raises(ValueError, match=r"y must be 2 classes, one per picture; got shape \(3,\)"):
        explore_prototypes(Tiny().eval(), 0, torch.zeros(2, 3, 5, 5), torch.zeros(3))


def test_an_illegal_number_is_said_and_the_picture_stays(explorer):
    before = the(explorer, "nn-prototype-0").value
    sets(the(explorer, "nn-step_size-field"), value=-1.0)
    assert "step_size must be" in explorer.digest()
    assert the(explorer, "nn-prototype-0").value == before
    sets(the(explorer, "nn-step_size-field"), value=0.02)
    assert explorer.digest().startswith("maximized")


def test_closing_leaves_no_thread_and_no_widget(cnn):
    def live():
        explore_prototypes(cnn, n_steps=2).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(3):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
