"""Layer-wise relevance propagation from the papers, with explicit contributions.

For every layer the matrix `share[k, j]` is written out: the part of output k's relevance that goes
to input j. Then R_j = Σ_k share[k, j] R_k, and nothing else happens. A rule is a function

    rule(a, layer) -> share         a: the layer's input, flat; layer: weight, bias, connected

Sources
    Bach et al. 2015, On Pixel-Wise Explanations..., PLoS ONE 10(7): ε (eq. 58), αβ (eq. 60).
    Montavon et al. 2017, Explaining nonlinear classification decisions with deep Taylor
    decomposition, Pattern Recognition 65: w², z⁺ and zᴮ (section 4).
    Montavon et al. 2019, Layer-Wise Relevance Propagation: An Overview, LNCS 11700: 0, ε, γ, and
    flat among the rules of table 10.1.

Conventions
    Relevance starts as the logit of the target, all other outputs zero.
    sign(0) = +1; 0 / 0 = 0: a unit without any contribution loses its relevance.
    a⁺ = max(a, 0), a⁻ = min(a, 0), so that a = a⁺ + a⁻.
    Activations pass relevance through. Sums, averages and proportional max-pooling share it out in
    proportion to the contributions, stabilised by `pool_epsilon`.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from .graph import (
    Activation,
    Add,
    Affine,
    Average,
    Concat,
    Gather,
    Graph,
    Input,
    MaxPool,
)

Rule = Callable[[Tensor, Affine], Tensor]


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


def sign(z: Tensor) -> Tensor:
    return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)


def normalise(contributions: Tensor, total: Tensor) -> Tensor:
    """Contributions of each row divided by that row's total; rows with total 0 become 0."""
    safe = torch.where(total == 0, 1.0, total)
    return torch.where(total[:, None] == 0, 0.0, contributions / safe[:, None])


def epsilon(eps: float) -> Rule:
    """a_j w_jk / (z_k + ε sign(z_k)), with z_k = Σ_j a_j w_jk + b_k. The bias keeps its share."""

    def rule(a: Tensor, layer: Affine) -> Tensor:
        contributions = layer.weight * a
        z = contributions.sum(1) + layer.bias
        return normalise(contributions, z + eps * sign(z))

    return rule


def zero() -> Rule:
    """LRP-0: the ε-rule with ε = 0."""
    return epsilon(0.0)


def gamma(g: float) -> Rule:
    """Montavon 2019's γ-rule, extended to inputs of either sign.

    Contributions that agree in sign with z_k count 1 + γ times, the bias included (it is the weight
    of a unit that is always 1). For a ≥ 0 and z_k > 0: a_j (w_jk + γ w_jk⁺) / (Σ_j ... + b + γ b⁺).
    A unit with z_k = 0 has no sign to agree with and passes nothing on.
    """

    def rule(a: Tensor, layer: Affine) -> Tensor:
        w, b = layer.weight, layer.bias
        z = w @ a + b
        up, down = w + g * positive(w), w + g * negative(w)
        towards_plus = positive(a) * up + negative(a) * down
        towards_minus = positive(a) * down + negative(a) * up
        share_plus = normalise(towards_plus, towards_plus.sum(1) + b + g * positive(b))
        share_minus = normalise(towards_minus, towards_minus.sum(1) + b + g * negative(b))
        z = z[:, None]
        return torch.where(z > 0, share_plus, torch.where(z < 0, share_minus, 0.0))

    return rule


def z_plus() -> Rule:
    """(a_j w_jk)⁺ / Σ_j (a_j w_jk)⁺: positive contributions only, no bias."""

    def rule(a: Tensor, layer: Affine) -> Tensor:
        contributions = positive(layer.weight * a)
        return normalise(contributions, contributions.sum(1))

    return rule


def alpha_beta(alpha: float) -> Rule:
    """α (a w)⁺ / (Σ (a w)⁺ + b⁺) − β (a w)⁻ / (Σ (a w)⁻ + b⁻), with β = α − 1."""

    def rule(a: Tensor, layer: Affine) -> Tensor:
        contributions = layer.weight * a
        plus, minus = positive(contributions), negative(contributions)
        share_plus = normalise(plus, plus.sum(1) + positive(layer.bias))
        share_minus = normalise(minus, minus.sum(1) + negative(layer.bias))
        return alpha * share_plus - (alpha - 1) * share_minus

    return rule


