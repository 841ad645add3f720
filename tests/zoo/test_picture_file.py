"""Picture files of one's own: every kind that is usual, and a sentence for every other."""

import io
import random
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, PngImagePlugin

from nni_widgets.zoo import data, photographs, picture_file

SIDE = 8
RAMP = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 3
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)
REFUSAL = r"^picture: the file must be .+; got .+\. .+\.$"


def saved(image, kind="PNG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def colours():
    return Image.fromarray(COLOURS)


def still_and_turned(kind):
    turned = Image.fromarray(np.rot90(COLOURS).copy())
    return saved(colours(), kind, save_all=True, append_images=[turned])


def read(content, side=SIDE):
    """The pixels of a file as whole numbers, (side, side, 3)."""
    x = data.picture(content, size=side)
    assert x.shape == (1, 3, side, side)
    assert x.dtype == torch.float32
    return (x[0] * 255).round().permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize(("kind", "how"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_pixels_are_exact(kind, how):
    assert (read(saved(colours(), kind, **how)) == COLOURS).all()


@pytest.mark.parametrize("image", [Image.fromarray(RAMP), Image.fromarray(RAMP).convert("P")])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_grey_and_palette(image, kind):
    assert (read(saved(image, kind)) == RAMP[..., None]).all()


def test_sixteen_bits():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert (read(saved(deep)) == RAMP[..., None]).all()


def test_a_transparent_grey_of_sixteen_bits():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    white = np.where(RAMP == 9, 255, RAMP)
    assert (read(saved(deep, transparency=9 * 257)) == white[..., None]).all()


def test_one_bit():
    image = Image.fromarray(RAMP > 90)
    assert image.mode == "1"
    assert (read(saved(image)) == (RAMP > 90)[..., None] * 255).all()


def test_four_inks():
    assert abs(read(saved(colours().convert("CMYK"), "JPEG", quality=100)) - COLOURS).max() < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(mode):
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    image.putpixel((2, 1), (0, 0, 0, 255))
    image.putpixel((3, 1), (0, 0, 0, 127))
    pixels = read(saved(image.convert(mode)))
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[1, 2].tolist() == [0] * 3
    assert pixels[1, 3].tolist() == [128] * 3


def test_a_transparent_colour_of_a_palette():
    image = Image.fromarray(RAMP).convert("P")
    pixels = read(saved(image, transparency=int(RAMP[0, 5])))
    assert pixels[0, 5].tolist() == [255] * 3
    assert pixels[0, 4].tolist() == [RAMP[0, 4]] * 3


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_photograph_stands_upright(orientation, turn, kind):
    noted = Image.Exif()
    noted[0x0112] = orientation
    how = {"lossless": True} if kind == "WEBP" else {}
    pixels = read(saved(colours(), kind, exif=noted, **how))
    assert (pixels == np.rot90(COLOURS, turn)).all()


def test_the_square_in_the_middle_is_taken():
    wide = Image.new("RGB", (90, 30), "white")
    wide.paste("red", (30, 0, 60, 30))
    assert (read(saved(wide), side=10) == [255, 0, 0]).all(-1)[:, 1:-1].all()


def test_it_is_resized_as_the_bundled_photographs():
    path = photographs.FOLDER / "photographs" / "koala.jpg"
    expected = data.photograph_batch("koala", size=100)
    assert (data.picture(path, size=100) - expected).abs().max() < 1.6 / 255
    assert torch.equal(data.picture(str(path)), data.picture(path.read_bytes()))


def test_previews_behind_a_jpeg_are_no_animation():
    content = still_and_turned("MPO")
    assert Image.open(io.BytesIO(content)).is_animated
    assert abs(read(content) - COLOURS).max() < 60


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_refused(kind):
    with pytest.raises(ValueError, match=REFUSAL) as refused:
        data.picture(still_and_turned(kind))
    assert f"got an animated {kind}. Save one of its frames as PNG." in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", b"GIF89a", saved(colours(), "BMP"), saved(colours(), "TIFF")],
    ids=["empty", "text", "head", "bmp", "tiff"],
)
def test_what_is_no_such_picture_is_refused(content):
    with pytest.raises(ValueError, match=REFUSAL) as refused:
        data.picture(content)
    assert "a PNG, JPEG, GIF or WebP picture" in str(refused.value)
    assert "0x" not in str(refused.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_cut_short_is_refused(kind):
    content = saved(Image.effect_noise((64, 64), 50), kind)
    with pytest.raises(ValueError, match=REFUSAL):
        data.picture(content[: len(content) // 2])


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    content = saved(colours())
    monkeypatch.setattr(picture_file, "MOST_PIXELS", SIDE * SIDE - 1)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(ValueError, match=REFUSAL) as refused:
        data.picture(content)
    assert "got 8 x 8" in str(refused.value)


@pytest.mark.parametrize("side", [7_100, 10_000, 15_000])
def test_a_bomb_is_refused(side):
    bomb = saved(Image.new("1", (side, side)))
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match=r"picture of at most 50,000,000 pixels; got .+\. Save a"):
        data.picture(bomb)


@pytest.mark.parametrize("file", [None, 3, [b""], np.zeros(3), torch.zeros(3)])
def test_what_is_no_file_is_refused(file):
    with pytest.raises(ValueError, match=r"^picture: the file must be a path or bytes; got \w+\. "):
        data.picture(file)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_an_upload_holds_is_read(kind):
    content = saved(colours())
    assert (read(kind(content)) == read(content)).all()


@pytest.mark.parametrize("name", ["none.png", "."])
def test_a_file_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=REFUSAL) as refused:
        data.picture(tmp_path / name)
    assert str(refused.value).endswith(" Check the path.")


@pytest.mark.parametrize(
    "error",
    [OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError, EOFError, struct.error],
)
def test_whatever_a_broken_file_brings_pillow_to_raise_is_one_sentence(monkeypatch, error):
    def load(image):
        raise error("line one\nline two")

    content = saved(colours())
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(ValueError, match=REFUSAL):
        data.picture(content)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_with_wrong_bytes_are_read_or_refused():
    chance = random.Random(0)
    noted = Image.Exif()
    noted[0x0112] = 6
    sound = [saved(colours(), kind, exif=noted) for kind in ("PNG", "JPEG", "WEBP")]
    sound += [saved(colours(), "GIF"), *map(still_and_turned, ("GIF", "PNG", "MPO"))]
    refused = []
    for number in range(1500):
        broken = bytearray(sound[number % len(sound)])
        for _ in range(chance.choice((1, 2, 5))):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            read(bytes(broken))
        except ValueError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 1500
    assert all(sentence.startswith("picture: the file must be ") for sentence in refused)
