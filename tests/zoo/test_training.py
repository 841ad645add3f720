"""Training: the loss falls, the seed decides everything, and what is written can be loaded."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from nni_widgets.zoo import data, models
from nni_widgets.zoo.classifiers import Recipe, lower_biases
from nni_widgets.zoo.designs import DESIGNS
from nni_widgets.zoo.training import classifier, left_out
from nni_widgets.zoo.training.__main__ import TRAINED, family, main
from nni_widgets.zoo.training.augmentation import augment

READERS = [name for name, design in DESIGNS.items() if design.input_shape == (1, 28, 28)]
CLASSIFIERS = [name for name in READERS if DESIGNS[name].classes]

STILL = Recipe(
    rotation_degrees=0,
    scale=0,
    aspect=0,
    shear_degrees=0,
    shift_pixels=0,
    elastic_pixels=0,
    thinning=0,
    thickening=0,
)


@pytest.fixture(scope="module")
def some():
    x, y = data.digits("test")[:320]
    return data.Digits((x * 255).round().byte(), y)


def shortened(name="digits-cnn", **changes):
    design = DESIGNS[name]
    return dataclasses.replace(design, recipe=dataclasses.replace(design.recipe, **changes))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_loss_falls_and_the_model_learns(some):
    lines = []
    model = classifier.train(shortened(epochs=5, batch_size=8), lines.append, some)
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert len(losses) == 5
    assert losses[-1] < 0.7 * losses[0]
    assert classifier.accuracy(model, some) > 0.6
    assert not model.training


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_seed_decides_everything_and_the_global_state_is_left_alone(name, some):
    few = data.Digits(some._pixels[:64], some.labels[:64])

    def weights(seed):
        design = shortened(name, epochs=1, seed=seed)
        model = family(design).train(design, lambda line: None, few)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    before = torch.get_rng_state()
    first = weights(0)
    torch.rand(3)
    torch.set_rng_state(before)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_design_may_constrain_its_weights_after_every_step(some):
    def biases_above_zero(name):
        model = classifier.train(shortened(name, epochs=1), lambda line: None, some)
        parameters = model.named_parameters()
        return sum(int((p > 0).sum()) for key, p in parameters if key.endswith("bias"))

    assert biases_above_zero("digits-cnn-designed") == 0
    assert biases_above_zero("digits-cnn") > 0


def test_lowering_biases_changes_nothing_but_positive_biases():
    layer = torch.nn.Linear(3, 4)
    weight = layer.weight.detach().clone()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([-2.0, 0.0, 0.5, 3.0]))
    lower_biases(layer)
    assert layer.bias.tolist() == [-2, 0, 0, 0]
    assert torch.equal(layer.weight, weight)


def test_split_keeps_every_picture_and_the_order(some):
    first, last = left_out.split(some, 20)
    assert (len(first), len(last)) == (300, 20)
    assert torch.equal(torch.cat([first.images, last.images]), some.images)
    assert torch.equal(torch.cat([first.labels, last.labels]), some.labels)


@pytest.fixture
def in_place_of_the_training_set(some, monkeypatch):
    monkeypatch.setattr(left_out, "digits", lambda split: some)
    for module in {family(DESIGNS[name]) for name in CLASSIFIERS}:
        monkeypatch.setattr(module, "digits", lambda split: some)


@pytest.mark.usefixtures("in_place_of_the_training_set")
def test_what_is_held_out_is_not_trained_on(some, tmp_path, capsys):
    out = tmp_path / "new"
    options = ["--epochs", "2", "--hold-out", "100", "--out", str(out)]
    main(["digits-cnn", *options])
    first, last = left_out.split(some, 100)
    lines = []
    model = classifier.train(shortened(epochs=2), lines.append, first)
    name, *losses, validation = capsys.readouterr().out.splitlines()
    assert (name, losses) == ("digits-cnn", lines)
    assert f"{classifier.accuracy(model, last):.2%} on 100 training" in validation
    assert not out.exists()


def test_what_is_left_to_calibration_are_the_last_10_000_images():
    leaving = {name: design.left_out for name, design in DESIGNS.items() if design.left_out}
    names = ("digits-dropout", "digits-evidential", "digits-ensemble", "digits-hans")
    assert leaving == dict.fromkeys(names, 10_000)
    assert all(DESIGNS[name].data.startswith("MNIST, the first 50,000") for name in names)


@pytest.mark.usefixtures("in_place_of_the_training_set")
@pytest.mark.parametrize("name", [name for name in READERS if DESIGNS[name].left_out])
def test_what_is_left_to_calibration_is_not_trained_on(name, some):
    design = dataclasses.replace(shortened(name, epochs=1), left_out=256)

    def weights(*data):
        model = family(design).train(design, lambda line: None, *data)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    rest, _ = left_out.split(some, 256)
    assert torch.equal(weights(), weights(rest))
    assert not torch.equal(weights(), weights(some))


@pytest.mark.usefixtures("in_place_of_the_training_set")
def test_one_command_trains_all(tmp_path, monkeypatch):
    monkeypatch.setattr("nni_widgets.zoo.training.__main__.TRAINED", CLASSIFIERS)
    for name in CLASSIFIERS:
        monkeypatch.setitem(DESIGNS, name, dataclasses.replace(DESIGNS[name], left_out=0))
    main(["all", "--epochs", "1", "--out", str(tmp_path)])
    for name in CLASSIFIERS:
        assert models.load(name, tmp_path)
        recipe = dataclasses.asdict(shortened(name, epochs=1).recipe)
        assert models.card(name, tmp_path).recipe == recipe


def test_several_models_are_trained_side_by_side(monkeypatch):
    commands, lines = [], []

    def run(command, **_):
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 0, stdout=f"card of {command[3]}")

    monkeypatch.setattr(subprocess, "run", run)
    main(["all", "--jobs", "2", "--epochs", "1"], lines.append)
    assert sorted(commands) == sorted([name, "--jobs", "2", "--epochs", "1"] for name in TRAINED)
    longest = max(TRAINED, key=lambda name: models.card(name).minutes)
    assert lines[0] == f"card of {longest}", "the longest is begun first"
    assert len(lines) == len(TRAINED)


def test_all_is_every_model_that_is_trained_here():
    assert {name for name, design in DESIGNS.items() if design.weights is None} == set(TRAINED)
    assert all(family(DESIGNS[name]).train and family(DESIGNS[name]).figures for name in TRAINED)


@pytest.mark.usefixtures("in_place_of_the_training_set")
def test_the_command_writes_what_load_reads(some, tmp_path, capsys):
    main(["digits-cnn", "--epochs", "2", "--out", str(tmp_path / "new")])
    card = models.card("digits-cnn", tmp_path / "new")
    model = models.load("digits-cnn", tmp_path / "new")
    assert card.recipe == dataclasses.asdict(shortened(epochs=2).recipe)
    assert card.test_accuracy == classifier.accuracy(model, some)
    assert card.torch_version == torch.__version__
    printed = capsys.readouterr().out
    assert "epoch 2 of 2: loss" in printed
    assert printed.endswith(f"{card}\n")


@pytest.mark.usefixtures("in_place_of_the_training_set")
@pytest.mark.parametrize(
    "arguments",
    [
        ["digits-ccn"],
        ["digits-cnn", "--epochs", "0"],
        ["digits-cnn", "--hold-out", "320"],
        ["photos", "--epochs", "1"],
        [],
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_all_is_not_trained_in_vain_if_some_leave_nothing_out(monkeypatch, capsys, jobs):
    begun = []
    monkeypatch.setattr(subprocess, "run", lambda *command, **_: begun.append(command))
    monkeypatch.setattr("nni_widgets.zoo.training.__main__._validate", lambda *_: begun.append(_))
    with pytest.raises(SystemExit):
        main(["all", "--hold-out", "10000", "--jobs", jobs], begun.append)
    assert "--hold-out: the adversarial of digits-gan leaves nothing out" in capsys.readouterr().err
    assert not begun


def test_accuracy_counts_right_answers(some):
    class Always3(torch.nn.Module):
        def forward(self, x):
            return torch.eye(10)[3].expand(len(x), 10)

    assert classifier.accuracy(Always3(), some) == (some.labels == 3).sum().item() / 320


def test_augmentation_of_no_strength_is_the_picture(some):
    x = some[:8][0]
    torch.testing.assert_close(augment(x, STILL, generator()), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "strength",
    [
        {"rotation_degrees": 12},
        {"scale": 0.3},
        {"aspect": 0.1},
        {"shear_degrees": 8},
        {"shift_pixels": 3},
        {"elastic_pixels": 1.5},
        {"thinning": 0.3},
        {"thickening": 0.6},
    ],
    ids=lambda strength: next(iter(strength)),
)
def test_each_distortion_changes_each_picture_in_its_own_way(some, strength):
    x = some[0:1][0].expand(8, -1, -1, -1)
    y = augment(x, dataclasses.replace(STILL, **strength), generator())
    assert y.shape == x.shape
    assert y.min() >= 0
    assert y.max() <= 1
    gaps = torch.cdist(torch.cat([x[:1], y]).flatten(1), torch.cat([x[:1], y]).flatten(1))
    assert gaps[~torch.eye(9, dtype=torch.bool)].min() > 1e-3


def test_shift_moves_by_the_pixels_named():
    x = data.drawing([[(14, 14)]]).expand(200, -1, -1, -1)
    y = augment(x, dataclasses.replace(STILL, shift_pixels=3), generator())
    for ink in (y.sum((1, 2)), y.sum((1, 3))):
        moved = (ink * (torch.arange(28) + 0.5)).sum(1) / ink.sum(1) - 14
        assert -3.01 < moved.min() < -2.5
        assert 2.5 < moved.max() < 3.01


def test_thickening_adds_ink_and_thinning_takes_it_away(some):
    x = some[:50][0]
    ink = x.sum((1, 2, 3))
    thick = augment(x, dataclasses.replace(STILL, thickening=0.6), generator()).sum((1, 2, 3))
    thin = augment(x, dataclasses.replace(STILL, thinning=0.3), generator()).sum((1, 2, 3))
    assert (thick > ink).all()
    assert (thin < ink).all()


def test_models_import_no_training_code():
    code = "import sys; from nni_widgets.zoo import models; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "nni_widgets.zoo.models" in loaded
    assert not [name for name in loaded if name.startswith("nni_widgets.zoo.training")]
