"""How soon a learner sees the answer, measured in a real JupyterLab in headless Chromium.

Run ``python -m benchmarks.latency`` from the root of the repository. For each method: milliseconds
from the release of the pen, and from the last of a slider's 30 movements in 0.6 s, to the first new
heatmap on the screen and to the last one, which is that of the last value; then how soon Cancel is
answered. The goal of a single-pass method is for the last picture, that of a progressive one for
the first. Before that: from the start of a cell that opens an explorer to the first words and to
the first heatmap, with the packages loaded; the goal is for the heatmap, and for the words where
the method alone takes longer than that. Median and maximum of the repetitions.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.browser.explorers import STROKES, asked, open_explorer, says, wiggle
from tests.browser.harness import (
    Lab,
    drag,
    fresh_page,
    launch_chromium,
    new_notebook,
    run_all,
    run_cell,
    watch,
)

SINGLE, SEVERAL, CANCEL, PHOTOGRAPH, OPENING = 100, 150, 300, 500, 1500
QUIET = 1000
MOVE, RELEASE, LAST = -3, -2, -1  # a drag ends with these two events and a click

SLOW = """import time
def slow(model, x, target):
    time.sleep(3)
    return nni.Gradient()(model, x, target)"""
FIRST_PAINT = """async source => {
  const known = new Set(document.querySelectorAll('.nn-explorer'));
  const begun = performance.now();
  let words, picture;
  const look = (done) => {
    const shown = [...document.querySelectorAll('.nn-explorer')].find((each) => !known.has(each));
    const image = shown?.querySelector('img.nn-heatmap');
    if (shown?.querySelector('.nn-status p')?.textContent) words ??= performance.now() - begun;
    if (image?.complete && image.naturalWidth > 1) picture ??= performance.now() - begun;
    if (picture) done([words, picture]);
    else requestAnimationFrame(() => look(done));
  };
  const [seen] = await Promise.all([new Promise(look), harness.runCell(source, 60)]);
  return seen;
}"""

Times = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A method, the slider that is dragged, and the time that is allowed."""

    method: str
    slider: str
    goal: int


CASES = (
    Case("nni.LRP()", "gamma", SINGLE),
    Case("nni.Saliency()", "", SINGLE),
    Case("nni.GuidedBackprop()", "", SINGLE),
    Case("nni.IntegratedGradients()", "n_steps", SEVERAL),
    Case("nni.SmoothGrad()", "noise_level", SEVERAL),
)


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10)
    repetitions = parser.parse_args().repetitions
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'median, max in ms':44}{'first picture':>16}{'last picture':>16}{'goal':>8}")
    openings(repetitions)
    answers(repetitions)
    photographs(repetitions)
    trust(repetitions)
    print(f"load after: {os.getloadavg()[0]:.1f}")


def openings(repetitions: int) -> None:
    """The rows of explorers that are opened, each in a notebook of its own: it grows by them."""
    rows = (
        ("first words and heatmap, 3 s of work", f"{STROKES}, methods=[slow]", False),
        ("first words and heatmap, LRP", STROKES, True),
    )
    for what, arguments, last in rows:
        with page_of_a_lab() as page:
            open_explorer(page, f"nni.draw({STROKES})")
            run_cell(page, SLOW)
            tell(what, OPENING, repeated(repetitions, opening, page, arguments), last=last)


def answers(repetitions: int) -> None:
    """The rows of one explorer that answers strokes, sliders and Cancel."""
    with page_of_a_lab() as page:
        explorer = open_explorer(page, f"nni.draw({STROKES})")
        for case in CASES:
            run_cell(page, f"explorer.method = {case.method}; explorer.pad.strokes = ()")
            last = case.goal == SINGLE
            seen = repeated(repetitions, stroke, page, explorer)
            tell(f"stroke, {case.method}", case.goal, seen, last=last)
            if case.slider:
                slider = explorer.locator(f".nn-{case.slider}").first
                seen = repeated(repetitions, slide, page, explorer, slider)
                tell(f"drag of {case.slider}, {case.method}", case.goal, seen, last=last)
        run_cell(page, "explorer.pad.strokes = [[(14, 6), (13, 22)]]")
        tell("cancel, SmoothGrad of 10000", CANCEL, repeated(repetitions, cancel, page, explorer))


def photographs(repetitions: int) -> None:
    """The rows of explorers of photographs at 224 pixels: another picture at a click."""
    with page_of_a_lab() as page:
        for opener in ("explore_look", "explore"):
            photos = 'nni.models.load("photos"), nni.data.photograph_batch()'
            explorer = open_explorer(page, f"nni.{opener}({photos})")
            seen = repeated(repetitions, another, page, explorer)
            tell(f"another photograph, {opener}", PHOTOGRAPH, seen, last=False)
            run_cell(page, "explorer.close()")


def trust(repetitions: int) -> None:
    """The rows of the explorers of quality and uncertainty: a click, a key or a drag."""
    cases = (
        ("a patch removed", "digits-cnn", "explore_quality(model, x)", "left", patch, LAST),
        ("drag of n_layers", "digits-cnn", "explore_sanity(model, x)", "forgetful-0", layers, MOVE),
        ("another group", "digits-hans", "explore_hans()", "mean-map", group, LAST),
        ("digit turned", "digits-dropout", "explore_uncertainty(model, x)", "moved", angle, MOVE),
        ("its maps", "digits-dropout", "explore_uncertainty(model, x)", "mean-map", angle, MOVE),
    )
    for what, model, call, picture, act, event in cases:
        given = f"model, (x, _) = nni.models.load('{model}'), nni.data.digits('test')[:10]"
        cell = f"import nni_widgets as nni\n{given}\nexplorer = nni.{call}\nexplorer"
        with page_of_a_lab() as page:
            new_notebook(page, [cell])
            run_all(page)
            explorer = page.locator(".nn-explorer")
            place = explorer.locator(f"img.nn-{picture}")
            expect(place).to_be_visible()
            asked(page, "''")
            seen = repeated(repetitions, answered, page, explorer, place, act, event)
        tell(f"{what}, {call.partition('(')[0]}", SEVERAL, seen, last=False)


