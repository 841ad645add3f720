"""Time and memory of the attribution methods, Captum beside ours, in one table.

python benchmarks/engine.py [--net NAME|all] [--batch 1|16] [--methods a,b] [--rounds n] [--quick]
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
from collections.abc import Callable, Iterator, Sequence

import peers
import torch
from measure import cpu_seconds, peak_bytes, ratios
from nets import NETS, SHAPES, WITH_MAPS, Case, case, frozen, parted, plain
from rows import Row, rows
from torch import Tensor

MEMORY_TARGET = 1.3
TIE = 1.05  # what is no more than this above Captum's counts as equal
COLUMNS = (
    *("method", "limit", "target", "time", "time, Captum", "first call"),
    *("memory", "memory, Captum", "error", "error, Captum", "met"),
)
NOTES = (
    "Captum's map is meant to be another one: SmoothGrad draws other noise, DeepLIFT has another",
    "rule for max-pooling, γ leaves the bias alone and does not mirror negative outputs, z⁺ goes",
    "by the sign of the weight alone, which is wrong for signed inputs (lite).",
    "Not in Captum: simple Taylor with a root point, αβ, composites with zᴮ, deep Taylor,",
    "RevealCancel, translation average.",
)

Call = Callable[[], object]


class Bench:
    """One network with what all its rows share."""

    def __init__(self, name: str, batch: int, quick: bool) -> None:
        self.case: Case = case(name, batch, quick)
        self.large = name in SHAPES
        self.limit_model = frozen(self.case.model)
        self.body, self.top = parted(self.limit_model, self.case.x)
        self.peer_forms = peers.Forms(self.case.model)
        self.exact = plain(self.case.model).double()
        found = rows(self.case.x, 4 if quick else 8 if name == "vgg" else 32)
        self.rows = [row for row in found if row.heads or name not in WITH_MAPS]

    def gradient(self, x: Tensor, target: Tensor) -> Tensor:
        """G: forward, and backward to the input only."""
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(self.limit_model(leaf).gather(1, target[:, None]).sum(), leaf)[0]

    @torch.no_grad()
    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """F: forward without a graph."""
        return self.limit_model(x).gather(1, target[:, None])

    def head(self, x: Tensor, target: Tensor) -> Tensor:
        """H: forward, and backward to the last maps only."""
        with torch.no_grad():
            maps = self.body(x)
        maps.requires_grad_()
        return torch.autograd.grad(self.top(maps).gather(1, target[:, None]).sum(), maps)[0]

    def chunk(self, row: Row) -> int:
        """How many rows at once make the passes cheapest (the most, where it is about equal)."""
        passes, work = max((row.gradients, self.gradient), (row.forwards, self.forward),
                           key=lambda pair: pair[0])  # fmt: skip
        if passes <= 1:
            return len(self.case.x)
        sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= passes * len(self.case.x)]
        work(self.case.x, self.case.target)
        repeats = 1 if self.large else 5

        def cost(size: int) -> float:
            x = self.case.x[:1].expand(size, -1, -1, -1)
            target = self.case.target[:1].expand(size)
            seconds = [cpu_seconds(lambda: work(x, target)) for _ in range(repeats)]
            return statistics.median(seconds) / size

        costs = {size: cost(size) for size in sizes}
        return max(size for size in sizes if costs[size] <= 1.05 * min(costs.values()))

    def limit(self, row: Row, chunk: int) -> Call:
        """The plain passes that a row is measured against, in batches of this size."""
        pieces = [
            (work, *piece)
            for work, passes in (
                (self.gradient, row.gradients),
                (self.forward, row.forwards),
                (self.head, row.heads),
            )
            for piece in zip(
                self.case.x.repeat(passes, 1, 1, 1).split(chunk),
                self.case.target.repeat(passes).split(chunk),
                strict=True,
            )
            if passes
        ]
        return lambda: [work(x, target) for work, x, target in pieces]

    def line(self, row: Row, rounds: int) -> tuple[str, ...]:
        """Measure one row."""
        x, target = self.case.x, self.case.target
        chunk = self.chunk(row)
        limit = self.limit(row, chunk)
        peer = peers.attribution(row.key, self.case, self.peer_forms, row.method, chunk)
        calls: dict[str, Callable[[], Tensor]] = {
            "ours": lambda: row.method(self.case.model, x, target)
        }
        calls |= {"Captum": peer} if peer else {}

        exact = self.reference(row)
        errors = {name: _distance(call(), exact) for name, call in calls.items()}
        limit()
        first = self.first(row, limit)
        times = ratios(limit, calls, rounds)
        least = peak_bytes(limit)
        memory = {name: peak_bytes(call) / least for name, call in calls.items()}
        goal = row.targets[self.case.kind]
        return (
            row.key,
            _name(row, chunk),
            f"{goal:.2f}",
            f"{times['ours']:.2f}",
            _cell(times, ".2f"),
            f"{first:.2f}",
            f"{memory['ours']:.2f}",
            _cell(memory, ".2f"),
            f"{errors['ours']:.0e}",
            _cell(errors, ".0e"),
            _met(goal, times, memory),
        )

    def reference(self, row: Row) -> Tensor:
        """The attribution in float64, one picture at a time."""
        pictures = zip(self.case.x.double().split(1), self.case.target.split(1), strict=True)
        return torch.cat([row.reference(copy.deepcopy(self.exact), *each) for each in pictures])

    def first(self, row: Row, limit: Call) -> float:
        """The first call on a network not seen before, in units of the limit."""
        fresh = copy.deepcopy(self.case.model)
        x, target = self.case.x, self.case.target
        return cpu_seconds(lambda: row.method(fresh, x, target)) / cpu_seconds(limit)


def _name(row: Row, chunk: int) -> str:
    """What the limit consists of, such as ``G + F`` or ``32 G by 16``."""
    counts = ((row.gradients, "G"), (row.forwards, "F"), (row.heads, "H"))
    parts = [
        name if count == 1 else f"{count} {name} by {chunk}" for count, name in counts if count
    ]
    return " + ".join(parts)


def _distance(found: Tensor, exact: Tensor) -> float:
    """Relative L2 distance; from a map that is 0 everywhere, the distance itself."""
    return float((found.double() - exact).norm() / (exact.norm() or 1))


def _met(goal: float, times: dict[str, float], memory: dict[str, float]) -> str:
    """Whether each figure is within its target, to the printed digits, and not above Captum's."""
    missed = [
        name
        for name, figures, target in (("time", times, goal), ("memory", memory, MEMORY_TARGET))
        if round(figures["ours"], 2) > target
    ]
    missed += [
        f"{name} above Captum's"
        for name, figures in (("time", times), ("memory", memory))
        if figures["ours"] > TIE * figures.get("Captum", float("inf"))
    ]
    return f"no: {', '.join(missed)}" if missed else "yes"


