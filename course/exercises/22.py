"""The exercises of lesson 22. Students: the answers are computed here, so the fun is elsewhere."""

from functools import cache

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

CLASSES = {"macaw": "macaw", "coffee": "espresso", "camera": "tripod", "polar_bear": "ice bear"}
LEMURS = {
    "faces": (np.s_[85:130, 85:130], np.s_[68:105, 55:88]),
    "tails": (np.s_[0:70, 28:55], np.s_[130:224, 172:224]),
    "trunk": (np.s_[165:224, 0:95],),
    "leaves": (np.s_[0:90, 110:224],),
}


@cache
def photos():
    """The network for photographs."""
    return nni.models.load("photos")


def heatmap(x, method, name):
    """What a method shows for the class of this name."""
    return nni.explain(photos(), x, method, target=photos().classes.index(name)).heatmap()


def mosaic():
    """The four photographs of the lesson in one picture."""
    a, b, c, d = nni.data.photograph_batch(CLASSES, 160)
    return torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)[None]


def pointing():
    """Which of two maps for "tripod" has more of its relevance in the tripod's quarter."""
    methods = {"coarse": nni.CAM(), "crisp": nni.GuidedBackprop()}
    quarter = torch.zeros(320, 320, dtype=torch.bool)
    quarter[160:, :160] = True
    shares = {
        name: float(share(heatmap(mosaic(), method, "tripod"), quarter))
        for name, method in methods.items()
    }
    return max(shares, key=shares.get)


def share(R, here):
    """The share of the positive relevance that lies where ``here`` is true."""
    positive = R.clamp(min=0)
    return positive[here].sum() / positive.sum()


def tried(share):
    """What a student's function gives for a made-up heatmap."""
    generator = torch.Generator().manual_seed(22)
    R, here = torch.randn(8, 8, generator=generator), torch.zeros(8, 8, dtype=torch.bool)
    here[2:6, 3:8] = True
    return share(R, here)


def zero_of_the_network():
    """The pixel that the network's first step makes 0."""
    low, high = (float(photos().rescale(torch.tensor(pixel))) for pixel in (0.0, 1.0))
    return -low / (high - low)


WEIGHT, MEAN, DEVIATION, SCALE, SHIFT, INPUT = 2.0, 4.0, 2.0, 1.5, 0.5, 3.0


def merged():
    """Weight and bias of the unit of section 6 with its batch-norm in it, and the input's share."""
    first, norm = nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=0.0)
    with torch.no_grad():
        first.weight.fill_(WEIGHT)
        norm.weight.fill_(SCALE)
        norm.bias.fill_(SHIFT)
        norm.running_mean.fill_(MEAN)
        norm.running_var.fill_(DEVIATION**2)
    unit, x = nn.Sequential(first, norm).eval(), torch.tensor([[INPUT]])
    bias = float(unit(torch.zeros(1, 1)).detach())
    weight = (float(unit(x).detach()) - bias) / INPUT
    return [weight, bias, float(nni.LRP(nni.Zero())(unit, x, target=0))]


def mean_unscaled():
    """The mean is subtracted as it is."""
    weight, bias = WEIGHT * SCALE / DEVIATION, SHIFT - MEAN
    return [weight, bias, weight * INPUT]


def by_the_variance():
    """Divided by the variance in place of its root."""
    weight, bias = WEIGHT * SCALE / DEVIATION**2, SHIFT - SCALE * MEAN / DEVIATION**2
    return [weight, bias, weight * INPUT]


def passed_through():
    """The batch-norm handed on what it got, so that the input has it all."""
    weight, bias, _ = merged()
    return [weight, bias, weight * INPUT + bias]


def what_speaks_for(name):
    """The things in the picture of lemurs with the largest mean of the CAM of a class."""
    R = heatmap(nni.data.photograph_batch("lemur"), nni.CAM(), name)
    means = {thing: torch.cat([R[box].flatten() for box in boxes]).mean()
             for thing, boxes in LEMURS.items()}  # fmt: skip
    return max(means, key=means.get)


