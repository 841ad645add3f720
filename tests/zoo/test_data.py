"""The bundled data: complete, licensed, unchanged, and handed out as fresh copies."""

import fnmatch
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nni_widgets.zoo import data, digits, models
from nni_widgets.zoo.photographs import short_names

REPOSITORY = Path(__file__).parents[2]
README = (digits.FOLDER / "README.md").read_text(encoding="utf-8")
FILES = sorted(
    path.relative_to(digits.FOLDER).as_posix()
    for path in digits.FOLDER.rglob("*")
    if path.is_file() and path.name != "README.md"
)


@pytest.fixture(scope="module")
def test_set() -> data.Digits:
    return data.digits("test")


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_the_one_its_licence_statement_speaks_of(file):
    rows = [row.split(" | ") for row in README.splitlines() if row.startswith("| `")]
    licences = [row[3] for row in rows if fnmatch.fnmatch(file, row[0].strip("| `"))]
    assert licences
    assert re.search("CC BY-SA 3.0|CC0 or public domain|MIT", licences[0])
    found = hashlib.sha256((digits.FOLDER / file).read_bytes()).hexdigest()
    assert f"{found}  {file}\n" in README


def test_readme_lists_no_file_that_is_missing():
    assert sorted(re.findall(r"^[0-9a-f]{64}  (.+)$", README, re.MULTILINE)) == FILES


@pytest.mark.parametrize(
    "statement",
    [
        "mnist_test.npz",
        "mnist_train.npz",
        "Yann LeCun and Corinna Cortes hold the copyright",
        "zoo/data/photographs/",
        "fashion_ood.npz",
        "Zalando SE",
        "imagenet_classes.json",
        "zoo/weights/",
    ],
)
def test_notice_names_data_and_weights(statement):
    assert statement in (REPOSITORY / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("split", "per_class"),
    [
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
    ],
)
def test_digits_are_the_whole_of_mnist(split, per_class):
    digits = data.digits(split)
    assert len(digits) == sum(per_class)
    assert digits.labels.dtype == torch.int64
    assert torch.bincount(digits.labels).tolist() == per_class


def test_images_are_pixels_from_0_to_1(test_set):
    images = test_set.images
    assert images.shape == (10_000, 1, 28, 28)
    assert images.dtype == torch.float32
    assert (images.min().item(), images.max().item()) == (test_set.low, test_set.high) == (0, 1)
    assert images.mean().item() == pytest.approx(0.1325, abs=1e-4)
    assert test_set.classes == tuple("0123456789")


def test_index_by_slice_and_by_integer(test_set):
    x, y = test_set[7:8]
    assert x.shape == (1, 1, 28, 28)
    assert x.dtype == torch.float32
    assert y.tolist() == [9]
    x, y = test_set[7]
    assert x.shape == (1, 28, 28)
    assert y.shape == ()
    assert y.dtype == torch.int64
    assert y == 9
    assert torch.equal(test_set[-1][0], test_set[9_999][0])
    assert test_set[np.int64(3)][1] == test_set[torch.tensor(3)][1] == test_set[3][1]


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.array, lambda p: np.uint8(p)])
def test_index_by_many_places(test_set, kind):
    places = [5, 0, 5, 17]
    x, y = test_set[kind(places)]
    assert torch.equal(x, torch.stack([test_set[place][0] for place in places]))
    assert y.tolist() == [int(test_set[place][1]) for place in places]


def test_index_by_mask_and_by_unusual_slices(test_set):
    assert test_set[test_set.labels == 8][0].shape == (974, 1, 28, 28)
    assert torch.equal(test_set[3:0:-1][1], test_set[[3, 2, 1]][1])
    assert test_set[5:3][0].shape == test_set[[]][0].shape == (0, 1, 28, 28)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (10_000, IndexError),
        (-10_001, IndexError),
        ([0, 10_000], IndexError),
        (1.0, TypeError),
        ([0.5], TypeError),
        ("7", TypeError),
        (None, TypeError),
        (True, TypeError),
        ([True, False], TypeError),
    ],
)
def test_bad_index_is_a_sentence(test_set, index, error):
    with pytest.raises(error, match=r"^Digits: an index must be .+; got .+\. [A-Z].+\.$"):
        test_set[index]


def test_iteration_ends():
    digits = data.Digits(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.arange(3))
    assert [int(y) for _, y in digits] == [0, 1, 2]


@pytest.mark.parametrize("label", range(10))
def test_of_gives_the_first_pictures_of_a_class(test_set, label):
    places = [place for place in range(200) if test_set.labels[place] == label][:3]
    assert torch.equal(test_set.of(label, 3), test_set[places][0])
    assert test_set.of(label).shape == (1, 1, 28, 28)
    torch.testing.assert_close(
        test_set.mean_of(label), test_set.images[test_set.labels == label].mean(0)[None]
    )


def test_the_mean_of_a_class_that_is_not_there_says_so(test_set):
    with pytest.raises(ValueError, match=r"^Digits\.mean_of: label must be a class .+ got 10\."):
        test_set.mean_of(10)


