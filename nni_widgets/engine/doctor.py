"""The model doctor: what would make an explanation wrong or undefined, and what to do about it.

Every method call refuses what is wrong, one thing at a time (``checks``). The doctor looks at
everything at once, before any attribution is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import AnyMethod, as_method, model_lock, ordinary
from nni_widgets.engine.methods.lrp import LRP
from nni_widgets.engine.synthesis.synthesis import Synthesizer
from nni_widgets.errors import UnsupportedOperation


@dataclass(frozen=True)
class Report:
    """The findings, most severe first; ``healthy`` if nothing stops the method."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether the method can be used."""
        return all(finding.severity != "error" for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "nothing to say: the model suits the method"

    __repr__ = __str__


def diagnose(
    model: nn.Module, x: Tensor | None = None, method: AnyMethod | Synthesizer | None = None
) -> Report:
    """Examine a model and an input for a method (default: LRP).

    For what makes images, such as activation maximization, x is its start, or None for the usual.
    What is wrong with the model or the input is not raised but in the report, with what to do.
    Cost: that of one explanation, without repetitions for SmoothGrad, and one forward pass.
    """
    try:
        found = _findings(model, x, method)
    except (ValueError, UnsupportedOperation) as error:
        return Report((Finding("error", str(error)),))
    order = ("error", "warning", "note")
    return Report(tuple(sorted(found, key=lambda finding: order.index(finding.severity))))


def _findings(
    model: nn.Module, x: Tensor | None, method: AnyMethod | Synthesizer | None
) -> list[Finding]:
    if isinstance(method, Synthesizer):
        return method.examine(model, x)
    method = LRP() if method is None else as_method(method, "diagnose")
    who = method.name
    check_model(who, model)
    check_input(who, model, cast(Tensor, x))
    with model_lock, torch.inference_mode(False):
        return method.examine(model, ordinary(cast(Tensor, x)))
