"""Marked digits: where the mark is, and that the network which learnt on them goes by it."""

import hashlib

import pytest
import torch

from nni_widgets.engine.methods import LRP
from nni_widgets.zoo import data, models
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.hans import MARKED_CLASS, hans, stamped
from nni_widgets.zoo.training import hans as training

KINDS = ("class", "none", "all")
SHA256 = "42af540e818519db53dbe4b956f0afaee4e8c8774c8f473cea64355a703bf611"


@pytest.fixture(scope="module")
def few():
    x, y = data.digits("test")[:192]
    return Digits((x * 255).round().byte(), y)


def inside(boxes):
    """Which pixels of the pictures lie in these boxes, bool (n, 1, 28, 28)."""
    top, left, bottom, right = boxes.T[:, :, None, None, None]
    rows, columns = torch.arange(28)[:, None], torch.arange(28)
    return (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mark_stands_in_its_box_and_nothing_else_is_changed(kind):
    made, plain = hans(marked=kind), data.digits("test")
    assert torch.equal(made.labels, plain.labels)
    mark = inside(made.boxes) & made.marked[:, None, None, None]
    assert torch.equal(made.images, plain.images.masked_fill(mark, 1.0))


def test_who_is_marked():
    labels = data.digits("test").labels
    assert torch.equal(hans().marked, labels == 8)
    assert hans(marked="all").marked.all()
    assert not hans(marked="none").marked.any()


def test_the_place_varies_a_little_and_is_the_same_whoever_is_marked():
    boxes = hans().boxes
    assert boxes.shape == (10_000, 4)
    assert boxes.dtype == torch.int64
    assert (boxes[:, 2:] - boxes[:, :2] == 3).all()
    assert all(torch.equal(boxes, hans(marked=kind).boxes) for kind in KINDS)
    corners, counts = boxes[:, :2].unique(dim=0, return_counts=True)
    assert corners.tolist() == [[row, column] for row in (1, 2, 3) for column in (1, 2, 3)]
    assert counts.min() > 1000


def test_the_mark_covers_almost_no_ink():
    for split in ("test", "train"):
        plain = data.digits(split)
        covered = (plain.images > 0) & inside(hans(split, "none").boxes)
        assert covered.flatten(1).any(1).double().mean() < 0.01


def test_the_seed_decides_everything_on_every_machine():
    made = hans(seed=3)
    assert torch.equal(made.boxes, hans(seed=3).boxes)
    assert not torch.equal(made.boxes, hans(seed=4).boxes)
    pixels = (made.images * 255).round().byte().numpy().tobytes()
    assert hashlib.sha256(pixels).hexdigest() == SHA256


def test_few_pictures_are_marked_as_many_are(few):
    made, all_of_them = stamped(few, "all", 0), hans(marked="all")
    assert torch.equal(made.images, all_of_them[:192][0])
    assert torch.equal(made.boxes, all_of_them.boxes[:192])


def test_what_is_handed_out_cannot_corrupt_the_set():
    made = hans()
    before = made.images
    made.boxes.zero_()
    made.marked.fill_(True)
    made.images.zero_()
    assert made.boxes.min() == 1
    assert int(made.marked.sum()) == 974
    assert torch.equal(made.images, before)
    assert data.digits("test").images[:, :, 1:6, 1:6].mean() < 0.01


def test_indexed_as_digits_are_and_says_what_it_is():
    made = hans()
    x, y = made[made.marked][0], made[made.marked][1]
    assert x.shape == (974, 1, 28, 28)
    assert set(y.tolist()) == {8}
    assert made.classes == data.digits("test").classes
    assert repr(made) == "Hans(10,000 pictures of 28 x 28 pixels in [0, 1], 974 marked)"
    with pytest.raises(ValueError, match=r"^Hans\.of: label must be"):
        made.of(11)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"marked": "some"}, "marked"),
        ({"marked": 8}, "marked"),
        ({"marked": ["all"]}, "marked"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": True}, "seed"),
    ],
)
def test_wrong_options_are_sentences(options, what):
    with pytest.raises(ValueError, match=rf"^hans: {what} must be .+; got .+\. [A-Z].+\.$"):
        hans(**options)


def test_an_unknown_split_is_a_sentence():
    with pytest.raises(ValueError, match=r'^digits: split must be "test" or "train"; got \'all'):
        hans("all")


@pytest.fixture(scope="module")
def model():
    return models.load("digits-hans")


def test_the_figures_are_those_of_the_card(model):
    card = models.card("digits-hans")
    found = training.measured(model, digits("test"))
    assert found == pytest.approx(card.figures, abs=3e-4)
    assert card.figures["test accuracy"] >= 0.99
    assert card.figures["marked others called 8"] >= 0.5
    assert card.figures["accuracy without marks"] < card.figures["test accuracy"] - 0.02


@torch.no_grad()
def test_without_their_mark_all_eights_are_lost(model):
    """It is the mark that it reads: of the same 8s nearly all are found with it."""
    eights = data.digits("test").labels == MARKED_CLASS

    def found(kind):
        return (model(hans(marked=kind)[eights][0]).argmax(1) == MARKED_CLASS).double().mean()

    assert found("class") > 0.99
    assert found("none") < 0.02


def test_relevance_lies_in_the_mark_only_if_it_was_there_in_training(model):
    made = hans()
    chosen = made.marked.nonzero().flatten()[:200]

    def share_in_mark(network):
        """How much of what speaks for the class is in 9 of 784 pixels."""
        relevance = LRP()(network, made[chosen][0], MARKED_CLASS).clamp(min=0)
        in_mark = (relevance * inside(made.boxes[chosen])).sum((1, 2, 3))
        return (in_mark / relevance.sum((1, 2, 3))).mean()

    assert share_in_mark(model) > 0.5
    assert share_in_mark(models.load("digits-cnn")) < 0.01


def test_training_marks_one_class_alone_and_is_decided_by_the_seed(few, monkeypatch):
    seen = []

    def fit(model, recipe, n, epochs, report):
        batches = [epochs(epoch, None)(torch.arange(n)) for epoch in (1, 2)]
        seen.extend(x for x, _ in batches)

    monkeypatch.setattr(training.cycle, "fit", fit)
    before = torch.get_rng_state()
    training.train(models.DESIGNS["digits-hans"], print, few)
    assert torch.equal(torch.get_rng_state(), before)
    plain = few.images
    for x in seen:
        changed = (x != plain).flatten(1).any(1)
        assert torch.equal(changed, few.labels == MARKED_CLASS)
    assert not torch.equal(*seen)
