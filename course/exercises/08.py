"""The exercises of lesson 08. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

TAIL = np.s_[13:16, 20:27]
SHOWN = [87, 8, 18, 115]
X, W = (0.75, 0.5), (2.0, -1.0)


def explained(method):
    """Why the network without biases sees a 3."""
    model, (x, _) = nni.models.load("digits-cnn-nobias"), nni.data.digits("test")[87:88]
    return nni.explain(model, x, method, target=3)


def colour_of_the_tail(method):
    """The colour of the tail in a heatmap: white if it has less than a hundredth of the sum."""
    explanation = explained(method)
    share = float(explanation.heatmap()[TAIL].sum() / explanation.total[0])
    return "white" if abs(share) < 0.01 else "orange" if share > 0 else "purple"


def neuron(weights, bias=0.0):
    """One neuron without its ReLU."""
    layer = nn.Linear(len(weights), 1).double().eval()
    layer.load_state_dict({"weight": torch.tensor([weights], dtype=torch.float64),
                           "bias": torch.tensor([bias], dtype=torch.float64)})  # fmt: skip
    return layer


def root_and_shares(rule):
    """Root point and shares of the neuron of exercise 2: by the library's shares, R = w (x − x̃)."""
    R = nni.LRP(rule)(neuron(W), torch.tensor([X], dtype=torch.float64), target=0)[0].numpy()
    return [*(np.array(X) - R / np.array(W)), *R]


def swapped():
    """The root point of zᴮ with the corner taken the wrong way round: the best one."""
    return along(np.array(X) - [1.0, 0.0])


def along(direction):
    """Root point and shares along a direction."""
    x, w = np.array(X), np.array(W)
    root = x - (w @ x) / (w @ direction) * direction
    return [*root, *(w * (x - root))]


def corner_itself():
    """The corner in place of the root point on the way to it."""
    corner = np.array([0.0, 1.0])
    return [*corner, *(np.array(W) * (np.array(X) - corner))]


def relu6_neuron():
    """What goes into a neuron behind ReLU6, its weights and its bias."""
    return np.array([6.0, 2.0, 0.0, 3.5]), np.array([1.0, -2.0, -0.5, 1.5]), -2.0


def by_rule(rule):
    """What a rule gives to these inputs."""
    a, w, b = relu6_neuron()
    return nni.LRP(rule)(neuron(w.tolist(), b), torch.from_numpy(a[None]), target=0)[0]


def tried(share):
    """What a student's function gives to the same inputs."""
    return share(*relu6_neuron())


def from_corner(where_positive, where_negative, bias_below=0.0, bias_above=1.0):
    """The shares on the way from a corner; how much of the bias is in the denominator, and in z."""
    a, w, b = relu6_neuron()
    terms = w * (a - np.where(w > 0, where_positive, where_negative))
    return terms / (terms.sum() + bias_below * b) * (a @ w + bias_above * b)


def not_multiplied():
    """The shares of the whole, before they are multiplied by what is shared."""
    a, w, b = relu6_neuron()
    return from_corner(0, 6) / (a @ w + b)


def orange_maps():
    """For how many classes deep Taylor's map of the first picture is positive."""
    model, (x, _) = nni.models.load("digits-cnn-designed"), nni.data.digits("test")[SHOWN[:1]]
    maps = [nni.DeepTaylor()(model, x, target=k) for k in range(10)]
    return sum(float(R.sum()) > 0 for R in maps)


EXERCISES = {
    1: {
        "asks": '"orange", "white" or "purple": which colour has the tail in deep Taylor?',
        "right": lambda: colour_of_the_tail(nni.DeepTaylor()),
        "then": "LRP's default says the contrary. This lesson shows why.",
        "mistakes": [
            (
                lambda: colour_of_the_tail(nni.LRP()),
                "so says LRP with its default rules. Which colours can z⁺ give at all?",
            ),
            (lambda: "white", "it gets a clear share: what is inked is seen by some neuron."),
        ],
        "hints": [
            "z⁺ counts only positive contributions. What can become of a positive score?",
            "In lesson 06 z⁺ had a say about the back of the 5. Which colour did it have?",
        ],
    },
    2: {
        "asks": "the root point's x₁ and x₂, and the relevance of both: four numbers",
        "right": lambda: root_and_shares(nni.ZBox()),
        "then": "x₂ gets a share although its weight is negative: it is below white.",
        "mistakes": [
            (lambda: root_and_shares(nni.WSquare()), "this is the nearest root point: w²."),
            (lambda: root_and_shares(nni.ZPlus()), "this moves x₁ alone, towards 0: z⁺."),
            (lambda: along(np.array(X)), "this goes towards the origin: LRP-0."),
            (lambda: root_and_shares(nni.ZBox(low=-1)), "the box begins at 0, not at −1."),
            (swapped, "you went to the best corner of the box: the worst one is needed."),
            (corner_itself, "stop where the neuron's value becomes 0, not at the corner."),
        ],
        "hints": [
            "Which corner of the box makes z smallest? x₁ with its weight 2, x₂ with −1.",
            "The direction is v = x − corner. Walk x − t·v until z = 0: t = z / (w·v).",
            "Then R_i = w_i·(x_i − root_i).",
        ],
    },
    3: {
        "asks": "a function that returns the relevance of the neuron's inputs",
        "right": lambda: by_rule(nni.ZBox(low=0.0, high=6.0)),
        "then": "Whoever knows where inputs may lie knows the rule.",
        "tried": tried,
        "mistakes": [
            (
                lambda: by_rule(nni.ZPlus()),
                "this is z⁺, for activations without an upper end. What does the end 6 add?",
            ),
            (lambda: from_corner(0, 1), "this is the box of pixels, 0 to 1."),
            (lambda: from_corner(6, 0), "this comes from the best corner of the box."),
            (lambda: from_corner(0, 0), "this goes towards the origin: LRP-0."),
            (lambda: by_rule(nni.WSquare()), "this is w², for inputs without any bounds."),
            (
                lambda: from_corner(0, 6, bias_below=1.0),
                "the shares must sum to 1: no bias in the denominator.",
            ),
            (
                lambda: from_corner(0, 6, bias_above=0.0),
                "what is shared is the neuron's value, bias included.",
            ),
            (not_multiplied, "these sum to 1. What is it that they are shares of?"),
        ],
        "hints": [
            "Is it an orthant or a box?",
            "The worst corner: 0 where the weight is positive; and where it is negative?",
            "v = a − corner, then R_i = w_i·v_i / (w·v) · z with z = w·a + b.",
        ],
    },
    4: {
        "asks": "how many of the ten classes get an orange map: one number",
        "right": orange_maps,
        "then": "The whole map has the sign of the logit. It cannot say what is for and against.",
        "mistakes": [
            (lambda: 1, "the predicted class is not the only one with a positive score."),
            (lambda: 10, "look again at the classes whose f(x) is below 0."),
            (lambda: 10 - orange_maps(), "these are the purple ones."),
        ],
        "hints": [
            "Choose each class once and look at the colour of the whole map.",
            "Compare the sign of f(x), below the map, with the colour.",
        ],
    },
}
