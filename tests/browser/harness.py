"""A real JupyterLab in a real browser, as functions that a test reads like a user's steps.

Notebooks are run through Lab's own commands, because driving its menus on a kernel that has just
started loses clicks; what a user would look at is read as pixels, because the page's elements look
right also when nothing has been painted.
"""

import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Playwright

COURSE = Path(__file__).parents[2] / "course"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
VIEWPORT = {"width": 1280, "height": 1000}
QUIET_LAB = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}
SCRIPT = Path(__file__).with_suffix(".js")


class Lab:
    """JupyterLab as a subprocess, over a copy of the course and settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        shutil.copytree(
            COURSE,
            self.root / "course",
            ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"),
        )
        self._settings = folder / "jupyter"
        labconfig = self._settings / "config" / "labconfig"
        labconfig.mkdir(parents=True)
        (labconfig / "default_setting_overrides.json").write_text(json.dumps(QUIET_LAB))
        self._log = folder / "lab.log"
        self._token = secrets.token_hex(16)
        self._address = f"http://127.0.0.1:{_free_port()}"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.root, env=self._environment(), stdout=log, stderr=log
            )
        try:
            self._wait_until_up()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def url(self, notebook: str) -> str:
        """The address of a notebook, named by its path below the root."""
        return f"{self._address}/lab/tree/{notebook}?token={self._token}&reset"

    def voila_url(self, notebook: str) -> str:
        """The address of the same notebook shown by Voilà, without its code."""
        return f"{self._address}/voila/render/{notebook}?token={self._token}"

    def shut_down_kernels(self) -> None:
        """End every session, so that tests neither share a kernel nor pile them up."""
        for session in json.loads(self._request("GET", "/api/sessions")):
            self._request("DELETE", f"/api/sessions/{session['id']}")

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "jupyterlab", "--no-browser"),
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            f"--IdentityProvider.token={self._token}",
            "--ServerApp.allow_root=True",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self._address.rpartition(':')[2]}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            f"--LabApp.user_settings_dir={self._settings / 'user'}",
            f"--LabApp.workspaces_dir={self._settings / 'workspaces'}",
        ]

    def _environment(self) -> dict[str, str]:
        foreign = ("JUPYTER", "NNI_WIDGETS")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not any(word in name for word in foreign)
        }
        folders = {
            f"JUPYTER_{kind.upper()}_DIR": str(self._settings / kind)
            for kind in ("config", "data", "runtime")
        }
        ipython = str(self._settings / "ipython")
        return {**kept, **folders, "IPYTHONDIR": ipython, "OMP_NUM_THREADS": "1"}

    def _wait_until_up(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._request("GET", "/api/status")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"JupyterLab did not start:\n{self._log.read_text()}")

    def _request(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(
            self._address + path,
            method=method,
            headers={"Authorization": f"token {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def launch_chromium(playwright: Playwright) -> Browser:
    """Start the system's Chromium, or say how to get one."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise RuntimeError(
            "Browser tests: a Chromium must be on the PATH; found none. Install it, on Debian by "
            "`apt-get install --no-install-recommends chromium fonts-dejavu-core`."
        )
    return playwright.chromium.launch(executable_path=found, args=list(FLAGS))


@contextmanager
def fresh_page(lab: Lab, browser: Browser, harmless: Sequence[str] = ()) -> Iterator[Page]:
    """A page in a context of its own; on leaving, fail on whatever the browser complained about.

    ``harmless`` are words of console errors that are not ours.
    """
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script(path=SCRIPT)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.lab = lab
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
    page.on("console", lambda message: complaints.extend(_complaint(message, harmless)))
    try:
        yield page
    finally:
        context.close()
        lab.shut_down_kernels()
    assert not complaints, "the browser complained:\n" + "\n".join(complaints)


def open_notebook(page: Page, name: str) -> None:
    """Open a notebook, named by its path below the Lab's root (``course/…``)."""
    page.goto(page.lab.url(name))
    page.wait_for_function("() => harness.isOpen()")


def save_and_reload(page: Page) -> None:
    """Save the notebook, then load the page again while the kernel lives on."""
    page.evaluate("() => harness.save()")
    page.reload()
    page.wait_for_function("() => harness.isOpen()")


