"""The exercises of lesson 11. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

TOP, CROSSING, LEFT = (1, 10), (13, 11), (8, 5)
OPENING = np.s_[3:9, 12:18]
FILLS = {"black": 0.0, "white": 1.0, "mean": "mean", "blur": "blur"}
WINDOW, CORNER = 3, (1, 2)


def model_and(place):
    """The network of the lesson, and one picture."""
    return nni.models.load("digits-cnn"), nni.data.digits("test")[place : place + 1][0]


def read(corner):
    """What the network reads when a black square covers the 9 there."""
    model, x = model_and(62)
    with torch.no_grad():
        return int(model(nni.Occlusion(window=7).cover(x, *corner)).argmax())


class Line(nn.Module):
    """The score of exercise 11.2: x₁ x₃ + 2 x₂."""

    def forward(self, x):
        return x[:, :1] * x[:, 2:3] + 2 * x[:, 1:2]


NUMBERS = torch.tensor([[3.0, 1.0, 2.0, 0.0]])


def by_pencil(window=2):
    """The attribution of four pixels in a line."""
    return nni.Occlusion(window=window, stride=1)(Line().eval(), NUMBERS, target=0)[0]


HOW_OFTEN = torch.tensor([1.0, 2.0, 2.0, 1.0])


def colours():
    """Two small pictures, one bluish, one reddish."""
    light = torch.tensor([[0.2, 0.6, 1.0], [0.9, 0.5, 0.1]])[:, :, None, None]
    return light * torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(11))


def tried(cover):
    """What a student's function makes of them, and what has become of the pictures themselves."""
    x = colours()
    covered = cover(x, *CORNER, WINDOW)
    if covered is None:
        return None
    if np.shape(covered) != x.shape:
        raise ValueError(f"cover must return pictures of shape {tuple(x.shape)}, as it gets them")
    return torch.stack([torch.as_tensor(covered), x])


def covered(colour, channels=slice(None), corner=CORNER, in_place=False):
    """The pictures with a square of this colour, and the pictures."""
    x = colours()
    made = x if in_place else x.clone()
    top, left = corner
    rows, columns = slice(top, top + WINDOW), slice(left, left + WINDOW)
    made[:, channels, rows, columns] = colour[:, channels]
    return torch.stack([made, x])


def mean_of(*axes):
    """The mean of the pictures over these axes, as a colour."""
    return colours().mean(axes, keepdim=True).expand(2, 3, 1, 1)


def mean_of_the_square():
    """The mean colour of what is covered."""
    top, left = CORNER
    square = colours()[:, :, top : top + WINDOW, left : left + WINDOW]
    return square.mean((2, 3), keepdim=True)


def by_the_library():
    """The pictures with a square of each picture's own mean colour, and the pictures."""
    x = colours()
    return torch.stack([nni.Occlusion(window=WINDOW, stride=1, fill="mean").cover(x, *CORNER), x])


def telling_fill(rank=0):
    """The fill with which covering the opening of the 4 raises 9 the most, or the next one."""
    model, x = model_and(4)

    def mean_fall(name):
        method = nni.Occlusion(window=4, stride=2, fill=FILLS[name])
        return float(nni.explain(model, x, method, target=9).heatmap()[OPENING].mean())

    return sorted(FILLS, key=mean_fall)[rank]


def probability_of_9(logits):
    """The score of the paper: how sure the network is of the right class."""
    return logits.softmax(1)[:, 9]


def as_in_the_paper(window=7, stride=1, fill="mean", target=probability_of_9):
    """The attribution of exercise 11.5, or of a mistake."""
    method = nni.Occlusion(window=window, stride=stride, fill=fill)
    return method(*model_and(62), target=target)


