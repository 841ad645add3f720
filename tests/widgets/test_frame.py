"""The picture with a frame on it: the kernel puts it there, the user moves it, the kernel hears."""

import pytest

from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.frame import FramedPicture
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.user import sets, the


@pytest.fixture
def framed():
    moves = []
    made = FramedPicture("a title", "nn-thing", "the thing", lambda: moves.append(made.place))
    made.moves = moves
    made.fit((0, 2, 4), (0, 3), (2, 3), (6, 6), (1, 1))
    yield made
    close_all(made.view)


def test_a_move_of_the_user_is_told_and_one_of_the_kernel_is_not(framed):
    frame = the(framed.view, "nn-thing-frame")
    assert (framed.place, framed.moves) == ((1, 1), [])
    sets(frame, place=[2, 0])
    assert (framed.place, framed.moves) == ((2, 0), [(2, 0)])
    framed.fit((0, 2), (0, 3), (2, 3), (4, 6), (0, 1))
    assert (frame.tops, frame.side, framed.place) == ((0, 2), (4, 6), (0, 1))
    assert framed.moves == [(2, 0)]


def test_a_fit_is_one_message_and_an_equal_one_none(framed, told):
    framed.fit((0, 2), (0, 3), (2, 3), (4, 6), (0, 1))
    assert sum(told.values()) == 1
    framed.fit((0, 2), (0, 3), (2, 3), (4, 6), (0, 1))
    assert sum(told.values()) == 1


def test_nothing_is_left_of_a_cleared_one(framed):
    framed.paint(b"a picture")
    framed.clear()
    assert the(framed.view, "nn-thing").value == BLANK
    assert the(framed.view, "nn-thing-frame").tops == ()
    assert framed.moves == []
