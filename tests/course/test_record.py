"""Recording shows what changed, asks, and writes all or nothing."""

import io
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course import record

PICTURE = """
import io
from IPython.display import Image as Shown
from PIL import Image
file = io.BytesIO()
Image.new("L", (4, 4), {level}).save(file, "PNG")
Shown(file.getvalue())
"""


def write(path, *sources):
    cells = [new_markdown_cell("words"), *(new_code_cell(source) for source in sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def edit(path, cell, old, new):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)
    nbformat.write(notebook, path)


def answer(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def recorded(tmp_path, capsys):
    path = write(tmp_path / "01.ipynb", "x = 3", "print('sum', x)\nprint('same')")
    assert record.main(["--yes", str(path)]) == 0
    capsys.readouterr()
    return path


def test_recorded_again_nothing_changes(recorded, capsys):
    before = recorded.read_bytes()
    assert record.main(["--check", str(recorded)]) == 0
    assert record.main([str(recorded)]) == 0
    assert recorded.read_bytes() == before
    assert "Nothing changed." in capsys.readouterr().out


def test_what_changed_is_shown_and_only_that(recorded, capsys):
    edit(recorded, 1, "3", "4")
    assert record.main(["--check", str(recorded)]) == 1
    shown = capsys.readouterr().out
    assert "  cell 2: print('sum', x)\n    -sum 3\n    +sum 4\nNothing is written." in shown
    assert "cell 1" not in shown
    assert "same\n" not in shown


@pytest.mark.parametrize("text", ["n\n", "\n", ""])
def test_refused_nothing_is_written(recorded, monkeypatch, text):
    edit(recorded, 1, "3", "4")
    before = recorded.read_bytes()
    answer(monkeypatch, text)
    assert record.main([str(recorded)]) == 1
    assert recorded.read_bytes() == before


def test_accepted_it_is_written(recorded, monkeypatch):
    edit(recorded, 1, "3", "4")
    answer(monkeypatch, "y\n")
    assert record.main([str(recorded)]) == 0
    stored = nbformat.read(recorded, as_version=4)
    assert stored.cells[2].outputs[0].text == "sum 4\nsame\n"
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2]


def test_a_failing_cell_writes_no_notebook(recorded, tmp_path, capsys):
    edit(recorded, 1, "3", "4")
    before = recorded.read_bytes()
    failing = write(tmp_path / "02.ipynb", "1 / 0")
    assert record.main(["--yes", str(recorded), str(failing)]) == 1
    assert recorded.read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_a_cell_that_may_fail_is_recorded(tmp_path):
    path = write(tmp_path / "01.ipynb", "1 / 0", "2")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata.tags = ["raises-exception"]
    nbformat.write(notebook, path)
    assert record.main(["--yes", str(path)]) == 0
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert stored.cells[2].outputs[0].data == {"text/plain": "2"}


def test_a_picture_that_changed_is_told_with_its_size(tmp_path, capsys):
    path = write(tmp_path / "01.ipynb", PICTURE.format(level=10))
    assert record.main(["--yes", str(path)]) == 0
    edit(path, 1, "10", "13")
    assert record.main(["--check", str(path)]) == 1
    assert "picture 1: 100.0% of the pixels differ, by up to 3 of 255" in capsys.readouterr().out


def test_what_differs_between_equal_runs_is_left_out(tmp_path):
    path = write(tmp_path / "01.ipynb", "import ipywidgets\nipywidgets.IntSlider(3)")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.kernelspec = {"name": "mine", "display_name": "Mine"}
    notebook.cells[1].metadata.execution = {"iopub.execute_input": "2026-01-01"}
    notebook.cells[1].metadata.tags = ["a-tag"]
    nbformat.write(notebook, path)
    assert record.main(["--yes", str(path)]) == 0
    stored = nbformat.read(path, as_version=4)
    assert stored.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert stored.cells[1].metadata == {"tags": ["a-tag"]}
    assert list(stored.cells[1].outputs[0].data) == ["text/plain"]
