"""What an image is made for: objectives that add up, each a number per image.

An objective is a value: ``LogProbability(3) - 0.05 * L2()`` is a :class:`Sum` that can be compared,
printed as the code that makes it, and asked for its number on what a model has :class:`Seen`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from nni_widgets.engine.targets import Classes, Selection, Target, resolve
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, is_whole, param


@dataclass(frozen=True, eq=False)
class Seen:
    """What an objective can read: N images and what a model makes of them, with their graph.

    ``x`` ``(N, ...)`` are the images as they are; ``logits`` ``(N, K)`` and ``activations`` (of the
    layers in the objective's ``layers``, by the name given there) are what the model made of them,
    after jitter, rotation and scaling if there were any. ``code`` is z where the images are
    generated from codes; ``predicted`` ``(N,)`` the classes of the images of the start.
    """

    x: Tensor
    logits: Tensor | None = None
    activations: Mapping[str, Tensor] = field(default_factory=dict)
    code: Tensor | None = None
    predicted: Tensor | None = None


class Objective(Declared):
    """Base of the objectives: a number per image, larger where the image is more of what is sought.

    Called with what was :class:`Seen` it gives ``(N,)``, differentiable, each row from its own
    image alone. ``a + b``, ``a - b``, ``0.1 * a`` and ``-a`` make a :class:`Sum`. ``layers`` and
    ``needs_logits`` say what must be seen.
    """

    title: ClassVar[str] = ""
    says_parameters: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = False
    __array_ufunc__: ClassVar[None] = None  # a number of numpy leaves the product to __rmul__

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers whose activations it reads."""
        return ()

    @property
    def n_images(self) -> int:
        """How many images it is for, if it says so: 1, or one for each of its targets."""
        return 1

    @property
    def terms(self) -> tuple[tuple[float, Objective], ...]:
        """The weighted terms that it is the sum of."""
        return ((1.0, self),)

    def __call__(self, seen: Seen) -> Tensor:
        """The number of each image, ``(N,)``."""
        raise NotImplementedError

    def __add__(self, other: Objective) -> Objective:
        return _total(self, other) if isinstance(other, Objective) else NotImplemented

    def __radd__(self, other: object) -> Objective:
        return self if isinstance(other, Real) and other == 0 else NotImplemented  # for sum()

    def __sub__(self, other: Objective) -> Objective:
        return _total(self, -other) if isinstance(other, Objective) else NotImplemented

    def __mul__(self, weight: float) -> Objective:
        if not isinstance(weight, Real):
            return NotImplemented
        return _total(Sum(tuple((float(weight) * own, term) for own, term in self.terms)))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self


class Sum(Objective):
    """``Σ weight · term``: what the operators make. Like terms are joined, terms × 0 left out.

    Shape: ``(N,)``. Raises ``ValueError`` for a weight that is not a finite number.
    """

    title: ClassVar[str] = "Sum"
    terms: tuple[tuple[float, Objective], ...] = param((), "pairs of a weight and an objective")

    def validate(self) -> None:
        pairs = list(_pairs(self.terms))
        terms = [term for _, term in pairs]
        weights = [0.0] * len(pairs)
        for weight, term in pairs:  # an objective that holds an array has no hash
            weights[terms.index(term)] += weight
        kept = tuple(pair for pair in zip(weights, terms, strict=True) if pair[0] != 0)
        object.__setattr__(self, "terms", kept)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for _, term in self.terms for layer in term.layers))

    @property
    def n_images(self) -> int:
        return max((term.n_images for _, term in self.terms), default=1)

    @property
    def needs_logits(self) -> bool:  # type: ignore[override]
        """Whether one of the terms does."""
        return any(term.needs_logits for _, term in self.terms)

    def __call__(self, seen: Seen) -> Tensor:
        total = seen.x.new_zeros(len(seen.x))
        for weight, term in self.terms:
            total = total + weight * term(seen)
        return total

    def code(self, prefix: str) -> str:
        """The expression that makes it, such as ``Logit(target=3) - 0.1 * L2()``."""
        text = ""
        for weight, term in self.terms:
            sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
            factor = "" if abs(weight) == 1 else f"{abs(weight)!r} * "
            text += sign + factor + term.code(prefix)
        return text or f"{prefix}Sum()"


class _ClassScore(Objective):
    """Base of the objectives on the model's output."""

    needs_logits: ClassVar[bool] = True
    target: Target = param(None, "a class, or one per image; None: as the model sees the start")

    def validate(self) -> None:
        if isinstance(self.target, (list, range)):
            object.__setattr__(self, "target", tuple(self.target))

    @property
    def n_images(self) -> int:
        is_several = isinstance(self.target, tuple) or getattr(self.target, "ndim", 0) == 1
        return max(len(self.target), 1) if is_several else 1  # type: ignore[arg-type]

    def _selection(self, logits: Tensor, predicted: Tensor | None) -> Selection:
        if self.target is None and predicted is not None:
            return Classes(predicted)
        return resolve(self.target, logits, type(self).__name__)


