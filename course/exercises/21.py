"""The exercises of lesson 21, and its crooked digits. Students: the fun is not here."""

from functools import cache

import torch
from torch.nn.functional import affine_grid, grid_sample

import nni_widgets as nni

ASIDE, BINS, STEEP = 80, 10, 30
CONFIDENCE = torch.tensor([0.9] * 8 + [0.6] * 2, dtype=torch.float64)
RIGHT = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0, 1, 1]).double()


def turned(x, degrees):
    """Each picture turned by its angle, against the clock; one picture by all of them."""
    a = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32))
    rows = [torch.stack([a.cos(), -a.sin(), 0 * a], 1), torch.stack([a.sin(), a.cos(), 0 * a], 1)]
    places = affine_grid(torch.stack(rows, 1), [len(a), 1, 28, 28], align_corners=False)
    return grid_sample(x.expand(len(a), -1, -1, -1), places, align_corners=False)


def angles(n, seed, most=45):
    """How crooked the digits are: drawn between plus and minus ``most`` degrees."""
    drawn = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    return most * (2 * drawn - 1)


def logits(model, x):
    """What the model says, without a graph and in float64."""
    with torch.no_grad():
        return torch.cat([model(some) for some in x.split(500)]).double()


def upright(split):
    """The digits and labels of the lesson: held out from the training, or for the test."""
    digits = nni.data.digits(split)
    return digits[50_000:53_000] if split == "train" else digits[::4]


def crooked(split):
    """The same digits, each turned by an angle of its own; labels; angles."""
    x, y = upright(split)
    tilt = angles(len(y), seed=1 if split == "train" else 2)
    return turned(x, tilt), y, tilt


def in_words(z, y):
    """What logits are worth: accuracy, confidence, ECE and NLL."""
    p, answer = z.softmax(1).max(1)
    error = 100 * nni.reliability(z.softmax(1), y, BINS).ece
    return (f"right {(answer == y).double().mean():.2f}, confidence {p.mean():.2f}, "
            f"ECE {error:.1f} %, NLL {nni.nll(z, y):.2f}")  # fmt: skip


def unlike(a, b):
    """How much two maps differ in shape, whatever their scale: a share of the second one."""
    a, b = a / a.abs().max(), b / b.abs().max()
    return float((a - b).norm() / b.norm())


@cache
def network():
    """The network of the lesson."""
    return nni.models.load("digits-ensemble").members[1]


@cache
def asked(split):
    """Logits, labels and angles of the crooked digits: held out or for the test."""
    x, y, tilt = crooked(split)
    return logits(network(), x), y, tilt


def binned(confidence, right, n_bins=BINS):
    """Share, mean confidence and accuracy of each bin that is not empty."""
    bins = (confidence * n_bins).ceil().long()
    each = [bins == m for m in bins.unique()]
    return [[float(part.mean()) for part in (k.double(), confidence[k], right[k].double())]
            for k in each]  # fmt: skip


def ece(confidence, right, n_bins=BINS):
    """The expected calibration error, by the library."""
    p = torch.stack([confidence, 1 - confidence], 1)
    labels = 1 - right.long()
    return nni.reliability(p, labels, n_bins).ece


def gaps(confidence, right):
    """Share and signed gap of each bin."""
    return [(share, conf - acc) for share, conf, acc in binned(confidence, right)]


def unweighted(confidence, right):
    """Each bin counts alike."""
    found = [abs(gap) for _, gap in gaps(confidence, right)]
    return sum(found) / len(found)


def signed(confidence, right):
    """Too sure here and too unsure there cancel."""
    return abs(sum(share * gap for share, gap in gaps(confidence, right)))


def largest(confidence, right):
    """The worst bin: the maximum calibration error."""
    return max(abs(gap) for _, gap in gaps(confidence, right))


def counted(confidence, right):
    """Weighted by counts, and not divided by the number of all."""
    return len(right) * ece(confidence, right)


def one_by_one(confidence, right):
    """The distance of each answer from 0 or 1."""
    return float((confidence - right.double()).abs().mean())


def some_answers():
    """Confidences from 0.5 to 1, and which answers are right: too unsure, then too sure."""
    drawn = torch.rand(2, 50, generator=torch.Generator().manual_seed(22), dtype=torch.float64)
    confidence = 1 - 0.5 * drawn[0] ** 2
    return confidence, drawn[1] < 1.05 - 0.4 * confidence


def tried(function):
    """What a student's function says of them."""
    return function(*some_answers())


def two_classes():
    """The temperature at which answers with 0.9 get 0.75, by the library."""
    z = torch.tensor([[0.9, 0.1]]).double().log().expand(4, -1)
    return nni.fit_temperature(z, torch.tensor([0, 0, 0, 1]))


def of_all():
    """The temperature that the lesson prints, fitted on all of them, with the right p̄."""
    z, y, _ = asked("train")
    return [round(nni.fit_temperature(z, y), 1), played()[1]]


@cache
def played(degrees=ASIDE, fit=True):
    """The temperature that the explorer fits, and p̄ of its answer to the 1 on its side."""
    z, y, _ = asked("train")
    T = nni.fit_temperature(z[::2], y[::2])
    x, _ = nni.data.digits("test")[2:3]
    source = nni.InputNoise(n_samples=20)
    model = nni.Tempered(network(), T if fit else 1.0)
    return [T, float(source(model, turned(x, [degrees])).probabilities.max())]


