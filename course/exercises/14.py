"""The exercises of lesson 14. Students: the answers are computed here, so the fun is elsewhere."""

import numpy as np
import torch
from torch import nn

import nni_widgets as nni

POINT, NOISE = 0.5, torch.tensor([[-1.0], [0.0], [1.0]])
LEVEL, COPIES = 0.15, 50
SHAKEN, N_SHAKEN = 0.1, 300


def tent():
    """The network of section 3: f = 2 ReLU(x) − 3 ReLU(x − 1)."""
    hidden, out = nn.Linear(1, 2), nn.Linear(2, 1, bias=False)
    hidden.load_state_dict({"weight": torch.ones(2, 1), "bias": torch.tensor([0.0, -1.0])})
    out.load_state_dict({"weight": torch.tensor([[2.0, -3.0]])})
    return nn.Sequential(hidden, nn.ReLU(), out).eval()


def slopes():
    """The gradients at the three noisy points."""
    return nni.Gradient()(tent(), POINT + NOISE, target=0)[:, 0].double()


def statistics(correction=0):
    """Mean, mean square and variance of the slopes."""
    g = slopes()
    return [float(g.mean()), float(g.square().mean()), float(g.var(correction=correction))]


def unsquared():
    """Mean, mean size, standard deviation."""
    g = slopes()
    return [float(g.mean()), float(g.abs().mean()), float(g.std(correction=0))]


def mean_of_the_squared_mean():
    """The square of the mean in place of the mean of the squares."""
    mean, _, variance = statistics()
    return [mean, mean**2, variance]


def without_noise():
    """The slope at the point itself, which has no spread."""
    slope = float(nni.Gradient()(tent(), torch.tensor([[POINT]]), target=0))
    return [slope, slope**2, 0.0]


def colour_picture():
    """A picture of three channels with other ranges: -1 to 0, 0 to 0.5, 0 to 2."""
    shades = torch.linspace(0, 1, 1024).reshape(32, 32)
    return torch.stack([shades - 1, shades / 2, shades * 2])[None]


def deviations(copies):
    """The standard deviation of the noise from copy to copy, in four ways, and its mean.

    That of each channel, and that of the sum of all three divided by √3, which is as large as
    each if every channel has noise of its own. The mean is rounded to twentieths.
    """
    noise = torch.as_tensor(copies).double() - colour_picture()
    spread = torch.cat([noise, noise.sum(1, keepdim=True) / 3**0.5], dim=1).var(0, correction=0)
    off = round(20 * float(noise.mean())) / 20
    return np.round([*spread.mean((1, 2)).sqrt().tolist(), off], 6)


def tried(shake):
    """The noise that a student's function makes, channel by channel."""
    copies = shake(colour_picture(), SHAKEN, N_SHAKEN)
    if copies is None or copies is ...:
        return None
    if isinstance(copies, (list, tuple)):
        copies = torch.stack(list(copies))
    expected = (N_SHAKEN, *colour_picture().shape[1:])
    if np.shape(copies) != expected:
        raise ValueError(f"noisy must return copies of shape {expected}; got {np.shape(copies)}")
    return deviations(copies)


def noise_of(*sigmas, together=1.0, off=0.0):
    """Noise with these standard deviations, one for all channels or one for each."""
    each = np.array(sigmas if len(sigmas) == 3 else sigmas * 3)
    return lambda: [*each, together * np.sqrt(np.mean(each**2)), off]


def noisy_copies():
    """What nni.Noise makes, which is SmoothGrad's."""
    return nni.Noise(noise_level=SHAKEN, n_samples=N_SHAKEN)(colour_picture())[:, 0]


def digits_cnn(which=8):
    """The network of the lesson, and its picture of a 5."""
    return nni.models.load("digits-cnn"), nni.data.digits("test")[which : which + 1][0]


@torch.no_grad()
def mean_score():
    """The mean score of the 50 noisy copies, the clean score, and that of black."""
    model, x = digits_cnn()
    copies = nni.Noise(noise_level=LEVEL, n_samples=COPIES)(x)[:, 0]
    return [float(model(pictures)[:, 5].mean()) for pictures in (copies, x, torch.zeros_like(x))]


def total_of_the_average():
    """What SmoothGrad of integrated gradients adds up to, by the library."""
    of = nni.IntegratedGradients(n_steps=32)
    method = nni.SmoothGrad(of=of, noise_level=LEVEL, n_samples=COPIES)
    return float(nni.explain(*digits_cnn(), method, target=5).total)