def answered(
    page: Page,
    explorer: Locator,
    picture: Locator,
    act: Callable[[Locator, int], None],
    event: int,
    number: int,
) -> Times:
    """Do this and wait for the picture; then wait until the kernel is at rest."""
    times = latency(page, picture, lambda: act(explorer, number), event)
    asked(page, "''")
    return times


def patch(explorer: Locator, number: int) -> None:
    """Click another patch of the board of 7 × 7."""
    board = explorer.locator(".nn-patches")
    box = board.bounding_box()
    places = {"x": (1 + number % 5, box["width"]), "y": (2 + number // 5, box["height"])}
    board.click(position={axis: (n + 0.5) / 7 * side for axis, (n, side) in places.items()})


def layers(explorer: Locator, _: int) -> None:
    """Draw layers anew, from none to all and back, to all."""
    wiggle(explorer.page, explorer.locator(".nn-n_layers"))


def group(explorer: Locator, number: int) -> None:
    """Choose a group of the maps by the keyboard."""
    explorer.locator(".nn-group select").focus()
    explorer.page.keyboard.press("ArrowDown" if number % 2 == 0 else "ArrowUp")


def angle(explorer: Locator, _: int) -> None:
    """Turn the digit to and fro."""
    wiggle(explorer.page, explorer.locator(".nn-angle"))


def another(page: Page, explorer: Locator, _: int) -> Times:
    """Look at a photograph drawn by lot."""
    return latency(page, heatmap(explorer), lambda: explorer.locator(".nn-random").click(), LAST)


def repeated(times: int, act: Callable[..., Times], *arguments: object) -> list[Times]:
    """What the measurement gives again and again; the first time is for warming up."""
    return [act(*arguments, number) for number in range(times + 1)][1:]


def tell(what: str, goal: int, measured: list[Times], *, last: bool = True) -> None:
    """One row of the table; the goal is for the last of the two times, or for the first."""
    columns = "".join(f"{median(t):8.0f}{max(t):8.0f}" for t in zip(*measured, strict=True))
    missed = "" if median(times[last] for times in measured) <= goal else "  missed"
    print(f"{what:44}{columns}{goal:8}{missed}", flush=True)


def opening(page: Page, arguments: str, _: int) -> Times:
    """Run a cell that opens an explorer, in place of the one before."""
    cell = f"explorer.close(); explorer = nni.draw({arguments}); explorer"
    words, picture = page.evaluate(FIRST_PAINT, cell)
    return words, picture


def stroke(page: Page, explorer: Locator, number: int) -> Times:
    """Draw a line that is a little different each time."""
    run_cell(page, "explorer.pad.clear()")
    says(explorer, "Draw a digit")
    low = 0.7 + number / 100
    points = [(0.3 + 0.02 * k, 0.2 + (low - 0.2) * k / 15) for k in range(16)]
    pad = explorer.locator(".nn-pad canvas")
    return latency(page, heatmap(explorer), lambda: drag(page, pad, points), RELEASE)


def slide(page: Page, explorer: Locator, slider: Locator, number: int) -> Times:
    """Drag the slider; each time from its default, each time another drawing."""
    dot = f"[({4 + number}, 4)]"
    run_cell(page, f"explorer.pad.strokes = [{dot}, [(14, 6), (13, 22)]]")
    asked(page, "''")
    return latency(page, heatmap(explorer), lambda: wiggle(page, slider), MOVE)


def latency(page: Page, picture: Locator, act: Callable[[], None], event: int) -> Times:
    """From the last event that changed something to the first and the last picture after it.

    0 if the picture before that event is already the last one. Nothing else runs in the page or the
    kernel meanwhile; a second without a new picture is the end.
    """
    with watch(page, picture) as seen:
        act()
        seen.settle(QUIET)
        since = seen._read("events")[event]
        later = [change.at - since for change in seen.changes() if change.at >= since] or [0.0]
    return min(later), max(later)


def heatmap(explorer: Locator) -> Locator:
    """The first heatmap of an explorer."""
    return explorer.locator("img.nn-heatmap").first


def cancel(page: Page, explorer: Locator, number: int) -> Times:
    """Press Cancel while SmoothGrad is at work for a long time."""
    run_cell(page, f"explorer.method = nni.SmoothGrad(n_samples=10000, seed={number})")
    expect(explorer.locator(".nn-progress progress")).to_be_visible()
    with watch(page, explorer.locator(".nn-status")) as seen:
        explorer.locator(".nn-cancel").click()
        says(explorer, "Cancelled")
        answered = seen.latency()
    return answered, answered


@contextmanager
def page_of_a_lab() -> Iterator[Page]:
    """A page of a JupyterLab that runs as long as the block."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder)) as lab,
        sync_playwright() as playwright,
        fresh_page(lab, launch_chromium(playwright)) as page,
    ):
        yield page


if __name__ == "__main__":
    main()
