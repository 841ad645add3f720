"""The sanity check: does an explanation change when the network forgets what it has learnt?"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nni_widgets.engine.channels import joined
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.methods.base import logits_of
from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject
from nni_widgets.engine.metrics.similarity import rank_correlation, structural_similarity
from nni_widgets.errors import invalid
from nni_widgets.params import is_whole, param

_FAR_APART = 1_000_003


class Randomisation(Metric):
    """Randomisation check: how like itself a map stays when weights are replaced by random ones.

    The layers are drawn anew one after the other from the top down, each on top of those before
    (`randomised`); score: the similarity of the maps before and after the last of them. Near 1: the
    map has not looked at what was learnt. The target stays that of the trained model. ``"rank"``:
    Spearman's correlation over the places; a map of one value is like another such map (1) and like
    nothing else (0). ``"ssim"``: SSIM of the maps, each divided by its largest absolute value.

    Curve: the similarity after 0, 1, … layers over the share of all layers. Raises ``ValueError``
    for more layers than there are. Cost: 1 R + 1 R per layer and 1 F of one sample.
    Source: Adebayo et al. 2018, sec. 3 (cascading randomisation; rank correlation and SSIM).

    Quantus (MPRT) goes from the layer that was defined last, not from the one that runs last.
    """

    title: ClassVar[str] = "Randomisation check"
    card: ClassVar[MetricCard] = MetricCard(
        question="Does the map stay the same although the network has forgotten what it knew?",
        better="lower",
        range="−1 to 1",
        cost="1 R + 1 R per layer",
        drawbacks="a map that is zero where the picture is black stays alike for that alone; a low "
        "score says that the weights matter, not that the map is right",
    )
    asks_again: ClassVar[bool] = True
    n_layers: int = param(0, "layers drawn anew, from the top; 0: all", low=0, slider=(0, 10))
    similarity: str = param("rank", "how two maps are compared", choices=("rank", "ssim"))
    absolute: bool = param(True, "compare |R|, without the signs")
    seed: int = param(0, "seed of the random weights", low=0, high=2**31, slider=(0, 20))

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        names = layers_from_top(subject.model, subject.x)
        _check_number(type(self).__name__, self.n_layers, names)
        number = self.n_layers or len(names)
        before = subject.attribution
        curve = [self.likeness(before, before)]
        model = subject.model
        for done in range(1, number + 1):
            model = _redrawn(model, names, [done - 1], self.seed)
            last = subject.explained(model)
            curve.append(self.likeness(before, last.values.double()))
            yield Measured(
                values=curve[-1],
                passes=done * last.passes,
                curve=torch.stack(curve, 1),
                shares=torch.arange(done + 1).double() / len(names),
                done=done,
                of=number,
            )

    def likeness(self, before: Tensor, after: Tensor) -> Tensor:
        """How like each other two attributions are, ``(N, ...)`` both: ``(N,)``, float64."""
        a, b = self._map(before), self._map(after)
        if self.similarity == "rank":
            return rank_correlation(a.flatten(1), b.flatten(1))
        return structural_similarity(_scaled(a), _scaled(b), 1 if self.absolute else 2)

    def _map(self, attribution: Tensor) -> Tensor:
        summed = joined(attribution, "sum")
        return summed.abs() if self.absolute else summed


def layers_from_top(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    """The modules with weights of their own that run on x, from the output down.

    Those are the paths of ``model.named_modules()``. What counts is when the weights are read for
    the last time, not where the module was defined: a module that runs twice is named once, and one
    that does not run is not named. Raises ``ValueError`` for a model where no weights are read.
    Cost: 1 forward pass of one sample.
    """
    check_model("layers_from_top", model)
    check_input("layers_from_top", model, x)
    with _Readers(model) as readers:
        logits_of("layers_from_top", model, x[:1])
    if not readers.last_read:
        expected, given = "one whose weights are read by torch operations", "none that was seen"
        action = "Give a model with weights, not scripted or compiled"
        raise invalid("layers_from_top", "the model", expected, given, action)
    return tuple(reversed(readers.last_read))


def randomised(
    model: nn.Module, x: Tensor, n_layers: int, seed: int = 0, independent: bool = False
) -> nn.Module:
    """A copy of the model whose ``n_layers`` top layers have forgotten what they learnt.

    They are drawn anew by their own ``reset_parameters()``, as before training; a parameter that
    this leaves alone, or that has no such function, from a normal distribution with its mean and
    standard deviation. Batch-norm begins again with mean 0 and variance 1. ``independent``: only
    the last of these layers, `layers_from_top` ``(model, x)[n_layers - 1]``. A layer's new weights
    depend on ``seed`` and its number from the top alone. The model and torch's random state stay
    as they are.

    Raises ``ValueError`` for more layers than there are, or a model that cannot be copied.
    Cost: 1 forward pass of one sample. Source: Adebayo et al. 2018, sec. 3: cascading and
    independent randomisation.
    """
    names = layers_from_top(model, x)
    _check_number("randomised", n_layers, names)
    if not is_whole(seed):
        raise invalid("randomised", "seed", "a whole number", repr(seed), "Try 0")
    first = max(n_layers - 1, 0) if independent else 0
    return _redrawn(model, names, range(first, n_layers), seed)


class _Readers(TorchFunctionMode):
    """Notes the modules whose own parameters a torch call reads, in the order of the last time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.last_read: dict[str, None] = {}
        self._owners: dict[int, str] = {}
        for name, module in model.named_modules():
            for parameter in module.parameters(recurse=False):
                self._owners.setdefault(id(parameter), name)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(part, Tensor) for part in pytree.tree_leaves(result)):
            for item in pytree.tree_leaves((args, kwargs)):
                owner = self._owners.get(id(item))
                if owner is not None:
                    self.last_read.pop(owner, None)
                    self.last_read[owner] = None
        return result


