"""Browsing a batch whose classes are known: by class, and by whether the model is right."""

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from tests.widgets.user import chooses, clicks, sets, the


class Reads(nn.Module):
    """Says the class that is written in the first pixel."""

    def forward(self, x):
        return 5 * nn.functional.one_hot(x[:, 0, 0, 0].long(), 4) + x.sum((1, 2, 3))[:, None]


WRITTEN = [0, 1, 2, 3, 0, 1]
LABELS = [0, 2, 2, 3, 1, 2]


def pictures(written=WRITTEN):
    return torch.tensor(written, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


@pytest.fixture
def explorer(opened):
    return opened(nni.explore(Reads().eval(), pictures(), nni.Gradient(), labels=LABELS))


def offered(explorer):
    """The numbers of the pictures that the slider leads to."""
    slider, numbers = the(explorer, "nn-picture"), []
    for place in range(slider.max + 1):
        sets(slider, value=place)
        numbers.append(explorer._source.number)
    return numbers


def words(explorer):
    return the(explorer, "nn-sample-words").value


def test_the_model_right_or_wrong(explorer):
    chooses(the(explorer, "nn-show"), "the model is right")
    assert offered(explorer) == [0, 2, 3]
    chooses(the(explorer, "nn-show"), "the model is wrong")
    assert offered(explorer) == [1, 4, 5]
    chooses(the(explorer, "nn-show"), "all pictures")
    assert offered(explorer) == list(range(6))


def test_what_the_model_cannot_look_at_is_said(opened):
    x = pictures()
    x = torch.cat([x[:5], torch.full_like(x[:1], torch.nan)])
    explorer = opened(nni.explore(Reads().eval(), x, nni.Gradient(), labels=LABELS))
    chooses(the(explorer, "nn-show"), "the model is right")
    assert "<small>explore: x must be finite numbers; got 4 pixels" in words(explorer)
    assert offered(explorer) == list(range(6))


def test_by_class_and_by_both(explorer):
    chooses(the(explorer, "nn-class"), "2")
    assert offered(explorer) == [1, 2, 5]
    chooses(the(explorer, "nn-show"), "the model is wrong")
    assert offered(explorer) == [1, 5]
    assert "picture 5, class: 2; one of 2" in words(explorer)


def test_the_picture_stays_if_it_still_fits_and_is_explained_if_it_changes(explorer):
    sets(the(explorer, "nn-picture"), value=2)
    chooses(the(explorer, "nn-class"), "2")
    assert explorer._source.number == 2
    chooses(the(explorer, "nn-class"), "3")
    assert explorer._source.number == 3
    explorer.drain()
    assert torch.equal(explorer.explanation.x, pictures()[3:4])
    assert "x[3:4]" in explorer.code()


def test_what_nothing_fits_leaves_the_picture_and_says_so(explorer):
    chooses(the(explorer, "nn-class"), "3")
    chooses(the(explorer, "nn-show"), "the model is wrong")
    assert "No picture is like that" in words(explorer)
    assert explorer._source.number == 3
    assert (the(explorer, "nn-show").value, the(explorer, "nn-class").value) == (
        "all pictures",
        "3",
    )


def test_random_stays_within_the_filter(explorer):
    chooses(the(explorer, "nn-class"), "2")
    seen = set()
    for _ in range(30):
        clicks(explorer, "nn-random")
        seen.add(explorer._source.number)
    assert seen == {1, 2, 5}


def test_reset_takes_the_filters_away(explorer):
    chooses(the(explorer, "nn-class"), "2")
    clicks(explorer, "nn-reset")
    assert the(explorer, "nn-class").value == "any class"
    assert offered(explorer) == list(range(6))


def test_the_model_is_asked_once_and_only_if_it_matters(opened):
    rows = []

    class Counting(Reads):
        def forward(self, x):
            rows.extend([1] * len(x))
            return super().forward(x)

    model = Counting().eval()
    explorer = opened(nni.explore(model, pictures(), nni.Gradient(), labels=LABELS))
    rows.clear()
    chooses(the(explorer, "nn-class"), "0")
    explorer.drain()
    assert not rows
    for choice in ("the model is right", "the model is wrong", "the model is right"):
        chooses(the(explorer, "nn-show"), choice)
    explorer.drain()
    assert len(rows) <= 6 + 3  # all pictures once, and the three that were then explained


def test_a_model_that_raises_is_said_in_place(opened):
    spoilt = pictures().clone()
    spoilt[5] = torch.nan
    explorer = opened(nni.explore(Reads().eval(), spoilt, nni.Gradient(), labels=LABELS))
    chooses(the(explorer, "nn-show"), "the model is right")
    assert "finite" in words(explorer)
    assert explorer._source.number == 0
    assert the(explorer, "nn-show").value == "all pictures"


def test_a_model_that_was_trained_is_asked_again(opened):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 4))
    explorer = opened(nni.explore(model, torch.ones(2, 1, 2, 2), nni.Gradient(), labels=[0, 1]))
    chooses(the(explorer, "nn-show"), "the model is right")
    assert offered(explorer) == [0]
    with torch.no_grad():
        model[1].weight.neg_()
    chooses(the(explorer, "nn-show"), "all pictures")
    chooses(the(explorer, "nn-show"), "the model is right")
    assert offered(explorer) == [1]


def test_names_of_classes(opened):
    model = Reads().eval()
    model.classes = ("cat", "dog", "cow", "hen")
    explorer = opened(nni.explore(model, pictures(), nni.Gradient(), labels=torch.tensor(LABELS)))
    assert the(explorer, "nn-class").options == ("any class", "cat", "dog", "cow", "hen")
    assert "class: cat" in words(explorer)


def test_without_labels_there_are_no_filters(opened):
    explorer = opened(nni.explore(Reads().eval(), pictures(), nni.Gradient()))
    filters = the(explorer, "nn-filters")
    assert filters.layout.display == "none"


@pytest.mark.parametrize(
    "labels", [[1, 2], np.zeros((6, 1), int), [0.5] * 6, [True] * 6, 3, "abcdef"], ids=repr
)
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="explore: labels must be one class per picture, 6 whole"):
        nni.explore(Reads().eval(), pictures(), labels=labels)
