"""What several engine tests need: closeness, and the hand-made graph beside the tape."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.methods import CAM, Method, Result
from nni_widgets.engine.methods.activation_map import ActivationMap
from nni_widgets.engine.operations import family
from nni_widgets.engine.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from nni_widgets.engine.tape import Op, record
from nni_widgets.engine.targets import Target
from tests.oracle import lrp
from tests.oracle.graph import Affine, Graph
from tests.oracle.hand_graphs import HAND, random_graph
from tests.oracle.nets import NETS, Case

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
DTYPES = list(TOLERANCE)
AVERAGED_MAPS = {"bottleneck", "conv1d", "global_mean"}
NO_MAPS = {name for name, case in NETS.items() if len(case.shape) < 2 or "mlp" in case.tags}


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2 distance of the first from the second."""
    ours, theirs = ours.detach().double().flatten(), theirs.detach().double().flatten()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-9))


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float, what: object = "") -> None:
    assert ours.shape == theirs.shape, what
    assert distance(ours, theirs) <= tolerance, (what, distance(ours, theirs))


def build(
    case: Case, dtype: torch.dtype = torch.float64, batch: int = 2
) -> tuple[nn.Module, Tensor]:
    """The case's model and a batch of its input, in one dtype."""
    return case.build().to(dtype), case.input(batch, dtype=dtype)


def refusal(method: Method, name: str) -> str:
    """The words with which a method has to refuse a network that lacks what it needs, or none."""
    asked = getattr(method, "of", method)
    if isinstance(asked, CAM):
        return "" if name in AVERAGED_MAPS else "must be one dense layer on the global average"
    without = isinstance(asked, ActivationMap) and name in NO_MAPS
    return "the model must be one with spatial maps" if without else ""


def suited(method: Method, name: str) -> str:
    """This network, or one that ends in a global average if the method cannot have this one."""
    return "global_mean" if refusal(method, name) else name


def with_layers(method: Method, model: nn.Module, x: Tensor, target: Target = None) -> Result:
    """The complete result, with what happened at every layer."""
    *_, result = method.steps(model, x, target, layers=True)
    return result


def reference(rule: Rule) -> lrp.Rule:
    """The paper's form of one of the engine's rules."""
    match rule:
        case Zero():
            return lrp.zero()
        case Epsilon(epsilon=epsilon):
            return lrp.epsilon(epsilon)
        case Gamma(gamma=gamma):
            return lrp.gamma(gamma)
        case AlphaBeta(alpha=alpha):
            return lrp.alpha_beta(alpha)
        case ZPlus():
            return lrp.z_plus()
        case ZBox(low=float(low), high=float(high)):
            return lrp.z_box(low, high)
        case WSquare():
            return lrp.w_square()
        case Flat():
            return lrp.flat()
    raise TypeError(f"no reference for {rule}")


@dataclass(frozen=True)
class Beside:
    """A network's hand-made graph and its tape, joined by their values on the same batch.

    ``nodes[label]`` are the graph's nodes whose value is that of the operation: more than one where
    a reshape leaves the values as they are.
    """

    graph: Graph
    x: Tensor
    ops: dict[str, Op]
    nodes: dict[str, list[int]]
    given: dict[int, lrp.Rule]

    def affine(self) -> dict[str, int]:
        """The affine node of each convolution and dense layer."""
        return {
            label: node
            for label, nodes in self.nodes.items()
            for node in nodes
            if family(self.ops[label]) == "affine" and isinstance(self.graph.nodes[node], Affine)
        }

    def relevance(
        self,
        targets: list[int],
        rule: lrp.Rule,
        rules: dict[int, lrp.Rule] | None = None,
    ) -> list[Tensor]:
        """The reference's relevance of the batch at every node."""
        rules = {**(rules or {}), **self.given}
        of_samples = [
            lrp.relevance(self.graph, sample, target, rule, rules)
            for sample, target in zip(self.x, targets, strict=True)
        ]
        return [torch.stack(at_node).detach() for at_node in zip(*of_samples, strict=True)]

    def shaken(self) -> "Beside":
        """The same with every weight, bias and pixel changed in its last float32 bit."""
        generator = torch.Generator().manual_seed(1)

        def shake(values: Tensor) -> Tensor:
            noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            return values * (1 + 2.0**-24 * noise)

        graph = Graph(self.graph.shapes[0])
        graph.shapes = self.graph.shapes
        graph.nodes = [
            replace(node, weight=shake(node.weight), bias=shake(node.bias))
            if isinstance(node, Affine)
            else node
            for node in self.graph.nodes
        ]
        return replace(self, graph=graph, x=shake(self.x))


def beside(case: Case, graph: Graph, model: nn.Module) -> Beside:
    """Find each operation of the tape in the graph; constants on the input are given to pass."""
    x = case.input(dtype=torch.float64)
    ops = {op.label: op for op in canonical(record(model, x)).ops}
    values = [torch.stack(of_node).detach() for of_node in zip(*map(graph.values, x), strict=True)]
    nodes = {
        label: [
            number
            for number, value in enumerate(values)
            if op.results[0].numel() == value.numel()
            and torch.allclose(value, op.results[0].flatten(1), rtol=1e-9, atol=1e-12)
        ]
        for label, op in ops.items()
    }
    given = {node: lrp.epsilon(1e-9) for op in ops.values() if op.kind == "batch_norm"
             for node in nodes[op.label]}  # fmt: skip
    if "scaling" in case.tags:
        given[1] = lrp.pass_through()
    return Beside(graph, x, ops, nodes, given)


@cache
def hand(name: str) -> Beside:
    """A net of the catalogue beside its hand-made graph."""
    model = NETS[name].build().double()
    return beside(NETS[name], HAND[name](model), model)


def random(case: Case) -> Beside:
    """A random net beside its graph."""
    model = case.build().double()
    return beside(case, random_graph(model), model)
