"""The harness shows what is on the screen, and hides nothing that went wrong."""

import numpy as np
import pytest
from playwright.sync_api import Error, expect

from tests.browser import harness
from tests.browser.harness import (
    drag,
    fresh_page,
    launch_chromium,
    new_notebook,
    pixels,
    run_all,
    run_cell,
    save_and_reload,
    watch,
)

GREY_SLIDER = """
import io
import ipywidgets as w
from PIL import Image

def grey(level):
    file = io.BytesIO()
    Image.new("L", (64, 64), level).save(file, "PNG")
    return file.getvalue()

slider = w.IntSlider(value=40, max=255, description="level")
picture = w.Image(value=grey(40), width=64, height=64)
picture.add_class("the-picture")
slider.observe(lambda change: setattr(picture, "value", grey(change["new"])), "value")
w.VBox([slider, picture])
"""


@pytest.fixture
def picture(page):
    """The picture of a notebook in which a slider sets its grey level."""
    new_notebook(page, [GREY_SLIDER])
    run_all(page)
    shown = page.locator("img.the-picture")
    expect(shown).to_be_visible()
    return shown


def test_keyboard_moves_the_slider_and_the_pixels_follow(page, picture):
    assert np.all(pixels(page, picture) == 40)
    with watch(page, picture) as seen:
        page.locator(".noUi-handle").press("ArrowRight")
        seen.settle()
    assert [change.corner for change in seen.changes()] == [(41, 41, 41)]
    assert 0 <= seen.latency() < 5000
    assert np.all(pixels(page, picture) == 41)


def test_drag_ends_on_the_value_the_kernel_knows(page, picture):
    with watch(page, picture) as seen:
        drag(
            page, page.locator(".noUi-connects"), [(0.16, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5)]
        )
        seen.settle()
    value = int(run_cell(page, "print(slider.value)"))
    assert 190 < value < 220
    assert seen.changes()[-1].corner == (value, value, value)
    assert np.all(pixels(page, picture) == value)


def test_reload_shows_the_picture_again(page, picture):
    save_and_reload(page)
    expect(picture).to_be_visible()
    assert np.all(pixels(page, picture) == 40)


def test_a_failing_cell_fails_the_run_with_its_words(page):
    new_notebook(page, ["1 + 1", "raise ValueError('the words')"])
    with pytest.raises(AssertionError, match="ValueError: the words"):
        run_all(page)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_cell(page, "1 / 0")
    assert run_cell(page, "print('still alive')") == "still alive\n"


def test_a_run_that_does_not_end_is_given_up(page):
    new_notebook(page, ["import time\ntime.sleep(20)"])
    with pytest.raises(Error, match="the run had not ended after 1 s"):
        run_all(page, seconds=1)


@pytest.mark.browser
def test_a_kernel_that_does_not_answer_is_woken(lab, chromium):
    """By another client: it is counted by the server while the cell runs.

    Asked for its kernels five times a second, the server has once answered with an error.
    """
    with fresh_page(lab, chromium, harmless=("/api/kernels?",)) as page:
        new_notebook(page, ["import time\ntime.sleep(3)"])
        page.evaluate("() => { harness.awake.patience = 500; }")
        seen = page.evaluate(COUNT_WHILE_RUNNING)
        assert max(seen) >= 2
        assert run_cell(page, "print('still alive')") == "still alive\n"


COUNT_WHILE_RUNNING = """async () => {
  const run = harness.runAll(60), seen = [];
  let over = false;
  run.finally(() => { over = true; });
  const {kernels} = jupyterapp.serviceManager;
  while (!over) {
    await new Promise((done) => setTimeout(done, 200));
    await kernels.refreshRunning();
    seen.push(...Array.from(kernels.running(), (kernel) => kernel.connections));
  }
  await run;
  return seen;
}"""
LOSE_THE_FIRST_ANSWER = """async () => {
  const {sessionContext} = jupyterapp.shell.currentWidget.context;
  await sessionContext.ready;
  Object.defineProperty(sessionContext.session.kernel, 'info', {value: new Promise(() => {})});
}"""


def test_a_run_without_the_kernels_first_answer(page):
    new_notebook(page, ["print('done')"])
    page.evaluate(LOSE_THE_FIRST_ANSWER)
    run_all(page)
    assert run_cell(page, "print('still alive')") == "still alive\n"


@pytest.mark.browser
@pytest.mark.parametrize(
    "script", ["console.error('ink')", "setTimeout(() => {throw Error('ink')})"]
)
def test_an_error_in_the_browser_fails_the_test(lab, chromium, script):
    def visit():
        with fresh_page(lab, chromium) as page:
            page.evaluate(script)
            page.wait_for_timeout(100)

    with pytest.raises(AssertionError, match="ink"):
        visit()


def test_a_missing_chromium_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(harness.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"apt-get install .* chromium"):
        launch_chromium(playwright=None)
