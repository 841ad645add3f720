"""The exercises of lesson 07. Students: the answers are computed here, so the fun is elsewhere."""

import torch
from torch import nn
from torch.nn import functional

import nni_widgets as nni

PLACES = {"bar": (slice(5, 8), slice(4, 17)), "gap": (slice(8, 12), slice(4, 11)),
          "tail": (slice(13, 16), slice(20, 27))}  # fmt: skip
SHOWN = [87, 115, 0, 740]
MEAN, SPREAD = 0.1307, 0.3081
PRESETS = {
    kind.__name__: nni.LRP(kind())
    for kind in (nni.EpsilonGammaBox, nni.Thirds, nni.EpsilonPlus, nni.EpsilonPlusFlat,
                 nni.EpsilonAlpha2Beta1, nni.EpsilonAlpha2Beta1Flat)
}  # fmt: skip


def explained(rule):
    """Why the network sees a 3, by this rule at the pixels."""
    model, (x, _) = nni.models.load("digits-resnet"), nni.data.digits("test")[87:88]
    return nni.explain(model, x, nni.LRP({":first": rule, **BELOW}), target=3)


BELOW = {":conv": nni.Gamma(), "*": nni.Epsilon()}


def places_by_gain():
    """The places of the picture, from the largest gain by zᴮ to the smallest."""
    before, after = explained(nni.Gamma()).heatmap(), explained(nni.ZBox()).heatmap()
    gains = {name: float((after - before)[place].sum()) for name, place in PLACES.items()}
    return sorted(gains, key=gains.get, reverse=True)


def normalised(*pixels):
    """What the other network sees in place of these pixels."""
    return [(pixel - MEAN) / SPREAD for pixel in pixels]


class TwoBlocks(nn.Module):
    """y = x + b₁(x), f = 2 (y + b₂(y)), with b₁ = −x / 2 and b₂ = 3 y / 2."""

    def __init__(self):
        super().__init__()
        for name, weight in {"branch1": -0.5, "branch2": 1.5, "fc": 2.0}.items():
            layer = nn.Linear(1, 1, bias=False)
            nn.init.constant_(layer.weight, weight)
            setattr(self, name, layer)

    def forward(self, x):
        y = x + self.branch1(x)
        return self.fc(y + self.branch2(y))


def shares():
    """The relevance of both skips and both branches, by the library."""
    told = nni.explain(TwoBlocks().eval(), torch.tensor([[4.0]]), nni.LRP(nni.Zero()), target=0)
    arrived = {row.label: row.arrived for row in told.flow()}
    sums = [row.arrived for row in told.flow() if row.kind == "add"]
    second, first = arrived["branch2"], arrived["branch1"]
    return [sums[0] - second, second, sums[1] - first, first]


def by_hand(share, keep_branch=True):
    """A try: ``share(skip, branch)`` is the skip's part of what a sum has, 1 less it the branch's.

    Without ``keep_branch`` what the second branch got is not handed on.
    """
    second = share(2.0, 3.0)
    below = 10.0 if keep_branch else 10 * second
    first = share(4.0, -2.0)
    return [10 * second, 10 * (1 - second), below * first, below * (1 - first)]


def in_proportion(skip, branch):
    """The right share."""
    return skip / (skip + branch)


SIGNALS = torch.tensor([[[2.0, 1.0], [0.5, -1.0]], [[-1.0, 3.0], [-2.0, 1.5]]]).double()


def pooled():
    """What went into an average-pooling, and the relevance at its output."""
    generator = torch.Generator().manual_seed(7)
    a = torch.rand(1, 2, 4, 4, generator=generator, dtype=torch.float64)
    return a, functional.avg_pool2d(a, 2) * SIGNALS


def through_the_library():
    """The relevance below that average-pooling."""
    a, _ = pooled()
    head = nn.Linear(8, 1, bias=False).double()
    head.load_state_dict({"weight": SIGNALS.reshape(1, 8)})
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), head).eval()
    return nni.LRP(nni.Zero())(model, a, target=0)


def tried(step):
    """What a student's step gives for the same pooling."""
    a, R = pooled()
    return step(a, R)


def enlarged(signal):
    """Each number copied to all places of its window."""
    return functional.interpolate(signal, scale_factor=2)


def copied_shares():
    """The gradient of the average left out: each place gets all of s."""
    a, R = pooled()
    return a * enlarged(R / functional.avg_pool2d(a, 2))


def equal_shares():
    """Each place of a window gets the same."""
    _, R = pooled()
    return enlarged(R) / 4


def copied_relevance():
    """Each place of a window gets all."""
    _, R = pooled()
    return enlarged(R)


def tiled_shares():
    """The small table laid side by side in place of being enlarged."""
    a, R = pooled()
    return a * (R / functional.avg_pool2d(a, 2)).repeat(1, 1, 2, 2) / 4