@torch.no_grad()
def seen_in_copies(level, n=10):
    """How the network sees the first noisy copies."""
    model, x = digits_cnn()
    return model(nni.Noise(noise_level=level, n_samples=n)(x)[:, 0]).argmax(1)


def noisy_views(strong=0.15, weak=0.05):
    """The class of most copies under strong noise, and how many are still a 5 under weak."""
    return [int(seen_in_copies(strong).mode().values), int((seen_in_copies(weak) == 5).sum())]


EXERCISES = {
    1: {
        "asks": "SmoothGrad, SmoothGrad² and VarGrad at x = 0.5: three numbers",
        "right": statistics,
        "then": "The spread is much larger than the mean: here the slope is not to be relied on.",
        "mistakes": [
            (lambda: statistics(correction=1), "divide the spread by 3 as well, not by 2."),
            (unsquared, "the second is a mean of squares, the third a variance: squared numbers."),
            (mean_of_the_squared_mean, "first square, then average."),
            (without_noise, "this is the slope without any noise."),
        ],
        "hints": [
            "Which three points does the noise make of 0.5? Read the slope of f at each.",
            "Left of 0 the slope is 0, up to 1 it is 2, from there on it is −1.",
            "VarGrad is SmoothGrad² less the square of SmoothGrad.",
        ],
    },
    2: {
        "asks": "a function that returns n noisy copies of a picture",
        "right": lambda: deviations(noisy_copies()),
        "then": "This is noise as in nni.SmoothGrad: one σ for all, other noise each time.",
        "tried": tried,
        "tolerance": 0.02,
        "mistakes": [
            (noise_of(SHAKEN), "σ is the level itself; it should grow with max − min."),
            (noise_of(0.0), "no noise: are all copies alike?"),
            (noise_of(0.3, 0.0, 0.0), "only the first channel has noise."),
            (noise_of(0.1, 0.05, 0.2), "each channel has its own σ: take the whole picture's."),
            (
                noise_of(SHAKEN * float(colour_picture().std())),
                "this is a share of the standard deviation of the pixels, not of max − min.",
            ),
            (noise_of(SHAKEN * 2), "σ grows with the largest pixel; it should with max − min."),
            (noise_of(SHAKEN * 3 / 12**0.5), "uniform noise of that width; it should be normal."),
            (
                noise_of(SHAKEN * 3 / 12**0.5, off=SHAKEN * 3 / 2),
                "uniform noise that only brightens; it should be normal, with the mean 0.",
            ),
            (
                noise_of(SHAKEN * 3, together=3**0.5),
                "all channels of a copy have the same noise; each should have its own.",
            ),
            (
                noise_of(SHAKEN * 3, off=-float(colour_picture().mean())),
                "this is the noise alone; add the picture.",
            ),
            (
                lambda: deviations(noisy_copies().clamp(-1, 2)),
                "the noise is cut off at the ends of the range: let copies go beyond them.",
            ),
        ],
        "hints": [
            "σ = level · (x.max() − x.min()): one number.",
            "torch.randn(n, *x.shape[1:]) makes normal noise for n copies, in all channels.",
            "x has the shape (1, C, H, W), so x + σ · noise has n copies.",
        ],
    },
    3: {
        "asks": "one number, from the scores of the copies and of black",
        "right": total_of_the_average,
        "then": "So it explains the mean score of noisy pictures, no longer that of the clean one.",
        "mistakes": [
            (lambda: mean_score()[0], "nearly: what does integrated gradients compare with?"),
            (lambda: mean_score()[1] - mean_score()[2], "this is the clean picture's difference."),
            (lambda: mean_score()[1], "this is the score of the clean picture."),
        ],
        "hints": [
            "Integrated gradients of *one* picture adds up to f(x) − f(black).",
            "The mean of 50 sums is the sum of the mean: take model(copies)[:, 5].mean().",
        ],
    },
    4: {
        "asks": "two numbers: a class, and a count from 0 to 10",
        "right": noisy_views,
        "then": "So at 15 % the map answers: why is this 8 a little 5?",
        "mistakes": [
            (
                lambda: [5, noisy_views()[1]],
                "read the title above the noisy copy: as what is it predicted?",
            ),
            (
                lambda: [noisy_views()[0], 10 - noisy_views()[1]],
                "count those that are still seen as a 5.",
            ),
        ],
        "hints": [
            "Above the noisy copy stands how it is predicted. Arrow keys move the slider 'copy'.",
            "Type 0.05 into the field beside 'noise level', then go from copy 0 to copy 9.",
        ],
    },
}
