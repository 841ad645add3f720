"""The explorer Where does it look in a real JupyterLab: with the mouse, then with the keyboard."""

from playwright.sync_api import expect

from tests.browser.explorers import asked, assert_in_step, open_explorer, picture_in, says
from tests.browser.test_more_explorers import (
    assert_all_can_use_it,
    click_a_class,
    press,
    redraws,
    slide,
)

GIVEN = (
    "from nni_widgets.widgets.explorers.look import explore_look",
    "from nni_widgets.zoo.cluttered import cluttered",
    "model, pictures = nni.models.load('digits-resnet'), cluttered(20)",
    "x, y = pictures[:20]",
    "explore_look(model, x, nni.GradCAM(), boxes=pictures.boxes, labels=y)",
)


def test_where_it_looks(page):
    explorer = open_explorer(page, *GIVEN)
    says(explorer, "predicted ")
    overlay, raw, second = (
        explorer.locator(f"img.nn-{name}") for name in ("look-map", "look-raw", "second-map")
    )
    words, title = explorer.locator(".nn-sum").first, explorer.locator(".nn-title")
    begun = asked(page, "explorer.digest()")
    expect(words).to_contain_text("the box. In it: ")
    expect(second).to_be_hidden()

    strength = explorer.locator(".nn-overlay")
    redraws(page, overlay, lambda: slide(page, strength, 0.9))
    redraws(page, overlay, lambda: press(page, strength.locator(".noUi-handle"), "Home"))
    assert asked(page, "explorer.overlay") == "0.0"
    grey = picture_in(overlay)
    assert (grey[..., 0] == grey[..., 1]).all(), "the picture alone, and its box"
    redraws(page, overlay, lambda: press(page, strength.locator(".noUi-handle"), "End"))
    assert (picture_in(overlay)[..., 0] != picture_in(overlay)[..., 1]).any()

    layer = explorer.locator(".nn-layer select").first
    redraws(page, raw, lambda: layer.select_option("block1.relu2"))
    expect(title.nth(1)).to_contain_text("the map of block1.relu2: 20 × 20")
    redraws(page, raw, lambda: press(page, layer, "ArrowDown"))
    method = explorer.locator(".nn-method select").first
    redraws(page, overlay, lambda: press(page, method, "ArrowDown"))
    assert asked(page, "explorer.method").startswith("GradCAMPlusPlus(layer='block1.")
    redraws(page, overlay, lambda: method.select_option("CAM"))
    expect(layer).to_be_disabled()
    expect(title.first).to_contain_text("CAM at block3.relu2")
    redraws(page, raw, lambda: click_a_class(explorer, 3))

    press(page, explorer.get_by_label("compare two methods"), "Space")
    expect(second).to_be_visible()
    other = explorer.locator(".nn-method select").nth(1)
    redraws(page, second, lambda: other.select_option("Layer-CAM"))
    assert asked(page, "explorer.compare") == "LayerCAM()"
    picture = explorer.locator(".nn-picture .noUi-handle")
    redraws(page, second, lambda: press(page, picture, "ArrowRight"))
    digest = asked(page, "explorer.digest()")
    assert digest.startswith("nni.CAM(), target 3: ")
    assert "nni.LayerCAM(), target 3: " in digest
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    redraws(page, overlay, lambda: explorer.locator(".nn-reset").click())
    assert asked(page, "explorer.digest()") == begun
    expect(second).to_be_hidden()
