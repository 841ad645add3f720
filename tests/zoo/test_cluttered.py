"""Cluttered digits: where they are is known, the seed decides all; the nets find and name them."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from nni_widgets.engine.methods.cam import CAM
from nni_widgets.zoo import cluttered as module
from nni_widgets.zoo import data, models
from nni_widgets.zoo.cluttered import COARSE, FINE, Clutterer, cluttered, peak_in_box
from nni_widgets.zoo.cluttered_nets import ClutteredRecipe, cluttered_cam, cluttered_cam_fine
from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.training import __main__ as command
from nni_widgets.zoo.training import cluttered as training
from nni_widgets.zoo.training import left_out

GREYS = (255, 200, 150)
BUILDERS = {"cluttered-cam": cluttered_cam, "cluttered-cam-fine": cluttered_cam_fine}
LAYOUTS = {"cluttered-cam": COARSE, "cluttered-cam-fine": FINE}
CELLS = {"cluttered-cam": 10, "cluttered-cam-fine": 30}
LEAST_ACCURACY = {"cluttered-cam": 0.96, "cluttered-cam-fine": 0.95}
LEAST_AT_BOX = 0.99
LARGEST_FILE = 500_000
BOXES = [[13, 6, 33, 22], [11, 6, 31, 26], [11, 9, 31, 18]]
SUMS = [35920, 46918, 24102]


@pytest.fixture(scope="module")
def crosses():
    """A set of crosses as large as digits, each of its own grey: fragments tell their origin."""
    pixels = torch.zeros(len(GREYS), 1, 28, 28, dtype=torch.uint8)
    for picture, grey in zip(pixels, GREYS, strict=True):
        picture[0, 4:24, 13:15] = grey
        picture[0, 13:15, 4:24] = grey
    return data.Digits(pixels, torch.arange(len(GREYS)))


@pytest.fixture(scope="module")
def few():
    x, y = data.digits("test")[:192]
    return data.Digits((x * 255).round().byte(), y)


def ink(picture):
    """The smallest part of a picture (H, W) that holds all that is not zero."""
    rows, columns = picture.nonzero().T
    return picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def within(picture, box):
    top, left, bottom, right = box
    return picture[top:bottom, left:right]


@pytest.mark.parametrize(("fine", "size"), [(False, 40), (True, 60)])
def test_picture_i_shows_digit_i_whole_and_tightly_in_its_box(fine, size):
    made = cluttered(200, seed=3, fine=fine)
    originals, labels = data.digits("test")[:200]
    assert made.images.shape == (200, 1, size, size)
    assert made.boxes.dtype == torch.int64
    assert torch.equal(made.labels, labels)
    assert made.boxes.min() >= 0
    assert made.boxes.max() <= size
    for picture, original, box in zip(made.images, originals, made.boxes, strict=True):
        seen, whole = within(picture[0], box), ink(original[0])
        assert seen.shape == whole.shape
        assert (seen >= whole).all()


@pytest.mark.parametrize("layout", [COARSE, FINE])
def test_clutter_is_of_other_digits_only_and_the_brighter_pixel_is_seen(layout, crosses):
    greys = set(crosses.images.amax((1, 2, 3)).tolist())
    origins = [set() for _ in GREYS]
    for seed in range(20):
        made = Clutterer(crosses).make(len(GREYS), seed, layout)
        for i, (picture, box) in enumerate(zip(made.images[:, 0], made.boxes, strict=True)):
            whole = ink(crosses.images[i, 0])
            own = whole.max().item()
            on_ink = within(picture, box)[whole > 0]
            assert set(on_ink.tolist()) <= {grey for grey in greys if grey >= own}
            within(picture, box)[whole > 0] = 0
            origins[i] |= set(picture.unique().tolist()) - {0}
    assert origins == [greys - {grey} for grey in crosses.images.amax((1, 2, 3)).tolist()]


@pytest.mark.parametrize("layout", [COARSE, FINE])
def test_no_fragment_is_a_whole_digit(layout, crosses):
    """A piece is much shorter than the smallest digit, and holds a square's ink at most."""
    for split in ("test", "train"):
        seen = data.digits(split).images[:, 0] > 0
        sides = torch.stack([seen.any(axis).sum(1) for axis in (1, 2)])
        assert layout.piece_size < 0.6 * sides.amax(0).min()
    made = Clutterer(crosses).make(len(GREYS), 0, layout)
    clutter = (made.images[0] > 0) & (made.images[0] < 1)
    assert 0 < clutter.sum() <= layout.n_pieces * layout.piece_size**2


