"""The Uncertainty explorer in a real JupyterLab: with the mouse, then with the keyboard."""

from playwright.sync_api import expect

from tests.browser.explorers import asked, assert_in_step, open_explorer, says
from tests.browser.test_more_explorers import assert_all_can_use_it, press, redraws, slide

GIVEN = (
    "model = nni.models.load('digits-dropout')",
    "x, y = nni.data.digits('test')[:10]",
    "nni.explore_uncertainty(model, x, nni.MCDropout(n_samples=20), labels=y)",
)
POINTS = "cloud => cloud.querySelectorAll('.dot').length"


def test_a_digit_is_turned(page):
    explorer = open_explorer(page, *GIVEN)
    says(explorer, "predicted 7 .* ms")
    moved, mean, doubt = (
        explorer.locator(f"img.nn-{name}") for name in ("moved", "mean-map", "doubt-map")
    )
    words = explorer.locator(".nn-cloud-words")
    expect(words).to_contain_text("votes of 20: 20 for 7")
    cloud = explorer.locator(".nn-cloud")
    assert cloud.evaluate(POINTS) == 210, "20 samples of ten classes, and the means"
    begun = asked(page, "explorer.digest()")

    angle = explorer.locator(".nn-angle")
    redraws(page, mean, lambda: slide(page, angle, 0.75))
    turned = int(asked(page, "explorer.angle"))
    assert 85 <= turned <= 95
    expect(explorer.locator(".nn-title").first).to_have_text(f"turned {turned}°")
    redraws(page, moved, lambda: press(page, angle.locator(".noUi-handle"), "ArrowRight"))
    assert asked(page, "explorer.angle") == str(turned + 1)
    assert "mutual information" in asked(page, "explorer.digest()")
    redraws(page, moved, lambda: slide(page, explorer.locator(".nn-morph"), 0.5))
    assert asked(page, "explorer.morph > 0.3") == "True"

    source = explorer.locator(".nn-cause select")
    redraws(page, doubt, lambda: source.select_option("Noise in the picture"))
    expect(explorer.locator(".nn-noise_level")).to_be_visible()
    target = explorer.locator(".nn-target select")
    redraws(page, mean, lambda: target.select_option("3"))
    source.select_option("Ensemble")
    says(explorer, "Ensemble: model must be a module with members")
    redraws(page, mean, lambda: source.select_option("MC dropout (default)"))

    diagram = explorer.locator(".nn-calibration-words")
    redraws(page, diagram, lambda: slide(page, explorer.locator(".nn-temperature"), 0.9))
    redraws(page, diagram, lambda: explorer.locator(".nn-fit-temperature").click())
    expect(diagram).to_contain_text("ECE")
    assert 0.5 < float(asked(page, "explorer.temperature")) < 2
    assert_in_step(page, explorer)
    assert_all_can_use_it(page, explorer)

    redraws(page, moved, lambda: explorer.locator(".nn-reset").click())
    assert asked(page, "explorer.digest()") == begun
