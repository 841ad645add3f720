"""The exercises of lesson 18. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np

import nni_widgets as nni

BEFORE = np.array([[0.0, 0.0, 3.0], [0.0, -5.0, 1.0]])
AFTER = np.array([[0.0, 0.0, -1.0], [0.0, 2.0, 4.0]])
INK = np.array([[False, False, True], [False, True, True]])
MARKED_CLASS, N_PICTURES = 8, 100


def network(best):
    """The network that reads most digits without marks, or the other one."""
    x, y = nni.data.hans("test", "none")[:1000]
    names = {"A": "digits-cnn", "B": "digits-hans"}
    right = {k: int((nni.models.load(name)(x).argmax(1) == y).sum()) for k, name in names.items()}
    return (max if best else min)(right, key=right.get)


def ranks(values):
    """The rank of each number; equal numbers share the mean of their ranks."""
    flat = np.asarray(values).flatten()
    smaller, as_small = (flat < flat[:, None]).sum(1), (flat <= flat[:, None]).sum(1)
    return (smaller + 1 + as_small) / 2


def in_order(values):
    """The ranks, with equal numbers in the order of reading."""
    return np.argsort(np.argsort(np.asarray(values).flatten(), kind="stable"), kind="stable")


def alike(a, b, of=np.abs, ranked=ranks):
    """The correlation of the ranks of two maps."""
    return float(np.corrcoef(ranked(of(a)).flatten(), ranked(of(b)).flatten())[0, 1])


def both(**how):
    """The correlation over all six pixels, and over those that are not black."""
    return [alike(BEFORE, AFTER, **how), alike(BEFORE[INK], AFTER[INK], **how)]


def unchanged(values):
    """The numbers themselves."""
    return np.asarray(values)


def pairs():
    """Two maps before and after all layers are drawn anew, each with its picture, ``(28, 28)``."""
    model = nni.models.load("digits-cnn")
    x, y = nni.data.digits("test")[[8, 0]]
    broken, method = nni.randomised(model, x, n_layers=5), nni.LRP()
    before, after = (method(each, x, target=y)[:, 0].double() for each in (model, broken))
    return list(zip(before, after, x[:, 0], strict=True))


def tried(function):
    """What a student's function says about both pairs."""
    found = [function(*pair) for pair in pairs()]
    return None if any(each is None for each in found) else [float(each) for each in found]


def compared(where, **how):
    """The correlation over the places that are chosen from a pair and its picture."""

    def chosen(a, b, x):
        here = where(a, b, x)
        return alike(a[here].numpy(), b[here].numpy(), **how)

    return lambda: tried(chosen)


def ink(_a, _b, x):
    """Where the picture is not black."""
    return x > 0


def all_places(_a, _b, x):
    """Everywhere."""
    return x >= 0


def black(_a, _b, x):
    """Where the picture is black."""
    return x == 0


def positive(a, _b, _x):
    """Where the first map is positive."""
    return a > 0


def covered():
    """The maps with black pixels at 0, but still there."""
    return tried(lambda a, b, x: alike((a * (x > 0)).numpy(), (b * (x > 0)).numpy()))


def layer_of_guided(most, absolute=False):
    """The layer that changes the map of guided backprop most, or least, when drawn anew alone."""
    model, x = nni.models.load("digits-cnn"), nni.data.digits("test")[8:9][0]
    method, measure = nni.GuidedBackprop(), nni.Randomisation(absolute=absolute)
    before = method(model, x, target=5)
    stays = {}
    for n, layer in enumerate(nni.layers_from_top(model, x), 1):
        alone = nni.randomised(model, x, n, independent=True)
        stays[layer] = float(measure.likeness(before, method(alone, x, target=5)))
    ranked = sorted(stays, key=stays.get)
    return ranked[0 if most else -1]


def withstands(best):
    """The digit of which most pictures keep their name with the mark, or the fewest."""
    model, data = nni.models.load("digits-hans"), nni.data.hans("test", "all")
    kept = {}
    for digit in set(range(10)) - {MARKED_CLASS}:
        called = model(data.images[data.labels == digit][:N_PICTURES]).argmax(1)
        kept[digit] = int((called == digit).sum())
    return (max if best else min)(kept, key=kept.get)


def marked_class():
    """The digit that carried the mark in training."""
    return MARKED_CLASS


EXERCISES = {
    1: {
        "asks": '"A" or "B": which network would you put to use?',
        "right": lambda: network(best=True),
        "then": "An accuracy is about pictures like those that it was measured on.",
        "mistakes": [
            (
                lambda: network(best=False),
                "it was the better one on these test pictures. Look at the lines above.",
            ),
        ],
        "hints": [
            "Both numbers are true. What do they not tell you?",
            "Run the next code cell before you decide for good.",
        ],
    },
    2: {
        "asks": "two rank correlations: over all six pixels, and over the three that are not black",
        "right": both,
        "then": "Where anything happens little of the order is left; three zeros hide it.",
        "mistakes": [
            (
                lambda: both(ranked=in_order),
                "equal sizes share a rank, the mean of 1, 2 and 3 (so no short formula either).",
            ),
            (
                lambda: both(ranked=unchanged),
                "these are correlations of the sizes; take their ranks.",
            ),
            (lambda: both(of=unchanged), "the signs are still there: rank the sizes."),
            (lambda: both()[::-1], "first all six pixels, then the three."),
        ],
        "hints": [
            "First the ranks: in both maps the zeros are the three smallest.",
            "The mean of six ranks is 3.5, with ties too. Then as in the table.",
            "For the second number rank the three sizes anew, from 1 to 3.",
        ],
    },
    3: {
        "asks": "a function of two maps and a picture that returns one number",
        "right": compared(ink),
        "then": "Much less has stayed than the number for all places says.",
        "tried": tried,
        "mistakes": [
            (compared(all_places), "the black pixels take part: choose the others by x."),
            (compared(black), "these are the black pixels: you want the others."),
            (
                covered,
                "the black pixels are set to 0, but they still take part, as ties. Leave them out.",
            ),
            (compared(positive), "choose the pixels by the picture, not by the map."),
            (compared(ink, of=unchanged), "the signs are still there: compare sizes."),
            (compared(ink, ranked=unchanged), "these are correlations of sizes; take their ranks."),
        ],
        "hints": [
            "x > 0 says for each pixel whether it is not black.",
            "A map indexed with such a mask has only the pixels where it is true.",
        ],
    },
    4: {
        "asks": "the name of a layer, in quotes",
        "right": lambda: layer_of_guided(most=True),
        "then": "Its map is mostly made near the pixels, by what finds edges.",
        "mistakes": [
            (
                lambda: layer_of_guided(most=False),
                "drawn anew alone, this layer changes the map the least.",
            ),
            (
                lambda: layer_of_guided(most=True, absolute=True),
                "so it is without the signs; let them count.",
            ),
        ],
        "hints": [
            "With independent, the slider counts from the output: 1 is fc2 alone, 2 is fc1 alone.",
            "Read the number below the map of guided backprop, for each of the five.",
        ],
    },
    5: {
        "asks": "a digit from 0 to 9, not 8",
        "right": lambda: withstands(best=True),
        "then": "The network still reads strokes; the mark is one more voice, and a loud one.",
        "mistakes": [
            (lambda: withstands(best=False), "of these hardly any is left; look for the contrary."),
            (marked_class, "the mark belongs to this one: choose among the others."),
        ],
        "hints": [
            "Choose a class, put the mark in. The line below the mean map tells how many stay.",
            "There are nine classes to try. Write the nine numbers down.",
        ],
    },
}
