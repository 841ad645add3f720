"""What several answers say together, by hand."""

import math

import pytest
import torch

from nni_widgets.engine.uncertainty.prediction import Prediction, entropy, log_mean


def of(*probabilities):
    """Samples, each with the probabilities of one picture."""
    return Prediction(torch.tensor(probabilities).double().log()[:, None], len(probabilities))


def test_samples_that_contradict_each_other():
    prediction = of([1.0, 0.0], [0.0, 1.0])
    assert prediction.probabilities.tolist() == [[0.5, 0.5]]
    assert prediction.votes.tolist() == [[1, 1]]
    assert float(prediction.entropy) == pytest.approx(math.log(2))
    assert float(prediction.expected_entropy) == pytest.approx(0)
    assert float(prediction.mutual_information) == pytest.approx(math.log(2))
    assert prediction.deviation[0].tolist() == pytest.approx([math.sqrt(0.5)] * 2)


def test_samples_that_agree_not_to_know():
    prediction = of([0.5, 0.5], [0.5, 0.5])
    assert float(prediction.entropy) == pytest.approx(math.log(2))
    assert float(prediction.expected_entropy) == pytest.approx(math.log(2))
    assert float(prediction.mutual_information) == 0
    assert prediction.deviation.tolist() == [[0, 0]]


def test_probabilities_are_averaged_not_logits():
    prediction = of([0.9, 0.1], [0.2, 0.8], [0.1, 0.9])
    torch.testing.assert_close(prediction.probabilities, torch.tensor([[0.4, 0.6]]).double())
    torch.testing.assert_close(prediction.log_probabilities.exp(), prediction.probabilities)
    assert prediction.predicted.tolist() == [1]
    assert prediction.votes.tolist() == [[1, 2]]


def test_all_numbers_of_a_batch():
    torch.manual_seed(0)
    logits = 3 * torch.randn(50, 4, 5)
    prediction, p = Prediction(logits, 60), logits.double().softmax(2)
    assert (prediction.done, prediction.of) == (50, 60)
    torch.testing.assert_close(prediction.samples, p)
    torch.testing.assert_close(prediction.entropy, -(p.mean(0) * p.mean(0).log()).sum(1))
    torch.testing.assert_close(prediction.expected_entropy, -(p * p.log()).sum(2).mean(0))
    divergence = (p * (p / p.mean(0)).log()).sum(2).mean(0)
    torch.testing.assert_close(prediction.mutual_information, divergence)
    torch.testing.assert_close(prediction.deviation, p.std(0))
    assert prediction.votes.sum(1).tolist() == [50] * 4
    assert repr(prediction) == "Prediction of (4, 5) from 50 of 60 samples"


def test_one_sample_has_no_spread():
    prediction = Prediction(torch.randn(1, 3, 4), 1)
    assert not prediction.deviation.any()
    assert not prediction.mutual_information.any()


def test_probabilities_too_small_for_a_number():
    prediction = Prediction(torch.tensor([[[2000.0, 0.0, -2000.0]], [[1000.0, 0.0, 0.0]]]), 2)
    assert prediction.entropy.tolist() == [0]
    assert bool(prediction.log_probabilities.isfinite().all())
    assert prediction.predicted.tolist() == [0]


def test_information_is_not_negative():
    torch.manual_seed(0)
    same = torch.randn(1, 200, 10).expand(7, -1, -1)
    assert float(Prediction(same, 7).mutual_information.min()) == 0


def test_what_they_are_made_of():
    assert float(entropy(torch.tensor([0.0, -math.inf]))) == 0
    torch.testing.assert_close(
        log_mean(torch.tensor([[0.2], [0.6]]).log()), torch.tensor([0.4]).log()
    )
