"""Every further explorer in a real JupyterLab: used with the mouse, then with the keyboard."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.explorers import (
    NAMELESS,
    SIDEWAYS,
    asked,
    assert_in_step,
    open_explorer,
    picture_in,
    says,
)
from tests.browser.harness import drag, watch

GIVEN = ("model = nni.models.load('digits-cnn')", "x, y = nni.data.digits('test')[:1000]")
LABELLED = "nni.explore(model, x, nni.Gradient(), labels=y)"
CONTROLS = """explorer => {
  const wanted = 'button, select, input, .noUi-handle, [role=application]';
  const known = Array.from(explorer.querySelectorAll(wanted)).filter((e) => e.checkVisibility()
    && !e.disabled && !(e.type === 'radio' && !e.checked) && e.tabIndex >= 0);
  known.forEach((e, i) => e.setAttribute('data-stop', i));
  return known.length;
}"""
STOP = """() => document.activeElement.closest('.nn-explorer')
  && (document.activeElement.getAttribute('data-stop') ?? 'none')"""


def opened(page: Page, call: str) -> Locator:
    """The explorer of the digits model, at rest with its first picture, a 7."""
    explorer = open_explorer(page, *GIVEN, call)
    says(explorer, "predicted 7")
    asked(page, "''")
    return explorer


def redraws(page: Page, picture: Locator, act) -> None:
    """Do this; the picture must look different afterwards."""
    with watch(page, picture) as seen:
        act()
        page.wait_for_function("probe => probe.changes.length", arg=seen._handle)
        seen.settle()


def slide(page: Page, slider: Locator, to: float) -> None:
    """Drag a slider's handle with the mouse to this share of its track."""
    track, handle = (slider.locator(f".noUi-{part}") for part in ("base", "handle"))
    handle.scroll_into_view_if_needed()
    box, at = track.bounding_box(), handle.bounding_box()
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    end = box["x"] + to * box["width"]
    page.mouse.move(x, y)
    page.mouse.down()
    for share in (0.3, 0.7, 1.0):
        page.mouse.move(x + share * (end - x), y)
    page.mouse.up()


def press(page: Page, control: Locator, *keys: str) -> None:
    """Put the focus on a control and press these keys."""
    control.focus()
    for key in keys:
        page.keyboard.press(key)


def click_a_class(explorer: Locator, number: int) -> None:
    """Click the bar of one of ten classes."""
    explorer.locator(".nn-scores rect.bar").nth(number - 10).click()
    says(explorer, f"explained: {number}")


def click_a_row(page: Page, chart: Locator, label: str) -> None:
    """Click into a chart of layers, at the height of this label."""
    chart.scroll_into_view_if_needed()
    row, box = chart.get_by_text(label, exact=True).bounding_box(), chart.bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], row["y"] + row["height"] / 2)


def assert_all_can_use_it(page: Page, explorer: Locator) -> None:
    """Each control has a name and is reached by Tab, and nothing sticks out of the page."""
    assert explorer.evaluate(NAMELESS) == []
    assert explorer.evaluate(SIDEWAYS) <= 0
    count = explorer.evaluate(CONTROLS)
    explorer.locator("[data-stop='0']").focus()
    reached = set()
    while (stop := page.evaluate(STOP)) is not None:
        reached.add(stop)
        page.keyboard.press("Tab")
    assert reached - {"none"} == {str(number) for number in range(count)}


