"""An explorer without a mouse, without sight, in the dark, and on a narrow page."""

import pytest
from playwright.sync_api import expect

from tests.browser.explorers import (
    NAMELESS,
    SEVEN,
    SIDEWAYS,
    STROKES,
    alike,
    asked,
    changes,
    open_explorer,
    says,
)
from tests.browser.harness import pixels, run_cell, touch

THEMES = ("JupyterLab Light", "JupyterLab Dark")
CUT = """explorer => Array.from(explorer.querySelectorAll('.widget-label'))
  .filter((e) => e.checkVisibility() && e.clientHeight > 1 && e.scrollWidth > e.clientWidth)
  .map((e) => e.textContent)"""
OUTSIDE = """explorer => {
  const end = explorer.getBoundingClientRect().right;
  return Array.from(explorer.querySelectorAll('button, select, input, .noUi-base'))
    .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > end + 1)
    .map((e) => e.className);
}"""
FAINT = """explorer => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
  const ancestors = (e) => e ? [...ancestors(e.parentElement), e] : [];
  const ground = (e) => ancestors(e).reduce(
    (below, each) => over(parse(getComputedStyle(each).backgroundColor), below), [255, 255, 255]);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (e) => {
    const below = ground(e);
    const [r, g, b, a] = parse(getComputedStyle(e).color);
    const opacity = ancestors(e).reduce((o, each) => o * getComputedStyle(each).opacity, a);
    const [x, y] = [light(over([r, g, b, opacity], below)), light(below)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const hasText = (e) => Array.from(e.childNodes)
    .some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
  const seen = Array.from(explorer.querySelectorAll('*'))
    .filter((e) => hasText(e) && e.checkVisibility({opacityProperty: true}) &&
      !e.closest('svg, style, option, :disabled, .nn-pad'));
  return [seen.length, seen.filter((e) => contrast(e) < 4.5)
    .map((e) => `${contrast(e).toFixed(2)} ${e.outerHTML.slice(0, 100)}`)];
}"""
CELLS = """() => Array.from(jupyterapp.shell.currentWidget.content.model.cells)
  .map((cell) => cell.toJSON()).map(({cell_type, source}) => [cell_type, source])"""
FOCUSED = "() => document.activeElement.closest('.nn-explorer') && document.activeElement.outerHTML"


@pytest.fixture
def explorer(page):
    """An explorer with everything it can show: a comparison, the code, a rule table."""
    shown = open_explorer(page, f"nni.draw({STROKES})")
    run_cell(page, "explorer.compare = nni.SmoothGrad()")
    shown.locator(".nn-copy-as-code").click()
    expect(shown.locator(".nn-code textarea")).to_be_visible()
    return shown


def test_names_contrast_and_width(page, explorer):
    expect(explorer.locator(".nn-noise_level .noUi-handle")).to_have_attribute(
        "aria-label", "noise level"
    )
    assert explorer.evaluate(NAMELESS) == []
    for theme in THEMES:
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        expect(page.locator("body")).to_have_attribute("data-jp-theme-name", theme)
        run_cell(page, "explorer.target = 17")
        says(explorer, "got 17")
        count, faint = explorer.evaluate(FAINT)
        assert count > 40
        assert faint == [], theme
        run_cell(page, "explorer.target = None")
        says(explorer, "predicted")
        assert explorer.evaluate(FAINT)[1] == [], theme

    assert explorer.evaluate(SIDEWAYS) <= 0
    page.set_viewport_size({"width": 690, "height": 1000})
    page.wait_for_function(
        """() => Array.from(document.querySelectorAll('.nn-explorer .nn-row'))
          .every((row) => getComputedStyle(row).flexDirection === 'column')"""
    )
    page.evaluate("() => jupyterapp.shell.collapseLeft()")
    assert explorer.evaluate(SIDEWAYS) <= 0


@pytest.mark.parametrize("call", ["explore_references(", "explore_layers(large=True, "])
def test_no_label_is_cut_and_no_control_is_outside(page, call):
    page.set_viewport_size({"width": 1440, "height": 1000})
    explorer = open_explorer(page, f"nni.{call}{STROKES})")
    says(explorer, "predicted 7")
    assert explorer.evaluate(CUT) == []
    assert explorer.evaluate(OUTSIDE) == []