def test_digits_lie_everywhere():
    boxes = cluttered(3000).boxes.double()
    top, left, bottom, right = boxes.unbind(1)
    assert (top.min(), left.min(), bottom.max(), right.max()) == (0, 0, 40, 40)
    assert (top + bottom).mean() / 2 == pytest.approx(20, abs=0.5)
    assert (left + right).mean() / 2 == pytest.approx(20, abs=0.5)
    assert abs(torch.corrcoef(torch.stack([top + bottom, left + right]))[0, 1]) < 0.06


@pytest.mark.parametrize("fine", [False, True])
def test_few_pictures_are_the_first_of_many(fine, monkeypatch):
    many = cluttered(50, seed=2, fine=fine)
    monkeypatch.setattr(module, "PICTURES_AT_ONCE", 3)
    some = cluttered(5, seed=2, fine=fine)
    assert torch.equal(some.images, many.images[:5])
    assert torch.equal(some.boxes, many.boxes[:5])
    assert torch.equal(some.labels, many.labels[:5])


def test_the_seed_decides_everything_on_every_machine():
    made = cluttered(3)
    assert made.boxes.tolist() == BOXES
    assert (made.images * 255).round().sum((1, 2, 3)).tolist() == SUMS
    assert not torch.equal(made.images, cluttered(3, seed=1).images)
    assert torch.equal(made.images, cluttered(np.int64(3), seed=np.int64(0)).images)


def test_the_global_random_states_are_left_alone():
    def states():
        numpy = np.random.get_state()[1]  # noqa: NPY002
        return torch.get_rng_state().tolist(), numpy.tolist(), random.getstate()

    before = states()
    cluttered(5)
    assert states() == before


def test_training_pictures_show_training_digits():
    made = cluttered(100, split="train")
    originals, labels = data.digits("train")[:100]
    assert torch.equal(made.labels, labels)
    for picture, original, box in zip(made.images, originals, made.boxes, strict=True):
        assert (within(picture[0], box) >= ink(original[0])).all()


def test_no_test_digit_is_a_training_digit():
    train, test = (
        {picture.tobytes() for picture in data.digits(split)[:][0].numpy()}
        for split in ("train", "test")
    )
    assert len(test) == 10_000
    assert not train & test


def test_it_is_indexed_as_digits_are():
    made = cluttered(10)
    x, y = made[3:5]
    assert torch.equal(x, made.images[3:5])
    assert torch.equal(y, made.labels[3:5])
    assert made[-1][0].shape == (1, 40, 40)
    assert made.of(4, 2).shape == (2, 1, 40, 40)
    assert (made.low, made.high, made.classes) == (0, 1, tuple("0123456789"))
    assert repr(made) == "Cluttered(10 pictures of 40 x 40 pixels in [0, 1], with boxes)"


def test_what_is_handed_out_cannot_corrupt_what_is_kept():
    made, kept = cluttered(5), cluttered(5)
    made.boxes.zero_()
    made.images.zero_()
    made.labels.zero_()
    for one in (made, cluttered(5)):
        assert torch.equal(one.boxes, kept.boxes)
        assert torch.equal(one.images, kept.images)
        assert torch.equal(one.labels, kept.labels)


@pytest.mark.parametrize(
    "arguments",
    [{"n": n} for n in (0, -1, 10_001, 2.0, "5", True, None)]
    + [{"n": 1, "seed": seed} for seed in (-1, 0.5, "0", None, False)],
)
def test_bad_arguments_get_a_sentence(arguments):
    with pytest.raises(ValueError, match=r"^cluttered: (n|seed) must be .+; got .+\. [A-Z].+\.$"):
        cluttered(**arguments)


