"""The exercises of lesson 20, and its drawings. Students: the fun is not here."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, one_hot

import nni_widgets as nni

EVIDENCE = [30.0, 9.0, 1.0] + 7 * [0.0]
LIMIT = 0.004
WORDS = {0.0: "none", 0.1: "a tenth", 0.5: "half", 1.0: "all"}


def triangle(evidence, side=49):
    """How plausible each answer of three classes is; the corners are left, right and on top."""
    high, right = torch.meshgrid(
        torch.linspace(1, 0, side), torch.linspace(0, 1, side), indexing="ij"
    )
    p = torch.stack([1 - right - high / 2, right - high / 2, high], 2).double()
    inside = p.amin(2) >= 0
    p = p.clamp(min=1e-9)
    law = torch.distributions.Dirichlet(torch.tensor(evidence).double() + 1)
    density = law.log_prob(p / p.sum(2, keepdim=True)).exp() * inside
    return (density / density.max()).round(decimals=3)


def in_words(evidence):
    """p̂ of the first class, and u."""
    S = sum(evidence) + len(evidence)
    return f"p(A) {(evidence[0] + 1) / S:.2f}, u {len(evidence) / S:.2f}"


def torn(evidence, weight):
    """The loss of a picture that is a 4 and a 9 equally often, with the same evidence for both."""
    losses = []
    for e in evidence:
        logits = torch.zeros(2, 10).double()
        logits[:, [4, 9]] = e
        losses.append(nni.evidential_loss(logits, torch.tensor([4, 9]), weight, 1, "relu"))
    return torch.stack(losses)


def turned(x, angles):
    """A picture turned by each angle, against the clock."""
    a = torch.deg2rad(torch.tensor(angles, dtype=torch.float32))
    rows = [torch.stack([a.cos(), -a.sin(), 0 * a], 1), torch.stack([a.sin(), a.cos(), 0 * a], 1)]
    places = affine_grid(torch.stack(rows, 1), [len(a), 1, 28, 28], align_corners=False)
    return grid_sample(x.expand(len(a), -1, -1, -1), places, align_corners=False)


def covered(x, rows, columns=slice(None)):
    """A picture that is black in these rows and columns."""
    x = x.clone()
    x[:, :, rows, columns] = 0
    return x


def evidential():
    """The network of the lesson."""
    return nni.models.load("digits-evidential")


@cache
def sure_of_clothes():
    """The word that is nearest to the share of clothes with a softmax above 0.9."""
    with torch.no_grad():
        p = nni.models.load("digits-cnn")(nni.data.fashion()[:500][0]).softmax(1)
    share = (p.amax(1) > 0.9).double().mean().item()
    return WORDS[min(WORDS, key=lambda known: abs(known - share))]


def believed():
    """p̂ of the first class, and u."""
    belief = nni.Dirichlet(torch.tensor([EVIDENCE]).double() + 1)
    return [belief.probabilities[0, 0], belief.uncertainty[0]]


def without_the_ones():
    """Both from the evidence alone."""
    return [EVIDENCE[0] / sum(EVIDENCE), len(EVIDENCE) / sum(EVIDENCE)]


def without_those_without(n_classes):
    """Both with α for the classes that have evidence only, and u with this number of classes."""
    S = sum(EVIDENCE) + sum(e > 0 for e in EVIDENCE)
    return lambda: [(EVIDENCE[0] + 1) / S, n_classes / S]


def the_rest():
    """What p̂ leaves, for u."""
    p, _ = believed()
    return [p, 1 - p]


def share_of_evidence():
    """Evidence divided by the strength."""
    _, u = believed()
    return [EVIDENCE[0] * u / len(EVIDENCE), u]


def one_one():
    """One over the strength, for u."""
    p, u = believed()
    return [p, u / len(EVIDENCE)]


def pictures_of_the_loss():
    """Logits of four made-up pictures and their classes."""
    logits = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(20)).double()
    return logits, torch.tensor([0, 3, 1, 4])


def tried(loss):
    """What a student's loss gives for each of them, a tenth of the penalty counted."""
    logits, labels = pictures_of_the_loss()
    alpha = torch.relu(logits) + 1
    return loss(alpha, one_hot(labels, logits.shape[1]).double(), 0.1)


