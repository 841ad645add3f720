"""The exercises of lesson 03. Students: the answers are computed here, so the fun is elsewhere."""

import torch

import nni_widgets as nni

LOOPS, CORNER = 11, 9
ROUGHNESS = 0.1
CHANGES = {"jitter": {"jitter": 0}, "n_steps": {"n_steps": 20}, "step_size": {"step_size": 0.04}}


def drawings():
    """The four drawings of section 1, as the network takes them."""
    places = torch.arange(28.0) - 13.5
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    radius = (rows**2 + columns**2).sqrt()
    wide = (rows.abs() < 1.5) & (columns.abs() < 7)
    drawn = {
        "ring": (radius - 4).abs() < 1.5,
        "bar": wide,
        "cross": wide | wide.T,
        "disc": radius < 5,
    }
    return {name: drawing.float()[None, None] for name, drawing in drawn.items()}


def favourite_drawing():
    """The drawing that excites the channel most."""
    model = nni.models.load("digits-cnn")
    excited = {
        name: float(nni.activations(model, x, "conv3")[0, LOOPS].max())
        for name, x in drawings().items()
    }
    return max(excited, key=excited.get)


def corner():
    """The weights and the bias of the channel of section 3."""
    model = nni.models.load("digits-cnn")
    return nni.filters(model, "conv1")[CORNER, 0], model.conv1.bias[CORNER].detach()


def largest(patch_of):
    """What the unit makes of a patch that is computed from its weights."""
    weights, bias = corner()
    return float((weights * patch_of(weights)).sum() + bias)


def largest_of_the_library():
    """What an ascent finds."""
    model = nni.models.load("digits-cnn")
    made = nni.ActivationMaximization(nni.Unit("conv1", CORNER), n_steps=60)(model)
    return float(made.objective[-1])


def photograph():
    """The network of photographs, its first layers, and a small picture."""
    model = nni.models.load("photos")
    see = torch.nn.Sequential(model.rescale, model.stem, model.blocks[:3])
    return model, see, nni.data.photograph_batch(["carcassonne"], 64)


def step_of_the_library():
    """The first step of a dream with a penalty, in units of the step."""
    model, _, x = photograph()
    objective = nni.Energy("blocks.2.add") - ROUGHNESS * nni.TotalVariation()
    dream = nni.DeepDream(objective, n_octaves=1, n_steps=1, jitter=0)
    return (dream(model, x).images - x) / dream.step_size


def tried(step):
    """What a student's step changes in the same picture."""
    _, see, x = photograph()
    made = step(see, x.clone(), 0.02, ROUGHNESS)
    return None if made is None else (made - x) / 0.02


def stepped(uphill=1, penalty=-1, divide=None, clamp=True):
    """A try at the step."""

    def step(see, x, size, weight):
        x = x.clone().requires_grad_()
        rough = x.diff(dim=2).square().sum() + x.diff(dim=3).square().sum()
        energy = see(x).square().mean() / 2
        (slope,) = torch.autograd.grad(energy + penalty * weight * rough, x)
        length = slope.square().mean().sqrt() if divide is None else divide(slope)
        x = x.detach() + uphill * size * slope / length
        return x.clamp(0, 1) if clamp else x

    return lambda: tried(step)


def change_with_most_energy():
    """The change of the dream that ends with the most energy."""
    model, x = nni.models.load("photos"), nni.data.photograph_batch(["carcassonne"], 128)
    energies = {
        name: float(nni.DeepDream(nni.Energy("blocks.9.add"), **change)(model, x).objective[-1])
        for name, change in CHANGES.items()
    }
    return max(energies, key=energies.get)


def as_in_code(name):
    """A parameter's name, also if it is typed as the explorer writes it: ``step size``."""
    return name.replace(" ", "_") if isinstance(name, str) else name


def first_layer_worse_than_black():
    """The first layer from which an image comes back that is farther from x than black is."""
    model, x = nni.models.load("digits-cnn"), nni.data.digits("test")[8:9][0]
    for layer in ("relu1", "relu2", "relu3", "pool3", "relu4", "fc2"):
        back = nni.Inversion(layer, n_steps=100)(model, x).images
        if float((back - x).norm() / x.norm()) > 1:
            return layer
    return "none"


