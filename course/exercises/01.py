"""The exercises of lesson 01. Students: the answers are computed here, so the fun is elsewhere."""

from functools import cache

import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.engine.synthesis import Seen

SLOPES, CENTER, WEIGHT = (2.0, -1.0), (0.8, 0.5), 2.5
OTHERS = ("digits-mlp", "digits-resnet", "digits-cnn-designed")
SHAPE = (1, 28, 28)
WEIGHTS = (0.001, 0.01, 0.1, 1.0, 10.0)


def digits_cnn():
    """The network of the lesson."""
    return nni.models.load("digits-cnn")


def grown(objective, n_steps=100, start=None):
    """The picture that grows for an objective, from the noise of the lesson."""
    return nni.ActivationMaximization(objective, n_steps=n_steps)(digits_cnn(), start)


def nearest():
    """The name of the picture that is nearest to what grows without a prior."""
    digits, made = nni.data.digits("test"), grown(nni.LogProbability(3), n_steps=20).images
    candidates = {
        "noise": nni.starts.noise(digits_cnn()),
        "a 3": digits.of(3, 5)[4:],
        "the mean of all 3s": digits.mean_of(3),
    }
    return min(candidates, key=lambda name: float((made - candidates[name]).norm()))


def two_pixels():
    """The network of section 3: f = 2 x₁ − x₂."""
    model = nn.Linear(2, 1, bias=False)
    model.load_state_dict({"weight": torch.tensor([SLOPES])})
    return model.eval()


def best(weight=WEIGHT, center=CENTER, sign=1):
    """The two pixels that the library finds."""
    objective = sign * nni.Logit(0) - weight * nni.L2(torch.tensor([center]))
    maximize = nni.ActivationMaximization(objective, n_steps=200)
    return maximize(two_pixels(), torch.full((1, 2), 0.5)).images[0]


def best_outside():
    """What is best if pixels may leave the box."""
    return [c + w / (2 * WEIGHT) for c, w in zip(CENTER, SLOPES, strict=True)]


def multiplied():
    """The weight as a factor in place of a divisor."""
    outside = [c + WEIGHT * w / 2 for c, w in zip(CENTER, SLOPES, strict=True)]
    return [min(max(pixel, 0.0), 1.0) for pixel in outside]