def of_the_library():
    """What the library's loss gives for each of them."""
    each = zip(*(part.split(1) for part in pictures_of_the_loss()), strict=True)
    return [float(nni.evidential_loss(*one, 1, 10, "relu")) for one in each]


def kl(alpha: Tensor) -> Tensor:
    """How far Dir(α) is from knowing nothing, one number for each row."""
    law = torch.distributions.Dirichlet
    return torch.distributions.kl_divergence(law(alpha), law(torch.ones_like(alpha)))


def loss_done(
    more=1,
    spread=1,
    penalty=None,
    right_counts=False,
    of_alpha=True,
    row_by_row=True,
    over_classes=torch.sum,
):
    """A try at the loss: ``more`` is added to S, ``spread`` and ``penalty`` are weights."""

    def loss(alpha, y, weight):
        S = alpha.sum(1, keepdim=True) if row_by_row else alpha.sum()
        p = alpha / S if of_alpha else (alpha - 1) / (S - alpha.shape[1]).clamp(min=1e-9)
        error = over_classes((y - p).square() + spread * p * (1 - p) / (S + more), 1)
        kept = alpha if right_counts else y + (1 - y) * alpha
        return error + (weight if penalty is None else penalty) * kl(kept)

    return lambda: tried(loss)


@cache
def clockwise():
    """What the network believes of the 1 at each degree from 45 to 90 with the clock."""
    x, _ = nni.data.digits("test")[2:3]
    return nni.dirichlet(evidential(), turned(x, list(range(-90, -44))))


def surest():
    """The class of which it is surest there."""
    belief = clockwise()
    return float(belief.predicted[belief.uncertainty.argmin()])


def against_the_clock():
    """The class that it names, without evidence, when the 1 is turned the other way."""
    x, _ = nni.data.digits("test")[2:3]
    return float(nni.dirichlet(evidential(), turned(x, [90])).predicted[0])


@cache
def answered(split, start, stop):
    """The doubt about some digits, and which of them the network gets wrong."""
    x, y = nni.data.digits(split)[start:stop]
    belief = nni.dirichlet(evidential(), x)
    return belief.uncertainty, belief.predicted != y


def held_out():
    """The digits on which the threshold is chosen."""
    return answered("train", 50_000, 52_000)


def threshold(u, wrong, of_all=False):
    """The largest of 0.1, …, 0.9 with few enough errors, and the share that is refused."""
    share = {}
    for t in (tenth / 10 for tenth in range(1, 10)):
        errors = (wrong & (u < t)).sum() / (len(u) if of_all else (u < t).sum())
        if errors <= LIMIT:
            share[t] = (u >= t).double().mean().item()
    return [max(share), share[max(share)]]


def share_answered():
    """The share that is not refused."""
    t, refused = threshold(*held_out())
    return [t, 1 - refused]


def in_percent():
    """The share that is refused, in percent."""
    t, refused = threshold(*held_out())
    return [t, 100 * refused]


def refused_at(t):
    """Another threshold, and the share that it refuses."""
    u, _ = held_out()
    return lambda: [t, (u >= t).double().mean()]


