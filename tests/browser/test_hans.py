"""The Clever Hans explorer in a real JupyterLab: with the mouse, then with the keyboard."""

from playwright.sync_api import expect

from tests.browser.explorers import asked, assert_in_step, open_explorer, says
from tests.browser.harness import drag, watch
from tests.browser.test_more_explorers import assert_all_can_use_it, press, redraws


def test_a_mark_is_found_and_wiped(page):
    explorer = open_explorer(page, "nni.explore_hans()")
    says(explorer, "class 8: 100 pictures in 9 groups of 18, 13")
    begun = asked(page, "explorer.digest()")
    mean, before, after, changed = (
        explorer.locator(f"img.nn-{name}")
        for name in ("mean-map", "before-map", "after-map", "changed")
    )
    words = explorer.locator(".nn-group-words")
    expect(words).to_contain_text("all pictures: 100 of 100 are called 8")

    points = explorer.locator(".nn-group-plot path.dot")
    redraws(page, mean, points.last.click)
    group = int(asked(page, "explorer.group"))
    expect(words).to_contain_text(f"group {group}: ")
    assert_in_step(page, explorer)
    chooser = explorer.locator(".nn-group select")
    redraws(page, mean, lambda: press(page, chooser, "Home", "ArrowDown"))
    assert asked(page, "explorer.group") == "0"
    sheet = explorer.locator(".nn-group-maps-frame .nn-frame")
    redraws(page, before, lambda: press(page, sheet, "ArrowRight"))
    assert asked(page, "explorer.picture == explorer.found.members[1]") == "True"
    handle = explorer.locator(".nn-picture .noUi-handle")
    redraws(page, before, lambda: press(page, handle, "ArrowRight"))
    assert asked(page, "explorer.picture == explorer.found.members[2]") == "True"

    change = explorer.get_by_role("group", name="what happens to the box")
    expect(change.get_by_role("button", pressed=True)).to_have_text("as it is")
    wipe, mark = (change.get_by_role("button", name=name) for name in ("wipe box", "mark box"))
    with watch(page, after) as seen:
        wipe.click()
        says(explorer, r"box wiped: \d \(")
        seen.settle()
    print(f"after map {seen.latency():.0f} ms after the click")
    expect(words).to_contain_text("with the box wiped, 0 of 18")
    redraws(page, changed, lambda: press(page, mark, "Space"))
    says(explorer, r"box marked: 8 \(1.00\)")

    classes = explorer.locator(".nn-class select")
    redraws(page, mean, lambda: classes.select_option("3"))
    says(explorer, "class 3: 100 pictures in 1 group of 100")
    expect(words).to_contain_text("99 of 100 are called 3; with the box marked, 43 of 100")
    redraws(page, before, lambda: explorer.locator(".nn-scores rect.bar").nth(8 - 10).click())
    assert asked(page, "explorer.target") == "8"
    expect(explorer.locator(".nn-picture-words")).to_contain_text("explained: 8")

    box = explorer.locator(".nn-changed-frame .nn-frame")
    redraws(page, changed, lambda: drag(page, box, ((0.2, 0.2), (0.5, 0.5), (0.9, 0.9)), ms=40))
    assert asked(page, "explorer.box.top >= 22") == "True"
    redraws(page, changed, lambda: press(page, box, "ArrowUp"))
    bottom = explorer.locator(".nn-box-bottom input")
    bottom.fill("99")
    press(page, bottom, "Enter")
    says(explorer, "a box must be at least one pixel of a picture of 28 × 28")
    bottom.fill("28")
    press(page, bottom, "Enter")
    says(explorer, "box marked")
    assert asked(page, "explorer.box.bottom") == "28"
    assert_all_can_use_it(page, explorer)

    redraws(page, mean, explorer.locator(".nn-reset").click)
    assert asked(page, "explorer.digest()") == begun