def test_noise(page):
    explorer = opened(page, "nni.explore_noise(model, x, nni.SmoothGrad(n_samples=8))")
    noisy, mean = (explorer.locator(f"img.nn-{name}") for name in ("noisy", "mean-map"))
    words = explorer.locator(".nn-fluctuation-words")
    expect(words).to_contain_text("that nobody sees")
    begun = asked(page, "explorer.digest()")

    slider = explorer.locator(".nn-noise_level")
    redraws(page, mean, lambda: slide(page, slider, 1.0))
    assert asked(page, "explorer.method") == "SmoothGrad(noise_level=0.5, n_samples=8)"
    copy = explorer.locator(".nn-copy .noUi-handle")
    redraws(page, noisy, lambda: press(page, copy, "ArrowRight", "ArrowRight"))
    expect(explorer.locator(".nn-title").first).to_contain_text("noisy copy 2")
    assert asked(page, "explorer.copy") == "2"
    redraws(page, mean, lambda: click_a_class(explorer, 3))
    expect(words).to_contain_text("changes of sign")
    changed = asked(page, "explorer.digest()")
    assert changed != begun
    assert "target 3" in changed
    assert "copy 2: " in changed
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    redraws(page, noisy, lambda: explorer.locator(".nn-reset").click())
    assert asked(page, "explorer.digest()") == begun


def test_path(page):
    explorer = opened(page, "nni.explore_path(model, x, nni.IntegratedGradients(n_steps=16))")
    strip, total = (explorer.locator(f"img.nn-{name}") for name in ("strip", "sum-map"))
    title = explorer.locator(".nn-title").first
    begun = asked(page, "explorer.digest()")

    redraws(page, total, lambda: slide(page, explorer.locator(".nn-point"), 0.0))
    expect(title).to_contain_text("point 0,")
    handle = explorer.locator(".nn-point .noUi-handle")
    redraws(page, total, lambda: press(page, handle, *["ArrowRight"] * 3))
    expect(title).to_contain_text("point 3,")
    changed = asked(page, "explorer.digest()")
    assert changed != begun
    assert "up to point 3: " in changed

    baseline = explorer.locator(".nn-baseline select")
    redraws(page, strip, lambda: press(page, baseline, "ArrowDown"))
    assert asked(page, "explorer.method.baseline") == "Blur()"
    sigma = explorer.locator(".nn-sigma .noUi-handle")
    redraws(page, strip, lambda: press(page, sigma, "End"))
    assert asked(page, "explorer.method.baseline.sigma") == "20.0"
    redraws(page, total, lambda: click_a_class(explorer, 2))
    expect(explorer.locator(".nn-running-words")).to_contain_text("running sum: ")
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)


def test_references(page):
    explorer = opened(page, "nni.explore_references(model, x)")
    names = ("reference-picture", "change-map", "lift-map")
    reference, change, lift = (explorer.locator(f"img.nn-{name}") for name in names)
    begun = asked(page, "explorer.digest()")

    redraws(page, reference, lambda: slide(page, explorer.locator(".nn-value"), 0.5))
    value = float(asked(page, "explorer.method.reference.value"))
    assert value == pytest.approx(0.5, abs=0.02)
    assert picture_in(reference)[0, 0].tolist() == [round(255 * value)] * 3

    redraws(page, reference, explorer.locator(".nn-use-the-input-as-reference").click)
    expect(explorer.locator(".nn-sum").first).to_contain_text("The picture equals its reference")
    np.testing.assert_array_equal(
        picture_in(reference), picture_in(explorer.locator("img.nn-input"))
    )
    picture = explorer.locator(".nn-picture .noUi-handle")
    redraws(page, change, lambda: press(page, picture, "ArrowRight"))
    says(explorer, "predicted 2")
    expect(explorer.locator(".nn-sum").nth(1)).to_contain_text("gap 0.0")

    redraws(page, lift, lambda: click_a_row(page, explorer.locator(".nn-deltas"), "conv3"))
    assert asked(page, "explorer.layer") == "conv3"
    marked = explorer.locator(".nn-layer-table [aria-current]")
    expect(marked).to_contain_text("conv3")
    layer = explorer.locator(".nn-layer select")
    redraws(page, lift, lambda: press(page, layer, "ArrowUp"))
    assert asked(page, "explorer.layer") == "pool2"

    rule = explorer.locator(".nn-conv select")
    redraws(page, lift, lambda: press(page, rule, "ArrowUp"))
    expect(explorer.locator(".nn-layer-table")).to_contain_text("nonlinearity")
    changed = asked(page, "explorer.digest()")
    assert changed.startswith("nni.DeepLIFT(conv='linear', reference=baseline), at pool2, target 2")
    assert changed != begun
    assert "lost: nonlinearity" in changed
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)


