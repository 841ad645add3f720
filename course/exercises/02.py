"""The exercises of lesson 02. Students: the answers are computed here, so the fun is elsewhere."""

from functools import cache

import torch

import nni_widgets as nni
from nni_widgets.engine.code_space import code_space

FROM, TO = 13, 17
PIXELS_OF_CODE = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
WEIGHTS = torch.tensor([2.0, 1.0, -1.0])
USUAL_PENALTY, PENALTY = 0.25, 1.0
SEED, PLACES = 2, torch.arange(-4, 4.01, 0.25)


def network_and_generator():
    """The network of the lesson, and its generator."""
    return nni.models.load("digits-cnn"), nni.models.load("digits-dcgan")


def halfway():
    """Whether the network takes the picture of the middle code for one digit."""
    model, generator = network_and_generator()
    z = nni.starts.codes(generator, 40)
    with torch.no_grad():
        p = model(generator((z[FROM] + z[TO])[None] / 2)).softmax(1)
    return "digit" if float(p.max()) > 0.9 else "both"


def summit(penalty=PENALTY, curved=None):
    """Where wᵀAz − λ zᵀCz is largest, with C = I for a penalty on the code."""
    slope = PIXELS_OF_CODE.T @ WEIGHTS
    curved = torch.eye(2) if curved is None else curved
    return torch.linalg.solve(2 * penalty * curved, slope)


def picture_held():
    """The penalty on the pixels that the code makes, not on the code."""
    return summit(curved=PIXELS_OF_CODE.T @ PIXELS_OF_CODE)


def some_codes():
    """Codes of quite different lengths."""
    lengths = torch.tensor([[0.2], [1.0], [3.0]])
    return lengths * torch.randn(3, 64, generator=torch.Generator().manual_seed(2))


def shortened(z, length=8.0):
    """Codes with this length, each in its own direction."""
    return length * z / z.norm(dim=1, keepdim=True)


@cache
def walks():
    """Along each direction the digits that the code of the explorer becomes."""
    model, generator = network_and_generator()
    space = code_space(generator, nni.starts.codes(generator, 512))
    z = nni.starts.codes(generator, 1, seed=SEED)

    def digits_along(number):
        walked = torch.cat([space.moved(z, {number: float(place)}) for place in PLACES])
        with torch.no_grad():
            return model(generator(walked)).argmax(1)

    return torch.stack([digits_along(number) for number in range(len(space.directions))])


def way_to(digit):
    """The direction, counted from 1, along which the code of the explorer becomes this digit."""
    return 1 + int((walks() == digit).sum(1).argmax())


def pale_pictures():
    """Pictures from −1 to 1, none of them white and black, nor all of them together."""
    pictures, _ = nni.data.digits("test")[:3]
    ends = torch.tensor([[-1.0, 0.8], [-1.0, 0.4], [-0.6, 0.8]])
    low, high = ends[:, 0].reshape(3, 1, 1, 1), ends[:, 1].reshape(3, 1, 1, 1)
    return low + (high - low) * pictures


def stretched(t):
    """Each picture from its darkest to its brightest pixel."""
    low, high = t.amin((1, 2, 3), keepdim=True), t.amax((1, 2, 3), keepdim=True)
    return (t - low) / (high - low)


def stretched_together(t):
    """All pictures from the darkest to the brightest pixel of all."""
    return (t - t.min()) / (t.max() - t.min())


