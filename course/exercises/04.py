"""The exercises of lesson 04. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

PARTS = {"cap": np.s_[3:9, 16:22], "left": np.s_[7:18, 9:16], "tail": np.s_[15:, :]}
FOUR = [[(10, 6), (9, 12), (10, 14), (18, 14)], [(19, 7), (18, 14), (17, 23)]]
INK = 25


def digits_cnn(place):
    """The network of the lesson, and a picture of the test set."""
    return nni.models.load("digits-cnn"), nni.data.digits("test")[place : place + 1][0]


def best_part_to_erase(target):
    """The part of the 9 that raises a score most when it is painted black."""
    model, x = digits_cnn(92)
    without = {name: x.clone() for name in PARTS}
    for name, place in PARTS.items():
        without[name][0, 0][place] = 0
    scores = {name: float(target(model(picture).detach())) for name, picture in without.items()}
    return max(scores, key=scores.get)


class Toy(nn.Module):
    """f = x₁² + x₂² − 9."""

    def forward(self, x):
        return x.square().sum(1, keepdim=True) - 9


def at_a_point():
    """Saliencies, sensitivities, and what the sensitivities sum to, at (−1, 2)."""
    toy, point = Toy().eval(), torch.tensor([[-1.0, 2.0]])
    saliency = nni.Saliency()(toy, point, target=0)[0]
    sensitivity = nni.Sensitivity()(toy, point, target=0)[0]
    return [*saliency.tolist(), *sensitivity.tolist(), float(sensitivity.sum())]


def by_hand(saliency, sensitivity, total):
    """What a student may write down."""
    return lambda: [*saliency, *sensitivity, total]


def colour_network():
    """A network for colour pictures with three classes, and one picture."""
    generator = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator))
    return model, torch.rand(1, 3, 8, 8, generator=generator)


def tried_twice(saliency):
    """A student's saliency at its second call on the same picture."""
    model, x = colour_network()
    first = saliency(model, x, 1)
    return None if first is None else saliency(model, x, 1)


def of_channels(reduce, target=1):
    """A map made from the gradient ``(3, H, W)`` of a target."""

    def made():
        model, x = colour_network()
        return reduce(nni.Gradient()(model, x, target)[0])

    return made


def largest(gradient):
    """The largest absolute value over the channels."""
    return gradient.abs().amax(0)


def all_logits(logits):
    """No class, but the sum of them all."""
    return logits.sum(1)


def loss(logits):
    """The training loss if the class were 1."""
    return -logits.log_softmax(1)[:, 1]


def probability(logits):
    """How sure the network is of class 1."""
    return logits.softmax(1)[:, 1]


def what_was_drawn(explorer):
    """What the network says to the 4 of the lesson with ink added, or None before that."""
    model = nni.models.load("digits-cnn")
    before, after = (nni.data.drawing(strokes) for strokes in (FOUR, explorer.pad.strokes))
    added = after - before
    if not added.any():
        return None
    if added.min() < 0:
        return "erased"
    if added.sum() > INK:
        return "too much ink"
    return {9: "a 9", 4: "a 4"}.get(int(model(after).argmax()), "another digit")


def repainted():
    """9 − 4 for each pixel of the last 4, painted white alone."""
    model, x = digits_cnn(115)
    every = x.flatten(1).repeat(784, 1).fill_diagonal_(1.0)
    return nni.Difference(9, 4)(model(every.reshape(-1, 1, 28, 28)))


def place_of(values):
    """Row and column of the largest value."""
    return list(divmod(int(values.argmax()), 28))


def steepest():
    """The pixel with the largest absolute gradient."""
    return place_of(nni.Saliency()(*digits_cnn(115), target=nni.Difference(9, 4)))


