"""The picture in patches: the user chooses them, the kernel hears, and draws the grid below."""

import pytest
from ipycanvas.canvas import _CANVAS_MANAGER

from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.maps import BLANK
from nni_widgets.widgets.parts.patches import PatchPicture
from tests.widgets.user import sets, the


class Layer:
    """Keeps what is drawn on it."""

    def __init__(self):
        self.rectangles, self.texts = [], []

    def fill_rect(self, *place):
        self.rectangles.append(place)

    def fill_text(self, text, x, y):
        self.texts.append((text, x, y))

    def stroke_text(self, text, x, y):
        """The light edge of a letter."""


@pytest.fixture
def patched():
    heard = []
    made = PatchPicture("a title", "nn-thing", "the patches", lambda: heard.append(made.chosen))
    made.heard = heard
    made.fit((0, 2, 4), (0, 3), (6, 6), 4)
    yield made
    close_all(made.view)


@pytest.fixture
def layers(patched, monkeypatch):
    """The two layers as they are after each drawing."""
    layers = [Layer(), Layer()]
    monkeypatch.setattr(patched._overlay, "draw", lambda painter: painter(layers))
    return layers


def test_a_choice_of_the_user_is_told_and_one_of_the_kernel_is_not(patched):
    sets(the(patched.view, "nn-thing-board"), chosen=[[2, 1], [0, 0]])
    assert patched.heard == [((2, 1), (0, 0))]
    patched.chosen = [(1, 1)]
    assert patched.chosen == ((1, 1),)
    assert len(patched.heard) == 1


def test_a_fit_is_one_message_and_an_equal_one_none(patched, told):
    patched.fit((0, 3), (0, 2, 4), (6, 6), 3)
    assert sum(told.values()) == 1
    patched.fit((0, 3), (0, 2, 4), (6, 6), 3)
    assert sum(told.values()) == 1


def test_the_grid_is_drawn_between_the_patches(patched, layers):
    patched.draw()
    across = [x + width / 2 for x, _, width, height in layers[0].rectangles if height > width]
    down = [y + height / 2 for _, y, width, height in layers[0].rectangles if width > height]
    assert (across, down) == ([252], [168, 336])
    assert layers[1].texts == []
    canvas = the(patched.view, "nn-thing-grid")
    assert (canvas.width, canvas.height) == (504, 504)


def test_an_order_is_drawn_in_the_middle_of_its_patches(patched, layers):
    patched.draw([(2, 1), (0, 0)], "#5e3c99")
    assert layers[1].texts == [("1", 378, 420), ("2", 126, 84)]


def test_numbers_can_be_read_although_the_last_patches_are_thin(patched, layers):
    patched.fit((0, 9, 18, 27), (0, 9, 18, 27), (28, 28), 4)
    patched.draw([(0, 0)])
    assert layers[1].font == "bold 30px sans-serif"


def test_nothing_is_left_of_a_cleared_one(patched):
    patched.paint(b"a picture")
    patched.chosen = [(0, 0)]
    patched.clear()
    assert the(patched.view, "nn-thing").value == BLANK
    assert the(patched.view, "nn-thing-board").tops == patched.chosen == ()
    assert patched.heard == []


def test_closing_one_lets_other_canvases_draw():
    close_all(PatchPicture("a title", "nn-thing", "the patches", lambda: None).view)
    assert _CANVAS_MANAGER.comm is not None