EXERCISES = {
    1: {
        "asks": '"both", "noise" or "digit": what is halfway between the codes?',
        "right": halfway,
        "then": "Between two codes lie other codes, and the generator draws each as a digit.",
        "mistakes": [
            (lambda: "both", "that is halfway between the pictures; ask the generator."),
            (lambda: "noise", "the generator has never drawn noise; what has it learnt to draw?"),
        ],
        "hints": [
            "Which pictures can come out of the generator at all?",
            "Run the next cell: look at the middle of the second row.",
        ],
    },
    2: {
        "asks": "the code z₁, z₂ at which the ascent ends: two numbers",
        "right": summit,
        "then": "Four times the penalty, a quarter of the length; the direction stays.",
        "mistakes": [
            (lambda: summit(PENALTY / 2), "the derivative of z² is 2z, so the balance is at 2λz."),
            (lambda: summit(USUAL_PENALTY), "this is the summit above, with the old λ."),
            (picture_held, "this holds the picture ‖g(z)‖²; the penalty is on the code."),
            (lambda: -summit(), "this is where the penalty is added, not subtracted."),
        ],
        "hints": [
            "On the summit the gradient is zero: what do logit and penalty add to it?",
            "The logit's part is the same everywhere, (3, −1). The penalty's part is −2λz.",
        ],
    },
    3: {
        "asks": "a function that returns each code (N, 64) with the length 8",
        "right": lambda: shortened(some_codes()),
        "then": "Now use it: imagine(model, generator, start, inside=on_the_shell).",
        "tried": lambda put: put(some_codes()),
        "tolerance": 0.001,
        "mistakes": [
            (some_codes, "each code is as long as it was."),
            (lambda: 8 * some_codes(), "each code is 8 times as long now; how long was it?"),
            (lambda: shortened(some_codes(), 1.0), "each code has the length 1 now."),
            (lambda: shortened(some_codes(), 64.0), "64 is the square of the length."),
            (
                lambda: 8 * some_codes() / some_codes().norm(),
                "that is the length of all codes together; each has its own: dim=1.",
            ),
            (
                lambda: 8 * some_codes() / some_codes().norm(dim=0, keepdim=True),
                "that is a length across the codes; each code has its own: dim=1.",
            ),
            (
                lambda: 8 * some_codes() / some_codes().square().sum(1, keepdim=True),
                "divide by the length, which is the root of the sum of squares.",
            ),
            (
                lambda: some_codes().clamp(-1, 1),
                "this is a cube: it holds each number, not the length of the code.",
            ),
        ],
        "hints": [
            "Divide each code by its own length. What length has it then?",
            "z.norm(dim=1, keepdim=True) has the lengths of all codes, shape (N, 1).",
        ],
    },
    4: {
        "asks": "the number of a direction, from 1 to 8",
        "right": lambda: way_to(6),
        "then": "Nobody has told the generator of such a direction: it is how its codes lie.",
        "mistakes": [
            (lambda: way_to(1), "this one leads to a 1."),
            (lambda: way_to(2), "this one leads to a 2."),
            (lambda: way_to(4), "this one leads to a 4."),
            (lambda: way_to(7), "this one leads to a 7."),
            (lambda: way_to(8), "this one leads to an 8."),
        ],
        "hints": [
            "Press Reset between two directions, so that only one slider has moved.",
            "Move each slider to both of its ends, and watch the bar of 6.",
        ],
    },
    5: {
        "asks": "a function that maps pictures from −1 … 1 to 0 … 1",
        "right": lambda: (pale_pictures() + 1) / 2,
        "then": "Black stays black and grey stays grey, whatever else is in the picture.",
        "tried": lambda fit: fit(pale_pictures()),
        "mistakes": [
            (pale_pictures, "this changes nothing: black is still −1."),
            (lambda: pale_pictures().clamp(0, 1), "all that is below 0 has become black."),
            (
                lambda: stretched(pale_pictures()),
                "each picture is stretched to its own ends: a grey one becomes white.",
            ),
            (
                lambda: stretched_together(pale_pictures()),
                "this depends on which other pictures there are: a grey one may become white.",
            ),
            (
                lambda: pale_pictures().sigmoid(),
                "a sigmoid reaches 0 and 1 nowhere: black is grey now.",
            ),
            (lambda: (1 - pale_pictures()) / 2, "black and white have changed places."),
            (lambda: pale_pictures().abs(), "black has become white: −1 must become 0."),
            (lambda: pale_pictures() + 1, "white is 2 now."),
            (lambda: pale_pictures() / 2, "black is −½ now."),
        ],
        "hints": [
            "Where must −1 go, where 1, and where 0?",
            "Shift first, then shrink; the same for all pixels of all pictures.",
        ],
    },
}
