"""The exercises of lesson 10. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch.nn import functional as F

import nni_widgets as nni

STROKES = {"bar": np.s_[:12, 12:], "back": np.s_[:15, :12], "belly": np.s_[12:, 12:]}
WINDOWS = torch.tensor([[0, 2, 1, 4], [3, 1, 0, 2], [5, 0, 2, 2], [1, 4, 3, 0.0]])[None]
SIGNALS = torch.tensor([[2, -1], [6, 3.0]])[None]
MAPS = (21, 52, 10, 36)


def digits_cnn():
    """The network of the lesson, and its picture of a 5."""
    return nni.models.load("digits-cnn"), nni.data.digits("test")[8:9][0]


def maps_of(picture):
    """What relu3 says to one of the test pictures: 64 maps."""
    with torch.no_grad():
        return digits_cnn()[0][:8](nni.data.digits("test")[picture : picture + 1][0])[0]


def stroke(channel):
    """The stroke on which most of a map's projection lies, signs left aside."""
    model, x = digits_cnn()
    R = nni.DeconvNet(layer="relu3", channel=channel)(model, x)[0, 0].abs()
    sums = {name: float(R[place].sum()) for name, place in STROKES.items()}
    return max(sums, key=sums.get)


def unpooled(signals=SIGNALS):
    """Signals at the places of the maxima."""
    _, switches = F.max_pool2d(WINDOWS, 2, return_indices=True)
    return F.max_unpool2d(signals, switches, 2)[0]


def upper_left():
    """Signals at the first place of each window."""
    placed = torch.zeros(4, 4)
    placed[::2, ::2] = SIGNALS[0].clamp(min=0)
    return placed


def everywhere(share):
    """Signals at all places of each window."""
    return lambda: F.interpolate(SIGNALS[None].clamp(min=0) * share, scale_factor=2)[0, 0]


def projected(keep):
    """What a student's choice of activations, in map 52, gives by the walk of section 4."""
    model, x = digits_cnn()
    with torch.no_grad():
        switches = []
        for layer in model[:8]:
            if isinstance(layer, torch.nn.MaxPool2d):
                x, places = F.max_pool2d(x, 2, return_indices=True)
                switches.append(places)
            else:
                x = layer(x)
        R = keep(x, 52)
        if R is None:
            return None
        if np.shape(R) != (1, 64, 7, 7):
            raise ValueError(f"keep must return maps of shape (1, 64, 7, 7); got {np.shape(R)}")
        R = torch.as_tensor(R)
        for layer in reversed(model[:8]):
            if isinstance(layer, torch.nn.MaxPool2d):
                R = F.max_unpool2d(R, switches.pop(), 2)
            elif isinstance(layer, torch.nn.ReLU):
                R = R.clamp(min=0)
            else:
                R = F.conv_transpose2d(R, layer.weight, padding=1)
    return R


def library(**what):
    """What the library projects of map 52, or of another choice."""
    return nni.DeconvNet(**{"layer": "relu3", "channel": 52} | what)(*digits_cnn())


def strongest_of_the_map(a, channel):
    """The place of the strongest activation of a map."""
    return (a == a[:, channel].max()) & (torch.arange(a.shape[1]) == channel)[:, None, None]


def one_in_its_place(a, channel):
    """1 in place of the activation."""
    return strongest_of_the_map(a, channel).float()


def others_kept(a, channel):
    """All other maps as they are."""
    others = torch.arange(a.shape[1]) != channel
    return a * (others[:, None, None] | strongest_of_the_map(a, channel))


def ranked(strength):
    """The four strongest maps of the 3, by some measure of strength."""
    return strength(maps_of(18)).topk(4).indices


def silent():
    """The map and the digit of the explorer that do not know each other."""
    pictures, labels = nni.data.digits("test")[[8, 18, 62, 0]]
    with torch.no_grad():
        strength = digits_cnn()[0][:8](pictures).flatten(2).amax(2)[:, list(MAPS)]
    [(row, column)] = (strength == 0).nonzero().tolist()
    return [MAPS[column], int(labels[row])]


