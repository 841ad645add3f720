"""The exercises of lesson 09. Students: the answers are computed here, so the fun is elsewhere."""

import functools

import torch
from torch import nn

import nni_widgets as nni

DIGITS = nni.data.digits("test")
RESCALE = functools.partial(nni.DeepLIFT, conv="rescale", dense="rescale")

AT, BEFORE = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.5, 0.0]])
UNITS = ((0.5, 2.0, -3.0), (-1.0, 3.0, -1.5), (1.0, 1.0, -2.5))


def dense(weights, bias):
    """A dense layer with these numbers."""
    layer = nn.Linear(len(weights[0]), len(weights))
    layer.load_state_dict({"weight": torch.tensor(weights), "bias": torch.tensor(bias)})
    return layer


def lamp():
    """The lamp of section 1: f = 1 − ReLU(1 − x₁ − x₂)."""
    return nn.Sequential(dense([[-1.0, -1.0]], [1.0]), nn.ReLU(), dense([[-1.0]], [1.0])).eval()


def contributions(reference):
    """What both switches contribute, compared with a reference."""
    return RESCALE(reference=reference)(lamp(), AT, target=0)[0]


def secant():
    """Δh / Δz of the lamp's hidden unit."""
    z, z_before = (1 - switches.sum() for switches in (AT, BEFORE))
    return (z.clamp(min=0) - z_before.clamp(min=0)) / (z - z_before)


def upside_down():
    """Δz / Δh in place of Δh / Δz."""
    return (AT - BEFORE)[0] / secant()


def relu(z):
    """ReLU of a number."""
    return max(z, 0.0)


def multipliers_of_units():
    """m⁺ and m⁻ of each unit, from the library: contributions divided by the changes."""
    made = []
    for z_before, up, down in UNITS:
        unit = nn.Sequential(dense([[1.0, 1.0]], [z_before]), nn.ReLU()).eval()
        changes = torch.tensor([[up, down]])
        method = nni.DeepLIFT(dense="reveal-cancel", reference=0.0)
        made.append((method(unit, changes, target=0) / changes)[0].tolist())
    return made


def tried(rule):
    """What a student's rule gives for the same units."""
    made = [rule(*unit) for unit in UNITS]
    return None if made[0] is None else [list(map(float, both)) for both in made]


def changes_made(z_before, up, down):
    """Δy⁺ and Δy⁻, each the mean of both orders."""
    both, start = relu(z_before + up + down), relu(z_before)
    up_alone, down_alone = relu(z_before + up), relu(z_before + down)
    return (up_alone - start + both - down_alone) / 2, (down_alone - start + both - up_alone) / 2


def not_divided(z_before, up, down):
    """The contributions themselves."""
    return changes_made(z_before, up, down)


def second_inverted(z_before, up, down):
    """m⁻ = Δ⁻ / Δy⁻."""
    by_up, by_down = changes_made(z_before, up, down)
    return by_up / up, down / by_down


def rescaled(z_before, up, down):
    """One multiplier for the whole change: the Rescale rule."""
    whole = (relu(z_before + up + down) - relu(z_before)) / (up + down)
    return whole, whole


def one_order(z_before, up, down):
    """Each change as if it came first."""
    start = relu(z_before)
    return (relu(z_before + up) - start) / up, (relu(z_before + down) - start) / down


def other_order(z_before, up, down):
    """Each change as if it came second."""
    both = relu(z_before + up + down)
    return (both - relu(z_before + down)) / up, (both - relu(z_before + up)) / down


def minus_always_first(z_before, up, down):
    """Δ⁻ comes first and Δ⁺ second, without the other order."""
    down_alone, both = relu(z_before + down), relu(z_before + up + down)
    return (both - down_alone) / up, (down_alone - relu(z_before)) / down


def both_orders(z_before, up, down):
    """The sum of both orders."""
    return tuple(2 * m for m in averaged(z_before, up, down))


def plus_always_first(z_before, up, down):
    """Δ⁺ comes first and Δ⁻ second, without the other order."""
    up_alone, both = relu(z_before + up), relu(z_before + up + down)
    return (up_alone - relu(z_before)) / up, (both - up_alone) / down


def averaged(z_before, up, down):
    """The right multipliers, if the unit starts there."""
    by_up, by_down = changes_made(z_before, up, down)
    return by_up / up, by_down / down


def a_digit_of_each_class():
    """The ten references of section 6."""
    return torch.cat([DIGITS.of(k) for k in range(10)])


