"""The exercises of lesson 13. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

FOUR_RATHER_THAN_9 = nni.Difference(4, 9)
CHOICES = (20, 50, 80)
WAY = np.array([[0.5, 1.0], [1.0, 1.2], [2.0, 0.8], [2.5, 2.0], [4.0, 2.5]])
BASELINES = {
    "Constant": 0.0,
    "Blurred picture": nni.Blur(),
    "Picture + noise": nni.Noise(),
    "Uniform noise": nni.UniformNoise(),
    "Mean of the picture": nni.ImageMean(),
}


def model_and(place):
    """The network of the lesson, and one picture."""
    return nni.models.load("digits-cnn"), nni.data.digits("test")[place : place + 1][0]


def brightness():
    """The choice that is nearest to where the probability of 4 passes one half."""
    model, x = model_and(4)
    percent = torch.arange(101)
    with torch.no_grad():
        sure = model(percent[:, None, None, None] / 100 * x).softmax(1)[:, 4] > 0.5
    first = int(percent[sure][0])
    return min(CHOICES, key=lambda choice: abs(choice - first))


def toy():
    """The network of exercise 13.2: 1 − ReLU(1 − x₁ − 2 x₂)."""
    first, last = nn.Linear(2, 1), nn.Linear(1, 1)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[-1.0, -2.0]]))
        last.weight.fill_(-1.0)
        first.bias.fill_(1.0)
        last.bias.fill_(1.0)
    return nn.Sequential(first, nn.ReLU(), last).eval()


def way_of_the_toy():
    """From where to where exercise 13.2 goes."""
    return torch.tensor([[-2.0, 0.0]]), torch.tensor([[2.0, 1.0]])


def by_pencil():
    """What x₁ and x₂ get."""
    start, end = way_of_the_toy()
    return nni.IntegratedGradients(baseline=start)(toy(), end)[0]


def mean_gradient():
    """The averaged gradient: the way is left out."""
    start, end = way_of_the_toy()
    return by_pencil() / (end - start)[0]


def gradient_of_the_toy(place):
    """The gradient at one place of the way, times the way."""
    start, end = way_of_the_toy()
    return (nni.Gradient()(toy(), start + place * (end - start), target=0) * (end - start))[0]


def slopes(x):
    """The gradient of x₁ x₂², for exercise 13.3."""
    return np.array([x[1] ** 2, 2 * x[0] * x[1]])


def tried(along):
    """What a student's function says about a crooked way."""
    return along(WAY.copy(), slopes)


def along(gradients):
    """The attribution along the way with these gradients, one for each piece."""
    return (np.diff(WAY, axis=0) * gradients).sum(axis=0)


AT_POINTS = np.array([slopes(x) for x in WAY])
IN_THE_MIDDLE = np.array([slopes(x) for x in (WAY[1:] + WAY[:-1]) / 2])


def least_neutral(ranks=0):
    """The kind of baseline whose score is farthest from 0, or that of another rank."""
    model, x = model_and(4)

    def distance(name):
        method = nni.IntegratedGradients(n_steps=1, baseline=BASELINES[name])
        made = nni.explain(model, x, method, target=FOUR_RATHER_THAN_9)
        return abs(float(made.reference_score))

    return sorted(BASELINES, key=distance, reverse=True)[ranks]


def rather(baseline=None, target=FOUR_RATHER_THAN_9, place=376, n_steps=32):
    """The attribution of exercise 13.5, or of a mistake; the 9 is the baseline if none is given."""
    model, x = model_and(place)
    start = model_and(521)[1] if baseline is None else baseline
    return nni.IntegratedGradients(n_steps=n_steps, baseline=start)(model, x, target=target)


