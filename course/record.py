"""Run the notebooks again and show what changed before it is accepted.

    python course/record.py [--yes | --check] [NOTEBOOK ...]

Without names, every notebook of the course. Nothing is written when a cell fails, when the answer
is not "y", or with --check, which leaves with 1 when a notebook no longer says what it computes.
"""

import argparse
import base64
import difflib
import io
import os
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

COURSE = Path(__file__).parent
CELL_TIMEOUT = 300
PNG = "image/png"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT_OF_A_CELL = ("tags", "jupyter", "collapsed", "editable", "deletable")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NNI_WIDGETS_DISPLAY_WAITS": "30"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main(arguments: list[str] | None = None) -> int:
    """Record the notebooks named on the command line; return the exit status."""
    options = _options(arguments)
    recorded = {}
    for path in options.notebooks or notebooks_of_the_course():
        old = nbformat.read(path, as_version=4)
        print(f"{path.name}: running {len(old.cells)} cells", flush=True)
        try:
            new = record(old, path.parent)
        except CellExecutionError as error:
            print(f"{path.name}: a cell failed, nothing is written.\n{error}")
            return 1
        if new == old:
            continue
        print("\n".join([f"{path.name}: changed", *changes(old, new)]))
        recorded[path] = new
    if not recorded:
        print("Nothing changed.")
        return 0
    if options.check or not (options.yes or _agreed()):
        print("Nothing is written.")
        return 1
    for path, notebook in recorded.items():
        nbformat.write(notebook, path)
    print(f"Written: {', '.join(path.name for path in recorded)}.")
    return 0


def notebooks_of_the_course() -> list[Path]:
    """Every notebook below the course, without Jupyter's own copies."""
    found = sorted(COURSE.rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def record(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return the notebook as a fresh kernel of this environment runs it, in its stored form."""
    fresh = nbformat.from_dict(notebook)
    client = NotebookClient(
        fresh,
        kernel_name=KERNEL["name"],
        timeout=CELL_TIMEOUT,
        extra_arguments=["--log-level=ERROR"],
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, **ENVIRONMENT})
    return normalised(fresh)


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Leave out of a notebook whatever differs between two runs that say the same."""
    plain = nbformat.from_dict(notebook)
    plain.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    for cell in plain.cells:
        kept = {name: cell.metadata[name] for name in KEPT_OF_A_CELL if name in cell.metadata}
        cell.metadata = NotebookNode(kept)
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)
    return plain


def changes(old: NotebookNode, new: NotebookNode) -> Iterator[str]:
    """Yield lines that say, code cell by code cell, what the notebook shows now and did not."""
    pairs = list(zip(_code_cells(old), _code_cells(new), strict=True))
    said = False
    for number, (before, after) in enumerate(pairs, start=1):
        lines = [*_text_changes(before, after), *_picture_changes(before, after)]
        if lines:
            said = True
            yield f"  cell {number}: {_first_line(after.source)}"
            yield from (f"    {line}" for line in lines)
    if not said:
        yield "  metadata or execution counts only"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--yes", action="store_true", help="accept the changes without asking")
    answer.add_argument("--check", action="store_true", help="show the changes, write nothing")
    return parser.parse_args(arguments)


def _agreed() -> bool:
    print("Accept? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _first_line(source: str) -> str:
    return next(iter(source.splitlines()), "")


def _text_changes(before: NotebookNode, after: NotebookNode) -> list[str]:
    diff = difflib.unified_diff(_text(before), _text(after), n=0, lineterm="")
    return [line for line in diff if not line.startswith(("---", "+++", "@@"))]


def _text(cell: NotebookNode) -> list[str]:
    lines: list[str] = []
    for output in cell.outputs:
        match output.output_type:
            case "stream":
                lines += output.text.splitlines()
            case "error":
                lines.append(f"{output.ename}: {output.evalue}")
            case _:
                texts = (str(output.data[mime]) for mime in sorted(output.data) if mime != PNG)
                lines += [line for text in texts for line in text.splitlines()]
    return lines


def _picture_changes(before: NotebookNode, after: NotebookNode) -> Iterator[str]:
    for number, (old, new) in enumerate(zip_longest(_pictures(before), _pictures(after)), start=1):
        if old is None or new is None:
            yield f"picture {number}: {'new' if old is None else 'gone'}"
        elif old.shape != new.shape:
            yield f"picture {number}: size {old.shape[1::-1]} -> {new.shape[1::-1]}"
        elif (gap := np.abs(old - new)).any():
            share = gap.any(axis=-1).mean()
            yield f"picture {number}: {share:.1%} of the pixels differ, by up to {gap.max()} of 255"


def _pictures(cell: NotebookNode) -> list[np.ndarray]:
    found = [output.data[PNG] for output in cell.outputs if PNG in output.get("data", ())]
    return [_pixels(base64.b64decode(png)) for png in found]


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"), dtype=np.int16)


if __name__ == "__main__":
    sys.exit(main())
