"""Lines and their axis."""

import numpy as np
import pytest

from nni_widgets.widgets.charts import LineChart
from nni_widgets.widgets.controls import close_all


@pytest.fixture
def chart():
    made = LineChart(["a", "b"], "nn-lines")
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
    made = LineChart(["a"], "nn-lines", heights=(-1.0, 1.0))
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