def new_notebook(page: Page, cells: Sequence[str]) -> None:
    """Write a notebook of code cells into the Lab's root and open it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    name = f"{secrets.token_hex(4)}.ipynb"
    nbformat.write(notebook, page.lab.root / name)
    open_notebook(page, name)


def run_all(page: Page, seconds: float = 180) -> None:
    """Run every cell; fail with the output of the cell that failed, or when time is up."""
    _text_of_the_run(*page.evaluate("limit => harness.runAll(limit)", seconds))


def run_cell(page: Page, source: str, seconds: float = 60) -> str:
    """Append a code cell, run it, and return the text it printed."""
    run = "([source, limit]) => harness.runCell(source, limit)"
    return _text_of_the_run(*page.evaluate(run, [source, seconds]))


def paste_and_run(page: Page, seconds: float = 60) -> str:
    """Paste the clipboard into a new cell by the keyboard, run it, return the text it printed."""
    page.evaluate("() => harness.editNewCell()")
    page.keyboard.press("Control+v")
    return _text_of_the_run(*page.evaluate("limit => harness.runActiveCell(limit)", seconds))


def drag(page: Page, target: Locator, points: Sequence[tuple[float, float]], ms: int = 12) -> None:
    """Press at the first point, move through the others, release at the last.

    Points are shares of the target's width and height; ``ms`` passes between two moves.
    """
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    if box is None:
        raise AssertionError("the target of the drag is not visible")
    path = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*path[0])
    page.mouse.down()
    for x, y in path[1:]:
        page.mouse.move(x, y)
        page.wait_for_timeout(ms)
    page.mouse.up()


def touch(page: Page, target: Locator, points: Sequence[tuple[float, float]], ms: int = 12) -> None:
    """As ``drag``, with a finger."""
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    finger = page.context.new_cdp_session(page)

    def put(kind: str, *places: tuple[float, float]) -> None:
        at = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places
        ]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    put("touchStart", points[0])
    for point in points[1:]:
        put("touchMove", point)
        page.wait_for_timeout(ms)
    put("touchEnd")
    finger.detach()


def pixels(page: Page, target: Locator) -> np.ndarray:
    """What is painted where the target stands: an array (height, width, 3) of bytes."""
    target.scroll_into_view_if_needed()
    with Image.open(io.BytesIO(target.screenshot(animations="disabled"))) as picture:
        return np.asarray(picture.convert("RGB"))


@dataclass(frozen=True)
class Change:
    """A new picture on the screen: when (ms of the page's clock), and its top left pixel."""

    at: float
    corner: tuple[int, ...]


class Watch:
    """Stamps each change of a picture (or, where there is none, of the element's content)."""

    def __init__(self, target: Locator) -> None:
        self._page = target.page
        self._handle = target.evaluate_handle("element => harness.watch(element)")

    def changes(self) -> list[Change]:
        """Every change seen so far."""
        return [Change(at, tuple(corner)) for at, corner in self._read("changes")]

    def last_event(self) -> float:
        """When the user's last event (pointer or key) happened, on the same clock."""
        return self._read("events")[-1]

    def latency(self) -> float:
        """Milliseconds from the user's last event to the first new picture after it."""
        event = self.last_event()
        return min(change.at for change in self.changes() if change.at >= event) - event

    def settle(self, quiet: float = 400) -> None:
        """Wait until neither the user nor the picture has moved for ``quiet`` milliseconds."""
        self._page.wait_for_function("args => harness.settled(args)", arg=[self._handle, quiet])

    def stop(self) -> None:
        """Take the probe out of the page."""
        self._handle.evaluate("probe => probe.stop()")

    def _read(self, name: str) -> Any:
        return self._handle.evaluate(f"probe => probe.{name}")


@contextmanager
def watch(page: Page, target: Locator) -> Iterator[Watch]:
    """Watch a picture while the block runs, by a look at its pixels in every animation frame."""
    target.scroll_into_view_if_needed()
    probe = Watch(target)
    try:
        yield probe
    finally:
        probe.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _complaint(message: Any, harmless: Sequence[str]) -> list[str]:
    words = f"console: {message.text} ({message.location.get('url', '')})"
    is_ours = message.type == "error" and not any(part in words for part in harmless)
    return [words] if is_ours else []


def _text_of_the_run(finished: bool, cells: list[list[dict[str, Any]]]) -> str:
    if not finished:
        failed = [outputs for outputs in cells if any(o["output_type"] == "error" for o in outputs)]
        raise AssertionError("a cell failed:\n" + "\n".join(map(_text, failed or cells)))
    return "\n".join(map(_text, cells))


def _text(outputs: list[dict[str, Any]]) -> str:
    return "".join(map(_words, outputs))


def _words(output: dict[str, Any]) -> str:
    match output["output_type"]:
        case "stream":
            text = output["text"]
        case "error":
            text = f"{output['ename']}: {output['evalue']}\n"
        case _:
            text = output["data"].get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)
