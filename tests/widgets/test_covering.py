"""The Occlusion explorer: a window that is dragged, and the map that fills as it goes."""

import io
import threading

import numpy as np
import pytest
import torch
from torch import nn

import nni_widgets as nni
from nni_widgets.pictures import palette_png, picture_png, scale_of
from nni_widgets.widgets.parts.maps import BLANK
from tests.widgets.cells import copied, downloads, result_of
from tests.widgets.user import chooses, clicks, clicks_bar, found, registered, sends, sets, the

SEVEN = [[(8, 8), (20, 8), (13, 22)]]
COARSE = nni.Occlusion(window=7, stride=7)


@pytest.fixture
def explorer(opened, cnn, digits):
    return opened(nni.explore_occlusion(cnn, digits))


@pytest.fixture
def coarse(opened, cnn, digits):
    return opened(nni.explore_occlusion(cnn, digits, COARSE))


def frame(explorer):
    return the(explorer, "nn-covered-frame")


def shown_map(explorer):
    return explorer.explanation.heatmap()


def test_it_begins_with_the_window_in_the_middle(explorer, cnn, digits):
    x, method = digits[:1], nni.Occlusion()
    assert explorer.corner == (12, 12)
    assert explorer.visited == ((12, 12),)
    assert frame(explorer).place == (6, 6)
    covered = method.cover(x, 12, 12)
    assert the(explorer, "nn-covered").value == picture_png(covered[0], 0.0, 1.0)
    fall = float(method.fall(cnn, x, 12, 12))
    expected = torch.zeros(28, 28)
    expected[12:16, 12:16] = fall
    torch.testing.assert_close(shown_map(explorer), expected)
    assert "1 of 169 windows visited" in explorer.digest()


def test_the_frame_is_moved(explorer, cnn, digits):
    sets(frame(explorer), place=[3, 8])
    explorer.drain()
    assert explorer.corner == (6, 16)
    x, method = digits[:1], nni.Occlusion()
    score, fall = cnn(x)[0, 7].item(), float(method.fall(cnn, x, 6, 16))
    words = the(explorer, "nn-covered-words").value
    assert 'role="status"' in words
    assert "window at (6, 16): f(x) = " in words
    told = explorer.explanation.score.item(), float(explorer._outcome.value.falls[6, 16])
    assert told == pytest.approx((score, fall), rel=1e-5)


def test_the_bars_are_the_scores_of_the_covered_picture(explorer, cnn, digits):
    explorer.method = method = nni.Occlusion(window=14)
    covered = {(top, 8): method.cover(digits[:1], top, 8) for top in range(0, 14, 2)}
    corner, picture = next((c, p) for c, p in covered.items() if cnn(p).argmax() != 7)
    explorer.corner = corner
    explorer.drain()
    expected = cnn(picture).softmax(1)[0].detach()
    bars, _ = the(explorer, "nn-scores").marks
    np.testing.assert_allclose(bars.y, expected, atol=1e-6)
    assert f"predicted {int(expected.argmax())} (" in explorer.digest().splitlines()[-1]
    (marked,) = [k for k, colour in enumerate(bars.colors) if bars.colors.count(colour) == 1]
    assert marked == 7, "what is explained stays marked"


def test_the_map_is_the_mean_of_the_visited_windows(explorer, cnn, digits):
    corners = [(6, 10), (8, 10), (8, 12)]
    for corner in corners:
        explorer.corner = corner
    x, method = digits[:1], nni.Occlusion()
    falls = {corner: method.fall(cnn, x, *corner).item() for corner in [(12, 12), *corners]}
    total, times = torch.zeros(28, 28), torch.zeros(28, 28)
    for (top, left), fall in falls.items():
        total[top : top + 4, left : left + 4] += fall
        times[top : top + 4, left : left + 4] += 1
    explorer.drain()
    torch.testing.assert_close(shown_map(explorer), total / times.clamp(min=1))
    assert explorer.visited == ((12, 12), *corners)
    assert "4 of 169 windows visited" in found(explorer, "nn-sum")[0].value


def test_a_window_visited_again_is_the_last_one_and_counts_once(coarse):
    coarse.corner, again = (7, 7), coarse.corner
    coarse.corner = again
    assert coarse.visited == ((7, 7), (14, 14))
    assert "2 of 16 windows visited" in coarse.digest()


def test_all_windows_visited_are_the_method(coarse, cnn, digits):
    starts = (0, 7, 14, 21)
    coarse.visited = [(top, left) for top in starts for left in starts]
    coarse.drain()
    expected = COARSE(cnn, digits[:1])
    torch.testing.assert_close(coarse.explanation.attribution, expected, rtol=1e-4, atol=1e-5)
    assert "16 of 16 windows visited" in coarse.digest()


def test_the_map_is_completed(explorer, cnn, digits):
    sets(the(explorer, "nn-whole"), value=True)
    explorer.drain()
    made = nni.explain(cnn, digits[:1], nni.Occlusion())
    assert explorer.digest().startswith(made.digest())
    expected = palette_png(made.heatmap(), scale_of(made.heatmap()))
    assert the(explorer, "nn-occlusion-map").value == expected
    assert "windows that hide something, 169 in all" in explorer.digest()
    sets(the(explorer, "nn-whole"), value=False)
    explorer.drain()
    assert "1 of 169 windows visited" in explorer.digest()


