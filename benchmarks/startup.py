"""What ``import nni_widgets`` adds to ``import torch``, and that it loads no widget package.

python benchmarks/startup.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TARGET = 0.3
WIDGET_PACKAGES = ("ipywidgets", "IPython", "bqplot", "ipycanvas", "anywidget", "traitlets")
PROGRAMS = ("import torch", "import torch, nni_widgets")
REPORT = f"""
import resource, sys
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
print(*[name for name in {WIDGET_PACKAGES} if name in sys.modules])
"""


def run(program: str) -> tuple[float, list[str]]:
    """CPU seconds of a fresh process and the widget packages that it loaded."""
    command = [sys.executable, "-c", program + REPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, _, loaded = done.stdout.partition("\n")
    return float(seconds), loaded.split()


def main() -> None:
    """Run the programs in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    loaded: dict[str, list[str]] = {}
    for _ in range(rounds):
        for program in PROGRAMS:
            spent, loaded[program] = run(program)
            seconds[program].append(spent)
    base = seconds[PROGRAMS[0]]
    print(f"CPU seconds of fresh processes, in turn, median of {rounds}; target {TARGET} added\n")
    print("| program | seconds | added | met | widget packages loaded |")
    print("| --- | --- | --- | --- | --- |")
    for program, values in seconds.items():
        added = statistics.median(a - b for a, b in zip(values, base, strict=True))
        met = "yes" if added <= TARGET and not loaded[program] else "no"
        packages = ", ".join(loaded[program]) or "none"
        print(f"| {program} | {statistics.median(values):.2f} | {added:.2f} | {met} | {packages} |")


if __name__ == "__main__":
    main()
