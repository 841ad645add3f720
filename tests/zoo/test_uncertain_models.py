"""The models that say how sure they are: built as they say, as good as their cards say."""

import dataclasses
import math
import shutil

import pytest
import torch
from torch import nn

from nni_widgets.engine.uncertainty.evidential import Dirichlet, dirichlet, evidential_loss
from nni_widgets.zoo import data, models
from nni_widgets.zoo.classifiers import DeepEnsemble
from nni_widgets.zoo.training import dropout, ensemble, evidential
from nni_widgets.zoo.training.left_out import split

LARGEST_FILE = {
    "digits-dropout": 130_000,
    "digits-evidential": 130_000,
    "digits-hans": 130_000,
    "digits-ensemble": 700_000,
}


@pytest.fixture(scope="module")
def some():
    return split(data.digits("test"), 9_000)[0]


@pytest.mark.parametrize("name", LARGEST_FILE)
def test_files_are_small(name):
    assert (models.WEIGHTS / f"{name}.safetensors").stat().st_size <= LARGEST_FILE[name]


@pytest.mark.parametrize("name", LARGEST_FILE)
def test_card_says_what_it_has_never_seen(name):
    assert "the last 10,000 are left to calibration" in models.card(name).data
    assert "test images" not in models.card(name).recipe_chosen_on


def test_dropout_reads_well_in_a_layer_picker_and_is_off():
    model = models.load("digits-dropout")
    names = " ".join(key for key, _ in model.named_children())
    blocks = " ".join(f"conv{n} relu{n} pool{n} dropout{n}" for n in (1, 2, 3))
    assert names == f"{blocks} flatten fc1 relu4 dropout4 fc2"
    rates = [each.p for each in model if isinstance(each, (nn.Dropout, nn.Dropout2d))]
    assert rates == [0.2] * 4
    x, _ = data.digits("test")[:5]
    assert torch.equal(model(x), model(x))


def test_what_dropout_doubts_is_what_the_card_says(some):
    """All of it takes minutes: here 1,000 digits, of which few are wrong."""
    card, found = (
        models.card("digits-dropout"),
        dropout.measured(models.load("digits-dropout"), some),
    )
    wrong, strange = "entropy AUROC, wrong over right", "entropy AUROC, clothes over digits"
    assert card.figures[wrong] > 0.95
    assert card.figures[strange] > 0.95
    assert found[wrong] == pytest.approx(card.figures[wrong], abs=0.05)
    assert found[strange] == pytest.approx(card.figures[strange], abs=0.01)


@pytest.mark.parametrize(
    ("high", "low", "area"),
    [
        ([3, 4], [1, 2], 1.0),
        ([1], [2, 3], 0.0),
        ([1, 3], [2], 0.5),
        ([2, 2], [2], 0.5),
        ([5, 1], [3, 1], 0.625),
    ],
)
def test_the_area_under_the_roc_curve_is_the_share_of_pairs(high, low, area):
    assert dropout.auroc(torch.tensor(high) / 1, torch.tensor(low) / 1) == pytest.approx(area)


def test_evidence_is_what_the_card_says():
    card, model = models.card("digits-evidential"), models.load("digits-evidential")
    assert evidential.figures(model) == pytest.approx(card.figures, abs=3e-4)
    assert model.evidence == "softplus"
    assert card.figures["mean u where right"] < 0.25
    assert card.figures["mean u where wrong"] > 0.6


def test_the_penalty_grows_from_nothing(some, monkeypatch):
    told = []

    def loss(logits, labels, epoch, annealing_epochs, evidence):
        told.append((epoch, annealing_epochs, evidence))
        return evidential_loss(logits, labels, epoch, annealing_epochs, evidence)

    monkeypatch.setattr(evidential, "evidential_loss", loss)
    design = models.DESIGNS["digits-evidential"]
    short = dataclasses.replace(design.recipe, epochs=3, batch_size=len(some))
    evidential.train(dataclasses.replace(design, recipe=short), lambda line: None, some)
    assert told == [(epoch, 3, "softplus") for epoch in range(3)]


def test_no_class_died_of_the_penalty():
    """Under it a network may find no evidence for some class at all, and never again."""
    x, y = data.digits("test")[:2000]
    predicted = dirichlet(models.load("digits-evidential"), x).predicted
    for label in range(10):
        assert (predicted[y == label] == label).double().mean() > 0.9


def test_clothes_are_less_certain_than_digits(some):
    model = models.load("digits-evidential")
    digits, clothes = (dirichlet(model, x) for x in (some.images, data.fashion().images))
    assert clothes.uncertainty.mean() > digits.uncertainty.mean() + 0.4
    assert isinstance(digits, Dirichlet)


def test_an_ensemble_is_the_mean_of_its_members():
    model, (x, _) = models.load("digits-ensemble").double(), data.digits("test")[:50]
    assert isinstance(model, DeepEnsemble)
    assert len(model.members) == 5
    with torch.no_grad():
        p = torch.stack([member(x.double()).softmax(1) for member in model.members])
        torch.testing.assert_close(model(x.double()).exp(), p.mean(0))
        torch.testing.assert_close(model(x.double()).softmax(1), p.mean(0))
    first = [member.conv1.weight for member in model.members]
    assert all(not torch.allclose(first[0], other, atol=0.05) for other in first[1:])


def test_an_ensemble_stays_finite_where_probabilities_vanish():
    class Sure(nn.Module):
        def forward(self, x):
            return x * torch.tensor([400.0, 0.0])

    found = DeepEnsemble([Sure(), Sure()])(torch.ones(1, 2))
    torch.testing.assert_close(found, torch.tensor([[0.0, -400.0]]))


def test_together_they_are_better_than_one_alone():
    card, model = models.card("digits-ensemble"), models.load("digits-ensemble")
    assert ensemble.figures(model) == pytest.approx(card.figures, abs=3e-4)
    assert card.test_accuracy > card.figures["mean accuracy of a member"]


@torch.no_grad()
def test_a_member_is_too_sure():
    """Without distorted pictures a network learns to be surer than it is right."""
    held_out = split(data.digits("train"), 10_000)[1]
    for member in models.load("digits-ensemble").members:
        logits = torch.cat([member(batch) for batch in held_out.images.split(500)])
        sure = logits.softmax(1).amax(1).mean().item()
        right = (logits.argmax(1) == held_out.labels).double().mean().item()
        assert sure > right + 0.002
        cooler, own = (nn.functional.cross_entropy(logits / t, held_out.labels) for t in (1.2, 1.0))
        assert cooler < own


def test_a_damaged_file_of_the_ensemble_is_named(tmp_path):
    shutil.copy(models.WEIGHTS / "digits-ensemble.json", tmp_path)
    content = (models.WEIGHTS / "digits-ensemble.safetensors").read_bytes()
    (tmp_path / "digits-ensemble.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"digits-ensemble\.safetensors must have .+ damaged"):
        models.load("digits-ensemble", tmp_path)


def test_an_ensemble_without_members_is_a_sentence():
    with pytest.raises(ValueError, match=r"^DeepEnsemble: .+ must be .+; got .+\. .+\.$"):
        DeepEnsemble([])


def test_log_probabilities_of_one_member_are_its_own():
    model, (x, _) = models.load("digits-cnn"), data.digits("test")[:5]
    torch.testing.assert_close(DeepEnsemble([model])(x), model(x).log_softmax(1))
    assert math.isclose(DeepEnsemble([model])(x).exp().sum().item(), 5, abs_tol=1e-4)
