"""The Clever Hans explorer: its groups are the engine's, and a wiped mark changes the answer."""

import copy
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures.boxes import Box, share_inside
from nni_widgets.pictures.heatmap import scale_of
from nni_widgets.pictures.render import palette_png, picture_png
from nni_widgets.widgets.explorers.hans import HansExplorer, explore_hans
from nni_widgets.widgets.explorers.hans.layout import layout
from nni_widgets.widgets.explorers.hans.study import Collection, box_around
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

COUNT = 40


@pytest.fixture(scope="module")
def hans():
    return nni.models.load("digits-hans")


@pytest.fixture(scope="module")
def data():
    return nni.data.hans()


@pytest.fixture(scope="module")
def eights(data):
    return (data.labels == 8).nonzero().flatten()[:COUNT]


@pytest.fixture
def explorer(opened):
    return opened(explore_hans(n_pictures=COUNT))


@pytest.fixture
def small(data):
    """30 marked 8s and 30 without mark, twelve 3s, and where the mark is or would be."""
    eights, threes = ((data.labels == k).nonzero().flatten()[:60] for k in (8, 3))
    plain = nni.data.hans(marked="none")[eights[30:]][0]
    x = torch.cat([data[eights[:30]][0], plain, data[threes[:12]][0]])
    y = torch.tensor([8] * 60 + [3] * 12)
    return x, y, torch.cat([data.boxes[eights], data.boxes[threes[:12]]])


def relevance(model, x, target):
    return nni.LRP()(model, x, target)[:, 0]


def clicks_point(explorer, group, index):
    sends(the(explorer, "nn-group-plot").marks[1 + group], event="element_click",
          data={"index": index})  # fmt: skip


def test_its_maps_and_groups_are_those_of_the_engine(explorer, hans, data, eights):
    found = explorer.found
    expected = relevance(hans, data[eights][0], 8)
    torch.testing.assert_close(found.maps.values, expected)
    suggested = nni.clusters(found.maps.values[:, None], 1).eigengap
    assert found.maps.suggested == min(suggested, 9)
    groups = nni.clusters(found.maps.values[:, None], found.maps.suggested)
    assert torch.equal(found.groups.labels, groups.labels)
    assert torch.equal(found.maps.numbers, eights)
    assert found.boxes == tuple(Box(*row) for row in data.boxes[eights].tolist())


def test_each_group_of_marked_eights_has_the_mark_at_one_place(opened, data):
    explorer = opened(explore_hans())
    found, corners = explorer.found, data.boxes[(data.labels == 8).nonzero().flatten()[:100], :2]
    assert len(found.groups.means) == 9
    for group in range(9):
        assert len(corners[found.groups.labels == group].unique(dim=0)) == 1
    assert "class 8: 100 pictures in 9 groups of 18, 13" in explorer.digest()


def test_the_mean_map_is_the_mean_of_the_group(explorer):
    explorer.group = 1
    found = explorer.drain().found
    members = (found.groups.labels == 1).nonzero().flatten()
    assert found.members == tuple(members.tolist())
    mean = found.maps.values[members].mean(0)
    assert the(explorer, "nn-mean-map").value == palette_png(mean, scale_of(mean))
    shares = [share_inside(found.maps.values[k], found.boxes[k]) for k in members]
    assert found.share(found.members) == pytest.approx(np.mean(shares))
    assert f"group 1: {len(members)} of {len(members)} are called 8" in explorer.digest()


def test_wiping_the_mark_changes_the_answer(explorer, hans, data, eights):
    top, left, bottom, right = data.boxes[eights[0]].tolist()
    x, _ = data[eights[:1]]
    wiped = x.clone()
    wiped[:, :, top:bottom, left:right] = 0
    assert not np.any(the(explorer, "nn-scores").marks[0].y[1]), "nothing is changed yet"
    assert explorer._maps[2].view.layout.visibility == "hidden"
    sets(the(explorer, "nn-change"), index=1)
    found = explorer.drain().found
    assert explorer.change == "wiped"
    assert torch.equal(found.pair.x, torch.cat([x, wiped]))
    probabilities = torch.cat([hans(x), hans(wiped)]).softmax(1).detach()
    torch.testing.assert_close(found.pair.probabilities.float(), probabilities)
    bars = the(explorer, "nn-scores").marks[0]
    np.testing.assert_allclose(bars.y, probabilities, atol=1e-6)
    torch.testing.assert_close(found.pair.heatmap(1), relevance(hans, wiped, 8)[0])
    assert the(explorer, "nn-changed").value == picture_png(wiped[0])
    assert f"{COUNT} of {COUNT} are called 8; with the box wiped, 0 of {COUNT}" in repr(explorer)
    assert explorer._maps[2].view.layout.visibility is None
    assert the(explorer, "nn-after-map").value != the(explorer, "nn-before-map").value


