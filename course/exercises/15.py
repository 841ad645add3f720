"""The exercises of lesson 15. Students: the answers are computed here, so the fun is elsewhere."""

from functools import cache

import torch
from torch import nn

import nni_widgets as nni

MAPS = torch.tensor([[[4.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [0.0, 6.0]]])
WEIGHTS, BIAS = torch.tensor([3.0, -1.0]), 1.0
N_PICTURES, CENTRE = 300, 20
SOME = [8, 5, 23, 18]
LAYERS = ("relu1", "relu2", "relu3", "relu4")
SPLIT = 8


def by_hand():
    """The map of section 3, and its logit."""
    copy, dense = nn.Conv2d(2, 2, 1, bias=False), nn.Linear(2, 1)
    copy.load_state_dict({"weight": torch.eye(2)[:, :, None, None]})
    dense.load_state_dict({"weight": WEIGHTS[None], "bias": torch.tensor([BIAS])})
    net = nn.Sequential(copy, nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense).eval()
    places = nni.CAM().raw(net, MAPS[None], target=0).flatten()
    return [*places.tolist(), float(net(MAPS[None]).detach())]


def done_wrong(places=lambda R: R, logit=lambda R: R.mean() + BIAS):
    """The same with something changed in the map, or in how the logit follows from it."""
    R = (WEIGHTS[:, None, None] * MAPS).sum(0).flatten()
    return [*places(R).tolist(), float(logit(R))]


@cache
def network():
    """The network of the lesson."""
    return nni.models.load("cluttered-cam")


@cache
def middle_maps():
    """Maps in the middle of the network and the gradient of the score for 4 there."""
    x, _ = nni.data.cluttered(5)[4:5]
    maps = network()[:SPLIT](x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network()[SPLIT:](maps)[0, 4], maps)
    return maps.detach()[0].double(), gradient[0].double()


def tried(grad_cam):
    """What a student's function makes of those maps."""
    return grad_cam(*(each.clone() for each in middle_maps()))


def library_grad_cam():
    """Grad-CAM of the same layer."""
    x, _ = nni.data.cluttered(5)[4:5]
    return nni.GradCAM(layer=LAYERS[2]).raw(network(), x, target=4)[0].double()


def mixed(gradient_to_weights, ending=lambda R: R.clamp(min=0)):
    """A weighted sum of the maps with other weights, or another ending."""

    def grad_cam(maps, gradient):
        return ending((gradient_to_weights(gradient) * maps).sum(0))

    return lambda: tried(grad_cam)


def mean_over_places(gradient):
    """The weights of Grad-CAM."""
    return gradient.mean((1, 2), keepdim=True)


def each_map_cut(maps, gradient):
    """The ReLU before the sum over the maps."""
    return (mean_over_places(gradient) * maps).clamp(min=0).sum(0)


@cache
def boxes():
    """Where the digits of the lesson's pictures are."""
    return nni.data.cluttered(N_PICTURES).boxes


def centre_hits(margin=0):
    """How often a map hits whose peak is the centre."""
    maps = torch.zeros(N_PICTURES, 2 * CENTRE, 2 * CENTRE)
    maps[:, CENTRE, CENTRE] = 1
    return float(nni.data.peak_in_box(maps, boxes(), margin).float().mean())


def ends_counted_in():
    """The same with bottom and right taken as parts of the box."""
    top, left, bottom, right = boxes().T
    inside = (top <= CENTRE) & (left <= CENTRE) & (bottom >= CENTRE) & (right >= CENTRE)
    return float(inside.float().mean())


def mean_share():
    """How much of a picture the box covers."""
    top, left, bottom, right = boxes().T
    return float(((bottom - top) * (right - left)).float().mean()) / (2 * CENTRE) ** 2


@cache
def counts(kind):
    """In how many of the explorer's pictures the peak is in the box, layer by layer."""
    fields = nni.data.cluttered(max(SOME) + 1)
    x, _ = fields[SOME]
    maps = (kind(layer=layer)(network(), x) for layer in LAYERS)
    return [int(nni.data.peak_in_box(each, fields.boxes[SOME]).sum()) for each in maps]


def seen_by_a_place(skipped=(), strides=True, poolings=True):
    """The side of the square that a place of the last maps has seen, from the layers."""
    side, step = 1, 1
    for name, layer in network().named_children():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)) and name not in skipped:
            if poolings or isinstance(layer, nn.Conv2d):
                side += (_one(layer.kernel_size) - 1) * step
            step *= _one(layer.stride) if strides else 1
    return side


def _one(size):
    return size if isinstance(size, int) else size[0]


