"""The shipped models: as good as their cards say, whole, and able to read a drawn digit."""

import dataclasses
import hashlib
import itertools
import json
import math
import shutil

import pytest
import torch
from torch import nn

from nni_widgets.engine.composites import PRESETS, RULES
from nni_widgets.engine.doctor import diagnose
from nni_widgets.engine.methods import (
    CAM,
    LRP,
    METHODS,
    DeepLIFT,
    DeepTaylor,
    GradientTimesInput,
    TranslationAverage,
)
from nni_widgets.engine.methods.activation_map import ActivationMap
from nni_widgets.engine.methods.taylor import SimpleTaylor
from nni_widgets.engine.rules import Zero
from nni_widgets.engine.tape import record
from nni_widgets.errors import UnsupportedOperation
from nni_widgets.zoo import data, models
from nni_widgets.zoo.designs import DESIGNS, HELD_OUT, TAKEN_OVER, TEST_IMAGES
from nni_widgets.zoo.training.classifier import accuracy

NAMES = models.names()
TRAINED = tuple(name for name in NAMES if DESIGNS[name].weights is None)
READERS = tuple(name for name in NAMES if DESIGNS[name].input_shape == (1, 28, 28))
MISLED = ("digits-hans",)
CLASSIFIERS = tuple(n for n in READERS if DESIGNS[n].classes and n not in MISLED)
LEAST_ACCURACY = {
    "digits-cnn": 0.992,
    "digits-cnn-nobias": 0.992,
    "digits-cnn-designed": 0.989,
    "digits-mlp": 0.982,
    "digits-resnet": 0.993,
    "digits-dropout": 0.99,
    "digits-evidential": 0.979,
    "digits-ensemble": 0.99,
}
LARGEST_FILE = 1_500_000
ALL_METHODS = dict.fromkeys(
    [*(method() for method in METHODS), *(LRP(rules()) for rules in (*PRESETS, *RULES))]
)

# Without a positive bias no unit is active at the root point 0: the derivative there is zero.
SILENT = {("digits-cnn-designed", SimpleTaylor())}
WITHOUT_MAPS = {"digits-mlp"}
WITH_AVERAGED_MAPS = {"digits-resnet"}
ENDING_IN_PROBABILITIES = {"digits-ensemble"}
PASSING_RELEVANCE = (LRP, DeepTaylor, DeepLIFT, TranslationAverage)


def kinds_in(name):
    return {type(module) for module in models.load(name).modules()}


def biases_of(name):
    return {
        key: value for key, value in models.load(name).named_parameters() if key.endswith("bias")
    }


@pytest.fixture
def copied(tmp_path):
    """A folder with copies of all weights and cards, to be damaged."""
    return shutil.copytree(models.WEIGHTS, tmp_path / "weights")


def test_the_weights_folder_holds_what_the_list_says_and_nothing_else():
    found = {path.name for path in models.WEIGHTS.iterdir()}
    cards, weights = {f"{name}.json" for name in NAMES}, {f"{name}.safetensors" for name in TRAINED}
    grids = {f"{name}.png" for name in NAMES if hasattr(models.load(name), "sample")}
    assert found == cards | weights | grids


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_accuracy_on_all_test_images_is_that_of_the_card(name):
    card = models.card(name)
    assert "all 10,000 test images" in card.test_data
    reached = accuracy(models.load(name), data.digits("test"))
    assert reached == pytest.approx(card.test_accuracy, abs=1e-4)


def test_every_model_has_a_least_accuracy():
    assert tuple(LEAST_ACCURACY) == CLASSIFIERS


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_model_is_good_enough_to_teach_with(name):
    """What the weights reach is that of the card: the test above."""
    assert models.card(name).test_accuracy >= LEAST_ACCURACY[name]


@pytest.mark.parametrize("name", TRAINED)
def test_weight_files_are_small(name):
    assert (models.WEIGHTS / f"{name}.safetensors").stat().st_size <= LARGEST_FILE


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_card_says_by_which_pictures_the_recipe_was_chosen(name):
    chosen_on = models.card(name).recipe_chosen_on
    assert chosen_on == DESIGNS[name].recipe_chosen_on
    taken_over = dict.fromkeys(("digits-resnet", "digits-dropout"), TAKEN_OVER)
    others = {"digits-cnn": TEST_IMAGES, **taken_over}
    assert chosen_on == others.get(name, HELD_OUT)


