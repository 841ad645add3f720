"""A pane keeps every method's settings and shows what there is to read off a map."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import nni_widgets as nni
from nni_widgets.engine.methods import as_method
from nni_widgets.pictures import palette_png, scale_of
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.panes import INPUT, Pane
from tests.widgets.user import chooses, sets, the


@pytest.fixture
def pane():
    panes = []

    def make(*methods, method=None):
        told = []
        offered = methods or tuple(kind() for kind in nni.METHODS)
        pane = Pane(offered, method or offered[0], lambda: told.append(pane.method), told.append)
        pane.told = told
        panes.append(pane)
        return pane

    yield make
    for each in panes:
        close_all(each.view)
        close_all(each.controls)


def picker(pane):
    return the(pane.controls, "nn-method")


def shown(pane):
    return np.asarray(Image.open(io.BytesIO(the(pane.view, "nn-heatmap").value)).convert("RGB"))


def test_every_method_is_offered_and_keeps_its_settings(pane):
    shown = pane()
    chooses(picker(shown), "SmoothGrad")
    sets(the(shown.controls, "nn-n_samples-field"), value=5)
    chooses(picker(shown), "Saliency")
    chooses(picker(shown), "SmoothGrad")
    assert shown.told == [
        nni.SmoothGrad(),
        nni.SmoothGrad(n_samples=5),
        nni.Saliency(),
        nni.SmoothGrad(n_samples=5),
    ]


def test_reset_forgets_the_settings(pane):
    shown = pane(method=nni.SmoothGrad(n_samples=7))
    sets(the(shown.controls, "nn-n_samples-field"), value=5)
    chooses(picker(shown), "Saliency")
    shown.told.clear()
    shown.reset()
    assert (shown.method, shown.told) == (nni.SmoothGrad(n_samples=7), [])
    assert the(shown.controls, "nn-n_samples-field").value == 7


def test_reset_forgets_the_settings_of_rules_that_were_left_for_others(pane):
    shown = pane(nni.LRP(), nni.Saliency())
    rules = the(shown.controls, "nn-rules")
    chooses(rules, "EpsilonPlus")
    sets(the(shown.controls, "nn-epsilon-field"), value=2.0)
    shown.reset()
    chooses(the(shown.controls, "nn-rules"), "EpsilonPlus")
    assert shown.method == nni.LRP(nni.EpsilonPlus())


def test_methods_that_share_a_name_are_numbered(pane):
    def mine(model, x, target):
        return x

    shown = pane(nni.SmoothGrad(), nni.SmoothGrad(of=nni.GuidedBackprop()), as_method(mine))
    assert picker(shown).options == ("SmoothGrad", "SmoothGrad (2)", "mine")
    chooses(picker(shown), "SmoothGrad (2)")
    sets(the(shown.controls, "nn-seed-field"), value=3)
    assert shown.method == nni.SmoothGrad(of=nni.GuidedBackprop(), seed=3)
    chooses(picker(shown), "SmoothGrad")
    assert shown.method == nni.SmoothGrad()


def test_a_method_from_code_takes_its_place_or_is_added(pane):
    shown = pane(nni.Saliency())
    shown.set(nni.SmoothGrad(n_samples=3))
    assert picker(shown).options == ("Saliency", "SmoothGrad")
    shown.set(nni.SmoothGrad(n_samples=4))
    assert picker(shown).options == ("Saliency", "SmoothGrad")
    assert (picker(shown).value, shown.told) == ("SmoothGrad", [])


def test_only_lrp_has_a_rule_table(pane):
    shown = pane()
    assert the(shown.controls, "nn-table").layout.display == "flex"
    chooses(picker(shown), "Saliency")
    assert the(shown.controls, "nn-table").layout.display == "none"


def test_a_changed_row_makes_a_table_of_your_own(pane, cnn, digits):
    shown = pane()
    shown.show(nni.explain(cnn, digits[:1]), None, INPUT, 0.0)
    chooses(the(shown.controls, "nn-rule-conv2"), "ZPlus")
    (method,) = shown.told
    assert dict(method.rules.pairs())["conv2"] == nni.ZPlus()
    assert the(shown.controls, "nn-rules").label == "own table"


def test_sums_of_a_superseded_request_do_not_undo_what_the_user_set(pane, cnn, digits):
    shown = pane()
    first = nni.explain(cnn, digits[:1])
    shown.show(first, None, INPUT, 0.0)
    chooses(the(shown.controls, "nn-rule-conv2"), "ZPlus")
    shown.show(first, None, INPUT, 0.0)
    assert the(shown.controls, "nn-rule-conv2").value == nni.ZPlus
    chooses(picker(shown), "Saliency")
    shown.show(first, None, INPUT, 0.0)
    assert shown.method == nni.Saliency()


def test_the_picture_is_the_heatmap_on_its_scale(pane, cnn, digits):
    made = nni.explain(cnn, digits[:1])
    shown_pane = pane()
    shown_pane.show(made, None, INPUT, 0.0)
    expected = palette_png(made.heatmap(), made.scale_for(made.heatmap()))
    assert the(shown_pane.view, "nn-heatmap").value == expected
    limit = made.scale_for(made.heatmap()).limit
    ends = f"<small>-{limit:.2g}</small><small>0</small><small>+{limit:.2g}</small>"
    assert the(shown_pane.view, "nn-ends").value == ends
    assert "ΣR =" in the(shown_pane.view, "nn-sum").value


def test_an_unsigned_scale_begins_at_zero(pane, cnn, digits):
    shown_pane = pane()
    made = nni.explain(cnn, digits[:1], nni.Saliency())
    shown_pane.show(made, None, INPUT, 0.0)
    assert the(shown_pane.view, "nn-ends").value.startswith("<small>0</small><small>+")
    assert "means nothing" in the(shown_pane.view, "nn-sum").value


def test_a_layer_and_an_overlay(pane, cnn, digits):
    shown_pane, made = pane(), nni.explain(cnn, digits[:1])
    shown_pane.show(made, None, "conv2", 0.0)
    assert shown(shown_pane).shape == (*made.layer_map("conv2").shape, 3)
    shown_pane.show(made, None, "conv2", 0.5)
    assert shown(shown_pane).shape == (28, 28, 3)
    shown_pane.show(made, None, "fc2", 0.0)
    assert shown(shown_pane).shape == (1, 10, 3)


def test_hover_reads_pixel_value_and_share(pane, cnn, digits):
    shown_pane, made = pane(), nni.explain(cnn, digits[:1])
    hint = the(shown_pane.view, "nn-hover").value
    shown_pane.hover(0.5, 0.5)
    assert the(shown_pane.view, "nn-hover").value == hint
    shown_pane.show(made, None, INPUT, 0.0)
    row, column = divmod(int(made.heatmap().argmax()), 28)
    shown_pane.hover((column + 0.5) / 28, (row + 0.5) / 28)
    value, total = float(made.heatmap().max()), float(made.heatmap().sum())
    words = f"pixel ({column}, {row}): {value:+.4g}, {100 * value / total:.1f} % of the sum"
    assert words in the(shown_pane.view, "nn-hover").value
    shown_pane.hover(1.0, -0.1)
    assert words in the(shown_pane.view, "nn-hover").value


def test_what_was_read_follows_the_picture(pane, cnn, digits):
    shown_pane = pane()
    for target in (3, 7):
        made = nni.explain(cnn, digits[:1], nni.LRP(), target)
        shown_pane.show(made, None, INPUT, 0.0)
        if target == 3:
            shown_pane.hover(0.5, 0.5)
        assert f"{float(made.heatmap()[14, 14]):+.4g}" in the(shown_pane.view, "nn-hover").value
    shown_pane.clear()
    assert "point at a pixel" in the(shown_pane.view, "nn-hover").value


def test_hover_tells_a_share_only_of_what_adds_up(pane, cnn, digits):
    shown_pane, made = pane(), nni.explain(cnn, digits[:1], nni.GradCAM())
    shown_pane.show(made, None, INPUT, 0.0)
    shown_pane.hover(0.5, 0.5)
    value = float(made.heatmap()[14, 14])
    assert the(shown_pane.view, "nn-hover").value == f"<small>pixel (14, 14): {value:+.4g}</small>"
    shown_pane.show(nni.explain(cnn, digits[:1]), None, INPUT, 0.0)
    shown_pane.put(torch.ones(2, 2), scale_of(torch.ones(2, 2)), "no explanation")
    shown_pane.hover(0.5, 0.5)
    assert the(shown_pane.view, "nn-hover").value == "<small>pixel (1, 1): +1</small>"


def test_hover_tells_no_negative_zero(pane, cnn, digits):
    shown_pane, made = pane(), nni.explain(cnn, digits[:1])
    for little, words in ((-0.0, "+0, 0.0 %"), (-1e-6, "-1e-06, 0.0 %")):
        values = torch.tensor([[little, 1.0]])
        shown_pane.paint(made, values)
        shown_pane.hover(0.0, 0.5)
        assert f"pixel (0, 0): {words} of the sum" in the(shown_pane.view, "nn-hover").value


def test_a_vector_is_a_strip(pane):
    model = torch.nn.Linear(5, 3).eval()
    shown_pane = pane()
    shown_pane.show(nni.explain(model, torch.rand(1, 5)), None, INPUT, 0.5)
    assert shown(shown_pane).shape == (1, 5, 3)
