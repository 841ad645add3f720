"""What an image is held to: penalties to be subtracted from an objective, and an expert to add."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from nni_widgets.engine.synthesis.guests import ask, check_guest
from nni_widgets.engine.synthesis.objectives import Objective, Seen, _LayerScore, finite, wide
from nni_widgets.errors import invalid
from nni_widgets.params import param

_SHARP = 1e-8


class L2(Objective):
    """A penalty: the squared distance of each image from a centre, ``‖x − c‖² = Σ (x − c)²``.

    Summed over channels and pixels. ``center=0`` keeps pictures dark where nothing asks for more;
    the mean image of a class keeps them near that class.

    Shape: ``(N,)``. Unit: that of the pixels, squared. Raises ``ValueError`` for a centre that does
    not fit the images. Source: Simonyan et al. 2014, sec. 2, eq. (1), and
    Montavon, Samek, Müller 2018, sec. 3.1, for c = 0.
    """

    title: ClassVar[str] = "L2"
    center: float | Tensor = param(
        0.0,
        "one value for all pixels, or an image such as the mean of a class",
        slider=(0, 1),
        array=True,
    )

    def __call__(self, seen: Seen) -> Tensor:
        x = wide(seen.x)
        center = finite("L2", "center", self.center).to(x)
        try:
            fits = torch.broadcast_shapes(center.shape, x.shape) == x.shape
        except RuntimeError:
            fits = False
        if not fits:
            expected = f"a number or a tensor that broadcasts to {tuple(x.shape)}"
            given, action = f"shape {tuple(center.shape)}", "Give one image"
            raise invalid("L2", "center", expected, given, action)
        return (x - center).square().flatten(1).sum(1)


class TotalVariation(Objective):
    """A penalty: how much neighbouring pixels differ, ``Σ ((Δ_row x)² + (Δ_column x)²)^(β/2)``.

    Summed over channels and pixels; differences over the edge are 0. ``beta=1`` allows sharp edges
    and draws spots, 2 is the smoothest; below 2 the root is rounded at 0, so that it has a
    derivative there. Lines and volumes have one and three differences.

    Shape: ``(N,)``. Unit: that of the pixels, to the power of β. Raises ``ValueError`` for images
    without places. Source: Mahendran, Vedaldi 2015, sec. 2, R_{V^β}.
    """

    title: ClassVar[str] = "Total variation"
    beta: float = param(
        2.0, "exponent: 1 has sharp edges, 2 is smooth", low=1, high=4, slider=(1, 3)
    )

    def __call__(self, seen: Seen) -> Tensor:
        if seen.x.ndim < 3:
            expected, given = "pictures (N, C, ...)", f"shape {tuple(seen.x.shape)}"
            raise invalid("TotalVariation", "x", expected, given, "Use nni.L2() here")
        x = wide(seen.x)
        squares = torch.zeros_like(x)
        for axis in range(2, x.ndim):
            squares = squares + _differences(x, axis).square()
        power = self.beta / 2
        of_places: Tensor = (squares + _SHARP) ** power - _SHARP**power
        return of_places.flatten(1).sum(1)


class CodeNorm(Objective):
    """A penalty: the squared length of the code, ``‖z‖²``, for images made by a generator.

    −½‖z‖² is the logarithm of the normal density that codes are drawn from, up to a constant: it
    keeps z where the generator has learnt to make something of it.

    Shape: ``(N,)``. Raises ``ValueError`` where images are not made from codes.
    Source: Montavon, Samek, Müller 2018, sec. 3.3; Nguyen et al. 2016.
    """

    title: ClassVar[str] = "Norm of the code"

    def __call__(self, seen: Seen) -> Tensor:
        if seen.code is None:
            expected, given = "made from a code", "pixels"
            action = "Use image=nni.Code(generator), or nni.L2() for pixels"
            raise invalid("CodeNorm", "the image", expected, given, action)
        return wide(seen.code).square().flatten(1).sum(1)


class Match(_LayerScore):
    """A penalty: how far a layer's activations are from given ones, ``‖Φ(x) − Φ₀‖² / ‖Φ₀‖²``.

    0 where the image is the same to the layer, 1 where it is as far away as silence.

    Shape: ``(N,)``. Unit: none. Raises ``ValueError`` for features that do not fit the layer or are
    all zero. Source: Mahendran, Vedaldi 2015, sec. 2, the normalised Euclidean loss.
    """

    title: ClassVar[str] = "Distance of features"
    features: Tensor = param(None, "activations of the layer, of one image or of N", array=True)

    def __call__(self, seen: Seen) -> Tensor:
        made = wide(self._activations(seen)).flatten(1)
        wanted = finite("Match", "features", self.features).to(made)
        shape = seen.activations[self.layer].shape
        if wanted.shape[1:] != shape[1:] or wanted.shape[:1] not in {(1,), shape[:1]}:
            expected = f"activations of the layer, shape {tuple(shape)}"
            given, action = f"shape {tuple(wanted.shape)}", "See nni.activations(model, x, layer)"
            raise invalid("Match", "features", expected, given, action)
        wanted = wanted.flatten(1)
        length = wanted.square().sum(1)
        if not bool((length > 0).all()):
            action = "Choose another layer or image"
            raise invalid("Match", "features", "not all zero", "a layer that is silent", action)
        return (made - wanted).square().sum(1) / length


class Expert(Objective):
    """The logarithm of how likely an image is, ``log p(x)``, by a model of the data.

    Added to ``log p(ω_c|x)`` it makes the image the most probable *input* of the class, where
    without it any image that convinces the model will do.

    ``density`` is a module in evaluation mode, or a function, that maps images to one number each;
    of a module that has a ``log_density``, as an autoencoder of the zoo, that is asked.
    Shape: ``(N,)``. Unit: nat. Raises ``ValueError`` unless the density gives one finite number per
    image with a gradient. Source: Montavon, Samek, Müller 2018, sec. 3.2.
    """

    title: ClassVar[str] = "Expert"
    density: Callable[[Tensor], Tensor] = param(None, "maps images (N, ...) to log p(x), (N,)")

    def validate(self) -> None:
        action = "Try nni.models.load('digits-mixture')"
        check_guest("Expert", "density", self.density, action)

    def __call__(self, seen: Seen) -> Tensor:
        log_density = getattr(self.density, "log_density", self.density)
        made = ask("Expert", "density", log_density, seen.x)
        if made.ndim != 1:
            expected, given = f"log p(x), shape ({len(seen.x)},)", f"shape {tuple(made.shape)}"
            raise invalid("Expert", "the answer of density", expected, given, "One per image")
        return made


def _differences(x: Tensor, axis: int) -> Tensor:
    """Each pixel's next neighbour along an axis, less itself; 0 for the last."""
    edge = x.narrow(axis, x.shape[axis] - 1, 1)
    return x.diff(dim=axis, append=edge)
