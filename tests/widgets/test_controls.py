"""Every declared parameter gets a control that says, and keeps, what is legal."""

import pytest
import torch

import nni_widgets as nni
from nni_widgets.engine.composites import PRESETS, RULES
from nni_widgets.params import Declared, param, params
from nni_widgets.widgets.parts.classes import ClassPicker
from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.controls import Dials
from nni_widgets.widgets.parts.panel import ParameterPanel, title
from tests.widgets.user import chooses, found, registered, sets, the


class Sample(Declared):
    share: float = param(0.25, "a share", low=0, high=2, slider=(0, 1))
    size: float = param(0.01, "a size", low=0, slider=(1e-6, 10), log=True)
    count: int = param(32, "a count", low=1, high=10_000, slider=(1, 256), log=True)
    way: str = param("up", "a way", choices=("up", "down"))
    loud: bool = param(False, "whether it is loud")


class Panel(ParameterPanel):
    """A panel that remembers what it said."""

    def __init__(self, value):
        self.said, self.errors = [], []
        super().__init__(value, self.said.append, self.errors.append)


@pytest.fixture
def shown():
    panels = []

    def show(value):
        panels.append(Panel(value))
        return panels[-1]

    yield show
    for panel in panels:
        close_all(panel.box)


@pytest.mark.parametrize("kind", [*nni.METHODS, *PRESETS, *RULES])
def test_each_declaration_becomes_a_control_with_a_name(kind, shown):
    panel = shown(kind())
    for declaration in params(kind):
        if declaration.kind == "value":
            continue
        (control,) = found(panel.box, f"nn-{declaration.name}")[:1]
        assert control.description == declaration.name.replace("_", " ")
        if declaration.kind in ("int", "float"):
            assert declaration.legal in control.tooltip
            assert declaration.doc in control.tooltip


def test_every_control_marks_its_default(shown):
    panel = shown(Sample())
    marks = [box.children[2].value for box in found(panel.box, "nn-number")]
    assert [mark.removeprefix("<small>") for mark in marks] == [
        "default 0.25</small>",
        "default 0.01</small>",
        "default 32</small>",
    ]
    assert the(panel.box, "nn-way")._options_labels == ("up (default)", "down")
    rules = the(shown(nni.LRP()).box, "nn-rules")
    assert rules._options_labels[0] == "EpsilonGammaBox (default)"


def test_a_slider_and_its_field_are_one_value(shown):
    panel = shown(Sample())
    slider, field = the(panel.box, "nn-share"), the(panel.box, "nn-share-field")
    sets(slider, value=0.5)
    assert (panel.value.share, field.value) == (0.5, 0.5)
    sets(field, value=0.75)
    assert (panel.value.share, slider.value) == (0.75, 0.75)
    assert panel.said == [Sample(share=0.5), Sample(share=0.75)]


def test_the_field_takes_every_legal_number_and_the_slider_stays_in_its_range(shown):
    panel = shown(Sample())
    sets(the(panel.box, "nn-share-field"), value=1.75)
    assert panel.value.share == 1.75
    assert the(panel.box, "nn-share").value == 1
    sets(the(panel.box, "nn-size-field"), value=0)
    assert panel.value.size == 0
    assert the(panel.box, "nn-size").value == pytest.approx(1e-6)


def test_a_logarithmic_slider_gives_short_numbers(shown):
    panel = shown(Sample())
    sets(the(panel.box, "nn-size"), value=10 ** (-2 + 0.1))
    assert panel.value.size == 0.013
    sets(the(panel.box, "nn-count"), value=2**6)
    assert panel.value.count == 64


def test_the_page_moving_a_slider_to_the_step_it_stands_on_is_no_change(shown):
    panel = shown(Sample(size=0.0123, count=50))
    sets(the(panel.box, "nn-size"), value=10**-1.9)
    sets(the(panel.box, "nn-count"), value=2**5.75)
    assert panel.said == []
    assert panel.value == Sample(size=0.0123, count=50)


def test_an_illegal_number_is_refused_and_stays_to_be_corrected(shown):
    panel = shown(Sample())
    field = the(panel.box, "nn-share-field")
    sets(field, value=3.0)
    assert [str(error) for error in panel.errors] == [
        "Sample: share must be a number from 0 to 2; got 3.0. Try 0.25."
    ]
    assert (panel.value.share, field.value, panel.said) == (0.25, 3.0, [])
    sets(field, value=0.5)
    assert panel.said == [Sample(share=0.5)]


