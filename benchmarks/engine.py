"""Time and memory of the attribution methods, Captum beside ours, in one table.

python benchmarks/engine.py [--net digits|vgg|resnet|all] [--batch 1|16] [--methods a,b] [--quick]
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import peers
import reference
import torch
from measure import cpu_seconds, peak_bytes, ratios
from nets import Case, case, frozen, plain
from torch import Tensor, nn

from nni_widgets.engine.composites import EpsilonGammaBox
from nni_widgets.engine.methods import (
    LRP,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Saliency,
    SmoothGrad,
)
from nni_widgets.engine.rules import AlphaBeta, Epsilon, Gamma, ZPlus

NETS = ("digits", "vgg", "resnet")
MEMORY_TARGET = 1.3
COLUMNS = (
    *("method", "unit", "target", "time", "time, Captum", "first call"),
    *("memory", "memory, Captum", "error", "error, Captum", "met"),
)
NOTES = {
    "gamma": "γ: Captum leaves the bias alone, so its map is another one.",
    "smoothgrad": "SmoothGrad: Captum draws other noise.",
    "alpha-beta": "αβ, EpsilonGammaBox: not in Captum.",
}


@dataclass(frozen=True)
class Row:
    """A method, its targets by kind of network in units of the limit, and its reference in float64.

    The limit is G, forward and backward to the input only, or ``steps`` times G.
    """

    key: str
    method: Method
    targets: dict[str, float]
    reference: Callable[[nn.Module, Tensor, Tensor], Tensor]
    steps: int = 0


def rows(steps: int) -> tuple[Row, ...]:
    """The rows of the table; ``steps`` for the path and noise methods."""
    gradient, lrp = reference.gradient, reference.relevance
    ε, γ, αβ = reference.epsilon(0.01), reference.gamma(0.25), reference.alpha_beta(2.0)
    z_plus = reference.z_plus
    one = {"digits": 1.25, "plain": 1.05, "residual": 1.05}
    many = {"digits": 1.1, "plain": 1.03, "residual": 1.03}
    nodes, weights = (torch.from_numpy(v) / 2 for v in np.polynomial.legendre.leggauss(steps))
    smooth = SmoothGrad(n_samples=steps)
    return (
        Row("saliency", Saliency(), one, lambda *a: gradient(*a).abs()),
        Row("gradient-input", GradientTimesInput(), one, lambda m, x, t: x * gradient(m, x, t)),
        Row("guided", GuidedBackprop(), one, reference.guided),
        Row("epsilon", LRP(Epsilon()), {"digits": 1.5, "plain": 1.15, "residual": 1.15},
            lambda *a: lrp(*a, ε, ε)),
        Row("z-plus", LRP(ZPlus()), {"digits": 1.8, "plain": 1.6, "residual": 1.6},
            lambda *a: lrp(*a, z_plus, z_plus)),
        Row("gamma", LRP(Gamma()), {"digits": 1.8, "plain": 1.6, "residual": 2.1},
            lambda *a: lrp(*a, γ, γ)),
        Row("alpha-beta", LRP(AlphaBeta()), {"digits": 2.0, "plain": 2.2, "residual": 2.2},
            lambda *a: lrp(*a, αβ, αβ)),
        Row("epsilon-gamma-box", LRP(EpsilonGammaBox()),
            {"digits": 2.0, "plain": 1.75, "residual": 2.2}, lambda *a: lrp(*a, γ, ε, box=True)),
        Row("integrated", IntegratedGradients(n_steps=steps), many,
            lambda *a: reference.integrated(*a, nodes + 0.5, weights), steps),
        Row("smoothgrad", smooth, many, lambda *a: _smooth(smooth, *a), steps),
    )  # fmt: skip


def _smooth(method: SmoothGrad, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The mean gradient at the noisy copies that the method makes of the float32 input."""

    def exact(_: nn.Module, noisy: Tensor, index: Tensor) -> Tensor:
        return reference.gradient(model, noisy.double(), index).to(noisy)

    return method.replace(of=exact)(copy.deepcopy(model).float(), x.float(), target).double()


