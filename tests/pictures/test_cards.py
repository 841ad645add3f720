"""Method cards say what the methods declare, for every method of the package."""

import pytest

import nni_widgets as nni
from nni_widgets.params import params
from nni_widgets.pictures.cards import card, overview


def test_the_overview_has_one_row_for_each_method_and_no_empty_cell():
    table = overview()
    assert [row[0] for row in table.rows] == [method.title for method in nni.METHODS]
    assert all(cell for row in table.rows for cell in row)


@pytest.mark.parametrize("method", nni.METHODS, ids=lambda method: method.__name__)
def test_a_card_tells_formula_parameters_and_source(method):
    told = dict(card(method).rows)
    assert {"formula", "question", "passes", "drawbacks", "source"} <= set(told)
    assert {declared.name for declared in params(method)} <= set(told)
    assert any(letter.isdigit() for letter in told["source"])


@pytest.mark.parametrize("metric", nni.METRICS, ids=lambda metric: metric.__name__)
def test_every_measure_costs_an_explanation_at_least(metric):
    assert dict(card(metric).rows)["passes"].startswith("1 R")


def test_a_card_in_words_and_as_a_table():
    told = card(nni.IntegratedGradients(n_steps=7))
    assert "  adds up to: f(x) − f(baseline)" in repr(told)
    assert repr(told).startswith("Integrated gradients\n  formula: R_i = ")
    assert told._repr_html_().count("<tr>") == len(told.rows) + 1
    assert "&#x27;nothing there&#x27;" in told._repr_html_()


def test_what_is_no_method_is_refused():
    with pytest.raises(ValueError, match=r"one of nni.METHODS or nni.METRICS; got 3"):
        card(3)


class WithoutCard(nni.Method):
    """A method whose author has written no card."""


@pytest.mark.parametrize("kind", [nni.Method, WithoutCard(), nni.Metric, "LRP"])
def test_what_has_no_card_is_refused(kind):
    for who, given in (("card", kind), ("overview", [kind])):
        with pytest.raises(ValueError, match=f"^{who}: its argument must be one of nni.METHODS or"):
            getattr(nni, who)(given)


@pytest.mark.parametrize("kind", [nni.LRP, nni.LRP(), 3])
def test_a_table_takes_a_sequence(kind):
    with pytest.raises(
        ValueError, match=r"^overview: .+ a sequence .+ Put a single one in brackets"
    ):
        overview(kind)


def test_measures_have_an_overview_of_their_own():
    table = overview(nni.METRICS)
    assert [row[0] for row in table.rows] == [measure.title for measure in nni.METRICS]
    assert all(cell for row in table.rows for cell in row)
    assert {row[2] for row in table.rows} == {"higher", "lower"}


@pytest.mark.parametrize("measure", nni.METRICS, ids=lambda measure: measure.__name__)
def test_the_card_of_a_measure_tells_direction_parameters_and_source(measure):
    told = dict(card(measure).rows)
    assert {"question", "better", "range", "passes", "drawbacks", "source"} <= set(told)
    assert {declared.name for declared in params(measure)} <= set(told)
    assert "Quantus" not in told["source"]


def test_methods_and_measures_do_not_go_into_one_table():
    with pytest.raises(ValueError, match="all methods or all measures; got both"):
        overview([nni.LRP, nni.Continuity])