EXERCISES = {
    1: {
        "asks": '"cap", "left" or "tail": which part makes it a 9 rather than a 4?',
        "right": lambda: best_part_to_erase(nni.Difference(4, 9)),
        "then": "Without it the loop is open, and the network says 4.",
        "mistakes": [
            (
                lambda: best_part_to_erase(lambda logits: logits[:, 7]),
                "what is left without it is rather a 7.",
            ),
            (
                lambda: best_part_to_erase(lambda logits: logits[:, 2]),
                "what is left without it is rather a 2.",
            ),
        ],
        "hints": [
            "A 4 is open at the top.",
            "Look for the pixels with the strongest colour.",
        ],
    },
    2: {
        "asks": "two saliencies, two sensitivities, and the sum of the sensitivities: five numbers",
        "right": at_a_point,
        "then": "The sum is the squared length of the arrow, not f.",
        "mistakes": [
            (by_hand([-2, 4], [4, 16], 20), "a saliency has no sign: take the absolute value."),
            (by_hand([2, 4], [4, 16], -4), "the last number is f; the sensitivities sum to more."),
            (
                by_hand([2, 4], [4, 16], 4),
                "square first, then sum: the squares do not cancel each other.",
            ),
            (
                by_hand([2, 4], [16, 256], 272),
                "squared twice: the sensitivity is the gradient squared once.",
            ),
            (
                by_hand([2, 4], [4, 16], 20**0.5),
                "the last number is the length of the arrow; the sensitivities sum to its square.",
            ),
            (by_hand([1, 2], [1, 4], 5), "the derivative of x² is 2x."),
            (
                by_hand([2, 8], [4, 64], 68),
                "this is gradient × input; here the input is not multiplied.",
            ),
        ],
        "hints": [
            "The derivatives of f are 2x₁ and 2x₂. Put in x₁ = −1 and x₂ = 2.",
            "Saliency: without the sign. Sensitivity: squared.",
        ],
    },
    3: {
        "asks": "a function that returns a map (H, W) of a colour picture",
        "right": of_channels(largest),
        "then": "These are the numbers of nni.Saliency, also when it is called again.",
        "tried": tried_twice,
        "mistakes": [
            (
                of_channels(lambda gradient: gradient.amax(0)),
                "the largest without |·|: a channel that lowers the score is lost.",
            ),
            (
                of_channels(lambda gradient: gradient.amax(0).abs()),
                "|·| comes too late: take it of each channel, then the largest.",
            ),
            (
                of_channels(lambda gradient: gradient.sum(0).abs()),
                "the channels cancel: take |·| of each before you put them together.",
            ),
            (
                of_channels(lambda gradient: gradient.abs().sum(0)),
                "this is the sum over the channels; take the largest.",
            ),
            (
                of_channels(lambda gradient: gradient.abs().mean(0)),
                "this is the mean over the channels; take the largest.",
            ),
            (
                of_channels(lambda gradient: largest(gradient).square()),
                "this is squared; a saliency is not.",
            ),
            (
                of_channels(lambda gradient: 2 * largest(gradient)),
                "the second call gives twice the first: .backward() adds to x.grad.",
            ),
            (
                of_channels(largest, all_logits),
                "this is the gradient of the sum of all classes; take the logit of one.",
            ),
            (
                of_channels(largest, loss),
                "this is the gradient of the loss; take the logit of the class.",
            ),
            (
                of_channels(largest, probability),
                "this is the gradient of the probability; take the logit of the class.",
            ),
            (
                lambda: largest(nni.GradientTimesInput()(*colour_network(), 1)[0]),
                "this is gradient × input; here the input is not multiplied.",
            ),
        ],
        "hints": [
            "The score is lambda logits: logits[:, target].",
            "gradient_of(score, model, x)[0] has the shape (3, H, W); .amax(0) is the largest.",
            "First .abs(), then .amax(0).",
        ],
    },
    4: {
        "asks": f"add ink until the network says 9, at most {INK} white pixels; then run this cell",
        "right": lambda: "a 9",
        "tried": what_was_drawn,
        "then": "Could it be done with less ink?",
        "mistakes": [
            (lambda: "a 4", "the network still says 4."),
            (lambda: "too much ink", f"more than {INK} white pixels. Press Reset, draw less."),
            (lambda: "another digit", "the network says neither 4 nor 9. Press Undo."),
            (lambda: "erased", "ink of the 4 is missing. Press Reset, and only add to it."),
        ],
        "hints": [
            "What is the difference between a 4 and a 9 to you? Begin with that.",
            "One short stroke at the top is enough. A dot alone is not.",
        ],
    },
    5: {
        "asks": "row and column of a pixel: two whole numbers",
        "right": lambda: place_of(repainted()),
        "then": "The gradient at this pixel is small: only a large change shows what it can do.",
        "mistakes": [
            (steepest, "this pixel has the steepest slope, but not the largest effect: try all."),
            (lambda: place_of(repainted())[::-1], "the row comes first, then the column."),
            (lambda: place_of(-repainted()), "this one makes it more of a 4."),
        ],
        "hints": [
            "Make a batch of 784 copies of the picture. In copy number i, pixel number i is white.",
            "four.flatten(1).repeat(784, 1).fill_diagonal_(1.0), then .reshape(-1, 1, 28, 28).",
            "f(model(batch)).argmax() is a pixel's number; divmod(number, 28) its row and column.",
        ],
    },
}
