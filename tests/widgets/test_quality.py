"""The Quality explorer: pixels flipped by hand and by methods, maps of a picture that slides."""

import copy
import io
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures import picture_png
from nni_widgets.pictures.numbers import number
from nni_widgets.widgets.explorers.quality.slide import Slide, moved
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

METHODS = (nni.GradientTimesInput(), nni.Saliency())
MINE = [[2, 2], [3, 4], [4, 3]]
SEVEN = [[(8, 8), (20, 8), (13, 22)]]


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_quality(cnn, digits, METHODS, n_patches=6))


def plays(explorer, places=MINE):
    """Click these patches, as the page sends them."""
    sets(the(explorer, "nn-left-board"), chosen=places)
    return explorer.drain()


def slides(explorer, *shifts):
    explorer.tab = "continuity"
    for shift in shifts:
        sets(the(explorer, "nn-shift"), value=shift)
        explorer.drain()
    return explorer.drain()


def curves(explorer):
    """The lines of the chart: random, the methods', the user's."""
    return [np.asarray(mark.y) for mark in the(explorer, "nn-race").marks[:3]]


def without(x, places, side=4):
    x = x.clone()
    for row, column in places:
        x[..., side * row : side * row + side, side * column : side * column + side] = 0
    return x


def score(model, x, target=7):
    with torch.no_grad():
        return float(model(x)[0, target])


# the game


def test_the_curves_of_the_methods_are_those_of_selectivity(explorer, cnn, digits):
    _, methods, _ = curves(explorer)
    for curve, method in zip(methods, METHODS, strict=True):
        subject = nni.engine.metrics.base.Subject(cnn, digits[:1], method)
        *_, last = nni.Selectivity(patch=4).steps(subject)
        np.testing.assert_allclose(curve, last.curve[0, :7], rtol=1e-5)


def test_the_user_s_curve_falls_as_patches_go(explorer, cnn, digits):
    plays(explorer)
    *_, mine = curves(explorer)
    expected = [score(cnn, without(digits[:1], MINE[:k])) for k in range(4)]
    np.testing.assert_allclose(mine, expected, rtol=1e-5)
    dots = the(explorer, "nn-race").marks[3]
    np.testing.assert_allclose(dots.y, expected, rtol=1e-5)
    assert the(explorer, "nn-left").value == picture_png(without(digits[0], MINE), 0.0, 1.0)
    area = np.trapezoid(expected) / 3
    assert f"you: AUC {area:.1f}, f after 3: {expected[-1]:.1f}" in explorer.digest()
    assert "3 of 6 removed" in the(explorer, "nn-game-words").value


def test_random_orders_lie_between(explorer, cnn, digits):
    chance, methods, _ = curves(explorer)
    assert chance[0] == pytest.approx(methods[0, 0])
    assert chance[-1] > methods[:, -1].max()
    orders = [torch.randperm(49, generator=torch.Generator().manual_seed(s)) for s in range(10)]
    left = [without(digits[:1], [divmod(int(p), 7) for p in order[:6]]) for order in orders]
    expected = np.mean([score(cnn, each) for each in left])
    assert chance[-1] == pytest.approx(expected, rel=1e-5)


def test_the_class_scores_are_those_of_what_is_left(explorer, cnn, digits):
    plays(explorer)
    shares = cnn(without(digits[:1], MINE)).softmax(1)[0].detach()
    bars, _ = the(explorer, "nn-scores").marks
    np.testing.assert_allclose(bars.y, shares, atol=1e-5)
    assert "explained: 7" in repr(the(explorer, "nn-status").value)


def test_a_move_explains_nothing_anew(explorer, monkeypatch):
    def no(*_):
        raise AssertionError("a method was asked again")

    monkeypatch.setattr(nni.GradientTimesInput, "steps", no)
    monkeypatch.setattr(nni.Saliency, "steps", no)
    assert "1 of 6 removed" in plays(explorer, [[0, 0]]).digest()