@pytest.mark.parametrize(
    ("label", "n"), [(10, 1), (-1, 1), ("3", 1), (3, 0), (3, 1011), (3, 1.5), (3, 2.0)]
)
def test_of_says_what_is_wrong(test_set, label, n):
    with pytest.raises(ValueError, match=r"^Digits.of: .+ must be .+; got .+\. .+\.$"):
        test_set.of(label, n)


def test_a_class_that_has_no_picture_in_a_set_says_so():
    three = data.cluttered(3)
    for ask in (three.of, three.mean_of):
        with pytest.raises(
            ValueError, match=r"^Cluttered\.\w+: label must be .+ no picture\. Take"
        ):
            ask(9)


def test_what_is_handed_out_cannot_corrupt_the_cache(test_set):
    before, label = test_set.images[:3].clone(), int(test_set[0][1])
    test_set.images.fill_(0.5)
    test_set[0:3][0].fill_(0.5)
    test_set[0][0].fill_(0.5)
    test_set.labels.fill_(0)
    test_set[0][1].fill_(0)
    test_set[:][1].fill_(0)
    assert data.digits("test") is test_set
    assert torch.equal(test_set[0:3][0], before)
    assert test_set[0][1] == label
    with pytest.raises(AttributeError):
        test_set.low = -1.0


def test_absent_training_set_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(digits.FILES, "train", tmp_path / "mnist_train.npz")
    with pytest.raises(FileNotFoundError, match=r"^digits: the train set .+ clone the .+ pip"):
        digits._stored.__wrapped__("train")


@pytest.mark.parametrize("split", ["valid", ["test"], None])
def test_unknown_split_is_a_sentence(split):
    with pytest.raises(ValueError, match=r'^digits: split must be "test" or "train"; got '):
        data.digits(split)


def test_a_split_is_read_once():
    assert data.digits() is data.digits("test") is data.digits(split="test")


def test_whole_numbers_of_numpy_are_sizes():
    assert data.photograph_batch("koala", np.int64(16)).shape == (1, 3, 16, 16)
    assert models.load("digits-gan").sample(np.int64(2), seed=0).shape == (2, 1, 28, 28)
    assert torch.equal(
        data.drawing([[(3, 4)]], np.int64(8), np.float64(2)), data.drawing([[(3, 4)]], 8, 2)
    )


def test_clothes_are_indexed_as_digits_are():
    clothes = data.fashion()
    assert len(clothes) == 1000
    x, y = clothes[:3]
    assert x.shape == (3, 1, 28, 28)
    assert [clothes.classes[label] for label in y] == ["ankle boot", "pullover", "trousers"]
    assert torch.bincount(clothes.labels).tolist() == [
        *(107, 105, 111, 93, 115, 87, 97, 95, 95, 95),
    ]
    assert (clothes.images.min(), clothes.images.max()) == (0, 1)
    assert clothes is data.fashion()
    assert torch.equal(clothes.of(9), x[:1])
    assert repr(clothes).startswith("Fashion(1,000 pictures")
    with pytest.raises(ValueError, match=r"^Fashion\.of: label must be a class from 0 to 9; got"):
        clothes.of("ankle boot")


def test_photographs_by_name_and_place():
    photographs = data.photographs()
    assert len(photographs) == len(photographs.names) == len(list(photographs)) == 23
    koala = photographs["koala"]
    assert koala.shape == (3, 384, 384)
    assert koala.dtype == torch.float32
    assert 0 <= koala.min() < 0.1
    assert 0.9 < koala.max() <= 1
    assert torch.equal(photographs[photographs.names.index("koala")], koala)
    assert torch.equal(photographs[-1], photographs["rocket"])
    koala.zero_()
    assert photographs["koala"].max() > 0.9
    assert "koala" in photographs
    assert "cat" not in photographs
    assert 23 not in photographs


def test_photographs_have_colours():
    red, green, blue = data.photographs()["red_panda"].mean((1, 2))
    assert red > green > blue


def test_every_photograph_has_credits():
    photographs = data.photographs()
    pictures = {path.stem for path in (digits.FOLDER / "photographs").glob("*.jpg")}
    assert set(photographs.names) == set(photographs.credits) == pictures
    for credit in photographs.credits.values():
        assert credit["author"]
        assert credit["origin"]
        assert credit["licence"] in ("CC0-1.0", "Public Domain")
    photographs.credits["koala"]["author"] = "somebody else"
    assert photographs.credits["koala"]["author"] == "BurningWell"


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("cat", ValueError),
        (23, IndexError),
        (-24, IndexError),
        (1.5, ValueError),
        (None, ValueError),
        (slice(0, 2), ValueError),
        (("hen", 0), ValueError),
        (torch.tensor(1.5), ValueError),
    ],
)
def test_unknown_photograph_is_a_sentence(key, error):
    with pytest.raises(error, match=r"^Photographs: .+ must be .+; got .+\. .+\.$"):
        data.photographs()[key]


def test_imagenet_classes():
    names = data.imagenet_classes()
    assert len(names) == 1000
    assert names[0] == "tench, Tinca tinca"
    assert names[105].startswith("koala")
    assert names[999].startswith("toilet tissue")


def test_no_two_photographed_classes_share_a_short_name():
    names = short_names()
    assert len(set(names)) == 1000
    assert (names[134], names[517]) == ("crane (134)", "crane (517)")
    assert names[105] == "koala"