def some_pictures():
    """Logits, pictures, a class, a weight and a centre."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 10, generator=generator)
    pictures = torch.rand(3, 1, 4, 4, generator=generator)
    return logits, pictures, 3, 0.5, torch.rand(1, 1, 4, 4, generator=generator)


def through_the_library():
    """The objective of these pictures."""
    logits, x, target, weight, center = some_pictures()
    objective = nni.LogProbability(target) - weight * nni.L2(center)
    return objective(Seen(x, logits))


def worked_out(
    score=lambda logits, target: logits.log_softmax(1)[:, target],
    penalty=lambda gap: gap.square().sum((1, 2, 3)),
    sign=-1,
    centred=True,
    weighed=True,
):
    """A try at the objective. ``penalty`` takes x − center."""
    logits, x, target, weight, center = some_pictures()
    gap = x - center if centred else x
    return score(logits, target) + sign * (weight if weighed else 1) * penalty(gap)


def picture(answer):
    """The answer as one picture. Raises ``ValueError`` if it is none."""
    if isinstance(answer, str):
        raise ValueError("this is a word, not a picture")
    x = torch.as_tensor(getattr(answer, "images", answer)).detach().float()
    if x.numel() != torch.Size(SHAPE).numel():
        raise ValueError(f"this has the shape {tuple(x.shape)}, not {SHAPE}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError("pixels must be from 0 to 1")
    return x.reshape(1, *SHAPE)


@torch.no_grad()
def seen(answer):
    """In a word: what our network is sure of and, if that is a 2, which of the others see a 7."""
    x = picture(answer)
    p, ours = digits_cnn()(x).softmax(1)[0].max(0)
    if p <= 0.9:
        return "unsure"
    if int(ours) != 2:
        return "a 7" if int(ours) == 7 else "another digit"
    sevens = [int(nni.models.load(name)(x).argmax(1)) == 7 for name in OTHERS]
    return "forged" if all(sevens) else "to some" if any(sevens) else "to nobody"


def between(target, center, weight=0.1):
    """A picture for one class that is kept near the mean of another."""
    mean = nni.data.digits("test").mean_of(center)
    return grown(nni.LogProbability(target) - weight * nni.L2(mean))


@cache
def largest_weight():
    """The largest of the weights at which the 7 becomes a 3."""
    expert, seven = nni.models.load("digits-autoencoder"), nni.data.digits("test")[0:1][0]

    def share_of_3(weight):
        objective = nni.Logit(3) + weight * nni.Expert(expert.log_density)
        return grown(objective, n_steps=200, start=seven).probabilities[0, 3]

    return next(weight for weight in reversed(WEIGHTS) if share_of_3(weight) > 0.5)


def another_weight(places):
    """The weight that many places above the right one."""
    return lambda: WEIGHTS[WEIGHTS.index(largest_weight()) + places]


EXERCISES = {
    1: {
        "asks": '"noise", "a 3" or "the mean of all 3s": what does the result look like?',
        "right": nearest,
        "then": "To convince the network, a picture need not look like anything.",
        "mistakes": [
            (lambda: "a 3", "does anything in the objective ask for the strokes of a pen?"),
            (
                lambda: "the mean of all 3s",
                "does anything in the objective ask for what 3s have in common?",
            ),
        ],
        "hints": [
            "The ascent goes uphill from its start. How far must it go until the network is sure?",
            "Run the cell with the distances: the smallest one counts.",
        ],
    },
    2: {
        "asks": "the best x₁ and x₂ in the box: two numbers",
        "right": best,
        "then": "The first pixel is at the wall of the box, the second one inside.",
        "mistakes": [
            (best_outside, "one of them lies outside the box."),
            (lambda: best(weight=WEIGHT / 2), "the slope of (x − c)² is 2 (x − c): mind the 2."),
            (multiplied, "a larger λ should keep x nearer to the centre."),
            (lambda: best(center=(0.0, 0.0)), "where is the centre? Start from it."),
            (lambda: best(sign=-1), "this is downhill: the second weight is negative."),
        ],
        "hints": [
            "At the best point both slopes cancel: wᵢ = 2λ (xᵢ − cᵢ).",
            "Each pixel for itself: solve for xᵢ, then put it back into the box.",
        ],
    },
    3: {
        "asks": "a function that returns one number for each of the N pictures",
        "right": through_the_library,
        "then": "These are the numbers of nni.LogProbability(3) - weight * nni.L2(center).",
        "tried": lambda objective: objective(*some_pictures()),
        "mistakes": [
            (
                lambda: worked_out(penalty=lambda gap: gap.square().sum((1, 2, 3)).sqrt()),
                "the distance should be squared.",
            ),
            (
                lambda: worked_out(penalty=lambda gap: gap.square().mean((1, 2, 3))),
                "add up the squares of all pixels; with their mean the prior is much too weak.",
            ),
            (
                lambda: worked_out(penalty=lambda gap: gap.square().sum()),
                "the penalty of each picture is its own, not that of all pictures together.",
            ),
            (
                lambda: worked_out(penalty=lambda gap: gap.norm()),
                "this is the distance of all pictures together; take each by itself, and square.",
            ),
            (lambda: worked_out(sign=0), "the penalty is missing."),
            (lambda: worked_out(weighed=False), "multiply the penalty by its weight."),
            (
                lambda: worked_out(score=lambda logits, target: logits.softmax(1)[:, target]),
                "this has the probability; take its logarithm.",
            ),
            (
                lambda: worked_out(score=lambda logits, target: logits[:, target]),
                "this has the logit; the log-probability also sees the other classes.",
            ),
            (lambda: worked_out(sign=1), "this rewards pictures for being far from the centre."),
            (lambda: worked_out(centred=False), "the centre is not used."),
        ],
        "hints": [
            "logits.log_softmax(1) has the log-probabilities of all classes, shape (N, 10).",
            "(x - center).square() has the shape of x; sum it over axes 1, 2 and 3.",
        ],
    },
    4: {
        "asks": "a picture (1, 28, 28) that our network calls a 2 and the others call a 7",
        "right": lambda: seen(between(2, 7)),
        "then": "Our network asked for the 2, your prior drew the 7.",
        "tried": seen,
        "mistakes": [
            (
                lambda: "a 7",
                "our network is sure that it is a 7. Which class should the objective ask for?",
            ),
            (
                lambda: "another digit",
                "our network is sure of another class. Which one should the objective ask for?",
            ),
            (
                lambda: "to nobody",
                "our network is sure of a 2, but the others see no 7. What makes a picture a 7?",
            ),
            (
                lambda: "to some",
                "our network is sure of a 2, but not all the others see a 7. Hold it more tightly.",
            ),
            (lambda: "unsure", "our network is not sure of any class in it."),
        ],
        "hints": [
            "held(weight, center) of this section asks for a 3. Write it for a 2.",
            "Which class mean should it be kept near? A weight of 0.1 will do.",
        ],
    },
    5: {
        "asks": "0.001, 0.01, 0.1, 1 or 10",
        "right": largest_weight,
        "then": "Above it the expert holds the picture so tightly that the 7 stays a 7.",
        "mistakes": [
            (another_weight(-1), "it works, but so does a larger one."),
            (another_weight(-2), "it works, but so does a larger one."),
            (another_weight(1), "look at p below the picture that grows from the 7."),
            (another_weight(2), "look at p below the picture that grows from the 7."),
        ],
        "hints": [
            "The picture that counts is the one with the title from picture.",
            "Is the objective the logit, is the expert the autoencoder, and is the first λ 0?",
        ],
    },
}
