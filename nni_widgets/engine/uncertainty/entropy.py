"""Which pixels cause the doubt: the entropy of a prediction as something to be explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nni_widgets.engine.checks import check_model
from nni_widgets.engine.uncertainty.prediction import entropy, log_mean
from nni_widgets.engine.uncertainty.sources import (
    MCDropout,
    Models,
    Source,
    Versions,
    check_source,
)
from nni_widgets.engine.uncertainty.thinning import Around, describe_as
from nni_widgets.params import Declared

_ROWS = 64


class Entropy(Declared):
    """The entropy of the predicted probabilities, as a target for any method.

    ``H = −Σ p_k log p_k`` with ``p = softmax(logits)``, in nats, 0 to log K. What is positive in
    the map raises the doubt, what is negative settles it. On `Averaged` it is the entropy of the
    mean prediction of an uncertain model.

    Shape: logits ``(N, K)`` to ``(N,)``. A decomposition of the logits (LRP) does not add up to it.
    """

    def __call__(self, logits: Tensor) -> Tensor:
        """The entropy of each row."""
        return entropy(logits.log_softmax(-1))


class Averaged(Around):
    """The mean prediction of an uncertain model, as a model: its logits are log p̄(x).

    Any method that asks for outputs or gradients explains it (gradients, integrated gradients,
    SmoothGrad, occlusion); those that need a rule for every layer refuse its logarithm. With
    ``target=Entropy()`` they tell which pixels cause the doubt of the model as a whole.

    Shape: as the model's. Raises as the source does. Cost: that of the source, T forward passes at
    most; with a gradient 1 more forward pass of each and the backward passes, in bounded memory.
    """

    def __init__(self, model: Models, source: Source = MCDropout()) -> None:  # noqa: B008
        check_source("Averaged", source)
        super().__init__(model if isinstance(model, nn.Module) else _joined(model))
        self._models, self._source = model, source
        self._versions: Versions | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The logarithm of the mean probabilities, ``(N, K)``."""
        versions = self._versions or self._source.versions(self._models, x.detach())
        self._versions = versions

        def log_samples(x: Tensor, which: Tensor) -> Tensor:
            return versions.logits(x, which).log_softmax(2)

        some = torch.arange(versions.number).split(max(1, _ROWS // len(x)))
        with_graph = torch.is_grad_enabled() and x.requires_grad
        part = partial(_made_again, log_samples) if with_graph else log_samples
        return log_mean(torch.cat([part(x, which) for which in some]))


def _joined(models: Sequence[nn.Module]) -> nn.Module:
    for model in models:
        check_model("Averaged", model)
    joined = nn.ModuleList(models)
    joined.training = False
    for model in models[:1]:
        describe_as(joined, model)
    return joined


def _made_again(part: Callable[[Tensor, Tensor], Tensor], x: Tensor, which: Tensor) -> Tensor:
    """The part, whose graph is not kept but made anew for the backward pass."""
    made: Tensor = checkpoint(part, x, which, use_reentrant=False, preserve_rng_state=False)
    return made
