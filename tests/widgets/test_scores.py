"""Bars, words and picker are one choice of what is explained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import nni_widgets as nni
from nni_widgets.widgets.parts.charts import ClassBars
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.scores import Scores
from tests.widgets.user import chooses, clicks_bar, sends, the


@pytest.fixture
def scores(cnn):
    changed = []
    scores = Scores(cnn.classes, None, lambda: changed.append(scores.target))
    scores.changed = changed
    yield scores
    close_all(scores.widget)


@pytest.fixture
def hundred():
    chosen = []
    bars = ClassBars([f"class {i}" for i in range(100)], chosen.append)
    bars.chosen = chosen
    yield bars
    close_all(bars.widget)


def test_bars_and_words_show_the_probabilities(scores, cnn, digits):
    made = nni.explain(cnn, digits[:1], nni.Gradient(), target=2)
    scores.show(made)
    bars, _ = the(scores.widget, "nn-scores").marks
    np.testing.assert_allclose(bars.y, made.probabilities[0])
    assert [bar == "#e66101" for bar in bars.colors].index(True) == 2
    best = made.predicted[0]
    assert the(scores.widget, "nn-scores-words").value.startswith(f"<small>{best} 1.00, ")
    scores.clear()
    assert not bars.y.any()


def test_names_of_classes_are_no_markup(scores, cnn, digits):
    made = replace(nni.explain(cnn, digits[:1]), classes=("<b>bold</b>",) * 10)
    scores.show(made)
    assert "&lt;b&gt;bold&lt;/b&gt; 1.00" in the(scores.widget, "nn-scores-words").value


def test_a_click_on_a_bar_and_the_picker_choose_a_class(scores):
    clicks_bar(scores.widget, 3)
    assert scores.picker.label == "3"
    chooses(scores.picker, "8")
    chooses(scores.picker, "the predicted class")
    assert scores.changed == [3, 8, None]


def test_setting_a_target_moves_the_picker_and_does_not_call_back(scores):
    scores.set(torch.tensor(4))
    assert (scores.target, scores.picker.label) == (4, "4")
    scores.set(17)
    assert (scores.target, scores.picker.index) == (17, None)
    scores.set(None)
    assert scores.picker.label == "the predicted class"
    assert scores.changed == []


def test_yes_and_no_are_no_classes(opened, cnn, digits):
    explorer = opened(nni.explore(cnn, digits, nni.Saliency(), target=True))
    assert "target must be a class index" in explorer.digest()


def test_a_target_of_your_own_stays_in_the_picker(scores):
    scores.set(nni.Difference(7, 1))
    assert scores.picker.label == "your target"
    chooses(scores.picker, "8")
    chooses(scores.picker, "your target")
    assert scores.changed == [8, nni.Difference(7, 1)]


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, tuple])
def test_one_class_per_picture(cnn, kind):
    scores = Scores(cnn.classes, kind([5, 6]), lambda: None, count=2)
    assert [scores.of(0), scores.of(1)] == [5, 6]
    assert [type(scores.of(i)) for i in (0, 1)] == [int, int]
    for wrong in (kind([4]), kind([4, 5, 6])):
        words = f"one class or 2 classes, one per picture; got {len(wrong)} classes"
        with pytest.raises(ValueError, match=words):
            scores.set(wrong)
    assert scores.picker.label == "your target"
    close_all(scores.widget)


def test_of_many_classes_the_most_probable_and_the_explained_one_are_shown(hundred):
    shares = np.linspace(0, 0.02, 100)
    hundred.show(shares, chosen=5)
    bars, columns = hundred.widget.marks
    assert list(bars.x) == list(columns.x)
    assert list(bars.x) == [f"class {i}" for i in range(99, 90, -1)] + ["class 5"]
    sends(columns, event="element_click", data={"index": 1})
    sends(columns, event="element_click", data={})
    assert hundred.chosen == [98]