def test_every_picture_of_the_group_is_changed_in_its_own_box(explorer, hans, data):
    explorer.label = 3
    explorer.change = "marked"
    threes = (data.labels == 3).nonzero().flatten()[:COUNT]
    marked = nni.data.hans(marked="all")[threes][0]
    kept = int((hans(marked).argmax(1) == 3).sum())
    assert explorer.drain().found.kept == kept
    assert 0 < kept < COUNT


def test_a_mark_makes_other_digits_an_eight(explorer):
    chooses(the(explorer, "nn-class"), "3")
    sets(the(explorer, "nn-change"), index=2)
    explorer.target = 8
    digest = explorer.digest()
    assert "picture 0 (class 3): 3 (0.97); box marked: 8 (1.00)" in digest
    before, after = (share_inside(explorer.found.pair.heatmap(k), explorer.found.box)
                     for k in (0, 1))  # fmt: skip
    assert before < 0.1 < 0.4 < after


def test_a_class_is_chosen_and_its_first_picture(explorer, data):
    explorer.picture = 5
    chooses(the(explorer, "nn-class"), "2")
    found = explorer.drain().found
    assert (explorer.label, explorer.picture, explorer.group) == (2, 0, None)
    assert (data.labels[found.maps.numbers] == 2).all()
    assert found.pair.target_names == ("2", "2")


def test_a_bar_or_the_drop_down_chooses_what_is_explained(explorer, hans, data, eights):
    clicks_bar(explorer, 3)
    assert explorer.drain().target == 3
    x, _ = data[eights]
    torch.testing.assert_close(explorer.found.maps.values, relevance(hans, x, 3))
    chooses(the(explorer, "nn-explain"), "their own class")
    assert explorer.drain().target is None
    assert "target 8" in explorer.digest()
    explorer.target = "5"
    assert explorer.digest().startswith("nni.LRP(), target 5\n")


def test_a_point_chooses_its_picture_and_its_group(explorer):
    found = explorer.found
    places = (found.groups.labels == 2).nonzero().flatten().tolist()
    clicks_point(explorer, 2, 1)
    assert (explorer.drain().group, explorer.picture) == (2, places[1])
    assert the(explorer, "nn-group").label == f"group 2: {len(places)} pictures"
    ring, *marks = the(explorer, "nn-group-plot").marks
    assert (ring.x[0], ring.y[0]) == (marks[2].x[1], marks[2].y[1])
    assert marks[2].opacities == [1.0]
    assert marks[0].opacities == [0.25]
    chooses(the(explorer, "nn-group"), "all pictures")
    assert (explorer.drain().group, explorer.picture) == (None, places[1])


def test_every_point_is_a_map_in_the_colour_of_its_group(explorer):
    found = explorer.found
    _, *marks = the(explorer, "nn-group-plot").marks
    for group, mark in enumerate(marks):
        at = found.layout[found.groups.labels == group].numpy()
        np.testing.assert_array_equal(np.stack([mark.x, mark.y], 1), at)
    used = marks[: len(found.groups.means)]
    assert len({(mark.marker, *mark.colors) for mark in used}) == len(used)


