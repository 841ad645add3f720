"""What is known about a picture, in words: the same for the page and for the digest."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from nni_widgets.engine.uncertainty import Dirichlet, Prediction, UncertainAttribution
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.explorers.uncertainty.work import ANGLES

_MOST, _ALIKE = 3, 0.005


def answer(prediction: Prediction, classes: Sequence[str]) -> str:
    """The mean prediction with its spread, and what the samples vote for."""
    p, spread = prediction.probabilities[0], prediction.deviation[0]
    k = int(prediction.predicted[0])
    said = f"{number(float(p[k]), 1)} ± {number(float(spread[k]), 1)}"
    counts = prediction.votes[0]
    votes = ", ".join(f"{int(counts[j])} for {classes[j]}" for j in _largest(counts))
    return f"predicted {classes[k]} (p̄ = {said}); votes of {prediction.done}: {votes}"


def doubt(known: Prediction | Dirichlet, n_classes: int) -> str:
    """The entropy of one picture and its two parts, in nats."""
    whole = math.log(n_classes)
    total, expected, mutual = (
        number(float(each[0]), 1)
        for each in (known.entropy, known.expected_entropy, known.mutual_information)
    )
    return (
        f"entropy {total} of {number(whole, 1)} nats = {expected} expected "
        f"+ {mutual} mutual information"
    )


def evidence(belief: Dirichlet, classes: Sequence[str]) -> str:
    """What an evidential model believes of the picture itself: evidence, uncertainty, entropy."""
    e = belief.evidence[0]
    most = ", ".join(f"{number(float(e[k]), 10)} for {classes[k]}" for k in _largest(e)) or "none"
    strength, u = float(belief.strength[0]), float(belief.uncertainty[0])
    return (
        f"Dirichlet of the picture itself (bars): evidence {most}; "
        f"S = {number(strength, 10)}, u = K/S = {number(u, 1)}; {doubt(belief, len(classes))}"
    )


def turning(probabilities: Tensor, share: Tensor, name: str, classes: Sequence[str]) -> str:
    """What the model predicts at which angles, and where its doubt is largest.

    Of angles whose doubt differs by less than is told, it is the first.
    """
    predicted = probabilities.argmax(1).tolist()
    upright = predicted[len(ANGLES) // 2]
    kept = [angle for angle, k in zip(ANGLES, predicted, strict=True) if k == upright]
    at = int((share > share.max() - _ALIKE).int().argmax())
    return (
        f"{classes[upright]} is predicted at {len(kept)} of {len(ANGLES)} angles; largest {name} "
        f"{number(float(share[at]), 1, 2)} at {ANGLES[at]}°"
    )


def target_of(maps: UncertainAttribution, classes: Sequence[str]) -> str:
    """What the maps explain, in words."""
    index = getattr(maps.selection, "index", None)
    return "what each sample predicts" if index is None else classes[int(index[0])]


def share_of_entropy(prediction: Prediction) -> Tensor:
    """The entropy as a share of the largest possible one, ``(N,)``."""
    return prediction.entropy / math.log(prediction.logits.shape[2])


def _largest(values: Tensor) -> list[int]:
    """Where the largest few are, of those above zero."""
    order = values.sort(descending=True, stable=True).indices[:_MOST].tolist()
    return [k for k in order if values[k] > 0]
