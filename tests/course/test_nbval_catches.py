"""The notebooks are a regression test: a change in an output, or in the code, makes pytest fail."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course.record import record

ROOT = Path(__file__).parents[2]
SUM = "import numpy as np\nR = np.outer(range(4), [1.5, -2, 0.75])\nprint(f'sum {R.sum():.2f}')"
SLIDER = "import ipywidgets\nipywidgets.IntSlider(3)"
SLEEP = "import time\ntime.sleep(0)"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    cells = [new_code_cell(source) for source in (SUM, SLIDER, SLEEP, "1 + 1")]
    return record(new_notebook(cells=cells), tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def nbval(recorded, tmp_path):
    """Change the recorded notebook, compare it under the project's settings, tell the outcome."""

    def compare(change, *options):
        notebook = nbformat.from_dict(recorded)
        change(notebook.cells)
        path = tmp_path / "lesson.ipynb"
        nbformat.write(notebook, path)
        pytest_here = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "conftest"]
        done = subprocess.run(
            [*pytest_here, "-p", "no:cacheprovider", "--color=no", *options, str(path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        summary = done.stdout.splitlines()[-1]
        return {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|xfailed)", summary)}

    return compare


def unchanged(cells):
    pass


def a_digit_of_a_print(cells):
    cells[0].outputs[0].text = cells[0].outputs[0].text.replace("1.50", "1.51")


def a_digit_of_a_widget(cells):
    data = cells[1].outputs[0].data
    data["text/plain"] = data["text/plain"].replace("value=3", "value=4")


def the_output_removed(cells):
    cells[0].outputs.clear()


def the_code(cells):
    cells[0].source = cells[0].source.replace("-2", "2")


def the_code_raises(cells):
    cells[3].source = "1 / 0"


def test_recorded_notebook_passes(nbval):
    assert nbval(unchanged) == {"passed": 4}


@pytest.mark.parametrize(
    "change",
    [a_digit_of_a_print, a_digit_of_a_widget, the_output_removed, the_code, the_code_raises],
)
def test_change_is_caught(nbval, change):
    assert nbval(change) == {"passed": 3, "failed": 1}


def test_cells_after_a_timeout_are_failures_too(nbval):
    def sleep(cells):
        cells[2].source = "import time\ntime.sleep(60)"

    assert nbval(sleep, "--nbval-cell-timeout=2") == {"passed": 2, "failed": 2}


def test_skipped_cell_is_a_failure(nbval):
    def skip(cells):
        cells[2].metadata.tags = ["nbval-skip"]

    assert nbval(skip) == {"passed": 3, "failed": 1}