def test_an_unknown_split_is_a_sentence():
    with pytest.raises(ValueError, match=r'^digits: split must be "test" or "train"; got \'all'):
        cluttered(1, split="all")


@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 1, 6, 6)])
def test_peak_in_box_knows_the_borders(shape):
    maps = torch.full(shape, -1.0)
    for i, (row, column) in enumerate([(2, 3), (4, 4), (5, 4), (4, 5)]):
        maps[i, ..., row, column] = 0.5
    boxes = torch.tensor([2, 3, 5, 5]).expand(4, 4)
    assert peak_in_box(maps, boxes).tolist() == [True, True, False, False]
    assert peak_in_box(maps, boxes, margin=1).all()
    assert not peak_in_box(maps, boxes - 3, margin=1).any()


@pytest.mark.parametrize(
    ("maps", "boxes"),
    [
        (torch.ones(2, 3, 5, 5), torch.zeros(2, 4)),
        (torch.ones(5, 5), torch.zeros(5, 4)),
        (torch.ones(2, 5, 5), torch.zeros(3, 4)),
        (torch.full((1, 5, 5), torch.nan), torch.tensor([[0, 0, 2, 2]])),
        (torch.ones(2, 5, 5), torch.tensor([[0, 0, 2, 2], [0, 3, 2, 6]])),
        (np.ones((1, 5, 5)), torch.tensor([[0, 0, 2, 2]])),
        (torch.ones(1, 5, 5), [[0, 0, 2, 2]]),
    ],
)
def test_peak_in_box_refuses_what_has_no_peak_for_each_box(maps, boxes):
    with pytest.raises(ValueError, match=r"^peak_in_box: .+ must be .+; got .+\. .+\.$"):
        peak_in_box(maps, boxes)


@pytest.mark.parametrize("name", BUILDERS)
def test_cam_reads_the_network_and_its_maps_are_as_fine_as_promised(name):
    model, x = BUILDERS[name]().eval(), cluttered(2, fine=LAYOUTS[name] is FINE).images
    (result,) = CAM().steps(model, x)
    assert result.layer.startswith("relu4")
    assert result.raw.shape == (2, CELLS[name], CELLS[name])
    assert result.values.shape == x.shape
    logits = result.raw.flatten(1).mean(1) + model.fc.bias[result.logits.argmax(1)]
    assert torch.allclose(logits, result.logits.amax(1), atol=1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_place_of_the_last_maps_sees_a_whole_digit(name):
    model = BUILDERS[name]()[:-3].eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 1)
    x = torch.rand(1, 1, LAYOUTS[name].size, LAYOUTS[name].size, requires_grad=True)
    middle = CELLS[name] // 2
    (gradient,) = torch.autograd.grad(model(x)[0, 0, middle, middle], x)
    rows, columns = gradient[0, 0].nonzero().T
    assert min(rows.max() - rows.min(), columns.max() - columns.min()) + 1 >= 20


def design(name, **changes):
    size = LAYOUTS[name].size
    recipe = ClutteredRecipe(**changes)
    return Design(BUILDERS[name], "", recipe, "", input_shape=(1, size, size))


@pytest.mark.parametrize("name", BUILDERS)
def test_the_seed_decides_the_training_and_the_global_state_is_left_alone(name, few):
    def weights(seed):
        model = training.train(design(name, epochs=1, seed=seed), lambda line: None, few)
        assert not model.training
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    before = torch.get_rng_state()
    first = weights(0)
    torch.rand(3)
    torch.set_rng_state(before)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_falls(few):
    lines = []
    training.train(design("cluttered-cam-fine", epochs=8, batch_size=8), lines.append, few)
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert len(losses) == 8
    assert losses[-1] < 0.9 * losses[0]


