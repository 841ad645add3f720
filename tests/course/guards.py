"""What nbval cannot see: a notebook for which its green would mean nothing, or that reads badly.

Each guard takes a notebook and yields one sentence for each place that breaks it.
"""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

MOST_BYTES = 300_000
MOST_LINES_OF_THE_MEDIAN_CELL = 4
CELLS_OF_A_LESSON = range(25, 46)

LESSON = re.compile(r"(?!00)\d\d")

NO_OUTPUT = "no-output"
IGNORE_TAG = "nbval-ignore-output"
MARKER = re.compile(r"^\s*#+\s*(NBVAL_\w+)\s*$", re.MULTILINE)
COMMENT = re.compile(r"^\s*#", re.MULTILINE)
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|Users|tmp|var|opt|usr|mnt|srv|private|work|data)/\w|\b[A-Z]:\\\w"
)
OBJECT_AT = re.compile(r"<[^<>\n]* (?:object )?at 0x[0-9a-fA-F]+>")
SILENT = (
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
    ast.FunctionDef,
    ast.ClassDef,
)


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a notebook of the course."""
    if path.stat().st_size > MOST_BYTES:
        return [f"has {path.stat().st_size} bytes, more than {MOST_BYTES}"]
    notebook = nbformat.read(path, as_version=4)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"is not valid: {error.message}"]
    guards = [
        run_in_order,
        outputs_saved,
        nothing_skipped,
        reasons,
        no_errors,
        no_traces_of_a_machine,
    ]
    guards.append(short_cells)
    if LESSON.match(path.name) and path.parent.name != "solutions":
        guards.append(length_of_a_lesson)
    return [sentence for guard in guards for sentence in guard(notebook)]


def run_in_order(notebook: NotebookNode) -> Iterator[str]:
    """A cell without an execution count is run by nbval, but not compared."""
    for expected, cell in enumerate(code_cells(notebook), start=1):
        if cell.execution_count != expected:
            yield f"code cell {expected} has the execution count {cell.execution_count}"


def outputs_saved(notebook: NotebookNode) -> Iterator[str]:
    """A cell that ends in an expression shows something, or is tagged as one that does not."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        if not cell.outputs and not is_silent(cell.source) and NO_OUTPUT not in tags(cell):
            yield f'code cell {number} has no saved output (tag it "{NO_OUTPUT}" if it has none)'


def nothing_skipped(notebook: NotebookNode) -> Iterator[str]:
    """A skipped cell is no part of what was tested."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        if "NBVAL_SKIP" in markers(cell) or "nbval-skip" in tags(cell):
            yield f"code cell {number} is skipped by nbval"


def reasons(notebook: NotebookNode) -> Iterator[str]:
    """An ignored output says, in a comment of its cell, why it is ignored."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        ignored = "NBVAL_IGNORE_OUTPUT" in markers(cell) or IGNORE_TAG in tags(cell)
        if ignored and not COMMENT.search(MARKER.sub("", cell.source)):
            yield f"code cell {number} ignores its output and no comment says why"


def no_errors(notebook: NotebookNode) -> Iterator[str]:
    """An error is saved only where the lesson means to show it."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags(cell):
            yield f"code cell {number} shows an error: {errors[0]}"


def no_traces_of_a_machine(notebook: NotebookNode) -> Iterator[str]:
    """Paths and addresses differ from machine to machine."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for text in texts(cell):
            for pattern, what in ((ABSOLUTE_PATH, "an absolute path"), (OBJECT_AT, "an address")):
                if found := pattern.search(text):
                    yield f"code cell {number} shows {what}: {found.group()}"


def short_cells(notebook: NotebookNode) -> Iterator[str]:
    """Short cells, one claim each."""
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    median = statistics.median_high(lengths) if lengths else 0
    if median > MOST_LINES_OF_THE_MEDIAN_CELL:
        yield f"the median code cell has {median} lines, more than {MOST_LINES_OF_THE_MEDIAN_CELL}"


def length_of_a_lesson(notebook: NotebookNode) -> Iterator[str]:
    """A lesson fits into one sitting."""
    if len(notebook.cells) not in CELLS_OF_A_LESSON:
        low, high = CELLS_OF_A_LESSON.start, CELLS_OF_A_LESSON.stop - 1
        yield f"has {len(notebook.cells)} cells, not {low} to {high}"


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def markers(cell: NotebookNode) -> list[str]:
    return MARKER.findall(cell.source)


def texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        yield output.get("text", "")
        yield output.get("evalue", "")
        yield from (text for mime, text in output.get("data", {}).items() if "text/" in mime)


def is_silent(source: str) -> bool:
    """Whether a cell only imports, defines and assigns."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return False
    return bool(statements) and all(isinstance(statement, SILENT) for statement in statements)
