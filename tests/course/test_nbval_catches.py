"""The notebooks are a regression test: a change in an output, or in the code, makes pytest fail."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

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


def a_cell_skipped(cells):
    cells[2].metadata.tags = ["nbval-skip"]


def a_cell_too_slow(cells):
    cells[2].source = "import time\ntime.sleep(60)"


CHANGES = (
    a_digit_of_a_print,
    a_digit_of_a_widget,
    the_output_removed,
    the_code,
    the_code_raises,
    a_cell_skipped,
)


def nbval(folder, recorded, changes, *options):
    """Compare a changed notebook each, under the project's settings; how many cells had what end.

    In one process, because the settings' second one would only be started and wait.
    """
    for change in changes:
        notebook = nbformat.from_dict(recorded)
        change(notebook.cells)
        nbformat.write(notebook, folder / f"{change.__name__}.ipynb")
    report = folder / "report.xml"
    pytest_here = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "conftest"]
    settings = ["-p", "no:cacheprovider", "--numprocesses=0", f"--junitxml={report}", *options]
    subprocess.run([*pytest_here, *settings, str(folder)], cwd=ROOT, capture_output=True)
    ends = {change.__name__: Counter() for change in changes}
    for cell in ElementTree.parse(report).iter("testcase"):
        name = cell.get("classname").removesuffix(".ipynb").rpartition(".")[2]
        ends[name].update([child.tag for child in cell] or ["passed"])
    return ends


@pytest.fixture(scope="module")
def ends(recorded, tmp_path_factory):
    return nbval(tmp_path_factory.mktemp("changed"), recorded, [unchanged, *CHANGES])


def test_recorded_notebook_passes(ends):
    assert ends["unchanged"] == {"passed": 4}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_caught(ends, change):
    assert ends[change.__name__] == {"passed": 3, "failure": 1}


def test_cells_after_a_timeout_are_failures_too(recorded, tmp_path):
    ends = nbval(tmp_path, recorded, [a_cell_too_slow], "--nbval-cell-timeout=2")
    assert ends["a_cell_too_slow"] == {"passed": 2, "failure": 2}
