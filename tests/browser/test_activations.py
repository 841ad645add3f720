"""The Activations explorer in a real JupyterLab: with the mouse, then with the keyboard."""

from playwright.sync_api import expect

from tests.browser.explorers import asked, assert_in_step, open_explorer, says
from tests.browser.harness import drag
from tests.browser.test_more_explorers import (
    assert_all_can_use_it,
    click_a_class,
    press,
    redraws,
    slide,
)

GIVEN = (
    "from nni_widgets.widgets.explorers.activations import explore_activations",
    "model, (x, y) = nni.models.load('digits-cnn'), nni.data.digits('test')[:300]",
    "explore_activations(model, x, labels=y)",
)


def test_activations(page):
    explorer = open_explorer(page, *GIVEN)
    says(explorer, "predicted 7 .* ms")
    large, crop, kept, weights, for_class = (
        explorer.locator(f"img.nn-{name}")
        for name in ("activation-map", "crop-0", "kept", "filter", "class-map")
    )
    begun = asked(page, "explorer.digest()")
    expect(weights).to_be_visible()
    expect(kept).to_be_hidden()
    expect(explorer.locator(".nn-crop-words").first).to_contain_text("rows ")

    tiles = explorer.locator(".nn-tiles-frame .nn-frame")
    redraws(page, weights, lambda: drag(page, tiles, [(0.1, 0.1), (0.5, 0.6), (0.6, 0.6)]))
    chosen = asked(page, "explorer.channel")
    assert chosen != "None"
    redraws(page, crop, lambda: press(page, tiles, "ArrowLeft"))
    assert asked(page, "explorer.channel") != chosen
    channel = explorer.locator(".nn-channel")
    redraws(page, large, lambda: press(page, channel.locator(".noUi-handle"), "Home"))
    assert asked(page, "explorer.channel") == "0"
    redraws(page, large, lambda: slide(page, channel, 0.9))

    layer = explorer.locator(".nn-layer select")
    redraws(page, crop, lambda: layer.select_option("conv3 (64)"))
    expect(weights).to_be_hidden()
    order = explorer.locator(".nn-order select")
    tiles_picture = explorer.locator("img.nn-tiles")
    redraws(page, tiles_picture, lambda: press(page, order, "ArrowDown"))
    assert asked(page, "explorer.order") == "in order"
    redraws(page, for_class, lambda: click_a_class(explorer, 3))

    press(page, explorer.get_by_label("what was kept"), "Space")
    expect(kept).to_be_visible()
    expect(explorer.locator(".nn-kept-words")).to_contain_text("step 200 of 200")
    expect(explorer.locator(".nn-kept-words")).to_contain_text("distance left: 0.0")
    picture = explorer.locator(".nn-picture .noUi-handle")
    redraws(page, kept, lambda: press(page, picture, "ArrowRight"))
    digest = asked(page, "explorer.digest()")
    assert digest.startswith("conv3: conv2d, makes 64 × 7 × 7. Channel ")
    assert "strongest input: picture " in digest
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    redraws(page, large, lambda: explorer.locator(".nn-reset").click())
    assert asked(page, "explorer.digest()") == begun
