"""The exercises of lesson 17. Students: the answers are computed here, so the fun is elsewhere."""

from functools import cache

import torch
from torch import nn

import nni_widgets as nni

PATCH, ACROSS, PATCHES = 4, 7, 4
PLAYERS = (nni.LRP(), nni.GradientTimesInput(), nni.Occlusion(), nni.Sensitivity())
BLUR = nni.Selectivity(n_steps=16, fill="blur")


@cache
def digits_cnn():
    """The network of the lesson, its hundred pictures with their trace of noise, their classes."""
    pictures, labels = nni.data.digits("test")[:100]
    noise = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(17))
    return nni.models.load("digits-cnn"), 0.99 * pictures + 0.01 * noise, labels


def curve(model, x, method, target, measure):
    """The score of the first picture after each step."""
    made = nni.compare(model, x, {"it": method}, {"so": measure}, target=target)
    return made.curves["it", "so"][1][0]


def after_five(method):
    """What becomes of the score of the 3 without the five patches that a method marks."""
    model, pictures, _ = digits_cnn()
    scores = curve(model, pictures[18:19], method, 3, nni.Selectivity())
    change = float(scores[5] - scores[0])
    return "stays" if abs(change) <= 1 else "rises" if change > 0 else "falls"


class Line(nn.Module):
    """The score of section 3: x₁ x₂ + x₁ + x₃ − x₄."""

    def forward(self, x):
        return (x[:, 0] * x[:, 1] + x[:, 0] + x[:, 2] - x[:, 3])[:, None]


NUMBERS = torch.tensor([[2.0, 2.0, 3.0, 1.0]])


def pencil(again=True, method=None):
    """The five scores while the four numbers are taken away, and the area below them."""
    measure = nni.Selectivity(patch=1, again=again)
    scores = curve(Line().eval(), NUMBERS, method or nni.GradientTimesInput(), 0, measure)
    return torch.cat([scores, torch.trapezoid(scores, dx=0.25)[None]])


def x_4_before_x_2():
    """The scores and the area if, in the end, 0 goes after a number that speaks against."""
    places = torch.tensor([0, 2, 3, 1])
    scores = Line()(torch.stack([NUMBERS[0].index_fill(0, places[:n], 0) for n in range(5)]))[:, 0]
    return torch.cat([scores, torch.trapezoid(scores, dx=0.25)[None]])


def with_area(area):
    """The right scores with another area."""
    scores = pencil()[:5]
    return torch.cat([scores, area(scores)[None]])


def against_first(model, x, target):
    """Gradient × input with its sign turned."""
    return -nni.GradientTimesInput()(model, x, target)


def puzzle():
    """Five numbers, what stands in for them, a map, and a score in which some act together."""
    x = torch.tensor([0.5, 2.0, -1.0, 3.0, 1.5])
    empty, R = torch.tensor([0.2, -0.4, 0.3, 0.1, -0.2]), torch.tensor([0.3, -2.5, 1.5, 2.0, -0.4])

    def f(rows):
        first, second, third, fourth, fifth = rows.double().unbind(1)
        return first * fourth + second.square() - 2 * third + third * fourth - 0.7 * fifth

    return f, x, R, empty


def tried(insertion):
    """What a student's function makes of them."""
    return insertion(*(part.clone() if torch.is_tensor(part) else part for part in puzzle()))


def by_the_library(R=None, empty=None):
    """The curve of nni.Insertion."""
    f, x, usual_R, usual_empty = puzzle()

    class Score(nn.Module):
        def forward(self, rows):
            return f(rows)[:, None].to(rows)

    nothing = usual_empty if empty is None else empty
    measure = nni.Insertion(patch=1, n_steps=0, fill=nni.Constant(nothing), of="logit")
    relevance = usual_R if R is None else R
    return curve(Score().eval(), x[None], relevance[None], 0, measure)


def mistaken(relevance):
    """The curve of the library in the order of another map."""
    return lambda: by_the_library(R=relevance(puzzle()[2]))