@pytest.mark.parametrize("name", TRAINED)
def test_card_tells_the_truth_about_weights_and_recipe(name):
    card, model = models.card(name), models.load(name)
    weights = (models.WEIGHTS / f"{name}.safetensors").read_bytes()
    assert card.name == name
    assert card.sha256 == hashlib.sha256(weights).hexdigest()
    assert card.recipe == dataclasses.asdict(DESIGNS[name].recipe)
    assert card.architecture == DESIGNS[name].architecture
    assert card.n_parameters == sum(p.numel() for p in model.parameters())
    assert card.licence.startswith("MIT")
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.figures = {}


@pytest.mark.parametrize("name", NAMES)
def test_card_shows_itself(name):
    card = models.card(name)
    for text in (" ".join(str(card).split()), card._repr_markdown_()):
        share = min(card.figures.values())
        reached = f"{share:.2%}"
        for fact in (card.architecture, card.data, card.recipe_chosen_on, card.licence, reached):
            assert fact in text
        if name in TRAINED:
            assert f"seed {card.seed}" in text
            assert f"epochs {card.recipe['epochs']}" in text
    assert max(map(len, str(card).splitlines())) <= 88
    table, _, picture = card._repr_markdown_().partition("\n![")
    assert bool(picture) == hasattr(models.load(name), "sample")
    header, rule, *rows = table.splitlines()
    assert rule == "| --- | --- |"
    assert len(rows) == len(card.rows())
    assert all(row.count("|") == 3 for row in (header, *rows))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_loaded_model_is_ready_and_says_what_it_takes(name):
    card, model = models.card(name), models.load(name)
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert (model.classes, model.low, model.high) == (card.classes, card.low, card.high)
    assert model.input_shape == card.input_shape == (1, 28, 28)
    assert model(torch.zeros(2, *model.input_shape)).shape == (2, len(model.classes))


def test_a_card_of_a_published_model_says_what_it_lacks():
    card = models.card("photos")
    with pytest.raises(
        ValueError, match=r"; got photos, which has right at p > 0\.7\. Look at fig"
    ):
        _ = card.test_accuracy
    with pytest.raises(
        ValueError, match=r"^models: a seed must be .+; got photos, which was train"
    ):
        _ = card.seed


def test_a_list_of_names_is_no_name():
    with pytest.raises(
        ValueError, match=r"^models: a name must be one of digits-cnn, .+ got \['dig"
    ):
        models.load(["digits-cnn"])


def test_the_module_offers_nothing_but_its_own():
    assert models.__all__ == ["Card", "card", "load", "names", "wrap"]
    assert all(getattr(models, name).__doc__ for name in models.__all__)


def test_a_loaded_model_is_the_callers_own():
    first, second = models.load("digits-cnn"), models.load("digits-cnn")
    with torch.no_grad():
        first.fc2.weight.zero_()
    assert second.fc2.weight.abs().sum() > 0


@pytest.mark.parametrize("name", ["digits-resnet", "digits-dcgan", "photos"])
def test_loading_draws_no_random_number_of_the_callers(name):
    before = torch.random.get_rng_state()
    models.load(name)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_digits_cnn_reads_well_in_a_layer_picker():
    names = [name for name, _ in models.load("digits-cnn").named_children()]
    assert names[:9] == [f"{kind}{n}" for n in (1, 2, 3) for kind in ("conv", "relu", "pool")]
    assert names[9:] == ["flatten", "fc1", "relu4", "fc2"]


def test_the_other_models_read_well_in_a_layer_picker():
    def named(name):
        return " ".join(key for key, _ in models.load(name).named_children())

    assert named("digits-cnn-nobias") == named("digits-cnn")
    assert named("digits-cnn-designed").endswith("pool3 flatten dropout fc")
    assert named("digits-mlp") == "flatten fc1 relu1 fc2 relu2 fc3"
    assert named("digits-resnet") == "conv1 norm1 relu1 pool1 block1 block2 block3 pool2 flatten fc"