def four_against(reference):
    """The attribution of the lesson's 4, compared with a reference."""
    x, _ = DIGITS[2771:2772]
    return RESCALE(reference=reference)(nni.models.load("digits-cnn-designed"), x, target=4)


def score_changes():
    """By how much each logit is larger for the 4 than for the 9."""
    pictures, _ = DIGITS[[2771, 1788]]
    with torch.no_grad():
        four, nine = nni.models.load("digits-cnn-designed")(pictures)
    return four, four - nine


EXERCISES = {
    1: {
        "asks": "what x₁ and x₂ contribute: two numbers",
        "right": lambda: contributions(BEFORE),
        "then": "They add up to f(x) − f(x′), although the gradient at x is zero.",
        "mistakes": [
            (lambda: [0.0, 0.0], "the unit is off at x, but it was on at the reference: use Δ."),
            (lambda: [secant()] * 2, "these are multipliers: multiply each by its own Δx."),
            (lambda: secant() * AT[0], "multiply by the difference, not by the input itself."),
            (lambda: contributions(0.0), "this compares with the dark room."),
            (
                lambda: contributions(BEFORE).mean().expand(2),
                "the sum is right, but the two have not moved equally far.",
            ),
            (upside_down, "the multiplier is Δh / Δz, this has it upside down."),
        ],
        "hints": [
            "Five differences: Δx₁, Δx₂, Δz, Δh, Δf. Begin with z at x and at the reference.",
            "The multiplier of the ReLU is Δh / Δz. On both sides of it, multiply by the weights.",
            "The weights are −1 before the ReLU and −1 behind it, so their product is 1.",
        ],
    },
    2: {
        "asks": "a function that returns the multipliers m⁺ and m⁻ of one ReLU",
        "right": multipliers_of_units,
        "then": "These are the numbers of RevealCancel in nni.DeepLIFT.",
        "tried": tried,
        "mistakes": [
            (lambda: tried(not_divided), "these are Δy⁺ and Δy⁻: divide each by its own change."),
            (lambda: tried(second_inverted), "m⁺ is right, m⁻ is upside down."),
            (lambda: tried(rescaled), "this is Rescale: it asks the sum Δ⁺ + Δ⁻ only."),
            (lambda: tried(one_order), "each change comes first here. When does it come second?"),
            (lambda: tried(other_order), "each change comes second here. When does it come first?"),
            (lambda: tried(plus_always_first), "this is one order; take the mean of both orders."),
            (lambda: tried(minus_always_first), "this is one order; take the mean of both orders."),
            (lambda: tried(both_orders), "this is the sum of both orders; take their mean."),
            (
                lambda: tried(lambda _, *parts: averaged(0.0, *parts)),
                "a unit starts at z_before, not at 0.",
            ),
        ],
        "hints": [
            "First Δy⁺: what does `up` change if it comes first? And if `down` was there already?",
            "The mean of both is Δy⁺. Then exchange the parts of `up` and `down` for Δy⁻.",
            "m⁺ = Δy⁺ / up, and m⁻ = Δy⁻ / down.",
        ],
    },
    3: {
        "asks": "an attribution for 4, compared with all ten references",
        "right": lambda: four_against(nni.Several(of=a_digit_of_each_class())),
        "then": "The gap speaks again, but less loudly. Against their mean it is another map.",
        "tried": lambda answer: getattr(answer, "attribution", answer),
        "mistakes": [
            (
                lambda: four_against(a_digit_of_each_class().mean(0, keepdim=True)),
                "this compares once, with the mean picture: compare ten times, then average.",
            ),
            (
                lambda: 10 * four_against(nni.Several(of=a_digit_of_each_class())),
                "this is the sum of the ten attributions; take their mean.",
            ),
            (lambda: four_against(0.0), "this compares with black."),
        ],
        "hints": [
            "The reference of against(...) may be a list of pictures, or nni.Several(of=pictures).",
            "`ten` has the shape (10, 1, 28, 28): nni.Several(of=ten) makes ten references of it.",
        ],
    },
    4: {
        "asks": "a class from 0 to 9",
        "right": lambda: int(score_changes()[1].argmax()),
        "then": "Its logit is still below zero: ΣR tells the change, not the score.",
        "mistakes": [
            (
                lambda: int(score_changes()[0].argmax()),
                "4 has the largest score, but another class gains more. Read ΣR.",
            ),
            (lambda: int(score_changes()[1].argmin()), "this class loses most."),
        ],
        "hints": [
            "Below the map stands ΣR, which is f(x) − f(x′), for the class in the list 'explain'.",
            "Do not stop at the classes that come to mind: try all ten.",
        ],
    },
}