def test_the_first_picture_has_the_user_s_curve_and_one_method(opened, cnn, digits):
    seen = []
    explorer = nni.explore_quality(cnn, digits, METHODS)
    paint = explorer._paint
    explorer._paint = lambda shown: (seen.append(shown), paint(shown))
    explorer.target = 3
    opened(explorer)
    assert [(len(shown.methods), shown.chance is None) for shown in seen[-3:]] == [
        (1, True), (2, True), (2, False)]  # fmt: skip
    assert all(len(shown.mine.curve) == 1 for shown in seen)


def test_take_back_and_play_again(explorer):
    begun = explorer.digest()
    plays(explorer)
    clicks(explorer, "nn-take-back")
    assert explorer.drain().chosen == ((2, 2), (3, 4))
    clicks(explorer, "nn-play-again")
    assert explorer.chosen == ()
    assert explorer.digest() == begun
    clicks(explorer, "nn-take-back")
    assert explorer.digest() == begun


def test_an_order_is_revealed_on_the_board_and_the_maps_with_it(explorer, cnn, digits):
    plays(explorer)
    generation = explorer._worker._generation
    assert explorer._row.layout.display == "none"
    assert "shared with you" not in the(explorer, "nn-areas").value
    drawn = []
    explorer._game._board.draw = lambda *order: drawn.append(order)
    chooses(the(explorer, "nn-reveal"), "Saliency")
    relevance = nni.Saliency()(cnn, digits[:1])[0, 0].unfold(0, 4, 4).unfold(1, 4, 4).sum((2, 3))
    first = relevance.flatten().argsort(descending=True)[:6].tolist()
    (((order, _),)) = drawn
    assert order == [divmod(patch, 7) for patch in first]
    told = the(explorer, "nn-order-words").value.replace("\N{NO-BREAK SPACE}", " ")
    assert "from (0, 0): " + ", ".join(map(str, order)) in told
    shared = len(set(order[:3]) & {tuple(place) for place in MINE})
    assert f"<td>{shared} of 3</td></tr>" in the(explorer, "nn-areas").value
    assert explorer._row.layout.display is None
    assert the(explorer, "nn-map-1").value != BLANK
    assert explorer._worker._generation == generation
    clicks(explorer, "nn-play-again")
    assert explorer.drain().revealed is None
    assert explorer._row.layout.display == "none"


def test_patches_of_another_size_are_another_game(explorer, cnn, digits):
    plays(explorer)
    sets(the(explorer, "nn-n_patches-field"), value=2)
    assert explorer.drain().chosen == ((2, 2), (3, 4))
    sets(the(explorer, "nn-patch-field"), value=5)
    assert explorer.drain().chosen == ()
    board = the(explorer, "nn-left-board")
    assert (board.tops, board.lefts) == ((0, 5, 10, 15, 20, 25),) * 2
    assert (board.side, board.most) == ((28, 28), 2)
    plays(explorer, [[5, 5]])
    *_, mine = curves(explorer)
    expected = score(cnn, without(digits[:1], [(5, 5)], 5))
    assert mine[-1] == pytest.approx(expected, rel=1e-5)


