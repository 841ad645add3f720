"""A picture of one's own in the explorer."""

import io

import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures.files import read_picture
from tests.widgets.cells import copied, result_of
from tests.widgets.user import clicks, sets, the


def picture(size=(28, 28), colour=200, kind="PNG"):
    file = io.BytesIO()
    image = Image.new("L", size, 0)
    image.paste(colour, (size[0] // 3, 0, size[0] // 2, size[1]))
    image.save(file, kind)
    return file.getvalue()


def uploads(explorer, name, content):
    sent = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    sets(the(explorer, "nn-upload"), value=[{**sent, "last_modified": 0}])


def words(explorer):
    return the(explorer, "nn-upload-words").value


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore(cnn, digits))


def test_an_uploaded_picture_is_explained(explorer, cnn, digits):
    uploads(explorer, "one.png", picture())
    expected = read_picture(picture(), cnn, digits)
    assert explorer.digest() == nni.explain(cnn, expected).digest()
    assert torch.equal(explorer.explanation.x, expected)


def test_it_joins_the_others_and_nothing_is_lost(explorer, digits):
    sets(the(explorer, "nn-picture"), value=2)
    uploads(explorer, "one.png", picture())
    uploads(explorer, "two.jpg", picture(kind="JPEG", colour=120))
    first, second = (explorer._source._uploads[k][1] for k in (0, 1))
    for place, x in ((5, second), (2, digits[2:3]), (4, first)):
        sets(the(explorer, "nn-picture"), value=place)
        assert torch.equal(explorer.drain().explanation.x, x)
    clicks(explorer, "nn-reset")
    assert the(explorer, "nn-picture").max == 5
    assert torch.equal(explorer.drain().explanation.x, digits[:1])


def test_the_same_file_can_be_sent_again(explorer):
    for _ in range(2):
        uploads(explorer, "one.png", picture())
        assert the(explorer, "nn-upload").value == ()
    assert the(explorer, "nn-picture").max == 5


def test_a_single_picture_gets_a_browser(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits[:1]))
    uploads(explorer, "one.png", picture())
    assert the(explorer, "nn-picture").max == 1
    assert the(explorer, "nn-picture").layout.display is None
    assert explorer.drain().explanation is not None


def test_the_copied_cell_reads_the_file(explorer, cnn, digits, tmp_path, monkeypatch):
    (tmp_path / "one.png").write_bytes(picture())
    monkeypatch.chdir(tmp_path)
    uploads(explorer, "one.png", picture())
    assert repr(result_of(copied(explorer), model=cnn, x=digits)) == explorer.digest()


@pytest.mark.parametrize(
    "content", [b"", b"no picture", picture()[:60]], ids=["empty", "text", "cut"]
)
def test_what_is_no_picture_is_said_in_place(explorer, content):
    before = explorer.digest()
    uploads(explorer, "<b>.png", content)
    assert (
        "&lt;b&gt;.png: read_picture: the file must be a PNG, JPEG, GIF or WebP picture"
        in words(explorer)
    )
    assert "0x" not in words(explorer), "an address of the memory tells nobody anything"
    assert 'role="alert"' in words(explorer)
    assert explorer.digest() == before
    uploads(explorer, "one.png", picture())
    assert words(explorer) == ""


def test_what_was_said_of_a_file_is_gone_with_the_next_picture(explorer):
    for go_on in (
        lambda: clicks(explorer, "nn-reset"),
        lambda: sets(the(explorer, "nn-picture"), value=2),
    ):
        uploads(explorer, "text", b"no picture")
        assert words(explorer)
        go_on()
        assert words(explorer) == ""


def test_one_target_per_picture_leaves_the_uploaded_one_its_prediction(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, target=[1, 2, 3, 4]))
    uploads(explorer, "one.png", picture())
    predicted = explorer.drain().explanation.predicted
    assert explorer.explanation.target_names == predicted
    sets(the(explorer, "nn-picture"), value=3)
    assert explorer.drain().explanation.target_names == ("4",)


def test_no_upload_where_the_model_takes_no_pictures(opened):
    explorer = opened(nni.explore(nn.Linear(5, 3).eval(), torch.rand(2, 5)))
    assert the(explorer, "nn-upload").layout.display == "none"
