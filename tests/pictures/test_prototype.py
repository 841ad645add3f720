"""What was made shows itself: pictures with the model's answer, and a text that can be compared."""

import base64
import io

import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    net.classes, net.low, net.high, net.input_shape = ("a", "b", "c"), 0.0, 1.0, (1, 4, 4)
    return net


@pytest.fixture(scope="module")
def made(model):
    objective = nni.LogProbability(range(3)) - 0.01 * nni.L2(torch.zeros(1, 1, 4, 4))
    return nni.ActivationMaximization(objective, n_steps=20)(model)


def test_every_image_stands_with_the_answer_to_it(model, made):
    shown = nni.show(made, model)
    p = model(made.images).softmax(1)
    assert [shown.caption(i) for i in range(3)] == [
        f"{'abc'[k]} ({value:.2f})" for value, k in zip(*p.max(1), strict=True)
    ]
    first, *rest = shown.digest().splitlines()
    assert "L2(center=center)" in first
    assert first.endswith("step 20 of 20")
    assert len(rest) == 3 * 5
    assert repr(shown) == shown.digest()


def test_the_picture_holds_the_images_side_by_side(model, made):
    bundle = nni.show(made, model)._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert picture.width > picture.height
    assert picture.convert("L").getextrema() == (0, 255)
    assert bundle["text/plain"] == nni.show(made, model).digest()


def test_a_model_without_names_gets_numbers(made):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    assert nni.show(made, plain).caption(0).split(" ")[0] in {"0", "1", "2"}


def test_names_that_do_not_fit_the_outputs_are_left_out(made):
    other = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    other.classes = ("a", "b")
    assert nni.show(made, other).classes == ("0", "1", "2")


def test_an_image_that_is_not_there_is_refused(model, made):
    for i in (3, -1, 1.0, True):
        with pytest.raises(ValueError, match=rf"^show: i must be an image from 0 to 2; got {i}\."):
            nni.show(made, model).caption(i)


def test_a_synthesis_is_printed_in_one_line(made):
    assert repr(made).startswith("Synthesis of (3, 1, 4, 4) at step 20 of 20: class ")
    assert "\n" not in repr(made)


def test_only_a_synthesis_is_shown(model):
    with pytest.raises(ValueError, match=r"^show: what is shown must be .*; got Tensor\."):
        nni.show(torch.zeros(1, 1, 4, 4), model)


def test_black_and_white_are_the_ends_of_the_box_of_what_is_made():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval(), torch.rand(1, 1, 4, 4)
    for image, box in ((nni.Pixels(), (0, 1)), (nni.Pixels(low=-3, high=2), (-3, 2))):
        made = nni.ActivationMaximization(nni.Logit(1), n_steps=2, image=image)(model, x)
        shown = nni.show(made, model)
        assert (shown.low, shown.high) == box
    without = nni.Pixels(low=-float("inf"), high=float("inf"))
    made = nni.ActivationMaximization(nni.Logit(1), n_steps=2, image=without)(model, x)
    shown = nni.show(made, model)
    assert (shown.low, shown.high) == (float(made.images.min()), float(made.images.max()))
