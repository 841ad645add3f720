"""From a picture file to what a model takes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nni_widgets.pictures.files import read_picture


def saved(image, kind="PNG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def ranged(low, high):
    model = nn.Identity()
    model.low, model.high = low, high
    return model


RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)


def test_grey_pixels_are_exact():
    x = read_picture(saved(Image.fromarray(RAMP)), ranged(0.0, 1.0), torch.zeros(1, 1, 3, 4))
    np.testing.assert_allclose(x[0, 0], RAMP / 255, atol=1e-7)


def test_colours_and_a_range_per_channel():
    model = ranged((-1.0, -2.0, 0.0), (1.0, 2.0, 5.0))
    x = read_picture(saved(Image.fromarray(COLOURS)), model, torch.zeros(2, 3, 3, 4).double())
    share = COLOURS.transpose(2, 0, 1) / 255
    expected = share * np.array([2, 4, 5])[:, None, None] - np.array([1, 2, 0])[:, None, None]
    np.testing.assert_allclose(x[0], expected, atol=1e-12)
    assert x.dtype == torch.float64


def test_without_a_range_that_of_the_batch_is_taken():
    like = torch.tensor([-3.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 3, 4)
    x = read_picture(saved(Image.new("L", (4, 3), 255)), nn.Identity(), like)
    assert x.unique().tolist() == [1.0]


def test_colour_becomes_grey_and_grey_colour():
    grey = read_picture(saved(Image.fromarray(COLOURS)), ranged(0, 1), torch.zeros(1, 1, 3, 4))
    assert grey.shape == (1, 1, 3, 4)
    colour = read_picture(saved(Image.fromarray(RAMP)), ranged(0, 1), torch.zeros(1, 3, 3, 4))
    assert torch.equal(colour[:, 0], colour[:, 2])


def test_another_size_is_cut_to_the_proportions_and_resized():
    wide = Image.new("L", (90, 30), 255)
    wide.paste(0, (30, 0, 60, 30))
    x = read_picture(saved(wide), ranged(0.0, 1.0), torch.zeros(1, 1, 10, 10))
    assert float(x.max()) < 0.1


def test_sixteen_bits_and_a_palette():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    palette = Image.fromarray(RAMP).convert("P")
    for image in (deep, palette):
        x = read_picture(saved(image), ranged(0.0, 1.0), torch.zeros(1, 1, 3, 4))
        np.testing.assert_allclose(x[0, 0], RAMP / 255, atol=1e-7)


def test_transparent_is_black():
    image = Image.new("RGBA", (4, 3), (255, 255, 255, 0))
    image.putpixel((1, 1), (255, 255, 255, 255))
    x = read_picture(saved(image), ranged(0.0, 1.0), torch.zeros(1, 1, 3, 4))
    assert (float(x.sum()), float(x[0, 0, 1, 1])) == (1.0, 1.0)


def test_a_photograph_stands_upright():
    turned = Image.Exif()
    turned[0x0112] = 6
    content = saved(Image.fromarray(RAMP), exif=turned)
    x = read_picture(content, ranged(0.0, 1.0), torch.zeros(1, 1, 4, 3))
    np.testing.assert_allclose(x[0, 0], np.rot90(RAMP, -1) / 255, atol=1e-7)


def test_a_jpeg_by_its_path(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(Image.new("L", (28, 28), 128), "JPEG"))
    x = read_picture(path, ranged(0.0, 1.0), torch.zeros(1, 1, 28, 28))
    assert float(x.mean()) == pytest.approx(128 / 255, abs=0.01)


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", saved(Image.new("L", (9, 9)), "BMP"), saved(Image.new("L", (99, 99)))[:60]],
)
def test_other_files_are_refused(content):
    with pytest.raises(
        ValueError, match="read_picture: the file must be a PNG, JPEG, GIF or WebP picture"
    ):
        read_picture(content, ranged(0, 1), torch.zeros(1, 1, 4, 4))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="got FileNotFoundError"):
        read_picture(tmp_path / "none.png", ranged(0, 1), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (4, 4), (1, 5)])
def test_models_that_take_no_pictures_are_named(shape):
    with pytest.raises(ValueError, match="the shape of like must be"):
        read_picture(b"", ranged(0, 1), torch.zeros(shape))