EXERCISES = {
    1: {
        "asks": '"bar", "back" or "belly": to which stroke does map 52 answer?',
        "right": lambda: stroke(52),
        "then": "A map is a small picture: where it is dark, its filter has found something.",
        "mistakes": [
            (lambda: stroke(21), "map 21 answers to that one: see where map 52 is dark."),
            (lambda: stroke(10), "map 10 answers to that one: see where map 52 is dark."),
        ],
        "hints": [
            "Lay the 7 × 7 fields over the picture: each field stands for 4 × 4 pixels.",
            "Find the darkest field of map 52, and the stroke at that place.",
        ],
    },
    2: {
        "asks": "a table of 4 × 4 numbers",
        "right": lambda: unpooled().clamp(min=0),
        "then": "Each signal is back where its maximum came from.",
        "mistakes": [
            (unpooled, "unpooled well; now rectify."),
            (upper_left, "look for the largest number of each window, it has a place of its own."),
            (everywhere(1.0), "only the place of the maximum gets the signal."),
            (everywhere(0.25), "the signal is not shared: the place of the maximum gets it all."),
            (
                lambda: unpooled(F.max_pool2d(WINDOWS, 2)),
                "those are the maxima. Put the signals in their places.",
            ),
            (lambda: unpooled(SIGNALS.abs()), "rectify: a negative signal becomes 0."),
        ],
        "hints": [
            "Cut the table into four windows of 2 × 2, and circle the maximum of each.",
            "Twelve of the numbers are 0 before you rectify, one more afterwards.",
        ],
    },
    3: {
        "asks": "a function of a and channel that returns what is kept, shaped like a",
        "right": library,
        "then": "These are the numbers of nni.DeconvNet.",
        "tried": projected,
        "mistakes": [
            (lambda: library(keep="all"), "this keeps the whole map; keep its strongest place."),
            (
                lambda: library(channel=None),
                "this keeps the strongest of all maps; look into the chosen one alone.",
            ),
            (lambda: projected(one_in_its_place), "keep the activation itself, not 1."),
            (lambda: projected(others_kept), "the other maps are still there: set them to 0."),
            (lambda: projected(lambda a, _: a), "this keeps everything."),
        ],
        "hints": [
            "Begin with kept = torch.zeros_like(a), and fill in one number.",
            "a[0, channel] is the map, of shape (7, 7); its .max() is the number.",
            "torch.where(condition, a, 0) keeps a where the condition is true.",
        ],
    },
    4: {
        "asks": "the numbers of four maps, the strongest first",
        "right": lambda: nni.strongest(
            digits_cnn()[0], nni.data.digits("test")[18:19][0], "relu3", k=4
        ),
        "then": "nni.strongest says the same.",
        "mistakes": [
            (lambda: ranked(lambda a: a.sum((1, 2))), "these are the largest sums, not maxima."),
            (
                lambda: ranked(lambda a: a.amax((1, 2))).flip(0),
                "the right maps; begin with the strongest.",
            ),
            (
                lambda: ranked(lambda a: -a.amax((1, 2))),
                "these are the weakest: sort the other way round.",
            ),
            (
                lambda: ranked(lambda a: a.amax((1, 2))).sort().values,
                "the right maps, in the order of their numbers: order them by strength.",
            ),
        ],
        "hints": [
            "The maximum over the last two axes: a.amax((2, 3)).",
            "A tensor has the method .topk(4), whose answer has .indices.",
        ],
    },
    5: {
        "asks": "the number of a map, and a digit: two numbers",
        "right": silent,
        "then": "No place in the picture switches this map on, so there is nothing to project.",
        "mistakes": [
            (
                lambda digit=digit: [silent()[0], digit],
                "the right map; on that digit it does see something.",
            )
            for digit in (5, 3, 7)
        ],
        "hints": [
            "Four maps, four pictures: move through the pictures for each map.",
            "Look for a heatmap that is white all over.",
        ],
    },
}