def test_pictures_of_a_group_are_stepped_through(explorer):
    chooses(the(explorer, "nn-group"), the(explorer, "nn-group").options[1][0])
    members = explorer.drain().found.members
    assert explorer.picture == members[0]
    sets(the(explorer, "nn-picture"), value=2)
    assert explorer.drain().picture == members[2]
    frames = ("nn-group-pictures-frame", "nn-group-maps-frame")
    assert [tuple(the(explorer, frame).place) for frame in frames] == [(0, 2)] * 2
    sets(the(explorer, frames[0]), place=(0, 1))
    assert explorer.drain().picture == members[1]
    sets(the(explorer, frames[1]), place=(0, 0))
    assert explorer.drain().picture == members[0]
    assert the(explorer, "nn-picture").value == 0


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("nn-picture", ({"value": 1}, {"value": 2})),
        ("nn-group-maps-frame", ({"place": (0, 1)}, {"place": (0, 2)})),
    ],
)
def test_what_is_being_moved_is_left_to_the_user(explorer, monkeypatch, name, places):
    work, at_work, gate = explorer._work, threading.Event(), threading.Event()

    def slow(chosen):
        at_work.set()
        gate.wait(10)
        yield from work(chosen)

    monkeypatch.setattr(explorer, "_work", slow)
    moved, seen = the(explorer, name), []
    sets(moved, **places[0])
    assert at_work.wait(10)
    sets(moved, **places[1])
    moved.observe(lambda change: seen.append(change["new"]), list(places[1]))
    gate.set()
    assert explorer.drain().picture == 2
    assert not seen


def test_a_place_without_picture_chooses_nothing(explorer):
    explorer.group = 2
    members = explorer.drain().found.members
    columns = len(the(explorer, "nn-group-maps-frame").lefts)
    rows = len(the(explorer, "nn-group-maps-frame").tops)
    assert rows * columns > len(members), "else this tests nothing"
    sets(the(explorer, "nn-group-maps-frame"), place=(rows - 1, columns - 1))
    assert explorer.drain().picture == members[0]


def test_the_sheet_turns_its_page(explorer):
    title = found(explorer, "nn-title")[0]
    assert "1 to 25 of 40 pictures" in title.value
    first = the(explorer, "nn-group-pictures").value
    explorer.picture = 30
    assert the(explorer.drain(), "nn-group-pictures").value != first
    assert "26 to 40 of 40 pictures" in title.value
    assert tuple(the(explorer, "nn-group-pictures-frame").place) == (1, 1)


def test_the_box_is_dragged_typed_and_put_back(explorer):
    own = explorer.found.box
    assert own == Box(*(the(explorer, f"nn-box-{name}").value for name in Box._fields))
    sets(the(explorer, "nn-changed-frame"), place=(10, 12))
    assert explorer.drain().box == Box(10, 12, 13, 15)
    assert explorer.found.boxes == (Box(10, 12, 13, 15),) * COUNT
    sets(the(explorer, "nn-box-right"), value=20)
    assert explorer.drain().found.box == Box(10, 12, 13, 20)
    frame = the(explorer, "nn-changed-frame")
    assert (tuple(frame.size), tuple(frame.place)) == ((3, 8), (10, 12))
    clicks(explorer, "nn-box-back")
    assert explorer.drain().box is None
    assert explorer.found.box == own


def test_a_wrong_box_is_refused_in_place(explorer):
    digest = explorer.digest()
    sets(the(explorer, "nn-box-bottom"), value=99)
    assert "HansExplorer: a box must be at least one pixel of a picture of 28 × 28" in repr(
        explorer
    )
    assert explorer.box is None
    sets(the(explorer, "nn-picture"), value=1)
    sets(the(explorer, "nn-picture"), value=0)
    assert explorer.digest() == digest
    assert the(explorer, "nn-box-bottom").value == explorer.found.box.bottom


def test_a_box_is_wiped_with_the_mean(explorer):
    explorer.change = "wiped"
    chooses(the(explorer, "nn-fill"), "mean")
    x, wiped = explorer.drain().found.pair.x
    top, left, bottom, right = explorer.found.box
    assert float(wiped[0, top, left]) == pytest.approx(float(x.mean()))
    assert (wiped[:, top:bottom, left:right] == wiped[0, top, left]).all()


