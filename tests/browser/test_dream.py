"""The Dream explorer in a real JupyterLab: played, paused, stepped back, steered, given a file."""

import io

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.browser.explorers import asked, says
from tests.browser.test_more_explorers import assert_all_can_use_it, press, redraws
from tests.browser.test_prototypes import (
    assert_the_kernel_has,
    frame_in_the_kernel,
    opened,
    type_in,
)

PHOTOGRAPHS = """import torch
from torch import nn
import nni_widgets as nni
from nni_widgets.widgets.explorers.dream import explore_dream
torch.manual_seed(0)
layers = [nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()]
module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)).eval()
model = nni.models.wrap(module, classes=["cat", "dog", "fish"])
explorer = explore_dream(model, picture="kitten", size=96, n_steps=5)
explorer"""


def test_dream(page):
    explorer = opened(page, PHOTOGRAPHS, "nn-dreamt")
    after, before = (explorer.locator(f"img.nn-{name}") for name in ("dreamt", "input"))
    says(explorer, "step 20 of 20")
    begun = asked(page, "explorer.digest()")
    expect(explorer.locator(".nn-credit")).to_contain_text("by Loliloli, Public Domain")
    expect(explorer.locator(".nn-dream-words")).to_contain_text("before: ")

    type_in(explorer, "n_steps", "5000")
    says(explorer, "playing")
    play = explorer.locator(".nn-play")
    expect(play).to_have_text("Pause")
    type_in(explorer, "n_steps", "400")
    handle = explorer.locator(".nn-frame-number .noUi-handle")
    page.wait_for_function("handle => handle.ariaValueNow >= 3", arg=handle.element_handle())
    play.click()
    expect(play).to_have_text("Play")
    says(explorer, "of 1600 · paused")
    paused = int(asked(page, "explorer.frame"))
    redraws(page, after, lambda: press(page, handle, "ArrowLeft", "ArrowLeft"))
    assert frame_in_the_kernel(page) == paused - 2
    redraws(page, after, explorer.locator(".nn-step-back").click)
    assert frame_in_the_kernel(page) == paused - 3
    type_in(explorer, "n_steps", "5")
    says(explorer, "step 20 of 20")

    layer = explorer.locator(".nn-layer select")
    redraws(page, after, lambda: press(page, layer, "Home"))
    says(explorer, "0: .* step 20 of 20")
    expect(explorer.locator(".nn-channel")).to_be_hidden()
    part = explorer.locator(".nn-part select")
    redraws(page, after, lambda: press(page, part, "ArrowDown"))
    says(explorer, "0, channel 0: .* step 20 of 20")
    channel = explorer.locator(".nn-channel .noUi-handle")
    redraws(page, after, lambda: press(page, channel, "End"))
    says(explorer, "0, channel 7: .* step 20 of 20")
    redraws(page, before, lambda: press(page, explorer.locator(".nn-picture select"), "ArrowDown"))
    says(explorer, "step 20 of 20")
    size = explorer.locator(".nn-size-field input")
    redraws(page, after, lambda: (size.fill("128"), size.press("Enter")))
    assert asked(page, "(explorer.size, *explorer.made.images.shape)") == "(128, 1, 3, 128, 128)"
    assert_the_kernel_has(page, after, "explorer._picture")
    assert_all_can_use_it(page, explorer)

    redraws(page, after, explorer.locator(".nn-reset").click)
    assert asked(page, "explorer.digest()") == begun


def test_a_picture_of_ones_own_dreams(page):
    explorer = opened(page, PHOTOGRAPHS, "nn-dreamt")
    says(explorer, "step 20 of 20")
    pixels = np.full((60, 80, 3), 255, np.uint8)
    pixels[20:40, 30:50] = 255, 0, 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")

    def choose(name: str, content: bytes) -> None:
        with page.expect_file_chooser() as chooser:
            explorer.locator("button.nn-upload, .nn-upload button").first.click()
        file = {"name": name, "mimeType": "image/png", "buffer": content}
        chooser.value.set_files(file)

    before = explorer.locator("img.nn-input")
    redraws(page, before, lambda: choose("mine.png", file.getvalue()))
    says(explorer, "step 20 of 20")
    expect(explorer.locator(".nn-credit")).to_contain_text("your picture")
    assert asked(page, "explorer.made.frames[0][1][0, 1].min().item() < 0.05") == "True"
    choose("broken.png", b"no picture")
    expect(explorer.locator(".nn-upload-words")).to_contain_text("broken.png: read_picture: the ")
