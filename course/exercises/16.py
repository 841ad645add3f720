"""The exercises of lesson 16. Students: the answers are computed here, so the fun is elsewhere."""

import torch
from torch import nn
from torch.nn import functional

import nni_widgets as nni

METHODS = {"A": nni.Sensitivity(), "B": nni.GradientTimesInput(), "C": nni.DeepTaylor()}
SHIFTS = [shift for shift in range(-8, 9) if shift]


def subject():
    """The network of the lesson, and its picture of a 4."""
    return nni.models.load("digits-cnn-designed"), nni.data.digits("test")[116:117][0]


def scaled(R):
    """A map divided by the sum of its absolute values."""
    return R / R.abs().sum()


def slid(x, across, down=0):
    """A picture or map moved by whole pixels; black moves in."""
    return functional.pad(x, (across, -across, down, -down))


def by_noise():
    """How much of each map of the lesson's first pair changes."""
    model, x = subject()
    noise = 0.02 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(16)) - 1)
    pair = x, (x + noise).clamp(0, 1)
    changes = {}
    for name, method in METHODS.items():
        before, after = (method(model, each, target=4) for each in pair)
        changes[name] = float((after - before).abs().sum() / before.abs().sum())
    return changes


def by_change(place):
    """The letter of the method at this place, the one that changes most at place 0."""
    changes = by_noise()
    return sorted(changes, key=changes.get, reverse=True)[place]


def larger_of_two():
    """The network of section 3, which computes the larger of two numbers that are not negative."""
    first, second = nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]))
        second.weight.fill_(0.5)
    return nn.Sequential(first, nn.ReLU(), second).eval()


def at_1_3(method):
    """What a method says of both inputs at (1, 3)."""
    return method(larger_of_two(), torch.tensor([[1.0, 3.0]]), target=0)[0]


def sum_in_halves():
    """The relevance of h₃ given in equal parts, that of h₂ to x₂."""
    _, R_2, R_3 = 0.5 * torch.tensor([0.0, 2.0, 4.0])
    return [R_3 / 2, R_2 + R_3 / 2]


def only_the_sum():
    """The relevance of h₃ alone."""
    R_3 = 0.5 * 4
    return [R_3 * 1 / 4, R_3 * 3 / 4]


def neighbours():
    """The map of the lesson's picture, and those of the noisy ones of max-sensitivity."""
    model, x = subject()
    others = []

    def watched(model, pictures, target):
        R = METHODS["B"](model, pictures, target)
        others.extend(R[(pictures != x).flatten(1).any(dim=1)])
        return R

    measured = nni.MaxSensitivity()(model, x, watched, target=4)
    return METHODS["B"](model, x, target=4)[0], others, float(measured)


def tried(function):
    """What a student's function makes of these maps."""
    R, others, _ = neighbours()
    return function(R, others)


def changes(norm, of=None):
    """The size of each change, divided by that of the map or of something else."""
    R, others, _ = neighbours()
    return [float(norm(other - R) / (norm(R) if of is None else of(other))) for other in others]


def length(R):
    """Root of the sum of squares."""
    return R.norm()


def total(R):
    """Sum of the absolute values."""
    return R.abs().sum()


def of_the_lengths():
    """The largest difference of the maps' lengths."""
    R, others, _ = neighbours()
    return max(abs(float(other.norm() / R.norm()) - 1) for other in others)


def by_shift(name, each_by_its_own=False, down=False):
    """For each shift the change of the map, as a part of its sum, per change of the picture."""
    model, x = subject()
    method = METHODS[name]
    R, ratios = method(model, x, target=4), {}
    for shift in SHIFTS:
        other = slid(x, 0, shift) if down else slid(x, shift)
        after = method(model, other, target=4)
        after = scaled(after) if each_by_its_own else after / R.abs().sum()
        ratios[shift] = float((after - scaled(R)).abs().sum() / (other - x).norm())
    return ratios


def farthest(name, **how):
    """The shift with the largest of these ratios."""
    ratios = by_shift(name, **how)
    return max(ratios, key=ratios.get)


def both(**how):
    """These shifts for sensitivity and for deep Taylor."""
    return lambda: [farthest("A", **how), farthest("C", **how)]


def moved_back(back=-1, divided=True):
    """How much of each map's change under a slide by one pixel remains when it is slid too."""
    model, x = subject()
    remains = []
    for name in ("A", "C"):
        maps = (METHODS[name](model, each, target=4) for each in (x, slid(x, 1)))
        before, after = map(scaled, maps) if divided else maps
        remains.append(float((slid(after, back) - before).abs().sum()))
    return remains