def deleted():
    """The curve from everything to nothing."""
    f, x, R, empty = puzzle()
    rank = R.argsort(descending=True).argsort()
    return f(torch.stack([torch.where(rank < count, empty, x) for count in range(len(x) + 1)]))


def one_at_a_time():
    """The curve if each number is taken out again before the next."""
    f, x, R, empty = puzzle()
    rank = R.argsort(descending=True).argsort()
    return f(torch.stack([torch.where(rank == count - 1, x, empty) for count in range(len(x) + 1)]))


@cache
def nine():
    """The network, the 9 of the game, and the lowest score that a method gets with its patches."""
    model, pictures, _ = digits_cnn()
    x = pictures[7:8]
    scores = [curve(model, x, method, 9, nni.Selectivity()) for method in PLAYERS]
    return model, x, min(float(each[PATCHES]) for each in scores)


@torch.no_grad()
def left_without(patches):
    """The score of the 9 without these patches."""
    model, x, _ = nine()
    left = x.clone()
    for row, column in patches:
        rows, columns = (slice(PATCH * at, PATCH * at + PATCH) for at in (row, column))
        left[..., rows, columns] = 0
    return float(model(left)[0, 9])


def judged(patches):
    """A word for how good a student's patches are."""
    try:
        places = {(int(row), int(column)) for row, column in patches}
    except (TypeError, ValueError):
        return "no places"
    if len(places) != PATCHES:
        return "another number"
    if any(not 0 <= at < ACROSS for place in places for at in place):
        return "off the board"
    return "lower" if left_without(places) < nine()[2] else "not lower"


def greedy(count):
    """Patches chosen one by one, each so that the score is lowest."""
    board = [(row, column) for row in range(ACROSS) for column in range(ACROSS)]
    taken = []
    for _ in range(count):
        taken.append(min(board, key=lambda patch: left_without([*taken, patch])))
    return taken


@cache
def areas(measure, method):
    """The area of each of the hundred pictures."""
    model, pictures, labels = digits_cnn()
    return measure(model, pictures, method, labels)


def three_numbers(found):
    """Mean, low and high of an interval, or what a student gave."""
    return [found.mean, found.low, found.high] if hasattr(found, "low") else found


def difference(measure=BLUR, count=100, turned=False):
    """The mean of LRP − gradient × input, and its interval."""
    found = (areas(measure, nni.LRP()) - areas(measure, nni.GradientTimesInput()))[:count]
    return three_numbers(nni.interval(-found if turned else found))


def ends_subtracted(crosswise):
    """The two intervals of the table subtracted, end from end."""
    one, other = (nni.interval(areas(BLUR, each)) for each in (nni.LRP(), nni.GradientTimesInput()))
    low, high = (other.high, other.low) if crosswise else (other.low, other.high)
    return [one.mean - other.mean, one.low - low, one.high - high]


