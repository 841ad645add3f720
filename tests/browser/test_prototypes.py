"""Explorers of made pictures in a real JupyterLab: played, paused, stepped back, steered."""

import re

import numpy as np
from playwright.sync_api import Locator, Page, expect

from tests.browser.explorers import asked, decoded, picture_in, says
from tests.browser.harness import new_notebook, run_all, run_cell, watch
from tests.browser.test_more_explorers import assert_all_can_use_it, press, redraws, slide

PROTOTYPES = """from nni_widgets.widgets.explorers.prototypes import explore_prototypes
explorer = explore_prototypes(target=3, n_steps=60)
explorer"""
CODES = """import torch
from torch import nn
from nni_widgets.widgets.explorers.codes import explore_codes
torch.manual_seed(0)
layers = [nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 784), nn.Sigmoid()]
generator = nn.Sequential(*layers, nn.Unflatten(1, (1, 28, 28))).eval()
generator.code_size = 16
explorer = explore_codes(None, generator, target=3, n_steps=40)
explorer"""


def opened(page: Page, cell: str, picture: str) -> Locator:
    """The explorer that this cell makes, with its first picture."""
    new_notebook(page, [cell])
    run_all(page)
    explorer = page.locator(".nn-explorer")
    expect(explorer.locator(f"img.{picture}")).to_be_visible()
    return explorer


def click_a_class(explorer: Locator, number: int) -> None:
    """Click the bar of one of ten classes."""
    explorer.locator(".nn-scores rect.bar").nth(number - 10).click()
    expect(explorer.locator(".nn-class-typed input")).to_have_value(str(number))


def type_in(explorer: Locator, parameter: str, value: str) -> None:
    """Type a number into the field of a parameter."""
    field = explorer.locator(f".nn-{parameter}-field input")
    field.fill(value)
    field.press("Enter")


def frame_in_the_kernel(page: Page) -> int:
    """Which frame is shown, without waiting for the film."""
    return int(run_cell(page, "print(explorer.frame)"))


def assert_the_kernel_has(page: Page, shown: Locator, picture: str) -> None:
    """The picture in the page is the one that the kernel has."""
    code = f"__import__('base64').b64encode({picture}.value).decode()"
    np.testing.assert_array_equal(picture_in(shown), decoded(asked(page, code)))


def test_prototypes(page):
    explorer = opened(page, PROTOTYPES, "nn-prototype-0")
    noise = explorer.locator("img.nn-prototype-0")
    says(explorer, "step 60 of 60")
    begun = asked(page, "explorer.digest()")

    type_in(explorer, "n_steps", "20000")
    says(explorer, "playing")
    play = explorer.locator(".nn-play")
    expect(play).to_have_text("Pause")
    handle = explorer.locator(".nn-frame-number .noUi-handle")
    page.wait_for_function("handle => handle.ariaValueNow >= 3", arg=handle.element_handle())
    play.click()
    expect(play).to_have_text("Play")
    says(explorer, "of 20000 · paused")
    paused = int(asked(page, "explorer.frame"))
    assert paused >= 3
    redraws(page, noise, lambda: press(page, handle, "ArrowLeft", "ArrowLeft"))
    assert frame_in_the_kernel(page) == paused - 2
    redraws(page, noise, explorer.locator(".nn-step-back").click)
    assert frame_in_the_kernel(page) == paused - 3
    redraws(page, noise, play.click)
    page.keyboard.press("Escape")
    expect(play).to_have_text("Play")
    assert int(asked(page, "len(explorer._outcome.value.frames)")) > paused

    type_in(explorer, "n_steps", "60")
    says(explorer, "step 60 of 60")
    redraws(page, noise, lambda: slide(page, explorer.locator(".nn-l2"), 0.5))
    says(explorer, "step 60 of 60")
    assert 0.08 < float(asked(page, "explorer.recipe.priors.l2")) < 0.12
    expect(explorer.locator(".nn-formula")).to_contain_text(re.compile("log p\\(3.x\\) − 0.1"))
    redraws(page, noise, lambda: click_a_class(explorer, 7))
    says(explorer, r"p\(7\).*step 60 of 60")
    assert_the_kernel_has(page, noise, "explorer._columns[0]._picture")
    assert_all_can_use_it(page, explorer)

    redraws(page, noise, explorer.locator(".nn-reset").click)
    assert asked(page, "explorer.digest()") == begun


def test_codes(page):
    explorer = opened(page, CODES, "nn-generated")
    picture = explorer.locator("img.nn-generated")
    says(explorer, "step 0 of 40")
    begun = asked(page, "explorer.digest()")

    slider = explorer.locator(".nn-direction-0")
    redraws(page, picture, lambda: slide(page, slider, 1.0))
    assert asked(page, "explorer.walk") == "{0: 4.0}"
    redraws(page, picture, lambda: press(page, slider.locator(".noUi-handle"), "ArrowLeft"))
    assert asked(page, "round(explorer.walk[0], 2)") == "3.95"
    redraws(page, picture, explorer.locator(".nn-random-code").click)
    assert asked(page, "explorer.walk") == "{}"

    redraws(page, picture, explorer.locator(".nn-play").click)
    says(explorer, "step 40 of 40")
    handle = explorer.locator(".nn-frame-number .noUi-handle")
    redraws(page, picture, lambda: press(page, handle, *["ArrowLeft"] * 9))
    says(explorer, "step 31 of 40 · paused")
    assert_the_kernel_has(page, picture, "explorer._picture._picture")
    click_a_class(explorer, 8)
    says(explorer, r"p\(8\).*step 0 of 40")
    assert_all_can_use_it(page, explorer)

    redraws(page, picture, explorer.locator(".nn-reset").click)
    assert asked(page, "explorer.digest()") == begun


def test_the_first_picture_comes_at_once(page):
    explorer = opened(page, PROTOTYPES, "nn-prototype-0")
    says(explorer, "step 60 of 60")
    with watch(page, explorer.locator("img.nn-prototype-1")) as seen:
        click_a_class(explorer, 8)
        says(explorer, r"p\(8\).*step 60 of 60")
        seen.settle()
    assert len(seen.changes()) > 3, "it is seen to grow"
    print(f"first picture {seen.latency():.0f} ms after the click")