EXERCISES = {
    1: {
        "asks": '"none", "a tenth", "half" or "all": how many clothes get p > 0.9?',
        "right": sure_of_clothes,
        "then": "It has learnt to tell digits from each other, not digits from other things.",
        "mistakes": [
            (lambda: "none", "it has never seen clothes, but nobody told it to say so."),
            (lambda: "a tenth", "more than that: read the count."),
            (lambda: "all", "not all: some lie between two digits. But count."),
        ],
        "hints": [
            "In its training, was there ever a picture for which all answers were wrong?",
            "The cell of section 2 has counted them, of 500.",
        ],
    },
    2: {
        "asks": "p̂ of the first class, and u: two numbers",
        "right": believed,
        "then": "u is not what p̂ leaves: some of that is evidence for the other classes.",
        "mistakes": [
            (without_the_ones, "α is the evidence plus 1, for each of the ten classes."),
            *(
                (without_those_without(n), "classes without evidence count too: their α is 1.")
                for n in (3, 10)
            ),
            (the_rest, "u is not 1 − p̂: other classes have evidence too."),
            (share_of_evidence, "u is right; in p̂ the 1 is missing above the line."),
            (one_one, "p̂ is right; u counts the 1 of every class, not of one."),
        ],
        "hints": [
            "First α for all ten classes, also for those without evidence; then S.",
            "p̂ is α of the class divided by S; u is the number of classes divided by S.",
        ],
    },
    3: {
        "asks": "a function that returns the losses: one number for each row of alpha",
        "right": of_the_library,
        "then": "These are the numbers of nni.evidential_loss, which takes their mean.",
        "tried": tried,
        "tolerance": 0.002,
        "mistakes": [
            (loss_done(spread=0), "the variance is missing: an unsure answer costs too."),
            (loss_done(more=0), "the variance has S + 1 below the line, not S."),
            (
                loss_done(right_counts=True),
                "this takes away the evidence for the right class too: use α̃ in the penalty.",
            ),
            (loss_done(penalty=1), "the penalty has its full weight: multiply it by weight."),
            (loss_done(penalty=0), "this is the first part; the penalty is missing."),
            (loss_done(of_alpha=False), "p̂ is α / S; this divides the evidence."),
            (
                loss_done(row_by_row=False),
                "this S is that of all pictures: sum row by row.",
            ),
            (
                loss_done(over_classes=torch.mean),
                "sum over the classes; this takes a mean.",
            ),
        ],
        "hints": [
            "S = alpha.sum(1, keepdim=True) keeps the rows apart; p = alpha / S.",
            "Error and variance are summed over the classes: .sum(1). α̃ = y + (1 - y) * alpha.",
            "error + weight * kl(...), where error has two terms for each class.",
        ],
    },
    4: {
        "asks": "a class, 0 to 9",
        "right": surest,
        "then": "A picture from outside can look like plenty of evidence for something else.",
        "mistakes": [
            (lambda: 1.0, "this is what it is. What does the network say, and with evidence?"),
            (against_the_clock, "without evidence, and the other way round: turn with the clock."),
        ],
        "hints": [
            "Minus degrees turn with the clock. Follow the doubt, the dashed line: is it low?",
            "Between −50° and −90° the doubt has a valley. Read the prediction at its bottom.",
        ],
    },
    5: {
        "asks": "the threshold t, and the share of digits that is refused: two numbers",
        "right": lambda: threshold(*held_out()),
        "then": "Now the promise was made on digits that the network has not learnt from.",
        "mistakes": [
            (
                lambda: threshold(*held_out(), of_all=True),
                "more than 4 in 1,000 are wrong: divide by the answered digits, not by all.",
            ),
            (share_answered, "t is right; this is the share that is answered."),
            (in_percent, "t is right; this is the share in percent: divide by 100."),
            *(
                (refused_at(t), "this keeps the promise, but refuses more digits than it must.")
                for t in (0.1, 0.2, 0.3, 0.4)
            ),
            *((refused_at(t), "this t breaks the promise.") for t in (0.7, 0.8, 0.9)),
            (refused_at(LIMIT), "u is not the share of errors: measure that share for each t."),
            (
                lambda: threshold(*answered("test", 0, 2000)),
                "this t was chosen on test data; use the digits that were held out.",
            ),
        ],
        "hints": [
            "answered = u < t; the promise is about wrong[answered].double().mean().",
            "Try t = 0.1, 0.2, … and keep the largest that keeps the promise.",
            "The share that is refused is (u >= t).double().mean().",
        ],
    },
}
