"""Every notebook of the course passes the guards; and each guard catches its trap."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.record import notebooks_of_the_course
from tests.course.guards import problems


@pytest.mark.parametrize("path", notebooks_of_the_course(), ids=lambda path: path.stem)
def test_notebook_of_the_course(path):
    assert problems(path) == []


def lesson(path, *last, words=20):
    """Write a good lesson that ends in the given cells, whose count goes on from 6."""
    good = [
        new_code_cell("print(1)", execution_count=count, outputs=[printed("1\n")])
        for count in range(1, 6)
    ]
    text = [new_markdown_cell("words") for _ in range(words)]
    nbformat.write(new_notebook(cells=[*good, *text, *last]), path)
    return path


def code(source="print(1)", text="1\n", count=6, tags=()):
    outputs = [printed(text)] if text else []
    return new_code_cell(
        source, execution_count=count, outputs=outputs, metadata={"tags": list(tags)}
    )


def printed(text):
    return new_output("stream", text=text)


def error():
    cell = code(text="")
    cell.outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]
    return cell


GOOD = {
    "an ordinary cell": code(),
    "a definition shows nothing": code("import math\ndef f(x):\n    return x\ny = f(1)", text=""),
    "a cell tagged as silent": code("f(1)", text="", tags=["no-output"]),
    "an ignored output with a reason": code("# NBVAL_IGNORE_OUTPUT\n# the time differs\nprint(1)"),
    "an address on the web": code(text="https://example.org/home/x and 1/2 and a/home/b\n"),
}

BAD = {
    "never run": (code(count=None), "execution count None"),
    "run out of order": (code(count=9), "execution count 9"),
    "cleared": (code(text=""), "no saved output"),
    "skipped by a comment": (code("# NBVAL_SKIP\nprint(1)"), "skipped"),
    "skipped by a tag": (code(tags=["nbval-skip"]), "skipped"),
    "ignored by a comment": (code("# NBVAL_IGNORE_OUTPUT\nprint(1)"), "no comment says why"),
    "ignored by a tag": (code(tags=["nbval-ignore-output"]), "no comment says why"),
    "an error": (error(), "shows an error: ValueError"),
    "a path": (code(text="saved as /home/me/x.png\n"), "an absolute path"),
    "a path of Windows": (code(text="saved as C:\\me\\x.png\n"), "an absolute path"),
    "an address": (code(text="<a.B object at 0x7f00>\n"), "an address"),
    "a function's address": (code(text="<function f at 0x7f00>\n"), "an address"),
    "too large": (code(text="x" * 300_000), "bytes"),
}


@pytest.mark.parametrize("cell", GOOD.values(), ids=GOOD.keys())
def test_a_good_cell_passes(tmp_path, cell):
    assert problems(lesson(tmp_path / "01.ipynb", cell)) == []


@pytest.mark.parametrize(("cell", "words"), BAD.values(), ids=BAD.keys())
def test_a_trap_is_caught(tmp_path, cell, words):
    [sentence] = problems(lesson(tmp_path / "01.ipynb", cell))
    assert words in sentence


def test_a_cleared_notebook_is_caught(tmp_path):
    cells = [new_code_cell("print(1)") for _ in range(25)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01.ipynb")
    assert len(problems(tmp_path / "01.ipynb")) == 2 * 25


def test_long_cells_are_caught(tmp_path):
    long = [code("x = 1\n" * 5, count=count) for count in range(6, 13)]
    assert problems(lesson(tmp_path / "01.ipynb", *long)) == [
        "the median code cell has 5 lines, more than 4"
    ]


@pytest.mark.parametrize("words", [19, 41])
def test_length_of_a_lesson_is_caught(tmp_path, words):
    assert problems(lesson(tmp_path / "01.ipynb", words=words)) == [
        f"has {words + 5} cells, not 25 to 45"
    ]
    assert problems(lesson(tmp_path / "00_start_here.ipynb", words=words)) == []


def test_an_invalid_notebook_is_caught(tmp_path):
    notebook = new_notebook(cells=[code(count=1) for _ in range(25)])
    notebook.cells[0].outputs = [{"output_type": "stream"}]
    (tmp_path / "01.ipynb").write_text(json.dumps(notebook))
    [sentence] = problems(tmp_path / "01.ipynb")
    assert "is not valid" in sentence
