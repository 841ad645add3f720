"""The Quality explorer in a real JupyterLab: the game with the mouse, then with the keyboard."""

import re

import numpy as np
from playwright.sync_api import expect

from tests.browser.explorers import asked, assert_in_step, says
from tests.browser.harness import new_notebook, pixels, run_all, save_and_reload, watch
from tests.browser.test_more_explorers import (
    assert_all_can_use_it,
    click_a_class,
    press,
    redraws,
    slide,
)

CELL = """import nni_widgets as nni
model = nni.models.load('digits-cnn')
x, y = nni.data.digits('test')[:20]
explorer = nni.explore_quality(model, x, labels=y)
explorer"""
ROWS = 7


def opened(page):
    """The explorer of the digits model, at rest; its maps are hidden, for they tell the orders."""
    new_notebook(page, [CELL])
    run_all(page)
    explorer = page.locator(".nn-explorer")
    expect(explorer.locator("img.nn-left")).to_be_visible()
    says(explorer, "predicted 7")
    asked(page, "''")
    return explorer


def removes(page, explorer, row, column):
    """Click a patch with the mouse."""
    board = explorer.locator(".nn-patches")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    x, y = ((place + 0.5) / ROWS for place in (column, row))
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def keep_busy(page, seconds):
    """Let the kernel do something else for so long."""
    cell = f"import time; time.sleep({seconds})"
    page.evaluate("source => void harness.runCell(source, 60)", cell)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="busy"]').wait_for(state="attached")


def test_the_game_and_the_slide(page):
    explorer = opened(page)
    left, moved = (explorer.locator(f"img.nn-{name}") for name in ("left", "moved"))
    marks, words = explorer.locator(".nn-patch-mark"), explorer.locator(".nn-game-words")
    first_map = explorer.locator("img.nn-map-0")
    begun = asked(page, "explorer.digest()")
    expect(words).to_contain_text("Remove up to 12 of 49 patches")
    expect(first_map).to_be_hidden()

    with watch(page, left) as painted:
        keep_busy(page, seconds=4)
        removes(page, explorer, 2, 4)
        expect(marks).to_have_text(["1"], timeout=3000)
        assert painted.changes() == [], "the mark does not wait for the kernel"
        page.wait_for_function("probe => probe.changes.length", arg=painted._handle)
        painted.settle()
    redraws(page, left, lambda: removes(page, explorer, 3, 4))
    expect(words).to_contain_text("2 of 12 removed")
    board = explorer.locator(".nn-patches")
    redraws(page, left, lambda: press(page, board, "ArrowDown", "Space"))
    expect(marks).to_have_text(["1", "2", "3"])
    assert asked(page, "explorer.chosen") == "((2, 4), (3, 4), (4, 4))"
    redraws(page, left, lambda: press(page, board, "z"))
    redraws(page, left, lambda: removes(page, explorer, 2, 4))
    assert asked(page, "explorer.chosen") == "((3, 4),)"
    redraws(page, left, lambda: explorer.locator(".nn-take-back").click())
    expect(marks).to_have_count(0)
    redraws(page, left, lambda: removes(page, explorer, 4, 3))

    drawn = explorer.locator("canvas.nn-left-grid")
    redraws(page, drawn, lambda: explorer.locator(".nn-reveal select").select_option("LRP"))
    expect(first_map).to_be_visible()
    expect(explorer.locator(".nn-areas")).to_contain_text("shared with you")
    expect(explorer.locator(".nn-order-words")).to_contain_text("LRP removes")
    redraws(page, first_map, lambda: click_a_class(explorer, 3))
    assert "1 of 12 removed" in asked(page, "explorer.digest()")
    redraws(page, left, lambda: press(page, explorer.locator(".nn-play-again"), "Enter"))
    expect(first_map).to_be_hidden()
    redraws(page, left, lambda: removes(page, explorer, 4, 3))
    assert_all_can_use_it(page, explorer)

    experiments = explorer.get_by_role("group", name="the experiment")
    experiments.get_by_role("button", name="Continuity").click()
    expect(experiments.get_by_role("button", pressed=True)).to_have_text("Continuity")
    expect(moved).to_be_visible()
    redraws(page, moved, lambda: slide(page, explorer.locator(".nn-shift"), 0.9))
    handle = explorer.locator(".nn-shift .noUi-handle")
    redraws(page, first_map, lambda: press(page, handle, "ArrowLeft"))
    border = explorer.locator(".nn-border select")
    border.select_option("black")
    explorer.locator(".nn-all-shifts").click()
    expect(explorer.locator(".nn-slide-words")).to_contain_text("shifts visited: 16")
    assert "border black" in asked(page, "explorer.digest()")
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    explorer.locator(".nn-reset").click()
    expect(explorer.locator(".nn-slide-words")).to_have_text("Move the picture: x′ is x.")
    explorer.get_by_role("button", name="Pixel flipping").click()
    expect(words).to_contain_text("Remove up to 12 of 49 patches")
    assert asked(page, "explorer.digest()") == begun


def test_a_reload_draws_the_grid_again(page):
    explorer = opened(page)
    removes(page, explorer, 0, 0)
    explorer.locator(".nn-reveal select").select_option("LRP")
    asked(page, "''")
    page.wait_for_timeout(500)
    before = pixels(page, explorer.locator(".nn-framed"))
    save_and_reload(page)
    notebook = max(page.lab.root.glob("*.ipynb"), key=lambda path: path.stat().st_mtime)
    saved = notebook.read_text()
    assert re.search(r"<img [^>]*nn-left-grid", saved), "the grid stays in the still picture"
    assert "nn-patch-mark" in saved
    expect(explorer.locator(".nn-patch-mark")).to_have_text(["1"])
    page.wait_for_timeout(1000)
    after = pixels(page, explorer.locator(".nn-framed"))
    assert np.abs(before.astype(int) - after).mean() < 2
