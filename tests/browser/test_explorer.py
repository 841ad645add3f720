"""Journeys through an explorer in a real JupyterLab, as its users make them."""

import base64
import io
import re
import time

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.browser.explorers import (
    alike,
    asked,
    changes,
    draw_seven,
    open_explorer,
    open_lesson_00,
    says,
    wiggle,
)
from tests.browser.harness import (
    drag,
    open_notebook,
    pixels,
    run_cell,
    save_and_reload,
    watch,
)

SEVEN = "strokes=[[(8, 8), (20, 8), (13, 22)]]"
SHOWN = """element => {
  const canvas = document.createElement('canvas');
  canvas.width = element.naturalWidth; canvas.height = element.naturalHeight;
  canvas.getContext('2d').drawImage(element, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""
IN_THE_KERNEL = "__import__('base64').b64encode(explorer._panes[0]._picture.value).decode()"
SLOW = """
import time
def slow(model, x, target):
    time.sleep(0.02)
    return nni.Gradient()(model, x, target)
"""


def decoded(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def assert_in_step(page, explorer):
    """The picture in the page becomes, pixel by pixel, the one that the kernel has."""
    shown = explorer.locator("img.nn-heatmap").first
    deadline = time.monotonic() + 10
    while True:
        expected = decoded(asked(page, IN_THE_KERNEL))
        found = decoded(shown.evaluate(SHOWN))
        if np.array_equal(found, expected) or time.monotonic() > deadline:
            break
        page.wait_for_timeout(200)
    np.testing.assert_array_equal(found, expected)


def test_draw_see_why_and_copy_the_code(page):
    explorer = open_lesson_00(page)

    seen = changes(page, explorer, lambda: draw_seven(page, explorer))
    assert len(seen.changes()) > 1, "the heatmap must follow while the pen moves"
    says(explorer, "predicted 7")
    expect(explorer.locator(".nn-sum").first).to_contain_text("ΣR =")
    assert_in_step(page, explorer)

    columns = explorer.locator(".nn-scores rect.bar")
    changes(page, explorer, lambda: columns.nth(-10 + 3).click())
    says(explorer, "explained: 3")
    changes(page, explorer, lambda: explorer.locator(".nn-target select").select_option("9"))
    says(explorer, "explained: 9")

    rule = explorer.locator(".nn-rule-conv2 select")
    changes(page, explorer, lambda: rule.select_option("ZPlus"))
    assert "('conv2', ZPlus())" in asked(page, "explorer.method")
    layer = explorer.locator(".nn-layer select")
    changes(page, explorer, lambda: layer.select_option("conv1"))
    changes(page, explorer, lambda: layer.select_option("(input)"))

    method = explorer.locator(".nn-method select").first
    changes(page, explorer, lambda: method.select_option("SmoothGrad"))
    for name in ("noise_level", "n_samples"):
        handle = explorer.locator(f".nn-{name} .noUi-handle").first
        changes(page, explorer, lambda handle=handle: handle.press("ArrowRight"))
    assert asked(page, "explorer.method.noise_level, explorer.method.n_samples") == "0.155 38"

    explorer.locator(".nn-copy-as-code").click()
    cell = explorer.locator(".nn-code textarea")
    expect(cell).to_have_value(re.compile(r"nni\.explain"))
    assert run_cell(page, cell.input_value()).strip() == asked(page, "explorer.digest()")
    assert_in_step(page, explorer)


def test_a_fast_drag_ends_on_the_last_value_with_nothing_queued(page):
    explorer = open_explorer(page, f"nni.draw(method=nni.IntegratedGradients(), {SEVEN})")
    with watch(page, explorer.locator("img.nn-heatmap").first) as seen:
        wiggle(page, explorer.locator(".nn-n_steps").first)
        seen.settle(600)
        painted = len(seen.changes())
    assert asked(page, "explorer.method") == "IntegratedGradients(n_steps=256)"
    assert asked(page, "explorer._worker._generation") == explorer.locator(
        ".nn-generation"
    ).inner_text().removeprefix("#")
    assert 1 <= painted <= 90
    assert_in_step(page, explorer)


def test_slow_work_shows_its_steps_and_stops_at_once(page):
    explorer = open_explorer(
        page,
        SLOW,
        f"nni.draw({SEVEN}, methods=[nni.LRP(), nni.SmoothGrad(of=slow, n_samples=800)])",
    )
    explorer.locator(".nn-method select").first.select_option("SmoothGrad")
    progress = explorer.locator(".nn-progress")
    expect(progress).to_contain_text(re.compile(r"SmoothGrad \d+/800, about \d+ s"))
    expect(progress.locator("progress")).to_be_visible()
    with watch(page, explorer.locator(".nn-status")) as seen:
        explorer.locator(".nn-cancel").click()
        says(explorer, r"Cancelled after \d+ of 800")
        answered = seen.latency()
    assert answered < 1500
    expect(explorer.locator("img.nn-heatmap").first).to_have_class(re.compile("nn-stale"))
    expect(progress).to_have_text("")
    explorer.locator(".nn-noise_level .noUi-handle").first.press("ArrowRight")
    expect(progress.locator("progress")).to_be_visible()
    page.keyboard.press("Escape")
    says(explorer, "Cancelled")
    explorer.locator(".nn-method select").first.select_option("LRP")
    says(explorer, "LRP: 2 passes")
    assert_in_step(page, explorer)


def test_errors_are_said_in_place_and_everything_stays_usable(page):
    explorer = open_explorer(
        page,
        "import torch",
        "class Gated(torch.nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        "        self.conv, self.head = torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(32, 3)",
        "    def forward(self, x):",
        "        x = self.conv(x)",
        "        return self.head((x * x.sigmoid()).flatten(1))",
        "torch.manual_seed(0)",
        "nni.explore(Gated().eval(), torch.rand(2, 1, 6, 6))",
    )
    expect(explorer.get_by_role("alert")).to_contain_text("LRP: no rule for")
    explorer.locator(".nn-error summary").click()
    expect(explorer.locator(".nn-error pre")).to_be_visible()
    changes(
        page,
        explorer,
        lambda: explorer.locator(".nn-method select").first.select_option("SmoothGrad"),
    )
    says(explorer, "predicted")
    field = explorer.locator(".nn-noise_level-field input").first
    field.fill("-1")
    field.press("Enter")
    expect(explorer.get_by_role("alert")).to_contain_text(
        "noise_level must be a number of at least 0"
    )
    expect(field).to_have_value("-1")
    field.fill("0.3")
    field.press("Enter")
    says(explorer, "predicted")
    assert asked(page, "explorer.method.noise_level") == "0.3"


def test_reload_second_display_and_a_notebook_without_its_kernel(page):
    explorer = open_explorer(page, f"nni.draw({SEVEN})")
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
    with page.expect_download() as saved:
        second.locator(".nn-save-png").click()
    assert Image.open(saved.value.path()).text["Method"] == "nni.LRP()"

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