EXERCISES = {
    1: {
        "asks": "20, 50 or 80: at which brightness does the network begin to say 4?",
        "right": brightness,
        "then": "After that, more light hardly changes the answer.",
        "mistakes": [
            (lambda: 50, "by then it has been sure for a while: look at the curve."),
            (lambda: 80, "you may need that much light; the network does not."),
        ],
        "hints": [
            (
                "Which of the pictures above can you read yourself? The network sees small numbers "
                "as well as large ones."
            ),
            "Run the cell with the curve: where does the probability cross the dotted line?",
        ],
    },
    2: {
        "asks": "what x₁ and x₂ get: two numbers",
        "right": by_pencil,
        "then": "They add up to f(x) − f(x′), and nobody had to know where the bend is.",
        "mistakes": [
            (mean_gradient, "this is the mean gradient: multiply it by the way, x − x′."),
            (
                lambda: mean_gradient() * way_of_the_toy()[1][0],
                "you multiplied by x; the way is x − x′, and x′ is not 0 here.",
            ),
            (lambda: gradient_of_the_toy(1.0), "at x itself the gradient is 0: go the whole way."),
            (
                lambda: gradient_of_the_toy(0.0),
                "this takes the gradient at x′ for all of the way, but f bends on the way.",
            ),
        ],
        "hints": [
            (
                "Write x₁ + 2 x₂ for each of the four points. Below 1 the gradient is (1, 2), "
                "above it is (0, 0)."
            ),
            "How many of the four points are below the bend? That gives the mean gradient.",
            "Then multiply by x − x′, number by number. Does the sum equal f(x) − f(x′)?",
        ],
    },
    3: {
        "asks": "a function that returns the attribution along any way",
        "right": lambda: along(IN_THE_MIDDLE),
        "then": "With this you can go any way; straight ahead it gives integrated gradients.",
        "tried": tried,
        "mistakes": [
            (lambda: IN_THE_MIDDLE.mean(axis=0), "multiply each gradient by its piece of the way."),
            (lambda: IN_THE_MIDDLE.sum(axis=0), "multiply each gradient by its piece of the way."),
            (
                lambda: (WAY[-1] - WAY[0]) * IN_THE_MIDDLE.mean(axis=0),
                (
                    "that is right for a straight way in even pieces; here each piece has a length "
                    "and a direction of its own."
                ),
            ),
            (lambda: along(AT_POINTS[:-1]), "take the gradient in the middle of a piece."),
            (lambda: along(AT_POINTS[1:]), "take the gradient in the middle of a piece."),
            (
                lambda: along((AT_POINTS[:-1] + AT_POINTS[1:]) / 2),
                "this is the mean of the gradients at both ends; take the one in the middle.",
            ),
        ],
        "hints": [
            "points[1:] - points[:-1] are the pieces: where they go and how far.",
            "The middle of a piece is half of the sum of its two ends.",
            "One piece gives: piece * gradient(middle). Add them up, number by number.",
        ],
    },
    4: {
        "asks": 'the name of a baseline as the explorer writes it, such as "Constant"',
        "right": least_neutral,
        "then": "The network takes it for a 9 rather than 4. The map makes up for that too.",
        "mistakes": [
            (lambda: least_neutral(1), "close, but there is one that is farther from 0."),
            (lambda: least_neutral(2), "this one is near 0: look for a large second number."),
            (lambda: least_neutral(3), "this one is near 0: look for a large second number."),
            (lambda: least_neutral(-1), "this one is the nearest to 0."),
        ],
        "hints": [
            (
                "The line below the right heatmap says f(x) − f(x′): the second number counts. "
                "After a plus it is below 0."
            ),
            "Choose each kind in the list of baselines, leave its numbers as they are.",
        ],
    },
    5: {
        "asks": "an attribution for 4 rather than 9, compared with this 9; shaped like `four`",
        "right": rather,
        "then": "What both pictures share gets nothing; the missing lid gets about half of all.",
        "tried": lambda answer: getattr(answer, "attribution", answer),
        "tolerance": 0.05,
        "mistakes": [
            (lambda: rather(baseline=0.0), "this starts at black: start at the 9."),
            (
                lambda: -rather(),
                (
                    "the sign is turned: either the target is 9 rather than 4, or the two pictures "
                    "have changed places."
                ),
            ),
            (lambda: rather(target=4), "this explains 4 alone, not 4 rather than 9."),
            (lambda: rather(place=4), "this explains x, the 4 from before: take `four`."),
            (lambda: rather(n_steps=8), "these are too few steps: the library begins with more."),
            (
                lambda: rather(baseline=0.0) - rather(baseline=0.0, place=521),
                (
                    "this is the difference of two ways from black. It has the same sum, but "
                    "pixels that both pictures share get something."
                ),
            ),
        ],
        "hints": [
            "A picture may be a baseline: nni.IntegratedGradients(baseline=...).",
            "The target is the one of the section on baselines, nni.Difference(4, 9).",
            "The picture is `four`; for the number of steps take what the library begins with.",
        ],
    },
}