EXERCISES = {
    1: {
        "asks": '"coarse" or "crisp": which map for "tripod" points at the tripod?',
        "right": pointing,
        "then": "The other one draws all four photographs, whatever it is asked about.",
        "mistakes": [
            (lambda: "crisp", "a map can be crisp everywhere. Look at the other three quarters."),
        ],
        "hints": [
            "Sharp edges are in the picture. Are they in the answer?",
            "Run the next cell: which map is empty where there is no tripod?",
        ],
    },
    2: {
        "asks": "a function that returns one number from 0 to 1",
        "right": lambda: tried(share),
        "then": "A map that knows nothing gets the share of the area.",
        "tried": tried,
        "mistakes": [
            (
                lambda: tried(lambda R, here: R[here].sum() / R.sum()),
                "what speaks against the class cancels here: set it to 0 first.",
            ),
            (
                lambda: tried(lambda R, here: R[here].abs().sum() / R.abs().sum()),
                "this counts what speaks against the class as if it spoke for it.",
            ),
            (
                lambda: tried(lambda R, here: R[here].clamp(min=0).sum() / R.sum()),
                "what speaks against the class shall not count in the whole either.",
            ),
            (
                lambda: tried(lambda R, here: R[here].clamp(min=0).sum() / R.abs().sum()),
                "what speaks against the class shall not count in the whole either.",
            ),
            (
                lambda: tried(lambda R, here: R[here].clamp(min=0).sum()),
                "this is the part: divide it by the whole.",
            ),
            (
                lambda: tried(lambda R, here: 100 * share(R, here)),
                "this is in percent: the whole shall be 1.",
            ),
            (
                lambda: tried(lambda _, here: here.float().mean()),
                "this is the share of the area: R has not been used.",
            ),
            (
                lambda: tried(lambda R, here: (R[here] > 0).sum() / (R > 0).sum()),
                "this counts pixels: add up their relevance.",
            ),
            (
                lambda: tried(lambda R, here: R.clamp(min=0)[here].mean() / R.clamp(min=0).mean()),
                "means do not give a share: take sums.",
            ),
        ],
        "hints": [
            "R.clamp(min=0) keeps what speaks for the class.",
            "R[here] are the pixels where here is true. Divide one sum by another.",
        ],
    },
    3: {
        "asks": "the pixel, from 0 to 1, that is 0 for the network",
        "right": zero_of_the_network,
        "then": "A middle grey is nothing to this network, and black is a signal.",
        "mistakes": [
            (lambda: 0.0, "this is black. What does the network make of it?"),
            (lambda: 1.0, "this is white, or nearly. What does the network make of it?"),
            (lambda: 127, "this is right for pixels from 0 to 255; ours go from 0 to 1."),
            (lambda: -127 / 128, "this is what black becomes. Which pixel becomes 0?"),
        ],
        "hints": [
            "Solve (255 x − 127) / 128 = 0.",
            "Try model.rescale(torch.tensor(...)) with your answer.",
        ],
    },
    4: {
        "asks": "the weight, the bias, and the relevance of x: three numbers",
        "right": merged,
        "then": "The bias is negative, so the input gets more than the result.",
        "mistakes": [
            (mean_unscaled, "the mean is divided and scaled as well: multiply out the formula."),
            (by_the_variance, "divide by the deviation σ, not by σ²."),
            (passed_through, "weight and bias are right, but the bias keeps its share of y."),
        ],
        "hints": [
            "Multiply out: y = γ (w x − μ) / σ + β. What stands before x? What stands alone?",
            "LRP-0 with one input: its relevance is weight × x, the rest stays with the bias.",
        ],
    },
    5: {
        "asks": '"faces", "tails", "trunk" or "leaves": what speaks most for sea snake?',
        "right": lambda: what_speaks_for("sea snake"),
        "then": "Black and white rings. A strange answer may have a good reason.",
        "mistakes": [
            (lambda: "faces", "they speak for the first answer. Explain the other class."),
            (lambda: "trunk", "a good guess, but the map is pale there: look again."),
            (lambda: "leaves", "they fill much of the picture, yet the map is pale there."),
        ],
        "hints": [
            "Choose the lemurs in the explorer, then sea snake in the list of classes.",
            "Click the columns of the first and the third class in turn: where does the map move?",
        ],
    },
}