class Logit(_ClassScore):
    """The logit of a class, ``f_c(x)``.

    ``target``: one class, one per image, :class:`Difference` or a function on the logits; ``None``
    is the class predicted for each image of the start. A logit can also grow by what speaks for
    every class alike.

    Shape: ``(N,)``. Unit: logit. Raises ``ValueError`` for a class that the model has not.
    Source: Simonyan, Vedaldi, Zisserman 2014, sec. 2, where it is the unnormalised class score.
    """

    title: ClassVar[str] = "Logit"

    def __call__(self, seen: Seen) -> Tensor:
        logits = _logits(seen, "Logit")
        return self._selection(logits, seen.predicted)(logits)


class LogProbability(_ClassScore):
    """The log-probability of a class, ``log p(ω_c|x) = f_c − log Σ_k exp f_k``.

    ``target`` as in :class:`Logit`; a function is called with the log-probabilities. Never above 0,
    and flat where the class is certain: there a prior rules the image.

    Shape: ``(N,)``. Unit: nat. Raises ``ValueError`` for a class that the model has not, and for a
    model with one output, whose probability is always 1.
    Source: Montavon, Samek, Müller 2018, sec. 3.1.
    """

    title: ClassVar[str] = "Log-probability"

    def __call__(self, seen: Seen) -> Tensor:
        logits = _logits(seen, "LogProbability")
        if logits.shape[1] == 1:
            given, action = "one", "Use nni.Logit(0)"
            raise invalid("LogProbability", "the model's output", "several logits", given, action)
        selection = self._selection(logits, seen.predicted)
        return selection(torch.log_softmax(logits, 1))


class _LayerScore(Objective):
    """Base of the objectives on a layer. Axis 1 of its activations are channels, the rest places.

    Without a name it is the last layer that has maps of more than one place.
    """

    layer: str = param("", "a name of nni.layers(model, x); empty: the last that has places")

    def validate(self) -> None:
        if not isinstance(self.layer, str):
            who, action = type(self).__name__, "See nni.layers(model, x)"
            raise invalid(who, "layer", "the name of a layer", repr(self.layer), action)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def _activations(self, seen: Seen) -> Tensor:
        """What the layer made, ``(N, C, places)``."""
        who, made = type(self).__name__, seen.activations.get(self.layer)
        if made is None:
            given, action = "not watched", "Name it in the objective's layers"
            raise invalid(who, f"layer {self.layer!r}", "among the activations", given, action)
        if made.ndim < 2 or len(made) != len(seen.x):
            expected, given = "one of activations (N, C, ...)", f"shape {tuple(made.shape)}"
            raise invalid(who, f"layer {self.layer!r}", expected, given, "Choose another layer")
        return made.flatten(2) if made.ndim > 2 else made[:, :, None]


class _ChannelScore(_LayerScore):
    """Base of the objectives on one channel of a layer."""

    channel: int = param(0, "number of the channel or unit", low=0, slider=(0, 63))

    def _maps(self, seen: Seen) -> Tensor:
        """The channel's activations, ``(N, places)``."""
        maps = self._activations(seen)
        who = type(self).__name__
        if self.channel >= maps.shape[1]:
            expected = f"from 0 to {maps.shape[1] - 1} in {self.layer or 'this layer'}"
            raise invalid(who, "channel", expected, self.channel, "Choose one of the channels")
        return maps[:, self.channel]


