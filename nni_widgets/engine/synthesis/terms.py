"""The terms of an objective: their names, their checked values, the gradient of their sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nni_widgets.engine.synthesis.objectives import Objective, Seen
from nni_widgets.errors import invalid

Terms = dict[str, tuple[float, Objective]]
Values = dict[str, Tensor]


def named(objective: Objective) -> Terms:
    """The weighted terms by their code; those that only differ in a tensor are numbered."""
    terms: Terms = {}
    for weight, term in objective.terms:
        name, count = repr(term), 1
        while name in terms:
            count += 1
            name = f"{term!r}#{count}"
        terms[name] = weight, term
    return terms


def values(who: str, terms: Terms, seen: Seen, when: str) -> Values:
    """The value of each term for each image, without its weight; ``when`` is for the refusal."""
    found = {}
    for name, (_, term) in terms.items():
        value = term(seen)
        if not isinstance(value, Tensor) or value.shape != (len(seen.x),):
            expected = f"a tensor with one number per image, shape ({len(seen.x)},)"
            is_tensor = isinstance(value, Tensor)
            given = f"shape {tuple(value.shape)}" if is_tensor else type(value).__name__
            raise invalid(who, name, expected, given, "Return one per image")
        if not bool(value.detach().isfinite().all()):
            given, action = f"NaN or infinity {when}", "Use a smaller step_size, or bound it"
            raise invalid(who, name, "finite", given, action)
        found[name] = value
    return found


def weighted(terms: Terms, found: Values) -> Tensor:
    """The sum of the values of these terms, each times its weight, ``(N,)``."""
    return torch.stack([terms[name][0] * value for name, value in found.items()]).sum(0)


def gradient(who: str, total: Tensor, leaf: Tensor) -> Tensor:
    """∂total/∂leaf, each image from its own number; ``ValueError`` unless it exists."""
    found = None
    if total.requires_grad:
        try:
            (found,) = torch.autograd.grad(total.sum(), leaf, allow_unused=True)
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
            expected, given = "differentiable by autograd", "a write in place to what it needs"
            action = "Write out of place in the model's forward, as in h = h + y"
            raise invalid(who, "the objective", expected, given, action) from error
    if found is None:
        expected, given = "computed from the image by differentiable operations", "no gradient"
        raise invalid(who, "the objective", expected, given, "Avoid .detach() and no_grad()")
    if not bool(found.isfinite().all()):
        given, action = "NaN or infinity", "Start elsewhere, e.g. from noise"
        raise invalid(who, "the gradient of the objective", "finite", given, action)
    return found


def histories(steps: Sequence[Values]) -> Values:
    """The values of each term at all steps ``(T, N)``, NaN where there was no such term."""
    absent = torch.full_like(next(iter(steps[-1].values())), torch.nan)
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: torch.stack([step.get(name, absent) for step in steps]) for name in names}
