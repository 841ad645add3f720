"""The pointing game and the relevance mass by hand, with boxes and masks of any shape."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import LRP
from nni_widgets.engine.metrics.localisation import Localisation, PointingGame, RelevanceMass
from tests.engine.common import assert_near, build
from tests.engine.test_common import nothing_changes
from tests.oracle.nets import NETS

BOTH = pytest.mark.parametrize("kind", [PointingGame, RelevanceMass])
BOXES = torch.tensor([[1, 2, 3, 4], [0, 0, 6, 1]])


def score(metric: Localisation, relevance: Tensor) -> list[float]:
    """For a map alone: the model does not matter."""
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(2)).double().eval()
    x = torch.rand(relevance.shape).double()
    model(x)
    return [float(value) for value in metric(model, x, relevance.double())]


def point(row: int, column: int) -> Tensor:
    picture = torch.zeros(2, 6, 6)
    picture[1, row, column] = 1
    return picture


@pytest.mark.parametrize(
    ("place", "tolerance", "hit"),
    [
        ((1, 2), 0, 1), ((2, 3), 0, 1), ((3, 3), 0, 0), ((2, 4), 0, 0), ((0, 2), 0, 0),
        ((3, 4), 1, 1), ((0, 1), 1, 1), ((4, 3), 1, 0), ((2, 5), 1, 0), ((5, 5), 2, 0),
        ((4, 5), 2, 1),
    ],
)  # fmt: skip
def test_pointing_by_hand(place: tuple[int, int], tolerance: int, hit: int) -> None:
    maps = torch.stack([point(*place), point(5, 0)])
    assert score(PointingGame(boxes=BOXES, tolerance=tolerance), maps) == [hit, 1]
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[0, 1:3, 2:4] = masks[1, :, 0] = True
    assert score(PointingGame(boxes=masks, tolerance=tolerance), maps) == [hit, 1]


def test_channels_are_summed_before_one_points() -> None:
    relevance = torch.zeros(2, 2, 6, 6)
    relevance[:, 0, 1, 2], relevance[:, 1, 1, 2] = 2, -2  # the largest number, but not of the sum
    relevance[:, 0, 5, 0], relevance[:, 0, 0, 5] = 1, -9
    assert score(PointingGame(boxes=BOXES), relevance) == [0, 1]


def test_several_largest_places_are_shared() -> None:
    assert score(PointingGame(boxes=BOXES), torch.zeros(2, 2, 6, 6)) == pytest.approx(
        [4 / 36, 1 / 6]
    )
    both = torch.stack([point(1, 2) + point(5, 5), point(0, 0) + point(1, 0)])
    assert score(PointingGame(boxes=BOXES), both) == [0.5, 1]


def test_mass_by_hand() -> None:
    first = 3 * point(1, 2) + point(4, 4) - 5 * point(2, 2)
    second = -point(0, 0)
    assert score(RelevanceMass(boxes=BOXES), torch.stack([first, second])) == [0.75, 0]


@BOTH
def test_what_random_maps_score_is_the_area(kind: type[Localisation]) -> None:
    metric = kind(boxes=BOXES)
    assert metric.area(torch.zeros(2, 2, 6, 6)).tolist() == pytest.approx([4 / 36, 6 / 36])
    many = score(kind(boxes=BOXES.repeat(1500, 1)), torch.randn(3000, 2, 6, 6))
    means = torch.tensor(many).reshape(1500, 2).mean(0)
    assert means.tolist() == pytest.approx([4 / 36, 6 / 36], abs=0.03)


def test_the_area_of_pointing_with_a_tolerance() -> None:
    x = torch.zeros(2, 1, 6, 6)
    assert PointingGame(boxes=BOXES, tolerance=1).area(x).tolist() == pytest.approx(
        [16 / 36, 12 / 36]
    )
    assert PointingGame(boxes=BOXES, tolerance=9).area(x).tolist() == [1, 1]


def test_signals_features_and_volumes_have_masks() -> None:
    mask = torch.tensor([[False, True, True, False, False]])
    relevance = torch.tensor([[1.0, 2, 1, 4, -3]])
    assert score(RelevanceMass(boxes=mask), relevance) == [3 / 8]
    assert score(PointingGame(boxes=mask), relevance) == [0]
    assert score(PointingGame(boxes=mask, tolerance=1), relevance) == [1]
    assert score(RelevanceMass(boxes=mask), relevance[:, None].expand(1, 3, 5)) == [3 / 8]
    volume = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    volume[0, 1, 2] = True
    found = score(PointingGame(boxes=volume, tolerance=1), torch.zeros(1, 1, 4, 4, 4))
    assert found == [3 * 3 * 4 / 64]


@BOTH
def test_boxes_of_numpy_and_lists(kind: type[Localisation]) -> None:
    relevance = torch.rand(2, 2, 6, 6)
    expected = score(kind(boxes=BOXES), relevance)
    assert score(kind(boxes=BOXES.numpy().astype(np.uint8)), relevance) == expected
    assert score(kind(boxes=BOXES.tolist()), relevance) == expected


@BOTH
def test_with_a_method_one_by_one_and_nothing_changes(kind: type[Localisation]) -> None:
    model, x = build(NETS["plain"])
    with nothing_changes(model, x):
        together = kind(boxes=BOXES)(model, x, LRP())
    assert together.dtype == torch.float64
    alone = [kind(boxes=BOXES[i : i + 1])(model, x[i : i + 1], LRP()) for i in range(2)]
    assert_near(together, torch.cat(alone), 1e-12)


@BOTH
def test_as_code(kind: type[Localisation]) -> None:
    assert repr(kind(boxes=BOXES)) == f"{kind.__name__}(boxes=boxes)"


@BOTH
@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (None, "whole numbers"),
        ("here", "whole numbers"),
        (BOXES.double(), "whole numbers"),
        (BOXES[0], "whole numbers"),
        (BOXES[:0], "whole numbers"),
        (BOXES[:, :3], "whole numbers"),
        (torch.tensor([True, False]), "whole numbers"),
        (torch.tensor([[True, False], [False, False]]), "masks with a place in each; got none"),
        (torch.tensor([[0, 0, 2, 2], [3, 0, 3, 2]]), "0 ≤ top < bottom .* got \\[3, 0, 3, 2\\]"),
        (torch.tensor([[0, -1, 2, 2]]), "0 ≤ top < bottom"),
    ],
)
def test_bad_boxes(kind: type[Localisation], boxes: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: boxes must be .*{words}"):
        kind(boxes=boxes)


@BOTH
@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (BOXES[:1], "one for each of the 2 pictures; got 1"),
        (torch.ones(3, 6, 6).bool(), "one for each of the 2 pictures; got 3"),
        (torch.ones(2, 6, 5).bool(), r"masks of shape \(6, 6\); got \(6, 5\)"),
        (torch.ones(2, 2, 6, 6).bool(), r"masks of shape \(6, 6\)"),
        (torch.tensor([[0, 0, 6, 6], [0, 0, 2, 7]]), r"inside the picture.*got \[0, 0, 6, 7\]"),
    ],
)
def test_boxes_that_do_not_suit_the_pictures(
    kind: type[Localisation], boxes: Tensor, words: str
) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: boxes must be {words}"):
        score(kind(boxes=boxes), torch.zeros(2, 2, 6, 6))


@BOTH
def test_boxes_need_pictures(kind: type[Localisation]) -> None:
    with pytest.raises(ValueError, match="boxes must be inside the picture"):
        score(kind(boxes=BOXES), torch.zeros(2, 2, 6))
