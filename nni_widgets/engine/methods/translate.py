"""A method that averages another method over small translations of the input."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.averaging import Averaging, Copies
from nni_widgets.engine.methods.base import AnyMethod, Method, as_method
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.lrp import LRP
from nni_widgets.errors import invalid
from nni_widgets.params import param


class TranslationAverage(Averaging):
    """The mean attribution of translated copies, each map moved back: grid artefacts cancel.

    ``R = 1/n Σ_t T_tᵀ R_of(T_t x)`` over all n = (2 · shift + 1)² translations T_t by at most
    ``shift`` pixels along each axis. What moves in at a border repeats the pixels at the edge; the
    relevance of a copied pixel is given back to the pixel it was copied from. So ΣR is the mean
    of the translated copies' ΣR, which is the mean of f(T_t x) if ``of`` adds up. The target is
    decided once, on the clean input. Without spatial axes nothing can be moved: R = R_of(x).

    Shape: as x (axes behind the channels are moved). Unit: as ``of``. Cost: n × the cost of ``of``
    and 1 forward pass; memory bounded by a chunk. Raises ``ValueError`` if the shift is not smaller
    than the picture. Source: the averaging of SmoothGrad (Smilkov et al. 2017, sec. 3), with
    translations in place of noise; for the grid artefacts Odena et al. 2016 (Distill).
    """

    title: ClassVar[str] = "Translation average"
    card = Card(
        kind="average",
        question="Which part of an attribution stays when the picture is moved by a few pixels?",
        cost="(2 · shift + 1)² × that of the averaged method + 1 F",
        needs="pictures; what the averaged method needs",
        drawbacks="slow; blurs by up to shift pixels; edge pixels stand for what moves in",
    )
    of: AnyMethod = param(LRP(), "the method that is averaged", options=lambda: _others())
    shift: int = param(2, "largest translation along an axis, in pixels", low=0, slider=(0, 4))

    def _copies(self, x: Tensor) -> Copies:
        self._check_size(x)
        offsets = self._offsets(x)

        def moved(sample: Tensor, copy: Tensor) -> Tensor:
            return _moved(x[sample], offsets[copy])

        def back(values: Tensor, copy: Tensor) -> Tensor:
            return _moved_back(values, offsets[copy])

        return Copies(len(offsets), moved, back)

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        self._check_size(x)
        found = as_method(self.of).examine(model, x)
        if x.ndim < 3:
            text = "TranslationAverage: the input has no axis to move along. Use the method alone."
            found.append(Finding("warning", text))
        return found

    def _check_size(self, x: Tensor) -> None:
        least = min(x.shape[2:], default=self.shift + 1)
        if self.shift >= least:
            expected = f"smaller than the picture's shortest side, {least}"
            action = "Choose a smaller shift"
            raise invalid(type(self).__name__, "shift", expected, self.shift, action)

    def _offsets(self, x: Tensor) -> Tensor:
        """Every translation ``(n, axes)``, the smallest first."""
        steps = range(-self.shift, self.shift + 1)
        every = itertools.product(steps, repeat=x.ndim - 2)
        ordered = sorted(every, key=lambda by: sum(step * step for step in by))
        return torch.tensor(ordered, dtype=torch.long).reshape(len(ordered), x.ndim - 2)


def _moved(x: Tensor, by: Tensor) -> Tensor:
    """Each row of x moved by its own offset ``(rows, axes)``, the edge repeated."""
    for axis in range(by.shape[1]):
        x = x.gather(2 + axis, _sources(x, by, axis))
    return x


def _moved_back(values: Tensor, by: Tensor) -> Tensor:
    """The transpose of :func:`_moved`: each number goes to the pixel that was copied there."""
    for axis in reversed(range(by.shape[1])):
        sources = _sources(values, by, axis)
        values = torch.zeros_like(values).scatter_add_(2 + axis, sources, values)
    return values


def _sources(x: Tensor, by: Tensor, axis: int) -> Tensor:
    """For each number of the moved x the place along the axis that it was copied from."""
    length = x.shape[2 + axis]
    places = (torch.arange(length) - by[:, axis, None]).clamp(0, length - 1)
    shape = [len(x), *[1] * (x.ndim - 1)]
    shape[2 + axis] = length
    return places.to(x.device).reshape(shape).expand(x.shape)


def _others() -> tuple[type[Method], ...]:
    from nni_widgets.engine.methods import METHODS

    return tuple(method for method in METHODS if method is not TranslationAverage)
