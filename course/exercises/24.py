"""The exercises of lesson 24. Students: the answers are computed here, so the fun is elsewhere."""

import re

import torch
from torch import nn

import nni_widgets as nni

FIRST, SEVERAL = 7, 3
METHODS = {
    "guided backprop": nni.GuidedBackprop(),
    "integrated gradients": nni.IntegratedGradients(),
    "Grad-CAM": nni.GradCAM(),
    "DeepLIFT": nni.DeepLIFT(),
    "occlusion": nni.Occlusion(),
}
FINALISTS = (nni.Saliency(), nni.LRP(), nni.GuidedBackprop(), nni.GradientTimesInput())
FOUR = (nni.LRP, nni.IntegratedGradients, nni.Occlusion, nni.GradCAM)


def picture(n=1):
    """The 9 of the lesson, or it and the pictures that follow."""
    return nni.data.digits("test")[FIRST : FIRST + n]


def layers():
    """The colleague's layers: they take pixels from 0 to 1 and return logits."""
    return nni.models.load("digits-mlp")


def wrapped(layers):
    """The colleague's layers as 24.1 asks for them."""
    return nni.models.wrap(
        layers, tuple("0123456789"), low=0, high=255, preprocess=lambda pixels: pixels / 255
    )


def answers(model):
    """What a student's model says about three pictures in pixels from 0 to 255."""
    pixels = 255 * nni.data.digits("test")[:3][0]
    if not isinstance(model, nn.Module):
        raise TypeError("the answer should be the model that wrap returns")
    if (getattr(model, "low", None), getattr(model, "high", None)) != (0, 255):
        raise ValueError("the model should know which pixels are black and which are white")
    with torch.no_grad():
        return model.eval()(pixels)


def logits(scale=255.0, end=lambda values: values):
    """What the layers say, if pixels are divided by ``scale``."""
    with torch.no_grad():
        return end(layers()(255 / scale * nni.data.digits("test")[:3][0]))


def unfit():
    """The one method of the five that the doctor forbids on this network."""
    x, _ = picture()
    findings = {name: nni.diagnose(layers(), x, method) for name, method in METHODS.items()}
    (name,) = [name for name, found in findings.items() if "error" in repr(found)]
    return name


def model():
    """The network of the second half of the lesson."""
    return nni.models.load("digits-cnn")


def stepped(function):
    """A student's maps of several pictures."""
    x, y = picture(SEVERAL)
    return function(model(), x, y)


def at(where, times=True, n=SEVERAL):
    """The gradients at one place on the way from black to x, times x or not."""
    x, y = picture(n)
    gradient = nni.Gradient()(model(), where * x, y)
    return x * gradient if times else gradient


def mixed():
    """The maps with the classes of all pictures in each."""
    x, y = picture(SEVERAL)
    maps = [nni.Gradient()(model(), x / 2, torch.full_like(y, each)) for each in y]
    return x * sum(maps)


def gap(where):
    """How far one step at this place misses f(x) − f(0)."""
    x, y = picture()
    with torch.no_grad():
        expected = (model()(x) - model()(0 * x))[0, int(y)]
    return abs(float(at(where, n=1).sum() - expected))


def smallest_gap():
    """The place, to one decimal, at which the sum is nearest."""
    return min((step / 10 for step in range(11)), key=gap)


def always_on_the_ink():
    """The method of the four that is zero where the picture is."""
    x, y = picture()
    (found,) = [m.title for m in FINALISTS if not m(model(), x, int(y))[x == 0].abs().sum()]
    return found


def one_of(names):
    """Reads an answer as one of these names, however it is typed; another word is no answer."""
    known = {letters(name): name for name in names}
    return lambda answer: known.get(letters(answer)) if isinstance(answer, str) else answer


def letters(name):
    """The name without what keyboards lack or people leave out."""
    plain = name.casefold().replace("×", "x").replace("*", "x").replace("times", "x")
    return re.sub("[^a-z]", "", plain)


