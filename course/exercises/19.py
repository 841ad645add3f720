"""The exercises of lesson 19. Students: the answers are computed here, so the fun is elsewhere."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import nni_widgets as nni

THREE, SEVEN, SIX = 18, 36, 21
PASSES = 50
ANGLE = 40
RELEVANCES = (3.0, 1.0, -2.0, 2.0)
_SURE = 100.0
_A_CLASS, _FEW_VOTES = 1000, 3


def said(logits):
    """Entropy, expected entropy and mutual information of logits (T, K), by the library."""
    prediction = nni.Prediction(torch.as_tensor(logits)[:, None], len(logits))
    parts = prediction.entropy, prediction.expected_entropy, prediction.mutual_information
    return [float(part) for part in parts]


def three_networks():
    """Three networks with two classes: sure of the first, undecided, sure of the second."""
    return torch.tensor([[_SURE, -_SURE], [0.0, 0.0], [-_SURE, _SURE]], dtype=torch.float64)


def in_bits(logits):
    """The three numbers with the logarithm to the base 2."""
    return [number / math.log(2) for number in said(logits)]


def entropies_summed(logits):
    """The sum of the entropies of the passes, in place of their mean."""
    whole, expected, _ = said(logits)
    return [whole, len(logits) * expected, whole - len(logits) * expected]


def added(logits):
    """The two entropies added in place of subtracted."""
    whole, expected, _ = said(logits)
    return [whole, expected, whole + expected]


def exchanged(logits):
    """The two parts in the wrong order."""
    whole, expected, mutual = said(logits)
    return [whole, mutual, expected]


def logits_averaged(logits):
    """The entropy of the softmax of the mean logits, in place of that of the mean softmax."""
    whole = said(logits.mean(0, keepdim=True))[0]
    expected = said(logits)[1]
    return [whole, expected, whole - expected]


def wrong_axis(logits):
    """The softmax over the passes in place of the classes."""
    p = logits.softmax(0)
    whole = float(-(p.mean(0) * p.mean(0).log()).sum())
    expected = float(-(p * p.log()).sum(1).mean())
    return [whole, expected, whole - expected]


def six_passes():
    """Logits of six passes for four classes."""
    return 2 * torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(19))


def tried(doubt):
    """What a student's function says of them."""
    return doubt(six_passes())


def small_ensemble():
    """Networks of one weight: the weights are the relevance of one pixel in four passes."""
    members = [nn.Linear(1, 1, bias=False).eval() for _ in RELEVANCES]
    for member, relevance in zip(members, RELEVANCES, strict=True):
        nn.init.constant_(member.weight, relevance)
    return members


def pixel():
    """Mean, standard deviation and sign agreement of the pixel, by the library."""
    found = nni.uncertain(small_ensemble(), torch.ones(1, 1), nni.Gradient(), nni.Ensemble(), 0)
    return [float(each) for each in (found.mean, found.deviation, found.agreement)]


def pixel_with(mean=None, deviation=None, agreement=None):
    """The three numbers, one of them replaced by another statistic of the relevances."""
    given = (mean, deviation, agreement)

    def wrong():
        values = np.array(RELEVANCES)
        return [
            number if other is None else float(other(values))
            for number, other in zip(pixel(), given, strict=True)
        ]

    return wrong


def digits_dropout(which):
    """The network of the lesson, and a test picture."""
    return nni.models.load("digits-dropout"), nni.data.digits("test")[which : which + 1][0]


def map_of(target, averaged=True):
    """Gradient × input of a target, of the mean prediction or with the dropout off."""

    def attribution():
        model, x = digits_dropout(SEVEN)
        asked = nni.Averaged(model, nni.MCDropout(n_samples=PASSES)) if averaged else model
        return nni.GradientTimesInput()(asked, x, target=target)

    return attribution


def map_of_the_expected_entropy():
    """The mean of the maps of the passes' own entropies."""
    model, x = digits_dropout(SEVEN)
    source = nni.MCDropout(n_samples=PASSES)
    return nni.uncertain(model, x, nni.GradientTimesInput(), source, nni.Entropy()).mean