EXERCISES = {
    1: {
        "asks": "4, 5 or 7: what does the network read when the top of the 9 is covered?",
        "right": lambda: read(TOP),
        "then": "Without its top the loop is open, and you would read the same.",
        "mistakes": [
            (lambda: read(CROSSING), "that is what it reads when the crossing is covered."),
            (lambda: read(LEFT), "that is what it reads when the left side is covered."),
        ],
        "hints": [
            "Hold your thumb over the top of the 9. What is left?",
            "Run the cell that covers four places and reads again.",
        ],
    },
    2: {
        "asks": "what each of the four pixels gets: four numbers",
        "right": by_pencil,
        "then": "x₄ is black and does not occur in f. It gets something: it sits beside x₃.",
        "mistakes": [
            (
                lambda: by_pencil() * HOW_OFTEN,
                "a pixel in two windows gets the mean of both falls, not the sum.",
            ),
            (
                lambda: float(Line()(NUMBERS)) - by_pencil(),
                "these are scores of covered pictures; the fall is f(x) minus that.",
            ),
            (lambda: by_pencil(window=1), "the windows cover two pixels each."),
        ],
        "hints": [
            "f(x) is 8. There are three windows: x₁ and x₂, x₂ and x₃, x₃ and x₄.",
            "Covered pixels become 0. What is f then, and how far has it fallen?",
            "x₁ and x₄ are in one window each, x₂ and x₃ in two: take the mean there.",
        ],
    },
    3: {
        "asks": "a function that covers a square of each picture with the picture's mean colour",
        "right": by_the_library,
        "then": "It covers all channels, each picture with its own colour, and leaves x alone.",
        "tried": tried,
        "mistakes": [
            (
                lambda: covered(mean_of(2, 3), in_place=True),
                "the square is right, but x itself has changed: work on x.clone().",
            ),
            (
                lambda: covered(mean_of(2, 3), channels=slice(1)),
                "only the first channel is covered: the others still show what is there.",
            ),
            (
                lambda: covered(mean_of(1, 2, 3)),
                "a mean colour has one number for each channel, not one for all.",
            ),
            (
                lambda: covered(mean_of(0, 2, 3)),
                "each picture has a mean of its own; this is the mean of all pictures.",
            ),
            (
                lambda: covered(mean_of(0, 1, 2, 3)),
                "this is one mean for all: of all pictures and of all channels.",
            ),
            (
                lambda: covered(mean_of_the_square()),
                "this is the mean of the square alone; take that of the whole picture.",
            ),
            (lambda: covered(torch.zeros(2, 3, 1, 1)), "this square is black."),
            (
                lambda: covered(torch.full((2, 3, 1, 1), 0.5)),
                "this square is grey, as the paper's.",
            ),
            (lambda: torch.stack([colours(), colours()]), "nothing is covered."),
            (
                lambda: covered(mean_of(2, 3), corner=CORNER[::-1]),
                "rows come before columns: top belongs to the axis before the last.",
            ),
        ],
        "hints": [
            "Begin with covered = x.clone(), and return it at the end.",
            "x.mean((2, 3), keepdim=True) has the shape (N, C, 1, 1): one colour per picture.",
            "covered[:, :, top : top + window, left : left + window] = ...",
        ],
    },
    4: {
        "asks": '"black", "white", "mean" or "blur": which fill shows that the opening matters?',
        "right": telling_fill,
        "then": "It does not hide the opening, it fills it: with a lid the 4 would be a 9.",
        "mistakes": [
            (lambda: "black", "the opening is black already: this hides nothing."),
            (lambda: telling_fill(1), "a trace of it can be seen, but another fill shows more."),
            (lambda: telling_fill(2), "a trace of it can be seen, but another fill shows more."),
        ],
        "hints": [
            "A pixel can matter by being dark. What would have to be there to change the answer?",
            "Choose Constant as the fill, and move its value from 0 to 1.",
        ],
    },
    5: {
        "asks": "how far the probability of 9 falls, as a map shaped like the picture",
        "right": as_in_the_paper,
        "then": "It is narrower than that of the logit: what costs little no longer shows.",
        "tried": lambda answer: getattr(answer, "attribution", answer),
        "tolerance": 0.02,
        "mistakes": [
            (lambda: as_in_the_paper(target=9), "this is the fall of the logit."),
            (lambda: as_in_the_paper(fill=0.0), "this covers with black, not with the mean."),
            (lambda: as_in_the_paper(fill=0.5), "this covers with grey, not with the mean."),
            (lambda: as_in_the_paper(stride=2), "the window moves by one pixel: stride=1."),
            (lambda: as_in_the_paper(window=4), "this window has a side of 4, not 7."),
        ],
        "hints": [
            "A target may be a function of the logits: they have the shape (N, 10).",
            "logits.softmax(1)[:, 9] is the probability of 9.",
            "nni.Occlusion has a window, a stride and a fill.",
        ],
    },
}
