"""How long it takes to compare methods by measures of quality: 10 × 6 on 100 digits.

Run ``python benchmarks/metrics.py``: the seconds of every method by every measure, on one torch
thread, with chance as the eleventh method, and the whole. A method's first column includes its own
explanation, which the others share. ``--images 10`` is a quick look.
"""

from __future__ import annotations

import argparse
import os
import time

import torch

import nni_widgets as nni
from nni_widgets.engine.metrics.continuity import Continuity
from nni_widgets.engine.metrics.faithfulness import Infidelity
from nni_widgets.engine.metrics.flipping import Insertion, Selectivity
from nni_widgets.engine.metrics.road import ROAD
from nni_widgets.engine.metrics.sparseness import Sparseness
from nni_widgets.pictures.comparison import Comparison, compare

GOAL = 180.0
METHODS = (
    nni.Saliency(),
    nni.GradientTimesInput(),
    nni.GuidedBackprop(),
    nni.LRP(),
    nni.DeepTaylor(),
    nni.DeepLIFT(),
    nni.GradCAM(),
    nni.IntegratedGradients(),
    nni.SmoothGrad(),
    nni.Occlusion(),
)
METRICS = (Sparseness(), Selectivity(), Insertion(), ROAD(), Continuity(), Infidelity())


class Clock:
    """The wall and CPU seconds between the cells of a comparison."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._tick = self._now()

    def __call__(self, latest: Comparison) -> None:
        now = self._now()
        self.wall.append(now[0] - self._tick[0])
        self.cpu.append(now[1] - self._tick[1])
        self._tick = now

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def main() -> None:
    """Read the command line, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = nni.models.load("digits-cnn")
    x, _ = nni.data.digits("test")[: options.images]
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    clock = Clock()
    found = compare(model, x, METHODS, METRICS, watch=clock)
    print(f"| CPU seconds | {' | '.join(found.metrics)} |")
    print("| --- |" + " --- |" * len(found.metrics))
    for row, name in enumerate(found.methods):
        times = clock.cpu[row * len(METRICS) :][: len(METRICS)]
        print(f"| {name} | {' | '.join(f'{seconds:.2f}' for seconds in times)} |")
    wall, cpu = sum(clock.wall), sum(clock.cpu)
    met = "yes" if wall <= GOAL else "no"
    print(f"\nwhole: {wall:.0f} s ({cpu:.0f} s of CPU), goal {GOAL:g} s, met: {met}")
    print(f"load after: {os.getloadavg()[0]:.1f}\n\n{found}")


if __name__ == "__main__":
    main()