@torch.no_grad()
def test_without_biases_the_logits_scale_with_the_picture():
    model, x = models.load("digits-cnn-nobias"), data.digits("test")[:20][0]
    assert not biases_of("digits-cnn-nobias")
    assert nn.BatchNorm2d not in kinds_in("digits-cnn-nobias")
    torch.testing.assert_close(model(0.5 * x), 0.5 * model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", [LRP(Zero()), GradientTimesInput()], ids=str)
def test_without_biases_the_relevance_adds_up_to_the_logit(method):
    model, (x, y) = models.load("digits-cnn-nobias").double(), data.digits("test")[:20]
    total = method(model, x.double(), y).sum((1, 2, 3))
    torch.testing.assert_close(total, model(x.double())[range(20), y], rtol=1e-9, atol=1e-9)


def test_the_designed_network_follows_the_advice():
    biases = biases_of("digits-cnn-designed")
    assert set(biases) == {"conv1.bias", "conv2.bias", "conv3.bias", "fc.bias"}
    assert all((bias <= 0).all() and (bias < 0).any() for bias in biases.values())
    kinds = [type(module) for module in models.load("digits-cnn-designed").modules()]
    assert nn.MaxPool2d not in kinds
    assert {kind: kinds.count(kind) for kind in (nn.AvgPool2d, nn.Dropout, nn.Linear)} == {
        nn.AvgPool2d: 3,
        nn.Dropout: 1,
        nn.Linear: 1,
    }


def test_the_residual_network_is_a_real_one():
    model = models.load("digits-resnet")
    tape = record(model, data.digits("test")[:1][0])
    sums = [op.path for op in tape.ops if op.kind == "add"]
    assert sums == ["block1", "block2", "block3"]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 9
    assert all(norm.num_batches_tracked > 0 for norm in norms)


def can_explain(method, name):
    """CAM needs a network that ends in the average of its maps, the rest of the family any maps.

    Relevance is not passed through a mean of probabilities.
    """
    if name in ENDING_IN_PROBABILITIES and isinstance(method, PASSING_RELEVANCE):
        return False
    if isinstance(method, CAM):
        return name in WITH_AVERAGED_MAPS
    return not (isinstance(method, ActivationMap) and name in WITHOUT_MAPS)


EVERY_PAIR = [(name, method) for name in CLASSIFIERS for method in ALL_METHODS]
EXPLAINED = [(name, method) for name, method in EVERY_PAIR if can_explain(method, name)]
REFUSED = [pair for pair in EVERY_PAIR if pair not in EXPLAINED]


@pytest.mark.parametrize(("name", "method"), REFUSED, ids=str)
def test_a_model_without_what_a_method_needs_is_refused(name, method):
    model, (x, _) = models.load(name), data.digits("test")[:2]
    maps = "must be one (with spatial maps|dense layer on the global average)"
    expected = rf"({maps}|no rule for log_softmax|got sub .+ at the end)"
    with pytest.raises((ValueError, UnsupportedOperation), match=expected) as caught:
        method(model, x)
    assert str(diagnose(model, x, method)) == f"error: {caught.value}"


@pytest.mark.parametrize(("name", "method"), EXPLAINED, ids=str)
def test_every_other_method_explains_every_model(name, method):
    model, (x, y) = models.load(name), data.digits("test")[:2]
    report = diagnose(model, x, method)
    assert report.healthy, report
    relevance = method(model, x, y)
    assert relevance.shape == x.shape
    assert relevance.isfinite().all()
    says_something = relevance.abs().amax((1, 2, 3)) > 0
    assert (says_something == ((name, method) not in SILENT)).all()


def arc(x, y, width, height, start, end):
    """Points of an ellipse's arc, angles in degrees, 0 to the right, growing downwards."""
    angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


HANDWRITING = [
    [arc(14, 14, 5.5, 8, -90, 270)],
    [[(14.5, 5), (13.5, 23)]],
    [[*arc(14, 9.5, 4.8, 4.5, -170, 40), (9, 22.5), (20, 22)]],
    [arc(13, 9.5, 4.8, 4.3, -150, 80) + arc(13, 18, 5.2, 4.6, -80, 150)],
    [[(11, 5), (8.5, 15), (20, 14.5)], [(17.5, 6), (16.5, 23)]],
    [[(19, 5.5), (10.5, 6), (10, 13), *arc(13, 17, 5.3, 5, -110, 140)]],
    [[(17, 5), (12, 10), (9.5, 16), *arc(14, 17.5, 4.6, 4.6, 180, -175)]],
    [[(8.5, 6.5), (19.5, 6), (13, 23)]],
    [arc(14, 9.5, 4, 4.2, 90, 450) + arc(14, 18.3, 4.8, 4.6, -90, 270)],
    [[*arc(13.5, 10, 4.6, 4.6, 0, -360), (18, 10), (17.5, 16), (15.5, 23)]],
]


def written(scale=1.0, right=0.0, down=0.0, width=2.5):
    """The ten digits, drawn in another size, place and thickness of the pen."""

    def place(x, y):
        return 14 + right + scale * (x - 14), 14 + down + scale * (y - 14)

    digits = [[[place(x, y) for x, y in stroke] for stroke in digit] for digit in HANDWRITING]
    return torch.cat([data.drawing(strokes, width=width) for strokes in digits])


@pytest.mark.parametrize("name", CLASSIFIERS)
@torch.no_grad()
def test_every_model_reads_digits_drawn_in_the_middle(name):
    probabilities = models.load(name)(written()).softmax(1)
    assert probabilities.argmax(1).tolist() == list(range(10))
    assert probabilities.diagonal().min() > 0.9


@torch.no_grad()
def test_digits_cnn_reads_digits_of_other_size_place_and_pen():
    model = models.load("digits-cnn")
    variants = itertools.product((0.8, 1.0, 1.2), (-3, 0, 3), (-3, 0, 3), (2.0, 3.0))
    right = torch.cat([model(written(*v)).argmax(1) == torch.arange(10) for v in variants])
    assert right.double().mean() >= 0.97


@pytest.mark.parametrize("ask", [models.load, models.card])
def test_unknown_name_names_the_known_ones(ask):
    with pytest.raises(ValueError, match=r"^models: .+ of .*digits-cnn.*; got 'resnet'\. .+\.$"):
        ask("resnet")


def test_the_folder_may_be_given_as_text(copied):
    assert models.load("digits-mlp", str(copied)).classes == tuple("0123456789")
    assert models.card("digits-mlp", str(copied)) == models.card("digits-mlp")


def test_a_cut_weight_file_is_not_loaded(copied):
    path = copied / "digits-cnn.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"^models: the weights .+ must have the sha256 .+damaged"):
        models.load("digits-cnn", copied)


def test_one_flipped_bit_is_found(copied):
    path = copied / "digits-cnn.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        models.load("digits-cnn", copied)


@pytest.mark.parametrize(("kind", "ask"), [(".json", models.card), (".safetensors", models.load)])
def test_a_missing_file_says_what_to_do(copied, kind, ask):
    (copied / f"digits-cnn{kind}").unlink()
    with pytest.raises(FileNotFoundError, match=r"^models: .+ no such file\. Install .+training"):
        ask("digits-cnn", copied)


def damaged_cards():
    whole = json.loads((models.WEIGHTS / "digits-cnn.json").read_text())
    yield json.dumps(whole)[:200]
    yield "[]"
    for key in ("sha256", "classes", "recipe"):
        yield json.dumps({k: v for k, v in whole.items() if k != key})
    yield json.dumps(whole | {"epoch": 3})


@pytest.mark.parametrize("case", range(6))
def test_a_damaged_card_is_not_read(copied, case):
    (copied / "digits-cnn.json").write_text(list(damaged_cards())[case])
    with pytest.raises(ValueError, match=r"^models: the card .+ must be a complete model card"):
        models.card("digits-cnn", copied)
