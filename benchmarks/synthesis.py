"""How long it takes to make an image: prototypes, codes, dreams, on the bundled models.

Run ``python benchmarks/synthesis.py``. For each the median of some runs, on one torch thread:
seconds to the first frame and in all, and how many plain passes G of the same model (forward, and
backward to the image) would take as long.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import nni_widgets as nni


@dataclass(frozen=True)
class Case:
    """What is made, from what, and the seconds that are allowed."""

    title: str
    model: nn.Module
    steps: Callable[[], Iterator[nni.Synthesis]]
    goal: float


def cases() -> Iterator[Case]:
    """One image each, with the methods' own defaults where nothing is said."""
    cnn, mean = nni.models.load("digits-cnn"), nni.data.digits("test").mean_of(3)
    three = nni.LogProbability(3)
    held = three - 0.1 * nni.L2(mean)
    ways = {
        "prototype, L2 to the class mean": nni.ActivationMaximization(held),
        "prototype, total variation, Fourier, jitter": nni.ActivationMaximization(
            three - 0.01 * nni.TotalVariation(), image=nni.Fourier(), robust=(nni.Jitter(2),)
        ),
        "class model": nni.ClassModel(3),
    }
    for name in ("digits-mixture", "digits-autoencoder"):
        expert = nni.Expert(nni.models.load(name))
        ways[f"prototype, expert {name}"] = nni.ActivationMaximization(three + 0.01 * expert)
    for name in ("digits-gan", "digits-dcgan"):
        ways[f"code of {name}"] = nni.ActivationMaximization(
            three - 0.02 * nni.CodeNorm(), image=nni.Code(nni.models.load(name))
        )
    for title, way in ways.items():
        yield Case(title, cnn, lambda way=way: way.steps(cnn), 3.0)
    photos = nni.models.load("photos")
    picture = nni.data.photographs()["carcassonne"][None]
    dream = nni.DeepDream()
    yield Case("dream, 384 pixels", photos, lambda: dream.steps(photos, picture), 60.0)


def seconds(case: Case) -> tuple[float, float, nni.Synthesis]:
    """The time to the first frame and to the last, and what was made."""
    start = time.perf_counter()
    steps = case.steps()
    made = next(steps)
    first = time.perf_counter() - start
    *_, made = (made, *steps)
    return first, time.perf_counter() - start, made


def plain_pass(model: nn.Module, x: Tensor) -> float:
    """Seconds of one G."""
    leaf = x.detach().requires_grad_()
    start = time.perf_counter()
    torch.autograd.grad(model(leaf).max(), leaf)
    return time.perf_counter() - start


def main() -> None:
    """Read the command line, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="the beginning of what is made")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| what is made | first frame, s | whole, s | goal, s | in plain passes | met |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in cases():
        if not case.title.startswith(options.only):
            continue
        runs = [seconds(case) for _ in range(options.runs + 1)][1:]
        first, whole = (statistics.median(run[k] for run in runs) for k in (0, 1))
        images = runs[0][2].images
        once = statistics.median(plain_pass(case.model, images) for _ in range(20))
        met = "yes" if whole <= case.goal else "no"
        cells = (
            case.title,
            f"{first:.3f}",
            f"{whole:.2f}",
            f"{case.goal:g}",
            f"{whole / once:.0f}",
        )
        print(f"| {' | '.join(cells)} | {met} |", flush=True)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
