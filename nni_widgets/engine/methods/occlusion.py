"""Methods that cover a part of the input and see how the score falls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.channels import Channels
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import Method, Result, logits_of
from nni_widgets.engine.methods.baselines import Constant
from nni_widgets.engine.methods.card import Card
from nni_widgets.engine.methods.chunks import in_chunks, rows_without_graph
from nni_widgets.engine.methods.fills import FILLS, Fill, as_fill, filled
from nni_widgets.engine.targets import Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import param

_MANY, _MUCH = 2000, 0.5


class Occlusion(Method):
    """Occlusion: how far the score falls when a window of the picture is covered.

    ``R_i = mean of f(x) − f(x∖W) over the windows W that contain i``; x∖W is x with all channels
    in W replaced by ``fill``. Windows begin every ``stride`` pixels, and one ends at each border,
    so that every pixel is covered. Positive: what is there speaks for the target.
    For the fall of a probability, explain one: ``target=lambda f: f.softmax(1)[:, 3]``.

    Shape: as x, signed, the same number for all channels of a pixel. Unit: that of the score.
    Raises ``ValueError`` for a window larger than x, a stride larger than the window.
    Cost: 1 forward pass, and 1 per window that changes the picture; memory bounded by a chunk.
    Source: Zeiler, Fergus 2014, sec. 4.2.
    """

    title: ClassVar[str] = "Occlusion"
    card = Card(
        kind="perturbation",
        question="How far does the score fall when this part of the picture is covered?",
        cost="1 F + 1 F per window",
        needs="nothing but a model that can be called",
        drawbacks="slow for small windows; the answer depends on window and fill; covered pictures "
        "are unlike any that the model has seen; blind to what is there twice",
    )
    channels: ClassVar[Channels] = "max"
    window: int = param(4, "side of the window, in pixels", low=1, slider=(1, 14))
    stride: int = param(2, "pixels from one window to the next, at most the window", low=1,
                        slider=(1, 14))  # fmt: skip
    fill: Fill = param(Constant(), "what covers the window", options=lambda: FILLS)

    def validate(self) -> None:
        object.__setattr__(self, "fill", as_fill(type(self).__name__, self.fill))

    def _steps(self, model: nn.Module, x: Tensor, target: Target, layers: bool) -> Iterator[Result]:
        who = type(self).__name__
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        score = selection(logits)
        windows, fill = self.windows(x), filled(type(self).__name__, self.fill, x)
        known = ~windows.touching(fill != x)
        falls = torch.zeros_like(known, dtype=score.dtype)

        @torch.no_grad()
        def measure(rows: Tensor) -> None:
            window, sample = rows // len(x), rows % len(x)
            covered = torch.where(windows.masks(window), fill[sample], x[sample])
            logits = logits_of(who, model, covered)
            falls[sample, window] = score[sample] - selection.rows(sample)(logits)
            known[sample, window] = True

        def result(done: int) -> Result:
            times = windows.spread(known.to(falls)).clamp(min=1)
            values = (windows.spread(falls) / times).to(x.dtype).expand_as(x).clone()
            passes = 1 + done / len(x)
            return Result(values, selection, logits, passes, done=done or 1, of=len(order) or 1)

        windows_first = windows.scattered()
        order = windows_first[:, None] * len(x) + torch.arange(len(x), device=x.device)
        order = order[~known.T[windows_first]]
        size = rows_without_graph(who, model, x)
        if not len(order):
            yield result(0)
        for done in in_chunks(order, len(x), size, measure):
            yield result(done)

    def cover(self, x: Tensor, *corner: int) -> Tensor:
        """The input with one window covered: that which begins at ``corner`` (top, left).

        Raises ``ValueError`` if the window reaches over the border.
        """
        last = [side - self.window for side in self.windows(x).sides]
        whole = len(corner) == len(last) and all(isinstance(start, Integral) for start in corner)
        if not whole or not all(0 <= start <= end for start, end in zip(corner, last, strict=True)):
            expected = f"between {(0,) * len(last)} and {tuple(last)}"
            who, action = type(self).__name__, "Keep the window inside the picture"
            raise invalid(who, "the corner of the window", expected, repr(corner), action)
        mask = window = torch.zeros_like(x, dtype=torch.bool)
        for axis, start in enumerate(corner, x.ndim - len(corner)):
            window = window.narrow(axis, int(start), self.window)
        window.fill_(True)
        return torch.where(mask, filled(type(self).__name__, self.fill, x), x.detach())

    def fall(self, model: nn.Module, x: Tensor, *corner: int, target: Target = None) -> Tensor:
        """How far the score falls when the one window at ``corner`` (top, left) is covered: (N,).

        The target is decided on x as it is. Raises as a call does. Cost: 2 forward passes.
        """
        who = type(self).__name__
        check_model(who, model)
        check_input(who, model, x)
        logits = logits_of(who, model, x)
        selection = resolve(target, logits, who)
        with torch.no_grad():
            return selection(logits) - selection(logits_of(who, model, self.cover(x, *corner)))

    def examine(self, model: nn.Module, x: Tensor) -> list[Finding]:
        who = type(self).__name__
        logits_of(who, model, x)
        windows = self.windows(x)
        touching = windows.touching(filled(type(self).__name__, self.fill, x) != x)
        share = 1 - float(touching.double().mean())
        found = []
        if share == 1:
            text = f"{who}: the picture equals what covers it, so that the map is zero everywhere."
            found.append(Finding("warning", f"{text} Choose another fill."))
        elif share > _MUCH:
            text = (
                f"{who}: {100 * share:.0f} % of the windows hide nothing, as the picture there "
                "equals what covers it: their zeros say nothing about the background."
            )
            found.append(Finding("note", text))
        if windows.count > _MANY:
            text = f"{who}: {windows.count} windows, one forward pass each, take long. "
            found.append(Finding("note", text + "A larger window and stride give a coarser map."))
        return found

    def windows(self, x: Tensor) -> Windows:
        """All windows over pictures like x. Raises as a call does."""
        who, windows = type(self).__name__, Windows(x, self.window, self.stride)
        if self.window > min(windows.sides):
            expected = f"at most {min(windows.sides)}, the picture's side"
            raise invalid(who, "window", expected, repr(self.window), "Choose a smaller one")
        if self.stride > self.window:
            expected, given = f"at most the window, {self.window}", repr(self.stride)
            action = "Pixels between two windows would never be covered"
            raise invalid(who, "stride", expected, given, action)
        return windows


class Windows:
    """All windows over the places of pictures like x: along every axis one begins each ``stride``.

    Along each axis the last one ends at the border. A window is a box, so that a 0/1 matrix per
    axis says what it covers; numbers per window are ``(N, K)``, K in the order of the corners.
    ``starts`` is where they begin along each axis.
    """

    def __init__(self, x: Tensor, window: int, stride: int) -> None:
        self._channels = (1,) if x.ndim > 2 else ()
        self.sides = tuple(x.shape[1 + len(self._channels) :])
        self.starts = tuple(_starts(side, window, stride) for side in self.sides)
        self._covers = [
            _intervals(side, window, starts).to(x.device)
            for side, starts in zip(self.sides, self.starts, strict=True)
        ]
        self._shape = [len(cover) for cover in self._covers]

    @property
    def count(self) -> int:
        """How many there are, K."""
        return math.prod(self._shape)

    def masks(self, index: Tensor) -> Tensor:
        """What each of these windows covers: booleans that broadcast over a batch of pictures."""
        mask = torch.ones(len(index), 1, dtype=torch.bool, device=index.device)
        for cover, at in zip(self._covers, torch.unravel_index(index, self._shape), strict=True):
            mask = (mask[:, :, None] & cover[at][:, None]).flatten(1)
        return mask.reshape(len(index), *self._channels, *self.sides)

    def touching(self, places: Tensor) -> Tensor:
        """Which windows cover a marked place of a picture, in any channel: ``(N, K)`` booleans."""
        counts = (places.any(1) if self._channels else places).float()
        for cover in self._covers:
            counts = torch.tensordot(counts, cover.to(counts), dims=([1], [1]))
        return counts.flatten(1) > 0

    def spread(self, numbers: Tensor) -> Tensor:
        """The sum, at every place, of the numbers of the windows that cover it."""
        total = numbers.reshape(-1, *self._shape)
        for cover in self._covers:
            total = torch.tensordot(total, cover.to(total), dims=([1], [0]))
        return total.reshape(-1, *self._channels, *self.sides)

    def scattered(self) -> Tensor:
        """The windows in an order whose every beginning is spread over the picture."""
        ratio = 2.0
        for _ in range(60):
            ratio = (1 + ratio) ** (1 / (len(self.sides) + 1))
        corners = torch.unravel_index(torch.arange(self.count), self._shape)
        place = sum(at.double() / ratio ** (axis + 1) for axis, at in enumerate(corners))
        return torch.as_tensor(place).frac().argsort().to(self._covers[0].device)


def _starts(side: int, window: int, stride: int) -> tuple[int, ...]:
    return (*range(0, side - window, stride), side - window)


def _intervals(side: int, window: int, starts: tuple[int, ...]) -> Tensor:
    """Which of ``side`` places each interval of length ``window`` covers: a boolean matrix."""
    after = torch.arange(side) - torch.tensor(starts)[:, None]
    return (after >= 0) & (after < window)