def test_rules(page):
    explorer = opened(page, "nni.explore_rules(model, x)")
    pixels, at_layer = (explorer.locator(f"img.nn-{name}") for name in ("pixel-map", "layer-map"))
    begun = asked(page, "explorer.digest()")

    redraws(page, at_layer, lambda: click_a_row(page, explorer.locator(".nn-flow"), "conv3"))
    assert asked(page, "explorer.layer") == "conv3"
    layer = explorer.locator(".nn-layer select")
    redraws(page, at_layer, lambda: press(page, layer, "ArrowUp"))
    assert asked(page, "explorer.layer") == "pool2"

    redraws(page, pixels, lambda: slide(page, explorer.locator(".nn-gamma").first, 1.0))
    rule = explorer.locator(".nn-rule-conv2 select")
    redraws(page, pixels, lambda: press(page, rule, "ArrowUp"))
    changed = asked(page, "explorer.digest()")
    assert "('conv2', " in asked(page, "explorer.rules")
    assert changed != begun
    assert ", at pool2, " in changed
    redraws(page, pixels, lambda: click_a_class(explorer, 3))
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)


def test_layers(page):
    explorer = opened(page, "nni.explore_layers(model, x)")
    activation, pattern = (explorer.locator(f"img.nn-{n}-map") for n in ("activation", "pattern"))
    begun = asked(page, "explorer.digest()")

    conv3 = explorer.locator(".nn-boxes label", has_text="conv3")
    redraws(page, activation, conv3.click)
    assert asked(page, "explorer.layer") == "conv3"
    redraws(page, activation, lambda: press(page, conv3.locator("input"), "ArrowUp"))
    assert asked(page, "explorer.layer") == "pool2"

    tiles = explorer.locator(".nn-tiles-frame .nn-frame")
    redraws(page, pattern, lambda: drag(page, tiles, [(0.1, 0.1), (0.5, 0.6), (0.6, 0.6)]))
    assert asked(page, "explorer.channel") != "None"
    redraws(page, pattern, lambda: press(page, tiles, "ArrowLeft"))
    channel = explorer.locator(".nn-channel .noUi-handle")
    redraws(page, pattern, lambda: press(page, channel, "Home"))
    assert asked(page, "explorer.channel") == "0"
    redraws(page, pattern, lambda: slide(page, explorer.locator(".nn-channel"), 0.9))

    relevance = explorer.locator("img.nn-layer-map")
    redraws(page, relevance, lambda: click_a_class(explorer, 3))
    changed = asked(page, "explorer.digest()")
    assert changed.startswith("pool2: ")
    assert changed != begun
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)


def test_occlusion(page):
    explorer = opened(page, "nni.explore_occlusion(model, x, nni.Occlusion(window=7, stride=3))")
    covered, heatmap = (explorer.locator(f"img.nn-{n}") for n in ("covered", "occlusion-map"))
    begun = asked(page, "explorer.digest()")

    frame = explorer.locator(".nn-covered-frame .nn-frame")
    way = [(0.2, 0.2), (0.4, 0.3), (0.6, 0.5), (0.55, 0.75)]
    redraws(page, heatmap, lambda: drag(page, frame, way, ms=60))
    visited = int(asked(page, "len(explorer.visited)"))
    assert visited > 2
    top, left = asked(page, "*explorer.corner").split()
    redraws(page, covered, lambda: press(page, frame, "ArrowLeft"))
    words = explorer.locator(".nn-covered-words")
    expect(words).to_contain_text(f"window at ({top}, {int(left) - 3}): f(x) = ")
    assert asked(page, "explorer.corner") == f"({top}, {int(left) - 3})"

    redraws(page, heatmap, lambda: press(page, explorer.get_by_label("complete the map"), "Space"))
    assert asked(page, "explorer.whole") == "True"
    whole = asked(page, "explorer.digest()")
    assert whole != begun
    assert asked(page, "nni.explain(model, x[:1], explorer.method).digest()") in whole
    redraws(page, heatmap, lambda: slide(page, explorer.locator(".nn-window"), 0.6))
    assert asked(page, "explorer.method.window") != "7"
    redraws(page, heatmap, lambda: click_a_class(explorer, 3))
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    redraws(page, heatmap, lambda: explorer.locator(".nn-reset").click())
    assert asked(page, "explorer.digest()") == begun