class Bench:
    """One network with what all its rows share."""

    def __init__(self, name: str, batch: int, quick: bool) -> None:
        self.case: Case = case(name, batch, quick)
        self.large = name != "digits"
        self.limit_model = frozen(self.case.model)
        self.peer_model = peers.prepare(self.case.model)
        self.exact = plain(self.case.model).double()
        self.steps = 4 if quick else 32 if name == "digits" else 8

    def chunk(self) -> int:
        """How many rows at once make the gradient cheapest (the most, where it is about equal)."""
        sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= self.steps * len(self.case.x)]
        self.gradient(self.case.x, self.case.target)
        repeats = 1 if self.large else 5

        def cost(size: int) -> float:
            x = self.case.x[:1].expand(size, -1, -1, -1)
            target = self.case.target[:1].expand(size)
            seconds = [cpu_seconds(lambda: self.gradient(x, target)) for _ in range(repeats)]
            return statistics.median(seconds) / size

        costs = {size: cost(size) for size in sizes}
        return max(size for size in sizes if costs[size] <= 1.05 * min(costs.values()))

    def gradient(self, x: Tensor, target: Tensor) -> Tensor:
        """The limit G: forward, and backward to the input only."""
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(self.limit_model(leaf).gather(1, target[:, None]).sum(), leaf)[0]

    def limit(self, row: Row, chunk: int) -> Callable[[], object]:
        """The call that a row is measured against."""
        x, target = self.case.x, self.case.target
        if not row.steps:
            return lambda: self.gradient(x, target)
        every_x, every_target = x.repeat(row.steps, 1, 1, 1), target.repeat(row.steps)
        pieces = list(zip(every_x.split(chunk), every_target.split(chunk), strict=True))
        return lambda: [self.gradient(*piece) for piece in pieces]

    def line(self, row: Row, rounds: int) -> tuple[str, ...]:
        """Measure one row."""
        x, target = self.case.x, self.case.target
        chunk = self.chunk() if row.steps else 1
        limit = self.limit(row, chunk)
        setting = peers.Setting(row.steps, chunk, getattr(row.method, "noise_level", 0.0))
        peer = peers.attribution(row.key, self.case, self.peer_model, setting)
        calls = {"ours": lambda: row.method(self.case.model, x, target)}
        calls |= {"Captum": peer} if peer else {}

        exact = row.reference(copy.deepcopy(self.exact), x.double(), target)
        errors = {name: _distance(call(), exact) for name, call in calls.items()}
        limit()
        first = self.first(row, limit)
        times = ratios(limit, calls, rounds)
        least = peak_bytes(limit)
        memory = {name: peak_bytes(call) / least for name, call in calls.items()}
        goal = row.targets[self.case.kind]
        return (
            row.key,
            f"{row.steps} G by {chunk}" if row.steps else "G",
            f"{goal:.2f}",
            f"{times['ours']:.2f}",
            _cell(times, ".2f"),
            f"{first:.2f}",
            f"{memory['ours']:.2f}",
            _cell(memory, ".2f"),
            f"{errors['ours']:.0e}",
            _cell(errors, ".0e"),
            _met(time=(times["ours"], goal), memory=(memory["ours"], MEMORY_TARGET)),
        )

    def first(self, row: Row, limit: Callable[[], object]) -> float:
        """The first call on a network not seen before, in units of the limit."""
        fresh = copy.deepcopy(self.case.model)
        x, target = self.case.x, self.case.target
        return cpu_seconds(lambda: row.method(fresh, x, target)) / cpu_seconds(limit)


def _distance(found: Tensor, exact: Tensor) -> float:
    """Relative L2 distance."""
    return float((found.double() - exact).norm() / exact.norm())


def _met(**figures: tuple[float, float]) -> str:
    """Whether each figure is within its target, to the digits that are printed."""
    missed = [name for name, (value, target) in figures.items() if round(value, 2) > target]
    return f"no: {', '.join(missed)}" if missed else "yes"


def _cell(values: dict[str, float], form: str) -> str:
    return format(values["Captum"], form) if "Captum" in values else "–"


def table(names: Sequence[str], arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + " --- |" * len(COLUMNS)
    for name in names:
        bench = Bench(name, arguments.batch, arguments.quick)
        rounds = arguments.rounds or (2 if arguments.quick else 40 if name == "digits" else 3)
        yield f"| **{bench.case.title}**, {rounds} rounds |" + " |" * (len(COLUMNS) - 1)
        for row in rows(bench.steps):
            if arguments.methods is None or row.key in arguments.methods:
                yield f"| {' | '.join(bench.line(row, rounds))} |"


def main() -> None:
    """Read the command line and print the table."""
    keys = [row.key for row in rows(1)]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=(*NETS, "all"), default="all")
    parser.add_argument("--batch", type=int, choices=(1, 16), default=1)
    parser.add_argument("--rounds", type=int, help="default: 40 for digits, 3 for the others")
    parser.add_argument("--methods", type=lambda text: text.split(","), help=", ".join(keys))
    parser.add_argument("--quick", action="store_true", help="2 rounds, small networks")
    arguments = parser.parse_args()
    unknown = set(arguments.methods or ()).difference(keys)
    if unknown:
        parser.error(f"--methods must be among {', '.join(keys)}; got {', '.join(unknown)}")
    torch.set_num_threads(1)
    print(
        "Time: process CPU time on one thread / the unit's in the same round, median over rounds.\n"
        f"Memory: peak tensor bytes / the unit's, target {MEMORY_TARGET}. "
        "Error: relative L2 distance from a float64 reference.\n"
    )
    for line in table(NETS if arguments.net == "all" else (arguments.net,), arguments):
        print(line, flush=True)
    print("", *NOTES.values(), sep="\n")


if __name__ == "__main__":
    main()
