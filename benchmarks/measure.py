"""How time and memory are measured: side by side in one process, on one thread."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]


def cpu_seconds(call: Call) -> float:
    """Process CPU time of one call."""
    before = time.process_time()
    call()
    return time.process_time() - before


def ratios(limit: Call, others: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """Median over rounds of each call's time / the limit's of the same round.

    Within a round the calls follow each other; the one that begins changes from round to round.
    """
    calls = [("limit", limit), *others.items()]
    seen: dict[str, list[float]] = {name: [] for name in others}
    for turn in range(rounds):
        shift = turn % len(calls)
        times = {name: cpu_seconds(call) for name, call in calls[shift:] + calls[:shift]}
        for name, values in seen.items():
            values.append(times[name] / times["limit"])
    return {name: statistics.median(values) for name, values in seen.items()}


def peak_bytes(call: Call) -> int:
    """The most bytes that the call's tensors took at one time, by torch's profiler."""
    with (
        _silent_stderr(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        call()
    results = profiler.profiler.kineto_results.events()
    events = [event for event in results if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without the lines that the profiler's C++ code writes."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