def turned(x, degrees):
    """The picture turned about its middle, against the clock."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]])
    grid = functional.affine_grid(turn, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def most_votes(which, degrees):
    """The class with the most votes when a picture is turned, and how many it has."""
    model, x = digits_dropout(which)
    votes = nni.MCDropout(n_samples=100)(model, turned(x, degrees)).votes[0]
    return [int(votes.argmax()), int(votes.max())]


def weighed(answer):
    """Class, votes and class, the classes times a thousand, so that only votes are nearly right."""
    try:
        numbers = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return answer
    return numbers * (_A_CLASS, 1, _A_CLASS) if numbers.shape == (3,) else answer


def played(three=ANGLE, six=180):
    """Class and votes for the turned 3, and the class of the turned 6."""
    return weighed([*most_votes(THREE, three), most_votes(SIX, six)[0]])


EXERCISES = {
    1: {
        "asks": "entropy of the mean, expected entropy, mutual information: three numbers, in nats",
        "right": lambda: said(three_networks()),
        "then": "Two thirds of the doubt are quarrel.",
        "mistakes": [
            (lambda: in_bits(three_networks()), "this is in bits; take the natural logarithm."),
            (
                lambda: entropies_summed(three_networks()),
                "the entropies of the networks are averaged, not summed.",
            ),
            (lambda: added(three_networks()), "the whole is the sum: subtract the part."),
            (lambda: exchanged(three_networks()), "the two parts are exchanged."),
        ],
        "hints": [
            "First the mean of the three pairs of probabilities. What is its entropy?",
            "Who is sure has the entropy 0; of 0.5 and 0.5 it is log 2 = 0.69.",
            "Expected entropy: the mean of the three. Mutual information: what is left.",
        ],
    },
    2: {
        "asks": "a function that returns entropy, expected entropy and mutual information",
        "right": lambda: said(six_passes()),
        "then": "These are the numbers of nni.MCDropout.",
        "tried": tried,
        "mistakes": [
            (
                lambda: logits_averaged(six_passes()),
                "average the probabilities of the passes, not their logits.",
            ),
            (lambda: wrong_axis(six_passes()), "take the softmax over the classes: axis 1."),
            (lambda: in_bits(six_passes()), "this is in bits; take the natural logarithm."),
            (lambda: entropies_summed(six_passes()), "average the passes' entropies."),
            (lambda: added(six_passes()), "the whole is the sum: subtract the part."),
            (lambda: exchanged(six_passes()), "the two parts are exchanged."),
        ],
        "hints": [
            "p = logits.softmax(1) has one row for each pass.",
            "p.mean(0) is the mean prediction: entropy of the mean, and mean of the entropies.",
            "entropy(p.mean(0)), entropy(p).mean(), and the first less the second.",
        ],
    },
    3: {
        "asks": "mean, standard deviation and sign agreement of the pixel: three numbers",
        "right": pixel,
        "then": "The spread is twice the mean: do not rely on this pixel, whatever its colour.",
        "mistakes": [
            (
                pixel_with(deviation=lambda values: values.std()),
                "divide the squares by T − 1: the mean was made of the same passes.",
            ),
            (
                pixel_with(deviation=lambda values: values.var(ddof=1)),
                "the second is the variance: take its root.",
            ),
            (
                pixel_with(agreement=lambda values: abs(np.sign(values).mean())),
                "the third is the mean of the signs; which share has the sign of the mean?",
            ),
            (pixel_with(mean=np.sum), "the first is the sum, which grows with the passes."),
        ],
        "hints": [
            "First the mean. How far is each pass from it?",
            "Square these distances, sum them, divide by T − 1, and take the root.",
            "How many of the four have the sign of the mean?",
        ],
    },
    4: {
        "asks": "a map of the doubt about this 7, shaped like x",
        "right": map_of(nni.Entropy()),
        "tried": lambda answer: getattr(answer, "attribution", answer),
        "then": "Its orange spot is the right end of the small bar.",
        "mistakes": [
            (
                map_of(nni.Entropy(), averaged=False),
                "this is the entropy with the dropout off: ask the averaged network.",
            ),
            (map_of(7), "this explains log p̄ of the 7, not the entropy."),
            (map_of(7, averaged=False), "this explains the logit of 7 with the dropout off."),
            (
                map_of_the_expected_entropy,
                "this is the mean of the passes' own entropies: their quarrel is missing.",
            ),
        ],
        "hints": [
            "Two things are needed: a network that is averaged over passes, and a target.",
            "nni.Averaged(model, nni.MCDropout(n_samples=50)) is the network.",
            "nni.GradientTimesInput()(averaged, seven, target=nni.Entropy()).",
        ],
    },
    5: {
        "asks": "three numbers: class and votes of the turned 3, class of the turned 6",
        "right": played,
        "then": "It is sure of both. That a picture was turned is none of its ten answers.",
        "tried": weighed,
        "tolerance": _FEW_VOTES / (9 * _A_CLASS),
        "mistakes": [
            (lambda: played(three=-ANGLE), "you turned the 3 with the clock: take plus 40."),
            (lambda: played(six=90), "turn the 6 farther: by 180 degrees."),
            (lambda: played(three=0), "this is the 3 as it stands."),
        ],
        "hints": [
            "The slider angle stands beside the moved picture; type 40 into its field.",
            "The votes stand below the sliders, the largest first.",
            "The slider picture chooses the 6. Is the angle 180 for it?",
        ],
    },
}
