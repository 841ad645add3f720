"""An explorer and its notebook: before the first picture, loaded again, shown twice, and saved."""

import json

import nbformat
import numpy as np
from playwright.sync_api import expect

from tests.browser.explorers import (
    STROKES,
    alike,
    asked,
    assert_in_step,
    changes,
    decoded,
    open_explorer,
    picture_in,
    says,
)
from tests.browser.harness import (
    drag,
    fresh_page,
    new_notebook,
    open_notebook,
    pixels,
    run_all,
    run_cell,
    save_and_reload,
    watch,
)

PATIENT = f"""
import threading
import nni_widgets as nni
let_go = globals().get("let_go", threading.Event())

def patient(model, x, target):
    let_go.wait(60)
    return nni.Gradient()(model, x, target)

explorer = nni.draw({STROKES}, methods=[patient])
explorer
"""
NOTHING_DIRTY = "() => !jupyterapp.shell.currentWidget.context.model.dirty"
STATE = "application/vnd.jupyter.widget-state+json"


def test_words_before_the_first_picture(page):
    new_notebook(page, [PATIENT])
    run_all(page)
    explorer, heatmap = page.locator(".nn-explorer"), page.locator("img.nn-heatmap").first
    says(explorer, "The first picture is being computed")
    expect(explorer.locator(".nn-progress")).to_have_text("patient is at work")
    expect(explorer.get_by_role("button", name="Cancel")).to_be_visible()
    assert picture_in(heatmap).shape == (1, 1, 3)
    assert np.ptp(pixels(page, explorer.locator(".nn-pad canvas"))) == 255
    run_cell(page, "let_go.set()")
    says(explorer, "predicted 7")
    assert picture_in(heatmap).shape == (28, 28, 3)
    expect(explorer.locator(".nn-progress")).to_have_text("")


def test_reload_and_second_display(page):
    explorer = open_explorer(page, f"nni.draw({STROKES})")
    pad, heatmap = explorer.locator(".nn-pad canvas"), explorer.locator("img.nn-heatmap").first
    drawn = pixels(page, pad)
    assert drawn.max() == 255
    save_and_reload(page)
    expect(heatmap).to_be_visible()
    says(explorer, "predicted 7")
    np.testing.assert_array_equal(pixels(page, pad), drawn)
    assert_in_step(page, explorer)

    run_cell(page, "explorer")
    expect(page.locator(".nn-explorer")).to_have_count(2)
    first, second = (page.locator(".nn-explorer").nth(i) for i in range(2))
    changes(page, first, lambda: second.locator(".nn-target select").select_option("3"))
    says(first, "explained: 3")
    drag(page, second.locator(".nn-pad canvas"), [(0.2, 0.5), (0.8, 0.5)])
    alike(page, ".nn-explorer .nn-status")
    assert_in_step(page, second)
    with page.expect_download():  # one, not one per display
        second.locator(".nn-save-png").click()


def test_a_saved_notebook_keeps_its_pictures_without_a_kernel(page, lab, chromium):
    explorer = open_explorer(page, f"nni.draw({STROKES}, method=nni.Saliency())")
    explorer.locator(".nn-target select").select_option("3")
    says(explorer, "explained: 3")
    run_cell(page, "explorer.drain(); explorer.compare = nni.SmoothGrad(); explorer.drain();")
    alike(page, ".nn-explorer .nn-ends")
    heatmaps = [each for each in explorer.locator("img.nn-heatmap").all() if each.is_visible()]
    with watch(page, heatmaps[1]) as seen:
        seen.settle()
    expected = [picture_in_canvas(explorer), *map(picture_in, heatmaps)]
    assert len(expected) > 2
    for _ in range(2):  # the second time takes the place of the first
        page.evaluate("() => harness.save()")
        page.wait_for_function(NOTHING_DIRTY)
    saved = lab.root / page.url.rpartition("/")[2].partition("?")[0]
    model_id = asked(page, "explorer.model_id")
    assert list(json.loads(saved.read_text())["metadata"]["widgets"][STATE]["state"]) == [model_id]

    page.close()  # left open, it would join the next kernel
    lab.shut_down_kernels()
    with fresh_page(lab, chromium) as later:
        open_notebook(later, saved.name)
        still = later.locator(".nn-still")
        expect(still).to_contain_text("explained: 3")
        expect(still).to_contain_text("run the cell to play with it")
        expect(still.locator("button, input, select, canvas")).to_have_count(0)
        pictures = [still.locator("img").first, *still.locator("img.nn-heatmap").all()]
        for shown, before in zip(pictures, expected, strict=True):
            expect(shown).to_be_visible()
            assert shown.get_attribute("alt")
            assert np.ptp(pixels(later, shown)) > 40
            np.testing.assert_array_equal(picture_in(shown), before)

        run_all(later)
        says(later.locator(".nn-explorer"), "predicted 7")
        expect(still).to_have_count(0)
        later.evaluate("() => harness.save()")
        later.wait_for_function(NOTHING_DIRTY)
    kept = json.loads(saved.read_text())["metadata"]["widgets"][STATE]["state"]
    assert len(kept) == 1
    assert model_id not in kept


def picture_in_canvas(explorer):
    canvas = explorer.locator(".nn-pad canvas")
    return decoded(canvas.evaluate("canvas => canvas.toDataURL().split(',')[1]"))


def test_a_notebook_sent_to_somebody_shows_the_picture(page):
    open_explorer(page, f"nni.draw({STROKES})")
    page.evaluate("() => harness.save()")
    open_notebook(page, sent_to_somebody(page))
    picture = page.locator(".jp-OutputArea-output img").first
    expect(picture).to_be_visible()
    assert len(np.unique(pixels(page, picture).reshape(-1, 3), axis=0)) > 20


def sent_to_somebody(page):
    """The saved notebook as one that this JupyterLab has not made: its kernel is gone."""
    page.lab.shut_down_kernels()
    saved = page.lab.root / page.url.rpartition("/")[2].partition("?")[0]
    notebook = nbformat.read(saved, as_version=4)
    notebook.cells[0].source += "  # sent"
    nbformat.write(notebook, saved.with_name("sent.ipynb"))
    return "sent.ipynb"