def test_everything_by_keyboard(page):
    explorer = open_explorer(page, f"nni.draw({STROKES})")
    cells = page.evaluate(CELLS)
    expected = explorer.evaluate(
        """e => Array.from(e.querySelectorAll(
             '.nn-pad[tabindex], button, select, input, .noUi-handle'))
           .filter((e) => !e.disabled && e.checkVisibility()).length"""
    )
    explorer.locator(".nn-pad[tabindex]").focus()
    reached = 0
    while page.evaluate(FOCUSED):
        reached += page.evaluate(
            "() => document.activeElement.matches('.nn-pad, button, select, input, .noUi-handle')"
        )
        outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate(FOCUSED)
        page.keyboard.press("Tab")
    assert reached == expected

    gamma = explorer.locator(".nn-gamma .noUi-handle").first
    gamma.focus()
    for key in ("ArrowUp", "ArrowDown", "ArrowUp", "a", "b", "d", "d", "m", "x"):
        page.keyboard.press(key)
    assert page.evaluate(CELLS) == cells, "a key pressed in the explorer went to the notebook"
    expect(explorer.locator(".nn-gamma-field input").first).to_have_value("0.26")
    for _ in range(50):  # the page shows a value before the kernel has it
        if asked(page, "explorer.method.rules.gamma") == "0.26":
            break
        page.wait_for_timeout(100)
    assert asked(page, "explorer.method.rules.gamma") == "0.26"

    explorer.locator(".nn-pad[tabindex]").focus()
    changes(page, explorer, lambda: [page.keyboard.press(k) for k in (" ", "ArrowLeft", " ")])
    page.keyboard.press("Delete")
    says(explorer, "Draw a digit")
    page.keyboard.press("z")
    says(explorer, "predicted")


def test_a_finger_draws_on_a_narrow_page(page):
    page.set_viewport_size({"width": 690, "height": 1000})
    explorer = open_explorer(page, "nni.draw(strokes=[[(14, 6), (14, 22)]])")
    explorer.locator(".nn-clear").click()
    says(explorer, "Draw a digit")
    pad = explorer.locator(".nn-pad canvas")
    assert pixels(page, pad)[4:-4, 4:-4].max() == 0
    place = pad.bounding_box()
    changes(page, explorer, lambda: touch(page, pad, SEVEN))
    says(explorer, "predicted 7")
    assert pixels(page, pad)[4:-4, 4:-4].max() == 255
    assert pad.bounding_box() == place, "the page must not scroll under the finger"


def test_two_methods_and_two_explorers(page):
    explorer = open_explorer(
        page, "model = nni.models.load('digits-cnn')", f"nni.draw(model, {STROKES})"
    )
    explorer.get_by_label("compare two methods").check()
    heatmaps = explorer.locator("img.nn-heatmap")
    expect(heatmaps.nth(1)).to_be_visible()
    alike(page, ".nn-explorer .nn-ends")
    ends = explorer.locator(".nn-ends")
    common = ends.nth(0).inner_text()
    explorer.get_by_label("one scale for both").uncheck()
    differs = "common => [...document.querySelectorAll('.nn-ends')].slice(0, 2)"
    page.wait_for_function(differs + ".some((ends) => ends.innerText !== common)", arg=common)
    explorer.get_by_label("one scale for both").check()
    alike(page, ".nn-explorer .nn-ends")
    alone = asked(page, "explorer.digest()")

    run_cell(page, f"other = nni.draw(model, {STROKES}, method=nni.SmoothGrad()); other")
    expect(page.locator(".nn-explorer")).to_have_count(2)
    other = page.locator(".nn-explorer").nth(1)
    changes(page, other, lambda: other.locator(".nn-noise_level .noUi-handle").press("ArrowRight"))
    assert asked(page, "explorer.digest()") == alone
    assert asked(page, "other.drain().method.noise_level") == "0.155"
    assert (
        asked(page, "nni.explain(model, other.explanation.x).digest()")
        == alone.partition("\nnni.")[0]
    )
