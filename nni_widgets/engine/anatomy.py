"""What a network is made of, as it runs: data for drawing it and looking into it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.checks import check_input, check_model
from nni_widgets.engine.tape import record

INPUT = "(input)"


@dataclass(frozen=True, eq=False)
class Part:
    """One operation: its label and kind, the parts that it reads, and what it makes of x.

    ``inputs`` are labels, :data:`INPUT` for x itself; ``activation`` is its first output.
    """

    label: str
    kind: str
    inputs: tuple[str, ...]
    activation: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what it makes of one sample."""
        return tuple(self.activation.shape[1:])


def anatomy(model: nn.Module, x: Tensor) -> tuple[Part, ...]:
    """The operations that lead from x to the logits, in the order in which they run.

    They are those that a rule can be given to: batch-norm is part of the layer before it, and
    dropout and other identities are left out. Raises as a method does. Cost: one forward pass.
    """
    who = "anatomy"
    check_model(who, model)
    check_input(who, model, x)
    made_by = {0: INPUT}
    parts = []
    for op in canonical(record(model, x.detach(), who)).ops:
        inputs = tuple(made_by[number] for number in op.inputs)
        parts.append(Part(op.label, op.kind, inputs, op.results[0]))
        made_by.update(dict.fromkeys(op.outputs, op.label))
    return tuple(parts)