EXERCISES = {
    1: {
        "asks": "five numbers: R at the four places, row by row, and the logit",
        "right": by_hand,
        "then": "The bias belongs to no place; all the rest of the logit is in the map.",
        "mistakes": [
            (lambda: done_wrong(lambda R: R.clamp(min=0)), "CAM has two signs; keep the minus."),
            (
                lambda: done_wrong(
                    lambda R: R.clamp(min=0), lambda R: R.clamp(min=0).mean() + BIAS
                ),
                "CAM has two signs; keep the minus, in the logit too.",
            ),
            (
                lambda: done_wrong(logit=lambda R: R.mean()),
                "the map is right, but the logit has a bias.",
            ),
            (
                lambda: done_wrong(logit=lambda R: R.sum() + BIAS),
                "the map is right; but the network averages over the places, it does not sum.",
            ),
            (lambda: done_wrong(lambda R: R + BIAS), "the bias is added once, and to no place."),
            (
                lambda: done_wrong(lambda R: R + BIAS, lambda R: R.mean() + 2 * BIAS),
                "the bias is in it twice; it is added once, and to no place.",
            ),
            (
                lambda: done_wrong(lambda R: R / 4),
                "these are shares of the logit, but CAM is not divided by the number of places.",
            ),
        ],
        "hints": [
            "At each place there are two numbers, one in each map. Weigh them and add them up.",
            "Top left: 3 times the first map's number, minus the second map's.",
            "The logit: the mean of your four numbers, and then the bias.",
        ],
    },
    2: {
        "asks": "a function that returns a map (h, w)",
        "right": library_grad_cam,
        "then": "These are the numbers of nni.GradCAM, here in the middle of the network.",
        "tried": tried,
        "mistakes": [
            (mixed(mean_over_places, lambda R: R), "what speaks against is still there: the ReLU."),
            (
                mixed(mean_over_places, lambda R: R.abs()),
                "a ReLU is not the absolute value: that turns against into for.",
            ),
            (
                mixed(lambda g: g),
                "each place has its own weight here; Grad-CAM has one weight for each map.",
            ),
            (mixed(lambda g: g.clamp(min=0)), "this is Layer-CAM: a weight for each place."),
            (
                mixed(lambda g: mean_over_places(g.clamp(min=0))),
                "take the mean of all gradients, the negative ones too.",
            ),
            (
                mixed(lambda g: g.sum((1, 2), keepdim=True)),
                "the shape is right, the size is not: a mean over the places, not a sum.",
            ),
            (
                lambda: tried(each_map_cut),
                "maps with a negative weight count, too: sum over the maps first, then the ReLU.",
            ),
            (
                mixed(mean_over_places, lambda R: R.clamp(min=0) / R.max()),
                "do not divide by the largest: then an empty map looks like a full one.",
            ),
        ],
        "hints": [
            "One weight for each map: how many numbers are averaged for it, and over which axes?",
            "gradient.mean((1, 2), keepdim=True) has the shape (K, 1, 1).",
            "Weigh, sum over axis 0, then clamp(min=0).",
        ],
    },
    3: {
        "asks": "one number from 0 to 1: the share of hits",
        "right": centre_hits,
        "then": "It has not looked at any picture. A hit rate means little without this one.",
        "mistakes": [
            (lambda: centre_hits(margin=2), "count the box itself, without a margin."),
            (ends_counted_in, "bottom and right are the first pixels outside the box."),
            (mean_share, "this is what a dart thrown anywhere would hit."),
            (lambda: 100 * centre_hits(), "this is in percent: divide by 100."),
        ],
        "hints": [
            "No network is needed: the boxes tell whether (20, 20) is in them.",
            "Or make maps of zeros, shape (300, 1, 40, 40), with a 1 at [:, 0, 20, 20]; use hits.",
            "top <= 20 < bottom, and the same for left and right; then the mean.",
        ],
    },
    4: {
        "asks": "four counts from 0 to 4, for relu1, relu2, relu3, relu4",
        "right": lambda: counts(nni.GradCAM),
        "then": "One weight for each map is right only where the map's place does not matter.",
        "mistakes": [
            (lambda: counts(nni.LayerCAM), "these are the counts of Layer-CAM."),
            (lambda: [len(SOME) - n for n in counts(nni.GradCAM)], "these are the misses."),
            (lambda: counts(nni.GradCAM)[::-1], "the order is from the picture up: relu1 first."),
        ],
        "hints": [
            "Choose the layer once, go through the pictures, then take the next layer.",
            "Below the map stands where its peak is, and whether that is inside the box.",
        ],
    },
    5: {
        "asks": "one number: the side of the square, in pixels",
        "right": seen_by_a_place,
        "then": "So it has seen far more than the block that is coloured for it.",
        "mistakes": [
            (lambda: 4, "this is how large the place is drawn, not what it has seen."),
            (
                lambda: seen_by_a_place(strides=False),
                "after a pooling, one step on the map is two pixels, then four.",
            ),
            (
                lambda: seen_by_a_place(skipped=("pool1", "pool2"), strides=False),
                "the poolings are missing: each sees two by two, and doubles the step.",
            ),
            (
                lambda: seen_by_a_place(poolings=False),
                "a pooling doubles the step, and it also sees two by two itself.",
            ),
            (lambda: seen_by_a_place(skipped=("conv4",)), "one convolution is still missing."),
            (lambda: seen_by_a_place() ** 2, "this is how many pixels the square has."),
        ],
        "hints": [
            "Go from the picture up. A place of conv1 has seen 3 pixels, one of pool1 has seen 4.",
            "A layer adds (its size − 1) times the step; the step is 1, then 2, then 4 pixels.",
            "3, 4, 8, 10, and then conv3 and conv4 add 2 steps of 4 pixels each.",
        ],
    },
}