EXERCISES = {
    "1": {
        "asks": "wrap the colleague's layers with nni.models.wrap(...).",
        "right": logits,
        "tried": answers,
        "tolerance": 0.001,
        "then": "It takes pixels from 0 to 255 and returns logits.",
        "mistakes": [
            (lambda: logits(1.0), "the layers get numbers up to 255, they were trained on 0 to 1."),
            (lambda: logits(end=lambda v: v.softmax(1)), "it returns probabilities, not logits."),
            (lambda: logits(256.0), "white is 255, not 256."),
            (lambda: logits(255.0**2), "the pixels are divided twice."),
            (lambda: logits(255.0**2, lambda v: v.softmax(1)), "wrap the layers, not all of it."),
        ],
        "hints": [
            "Give it the layers, the range of the pixels, and what turns these into 0 to 1.",
            "`preprocess=lambda pixels: pixels / 255`, and `high=255`.",
        ],
    },
    "2": {
        "asks": "which of the five methods cannot be used? Its name in quotes.",
        "right": unfit,
        "tried": one_of(METHODS),
        "then": "It weighs maps with places, and a dense network has none.",
        "mistakes": [
            (lambda: "guided backprop", "the doctor finds nothing undefined there."),
            (lambda: "DeepLIFT", "that is a note about black pixels, not a refusal."),
            (lambda: "occlusion", "that is a note about black windows, not a refusal."),
            (lambda: "integrated gradients", "they need a gradient and nothing else."),
        ],
        "hints": [
            "Ask the doctor about each: `nni.diagnose(wrapped, pixels, methods[name])`.",
            "Only one report begins with the word *error*.",
        ],
    },
    "3": {
        "asks": "return the map of one step through the middle of the way.",
        "right": lambda: at(0.5),
        "tried": stepped,
        "then": "These are integrated gradients with n_steps=1.",
        "mistakes": [
            (lambda: at(1.0), "the gradient is taken at x itself; that is gradient × input."),
            (lambda: at(0.5, times=False), "the gradient alone says how steep, not how far."),
            (lambda: at(0.5) / 2, "the whole way is x, not half of it."),
            (lambda: at(0.0), "the gradient is taken at the black picture."),
            (mixed, "each map has the classes of all three pictures in it; give each its own."),
        ],
        "hints": [
            "With x′ = 0 the middle of the way is x / 2, and the way is x.",
            "`nni.Gradient()(model, somewhere, target)` is the gradient at another place.",
        ],
    },
    "4": {
        "asks": "at which value of where is the gap smallest?",
        "right": smallest_gap,
        "tolerance": 0.2,
        "then": "There the sum is right for this picture. Does that make it a better method?",
        "mistakes": [
            (lambda: 0.5, "that is where the slider stands at first."),
            (lambda: 1.0, "the gap is small there, but there is a smaller one."),
            (lambda: 0.0, "there is the largest gap of all."),
        ],
        "hints": [
            "Move *where* slowly, and read the gap below the map.",
            "The gap changes its sign in the lower half of the slider.",
        ],
    },
    "5": {
        "asks": "which method of the table has a perfect score for any network? In quotes.",
        "right": always_on_the_ink,
        "tried": one_of([*(method.title for method in FINALISTS), "Random"]),
        "then": "It is multiplied by the picture, so it is zero wherever the picture is.",
        "mistakes": [
            (lambda: "LRP", "it is high, but not perfect; and it depends on the weights."),
            (lambda: "saliency", "it looks at every pixel, inked or not."),
            (lambda: "guided backprop", "it reaches black pixels too."),
            (lambda: "random", "chance has the lowest score of all."),
        ],
        "hints": [
            "A perfect score is 1: everything lies on the ink.",
            "Whose formula is zero wherever the pixel is zero?",
        ],
    },
    "6": {
        "asks": "which of the four methods needs nothing but scores? Its name in quotes.",
        "right": lambda: nni.Occlusion.title,
        "tried": one_of([method.title for method in FOUR]),
        "then": "It changes the picture and reads the score, again and again.",
        "mistakes": [
            (lambda: "LRP", "it needs every layer and its weights."),
            (lambda: "integrated gradients", "the gradients are on the bank's side."),
            (lambda: "Grad-CAM", "it needs a layer's maps and their gradient."),
        ],
        "hints": [
            "Look at the column *needs*.",
            "Who is content with a model that can be called?",
        ],
    },
}