def test_probability_and_fill(explorer, cnn, digits):
    chooses(the(explorer, "nn-of"), "probability")
    chooses(the(explorer, "nn-fill"), "Mean of the picture")
    plays(explorer, [[0, 0], [3, 3]])
    picture = without(digits[:1], [(0, 0), (3, 3)])
    for row, column in ((0, 0), (3, 3)):
        picture[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = digits[0].mean()
    *_, mine = curves(explorer)
    probability = score(lambda x: cnn(x).softmax(1), picture)
    assert mine[-1] == pytest.approx(probability, rel=1e-5)


def test_another_picture_is_another_game(explorer):
    plays(explorer).revealed = "Saliency"
    explorer.seen = (1, 2)
    sets(the(explorer, "nn-picture"), value=1)
    assert explorer.drain().chosen == ()
    assert (explorer.revealed, explorer.seen) == (None, (2,))


def test_fewer_patches_than_may_be_removed(opened, cnn, digits):
    explorer = opened(nni.explore_quality(cnn, digits, METHODS, patch=14, n_patches=20))
    assert the(explorer, "nn-left-board").most == 4
    plays(explorer, [[0, 0], [0, 1], [1, 0], [1, 1]])
    ends = {round(float(each[..., -1].flat[0]), 4) for each in curves(explorer)}
    assert len(ends) == 1


def test_the_usual_patch_is_a_seventh_of_the_picture(opened):
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(16, 3)).eval()
    explorer = opened(nni.explore_quality(model, torch.rand(1, 1, 112, 112), METHODS[:1]))
    slider, rows = the(explorer, "nn-patch"), found(explorer, "nn-number")
    assert (slider.value, slider.max) == (16, 32)
    (mark,) = [row.children[2].value for row in rows if slider in row.children]
    assert "default 16" in mark


# continuity


def change(cnn, method, x, other, target=7):
    before, after = (method(cnn, each, target).double() for each in (x, other))
    return float((before - after).abs().sum() / (x - other).double().norm())


def test_the_changes_of_the_maps(explorer, cnn, digits):
    slides(explorer, 3)
    x = digits[:1]
    other = torch.cat([x[..., :1].expand(-1, -1, -1, 3), x[..., :-3]], -1)
    assert the(explorer, "nn-moved").value == picture_png(other[0], 0.0, 1.0)
    expected = [change(cnn, method, x, other) for method in METHODS]
    largest, now = the(explorer, "nn-changes").marks
    np.testing.assert_allclose(now.y, expected, rtol=1e-5)
    np.testing.assert_allclose(largest.y, expected, rtol=1e-5)
    made = explorer.explanation
    torch.testing.assert_close(made.attribution, METHODS[0](cnn, other, 7), rtol=1e-4, atol=1e-6)


def test_one_pixel_is_that_of_the_measure(explorer, cnn, digits):
    explorer.seen = (-1, 1)
    slides(explorer)
    largest, _ = the(explorer, "nn-changes").marks
    for value, method in zip(largest.y, METHODS, strict=True):
        both_ways = nni.Continuity(pixels=1)(cnn, digits[:1], method)
        assert value <= float(both_ways) + 1e-6


def test_the_largest_so_far_is_kept(explorer):
    slides(explorer, 1, 2, 8, 0)
    largest, now = the(explorer, "nn-changes").marks
    assert (now.y == 0).all()
    at = explorer._outcome.value.changes
    assert set(at) == {0, 1, 2, 8}
    np.testing.assert_array_equal(largest.y, np.max(list(at.values()), axis=0))
    clicks(explorer, "nn-forget-shifts")
    assert explorer.drain().seen == (0,)
    assert (the(explorer, "nn-changes").marks[0].y == 0).all()
    clicks(explorer, "nn-all-shifts")
    assert set(explorer.drain()._outcome.value.changes) == set(range(-8, 9))
    assert explorer.shift == 0


def test_the_target_is_decided_on_the_picture(opened, digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).eval()
    explorer = slides(opened(nni.explore_quality(model, digits, METHODS)), 8)
    before = model(digits[:1]).argmax()
    assert (explorer.explanation.result.selection.index == before).all()


@pytest.mark.parametrize("border", ["edge", "wrap", "black"])
@pytest.mark.parametrize(("along", "axis"), [("across", -1), ("down", -2)])
@pytest.mark.parametrize("by", [-9, -2, 0, 1, 30])
def test_moved(border, along, axis, by):
    x = torch.rand(1, 3, 7, 9)
    low = (0.1, 0.2, 0.3)
    slid = moved(x, by, Slide(along=along, border=border), low).movedim(axis, -1)
    x = x.movedim(axis, -1)
    length = x.shape[-1]
    for place in range(length):
        source = place - by
        if border == "wrap":
            expected = x[..., source % length]
        elif border == "edge" or 0 <= source < length:
            expected = x[..., min(max(source, 0), length - 1)]
        else:
            expected = torch.tensor(low)[None, :, None].expand_as(x[..., 0])
        torch.testing.assert_close(slid[..., place], expected)