def test_difference_of_two_methods(page):
    explorer = opened(page, LABELLED)
    difference = explorer.locator("img.nn-difference-map")
    expect(difference).to_be_hidden()
    press(page, explorer.get_by_label("compare two methods"), "Space")
    expect(difference).to_be_visible()
    words = explorer.locator(".nn-sum").nth(2)
    expect(words).to_contain_text("the two have different units")
    second = explorer.locator(".nn-method select").nth(1)
    redraws(page, difference, lambda: second.select_option("Saliency"))
    expect(words).to_contain_text("Gradient − Saliency")
    layer = explorer.locator(".nn-overlay .noUi-handle")
    redraws(page, explorer.locator("img.nn-heatmap").first, lambda: press(page, layer, "End"))
    assert asked(page, "explorer.overlay") == "1.0"
    assert_all_can_use_it(page, explorer)
    explorer.get_by_label("difference A − B").uncheck()
    expect(difference).to_be_hidden()
    assert asked(page, "explorer.difference") == "False"


def test_sample_browser(page):
    explorer = opened(page, LABELLED)
    shown, words = explorer.locator("img.nn-input"), explorer.locator(".nn-sample-words")
    expect(words).to_have_text("picture 0, class: 7; one of 1000")

    of_wrong = asked(page, "*y[model(x).argmax(1) != y].tolist()").split()
    label = next(each for each in of_wrong if each != "7")
    kind, answer = (explorer.locator(f".nn-{name} select") for name in ("class", "show"))
    redraws(page, shown, lambda: kind.select_option(label))
    says(explorer, f"predicted {label}")
    press(page, answer, "ArrowDown", "ArrowDown")
    expect(words).to_contain_text(f"class: {label}; one of {of_wrong.count(label)}")
    says(explorer, f"predicted [^{label}]")
    kind.select_option("any class")
    expect(words).to_contain_text(f"one of {len(of_wrong)}")
    redraws(page, shown, explorer.locator(".nn-random").click)
    picture = explorer.locator(".nn-picture .noUi-handle")
    press(page, picture, "Home")
    expect(explorer.locator(".nn-picture .widget-readout")).to_have_text("0")
    redraws(page, shown, lambda: press(page, picture, "End"))
    number = int(re.search(r"picture (\d+)", words.inner_text())[1])
    same = f"bool((explorer.explanation.x == x[{number}]).all())"
    assert asked(page, same) == "True"
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)


def test_upload_of_a_picture(page):
    explorer = opened(page, LABELLED)
    shown = explorer.locator("img.nn-input")

    def choose(name: str, content: bytes) -> None:
        with page.expect_file_chooser() as chooser:
            explorer.locator("button.nn-upload, .nn-upload button").first.click()
        file = {"name": name, "mimeType": "image/png", "buffer": content}
        chooser.value.set_files(file)

    pixels = np.zeros((56, 56), np.uint8)
    pixels[10:48, 24:32] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    redraws(page, shown, lambda: choose("one.png", file.getvalue()))
    says(explorer, "predicted 1")
    assert picture_in(shown)[14, 14].min() > 200
    assert picture_in(shown)[14, 2].max() < 50
    assert "read_picture('one.png', model, x)" in asked(page, "explorer.code()")
    digest = asked(page, "explorer.digest()")
    assert "predicted 1" in digest

    choose("words.png", b"no picture")
    expect(explorer.get_by_role("alert")).to_contain_text("words.png: ")
    assert asked(page, "explorer.digest()") == digest
    assert_in_step(page, explorer)
    redraws(page, shown, lambda: press(page, explorer.locator(".nn-picture .noUi-handle"), "Home"))
    says(explorer, "predicted 7")
