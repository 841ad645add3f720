"""What is explained: a picture of a batch, or a drawing."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import nni_widgets as nni
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.inputs import EXAMPLES, BatchInput, DrawingInput
from tests.widgets.user import clicks, sends, sets, the

SEVEN = (((8.0, 8.0), (20.0, 8.0), (13.0, 22.0)),)


@pytest.fixture
def connected():
    """Connect an input to a list of what it tells."""
    sources = []

    def connect(source):
        source.told = []
        source.connect(lambda: source.told.append("changed"), lambda: source.told.append("cancel"))
        sources.append(source)
        return source

    yield connect
    for source in sources:
        close_all(source.widget)


def shown(source):
    return np.asarray(Image.open(io.BytesIO(the(source.widget, "nn-input").value)))


def test_a_batch_is_browsed_by_number(connected, cnn, digits):
    source = connected(BatchInput(cnn, digits))
    np.testing.assert_array_equal(shown(source), np.rint(digits[0, 0].numpy() * 255))
    sets(the(source.widget, "nn-picture"), value=2)
    key, x = source.current()
    assert (key, source.number, source.told) == (2, 2, ["changed"])
    assert torch.equal(x, digits[2:3])
    np.testing.assert_array_equal(shown(source), np.rint(digits[2, 0].numpy() * 255))
    assert (source.code("x"), source.count) == (("", "x[2:3]"), len(digits))


def test_random_is_another_picture_and_reset_is_quiet(connected, cnn, digits):
    source = connected(BatchInput(cnn, digits))
    for _ in range(5):
        before = source.number
        clicks(source.widget, "nn-random")
        assert source.number != before
    source.told.clear()
    source.reset()
    assert (source.number, source.told) == (0, [])
    np.testing.assert_array_equal(shown(source), np.rint(digits[0, 0].numpy() * 255))


def test_one_picture_has_no_browser(connected, cnn, digits):
    source = connected(BatchInput(cnn, digits[:1]))
    assert the(source.widget, "nn-picture").value == 0
    for name in ("nn-picture", "nn-random"):
        assert the(source.widget, name).layout.display == "none"
    assert source.code("digit") == ("", "digit")


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 6), (2, 1, 4, 4), (2, 3, 4, 4), (2, 1, 2, 2, 2)])
@pytest.mark.parametrize("spoilt", [False, True])
def test_any_input_can_be_shown_also_a_bad_one(connected, shape, spoilt):
    x = torch.rand(shape)
    if spoilt:
        x.flatten()[0] = torch.nan
    source = connected(BatchInput(torch.nn.Flatten(), x))
    has_picture = bool(the(source.widget, "nn-input").value)
    assert has_picture == (len(shape) < 5)


def test_a_drawing_is_the_picture_of_its_strokes(connected):
    source = connected(DrawingInput(()))
    assert source.current() is None
    source.pad.stroke(SEVEN[0])
    key, x = source.current()
    assert (key, source.told) == ((SEVEN, 2.5), ["changed"])
    assert torch.equal(x, nni.data.drawing(SEVEN))


def test_another_pen_is_another_picture(connected):
    source = connected(DrawingInput(SEVEN))
    thin, _ = source.current()
    source.pad.pen = 5.0
    thick, x = source.current()
    assert (thick != thin, source.told) == (True, ["changed"])
    assert torch.equal(x, nni.data.drawing(SEVEN, width=5.0))


def test_the_code_of_a_drawing_makes_it_again(connected):
    source = connected(DrawingInput(SEVEN))
    line, name = source.code("digit")
    space = {"nni": nni}
    exec(line, space)
    assert torch.equal(space[name], source.current()[1])


def test_buttons_of_a_drawing(connected):
    source = connected(DrawingInput(SEVEN))
    clicks(source.widget, "nn-clear")
    assert source.current() is None
    clicks(source.widget, "nn-undo")
    assert source.pad.strokes == SEVEN
    for _ in range(20):
        before = source.pad.strokes
        clicks(source.widget, "nn-random")
        assert source.pad.strokes != before
    assert source.told == ["changed"] * 22


def test_reset_of_a_drawing_is_quiet_and_can_be_undone(connected):
    source = connected(DrawingInput(SEVEN))
    source.pad.stroke([(3, 3)])
    drawn = source.pad.strokes
    source.told.clear()
    source.reset()
    assert (source.pad.strokes, source.told) == (SEVEN, [])
    clicks(source.widget, "nn-undo")
    assert source.pad.strokes == drawn


def test_escape_on_the_pad_cancels(connected):
    source = connected(DrawingInput(SEVEN))
    sends(source.pad, type="cancel")
    assert source.told == ["cancel"]


def test_the_examples_are_digits_that_the_model_knows(cnn):
    predicted = [int(cnn(nni.data.drawing(strokes)).argmax()) for strokes in EXAMPLES]
    assert predicted == [7, 3, 1, 6, 2, 4]


def test_the_names_given_are_those_in_code_also_with_a_pad():
    model = nni.models.load("digits-mlp")
    explorer = nni.explore_rules(model, strokes=[[(8, 8), (20, 8)]], names=("net", "picture"))
    explorer.drain(60)
    assert "picture = nni.data.drawing(" in explorer.code()
    assert "explore_rules(net, picture" in explorer.code()
    explorer.close()