def test_a_map_that_is_there_has_its_change_and_the_others_are_to_come(opened, cnn, digits):
    go = threading.Event()
    go.set()

    def slow(model, x, target):
        assert go.wait(10)
        return METHODS[1](model, x, target)

    explorer = slides(opened(nni.explore_quality(cnn, digits, (METHODS[0], slow))), 1)
    go.clear()
    steps, painted = [], threading.Event()
    tell = explorer._tell
    explorer._tell = lambda outcome: (tell(outcome), steps.append(outcome), painted.set())
    sets(the(explorer, "nn-shift"), value=3)
    assert painted.wait(10)
    clicks(explorer, "nn-cancel")
    go.set()
    explorer.drain()
    x = digits[:1]
    other = torch.cat([x[..., :1].expand(-1, -1, -1, 3), x[..., :-3]], -1)
    changed = change(cnn, METHODS[0], x, other)
    assert len(steps) == 1
    assert found(explorer, "nn-sum")[0].value == f"<p>changed by {number(changed)}</p>"
    assert f"<td>{number(changed)}</td>" in the(explorer, "nn-sizes").value
    assert "<td>…</td>" in the(explorer, "nn-sizes").value
    assert "nn-stale" in the(explorer, "nn-map-1")._dom_classes
    saved = np.load(io.BytesIO(explorer._npzs(explorer._outcome.value)["continuity.npz"]))
    assert np.isnan(saved["changes"][-1]).tolist() == [False, True]


def test_of_equal_changes_the_shortest_shift_is_told(opened, digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).eval()
    explorer = opened(nni.explore_quality(model, digits, METHODS[1:]))
    slides(explorer, 5, -2, 3)
    assert "Saliency: 0, largest 0 at 0 px" in explorer.digest()
    again = opened(result_of(copied(explorer), model=model, x=digits))
    assert again.digest() == explorer.digest()


def test_controls_of_the_slide(explorer, cnn, digits):
    slides(explorer, 2)
    chooses(the(explorer, "nn-along"), "down")
    chooses(the(explorer, "nn-border"), "wrap")
    sets(the(explorer, "nn-scaled"), value=True)
    x, other = digits[:1], digits[:1].roll(2, dims=2)
    assert (explorer.drain().along, explorer.border, explorer.scaled) == ("down", "wrap", True)
    _, now = the(explorer, "nn-changes").marks
    sizes = [float(method(cnn, x, 7).double().abs().sum()) for method in METHODS]
    expected = [change(cnn, m, x, other) / s for m, s in zip(METHODS, sizes, strict=True)]
    np.testing.assert_allclose(now.y, expected, rtol=1e-5)
    assert "shift +2 px down, border wrap, maps scaled" in explorer.digest()


# what every explorer does


@pytest.mark.parametrize("tab", ["flipping", "continuity"])
def test_a_model_that_is_trained_on_is_asked_again(opened, cnn, digits, tab):
    def opened_on_tab(model):
        made = opened(nni.explore_quality(model, digits, METHODS, n_patches=6))
        made.tab = tab
        return made.drain()

    def moves(explorer):
        return slides(explorer, 2) if tab == "continuity" else plays(explorer)

    model = copy.deepcopy(cnn)
    explorer = opened_on_tab(model)
    with torch.no_grad():
        model.fc2.weight[7] *= 2
    assert moves(explorer).digest() == moves(opened_on_tab(model)).digest()