EXERCISES = {
    1: {
        "asks": '"falls", "stays" or "rises": what becomes of the score without the five patches?',
        "right": lambda: after_five(nni.Sensitivity()),
        "then": "Sensitivity marks what matters, for or against; it cannot say which.",
        "mistakes": [
            (lambda: after_five(nni.LRP()), "so it is with the patches of LRP."),
            (lambda: "stays", "it changes by far more than 1."),
        ],
        "hints": [
            "Where does sensitivity point? What does LRP say about this place?",
            "Imagine the 3 without that piece: is it a better 3, or a worse one?",
        ],
    },
    2: {
        "asks": "five scores, and the area below them: six numbers",
        "right": pencil,
        "then": "The area is smaller: x₃ need not wait for x₂, which no longer matters.",
        "mistakes": [
            (lambda: pencil(again=False), "this is the order of the first map: explain again."),
            (
                lambda: pencil(method=against_first),
                "this takes the least relevant away first.",
            ),
            (
                x_4_before_x_2,
                "one step is out of order: compare what x₂ and x₄ have then, signs included.",
            ),
            (
                lambda: with_area(torch.mean),
                "the scores are right; in the area, the first and the last count half.",
            ),
            (
                lambda: with_area(lambda scores: torch.trapezoid(scores, dx=1.0)),
                "the scores are right; the area runs over shares, so each step is ¼ wide.",
            ),
            (
                lambda: torch.cat([pencil()[:5], pencil(again=False)[5:]]),
                "the scores are right; the area is that of the other curve.",
            ),
        ],
        "hints": [
            "After x₁ is gone, what is left of f? What is gradient × input of it?",
            "x₂ occurs in the product alone. Its gradient is x₁, which is 0 now.",
            "The area: ¼ times (half the first, the three in the middle, half the last).",
        ],
    },
    3: {
        "asks": "a function that returns the n + 1 scores, from empty to x",
        "right": by_the_library,
        "then": "This is the curve of nni.Insertion.",
        "tried": tried,
        "mistakes": [
            (deleted, "this goes from x to empty: it is deletion."),
            (mistaken(lambda R: -R), "this puts the least relevant back first."),
            (
                mistaken(torch.abs),
                "this is the order of |R|: what speaks against should come last.",
            ),
            (
                lambda: by_the_library()[-1:].expand(len(puzzle()[1]) + 1),
                "all pictures are one and the same tensor: copy it before you change it.",
            ),
            (
                lambda: by_the_library().flip(0),
                "these scores are right, in the other direction: begin with `empty`.",
            ),
            (one_at_a_time, "what was put back has to stay: each step adds one number."),
            (
                lambda: by_the_library(empty=torch.zeros(5)),
                "this begins with zeros; begin with `empty`.",
            ),
        ],
        "hints": [
            "The first picture is empty, the last is x: n + 1 of them.",
            "R.argsort(descending=True) has the places, the most relevant first.",
            "Copy the last picture, put one number of x into it, go on; then f(torch.stack(...)).",
        ],
    },
    4: {
        "asks": "mean, low and high of LRP − gradient × input with blur: three numbers",
        "right": difference,
        "tolerance": 0.03,
        "then": "Zero is outside: these pictures tell the two methods apart.",
        "tried": three_numbers,
        "mistakes": [
            (lambda: difference(nni.Selectivity(n_steps=16)), "this is with black, not with blur."),
            (lambda: difference(turned=True), "this is gradient × input − LRP."),
            (lambda: difference(count=10), "these are ten pictures; take all hundred."),
            (
                lambda: ends_subtracted(crosswise=False),
                "these are ends of two intervals, subtracted. Subtract the pictures' areas first.",
            ),
            (
                lambda: ends_subtracted(crosswise=True),
                "this treats the pictures as different ones. Subtract picture by picture first.",
            ),
        ],
        "hints": [
            "fills['blur'](model, pictures, maps['LRP'], labels) has the area of each picture.",
            "The same for gradient × input; the difference of both is again (100,).",
            "nni.interval of that difference; section 5 does it for black.",
        ],
    },
    5: {
        "asks": "four patches of the 9, as (row, column)",
        "right": lambda: judged(greedy(PATCHES)),
        "then": "The score is lower than with the first four of each method.",
        "tried": judged,
        "mistakes": [
            (
                lambda: judged([(0, column) for column in range(PATCHES)]),
                "at least one method gets the score lower, or as low, with its first four.",
            ),
            (lambda: judged(greedy(PATCHES + 1)), "four different patches, please."),
            (lambda: judged("1234"), "each patch is two whole numbers, (row, column)."),
            (
                lambda: judged([(ACROSS, column) for column in range(PATCHES)]),
                "rows and columns go from 0 to 6.",
            ),
        ],
        "hints": [
            "Look at the score after each click, and undo what has helped little.",
            "Ink is not enough: which pieces make it a 9, and not a 4 or a 7?",
            "Try every patch of the digit as the first; keep the best, and go on from there.",
        ],
    },
}
