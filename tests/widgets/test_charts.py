"""Lines and their axis, and the bars of the relevance that flows."""

from dataclasses import replace

import numpy as np
import pytest

from nni_widgets.pictures import FlowRow
from nni_widgets.widgets.parts.charts import HANDED_ON, ClassBars, FlowChart, LineChart
from nni_widgets.widgets.parts.closing import close_all
from tests.widgets.user import sends


@pytest.fixture
def chart():
    made = LineChart(2, "nn-lines")
    yield made
    close_all(made.widget)


@pytest.mark.parametrize("low", [-7.3, -1e-4, 0.0, 2.0, 999.0])
@pytest.mark.parametrize("width", [1e-5, 0.03, 1.0, 1.99, 4.9, 12.4, 7e6])
def test_the_ticks_are_few_round_and_inside(chart, low, width):
    chart.show(np.array([0.0, 1.0]), np.array([[low, low], [low, low + width]]))
    ticks = chart.widget.axes[1].tick_values
    step = np.diff(ticks)
    assert 2 <= len(ticks) <= 6
    assert low - 1e-6 * width <= ticks[0]
    assert ticks[-1] <= low + width * (1 + 1e-6)
    digit = float(f"{step[0]:.0e}"[0])
    assert digit in (1, 2, 5)
    np.testing.assert_allclose(step, step[0], rtol=1e-6)


def test_a_flat_line_has_one_tick(chart):
    chart.show(np.array([0.0, 1.0]), np.full((2, 2), 3.0))
    assert chart.widget.axes[1].tick_values.tolist() == [3.0]


def test_a_given_scale_stays(chart):
    made = LineChart(1, "nn-lines", heights=(-1.0, 1.0))
    made.show(np.array([0.0, 1.0]), np.array([[0.1, 0.2]]))
    scale = made.widget.axes[1].scale
    assert (scale.min, scale.max) == (-1, 1)
    np.testing.assert_allclose(made.widget.axes[1].tick_values, [-1, -0.5, 0, 0.5, 1])
    close_all(made.widget)


def test_the_dot_and_an_empty_chart(chart):
    chart.point(0.5, 2.0)
    assert (chart.widget.marks[1].x, chart.widget.marks[1].y) == ([0.5], [2.0])
    chart.clear()
    assert len(chart.widget.marks[1].x) == 0
    assert not chart.widget.marks[0].y.any()


def tick(classes):
    made = ClassBars(classes, lambda _: None)
    bars, (names, _) = made.widget.marks[0], made.widget.axes
    known = list(bars.x), names.tick_rotate
    close_all(made.widget)
    return known


def test_names_of_classes_stand_upright_if_they_fit_and_slanted_if_not():
    assert tick(("cat", "dog")) == (["cat", "dog"], 0)
    assert tick(tuple("0123456789")) == (list("0123456789"), 0)
    names, slant = tick(("tench, Tinca tinca", "goldfish", *"abcd"))
    assert names == ["tench, Tinc…", "goldfish", *"abcd"]
    assert slant < 0


def test_classes_of_one_name_have_a_bar_each():
    names, _ = tick(("crane", "heron", "crane"))
    assert names == ["crane (0)", "heron", "crane (2)"]
    names, _ = tick(("a long name of one", "a long name of two", "another"))
    assert len(set(names)) == 3


@pytest.fixture
def flow():
    chosen = []
    made = FlowChart("nn-flow", chosen.append)
    made.chosen = chosen
    yield made
    close_all(made.widget)


ROWS = (
    FlowRow("fc", "linear", "Epsilon", arrived=5.0, lost={"bias": 1.0}, in_flight=4.0),
    FlowRow("conv", "conv2d", "Gamma", arrived=4.0, lost={"bias": -2.0, "box": 0.5}, in_flight=5.5),
)


def test_before_the_first_answer_there_is_room_for_a_bar(flow):
    margin, height = flow.widget.fig_margin, int(flow.widget.layout.height.removesuffix("px"))
    assert height > margin["top"] + margin["bottom"]


def test_a_bar_is_handed_on_and_lost_by_cause(flow):
    flow.show(ROWS, "conv")
    bars, rows = flow.widget.marks
    assert list(bars.x) == ["fc", "conv"]
    np.testing.assert_allclose(bars.y, [[4.0, 5.5], [1.0, -2.0], [0.0, 0.5]])
    assert bars.colors == [flow.colour(HANDED_ON), flow.colour("bias"), flow.colour("box")]
    assert (rows.base, list(rows.y)) == (-2.0, [6.0, 6.0])
    assert [opacity > 0 for opacity in rows.opacities] == [False, True]


def test_a_row_is_clicked(flow):
    flow.show(ROWS, "fc")
    for index in (1, 0, 2, None):
        sends(flow.widget.marks[1], event="element_click", data={"index": index})
    assert flow.chosen == ["conv", "fc"]


def test_a_flow_without_loss_and_an_empty_one(flow):
    flow.show([replace(ROWS[0], lost={})], "")
    np.testing.assert_allclose(flow.widget.marks[0].y, [[5.0]])
    flow.clear()
    assert not flow.widget.marks[0].y.any()
    sends(flow.widget.marks[1], event="element_click", data={"index": 0})
    assert flow.chosen == []


def test_long_labels_have_room(flow):
    flow.show(ROWS, "")
    narrow = flow.widget.fig_margin["left"]
    flow.show([replace(ROWS[0], label="block3.shortcut.conv")], "")
    assert flow.widget.fig_margin["left"] >= 6 * len("block3.shortcut.conv") > narrow