def _check_number(who: str, n_layers: int, names: tuple[str, ...]) -> None:
    if not is_whole(n_layers) or not 0 <= n_layers <= len(names):
        expected = f"a whole number from 0 to {len(names)}, the layers with weights"
        raise invalid(who, "n_layers", expected, repr(n_layers), "See layers_from_top(model, x)")


def _redrawn(
    model: nn.Module, names: tuple[str, ...], numbers: Iterable[int], seed: int
) -> nn.Module:
    """A copy of the model in which the layers with these numbers are drawn anew."""
    with torch.inference_mode(False), torch.no_grad():
        changed = _copied(model)
        modules = dict(changed.named_modules())
        for number in numbers:
            _redraw(modules[names[number]], (seed + 1) * _FAR_APART + number)
    return changed


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        given = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        action = "Keep no results of a forward pass in the model's attributes"
        raise invalid("randomised", "the model", "one that copy.deepcopy can copy", given,
                      action) from error  # fmt: skip


def _redraw(module: nn.Module, seed: int) -> None:
    """Draw a module's own parameters anew, on the CPU, so that every device gets the same."""
    fresh = copy.deepcopy(module).cpu()
    parameters = list(fresh.parameters(recurse=False))
    before = [(parameter._version, parameter.clone()) for parameter in parameters]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if callable(reset := getattr(fresh, "reset_parameters", None)):
            with suppress(TypeError):  # one that must be told something
                reset()
        for parameter, (version, values) in zip(parameters, before, strict=True):
            if parameter._version == version and parameter.equal(values):
                parameter.normal_(float(parameter.mean()), float(parameter.std(correction=0)))
    for mine, new in zip(_own(module), _own(fresh), strict=True):
        mine.copy_(new)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _scaled(maps: Tensor) -> Tensor:
    largest = maps.flatten(1).abs().amax(1).reshape(-1, *[1] * (maps.ndim - 1))
    return maps / torch.where(largest > 0, largest, 1.0)