def _cell(values: dict[str, float], form: str) -> str:
    return format(values["Captum"], form) if "Captum" in values else "–"


def table(names: Sequence[str], arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + " --- |" * len(COLUMNS)
    for name in names:
        bench = Bench(name, arguments.batch, arguments.quick)
        rounds = arguments.rounds or (2 if arguments.quick else 3 if bench.large else 40)
        yield f"| **{bench.case.title}**, {rounds} rounds |" + " |" * (len(COLUMNS) - 1)
        for row in bench.rows:
            if arguments.methods is None or row.key in arguments.methods:
                yield f"| {' | '.join(bench.line(row, rounds))} |"


def main() -> None:
    """Read the command line and print the table."""
    keys = [row.key for row in rows(torch.zeros(1, 1, 28, 28), 1)]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", choices=(*NETS, "all"), default="all")
    parser.add_argument("--batch", type=int, choices=(1, 16), default=1)
    parser.add_argument("--rounds", type=int, help="default: 40, or 3 at 224 pixels")
    parser.add_argument("--methods", type=lambda text: text.split(","), help=", ".join(keys))
    parser.add_argument("--quick", action="store_true", help="2 rounds, small networks")
    arguments = parser.parse_args()
    unknown = set(arguments.methods or ()).difference(keys)
    if unknown:
        parser.error(f"--methods must be among {', '.join(keys)}; got {', '.join(unknown)}")
    torch.set_num_threads(1)
    print(
        "Time: process CPU time on one thread / the limit's in the same round, median over rounds.",
        f"Memory: peak tensor bytes / the limit's, target {MEMORY_TARGET}.",
        "Error: relative L2 distance from a float64 reference.",
        f"Load when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n",
        sep="\n",
    )
    for line in table(NETS if arguments.net == "all" else (arguments.net,), arguments):
        print(line, flush=True)
    print("", *NOTES, sep="\n")


if __name__ == "__main__":
    main()
