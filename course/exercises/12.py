"""The exercises of lesson 12. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch

import nni_widgets as nni

BACK = np.s_[:15, :12]
Z, R = np.array([[-2.0, 3.0], [1.0, -1.0]]), np.array([[4.0, -5.0], [6.0, -3.0]])
GUIDED, SMOOTHED = nni.GuidedBackprop(), nni.SmoothGrad(of=nni.GuidedBackprop())
OFFERED = {each.title: each for each in (GUIDED, nni.DeconvNet(), SMOOTHED, nni.LRP())}


def picture():
    """The 5 of the lesson."""
    return nni.data.digits("test")[8:9][0]


def redrawn(n, seed):
    """The network with its last n layers with weights drawn anew."""
    torch.manual_seed(seed)
    model = nni.models.load("digits-cnn")
    layers = [layer for layer in model if hasattr(layer, "weight")]
    for layer in layers[len(layers) - n :]:
        layer.reset_parameters()
    return model


def letters(trained):
    """The letters of the networks of section 1, from the most accurate to the least."""
    order = torch.randperm(4, generator=torch.Generator().manual_seed(5)).tolist()
    x, y = nni.data.digits("test")[:500]
    networks = [redrawn(n=3 if seed else 0, seed=seed) for seed in order]
    right = [int((network(x).argmax(1) == y).sum()) for network in networks]
    ranked = sorted("ABCD", key=lambda letter: -right["ABCD".index(letter)])
    return ranked[0 if trained else 1 :]


def tables(backprop, deconvnet, guided):
    """Three tables of what is handed on, one after the other."""
    return lambda: np.stack([backprop, deconvnet, guided])


PASSED = {"backprop": R * (Z > 0), "deconvnet": R * (R > 0), "guided": R * (Z > 0) * (R > 0)}


def first_layer(rule):
    """What a rule hands to the pixels, by the walk of section 4."""
    model, x = nni.models.load("digits-cnn"), picture()
    inputs = [x.clone()]
    for layer in model:
        inputs.append(layer(inputs[-1]).detach())
    signal = (torch.arange(inputs.pop().shape[1]) == 5).float()[None]
    for layer, z in zip(reversed(model), reversed(inputs), strict=True):
        if isinstance(layer, torch.nn.ReLU):
            signal = rule(z, signal)
            if signal is None:
                return None
            signal = torch.as_tensor(signal)
        else:
            signal = torch.autograd.grad(layer(z.requires_grad_()), z, signal)[0]
    return signal


def back_changes(changes):
    """The offered methods by which the back is for one of 5 and 8 and against the other, or not."""
    model, x = nni.models.load("digits-cnn"), picture()

    def back(method, target):
        return float(method(model, x, target=target)[0, 0][BACK].sum())

    return [
        name
        for name, method in OFFERED.items()
        if (back(method, 5) * back(method, 8) < 0) == changes
    ]


def correlation(first, second):
    """How alike two maps are."""
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def two_tests(method):
    """The correlation with the map of another class, and with the map of a redrawn network."""
    model, x = nni.models.load("digits-cnn"), picture()
    five, eight = (method(model, x, target=target) for target in (5, 8))
    return [correlation(five, eight), correlation(five, method(redrawn(3, 1), x, target=5))]


EXERCISES = {
    1: {
        "asks": '"A", "B", "C" or "D": which map comes from the trained network?',
        "right": lambda: letters(trained=True)[0],
        "then": "Did you know, or did you guess? Ask your neighbour.",
        "mistakes": [
            (lambda n=n: letters(trained=False)[n], "that network's last layers are drawn by lot.")
            for n in range(3)
        ],
        "hints": [
            "The trained network knows that this is a 5. What should its map show?",
            "There is no shame in guessing. That is what this lesson is about.",
        ],
    },
    2: {
        "asks": "three tables of two rows: what backprop, deconvnet and guided backprop hand on",
        "right": tables(**PASSED),
        "then": "Guided backprop hands on what both others would.",
        "mistakes": [
            (
                tables(PASSED["deconvnet"], PASSED["backprop"], PASSED["guided"]),
                "backprop and deconvnet have changed places: backprop looks at the way there.",
            ),
            (
                tables(Z * (Z > 0), Z * (R > 0), Z * (Z > 0) * (R > 0)),
                "you handed on z. It only decides; what is handed on is R.",
            ),
            (
                tables(Z > 0, R > 0, (Z > 0) & (R > 0)),
                "these say who may pass (1) and who may not (0); what is handed on is R.",
            ),
            (
                tables(PASSED["backprop"], PASSED["deconvnet"], R * (Z * R > 0)),
                "minus times minus is no plus here: guided backprop stops every negative signal.",
            ),
            (
                tables(PASSED["backprop"], PASSED["deconvnet"], R * ((Z > 0) | (R > 0))),
                "guided backprop hands on where both conditions hold, not where one does.",
            ),
            (
                tables(PASSED["backprop"], np.abs(R), PASSED["guided"]),
                "deconvnet does not turn negative signals round, it stops them.",
            ),
            (
                tables(PASSED["backprop"], R, PASSED["guided"]),
                "deconvnet has a condition too: it is about R.",
            ),
        ],
        "hints": [
            "Find the cell of the table in section 3 for each of the four units.",
            "In one of the units all three hand on 6.",
        ],
    },
    3: {
        "asks": "a function of z and R that returns what guided backprop hands on",
        "right": lambda: GUIDED(nni.models.load("digits-cnn"), picture(), target=5),
        "then": "These are the numbers of nni.GuidedBackprop.",
        "tried": first_layer,
        "mistakes": [
            (lambda: first_layer(lambda z, R: R * (z > 0)), "this is backprop."),
            (lambda: first_layer(lambda _, R: R * (R > 0)), "this is deconvnet."),
            (
                lambda: first_layer(lambda z, R: R * (z * R > 0)),
                "negative signals pass where z is negative too: ask for both signs separately.",
            ),
            (
                lambda: first_layer(lambda z, R: R * ((z > 0) | (R > 0))),
                "it is not enough that one condition holds; both must.",
            ),
            (
                lambda: first_layer(lambda z, R: R.clamp(min=0) * z.clamp(min=0)),
                "the signal is multiplied by the activation; z may only decide.",
            ),
            (
                lambda: first_layer(lambda z, R: ((z > 0) & (R > 0)).float()),
                "this hands on 1 where the signal may pass; hand on the signal.",
            ),
        ],
        "hints": [
            "A comparison such as z > 0 is a mask: multiply by it.",
            "The two conditions of exercise 12.2, one mask for each.",
        ],
    },
    4: {
        "asks": '"Guided backprop", "DeconvNet", "SmoothGrad" or "LRP": who lets the back change?',
        "right": lambda: back_changes(changes=True)[0],
        "then": "With the other three, what speaks against a class cannot get through the ReLUs.",
        "mistakes": [
            (
                lambda n=n: back_changes(changes=False)[n],
                "its pixels there grow paler or darker, but for both classes orange has the lead.",
            )
            for n in range(3)
        ],
        "hints": [
            "The back is the stroke at the left. Choose a method, click the bar of 5, then of 8.",
            "Look for a back that is all purple once and all orange once.",
        ],
    },
    5: {
        "asks": "two correlations: with the map for 8, and with the map of the redrawn network",
        "right": lambda: two_tests(SMOOTHED),
        "then": "Smoothing takes the noise away. What is left depends on class and weights no more "
        "than before.",
        "mistakes": [
            (lambda: two_tests(GUIDED), "these are the numbers without smoothing."),
            (
                lambda: two_tests(nni.SmoothGrad()),
                "SmoothGrad alone averages the gradient: tell it what to average.",
            ),
            (lambda: two_tests(SMOOTHED)[::-1], "first the class, then the weights."),
        ],
        "hints": [
            "nni.SmoothGrad(of=...) averages any method.",
            "The map for 5 of the trained network takes part in both correlations.",
            "correlation(R, method(model, x, target=8)) is the first one.",
        ],
    },
}