def steep(split, all_of_them=False):
    """Logits and labels of the digits that are turned by more than 30 degrees."""
    z, y, tilt = asked(split)
    some = tilt.abs() > (-1 if all_of_them else STEEP)
    return z[some], y[some]


def one_sender(fit_on="train", test_on="test", all_of_them=False, fit=True):
    """The temperature for one kind of digits, and the error that it leaves, in percent."""

    def answer():
        T = nni.fit_temperature(*steep(fit_on, all_of_them))
        z, y = steep(test_on)
        return [T, 100 * nni.reliability((z / (T if fit else 1)).softmax(1), y, BINS).ece]

    return answer


def in_hundredths():
    """The right temperature, and the error that it leaves as a share."""
    T, error = one_sender()()
    return [T, error / 100]


EXERCISES = {
    1: {
        "asks": "the ECE of the ten answers: one number",
        "right": lambda: ece(CONFIDENCE, RIGHT),
        "then": "All in all 0.84 and 0.80 look alike: one bin hides the other.",
        "mistakes": [
            (lambda: signed(CONFIDENCE, RIGHT), "here the bins cancel: take distances."),
            (lambda: -signed(CONFIDENCE, RIGHT), "here the bins cancel: take distances."),
            (lambda: unweighted(CONFIDENCE, RIGHT), "a bin with more answers counts more."),
            (lambda: largest(CONFIDENCE, RIGHT), "this is the worst bin only."),
            (lambda: counted(CONFIDENCE, RIGHT), "divide by the number of all answers."),
            (lambda: 100 * ece(CONFIDENCE, RIGHT), "this is in percent: divide by 100."),
            (
                lambda: one_by_one(CONFIDENCE, RIGHT),
                "one answer is right or wrong; accuracy belongs to a bin.",
            ),
        ],
        "hints": [
            "There are two bins. What is the accuracy in each, and how far is it from conf?",
            "Eight of ten answers are in the first bin: its distance counts 0.8.",
        ],
    },
    2: {
        "asks": "a function that returns the ECE: one number",
        "right": lambda: ece(*some_answers()),
        "then": "This is the number of nni.reliability(…).ece.",
        "tried": tried,
        "mistakes": [
            (lambda: unweighted(*some_answers()), "weigh each bin by its share of the answers."),
            (lambda: signed(*some_answers()), "the bins cancel: take distances, then sum."),
            (lambda: -signed(*some_answers()), "the bins cancel: take distances, then sum."),
            (lambda: largest(*some_answers()), "this is the worst bin only."),
            (lambda: counted(*some_answers()), "divide by the number of all answers."),
            (lambda: 100 * ece(*some_answers()), "this is in percent: do not multiply by 100."),
            (lambda: ece(*some_answers(), n_bins=15), "this has fifteen bins: take ten."),
            (
                lambda: one_by_one(*some_answers()),
                "compare accuracy and confidence of bins, not of single answers.",
            ),
        ],
        "hints": [
            "diagram(confidence, right) has counts, confidence and accuracy of the bins.",
            "counts / counts.sum() are the weights; .abs() makes distances.",
            "Is it nan? An empty bin is 0/0: .nansum() leaves it out, .sum() does not.",
        ],
    },
    3: {
        "asks": "the temperature: one number",
        "right": two_classes,
        "then": "Odds of 9 : 1 have become 3 : 1. T is the exponent's divisor.",
        "mistakes": [
            (lambda: 0.9 / 0.75, "T divides the logits, not the probability."),
            (lambda: 1 / two_classes(), "this is 1/T: it would make the network surer."),
            (lambda: 3, "the odds are divided by 3, but T divides their logarithm."),
        ],
        "hints": [
            "With two classes, p is given by the difference of the logits: log(p / (1 − p)).",
            "This difference is log 9 now. What should it be?",
            "log 9 is twice log 3.",
        ],
    },
    4: {
        "asks": "the fitted temperature, and p̄ of the turned 1 there: two numbers",
        "right": played,
        "then": "The diagram is mended, and this answer is wrong with most of the probability.",
        "tolerance": 0.014,
        "mistakes": [
            (of_all, "this T is that of section 6: press the button."),
            (lambda: [played()[0], played(fit=False)[1]], "this p̄ is that of temperature 1."),
            (lambda: played(-ASIDE), "you turned it with the clock: take plus 80."),
            (lambda: played(0), "this is the 1 as it stands."),
        ],
        "hints": [
            "Press the button below the reliability diagram; the slider shows what it found.",
            "Move the slider picture to 1, then type 80 as the angle; p̄ stands below the sliders.",
        ],
    },
    5: {
        "asks": "T, and the ECE of the steep test digits in percent: two numbers",
        "right": one_sender(),
        "then": "It has been fitted and tested on the kind of digits it is for.",
        "mistakes": [
            (one_sender(fit_on="test"), "fitted on what it is judged by: T is for held_z."),
            (one_sender(all_of_them=True), "this T is that of all angles: choose the steep ones."),
            (one_sender(test_on="train"), "T is right; judge it on the test digits."),
            (one_sender(fit=False), "T is right; divide the test logits by it."),
            (in_hundredths, "T is right; give the ECE in percent."),
        ],
        "hints": [
            "steep = held_angles.abs() > 30 chooses rows: held_z[steep], held_y[steep].",
            "nni.fit_temperature(…), then nni.reliability((z / T).softmax(1), y, 10).ece * 100.",
        ],
    },
}
