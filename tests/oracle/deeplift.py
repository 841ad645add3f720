"""DeepLIFT from the paper: two parts of every change, two multipliers for every value.

Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences,
arXiv 1704.02685, sections 3.4 and 3.5. Every node has a change since the reference that is the sum
of a positive and a negative part, Δ = Δ⁺ + Δ⁻, and a multiplier for each. One sample, float64,
layers as explicit matrices, nothing shared with the package.

Conventions
    Linear rule (3.5.1) in layers with weights: m_x = Σ_k w_k (m_k⁺ or m_k⁻ by the sign of w_k Δx,
    their mean where w_k Δx = 0).
    Sums, averages, copies and the nodes in `carried` (constant factors): part by part.
    Rescale (3.5.2): m = Δy / Δx for both parts. "linear": the derivative instead.
    RevealCancel (3.5.3): m⁺ = Δy⁺ / Δx⁺, m⁻ = Δy⁻ / Δx⁻.
    A ratio of nothing to nothing is its limit: a derivative, or a mean of two.
    Maximum: on the straight way from the reference to x, each of the two winners, that of the
    reference and that of x, gets the share of the way on which it is the larger one of the two.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from .graph import Activation, Add, Affine, Average, Concat, Gather, Graph, Input, MaxPool

Nonlinear = Literal["linear", "rescale", "reveal-cancel"]
Parts = tuple[Tensor, Tensor]
Function = Callable[[Tensor], Tensor]
ROUNDING = 2e-14


class DeepLIFT:
    """The decomposition of one sample: `contributions(target)` of every node, in its shape.

    `rule` is that of the nonlinearities; `rules` names another one for single nodes.
    """

    def __init__(
        self,
        graph: Graph,
        x: Tensor,
        reference: Tensor,
        rule: Nonlinear = "rescale",
        rules: Mapping[int, Nonlinear] | None = None,
        carried: Collection[int] = (),
    ) -> None:
        self.graph, self.rule, self.rules, self.carried = graph, rule, rules or {}, carried
        self.new = [value.detach() for value in graph.values(x)]
        self.old = [value.detach() for value in graph.values(reference)]
        self.change = [new - old for new, old in zip(self.new, self.old, strict=True)]
        self.parts: list[Parts] = []
        for i in range(len(graph.nodes)):
            self.parts.append(self._parts(i))

    def contributions(self, target: int) -> list[Tensor]:
        """m⁺Δ⁺ + m⁻Δ⁻ at every node for one logit; entry 0 is the input's."""
        m = [(torch.zeros_like(value), torch.zeros_like(value)) for value in self.new]
        for part in m[-1]:
            part[target] = 1.0
        for i in reversed(range(len(m))):
            for source, parts in self._handed_down(i, m[i]):
                for total, part in zip(m[source], parts, strict=True):
                    total += part
        return [
            (m_up * up + m_down * down).view(shape)
            for (m_up, m_down), (up, down), shape in zip(
                m, self.parts, self.graph.shapes, strict=True
            )
        ]

    def _parts(self, i: int) -> Parts:
        """Δ⁺ and Δ⁻ of a node."""
        match self.graph.nodes[i]:
            case Input():
                return split(self.change[i])
            case Affine(source, weight) if i not in self.carried:
                up, down = split(weight * self.change[source])
                return up.sum(1), down.sum(1)
            case Affine(source, weight) | Average(source, weight):
                positive, negative = split(weight)
                up, down = self.parts[source]
                return positive @ up + negative @ down, positive @ down + negative @ up
            case Activation(source):
                if self._rule(i) == "reveal-cancel":
                    return self._revealed(i)
                up, down = self.parts[source]
                return self._slope(i) * up, self._slope(i) * down
            case MaxPool(source):
                shares = self._shares(i)
                up, down = self.parts[source]
                return shares @ up, shares @ down
            case Gather(source, index):
                up, down = self.parts[source]
                return up[index], down[index]
            case Add(left, right):
                (up, down), (more_up, more_down) = self.parts[left], self.parts[right]
                return up + more_up, down + more_down
            case Concat(sources):
                ups, downs = zip(*(self.parts[source] for source in sources), strict=True)
                return torch.cat(ups), torch.cat(downs)

    def _handed_down(self, i: int, m: Parts) -> list[tuple[int, Parts]]:
        """What a node's multipliers give to those of its inputs."""
        up, down = m
        match self.graph.nodes[i]:
            case Input():
                return []
            case Affine(source, weight) if i not in self.carried:
                sign = torch.sign(weight * self.change[source])
                chosen = torch.where(sign > 0, up[:, None], down[:, None])
                chosen = torch.where(sign == 0, (up + down)[:, None] / 2, chosen)
                both = (weight * chosen).sum(0)
                return [(source, (both, both))]
            case Affine(source, weight) | Average(source, weight):
                positive, negative = (part.t() for part in split(weight))
                return [
                    (source, (positive @ up + negative @ down, positive @ down + negative @ up))
                ]
            case Activation(source):
                slope_up, slope_down = self._slopes(i)
                return [(source, (slope_up * up, slope_down * down))]
            case MaxPool(source):
                shares = self._shares(i).t()
                return [(source, (shares @ up, shares @ down))]
            case Gather(source, index):
                back = torch.zeros(len(self.new[source]), len(index), dtype=up.dtype)
                back[index, torch.arange(len(index))] = 1.0
                return [(source, (back @ up, back @ down))]
            case Add(left, right):
                return [(left, m), (right, m)]
            case Concat(sources):
                sizes = [len(self.new[source]) for source in sources]
                return list(zip(sources, zip(up.split(sizes), down.split(sizes), strict=True),
                                strict=True))  # fmt: skip

    def _rule(self, i: int) -> Nonlinear:
        return self.rules.get(i, self.rule)

    def _slopes(self, i: int) -> Parts:
        """The multipliers of the two parts at a nonlinearity."""
        if self._rule(i) != "reveal-cancel":
            return self._slope(i), self._slope(i)
        node = self.graph.nodes[i]
        old, parts = self.old[node.source], self.parts[node.source]
        scale = old.abs() + parts[0].abs() + parts[1].abs()
        limit = (self._derivative(i, self.new) + self._derivative(i, self.old)) / 2
        up, down = (
            divided(made, part, limit, scale)
            for made, part in zip(self._revealed(i), parts, strict=True)
        )
        return up, down

    def _revealed(self, i: int) -> Parts:
        """Δy⁺ and Δy⁻: each part is added before and after the other, and the mean is taken."""
        node = self.graph.nodes[i]
        f, x0, (up, down) = node.function, self.old[node.source], self.parts[node.source]
        made = [
            ((f(x0 + this) - f(x0)) + (f(x0 + this + other) - f(x0 + other))) / 2
            for this, other in ((up, down), (down, up))
        ]
        return made[0].detach(), made[1].detach()

    def _slope(self, i: int) -> Tensor:
        node = self.graph.nodes[i]
        derivative = self._derivative(i, self.new)
        if self._rule(i) == "linear":
            return derivative
        scale = self.new[i].abs() + self.old[i].abs()
        return divided(self.change[i], self.change[node.source], derivative, scale)

    def _derivative(self, i: int, values: list[Tensor]) -> Tensor:
        node = self.graph.nodes[i]
        leaf = values[node.source].clone().requires_grad_()
        return torch.autograd.grad(node.function(leaf).sum(), leaf)[0]

    def _shares(self, i: int) -> Tensor:
        """The matrix of a maximum: which input leads on which share of the way."""
        node = self.graph.nodes[i]
        new, old = self.new[node.source], self.old[node.source]
        shares = torch.zeros(len(node.windows), len(new), dtype=new.dtype)
        for k, window in enumerate(node.windows):
            p = window[int(new[window].argmax())]
            q = window[int(old[window].argmax())]
            before, after = float(old[q] - old[p]), float(new[p] - new[q])
            meet = before / (before + after) if before + after else 0.0
            shares[k, q] += meet
            shares[k, p] += 1 - meet
        return shares


def split(values: Tensor) -> Parts:
    """The positive and the negative part."""
    return values.clamp(min=0), values.clamp(max=0)


def divided(change: Tensor, by: Tensor, otherwise: Tensor, scale: Tensor) -> Tensor:
    """`change / by`, and `otherwise` where `by` is zero up to rounding."""
    zero = by.abs() <= ROUNDING * scale
    return torch.where(zero, otherwise, change / torch.where(zero, torch.ones_like(by), by))
