"""The drawing pad, drawn on through the entry that the browser uses."""

import json

import numpy as np
import pytest

from nni_widgets.widgets.parts.pad import DrawingPad

LINE = ((1.0, 2.0), (3.0, 4.0))
DOT = ((5.0, 5.0),)


class Browser:
    """A page that shows the pad: it sends what ``pad.js`` sends, and keeps what it is told."""

    def __init__(self, pad, monkeypatch):
        self.pad = pad
        self.told = []
        monkeypatch.setattr(pad, "_send", lambda message, buffers=None: self.told.append(message))

    def receive(self, **content):
        data = {"method": "custom", "content": content}
        self.pad._handle_msg({"content": {"data": data}, "buffers": []})

    def draw(self, name, points, start=0, end=False):
        self.receive(type="stroke", stroke=name, start=start, points=points, end=end)

    def set(self, **state):
        data = {"method": "update", "state": state, "buffer_paths": []}
        self.pad._handle_msg({"content": {"data": data}, "buffers": []})

    @property
    def states(self):
        return [m["state"] for m in self.told if m["method"] == "update"]

    @property
    def notes(self):
        return [m["content"] for m in self.told if m["method"] == "custom"]


@pytest.fixture
def pad():
    pad = DrawingPad()
    yield pad
    pad.close()


@pytest.fixture
def browser(pad, monkeypatch):
    return Browser(pad, monkeypatch)


def test_a_stroke_from_the_browser_grows(pad, browser):
    browser.draw("a", [[1, 2]])
    assert pad.strokes == (((1.0, 2.0),),)
    browser.draw("a", [[3, 4], [5, 6.5]], start=1, end=True)
    assert pad.strokes == (((1.0, 2.0), (3.0, 4.0), (5.0, 6.5)),)
    browser.draw("b", [[7, 8]], end=True)
    assert len(pad.strokes) == 2


def test_two_pages_draw_at_the_same_time(pad, browser):
    browser.draw("a", [[1, 1]])
    browser.draw("b", [[2, 2]])
    browser.draw("a", [[1, 3]], start=1, end=True)
    browser.draw("b", [[2, 4]], start=1, end=True)
    assert pad.strokes == (((1.0, 1.0), (1.0, 3.0)), ((2.0, 2.0), (2.0, 4.0)))


def test_the_whole_drawing_does_not_travel_while_one_draws(pad, browser):
    points = [[i / 10, i / 20] for i in range(200)]
    for start in range(0, 200, 4):
        browser.draw("a", points[start : start + 4], start=start)
    assert len(pad.strokes[0]) == 200
    assert browser.states == []
    assert max(len(json.dumps(note)) for note in browser.notes) < 200
    assert [note["start"] for note in browser.notes] == list(range(0, 200, 4))


def test_a_page_loaded_again_gets_the_whole_drawing(pad, browser):
    browser.draw("a", [[1, 2], [3, 4]], end=True)
    assert pad.get_state()["strokes"] == (LINE,)
    browser.set()
    pad._handle_msg({"content": {"data": {"method": "request_state"}}, "buffers": []})
    assert browser.states[-1]["strokes"] == (LINE,)


def test_what_the_kernel_changes_travels_whole(pad, browser):
    pad.stroke(LINE)
    pad.clear()
    pad.undo()
    assert [state["strokes"] for state in browser.states] == [(LINE,), (), (LINE,)]


def test_a_drawing_set_by_the_browser_is_not_sent_back(pad, browser):
    browser.set(strokes=[[[1, 2], [3, 4]]])
    assert pad.strokes == (LINE,)
    assert browser.states == []


def test_points_are_rounded_and_kept_near_the_picture(pad, browser):
    browser.draw("a", [[1.234, -99], [1e9, 27.96]])
    assert pad.strokes == (((1.2, -2.5), (30.5, 28.0)),)


@pytest.mark.parametrize(
    "bad",
    [[None, 1], [float("nan"), 1], [1], [1, 2, 3], "ab", None, [10**400, 1], [float("inf"), 0]],
)
def test_what_is_no_point_is_left_out_when_the_browser_sends_it(pad, browser, bad):
    browser.draw("a", [[1, 2], bad, [3, 4]])
    assert pad.strokes == (LINE,)


def test_a_stroke_without_any_point_is_refused(pad, browser):
    browser.draw("a", [[None, None]])
    assert pad.strokes == ()
    assert browser.notes == [{"type": "lost", "stroke": "a"}]


