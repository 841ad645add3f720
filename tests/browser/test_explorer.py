"""Journeys through an explorer in a real JupyterLab, as its users make them."""

import re

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.browser.explorers import (
    STROKES,
    asked,
    assert_in_step,
    changes,
    draw_seven,
    open_explorer,
    open_lesson_00,
    says,
    wiggle,
)
from tests.browser.harness import paste_and_run, watch

ON_THE_CLIPBOARD = "async text => await navigator.clipboard.readText() === text"
SLOW = """
import time
def slow(model, x, target):
    time.sleep(0.02)
    return nni.Gradient()(model, x, target)
"""


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

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    explorer.locator(".nn-copy-as-code").click()
    cell = explorer.locator(".nn-code textarea")
    expect(cell).to_have_value(re.compile(r"nni\.explain"))
    page.wait_for_function(ON_THE_CLIPBOARD, arg=asked(page, "explorer.code()"))
    assert paste_and_run(page).strip() == asked(page, "explorer.digest()")
    assert_in_step(page, explorer)


READ_PIXEL = """(lambda values, row, column:
    f'pixel ({column}, {row}): {values[row, column]:+.4g}, '
    f'{100 * values[row, column] / values.sum():.1f} %% of the sum'
)(explorer.explanation.heatmap().double().numpy(), %d, %d)"""


def test_point_at_pixels_and_save_picture_and_numbers(page):
    explorer = open_explorer(page, f"nni.draw({STROKES})")
    heatmap, reading = explorer.locator("img.nn-heatmap").first, explorer.locator(".nn-hover").first
    expect(reading).to_have_text("point at a pixel to read it")
    for row, column in ((8, 10), (9, 19), (21, 13)):
        expected = asked(page, READ_PIXEL % (row, column))
        heatmap.scroll_into_view_if_needed()
        box = heatmap.bounding_box()
        x, y = ((place + 0.5) / 28 for place in (column, row))
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        expect(reading).to_have_text(expected)

    with page.expect_download() as picture:
        explorer.locator(".nn-save-png").click()
    assert picture.value.suggested_filename == "heatmap-1.png"
    saved = Image.open(picture.value.path())
    assert saved.text["Method"] == "nni.LRP()"
    with page.expect_download() as numbers:
        explorer.locator(".nn-save-numbers").click()
    assert numbers.value.suggested_filename == "attribution-1.npz"
    with np.load(numbers.value.path()) as arrays:
        total = float(arrays["attribution"].sum(dtype=np.float64))
    shown = float(asked(page, "explorer.explanation.attribution.double().sum().item()"))
    np.testing.assert_allclose(total, shown, rtol=1e-6)


def test_a_fast_drag_ends_on_the_last_value_with_nothing_queued(page):
    explorer = open_explorer(page, f"nni.draw(method=nni.IntegratedGradients(), {STROKES})")
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
        f"nni.draw({STROKES}, methods=[nni.LRP(), nni.SmoothGrad(of=slow, n_samples=800)])",
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
