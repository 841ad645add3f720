"""Steps of a user of an explorer, for the journeys."""

import base64
import io
import re
import time

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.harness import (
    Watch,
    drag,
    new_notebook,
    open_notebook,
    run_all,
    run_cell,
    watch,
)

STROKES = "strokes=[[(8, 8), (20, 8), (13, 22)]]"
SEVEN = ((0.28, 0.28), (0.45, 0.28), (0.72, 0.28), (0.65, 0.45), (0.55, 0.62), (0.46, 0.8))

SHOWN = """element => {
  const canvas = document.createElement('canvas');
  canvas.width = element.naturalWidth; canvas.height = element.naturalHeight;
  canvas.getContext('2d').drawImage(element, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""
IN_THE_KERNEL = "__import__('base64').b64encode(explorer._maps[0]._picture.value).decode()"
NAMELESS = """explorer => {
  const wanted = 'input, select, textarea, button, progress, img, [role=slider], [role=img], ' +
    '[role=application], [contenteditable]';
  const name = (e) => e.ariaLabel || e.alt || e.textContent.trim() ||
    Array.from(e.labels ?? [], (label) => label.textContent.trim()).join('');
  return Array.from(explorer.querySelectorAll(wanted))
    .filter((e) => e.checkVisibility() && !(name(e) && (e.tagName !== 'SELECT' || e.labels.length)))
    .map((e) => e.outerHTML.slice(0, 120));
}"""
SIDEWAYS = """explorer => {
  const output = explorer.closest('.jp-OutputArea-output');
  return output.scrollWidth - output.clientWidth;
}"""


def open_explorer(page: Page, *lines: str) -> Locator:
    """A notebook with one cell, whose last line makes ``explorer``; the explorer in the page."""
    *before, last = lines
    cell = "\n".join(["import nni_widgets as nni", *before, f"explorer = {last}", "explorer"])
    new_notebook(page, [cell])
    run_all(page)
    shown = page.locator(".nn-explorer")
    expect(shown.locator("img.nn-heatmap").first).to_be_visible()
    return shown


def open_lesson_00(page: Page) -> Locator:
    """The first lesson, all its cells run; its explorer, with an empty pad."""
    open_notebook(page, "course/00_start_here.ipynb")
    run_all(page)
    shown = page.locator(".nn-explorer")
    says(shown, "predicted 7")
    shown.locator(".nn-clear").click()
    says(shown, "Draw a digit")
    return shown


def asked(page: Page, expression: str) -> str:
    """What the kernel says to this, when the explorer is at rest."""
    return run_cell(page, f"explorer.drain(60); print({expression})").removesuffix("\n")


def says(explorer: Locator, words: str) -> None:
    """Wait until the status line says this."""
    expect(explorer.locator(".nn-status")).to_contain_text(re.compile(words))


def changes(page: Page, explorer: Locator, act) -> Watch:
    """Do this; the heatmap must look different afterwards."""
    with watch(page, explorer.locator("img.nn-heatmap").first) as seen:
        act()
        page.wait_for_function("probe => probe.changes.length", arg=seen._handle)
        seen.settle()
    return seen


def draw_seven(page: Page, explorer: Locator) -> None:
    """Draw a 7 with the mouse."""
    drag(page, explorer.locator(".nn-pad canvas"), SEVEN, ms=40)


def wiggle(page: Page, slider: Locator, events: int = 30, seconds: float = 0.6) -> None:
    """Drag a slider's handle to and fro, as fast as an impatient user, to end at its right end."""
    track, handle = (slider.locator(f".noUi-{part}") for part in ("base", "handle"))
    track.scroll_into_view_if_needed()
    box, at = track.bounding_box(), handle.bounding_box()
    places = [*(0.5 + 0.4 * (-1) ** n * n / events for n in range(events - 1)), 1.0]
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    page.mouse.down()
    begun = time.monotonic()
    for number, place in enumerate(places, 1):
        page.mouse.move(box["x"] + place * box["width"], at["y"] + at["height"] / 2)
        page.wait_for_timeout(max(0, 1000 * (begun + number * seconds / events - time.monotonic())))
    page.mouse.up()


def alike(page: Page, css: str) -> None:
    """Wait until the first two elements that this selects have the same text."""
    same = """css => {
      const [first, second] = document.querySelectorAll(css);
      return first.textContent === second.textContent;
    }"""
    page.wait_for_function(same, arg=css)


def assert_in_step(page: Page, explorer: Locator) -> None:
    """The picture in the page becomes, pixel by pixel, the one that the kernel has."""
    shown = explorer.locator("img.nn-heatmap").first
    deadline = time.monotonic() + 10
    while True:
        expected = decoded(asked(page, IN_THE_KERNEL))
        found = picture_in(shown)
        if np.array_equal(found, expected) or time.monotonic() > deadline:
            break
        page.wait_for_timeout(200)
    np.testing.assert_array_equal(found, expected)


def picture_in(shown: Locator) -> np.ndarray:
    """What an image in the page shows, in its own resolution."""
    return decoded(shown.evaluate(SHOWN))


def decoded(text: str) -> np.ndarray:
    """The pixels of a picture file in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
