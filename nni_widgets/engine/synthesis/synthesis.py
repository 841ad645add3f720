"""What is made, and how it is made: step by step, to be watched, left and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nni_widgets.engine.checks import check_model
from nni_widgets.engine.findings import Finding
from nni_widgets.engine.methods.base import final, model_lock
from nni_widgets.errors import invalid
from nni_widgets.params import Declared

_FEW = 5


@dataclass(frozen=True, eq=False, repr=False)
class Synthesis:
    """Images that were made for an objective, and how they came about.

    ``images`` ``(N, ...)`` lie in the box, without jitter; ``logits`` ``(N, K)`` and
    ``probabilities`` are those of these very images. ``objective`` ``(step + 1, N)`` is its value
    after 0, 1, 2 … steps: as the step that followed saw it, with its jitter, and at the end that of
    ``images``. ``terms`` are likewise the values of its single terms, without their weights, by
    their code; NaN at a step that had no such term. ``frames`` are pairs of a step and its images.
    ``step`` of ``of`` says how far it is, ``code`` is z where images are generated, ``passes``
    counts forward and backward passes per image.
    """

    images: Tensor
    logits: Tensor
    objective: Tensor
    terms: Mapping[str, Tensor]
    frames: tuple[tuple[int, Tensor], ...]
    step: int
    of: int
    passes: float
    made_by: Synthesizer
    code: Tensor | None = None
    state: Any = None

    @property
    def probabilities(self) -> Tensor:
        """The softmax of the logits, ``(N, K)``."""
        return self.logits.softmax(1)

    def __repr__(self) -> str:
        shape, best = tuple(self.images.shape), self.probabilities.max(1)
        answers = zip(best.indices[:_FEW].tolist(), best.values[:_FEW].tolist(), strict=True)
        seen = ", ".join(f"{k} ({p:.2f})" for k, p in answers)
        more = ", …" if len(self.images) > _FEW else ""
        return f"Synthesis of {shape} at step {self.step} of {self.of}: class {seen}{more}"


class Synthesizer(Declared):
    """Base of what makes images: called with a model and a start, or followed step by step.

    A subclass declares its parameters and ``_steps``, which goes on where a :class:`Synthesis` is
    the start.
    """

    title: ClassVar[str] = ""

    def __call__(self, model: nn.Module, start: Tensor | None = None) -> Synthesis:
        """The complete synthesis. ``start``: images ``(N, ...)`` or codes; see ``nni.starts``.

        Raises ``ValueError`` for a model or a start that do not fit.
        """
        return final(self.steps(model, start))

    def steps(self, model: nn.Module, start: Tensor | None = None) -> Iterator[Synthesis]:
        """The start, and what it becomes every few steps. Stop iterating to stop the work.

        The model is locked during a step and free between steps.
        """
        return self._locked(model, start)

    def resume(self, model: nn.Module, made: Synthesis) -> Synthesis:
        """Go on with what was made: to its end, or by as many steps again if it is complete.

        The same to the last bit as if it had never stopped. The parameters may have changed, unless
        they decide what an image is made of.
        """
        return final(self.resume_steps(model, made))

    def resume_steps(self, model: nn.Module, made: Synthesis) -> Iterator[Synthesis]:
        """What :meth:`resume` makes, every few steps."""
        who = type(self).__name__
        if not isinstance(made, Synthesis):
            expected, given = "what this method has made", type(made).__name__
            raise invalid(who, "what is resumed", expected, given, "To begin, call it with a start")
        return self._locked(model, made)

    def examine(self, model: nn.Module, start: Tensor | None = None) -> list[Finding]:
        """What would bend the meaning of what is made, or keep it from being made.

        Raises what a call would raise at its start. Cost: that of the first look.
        """
        next(self.steps(model, start))
        return []

    def _locked(self, model: nn.Module, start: Tensor | Synthesis | None) -> Iterator[Synthesis]:
        check_model(type(self).__name__, model)
        if isinstance(start, Tensor):
            with torch.inference_mode(False):
                start = start.clone() if start.is_inference() else start.detach()
        work = self._steps(model, start)
        while True:
            with model_lock, torch.inference_mode(False), torch.no_grad():
                made = next(work, None)
            if made is None:
                return
            yield made

    def _steps(self, model: nn.Module, start: Tensor | Synthesis | None) -> Iterator[Synthesis]:
        raise NotImplementedError