class Keeps(nn.Module):
    """It keeps what it is doing in an attribute, so that two threads can disturb each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(64, 5)

    def forward(self, x):
        self.kept = x.flatten(1)
        time.sleep(0.0003)
        return self.last(self.kept)


def test_two_explorers_on_one_model_do_not_disturb_each_other(opened):
    model, x = Keeps().eval(), torch.rand(2, 1, 8, 8)

    def going(at):
        explorer = nni.explore_quality(model, x[at : at + 1], (nni.Gradient(),))
        explorer.tab, explorer.seen = "continuity", tuple(range(-8, 9))
        return explorer

    alone = [opened(going(at)).digest() for at in range(2)]
    for _ in range(3):
        both = [going(at) for at in range(2)]
        assert [opened(each).digest() for each in both] == alone


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=1)
    plays(explorer).revealed = "Saliency"
    explorer.target = 3
    cell = copied(explorer.drain())
    call = "nni.explore_quality(model, x[1:2], (nni.GradientTimesInput(), nni.Saliency()), patch=4"
    assert call in cell
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    assert again.revealed == "Saliency"
    for name in ("nn-left", "nn-areas", "nn-game-words", "nn-map-0"):
        assert the(again, name).value == the(explorer, name).value


def test_the_copied_cell_of_the_slide(opened, explorer, cnn, digits):
    slides(explorer, 2, -3)
    explorer.border = "black"
    again = opened(result_of(copied(explorer.drain()), model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    assert (again.tab, again.shift, again.border) == ("continuity", -3, "black")
    for name in ("nn-moved", "nn-sizes", "nn-map-1"):
        assert the(again, name).value == the(explorer, name).value


def test_own_functions_and_fills_are_named_in_the_copied_cell(opened, cnn, digits):
    fill = torch.full((1, 28, 28), 0.5)
    method = lambda model, x, target: x  # noqa: E731
    explorer = opened(nni.explore_quality(cnn, digits, (method,), fill=fill))
    cell = copied(explorer)
    assert cell.startswith("# define ")
    assert "(method_0,), patch=4, fill=baseline)" in cell
    again = opened(result_of(cell, model=cnn, x=digits, method_0=method, baseline=fill))
    assert again.digest() == explorer.digest()


def test_a_drawing_and_its_copied_cell(opened):
    explorer = opened(nni.explore_quality(methods=METHODS, strokes=SEVEN))
    plays(explorer)
    assert opened(result_of(copied(explorer))).digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    assert the(explorer, "nn-left").value == BLANK
    assert the(explorer, "nn-left-board").tops == ()


def test_reset(explorer):
    begun = explorer.digest()
    plays(explorer)
    slides(explorer, 4).scaled = True
    clicks(explorer, "nn-reset")
    assert explorer.tab == "continuity", "what one looks at is no setting"
    explorer.tab = "flipping"
    assert explorer.digest() == begun
    assert (explorer.seen, explorer.scaled) == ((0,), False)


def test_save(explorer, monkeypatch):
    saved = downloads(explorer, monkeypatch)
    plays(explorer)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["flipping.png", "heatmap-1.png", "heatmap-2.png", "flipping.npz",
                           "attribution-1.npz", "attribution-2.npz"]  # fmt: skip
    flipped = np.load(io.BytesIO(saved["flipping.npz"]))
    assert flipped["order"].tolist() == [16, 25, 31]
    assert (flipped["curves"].shape, flipped["random_curve"].shape) == ((2, 7), (7,))
    slides(explorer, 1)
    clicks(explorer, "nn-save-numbers")
    slid = np.load(io.BytesIO(saved["continuity.npz"]))
    assert (slid["shifts"].tolist(), slid["changes"].shape) == ([0, 1], (2, 2))


def test_the_still_picture_follows_the_game(explorer):
    before = explorer._repr_mimebundle_()["image/png"]
    assert plays(explorer)._repr_mimebundle_()["image/png"] != before


def test_hover_and_another_class(explorer):
    clicks_bar(explorer, 3)
    assert "target 3" in explorer.digest()
    slides(explorer, 1)
    sends(explorer._page, type="hover", pane=1, x=0.5, y=0.5)
    assert "pixel (14, 14): " in found(explorer, "nn-hover")[1].value


def test_what_goes_wrong_is_said_in_place(explorer):
    sets(the(explorer, "nn-patch-field"), value=40)
    assert "patch must be at most 28, the picture's side; got 40" in explorer.digest()
    sets(the(explorer, "nn-n_patches-field"), value=21)
    assert "n_patches must be" in repr(explorer)
    sets(the(explorer, "nn-patch-field"), value=7)
    assert "16 patches" in explorer.digest()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("chosen", [(1, 1), (1, 1)], "chosen must be at most 6 different"),
        ("chosen", [(0, -1)], "chosen must be"),
        ("chosen", [3], "chosen must be"),
        ("chosen", [(0.5, 1.9)], "chosen must be"),
        ("chosen", [(0, k) for k in range(7)], "chosen must be at most 6"),
        ("revealed", "LRP", "revealed must be None or one of Gradient × input, Saliency"),
        ("tab", "sanity", "tab must be 'flipping' or 'continuity'"),
        ("seen", (), "shifts must be whole numbers from -8 to 8"),
        ("shift", 9, "shifts must be"),
        ("shift", 1.5, "shifts must be"),
        ("along", "up", "along must be"),
    ],
)
def test_what_is_set_wrongly_is_refused(explorer, name, value, words):
    before = explorer.digest()
    with pytest.raises(ValueError, match=words):
        setattr(explorer, name, value)
    assert explorer.digest() == before


def test_a_patch_outside_the_grid_is_refused_in_place(explorer):
    explorer.chosen = [(0, 7)]
    assert "chosen must be (row, column) of 7 × 7 patches; got (0, 7)" in explorer.digest()
    assert "1 of 6 removed" in plays(explorer, [[0, 6]]).digest()


@pytest.mark.parametrize("methods", [(), (nni.Saliency(),) * 7, 3])
def test_methods_are_one_to_six(cnn, digits, methods):
    with pytest.raises((ValueError, TypeError), match="method"):
        nni.explore_quality(cnn, digits, methods)


def test_equal_methods_are_told_apart(opened, cnn, digits):
    explorer = opened(nni.explore_quality(cnn, digits, (nni.LRP(), nni.LRP(nni.EpsilonPlus()))))
    assert "LRP (2): AUC" in explorer.digest()


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5)),
        (nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(54, 4)), torch.rand(2, 2, 20)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(40, 3)).double(), torch.rand(1, 1, 5, 8).double()),
    ],
    ids=["vectors", "signals", "colour", "float64"],
)
def test_any_model(opened, model, x):
    explorer = opened(nni.explore_quality(model.eval(), x))
    board = the(explorer, "nn-left-board")
    rows, columns = len(board.tops), len(board.lefts)
    plays(explorer, [[rows - 1, columns - 1]])
    assert "1 of " in explorer.digest()
    slides(explorer, 1)
    assert explorer.digest().startswith("continuity, target ")
    assert explorer._pngs(explorer._outcome.value)


def test_nothing_of_the_model_is_changed(opened, cnn, digits):
    state = {name: value.clone() for name, value in cnn.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    slides(plays(opened(nni.explore_quality(cnn, digits, METHODS))), 2)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, state[name]) for name, value in cnn.state_dict().items())
    assert all(parameter.grad is None for parameter in cnn.parameters())


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live(tab):
        explorer = nni.explore_quality(cnn, digits, METHODS, n_patches=2).drain()
        explorer.tab = tab
        explorer.drain().close()

    live("flipping")
    threads, widgets = threading.active_count(), registered()
    for tab in ("flipping", "continuity") * 2:
        live(tab)
    assert (threading.active_count(), registered()) == (threads, widgets)