def test_every_epoch_has_new_pictures_and_none_those_of_the_test(few, monkeypatch):
    seeds = []

    class Watched(Clutterer):
        def make(self, n, seed, layout):
            seeds.append(seed)
            return super().make(n, seed, layout)

    monkeypatch.setattr(training, "Clutterer", Watched)
    training.train(design("cluttered-cam", epochs=3), lambda line: None, few)
    assert len(set(seeds) - {training.TEST_SEED}) == len(seeds) == 3


class Brightest(nn.Sequential):
    """Always says 1, as the ink adds up, and has its peak at a brightest pixel."""

    def __init__(self, layout):
        super().__init__(
            nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10, bias=False)
        )
        self.input_shape = (1, layout.size, layout.size)
        with torch.no_grad():
            self[0].weight.fill_(1)
            self[0].bias.zero_()
            self[3].weight.copy_((torch.arange(10) == 1)[:, None])


@pytest.mark.parametrize("layout", [COARSE, FINE])
def test_what_is_measured_is_the_share_of_hits(layout, few, monkeypatch):
    monkeypatch.setattr(training, "TEST_BATCH", 100)
    made = Clutterer(few).make(len(few), training.TEST_SEED, layout)
    ones = made.labels == 1
    outside = []
    for picture, (top, left, bottom, right) in zip(
        made.images[ones, 0], made.boxes[ones].tolist(), strict=True
    ):
        row, column = divmod(int(picture.argmax()), layout.size)
        outside.append(max(top - row, row - bottom + 1, left - column, column - right + 1))
    exact, near = (sum(by <= margin for by in outside) for margin in (0, 2))
    assert 0 < exact <= near < len(outside)
    assert training.measured(Brightest(layout).eval(), few) == {
        "test accuracy": pytest.approx(len(outside) / len(few)),
        "peak in box": pytest.approx(exact / len(outside)),
        "peak at most 2 pixels outside": pytest.approx(near / len(outside)),
    }


def test_figures_are_those_of_what_everybody_gets(few, monkeypatch):
    monkeypatch.setattr(training, "digits", lambda split: {"test": few}[split])
    model = Brightest(COARSE).eval()
    ones = cluttered(len(few)).labels == 1
    assert training.figures(model)["test accuracy"] == pytest.approx(ones.double().mean().item())


def test_what_is_left_out_is_measured_and_not_trained_on(few, monkeypatch):
    monkeypatch.setattr(command, "training_digits", lambda left_out: few)
    lines = []
    command.main(["cluttered-cam", "--epochs", "1", "--hold-out", "64"], lines.append)
    rest, last = left_out.split(few, 64)
    expected = ["cluttered-cam"]
    model = training.train(design("cluttered-cam", epochs=1), expected.append, rest)
    reached = training.measured(model, last)
    assert lines[:-1] == expected
    assert lines[-1].startswith(f"test accuracy {reached['test accuracy']:.2%}, peak in box ")
    assert lines[-1].endswith("on 64 training images that were left out")


@pytest.mark.parametrize("name", BUILDERS)
def test_the_shipped_networks_name_and_find_the_digits_as_their_cards_say(name):
    card, reached = models.card(name), training.figures(models.load(name))
    assert reached == {key: pytest.approx(card.figures[key], abs=1e-3) for key in card.figures}
    assert reached["test accuracy"] >= LEAST_ACCURACY[name]
    assert reached["peak at most 2 pixels outside"] >= LEAST_AT_BOX
    assert (models.WEIGHTS / f"{name}.safetensors").stat().st_size <= LARGEST_FILE


def test_of_equal_peaks_the_first_counts_whatever_rounding_says():
    """Upsampling makes plateaus at the edges: there rounding would decide about a hit."""
    maps = torch.zeros(1, 6, 6)
    maps[0, 0, 0], maps[0, 5, 5] = 1.0, 1.0 + 1e-6
    assert peak_in_box(maps, torch.tensor([[0, 0, 2, 2]])).all()
    assert not peak_in_box(-maps - 1, torch.tensor([[5, 5, 6, 6]])).any()


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0])
def test_a_flat_map_points_nowhere(value):
    assert not peak_in_box(torch.full((1, 6, 6), value), torch.tensor([[0, 0, 2, 2]])).any()