def z_box(low: Tensor | float, high: Tensor | float) -> Rule:
    """x_j w_jk − l_j w_jk⁺ − h_j w_jk⁻ over its sum, no bias: for pixels in the box [l, h].

    `low` and `high` are numbers, or flat vectors with one entry per input cell. A pixel outside
    of the box is at its end.
    """

    def rule(x: Tensor, layer: Affine) -> Tensor:
        w = layer.weight
        below, above = x.clamp(max=torch.as_tensor(low)), x.clamp(min=torch.as_tensor(high))
        contributions = x * w - below * positive(w) - above * negative(w)
        return normalise(contributions, contributions.sum(1))

    return rule


def w_square() -> Rule:
    """w_jk² / Σ_j w_jk²: whatever the input is."""

    def rule(_: Tensor, layer: Affine) -> Tensor:
        contributions = layer.weight**2
        return normalise(contributions, contributions.sum(1))

    return rule


def flat() -> Rule:
    """Equal parts for all connected inputs: whatever the input and the weights are."""

    def rule(_: Tensor, layer: Affine) -> Tensor:
        contributions = layer.connected.double()
        return normalise(contributions, contributions.sum(1))

    return rule


def pass_through() -> Rule:
    """Every unit gives its relevance to the one below it: for layers that keep the shape."""

    def rule(a: Tensor, layer: Affine) -> Tensor:
        return torch.eye(len(a), dtype=a.dtype)

    return rule


def relevance(
    graph: Graph,
    x: Tensor,
    target: int,
    rule: Rule,
    rules: Mapping[int, Rule] | None = None,
    *,
    pooling: Literal["winner", "proportional"] = "winner",
    pool_epsilon: float = 1e-9,
) -> list[Tensor]:
    """Relevance at every node for one sample; entry 0 is the input's, each in the node's shape.

    `rules` names another rule for single nodes by their index. A node that is used more than once
    collects what comes back from every use.
    """
    rules = rules or {}
    values = graph.values(x)
    arrived = [torch.zeros_like(value) for value in values]
    arrived[-1][target] = values[-1][target]
    share_out = epsilon(pool_epsilon)

    for i in reversed(range(len(graph.nodes))):
        node, R = graph.nodes[i], arrived[i]
        match node:
            case Input():
                pass
            case Affine(source):
                arrived[source] += rules.get(i, rule)(values[source], node).t() @ R
            case Average(source, weight):
                as_affine = Affine(source, weight, torch.zeros(len(weight)), weight != 0)
                arrived[source] += share_out(values[source], as_affine).t() @ R
            case Activation(source):
                arrived[source] += R
            case MaxPool(source, windows):
                for k, window in enumerate(windows):
                    arrived[source][window] += R[k] * pooled_share(
                        values[source][window], pooling, pool_epsilon
                    )
            case Gather(source, index):
                arrived[source].index_add_(0, index, R)
            case Add(left, right):
                total = values[left] + values[right]
                total = total + pool_epsilon * sign(total)
                per_unit = torch.where(total == 0, 0.0, R / torch.where(total == 0, 1.0, total))
                arrived[left] += values[left] * per_unit
                arrived[right] += values[right] * per_unit
            case Concat(sources):
                sizes = [len(values[source]) for source in sources]
                for source, part in zip(sources, R.split(sizes), strict=True):
                    arrived[source] += part
    return [R.view(shape) for R, shape in zip(arrived, graph.shapes, strict=True)]


def pooled_share(
    window: Tensor, pooling: Literal["winner", "proportional"], pool_epsilon: float
) -> Tensor:
    """How one max-pooling window shares out: all to the first maximum, or by activation."""
    if pooling == "winner":
        share = torch.zeros_like(window)
        share[window.argmax()] = 1.0
        return share
    total = window.sum()[None]
    return normalise(window[None], total + pool_epsilon * sign(total))[0]