def per_change():
    """What remains, divided by the change of the picture."""
    _, x = subject()
    return [each / float((slid(x, 1) - x).norm()) for each in moved_back()]


EXERCISES = {
    1: {
        "asks": '"A", "B" or "C": which map changes most under weak noise?',
        "right": lambda: by_change(0),
        "then": "The logit did not move, and this map did.",
        "mistakes": [
            (lambda: by_change(1), "it changes, but another one changes more."),
            (lambda: by_change(2), "look again: its two maps can hardly be told apart."),
        ],
        "hints": [
            "A ReLU is on or off. What can a tiny change of the picture do to it?",
            "Which of the three knows only whether units are on, and which also how much?",
        ],
    },
    2: {
        "asks": "the relevance of x₁ and of x₂ at (1, 3): two numbers",
        "right": lambda: at_1_3(nni.LRP(nni.ZPlus())),
        "then": "Both count, and they sum to f. The smaller one counts, too: it feeds the sum h₃.",
        "mistakes": [
            (
                lambda: at_1_3(nni.LRP(nni.Zero())),
                "this is LRP-0 (or gradient × input): z⁺ shares among positive contributions only.",
            ),
            (lambda: at_1_3(nni.Gradient()), "this is the gradient; relevance sums to f."),
            (sum_in_halves, "h₃ does not give halves: its inputs contributed 1 and 3."),
            (only_the_sum, "the relevance of h₂ is missing."),
            (lambda: at_1_3(nni.LRP(nni.ZPlus())).flip(0), "x₁ and x₂ have changed places."),
        ],
        "hints": [
            "First forward: h₁ = 0, h₂ = 2, h₃ = 4. What is f, and what is the share of each?",
            "h₂ = x₂ − x₁. Which of its two inputs contributes something positive?",
        ],
    },
    3: {
        "asks": "a function of R and others that returns one number",
        "right": lambda: neighbours()[2],
        "then": "This is the number of nni.MaxSensitivity.",
        "tried": tried,
        "mistakes": [
            (
                lambda: sum(changes(length)) / len(changes(length)),
                "this is the mean of all changes; take the largest.",
            ),
            (lambda: max(changes(total)), "this is ‖·‖₁; here the length is asked for, ‖·‖₂."),
            (
                lambda: max(changes(length, of=lambda _: 1)),
                "this has the unit of the map: divide by the length of R.",
            ),
            (
                lambda: max(changes(length, of=length)),
                "each is divided by its own length; divide by that of R.",
            ),
            (lambda: min(changes(length)), "this is the smallest change."),
            (
                lambda: max(changes(lambda R: R.square().sum())),
                "these are sums of squares; a length is the root of one.",
            ),
            (of_the_lengths, "two maps of one length can differ: take the length of R(x′) − R(x)."),
        ],
        "hints": [
            "R.norm() is the length of a map.",
            "One number for each map of others, and of these the largest: max(... for ...).",
        ],
    },
    4: {
        "asks": "two shifts: where sensitivity, and where deep Taylor, changes most",
        "right": both(),
        "then": "A map that jumps gives itself away at the nearest neighbour.",
        "mistakes": [
            (
                both(each_by_its_own=True),
                "divide both maps by one sum, that of the picture at rest.",
            ),
            (both(down=True), "this is the slide down; slide across."),
            (lambda: both()()[::-1], "sensitivity comes first."),
            (
                lambda: [max(by_shift(name).values()) for name in ("A", "C")],
                "these are the largest ratios; asked for are the shifts that have them.",
            ),
        ],
        "hints": [
            "Choose Continuity, press All shifts.",
            "The table beside the bars has a column that says at which shift the largest is.",
        ],
    },
    5: {
        "asks": "what remains of the change of sensitivity, and of deep Taylor: two numbers",
        "right": moved_back,
        "then": "Deep Taylor's map had moved along with the digit; that is no fault.",
        "mistakes": [
            (
                lambda: moved_back(back=0),
                "nothing is moved back yet: these are the changes of old.",
            ),
            (lambda: moved_back(back=1), "it is moved on: back is the other way."),
            (lambda: moved_back(divided=False), "divide the maps by their sums: use shares."),
            (lambda: moved_back()[::-1], "sensitivity comes first."),
            (per_change, "this is divided by the change of the picture; take the sum alone."),
            (
                lambda: [0, 0],
                "the picture is moved back before it is explained; explain it, then move the map.",
            ),
        ],
        "hints": [
            "slid(R, -1) moves a map back by a pixel.",
            "For each method: shares of x, shares of slid(x, 1) moved back, and the distance.",
        ],
    },
}
