"""The Sanity explorer in a real JupyterLab: with the mouse, then with the keyboard."""

import numpy as np
from playwright.sync_api import expect

from tests.browser.explorers import asked, assert_in_step, picture_in
from tests.browser.harness import fresh_page, open_notebook
from tests.browser.test_more_explorers import (
    assert_all_can_use_it,
    click_a_class,
    opened,
    press,
    redraws,
    slide,
)


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


def test_a_saved_notebook_keeps_the_columns(page, lab, chromium):
    explorer = opened(page, "nni.explore_sanity(model, x)")
    expect(explorer.locator(".nn-curves summary")).to_be_visible()
    layers = explorer.locator(".nn-n_layers")
    redraws(page, explorer.locator("img.nn-forgetful-4"), lambda: slide(page, layers, 1.0))
    expect(explorer.locator(".nn-drawn-anew")).to_contain_text("5 of 5")
    asked(page, "''")
    expected = [picture_in(each) for each in explorer.locator("img.nn-heatmap").all()]
    page.evaluate("() => harness.save()")
    saved = page.url.rpartition("/")[2].partition("?")[0]
    lab.shut_down_kernels()
    with fresh_page(lab, chromium) as later:
        open_notebook(later, saved)
        still = later.locator(".nn-still")
        expect(still.locator(".nn-fate")).to_have_count(5)
        expect(still.locator(".nn-fate").nth(3)).to_contain_text("Guided backprop")
        expect(still.locator(".nn-fate").nth(3)).to_contain_text("rank correlation 0.")
        expect(still).not_to_contain_text("point at a pixel")
        shown = still.locator("img.nn-heatmap").all()
        for each, before in zip(shown, expected, strict=True):
            expect(each).to_be_visible()
            assert "heatmap of " in each.get_attribute("alt")
            np.testing.assert_array_equal(picture_in(each), before)
