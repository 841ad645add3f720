"""The exercises of lesson 05. Students: the answers are computed here, so the fun is elsewhere."""

import torch
from torch import nn

import nni_widgets as nni

ROOTS = {
    "black": 0.0,
    "white": 1.0,
    "mean": nni.ImageMean(),
    "blur": nni.Blur(),
    "nearest root": nni.NearestRoot(),
}


def picture_of_a_4():
    """The picture of the lesson."""
    return nni.data.digits("test")[115:116][0]


def dimmed(name):
    """How many times its logit a network gives to the 4 at half the light."""
    model, x = nni.models.load(name), picture_of_a_4()
    with torch.no_grad():
        return float(model(x / 2)[0, 4] / model(x)[0, 4])


class Toy(nn.Module):
    """f = x₁² + x₂² − 9."""

    def forward(self, x):
        return x.square().sum(1, keepdim=True) - 9


POINT = torch.tensor([[-4.0, 3.0]])


def decomposition(method):
    """The relevance of both numbers, their sum, and what is missing from f."""

    def made():
        toy = Toy().eval()
        R = method(toy, POINT, target=0)[0]
        return [*R.tolist(), float(R.sum()), float(toy(POINT) - R.sum())]

    return made


def gradient_at_x(model, x, target):
    """The gradient at x times the way from the nearest root."""
    root = x * (3 / x.norm())
    return nni.Gradient()(model, x, target) * (x - root)


def times_x(model, x, target):
    """The gradient at the nearest root times x."""
    return nni.Gradient()(model, x * (3 / x.norm()), target) * x


def from_root(*root):
    """Simple Taylor decomposition from this root."""
    return nni.SimpleTaylor(root=torch.tensor(root))


def by_layer(of_biases, score=lambda logits: logits[:, 4]):
    """One number for the biases of each layer, made from them and their gradients."""

    def made():
        model = nni.models.load("digits-cnn")
        biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
        with torch.enable_grad():
            gradients = torch.autograd.grad(score(model(picture_of_a_4())).sum(), biases)
        pairs = zip(biases, gradients, strict=True)
        return [float(of_biases(bias.detach(), gradient)) for bias, gradient in pairs]

    return made


def share(bias, gradient):
    """What the biases of a layer contribute."""
    return (bias * gradient).sum()


def loss(logits):
    """The training loss of a 4."""
    return -logits.log_softmax(1)[:, 4]


def root_by_gap(best):
    """The root with the smallest gap, or the largest."""
    model, x = nni.models.load("digits-cnn"), picture_of_a_4()
    gaps = {
        name: float(nni.explain(model, x, nni.SimpleTaylor(root=root), target=4).relative_gap)
        for name, root in ROOTS.items()
    }
    return (min if best else max)(gaps, key=gaps.get)


EXERCISES = {
    1: {
        "asks": "how many times the logit at full light: one number",
        "right": lambda: dimmed("digits-cnn-nobias"),
        "then": "Without biases all light goes through in proportion.",
        "mistakes": [
            (lambda: dimmed("digits-cnn"), "this is the network with biases."),
            (lambda: 1.0, "its answer may stay the same, but not the score."),
            (lambda: 0.25, "each layer passes on what comes in; the dimming is not repeated."),
        ],
        "hints": [
            "What does a layer without bias give for half its input? And a ReLU?",
            "model(x / 2)[0, 4] / model(x)[0, 4], with the network without biases.",
        ],
    },
    2: {
        "asks": "the relevance of x₁, of x₂, their sum, and the gap: four numbers",
        "right": decomposition(nni.SimpleTaylor(root=nni.NearestRoot())),
        "then": "The gap is the squared distance between x and its root.",
        "mistakes": [
            (
                decomposition(gradient_at_x),
                "the gradient is to be taken at the root, not at x.",
            ),
            (
                decomposition(nni.GradientTimesInput()),
                "this is gradient × input, as if 0 were the root; but f(0) is not 0.",
            ),
            (
                decomposition(times_x),
                "multiply by the way from the root to x, not by x itself.",
            ),
            (
                decomposition(from_root(-3.0, 0.0)),
                "(−3, 0) is a root, but there is a nearer one.",
            ),
            (decomposition(from_root(0.0, 3.0)), "(0, 3) is a root, but there is a nearer one."),
        ],
        "hints": [
            "The nearest root lies on the straight line from x to the middle of the circle.",
            "x has the distance 5 from the middle, the root 3: so the root is 3/5 of x.",
            "R₁ is 2·(first number of the root)·(x₁ − first number of the root).",
        ],
    },
    3: {
        "asks": "what the biases of conv1, conv2, conv3, fc1 and fc2 add to the 4: five numbers",
        "right": by_layer(share),
        "then": "Their sum is the gap of gradient × input.",
        "mistakes": [
            (
                by_layer(lambda bias, _: bias.sum()),
                "these are the biases; each counts as much as its gradient says.",
            ),
            (
                by_layer(lambda _, gradient: gradient.sum()),
                "these are the gradients; multiply each by its bias before you sum.",
            ),
            (
                by_layer(lambda bias, gradient: bias.sum() * gradient.sum()),
                "multiply first, then sum: bias by bias.",
            ),
            (
                by_layer(lambda bias, gradient: (bias * gradient).abs().sum()),
                "keep the signs: biases can work against each other.",
            ),
            (
                by_layer(share, lambda logits: logits.sum(1)),
                "this is for all ten classes together; take the logit of 4.",
            ),
            (by_layer(share, loss), "this is for the loss; take the logit of 4."),
        ],
        "hints": [
            "A bias is an input that is always 1, with the bias as its weight.",
            'Collect them: [p for name, p in model.named_parameters() if name.endswith("bias")].',
            "torch.autograd.grad(model(x)[0, 4], biases) gives one gradient for each of them.",
        ],
    },
    4: {
        "asks": '"black", "white", "mean", "blur" or "nearest root": which has the smallest gap?',
        "right": lambda: root_by_gap(best=True),
        "then": "A first-order term is good near its root. Whether the root is good, is open.",
        "mistakes": [
            (lambda: root_by_gap(best=False), "this one has the largest gap of the five."),
            (lambda: "black", "with biases, the gradient at black says nothing about this 4."),
            (lambda: "blur", "only with another sigma than the one it comes with: press Reset."),
        ],
        "hints": [
            "Read the percentage in the line below the heatmap.",
            "What is the distance between each of the roots and the picture?",
        ],
    },
}