def test_colours_are_wiped_channel_by_channel():
    x = torch.rand(2, 3, 8, 8)
    pictures = Collection(x, None, (), (0.0, -1.0, -2.0), (1.0, 2.0, 3.0))
    boxes = (Box(0, 0, 2, 2), Box(3, 4, 5, 8))
    wiped = pictures.changed(x, boxes, "wiped", "black")
    assert wiped[1, :, 3, 4].tolist() == [0.0, -1.0, -2.0]
    assert torch.equal(wiped[0, :, 2:], x[0, :, 2:])
    assert pictures.changed(x, boxes, "marked", "mean")[0, :, 1, 1].tolist() == [1.0, 2.0, 3.0]
    mean = pictures.changed(x, boxes, "wiped", "mean")[0, :, 0, 0]
    torch.testing.assert_close(mean, x[0].flatten(1).mean(1))
    assert pictures.changed(x, boxes, "as it is", "black") is x


def test_parameters_of_the_study(explorer):
    sets(the(explorer, "nn-n_groups-field"), value=4)
    assert len(explorer.drain().found.groups.means) == 4
    assert "(the maps suggest 3)" in explorer.digest()
    assert [label for label, _ in the(explorer, "nn-group").options][-1].startswith("group 3: ")
    sets(the(explorer, "nn-n_pictures-field"), value=20)
    assert len(explorer.drain().found.maps.values) == 20
    chooses(the(explorer, "nn-method"), "Gradient × input")
    assert explorer.drain().study.method == nni.GradientTimesInput()
    assert explorer.found.pair.method == nni.GradientTimesInput()
    sets(the(explorer, "nn-n_pictures-field"), value=2)
    assert "Study: n_pictures must be a whole number from 3 to 1,000; got 2" in repr(explorer)


def test_other_groups_begin_with_all_pictures(explorer):
    explorer.group = 2
    explorer.picture = explorer.drain().found.members[1]
    kept = explorer.drain().picture
    explorer.set(fill="mean")
    assert explorer.drain().group == 2
    explorer.set(n_groups=2)
    assert (explorer.drain().group, explorer.picture) == (None, kept)


def test_without_labels_the_predicted_class_counts(opened, hans, small):
    x, _, boxes = small
    explorer = opened(explore_hans(hans, x, boxes=boxes, label=8))
    predicted = hans(x).argmax(1)
    assert torch.equal(explorer.found.maps.numbers, (predicted == 8).nonzero().flatten())
    assert explorer.found.called == len(explorer.found.maps.values)


def test_marked_and_plain_pictures_are_told_apart(opened, hans, small):
    x, y, boxes = small
    explorer = opened(explore_hans(hans, x, y, boxes=boxes, n_groups=2))
    assert explorer.label == 8
    labels = explorer.found.groups.labels
    assert len(labels[:30].unique()) == len(labels[30:].unique()) == 1
    explorer.group = int(labels[0])
    assert "30 of 30 are called 8" in explorer.digest()
    explorer.group = int(labels[-1])
    assert "0 of 30 are called 8" in explorer.digest()


