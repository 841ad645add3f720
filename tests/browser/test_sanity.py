"""The Sanity explorer in a real JupyterLab: with the mouse, then with the keyboard."""

import time

import numpy as np
from playwright.sync_api import Locator, expect

from tests.browser.explorers import asked, assert_in_step, decoded, open_explorer, picture_in
from tests.browser.harness import fresh_page, new_notebook, open_notebook, run_all, run_cell
from tests.browser.test_explorer_notebook import NOTHING_DIRTY
from tests.browser.test_more_explorers import (
    GIVEN,
    assert_all_can_use_it,
    click_a_class,
    opened,
    press,
    redraws,
    slide,
)

PATIENCE = 120_000  # milliseconds: a busy machine is late, not wrong
DRAIN = "explorer.drain(120)"
MAPS_IN_THE_KERNEL = """import base64
for each in explorer._maps:
    print(base64.b64encode(each._picture.value).decode())"""

A_HUNDRED_LEVELS = """from nni_widgets.widgets.explorers.sanity.chart import LikenessChart
chart = LikenessChart(1, print)
chart.show([[1.0] * 100], 0)
chart.widget"""


def test_sanity(page):
    explorer = opened(page, "nni.explore_sanity(model, x, labels=y)")
    trained, forgetful, guided = (
        explorer.locator(f"img.nn-{name}") for name in ("trained-0", "forgetful-0", "forgetful-3")
    )
    chart, words = explorer.locator(".nn-likeness"), explorer.locator(".nn-drawn-anew")
    expect(words).to_contain_text("No layer is drawn anew; from the top they are fc2, fc1, conv3")
    expect(chart.locator("svg .axis text", has_text="5").first).to_be_visible()
    begun = asked(page, "explorer.digest()")

    layers = explorer.locator(".nn-n_layers")
    redraws(page, forgetful, lambda: slide(page, layers, 1.0))
    expect(words).to_contain_text("5 of 5 layers are drawn anew: fc2, fc1, conv3, conv2, conv1.")
    assert asked(page, "explorer.n_layers") == "5"
    redraws(page, guided, lambda: press(page, layers.locator(".noUi-handle"), *["ArrowLeft"] * 3))
    expect(words).to_contain_text("2 of 5 layers are drawn anew: fc2, fc1. The network now says ")
    likeness = explorer.locator(".nn-likeness-3")
    expect(likeness).to_contain_text("rank correlation 0.")

    redraws(page, guided, chart.locator("rect.bar").nth(4).click)
    assert asked(page, "explorer.n_layers") == "4"
    seed = explorer.locator(".nn-seed-field input")
    redraws(page, forgetful, lambda: (seed.fill("3"), press(page, seed, "Enter")))
    assert asked(page, "explorer.seed") == "3"
    redraws(page, guided, lambda: press(page, explorer.get_by_label("independent"), "Space"))
    expect(words).to_contain_text("1 of 5 layers is drawn anew: conv2.")
    compared = explorer.locator(".nn-likeness-1")
    before = compared.inner_text()
    press(page, explorer.get_by_label("absolute"), "Space")
    expect(compared).not_to_have_text(before)
    explorer.locator(".nn-similarity select").select_option("ssim")
    expect(likeness).to_contain_text("SSIM ")

    answer = explorer.locator(".nn-answer")
    expect(answer).to_have_text("")
    press(page, explorer.locator(".nn-which"), "Enter")
    expect(answer).to_contain_text("With conv1 drawn anew, SSIM of R is still 0.5 or more for ")
    redraws(page, trained, lambda: click_a_class(explorer, 3))
    digest = asked(page, "explorer.digest()")
    assert digest.startswith("target 3: predicted 7 ")
    assert "SSIM of R after 0 to 5 layers from the top, each alone:" in digest
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    redraws(page, trained, lambda: explorer.locator(".nn-reset").click())
    assert asked(page, "explorer.digest()") == begun
    expect(answer).to_have_text("")


def test_of_many_layers_some_have_a_tick(page):
    new_notebook(page, [A_HUNDRED_LEVELS])
    run_all(page)
    ticks = page.locator(".nn-likeness .tick text")
    expect(ticks.filter(has_text="99")).to_be_visible()
    names = [name for name in ticks.all_text_contents() if "." not in name]
    assert names == [str(level) for level in range(0, 100, 9)]


def test_a_saved_notebook_keeps_the_columns(page, lab, chromium):
    page.set_default_timeout(PATIENCE)
    explorer = open_explorer(page, *GIVEN, "nni.explore_sanity(model, x)")
    expect(explorer.locator(".nn-curves summary")).to_be_visible(timeout=PATIENCE)
    run_cell(page, f"{DRAIN}; explorer.n_layers = 5; {DRAIN};", seconds=300)
    expect(explorer.locator(".nn-drawn-anew")).to_contain_text("5 of 5", timeout=PATIENCE)
    expected = [decoded(each) for each in run_cell(page, MAPS_IN_THE_KERNEL).split()]
    assert len(expected) == 10
    for shown, wanted in zip(heatmaps(explorer, 10), expected, strict=True):
        becomes(shown, wanted)
    page.evaluate("() => harness.save()")
    page.wait_for_function(NOTHING_DIRTY)
    saved = page.url.rpartition("/")[2].partition("?")[0]
    page.close()  # left open, it would join the next kernel
    lab.shut_down_kernels()
    with fresh_page(lab, chromium) as later:
        later.set_default_timeout(PATIENCE)
        open_notebook(later, saved)
        still = later.locator(".nn-still")
        expect(still.locator(".nn-fate")).to_have_count(5, timeout=PATIENCE)
        expect(still.locator(".nn-fate").nth(3)).to_contain_text("Guided backprop")
        expect(still.locator(".nn-fate").nth(3)).to_contain_text("rank correlation 0.")
        expect(still).not_to_contain_text("point at a pixel")
        for shown, before in zip(heatmaps(still, 10), expected, strict=True):
            expect(shown).to_be_visible()
            assert "heatmap of " in shown.get_attribute("alt")
            becomes(shown, before)


def heatmaps(parent: Locator, count: int) -> list[Locator]:
    """The heatmaps in this, as soon as they are so many."""
    shown = parent.locator("img.nn-heatmap")
    expect(shown).to_have_count(count, timeout=PATIENCE)
    return shown.all()


def becomes(shown: Locator, expected: np.ndarray) -> None:
    """Wait until an image shows this, pixel by pixel."""
    deadline = time.monotonic() + PATIENCE / 1000
    while True:
        expect(shown).to_have_js_property("complete", True, timeout=PATIENCE)
        found = picture_in(shown)
        if np.array_equal(found, expected) or time.monotonic() > deadline:
            break
        shown.page.wait_for_timeout(200)
    np.testing.assert_array_equal(found, expected)
