"""For tests and notebooks alike: one thread, and no cell that quietly was not compared."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # also for the kernels that the tests start
os.environ["NNI_WIDGETS_DISPLAY_WAITS"] = "30"  # so that a notebook's picture is always complete

import pytest
from nbval.plugin import IPyNbCell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let a notebook cell that was skipped, or "expected" to fail after a time-out, fail."""
    report = yield
    if isinstance(item, IPyNbCell) and report.skipped:
        reason = vars(report).pop("wasxfail", "skipped by its tag")
        report.outcome = "failed"
        report.longrepr = f"This cell was not compared: {reason}."
    return report