def test_without_boxes_there_is_one_where_the_mean_map_is_largest(opened, hans, data, eights):
    explorer = opened(explore_hans(hans, data[eights][0], [8] * COUNT))
    found = explorer.found
    peak = int(found.maps.values.mean(0).argmax())
    assert found.boxes == (box_around((peak // 28, peak % 28), (28, 28)),) * COUNT
    assert found.box.has(peak // 28, peak % 28)
    assert found.share(found.members) > 0.4


@pytest.mark.parametrize("place", [(0, 0), (27, 27), (5, 20)])
def test_a_box_around_a_place_is_inside(place):
    top, left, bottom, right = box_around(place, (28, 28))
    assert 0 <= top <= place[0] < bottom <= 28
    assert 0 <= left <= place[1] < right <= 28
    assert (bottom - top, right - left) == (3, 3)


def test_any_model_and_any_pictures(opened):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 12)
    model, x = nn.Sequential(*layers).eval(), torch.rand(8, 3, 20, 30)
    explorer = opened(explore_hans(model, x, [0, 0, 0, 0, 0, 1, 1, 1], n_groups=2))
    assert explorer.label == 0
    explorer.change = "marked"
    assert "class 0: 5 pictures in 2 groups of" in explorer.digest()
    assert torch.equal(explorer.found.pair.x[1, :, 0, 0], x[0, :, 0, 0])
    assert len(the(explorer, "nn-scores").marks[0].x) == 10
    assert float(explorer.found.pair.x[1].max()) == pytest.approx(float(x.max()))


def test_of_given_pictures_it_begins_with_the_class_that_has_most(opened, hans, small):
    x, _, _ = small
    labels = [0] + [8] * 2 + [5] * (len(x) - 3)
    explorer = opened(explore_hans(hans, x, labels))
    assert explorer.label == 5
    assert explorer.digest().startswith("nni.LRP(), target 5")


@pytest.mark.parametrize(("count", "slanted"), [(10, False), (200, True)])
def test_names_of_classes_that_would_overlap_are_slanted(opened, count, slanted):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, count)).eval()
    explorer = opened(explore_hans(model, torch.rand(4, 1, 8, 8), [0] * 4))
    names, _ = the(explorer, "nn-scores").axes
    assert (names.tick_rotate != 0) is slanted


def test_too_few_pictures_are_refused_in_place(opened, hans, small):
    x, y, boxes = small
    explorer = opened(explore_hans(hans, x[:62], y[:62], boxes=boxes[:62]))
    chooses(the(explorer, "nn-class"), "3")
    said = "the number of pictures of class 3 must be at least 3, for groups; got 2"
    assert said in explorer.digest()
    chooses(the(explorer, "nn-class"), "8")
    assert explorer.digest().startswith("nni.LRP(), target 8")


def test_a_method_that_cannot_is_said_in_place(opened, small):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x.flatten(1)[:, :4])

    x, _, _ = small
    explorer = opened(explore_hans(Odd().eval(), x, [0] * len(x)))
    assert "LRP" in explorer.digest()
    assert explorer._status.refused
    explorer.set(method=nni.Occlusion(window=14, stride=14))
    assert explorer.digest().startswith("nni.Occlusion(")


def test_reset(explorer):
    begun = explorer.digest()
    explorer.label = 4
    explorer.change = "marked"
    explorer.box = (3, 3, 9, 9)
    explorer.target = 8
    explorer.set(n_groups=2, fill="mean")
    explorer.group = 1
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert the(explorer, "nn-class").label == "8"
    assert the(explorer, "nn-explain").label == "their own class"
    assert the(explorer, "nn-change").index == 0


def test_reset_forgets_the_settings_of_methods_left_for_another(explorer):
    chooses(the(explorer, "nn-method"), "Integrated gradients")
    sets(the(explorer.drain(), "nn-n_steps-field"), value=3)
    chooses(the(explorer.drain(), "nn-method"), "LRP (default)")
    clicks(explorer, "nn-reset")
    chooses(the(explorer.drain(), "nn-method"), "Integrated gradients")
    assert explorer.drain().study.method == nni.IntegratedGradients()


def test_copied_at_once_it_is_the_code_of_what_was_just_chosen(explorer):
    explorer.picture = 5
    explorer.drain()
    explorer.label = 3
    assert copied(explorer).endswith(f"nni.explore_hans(label=3, n_pictures={COUNT})")
    assert (explorer.picture, explorer.drain().picture) == (0, 0)


def test_copied_code_opens_the_same(opened, explorer):
    explorer.label = 3
    explorer.target = 8
    explorer.set(n_groups=3)
    explorer.group = 1
    explorer.picture = explorer.drain().found.members[2]
    explorer.box = (2, 2, 6, 6)
    explorer.change = "marked"
    digest = explorer.digest()
    cell = copied(explorer)
    assert f"nni.explore_hans(label=3, target=8, n_pictures={COUNT}, n_groups=3)" in cell
    again = opened(result_of(cell))
    assert again.digest() == digest
    assert again._pngs(again.found) == explorer._pngs(explorer.found)


def test_numbers_of_numpy_and_torch_are_copied_as_plain_ones(opened, explorer, data):
    explorer.group = np.int64(1)
    explorer.picture = np.int64(explorer.drain().found.members[1])
    explorer.box = data.boxes[3]
    explorer.drain()
    assert opened(result_of(copied(explorer))).digest() == explorer.digest()
    explorer.box = data.boxes[3].numpy()
    assert explorer.box == Box(*data.boxes[3].tolist())