def test_the_completed_map_grows(explorer, monkeypatch):
    explorer.method = nni.Occlusion(window=3, stride=1)
    explorer.drain()
    done = []
    tell = explorer._tell
    monkeypatch.setattr(
        explorer, "_tell", lambda o: done.append((o.value.map.result.done, o.done)) or tell(o)
    )
    explorer.whole = True
    explorer.drain()
    assert len(done) > 2
    assert done == sorted(done)
    assert done[-1][0] == explorer.explanation.result.of


def test_moving_over_a_completed_map_does_not_compute_it_again(explorer, monkeypatch):
    explorer.whole = True
    explorer.drain()
    rows = []
    forward = explorer._model.forward
    monkeypatch.setattr(explorer._model, "forward", lambda x: rows.append(len(x)) or forward(x))
    explorer.corner = (0, 0)
    explorer.drain()
    explorer.corner = (12, 12)
    explorer.drain()
    assert rows == [1]


def test_on_another_grid_the_last_window_moves_to_the_nearest(opened, explorer, cnn, digits):
    explorer.method = nni.Occlusion(window=4, stride=4)
    explorer.visited = [(8, 8), (4, 4)]
    explorer.method = nni.Occlusion(window=8, stride=8)
    explorer.drain()
    assert explorer.visited == ((8, 8), (0, 0))
    assert explorer.corner == (0, 0)
    again = opened(result_of(copied(explorer), model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    explorer.method = nni.Occlusion(window=4, stride=4)
    assert explorer.drain().visited == ((8, 8), (4, 4))


def test_windows_are_forgotten(coarse):
    coarse.visited = [(0, 0), (7, 7), (21, 21)]
    clicks(coarse, "nn-forget-windows")
    assert "1 of 16 windows visited" in coarse.digest()
    assert coarse.corner == (21, 21)


def test_parameters_are_those_of_the_method(explorer, cnn, digits):
    explorer.visited = [(4, 4), (6, 6)]
    sets(the(explorer, "nn-window-field"), value=8)
    sets(the(explorer, "nn-stride-field"), value=4)
    chooses(the(explorer, "nn-fill"), "Mean of the picture")
    explorer.drain()
    method = explorer.method
    assert (method.window, method.stride) == (8, 4)
    assert "window at (4, 4): " in explorer.digest(), "the nearest to the one before"
    assert frame(explorer).size == (8, 8)
    covered = method.cover(digits[:1], 4, 4)
    assert the(explorer, "nn-covered").value == picture_png(covered[0], 0.0, 1.0)
    sets(the(explorer, "nn-window-field"), value=29)
    assert explorer.digest().startswith("Occlusion: window must be at most 28, the picture's side")
    assert "nn-stale" in the(explorer, "nn-occlusion-map")._dom_classes
    clicks(explorer, "nn-copy-as-code")
    sets(the(explorer, "nn-window-field"), value=3)
    assert explorer.digest().startswith("Occlusion: stride must be at most the window, 3; got 4.")


@pytest.mark.parametrize("corners", [[(1, 0)], [(0, 0), (0, 26)], [(0,)], [(0, 0, 0)]], ids=repr)
def test_a_corner_where_no_window_begins_is_refused(explorer, corners):
    with pytest.raises(ValueError, match="a corner must be one where a window begins: 0, 2, 4"):
        explorer.visited = corners


@pytest.mark.parametrize("corners", [5, [5], [[[0], [0]]]], ids=repr)
def test_what_is_no_corner_is_refused(explorer, corners):
    with pytest.raises(ValueError, match=r"OcclusionExplorer: corners must be \(top, left\) each"):
        explorer.visited = corners
    with pytest.raises(ValueError, match="OcclusionExplorer: corners must be"):
        explorer.corner = 5


def test_nothing_is_covered_before_a_drawing(opened):
    explorer = opened(nni.explore_occlusion())
    assert (explorer.corner, explorer.visited) == ((), ())
    explorer.corner = (4, 6)
    explorer.pad.strokes = SEVEN
    assert explorer.drain().corner == (4, 6)


def test_the_copied_cell_makes_the_same_numbers_and_pictures(opened, explorer, cnn, digits):
    sets(the(explorer, "nn-picture"), value=1)
    explorer.method = nni.Occlusion(window=6, stride=3, fill="mean")
    explorer.visited, explorer.target = [(3, 6), (6, 6), (9, 12)], 3
    explorer.drain()
    cell = copied(explorer)
    call = "nni.Occlusion(window=6, stride=3, fill=nni.ImageMean()), target=3)"
    assert f"nni.explore_occlusion(model, x[1:2], {call}" in cell
    assert "explorer.visited = [(3, 6), (6, 6), (9, 12)]" in cell
    again = opened(result_of(cell, model=cnn, x=digits))
    assert again.digest() == explorer.digest()
    for name in ("nn-covered", "nn-occlusion-map"):
        assert the(again, name).value == the(explorer, name).value


def test_a_drawing_a_completed_map_and_its_copied_cell(opened):
    explorer = opened(nni.explore_occlusion(strokes=SEVEN))
    explorer.whole = True
    cell = copied(explorer.drain())
    assert "explorer.whole = True" in cell
    assert opened(result_of(cell)).digest() == explorer.digest()
    clicks(explorer, "nn-clear")
    assert explorer.digest() == "Draw a digit on the black square."
    assert the(explorer, "nn-covered").value == the(explorer, "nn-occlusion-map").value == BLANK
    assert frame(explorer).tops == ()


def test_reset(explorer):
    begun = explorer.digest()
    explorer.visited = [(0, 0), (2, 2)]
    explorer.method, explorer.whole = COARSE, True
    explorer.drain()
    clicks(explorer, "nn-reset")
    assert explorer.digest() == begun
    assert (explorer.corner, explorer.whole) == ((12, 12), False)


def test_save(explorer, monkeypatch):
    explorer.corner = (2, 4)
    explorer.drain()
    saved = downloads(explorer, monkeypatch)
    clicks(explorer, "nn-save-png")
    clicks(explorer, "nn-save-numbers")
    assert list(saved) == ["heatmap-1.png", "covered.png", "attribution-1.npz", "windows.npz"]
    windows = np.load(io.BytesIO(saved["windows.npz"]))
    assert windows["corners"].tolist() == [[2, 4], [12, 12]]
    assert windows["falls"].shape == (2,)


def test_hover_and_another_class(explorer, cnn, digits):
    clicks_bar(explorer, 3)
    explorer.drain()
    assert explorer.explanation.target_names == ("3",)
    fall = float(nni.Occlusion().fall(cnn, digits[:1], 12, 12, target=3))
    assert float(shown_map(explorer)[13, 13]) == pytest.approx(fall, rel=1e-4)
    sends(explorer._page, type="hover", pane=0, x=0.5, y=0.5)
    assert "pixel (14, 14): " in found(explorer, "nn-hover")[0].value


@pytest.mark.parametrize("method", [nni.Gradient(), nni.Occlusion, 3])
def test_a_method_without_windows_is_refused(cnn, digits, method):
    with pytest.raises(ValueError, match="OcclusionExplorer: method must be one that covers"):
        nni.explore_occlusion(cnn, digits, method)


@pytest.mark.parametrize(
    ("model", "x", "corner"),
    [
        (nn.Linear(5, 3), torch.rand(3, 5), (2,)),
        (nn.Sequential(nn.Flatten(), nn.Linear(75, 20)), torch.rand(2, 3, 5, 5), (2, 1)),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double(),
            torch.rand(1, 2, 6).double(),
            (4,),
        ),
    ],
    ids=["vectors", "colour", "strips, float64"],
)
def test_any_model(opened, model, x, corner):
    method = nni.Occlusion(window=2, stride=1, fill=0.5)
    explorer = opened(nni.explore_occlusion(model.eval(), x, method))
    explorer.corner = corner
    explorer.drain()
    fall = float(method.fall(model, x[:1], *corner))
    assert float(explorer._outcome.value.falls[corner]) == pytest.approx(fall, rel=1e-4)
    explorer.whole = True
    assert explorer.digest().startswith(nni.explain(model, x[:1], method).digest())
    assert len(frame(explorer).tops) == (1 if x.ndim < 4 else 4)


@pytest.mark.parametrize(("side", "usual"), [(28, (4, 2)), (112, (16, 8)), (5, (1, 1))])
def test_the_usual_window_suits_the_picture(opened, side, usual):
    model = nn.Sequential(nn.Flatten(), nn.Linear(side**2, 3)).eval()
    explorer = opened(nni.explore_occlusion(model, torch.rand(1, 1, side, side)))
    assert (explorer.method.window, explorer.method.stride) == usual
    assert the(explorer, "nn-window").max >= 2 * usual[0]
    window, stride = (row.children[2].value for row in found(explorer, "nn-number")[:2])
    assert f"default {usual[0]}<" in window
    assert f"default {usual[1]}<" in stride


def test_volumes_and_bad_input_are_refused_in_place(opened):
    volume = nn.Sequential(nn.Flatten(), nn.Linear(125, 3)).eval()
    explorer = opened(nni.explore_occlusion(volume, torch.rand(1, 1, 5, 5, 5)))
    assert explorer.digest().startswith("OcclusionExplorer: x must be of shape (N, C, H, W), ")
    trained = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
    explorer = opened(nni.explore_occlusion(trained, torch.rand(1, 1, 5, 5)))
    assert explorer.digest().startswith("Occlusion: the model must be in evaluation mode")


def test_closing_leaves_no_thread_and_no_widget(cnn, digits):
    def live():
        nni.explore_occlusion(cnn, digits, COARSE).drain().close()

    live()
    threads, widgets = threading.active_count(), registered()
    for _ in range(5):
        live()
    assert (threading.active_count(), registered()) == (threads, widgets)
