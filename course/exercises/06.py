"""The exercises of lesson 06. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

STROKES = {"bar": np.s_[:12, 12:], "back": np.s_[:15, :12], "belly": np.s_[12:, 12:]}
GAMMA = 0.5


def digits_cnn():
    """The network of the lesson, and its picture of a 5."""
    return nni.models.load("digits-cnn"), nni.data.digits("test")[8:9][0]


def stroke(target, worst):
    """The stroke with the largest relevance for a class, or the smallest."""
    heatmap = nni.explain(*digits_cnn(), target=target).heatmap()
    sums = {name: float(heatmap[place].sum()) for name, place in STROKES.items()}
    return (min if worst else max)(sums, key=sums.get)


def small_network(bias):
    """The network of section 3, its first hidden unit with a bias."""
    first, second = nn.Linear(2, 3), nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[2.0, 1.0], [-1.0, 1.0], [1.0, -1.0]]))
        first.bias.copy_(torch.tensor([bias, 0.0, 0.0]))
        second.weight.copy_(torch.tensor([[1.5, -1.0, 2.0]]))
    return nn.Sequential(first, nn.ReLU(), second).eval()


def shares(bias):
    """The relevance of both inputs, and what the bias keeps."""
    x = torch.tensor([[1.0, 2.0]])
    explained = nni.explain(small_network(bias), x, nni.LRP(nni.Zero()), target=0)
    return [*explained.attribution[0].tolist(), explained.flow()[-1].lost["bias"]]


def hand_worked(z_1, R_1, bias):
    """Shares of h₁ if z₁ and R₁ were these, with what h₂ hands down (1 and −2) added."""
    return [2 / z_1 * R_1 + 1, 2 / z_1 * R_1 - 2, bias / z_1 * R_1]


def bias_left_out():
    """z₁ without its bias, though R₁ has grown."""
    return hand_worked(z_1=4, R_1=9, bias=0)


def old_relevance():
    """The relevance that h₁ had before it got its bias."""
    return hand_worked(z_1=6, R_1=6, bias=2)


def gradients():
    """The gradient instead of the relevance."""
    x = torch.tensor([[1.0, 2.0]])
    return [*nni.Gradient()(small_network(2.0), x, target=0)[0].tolist(), 3.0]


def dense_layer():
    """A layer with positive inputs, and the relevance that arrives at its outputs."""
    generator = torch.Generator().manual_seed(6)
    W, a = torch.randn(5, 4, generator=generator), torch.rand(4, generator=generator)
    b, v = torch.tensor([0.5, -0.5, 0.4, -0.3, 0.6]), torch.rand(1, 5, generator=generator)
    return a.double(), W.double(), b.double(), v.double()


def through_the_library(rule):
    """What a rule gives to the inputs of that layer."""
    a, W, b, v = dense_layer()
    first, second = nn.Linear(4, 5).double(), nn.Linear(5, 1, bias=False).double()
    first.load_state_dict({"weight": W, "bias": b})
    second.load_state_dict({"weight": v})
    model = nn.Sequential(first, nn.ReLU(), second).eval()
    return nni.LRP({"0": rule, "2": nni.Zero()})(model, a[None], target=0)[0]


def tried(rule):
    """What a student's rule gives to the same inputs."""
    a, W, b, v = dense_layer()
    R = v[0] * (W @ a + b).clamp(min=0)
    return rule(a.numpy(), W.numpy(), b.numpy(), R.numpy(), GAMMA)


def gamma_done(W=(1, 1), b=(1, 1), z_W=None, z_b=None):
    """A try at γ. Each pair says how often the weights count, and how often γ times their
    positive part; ``z_W`` and ``z_b`` are those of the denominator, if they are others.
    """
    of_W, in_z_W, in_z_b = W, z_W or W, z_b or b

    def mixed(weights, how_often, gamma):
        return how_often[0] * weights + how_often[1] * gamma * np.maximum(weights, 0)

    def rule(a, W, b, R, gamma):
        z = mixed(W, in_z_W, gamma) @ a + mixed(b, in_z_b, gamma)
        return a * (mixed(W, of_W, gamma).T @ (R / z))

    return lambda: tried(rule)