def test_copied_code_names_what_was_given(opened, hans, small):
    x, y, boxes = small
    explorer = opened(explore_hans(hans, x, y, boxes=boxes, method=nni.Gradient()))
    cell = copied(explorer)
    call = (
        "nni.explore_hans(model, images=x, labels=y, boxes=boxes, label=8, method=nni.Gradient())"
    )
    assert cell == f"import nni_widgets as nni\n\n{call}"
    again = opened(result_of(cell, model=hans, x=x, y=y, boxes=boxes))
    assert again.digest() == explorer.digest()


def test_files(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    explorer.change = "wiped"
    explorer.drain()
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    picture = Image.open(io.BytesIO(saved["hans.png"]))
    assert picture.text["Explanation"] == explorer.digest()
    with np.load(io.BytesIO(saved["hans.npz"])) as numbers:
        np.testing.assert_array_equal(numbers["maps"], explorer.found.maps.values)
        np.testing.assert_array_equal(numbers["groups"], explorer.found.groups.labels)
        assert numbers["x"].shape == (2, 1, 28, 28)


def test_what_a_saved_notebook_keeps(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.digest()
    assert Image.open(io.BytesIO(bundle["image/png"])).width > 500


def test_pixels_are_read(explorer):
    sends(explorer._page, type="hover", pane=0, x=2.5 / 28, y=1.5 / 28)
    value = float(explorer.found.mean[1, 2])
    assert f"pixel (2, 1): {value:+.4g}" in explorer._maps[0]._hover.value


def test_what_is_known_is_not_computed_again(explorer, monkeypatch):
    calls = []
    explained = nni.LRP._steps

    def counted(self, model, x, target, layers):
        calls.append(len(x))
        return explained(self, model, x, target, layers)

    monkeypatch.setattr(nni.LRP, "_steps", counted)
    explorer.change = "wiped"
    explorer.drain()
    explorer.set(n_groups=2)
    explorer.drain()
    assert calls == [2], "one picture before and after"


@pytest.mark.parametrize("labelled", [True, False])
def test_a_model_that_is_trained_on_is_asked_again(opened, hans, small, labelled):
    x, y, boxes = small
    model, known = copy.deepcopy(hans), y if labelled else None
    explorer = opened(explore_hans(model, x, known, boxes=boxes, label=8))
    with torch.no_grad():
        next(model.parameters()).mul_(-1)
        list(model.parameters())[-1][8] += 1
    explorer.change = "wiped"
    again = opened(explore_hans(model, x, known, boxes=boxes, label=8))
    again.change = "wiped"
    assert explorer.digest() == again.digest()


def test_the_first_maps_are_seen_before_all_are_there(explorer):
    explorer.label = 0
    explorer.drain()
    steps = list(explorer._work.__class__(
        explorer._about.model, explorer._about.pictures, explorer._about.classes
    )(explorer._state))  # fmt: skip
    counts = [len(step.value.maps.values) for step in steps]
    assert counts == [16, COUNT, COUNT]
    assert [step.value.groups is not None for step in steps] == [False, True, True]
    assert [step.value.layout is not None for step in steps] == [False, False, True]
    explorer._paint(steps[0].value)
    assert "the groups are known when" in the(explorer, "nn-groups-legend").value
    assert [label for label, _ in the(explorer, "nn-group").options] == ["all pictures"]


def test_a_method_in_steps_is_shown_at_every_step(hans, data, eights):
    method = nni.IntegratedGradients(n_steps=32)
    x, y = data[eights[:5]]
    explorer = explore_hans(hans, x, y, method=method)
    steps = list(explorer.drain()._work.__class__(
        hans, explorer._about.pictures, explorer._about.classes
    )(explorer._state))  # fmt: skip
    explorer.close()
    assert len(steps) > 2
    assert [step.value.maps.finished for step in steps[-3:]] == [False, True, True]
    torch.testing.assert_close(steps[-1].value.maps.values, method(hans, x, 8)[:, 0])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("label", 10, "label must be a class: a name, or a number from 0 to 9; got 10"),
        ("target", "ten", "target must be a class"),
        ("group", 9, "group must be a group from 0 to 2, or None for all pictures; got 9"),
        ("picture", COUNT, f"picture must be a whole number from 0 to {COUNT - 1}"),
        ("picture", True, "picture must be a whole number"),
        ("picture", 1.0, "picture must be a whole number"),
        ("group", 1.0, "group must be a group from 0 to 2, or None for all pictures; got 1.0"),
        ("box", (3, 3, 3, 9), "a box must be at least one pixel"),
        ("box", (1, 2), "boxes must be whole numbers"),
        ("change", "gone", 'change must be "as it is" or "wiped" or "marked"; got \'gone\''),
    ],
)
def test_settings_that_are_not_legal(explorer, name, value, said):
    with pytest.raises(ValueError, match="HansExplorer: ") as refusal:
        setattr(explorer, name, value)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"images": torch.rand(3, 28)}, "images must be a batch of pictures"),
        ({"images": torch.rand(0, 1, 28, 28)}, "images must be a batch of pictures"),
        ({"labels": [1]}, "labels must be given with images"),
        ({"images": torch.rand(3, 1, 28, 28), "labels": [1]}, "labels must be one class per"),
        ({"images": torch.rand(3, 1, 28, 28), "boxes": [(0, 0, 1, 1)]}, "boxes must be"),
        ({"images": torch.full((3, 1, 28, 28), torch.nan)}, "x must be finite numbers"),
        ({"model": nn.Flatten().eval()}, "images must be given for a model of other pictures"),
        ({"colour": 3}, "a parameter must be one of method, n_pictures, n_groups, fill"),
        ({"n_groups": 10}, "n_groups must be a whole number from 0 to 9"),
    ],
)
def test_what_cannot_be_opened(arguments, said):
    with pytest.raises(ValueError, match=said):
        explore_hans(**arguments)


