"""The rule table tells what each layer did, and turns a changed row into a composite."""

import dataclasses

import pytest
import torch

import nni_widgets as nni
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.rule_table import RuleTable, edited
from tests.widgets.user import chooses, found, registered, sets, the

LABELS = ["fc2", "fc1", "conv3", "conv2", "conv1"]


@pytest.fixture
def table(cnn, digits):
    changed, errors = [], []
    table = RuleTable(changed.append, errors.append)
    table.changed, table.errors = changed, errors
    table.show(nni.explain(cnn, digits[:1]).result.layers)
    yield table
    close_all(table.box)


def test_one_row_per_layer_with_weights_from_the_output_down(table):
    assert [picker.description for picker in found(table.box, "nn-rule")] == LABELS
    rules = [nni.Epsilon, nni.Epsilon, nni.Gamma, nni.Gamma, nni.ZBox]
    assert [picker.value for picker in found(table.box, "nn-rule")] == rules


def test_the_engine_says_which_layers_have_weights(table, cnn, digits):
    layers = nni.explain(cnn, digits[:1]).result.layers
    table.show([dataclasses.replace(row, has_weights=row.kind == "relu") for row in layers])
    relus = [row.label for row in layers if row.kind == "relu"]
    assert [picker.description for picker in found(table.box, "nn-rule")] == relus != []


def test_the_bars_say_what_arrived_and_what_was_lost(table, cnn, digits):
    layers = {row.label: row for row in nni.explain(cnn, digits[:1]).flow()}
    for label, bar in zip(LABELS, found(table.box, "nn-conservation"), strict=True):
        assert f'role="img" aria-label="{label}: arrived {layers[label].arrived:+.2f}' in bar.value
    assert "lost: bias" in found(table.box, "nn-conservation")[0].value


def test_a_bar_tells_no_negative_zero_and_its_name_is_no_markup(table, cnn, digits):
    layers = nni.explain(cnn, digits[:1]).result.layers
    row = next(each for each in layers if each.has_weights)
    table.show([dataclasses.replace(row, label='a"b', arrived=torch.tensor([-0.001]))])
    (bar,) = found(table.box, "nn-conservation")
    assert 'aria-label="a&quot;b: arrived +0.00, ' in bar.value


def test_a_changed_rule_is_told_with_all_others(table):
    chooses(the(table.box, "nn-rule-conv2"), "ZPlus")
    (told,) = table.changed
    assert list(told) == LABELS
    assert told["conv2"] == nni.ZPlus()
    assert told["conv3"] == nni.Gamma(gamma=0.25)


def test_a_changed_number_too(table):
    (row,) = [box for box in table.box.children if box.children[0].description == "fc1"]
    sets(the(row, "nn-epsilon-field"), value=0.5)
    assert table.changed[-1]["fc1"] == nni.Epsilon(epsilon=0.5)
    sets(the(row, "nn-epsilon-field"), value=-1.0)
    assert "epsilon must be a number of at least 0; got -1.0" in str(table.errors[-1])
    assert len(table.changed) == 1


def test_other_rules_of_the_same_layers_change_the_rows_in_place(table, cnn, digits):
    rows = table.box.children
    rules = nni.LRP({":conv": nni.WSquare(), "*": nni.Epsilon(epsilon=1.0)})
    table.show(nni.explain(cnn, digits[:1], rules).result.layers)
    assert table.box.children == rows
    assert table.changed == []
    assert the(table.box, "nn-rule-conv1").value == nni.WSquare
    assert found(rows[0], "nn-epsilon-field")[0].value == 1.0


def test_rows_of_another_model_replace_these_and_leave_nothing_behind(table, digits):
    import torch

    before = registered()
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3)).eval()
    table.show(nni.explain(other, digits[:1]).result.layers)
    assert [picker.description for picker in found(table.box, "nn-rule")] == ["1"]
    assert registered() < before


def test_rules_that_cannot_be_edited_say_why():
    def refuse(_):
        raise ValueError("ZBox: low must be below high.")

    errors = []
    table = RuleTable(refuse, errors.append)
    weights = nni.models.load("digits-cnn"), nni.data.digits("test")[:1][0]
    table.show(nni.explain(*weights).result.layers)
    chooses(the(table.box, "nn-rule-conv2"), "ZPlus")
    assert [str(error) for error in errors] == ["ZBox: low must be below high."]
    close_all(table.box)


def test_an_edited_composite_keeps_what_the_rows_do_not_say():
    rows = {"conv1": nni.ZBox(), "fc1": nni.Epsilon()}
    composite = nni.Composite({"conv1": nni.Zero(), ":maxpool": nni.Pass(), "*": nni.Gamma()})
    assert edited(composite, rows) == nni.Composite({**rows, ":maxpool": nni.Pass()})
    assert edited(nni.EpsilonGammaBox(), rows) == nni.Composite(rows)


def test_long_names_have_room(table, digits):
    def room():
        return [picker.style.description_width for picker in found(table.box, "nn-rule")]

    assert room() == ["84px"] * len(LABELS)
    table.show(nni.explain(nni.models.load("digits-resnet"), digits[:1]).result.layers)
    (width,) = set(room())
    assert int(width.removesuffix("px")) >= 7 * len("block3.shortcut.conv")