def costliest_layer():
    """The layer whose rule alone, changed to ε = 1, takes the sum farthest from the score."""
    model, x = digits_cnn()
    rules = {"conv1": nni.ZBox(), "conv2": nni.Gamma(), "conv3": nni.Gamma(),
             "fc1": nni.Epsilon(), "fc2": nni.Epsilon()}  # fmt: skip
    tables = {label: {**rules, label: nni.Epsilon(epsilon=1.0)} for label in rules}
    gaps = {label: nni.explain(model, x, nni.LRP(table)).gap for label, table in tables.items()}
    return max(gaps, key=lambda label: abs(float(gaps[label])))


def contrast(target):
    """The attribution that this target gives."""
    return lambda: nni.LRP()(*digits_cnn(), target=target)


def probability_of_5(logits):
    """A target that is no logit."""
    return logits.softmax(1)[:, 5]


EXERCISES = {
    1: {
        "asks": '"bar", "back" or "belly": which stroke speaks against 5?',
        "right": lambda: stroke(5, worst=True),
        "then": "A stroke of the picture can speak against the class that the picture shows.",
        "mistakes": [
            (lambda: stroke(5, worst=False), "this stroke speaks for 5: look for purple."),
        ],
        "hints": [
            "Which stroke would you have to change to make it a better 5, or another digit?",
            "Run the cell with the sums: which one is below zero?",
        ],
    },
    2: {
        "asks": "the relevance of x₁, of x₂, and what the bias of h₁ keeps: three numbers",
        "right": lambda: shares(2.0),
        "then": "The inputs get what they got without the bias: LRP-0 credits the rest to it.",
        "mistakes": [
            (bias_left_out, "the bias is one of the contributions to z₁, so z₁ has grown."),
            (old_relevance, "h₁ has grown, so the relevance that arrives at h₁ has grown too."),
            (gradients, "the first two are gradients; relevance is gradient × input here."),
        ],
        "hints": [
            "First the forward pass: what is h₁ now, and what is f?",
            "z₁ has three contributions: 2·x₁, 1·x₂ and the bias. Each gets its share of R₁.",
            "R₁ = 1.5·h₁. R₂ and what it hands down are as before.",
        ],
    },
    3: {
        "asks": "a function that returns the relevance of the layer's inputs",
        "right": lambda: through_the_library(nni.Gamma(gamma=GAMMA)),
        "then": "These are the numbers of nni.Gamma.",
        "tried": tried,
        "mistakes": [
            (
                gamma_done(W=(1, 0), b=(1, 0)),
                "γ has no effect, this is LRP-0. (If γ multiplies all of W, it cancels.)",
            ),
            (
                gamma_done(b=(1, 0)),
                "the bias is a weight too (of a unit that is always 1): favour its positive part.",
            ),
            (gamma_done(b=(0, 0)), "the bias is missing in z."),
            (
                gamma_done(W=(0, 1), b=(0, 1)),
                "this has the positive part alone: keep W, and add γ times its positive part.",
            ),
            (
                gamma_done(z_W=(1, 0), z_b=(1, 0)),
                "compute z with the changed weights too, else the shares do not sum to 1.",
            ),
        ],
        "hints": [
            "It is LRP-0 with other weights: which ones?",
            "np.maximum(W, 0) is the positive part of W; the bias is treated alike.",
            "Four steps: z = W @ a + b, s = R / z, c = W.T @ s, a * c, with the new W and b.",
        ],
    },
    4: {
        "asks": "the name of a layer, in quotes",
        "right": costliest_layer,
        "then": "The numbers z are smallest near the pixels, so the same ε weighs most there.",
        "mistakes": [
            (lambda: "conv2", "a good deal is lost there, but another layer loses more."),
        ],
        "hints": [
            "Press Reset between two layers, so that only one has the new rule.",
            "Read the line below the heatmap: the gap is what counts.",
        ],
    },
    5: {
        "asks": "an attribution for 5 rather than 8, shaped like x",
        "right": contrast(nni.Difference(5, 8)),
        "tried": lambda answer: getattr(answer, "attribution", answer),
        "then": "What both classes share has cancelled: the back now speaks loudest against 5.",
        "mistakes": [
            (contrast(5), "this explains 5 alone."),
            (contrast(8), "this explains 8 alone."),
            (contrast(nni.Difference(8, 5)), "this is 8 rather than 5."),
            (contrast(probability_of_5), "this explains the probability; start from the logits."),
        ],
        "hints": [
            "The target may be the difference of two logits.",
            "nni.LRP()(model, x, target=...) with nni.Difference as the target.",
        ],
    },
}