def test_what_was_typed_gives_way_to_what_is_in_effect(shown):
    panel = shown(Sample())
    field = the(panel.box, "nn-share-field")
    sets(field, value=3.0)
    panel.errors[0].undo()
    assert (field.value, panel.said) == (0.25, [])


def test_a_class_that_does_not_exist_gives_way_to_the_chosen_one():
    errors = []
    picker = ClassPicker("Who", ("cat", "dog"), "dog", lambda: None, errors.append)
    field = the(picker.widget, "nn-class-typed")
    sets(field, value="cow")
    assert (field.value, picker.target, str(errors[0])[:12]) == ("cow", 1, "Who: target ")
    errors[0].undo()
    assert field.value == "dog"
    close_all(picker.widget)


def test_choices_and_yes_or_no(shown):
    panel = shown(Sample())
    chooses(the(panel.box, "nn-way"), "down")
    sets(the(panel.box, "nn-loud"), value=True)
    assert panel.said == [Sample(way="down"), Sample(way="down", loud=True)]


def test_showing_a_value_does_not_call_back(shown):
    panel = shown(Sample())
    panel.show(Sample(share=1.5, size=1.0, count=3, way="down", loud=True))
    assert panel.said == []
    assert the(panel.box, "nn-share-field").value == 1.5
    assert the(panel.box, "nn-loud").value is True


def test_a_part_keeps_the_settings_of_each_class(shown):
    panel = shown(nni.LRP())
    picker = the(panel.box, "nn-rules")
    sets(the(panel.box, "nn-gamma-field"), value=0.5)
    chooses(picker, "Uniform")
    assert panel.value == nni.LRP(nni.Uniform())
    chooses(picker, "EpsilonGammaBox (default)")
    assert panel.value == nni.LRP(nni.EpsilonGammaBox(gamma=0.5))
    assert the(panel.box, "nn-gamma-field").value == 0.5


def test_a_part_inside_a_part(shown):
    panel = shown(nni.LRP(nni.Uniform()))
    chooses(the(panel.box, "nn-rule"), title(nni.Gamma))
    sets(the(panel.box, "nn-gamma-field"), value=0.5)
    assert panel.value == nni.LRP(nni.Uniform(nni.Gamma(gamma=0.5)))


def test_a_tuple_has_no_slider_to_move(shown):
    panel = shown(nni.EpsilonGammaBox(low=(0.0, 0.1, 0.2)))
    assert the(panel.box, "nn-low").disabled
    low = next(row for row in found(panel.box, "nn-number") if found(row, "nn-low"))
    _, field, words = low.children
    assert (field.disabled, field.layout.display) == (True, "none")
    assert words.value == "<small>(0, 0.1, 0.2), default 0</small>"
    panel.show(nni.EpsilonGammaBox(low=-1.0))
    assert not the(panel.box, "nn-low").disabled
    assert (field.value, field.layout.display) == (-1.0, None)
    assert words.value == "<small>default 0</small>"


def test_a_tensor_is_told_by_its_shape(shown):
    panel = shown(nni.IntegratedGradients(baseline=torch.zeros(1, 28, 28)))
    rows = found(panel.box, "nn-number")
    assert rows[-1].children[2].value == "<small>a tensor of shape (1, 28, 28), default 0</small>"


def test_replaced_controls_are_closed(shown):
    panel = shown(nni.LRP())
    panel.show(nni.Saliency())
    before = registered()
    for _ in range(3):
        panel.show(nni.LRP())
        panel.show(nni.SmoothGrad())
        panel.show(nni.Saliency())
    assert registered() == before


def test_a_dial_stands_at_its_end_for_the_largest_number():
    told = []
    dials = Dials(["a"], "nn-dial", (-4.0, 4.0), lambda *moved: told.append(moved))
    sets(the(dials.widget, "nn-dial-0-field"), value=1e308)
    slider = the(dials.widget, "nn-dial-0")
    assert (told, slider.value) == ([(0, 1e308)], slider.max)
    close_all(dials.widget)
