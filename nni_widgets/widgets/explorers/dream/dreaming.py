"""How a dream goes: the parameters of the Dream explorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_widgets.engine.synthesis import Channel, Energy
from nni_widgets.engine.synthesis.dream import DeepDream
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, param, params

_WHO = "DreamExplorer"
_FRAMES = 20


class Dreaming(Declared):
    """How a dream goes; the parameters are those of :class:`DeepDream`."""

    n_octaves: int = param(4, "number of sizes, from small to large", low=1, high=20, slider=(1, 6))
    octave_scale: float = param(1.4, "ratio of two sizes", low=1.01, high=4, slider=(1.1, 2))
    n_steps: int = param(10, "steps at each size", low=1, high=10**4, slider=(1, 50))
    step_size: float = param(
        0.02, "strength: mean change of a step, as a share of the range", low=1e-6, high=1,
        slider=(0.002, 0.1), log=True,
    )  # fmt: skip
    jitter: int = param(16, "largest shift before a step, in pixels", low=0, slider=(0, 32))
    seed: int = param(0, "seed of the jitter", low=0, high=2**31, slider=(0, 20))

    def method(self, layer: str, channel: int | None) -> DeepDream:
        """The dream of a layer, or of one of its channels."""
        parameters = {each.name: getattr(self, each.name) for each in params(self)}
        objective = Energy(layer) if channel is None else Channel(layer, channel)
        keep_every = max(1, self.n_octaves * self.n_steps // _FRAMES)
        return DeepDream(objective, **parameters, keep_every=keep_every)


def with_parameters(dreaming: Dreaming, given: Mapping[str, Any]) -> Dreaming:
    """The parameters with these changed. Raises ``ValueError`` for an unknown one."""
    known = [each.name for each in params(dreaming)]
    for name in given:
        if name not in known:
            expected, action = f"one of {', '.join(known)}", "See the help of nni.explore_dream"
            raise invalid(_WHO, "a parameter", expected, name, action)
    changed: Dreaming = dreaming.replace(**given)
    return changed