class Unit(_ChannelScore):
    """The activation of one unit: of a channel at one place, ``a_{c,i,j}``.

    Without ``row`` and ``column`` the place in the middle; in a dense layer ``channel`` is the
    unit. Before a ReLU it has a gradient everywhere, after it only where the unit is active.

    Shape: ``(N,)``. Unit: that of the activation. Raises ``ValueError`` for a place or channel that
    the layer has not. Source: Erhan et al. 2009; Olah et al. 2017, "Neuron".
    """

    title: ClassVar[str] = "Unit"
    row: int | None = param(None, "row of the place; None: the middle")
    column: int | None = param(None, "column of the place; None: the middle")

    def validate(self) -> None:
        super().validate()
        for name, given in (("row", self.row), ("column", self.column)):
            if given is None:
                continue
            if not is_whole(given) or given < 0:
                expected, action = "a whole number of at least 0, or None", "Leave it out"
                raise invalid("Unit", name, expected, repr(given), action)
            object.__setattr__(self, name, int(given))

    def __call__(self, seen: Seen) -> Tensor:
        return self._maps(seen)[:, self._place(seen.activations[self.layer].shape[2:])]

    def _place(self, sides: torch.Size) -> int:
        """The number of the place among all places of a map with these sides."""
        given = (self.row, self.column)[-len(sides) :] if sides else ()
        given = (None,) * (len(sides) - len(given)) + given
        if (self.row is not None and len(sides) < 2) or (self.column is not None and not sides):
            got = f"row={self.row} and column={self.column}"
            expected = f"left out, or one for each side of a map of shape {tuple(sides)}"
            raise invalid("Unit", "row and column", expected, got, "Leave out what is too much")
        number = 0
        for side, place in zip(sides, given, strict=True):
            if place is not None and place >= side:
                expected = f"inside the map of shape {tuple(sides)}"
                raise invalid("Unit", "row and column", expected, place, "Count from 0")
            number = number * side + (side // 2 if place is None else place)
        return number


class Channel(_ChannelScore):
    """The mean activation of a channel over its places, ``1/P Σ_p a_{c,p}``.

    Shape: ``(N,)``. Unit: that of the activation. Raises ``ValueError`` for a channel that the
    layer has not. Source: Olah, Mordvintsev, Schubert 2017, "Channel".
    """

    title: ClassVar[str] = "Channel"

    def __call__(self, seen: Seen) -> Tensor:
        return self._maps(seen).mean(1)


class Energy(_LayerScore):
    """The energy of a whole layer, ``½ mean a²``: more of whatever it sees already.

    Its gradient starts the backward pass with the activations themselves, as DeepDream does.

    Shape: ``(N,)``. Unit: that of the activation, squared. Source: Mordvintsev, Olah, Tyka 2015,
    "Inceptionism", where the layer's activations are set as its gradient.
    """

    title: ClassVar[str] = "Energy of a layer"

    def __call__(self, seen: Seen) -> Tensor:
        return wide(self._activations(seen)).square().mean((1, 2)) / 2


class Direction(_LayerScore):
    """How far the activations of a layer point in a direction, ``mean over places of ⟨a, v⟩``.

    ``vector`` has one number per channel, such as the mean activations of one class less those of
    another; with v = (0, …, 1, …, 0) it is :class:`Channel`.

    Shape: ``(N,)``. Unit: that of the activation × that of v. Raises ``ValueError`` for a vector of
    another length. Source: Olah, Mordvintsev, Schubert 2017, "Interactions between neurons".
    """

    title: ClassVar[str] = "Direction"
    vector: Tensor = param(None, "a tensor with one number per channel", array=True)

    def __call__(self, seen: Seen) -> Tensor:
        maps = wide(self._activations(seen))
        vector = finite("Direction", "vector", self.vector).to(maps)
        if vector.shape != maps.shape[1:2]:
            expected = f"a tensor of shape ({maps.shape[1]},), one number per channel"
            given, action = f"shape {tuple(vector.shape)}", "Choose the layer that it was made for"
            raise invalid("Direction", "vector", expected, given, action)
        return torch.einsum("ncp,c->n", maps, vector) / maps.shape[2]


def finite(who: str, what: str, given: Any) -> Tensor:
    """A number or an array as a tensor, without a graph; ``ValueError`` unless it is finite."""
    expected = "finite numbers, as a tensor"
    try:
        values = torch.as_tensor(given, dtype=torch.float64 if isinstance(given, Real) else None)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(given).__name__
        raise invalid(who, what, expected, kind, "Give a tensor") from error
    if values.is_complex() or not bool(values.isfinite().all()):
        raise invalid(who, what, expected, "NaN, infinite or complex ones", "Clean it")
    return values.detach() if values.is_floating_point() else values.double()


def wide(values: Tensor) -> Tensor:
    """The same in float32 at least: sums of many squares leave the range of float16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _logits(seen: Seen, who: str) -> Tensor:
    if seen.logits is None:
        raise invalid(who, "the logits", "among what is seen", "None", "Run the whole model")
    return seen.logits


def _total(*objectives: Objective) -> Objective:
    """The sum; a term by itself if it is the only one and its weight is 1."""
    total = Sum(tuple(pair for objective in objectives for pair in objective.terms))
    if len(total.terms) == 1 and total.terms[0][0] == 1:
        return total.terms[0][1]
    return total


def _pairs(terms: Iterable[Any]) -> Iterable[tuple[float, Objective]]:
    """The pairs, a sum inside a sum dissolved."""
    expected = "pairs of a finite weight and an objective"
    for pair in terms if isinstance(terms, Iterable) else (terms,):
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        weight, term = pair if is_pair else (math.nan, None)
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not (is_number and math.isfinite(weight) and isinstance(term, Objective)):
            raise invalid("Sum", "terms", expected, repr(pair), "Write 0.1 * nni.L2()")
        for own, part in term.terms:
            yield float(weight) * own, part
