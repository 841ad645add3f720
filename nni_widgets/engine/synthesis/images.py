"""What an image is made of while it is optimised: pixels, frequencies, or the code of a generator.

The ascent changes *parameters*, a tensor with one row per image; a parametrisation says how images
come out of them. The same objective gives quite different images in different parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, run
from nni_widgets.engine.synthesis import starts
from nni_widgets.engine.synthesis.box import Box, box_of, says_box
from nni_widgets.engine.synthesis.guests import ask, check_guest
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param

_INSIDE = 1 / 512


class Parametrisation(Declared):
    """Base: how images come out of the parameters that are optimised."""

    title: ClassVar[str] = ""
    says_parameters: ClassVar[bool] = True

    def box(self, model: nn.Module) -> Box:
        """The box that the images stay in."""
        return box_of(model)

    def begin(
        self, who: str, model: nn.Module, start: Tensor | None, seed: int, n: int = 1
    ) -> Tensor:
        """The parameters of the start, checked; without one, of n starts drawn by ``seed``."""
        raise NotImplementedError

    def images(self, parameters: Tensor, box: Box) -> Tensor:
        """The images, in the graph of the parameters."""
        raise NotImplementedError

    def inside(self, parameters: Tensor, box: Box) -> Tensor:
        """The nearest parameters that are allowed; taken after each step."""
        return parameters

    def code_of(self, parameters: Tensor) -> Tensor | None:
        """The code z, where images are generated."""
        return None

    def n_tries(self) -> int:
        """How many starts are drawn for each image, if none is given; the best is taken."""
        return 1

    def unit(self, box: Box) -> float:
        """What a step of size 1 moves a parameter by: the whole range of pixels, if it is one."""
        return 1.0


class _InBox(Parametrisation):
    """Base of those whose images start as images."""

    low: float | None = param(None, "the lowest pixel; None: that of the model, or 0")
    high: float | None = param(None, "the highest pixel; None: that of the model, or 1")

    def validate(self) -> None:
        who = type(self).__name__
        for name, bound in (("low", self.low), ("high", self.high)):
            is_number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
            if bound is not None and (not is_number or math.isnan(bound)):
                raise invalid(who, name, "a number, or None", repr(bound), "Leave it out")
        if self.low is not None and self.high is not None and self.low >= self.high:
            given = f"low={self.low:g} and high={self.high:g}"
            raise invalid(who, "low", "below high", given, "Exchange them")

    def box(self, model: nn.Module) -> Box:
        box = box_of(model, self.low, self.high)
        if box.low >= box.high:
            who, action = type(self).__name__, "Give both low and high"
            raise invalid(who, "the box", "low below high", str(box), action)
        return box

    def begin(
        self, who: str, model: nn.Module, start: Tensor | None, seed: int, n: int = 1
    ) -> Tensor:
        box = self.box(model)
        if start is None:
            starts.check_known(who, model)
            start = starts.noise_in(box, model, seed=seed, n=n)
        check_input(who, model, start)
        action = f"Scale it, or give the box as nni.{type(self).__name__}(low=..., high=...)"
        box.check(who, "start", start, action)
        return self._parameters(start.clamp(*box), box)

    def _parameters(self, x: Tensor, box: Box) -> Tensor:
        raise NotImplementedError


class Pixels(_InBox):
    """The pixels themselves, put back into the box after each step.

    Free to use every frequency, and fond of the high ones: what convinces a network need not look
    like anything. Source: Erhan et al. 2009; the box is that of the data.
    """

    title: ClassVar[str] = "Pixels"

    def images(self, parameters: Tensor, box: Box) -> Tensor:
        return parameters

    def inside(self, parameters: Tensor, box: Box) -> Tensor:
        return parameters.clamp(*box)

    def unit(self, box: Box) -> float:
        return box.size

    def _parameters(self, x: Tensor, box: Box) -> Tensor:
        return x.clone()


class Fourier(_InBox):
    """The spectrum of the picture, in which low frequencies move faster, by ``1 / frequency^d``.

    ``x = low + (high − low) · sigmoid(4u)``, u the Hartley transform (Fourier's in real numbers) of
    ``scale · parameters``. The scale has root mean square 1, so that a step changes pixels by
    about as much as in :class:`Pixels`. It is the way that differs, not the objective: images are
    smoother. A start is met to 1/512 of the range, as black and white are infinitely far away.

    Raises ``ValueError`` for images without places and for a box with an open side.
    Source: Olah, Mordvintsev, Schubert 2017, "Preconditioning and parameterization".
    """

    title: ClassVar[str] = "Fourier spectrum"
    decay: float = param(1.0, "exponent d of the frequency", low=0, high=3, slider=(0, 2))

    def images(self, parameters: Tensor, box: Box) -> Tensor:
        waves = _hartley(parameters * self._scale(parameters))
        return box.low + box.size * (4 * waves).sigmoid()

    def _parameters(self, x: Tensor, box: Box) -> Tensor:
        if x.ndim < 3:
            expected, given = "pictures (N, C, ...)", f"shape {tuple(x.shape)}"
            raise invalid("Fourier", "start", expected, given, "Use nni.Pixels()")
        if not math.isfinite(box.high - box.low):
            raise invalid("Fourier", "the box", "closed", str(box), "Give low and high")
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # 1 − 1/512 is 1 in bfloat16
        share = ((wide - box.low) / box.size).clamp(_INSIDE, 1 - _INSIDE)
        return (_hartley(share.logit() / 4) / self._scale(wide)).to(x.dtype)

    def _scale(self, x: Tensor) -> Tensor:
        """How fast each frequency moves, shaped like a picture without its channels."""
        sides = x.shape[2:]
        squares = torch.zeros(sides, dtype=torch.float64)
        for axis, side in enumerate(sides):
            along = [-1 if other == axis else 1 for other in range(len(sides))]
            frequencies = torch.fft.fftfreq(side, dtype=torch.float64)
            squares = squares + frequencies.square().reshape(along)
        scale = squares.sqrt().clamp(min=1 / max(sides)) ** -self.decay
        return (scale / scale.square().mean().sqrt()).to(x)


class Code(Parametrisation):
    """The code of a generator, ``x = g(z)``: only what the generator can draw is searched.

    ``prior`` says where codes lie: "normal" anywhere, as drawn from N(0, 1); "positive" at z ≥ 0,
    as the code of a layer of ReLUs. Subtract ``nni.CodeNorm()`` to stay near the middle. A step
    moves z by ``step_size``.

    Raises ``ValueError`` for a generator in training mode, or whose images differ from what the
    model takes in shape or range.
    Source: Nguyen et al. 2016; Montavon, Samek, Müller 2018, sec. 3.3.
    """

    title: ClassVar[str] = "Code of a generator"
    generator: Callable[[Tensor], Tensor] = param(None, "maps codes (N, size) to images")
    prior: str = param("normal", "where codes lie", choices=("normal", "positive"))
    tries: int = param(
        16, "codes drawn for each image; the best is the start", low=1, high=10**4, slider=(1, 64)
    )

    def validate(self) -> None:
        action = "Try nni.models.load('digits-dcgan')"
        check_guest("Code", "generator", self.generator, action)

    def begin(
        self, who: str, model: nn.Module, start: Tensor | None, seed: int, n: int = 1
    ) -> Tensor:
        self._check_range(model)
        z = self._drawn(seed, n) if start is None else start
        generator = self.generator if isinstance(self.generator, nn.Module) else nn.Identity()
        check_input(who, generator, z)
        if self.prior == "positive" and bool((z < 0).any()):
            expected, action = "codes of at least 0, as prior asks", "Use start.clamp(min=0)"
            raise invalid(who, "start", expected, f"{float(z.min()):.4g}", action)
        self._check_images(who, model, z)
        return z.clone()

    def images(self, parameters: Tensor, box: Box) -> Tensor:
        made = ask("Code", "generator", self.generator, parameters)
        action = "Let it end in a sigmoid, or map its images to that range"
        box.check("Code", "the answer of generator", made.detach(), action)
        return made

    def inside(self, parameters: Tensor, box: Box) -> Tensor:
        return parameters.clamp(min=0) if self.prior == "positive" else parameters

    def code_of(self, parameters: Tensor) -> Tensor | None:
        return parameters

    def n_tries(self) -> int:
        return self.tries

    def _drawn(self, seed: int, n: int) -> Tensor:
        z = starts.codes(self.generator, n, seed)
        return z.abs() if self.prior == "positive" else z

    def _check_range(self, model: nn.Module) -> None:
        """Where generator and model both say their range, it must be the same."""
        if not (says_box(self.generator) and says_box(model)):
            return
        ours, theirs = box_of(self.generator), box_of(model)
        if ours != theirs:
            expected, given = f"that of the model, {theirs}", str(ours)
            action = "Map the images, as in lambda z: (generator(z) + 1) / 2"
            raise invalid("Code", "the range of the generator", expected, given, action)

    def _check_images(self, who: str, model: nn.Module, z: Tensor) -> None:
        """What the generator makes must be an input of the model."""
        made = self.images(z, self.box(model))
        shape = tuple(getattr(model, "input_shape", None) or made.shape[1:])
        if shape != made.shape[1:]:
            expected = f"images of shape {shape}, as the model takes"
            given, action = f"shape {tuple(made.shape[1:])}", "Choose a generator for this model"
            raise invalid("Code", "the answer of generator", expected, given, action)
        check_input("Code", model, made)
        run("Code", model, made[:1].clone())


def _hartley(x: Tensor) -> Tensor:
    """The orthonormal Hartley transform over all places; it is its own inverse."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    spectrum: Tensor = torch.fft.fftn(wide, dim=tuple(range(2, x.ndim)), norm="ortho")
    return (spectrum.real - spectrum.imag).to(x.dtype)