def smooth_shares():
    """Enlarged with blends of the neighbours."""
    a, R = pooled()
    s = R / functional.avg_pool2d(a, 2)
    return a * functional.interpolate(s, scale_factor=2, mode="bilinear") / 4


def only_positive():
    """A ReLU on the way back."""
    return through_the_library().clamp(min=0)


def presets_by_gap(pictures):
    """The presets, from the smallest largest gap on these pictures to the largest."""
    model, (x, _) = nni.models.load("digits-resnet"), nni.data.digits("test")[pictures]
    gaps = {name: nni.explain(model, x, method).gap for name, method in PRESETS.items()}
    return sorted(gaps, key=lambda name: float(gaps[name].abs().max()))


EXERCISES = {
    1: {
        "asks": '"bar", "gap" or "tail": which place gains most?',
        "right": lambda: places_by_gain()[0],
        "then": "Black pixels can be evidence: had there been ink, the score would be lower.",
        "mistakes": [
            (lambda: places_by_gain()[-1], "this one even loses: it had to share with others."),
            (lambda: places_by_gain()[1], "hardly: there is ink, and γ had given it its share."),
        ],
        "hints": [
            "The relevance that arrives is almost the same. Who could not get any of it before?",
            "What does γ give to a pixel whose value is 0?",
        ],
    },
    2: {
        "asks": "what black and what white are for that network: two numbers",
        "right": lambda: normalised(0.0, 1.0),
        "then": "The box is that of the data as the network sees them.",
        "mistakes": [
            (lambda: [0.0, 1.0], "this is the box of the pixels before they are changed."),
            (lambda: [-1.0, 1.0], "a common guess, but nobody mapped the pixels to that range."),
            (lambda: [MEAN, SPREAD + MEAN], "you went the other way, back to pixels."),
            (lambda: normalised(1.0, 0.0), "low comes first."),
            (lambda: [-MEAN, 1 - MEAN], "the mean is taken away; what about the division?"),
        ],
        "hints": [
            "A black pixel is 0 in the file. What does the network get in its place?",
            "Put 0 and 1 into the formula.",
        ],
    },
    3: {
        "asks": "relevance of skip₂, branch₂, skip₁, branch₁: four numbers",
        "right": shares,
        "then": "A branch that works against its skip gets a negative share; the sum stays.",
        "mistakes": [
            (
                lambda: [10.0, 10.0, 20.0, 20.0],
                "each got everything, so relevance doubles at every sum. Share it.",
            ),
            (
                lambda: [10.0, 10.0, 10.0, 10.0],
                "each got everything. What two get together must be what there was.",
            ),
            (
                lambda: by_hand(lambda *_: 0.5),
                "half and half is not in proportion to what they contributed.",
            ),
            (
                lambda: by_hand(in_proportion, keep_branch=False),
                "branch₂ starts at y too: what it got comes back to y.",
            ),
            (
                lambda: by_hand(lambda skip, branch: abs(skip) / (abs(skip) + abs(branch))),
                "the contribution of branch₁ is negative: keep its sign, also in the sum.",
            ),
        ],
        "hints": [
            "Forward first: what is y, and what are the two contributions to the second sum?",
            "Both ways of the second block come from y, so y gets what both have: all of it.",
            "At the first sum, 4 and −2 make 2. What share of 2 is each?",
        ],
    },
    4: {
        "asks": "a function that returns the relevance below the pooling",
        "right": through_the_library,
        "then": "An average is a layer whose weights are all 1/4.",
        "tried": tried,
        "mistakes": [
            (copied_shares, "four times too much: an average has the weights 1/4, also backwards."),
            (equal_shares, "each place gets the same; where is what it contributed, a?"),
            (copied_relevance, "each place gets everything that its window has."),
            (tiled_shares, "s is laid side by side; each number belongs to all of its window."),
            (smooth_shares, "s is blended with its neighbours; a window has one number."),
            (only_positive, "relevance may be negative: no ReLU on the way back."),
        ],
        "hints": [
            "Four steps as in any layer: z, s = R / z, back through the weights, times a.",
            "What are the weights of an average over four places?",
            "F.interpolate(s, scale_factor=2) copies each number to the places of its window.",
        ],
    },
    5: {
        "asks": "the name of a preset, in quotes",
        "right": lambda: presets_by_gap(SHOWN)[0],
        "then": "It leaves the biases out of its shares. Does that make it the best? Read on.",
        "mistakes": [
            (lambda: presets_by_gap(SHOWN[:1])[1], "on the first picture, nearly; go on."),
            (lambda: presets_by_gap(SHOWN[:1])[2], "close on the first picture; on the second?"),
            (lambda: presets_by_gap(SHOWN)[1], "better than most, but see all its gaps."),
            (lambda: "EpsilonGammaBox", "this is where you started: look at the gap."),
        ],
        "hints": [
            "The preset stands in the control named rules; the pictures are below the input.",
            "Drop those presets that fail on the second picture. Few are left.",
        ],
    },
}
