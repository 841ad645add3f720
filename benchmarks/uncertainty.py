"""How long uncertain answers and explanations take, on the bundled network with dropout.

Run ``python benchmarks/uncertainty.py``. Process CPU time on one torch thread. T answers of MC
dropout stand beside T plain forward passes in one batch (chunks of 64), 1,000 explanations of one
digit beside 1,000 plain explanations of it in the same batches.
"""

from __future__ import annotations

import argparse
import os
import statistics

import torch
from measure import cpu_seconds, ratios
from torch import Tensor, nn

import nni_widgets as nni
from nni_widgets.engine.methods import Method
from nni_widgets.engine.uncertainty.explanations import uncertain
from nni_widgets.engine.uncertainty.sources import MCDropout

_AT_ONCE = 64
_METHODS: tuple[Method, ...] = (
    nni.Saliency(),
    nni.GradientTimesInput(),
    nni.GuidedBackprop(),
    nni.LRP(),
    nni.LRP(nni.Epsilon()),
    nni.DeepLIFT(),
)
_GOAL_OF_ANSWERS, _GOAL_OF_EXPLANATIONS, _SINGLE_PASS = 0.25, 5.0, 5


def answers(model: nn.Module, x: Tensor, rounds: int) -> None:
    """MC dropout's predictions, in units of T forward passes."""
    print("| T | of T forward passes, batched | goal | met |\n| --- | --- | --- | --- |")
    for count in (50, 200, 1000):
        source, batch = MCDropout(n_samples=count), x.expand(count, -1, -1, -1).contiguous()

        @torch.no_grad()
        def plain(batch: Tensor = batch) -> None:
            for rows in batch.split(_AT_ONCE):
                model(rows)

        ours = {"ours": lambda source=source: source(model, x)}
        share = ratios(plain, ours, rounds)["ours"]
        met = "yes" if share <= _GOAL_OF_ANSWERS else "no"
        print(f"| {count} | {share:.2f} | {_GOAL_OF_ANSWERS} | {met} |", flush=True)


def explained(model: nn.Module, x: Tensor, runs: int) -> None:
    """A thousand explanations of one digit, in seconds and beside as many without dropout."""
    print("\n| 1,000 explanations | s | of plain ones, batched | goal, s | met |")
    print("| --- | --- | --- | --- | --- |")
    source, batch = MCDropout(n_samples=1000), x.expand(1000, -1, -1, -1).contiguous()
    for number, method in enumerate(_METHODS):

        def plain(method: Method = method) -> None:
            for rows in batch.split(_AT_ONCE // 2):
                method(model, rows, 7)

        def ours(method: Method = method) -> None:
            uncertain(model, x, method, source)

        ours()
        pairs = [(cpu_seconds(ours), cpu_seconds(plain)) for _ in range(runs)]
        seconds = statistics.median(pair[0] for pair in pairs)
        share = statistics.median(pair[0] / pair[1] for pair in pairs)
        goal, met = "", ""
        if number < _SINGLE_PASS:
            goal = f"{_GOAL_OF_EXPLANATIONS:g}"
            met = "yes" if seconds <= _GOAL_OF_EXPLANATIONS else "no"
        print(f"| {method!r} | {seconds:.2f} | {share:.2f} | {goal} | {met} |", flush=True)


def main() -> None:
    """Read the command line, measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, (x, _) = nni.models.load("digits-cnn-designed"), nni.data.digits("test")[7:8]
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    answers(model, x, options.rounds)
    explained(model, x, options.runs)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
