"""The composed picture: its parts are where they should be, at any size of input."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from nni_widgets.pictures.colours import SIGNED
from nni_widgets.pictures.figure import Panel, figure_png, plain
from nni_widgets.pictures.heatmap import Scale


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def places(shown, colour):
    """Rows and columns of the pixels of exactly this colour."""
    return np.argwhere((shown == np.asarray(colour, np.uint8)).all(axis=2))


def test_small_maps_are_magnified_to_280_pixels():
    values = torch.full((28, 28), 0.5)
    shown = decoded(figure_png([Panel(torch.ones(1, 28, 28), values, Scale(1.0))]))
    colour = SIGNED[127 + 64]
    in_the_map = [place for place in places(shown, colour) if place[1] < 600]
    assert len(in_the_map) == 280 * 280


def test_the_input_stands_left_of_its_heatmap_and_the_scale_right():
    image, values = torch.zeros(1, 2, 2), torch.full((2, 2), -1.0)
    shown = decoded(figure_png([Panel(image, values, Scale(1.0))]))
    black, against, favour = (places(shown, c) for c in ((0, 0, 0), SIGNED[0], SIGNED[-1]))
    assert len(black) == 280 * 280
    assert black[:, 1].max() < against[:, 1].min()
    assert favour[:, 1].min() > 2 * 280
    assert favour[:, 0].max() < shown.shape[0] / 2


def test_panels_stand_below_one_another():
    one = Panel(torch.zeros(1, 4, 4), torch.zeros(4, 4), Scale(1.0))
    heights = [decoded(figure_png([one] * n)).shape[0] for n in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] > 280


def test_words_make_the_picture_higher_never_wider():
    panel, long = (
        Panel(torch.zeros(1, 4, 4), torch.zeros(4, 4), Scale(1.0)),
        "relevance is conserved " * 12,
    )
    bare = decoded(figure_png([panel]))
    titled = decoded(figure_png([panel], title=long))
    captioned = decoded(figure_png([Panel(panel.image, panel.values, panel.scale, long)]))
    for worded in (titled, captioned):
        assert worded.shape[1] == bare.shape[1]
        assert worded.shape[0] > bare.shape[0] + 30
        assert (worded < 100).all(axis=2).sum() > (bare < 100).all(axis=2).sum() + 500


@pytest.mark.parametrize("signed", [True, False])
def test_signs_outside_the_font_do_no_harm(signed):
    panel = Panel(
        torch.zeros(3, 4, 4), torch.zeros(4, 4), Scale(1e-9, signed), "ΣR = −1 of f(x′), é, 漢"
    )
    assert decoded(figure_png([panel], title="ε × γ")).shape[0] > 280


@pytest.mark.parametrize(
    ("image", "values"), [((6,), (1, 6)), ((2, 50), (1, 50)), ((3, 300, 200), (300, 200))]
)
def test_any_input_has_a_figure(image, values):
    shown = decoded(figure_png([Panel(torch.rand(image), torch.ones(values), Scale(1.0))]))
    assert len(places(shown, SIGNED[-1])) >= 28 * 200


def test_no_panel_is_no_figure():
    with pytest.raises(ValueError, match="figure_png: panels must be at least one"):
        figure_png([])


def test_words_in_a_picture_have_letters_that_its_font_knows():
    assert plain("p̄ = 0.87 ± 0.01 at −70°") == "p = 0.87 +/- 0.01 at -70 deg"
    assert plain("ΣR ≤ λ²") == "sum R <= lambda2"