@pytest.mark.parametrize("wrong", [10, -1])
def test_labels_that_are_no_classes_are_refused(hans, wrong):
    said = f"labels must be classes of the model, from 0 to 9; got {wrong}"
    with pytest.raises(ValueError, match=said):
        explore_hans(hans, torch.rand(3, 1, 28, 28), [1, 1, wrong])


def test_a_model_in_training_mode_is_refused_and_learns_nothing():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(ValueError, match="the model must be in evaluation mode"):
        explore_hans(model, torch.rand(4, 1, 4, 4), [0] * 4)
    assert torch.equal(model[0].running_mean, torch.zeros(1))


def test_alike_maps_lie_close():
    torch.manual_seed(0)
    base = torch.rand(3, 10, 10)
    maps = torch.cat([base[[k]] + 0.05 * torch.rand(9, 10, 10) for k in range(3)])
    at = layout(maps)
    assert at.shape == (27, 2)
    assert at.min() == 0
    assert at.max() == 1
    assert torch.equal(at, layout(maps)), "there is no chance in it"
    distance = torch.cdist(at, at)
    same = torch.arange(27)[:, None] // 9 == torch.arange(27) // 9
    assert distance[same].max() < distance[~same].min()


def test_maps_stay_on_their_device():
    assert layout(torch.rand(5, 4, 4, device="meta")).device.type == "meta"


@pytest.mark.parametrize("maps", [torch.zeros(4, 5, 5), torch.ones(3, 2, 2), torch.rand(3, 1, 1)])
def test_maps_that_are_the_same_have_a_place(maps):
    assert layout(maps).isfinite().all()


def test_nothing_of_the_model_changes(hans):
    before = {name: value.clone() for name, value in hans.state_dict().items()}
    random = torch.get_rng_state()
    explorer = explore_hans(hans, n_pictures=10).drain()
    explorer.change = "wiped"
    explorer.drain().close()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in hans.state_dict().items())
    assert not any(module._forward_hooks for module in hans.modules())
    assert not hans.training


def test_closing_leaves_nothing_behind(hans):
    explore_hans(hans, n_pictures=5).drain().close()
    widgets, threads = registered(), threading.active_count()
    for _ in range(3):
        explore_hans(hans, n_pictures=5).drain().close()
    assert (registered(), threading.active_count()) == (widgets, threads)


def test_it_is_exported():
    assert nni.explore_hans is explore_hans
    assert nni.HansExplorer is HansExplorer