def test_a_stroke_cleared_while_it_grows_is_lost_and_the_page_hears_of_it(pad, browser):
    browser.draw("a", [[1, 2]])
    pad.clear()
    browser.told.clear()
    browser.draw("a", [[3, 4]], start=1)
    assert pad.strokes == ()
    assert browser.notes == [{"type": "lost", "stroke": "a"}]
    assert browser.states == [{"strokes": ()}]


def test_a_stroke_begun_after_a_clearing_is_kept(pad, browser):
    browser.draw("a", [[1, 2]], end=True)
    browser.receive(type="clear")
    browser.draw("b", [[5, 5]])
    browser.draw("b", [[6, 6]], start=1, end=True)
    assert pad.strokes == (((5.0, 5.0), (6.0, 6.0)),)


def test_a_finished_stroke_grows_no_more(pad, browser):
    browser.draw("a", [[1, 2]], end=True)
    browser.draw("a", [[3, 4]], start=1)
    assert pad.strokes == (((1.0, 2.0),),)


def test_undo_takes_one_whole_stroke_back(pad, browser):
    pad.stroke(DOT)
    browser.draw("a", [[1, 2]])
    browser.draw("a", [[3, 4]], start=1, end=True)
    browser.receive(type="undo")
    assert pad.strokes == (DOT,)
    pad.undo()
    assert pad.strokes == ()
    pad.undo()
    assert pad.strokes == ()


def test_undo_after_clear_brings_the_drawing_back(pad, browser):
    pad.stroke(LINE)
    pad.stroke(DOT)
    browser.receive(type="clear")
    assert pad.strokes == ()
    pad.clear()
    pad.undo()
    assert pad.strokes == (LINE, DOT)
    pad.undo()
    assert pad.strokes == (LINE,)


def test_undo_after_a_drawing_was_put_in(pad):
    pad.stroke(LINE)
    pad.strokes = [[(9, 9)]]
    assert pad.strokes == (((9.0, 9.0),),)
    pad.undo()
    assert pad.strokes == (LINE,)


def test_the_drawing_given_at_the_start_is_not_undone():
    pad = DrawingPad(strokes=[LINE])
    pad.undo()
    assert pad.strokes == (LINE,)
    pad.close()


def test_on_change_hears_of_every_change_also_within_a_stroke(pad, browser):
    heard = []
    pad.on_change(lambda pad: heard.append(pad.strokes))
    browser.draw("a", [[1, 2]])
    browser.draw("a", [[3, 4]], start=1)
    browser.draw("a", [], start=2, end=True)
    pad.clear()
    pad.clear()
    pad.undo()
    assert heard == [(((1.0, 2.0),),), (LINE,), (), (LINE,)]


def test_on_change_can_be_removed(pad):
    heard = []
    pad.on_change(heard.append)
    pad.on_change(heard.append, remove=True)
    pad.stroke(LINE)
    assert heard == []


def test_escape_is_heard_and_leaves_the_drawing(pad, browser):
    heard = []
    pad.stroke(LINE)
    pad.on_cancel(heard.append)
    browser.receive(type="cancel")
    assert heard == [pad]
    assert pad.strokes == (LINE,)


def test_a_stroke_may_be_an_array(pad):
    pad.stroke(np.array(LINE, dtype=np.float32))
    assert pad.strokes == (LINE,)
    assert type(pad.strokes[0][0][0]) is float


@pytest.mark.parametrize(
    ("points", "given"),
    [([], "no points"), ([(1, 2), (1, "x")], r"\(1, 'x'\)"), ([1, 2], "1"), ([(1, np.inf)], "inf")],
)
def test_a_stroke_from_python_that_is_none_is_refused(pad, points, given):
    pad.stroke(LINE)
    message = rf"DrawingPad: a stroke must be points of two finite numbers; got .*{given}.*\. Give"
    with pytest.raises(ValueError, match=message):
        pad.stroke(points)
    assert pad.strokes == (LINE,)


def test_the_margin_follows_the_size():
    pad = DrawingPad(size=56, pen=4)
    pad.stroke([(100, -100)])
    assert pad.strokes == (((60.0, -4.0),),)
    pad.close()


def test_its_text_has_no_address(pad):
    pad.stroke(LINE)
    assert repr(pad) == "DrawingPad(size=28, strokes: 1)"


def test_the_module_for_the_browser_is_sent(pad):
    assert "export default" in pad.get_state()["_esm"]