EXERCISES = {
    1: {
        "asks": '"ring", "bar", "cross" or "disc": which drawing excites the channel most?',
        "right": favourite_drawing,
        "then": "The network has never seen such a drawing; the channel answers to its form.",
        "mistakes": [
            (lambda: "disc", "it is as round, but what do all the crops have in their middle?"),
            (lambda: "cross", "strokes do meet in the crops, but look for what all of them share."),
            (lambda: "bar", "nearly every digit has a straight piece; these crops have more."),
        ],
        "hints": [
            "Look for what all six crops share. Leave out what only some of them have.",
            "Look at the dark pixels too: what is in the middle of the bright ones?",
        ],
    },
    2: {
        "asks": "the largest activation that pixels from 0 to 1 can give this unit: one number",
        "right": largest_of_the_library,
        "then": "The best patch is white where the weight is positive, black elsewhere.",
        "mistakes": [
            (
                lambda: largest(lambda w: w.sign()),
                "for that, pixels would have to be −1: black is 0, and 0 times a weight is 0.",
            ),
            (
                lambda: largest(torch.ones_like),
                "that is an all-white patch: which of the nine pixels should better be black?",
            ),
            (lambda: largest(lambda w: w > 0) - float(corner()[1]), "the bias is missing."),
            (
                lambda: largest(lambda w: w / w.norm()),
                "that is the best patch of length 1. Here each pixel has a range of its own.",
            ),
        ],
        "hints": [
            "Each pixel decides for itself: should it be 0 or 1?",
            "Add up the weights that are worth it, then the bias: W[W > 0] helps.",
        ],
        "tolerance": 0.002,
    },
    3: {
        "asks": "a function that returns the picture after one step",
        "right": step_of_the_library,
        "then": "This is one step of nni.DeepDream, its penalty included.",
        "tried": tried,
        "mistakes": [
            (
                stepped(penalty=1),
                "the penalty is added, so the step is paid for being rough: subtract it.",
            ),
            (
                stepped(penalty=0),
                "the penalty has no effect: it is the weight times a sum (no mean) of squares.",
            ),
            (stepped(penalty=-1 / ROUGHNESS), "multiply the penalty by the weight."),
            (stepped(penalty=-0.5), "the energy is half of the mean square, as in `step`."),
            (stepped(uphill=-1), "this goes downhill: the layer sees less and less."),
            (
                stepped(divide=torch.ones_like),
                "divide the gradient by its root mean square, or each layer needs its own size.",
            ),
            (
                stepped(divide=torch.norm),
                "norm() is the root of the sum of squares; here it is that of their mean.",
            ),
            (
                stepped(divide=lambda slope: slope.abs().max()),
                "divide by the root mean square, not by the largest number.",
            ),
            (
                stepped(divide=lambda slope: slope.abs().mean()),
                "divide by the root of the mean square, not by the mean of the sizes.",
            ),
            (stepped(clamp=False), "some pixels have left the range from 0 to 1."),
        ],
        "hints": [
            "Start from `step` in section 6: only what is climbed changes.",
            "Subtract weight * rough from the energy, rough as in `ascend` of section 4.",
        ],
    },
    4: {
        "asks": '"jitter", "n_steps" or "step_size": which change ends with the most energy?',
        "right": change_with_most_energy,
        "tried": as_in_code,
        "then": "Most energy; is it the best picture? Section 9 looks at what was gained.",
        "mistakes": [
            (lambda: "n_steps", "twice the steps help, yet another change gains more."),
            (lambda: "step_size", "larger steps gain little here: read the objective at the end."),
        ],
        "hints": [
            "Press Reset between two changes, and let each dream play to its end.",
            "The status line tells the objective: compare it at the last step.",
        ],
    },
    5: {
        "asks": "the name of a layer, in quotes",
        "right": first_layer_worse_than_black,
        "then": "What a layer does not need it leaves open, and the priors fill it with grey.",
        "mistakes": [
            (lambda: "fc2", "that one too, but it begins earlier."),
            (lambda: "relu1", "measure it: there the image is still nearer to x than black is."),
            (lambda: "relu2", "measure it: there the image is still nearer to x than black is."),
            (lambda: "relu3", "measure it: there the image is still nearer to x than black is."),
            (lambda: "pool3", "measure it: there the image is still nearer to x than black is."),
        ],
        "hints": [
            "The distance of black from x is ‖0 − x‖ / ‖x‖ = 1.",
            "(back[layer].images - five).norm() / five.norm(), for each layer.",
        ],
    },
}
