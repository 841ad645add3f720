"""The wrapper around ipycanvas: the commands that leave the kernel, and what an error leaves."""

import json
import threading

import pytest
from ipycanvas import Canvas, hold_canvas
from ipycanvas.canvas import _CANVAS_MANAGER, COMMANDS

from nni_widgets.widgets.parts.overlay import _DRAWING, Overlay

NAMES = {number: name for name, number in COMMANDS.items()}


@pytest.fixture
def batches(monkeypatch):
    """The names of the drawing commands, one list for each message to the pages."""
    batches = []

    def send(content, buffers=None):
        commands = json.loads(bytes(buffers[0]))
        several = commands if isinstance(commands[0], list) else [commands]
        batches.append([NAMES[command[0]] for command in several])

    monkeypatch.setattr(_CANVAS_MANAGER, "send", send)
    return batches


@pytest.fixture
def overlay():
    overlay = Overlay(28, 28)
    yield overlay
    overlay.canvas.close()


def marker(canvas):
    canvas[0].stroke_rect(1, 2, 3, 4)


def failing(canvas):
    canvas[0].fill_rect(1, 2, 3, 4)
    raise ValueError("no such layer")


def page_opens(overlay):
    content = {"method": "custom", "content": {"event": "client_ready"}}
    overlay.canvas._handle_msg({"content": {"data": content}, "buffers": []})


def test_a_drawing_is_one_message_that_names_its_canvas(overlay, batches):
    overlay.draw(marker)
    assert batches == [["switchCanvas", "clear", "strokeRect"]]


def test_every_drawing_names_its_canvas_again(overlay, batches):
    overlay.draw(marker)
    overlay.draw(marker)
    assert batches == [["switchCanvas", "clear", "strokeRect"]] * 2


def test_a_page_that_opens_gets_the_drawing(overlay, batches):
    page_opens(overlay)
    assert batches == []
    overlay.draw(marker)
    page_opens(overlay)
    assert batches == [["switchCanvas", "clear", "strokeRect"]] * 2


def test_a_painter_that_raises_draws_nothing_and_freezes_no_canvas(overlay, batches):
    overlay.draw(marker)
    with pytest.raises(ValueError, match="no such layer"):
        overlay.draw(failing)
    assert not _CANVAS_MANAGER._caching
    page_opens(overlay)
    assert batches == [["switchCanvas", "clear", "strokeRect"]] * 2
    other = Canvas(width=2, height=2)
    other.fill_rect(0, 0, 1, 1)
    assert batches[2:] == [["switchCanvas"], ["fillRect"]]
    other.close()


def test_a_painter_that_raises_keeps_what_others_hold(overlay, batches):
    other = Canvas(width=2, height=2)
    with hold_canvas():
        other.fill_rect(0, 0, 1, 1)
        with pytest.raises(ValueError, match="no such layer"):
            overlay.draw(failing)
        assert batches == []
    assert batches == [["switchCanvas", "fillRect"]]
    other.close()


def test_clear_stays_clear_for_a_page_that_opens(overlay, batches):
    overlay.draw(marker)
    overlay.clear()
    page_opens(overlay)
    assert batches[1:] == [["switchCanvas", "clear"]] * 2


def test_each_layer_is_cleared_and_drawn(batches):
    overlay = Overlay(28, 28, layers=2)
    overlay.draw(lambda canvas: canvas[1].fill_rect(0, 0, 1, 1))
    assert batches == [["switchCanvas", "clear", "switchCanvas", "clear", "fillRect"]]
    overlay.canvas.close()


def test_one_thread_at_a_time_draws(overlay, batches):
    free = []

    def try_to_draw():
        free.append(_DRAWING.acquire(blocking=False))

    def painter(canvas):
        other = threading.Thread(target=try_to_draw)
        other.start()
        other.join()

    overlay.draw(painter)
    try_to_draw()
    _DRAWING.release()
    assert free == [False, True]
