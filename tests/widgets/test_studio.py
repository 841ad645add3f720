"""The base of explorers of made pictures: a film that is computed while it plays."""

import io
import threading
from dataclasses import dataclass, replace

import ipywidgets as widgets
import numpy as np
import pytest
import torch

from nni_widgets.errors import invalid
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.bases.studio import Stage, Studio
from nni_widgets.widgets.parts.controls import Mistyped
from nni_widgets.widgets.parts.files import npz
from tests.widgets.cells import copied, downloads
from tests.widgets.user import clicks, found, registered, sends, sets, the


@dataclass(frozen=True)
class Number:
    """A frame: a number that depends on all the steps before it."""

    step: int
    of: int
    value: int
    whole: bool = True

    def next(self, seed):
        return Number(self.step + 1, self.of, (31 * self.value + seed) % 1009)


class Toy(Studio[Number]):
    """Makes numbers; ``tickets`` are the steps that it may do."""

    opener = "toy"

    def __init__(self, of=6, tickets=None):
        self._of, self._seeds, self.tickets = of, widgets.IntText(1), tickets
        self._seeds.observe(lambda _: self._ask(), "value")
        self._words = widgets.HTML().add_class("toy")
        self.from_the_start = 0
        super().__init__()
        self._begin()

    def _stage(self):
        return Stage([self._words], [widgets.HTML()], [self._seeds.add_class("seed")])

    def _selected(self):
        if self._seeds.value < 0:
            raise invalid("Toy", "seed", "at least 0", self._seeds.value, "Try 1")
        return self._seeds.value

    def _frames(self, selected, last):
        if last is None:
            self.from_the_start += 1
            last = Number(0, self._of, selected)
            yield last
        while last.step < last.of:
            if self.tickets is not None:
                self.tickets.acquire()
            if selected == 13:
                raise ValueError("Toy: 13.")
            last = last.next(selected)
            yield last

    def _paint_frame(self, frame, film):
        self._words.value = f"{frame.value} among {len(film.frames)}"

    def _said(self, frame):
        return f"number {frame.value}"

    def _digest_of(self, frame):
        return f"value {frame.value}"

    def _frame_pngs(self, frame):
        return {"number.png": picture_png(torch.full((1, 2, 2), frame.value / 1009))}

    def _frame_npzs(self, frame):
        return {"number.npz": npz(value=torch.tensor(frame.value))}

    def _bytes_of(self, frame):
        return 100

    def _arguments(self, names):
        return [str(self._seeds.value)]

    def _forget(self):
        self._seeds.value = 1


class Tickets(threading.Semaphore):
    """As many steps as one gives; ``all`` opens the gate for good."""

    def __init__(self, count):
        super().__init__(count)
        self._open = False

    def acquire(self):
        return self._open or super().acquire()

    def all(self):
        self._open = True
        self.release(1000)


@pytest.fixture
def toy(opened):
    return opened(Toy())


@pytest.fixture
def gated(monkeypatch):
    """A toy that waits before step 3 until it is given tickets, and paints every frame."""
    monkeypatch.setattr("nni_widgets.widgets.bases.studio._SECONDS_A_FRAME", 0)
    tickets = Tickets(2)
    made = Toy(tickets=tickets)
    wait_for(lambda: made.frame == 2)
    yield made
    tickets.all()
    made.close()


def wait_for(condition):
    deadline = threading.Event()
    for _ in range(500):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("it does not come about")


def let_go(explorer):
    """Pause while a step is being computed, then let the worker leave it."""
    explorer.pause()
    explorer.tickets.all()
    return explorer.drain()


def values(explorer):
    return [frame.value for frame in explorer._outcome.value.frames]


def test_it_plays_to_the_end_at_once(toy):
    expected = [Number(0, 6, 1)]
    for _ in range(6):
        expected.append(expected[-1].next(1))
    assert toy._outcome.value.frames == tuple(expected)
    assert toy.made == expected[-1]
    assert (toy.frame, toy.playing) == (6, False)
    assert toy.digest() == f"value {expected[-1].value}\nstep 6 of 6"
    assert the(toy, "toy").value == f"{expected[-1].value} among 7"
    assert the(toy, "nn-play").description == "Play"


def test_the_first_frame_is_there_before_the_second(gated):
    assert values(gated)[0] == 1
    assert gated.playing
    assert the(gated, "nn-play").description == "Pause"


def test_pausing_keeps_the_frames_and_playing_on_goes_on_there(gated, toy):
    clicks(gated, "nn-play")
    assert not gated.playing
    assert gated._status.words.endswith("step 2 of 6 · paused")
    let_go(gated)
    assert gated.digest().endswith("step 2 of 6")
    assert the(gated, "nn-play").description == "Play"
    clicks(gated, "nn-play")
    gated.drain()
    assert values(gated) == values(toy)
    assert gated.from_the_start == 1


def test_playing_on_at_once_while_the_step_is_still_computed(gated, toy):
    gated.pause()
    gated.play()
    assert gated.playing
    gated.tickets.all()
    assert not gated.drain().playing
    assert values(gated) == values(toy)
    assert the(gated, "nn-play").description == "Play"


def test_escape_pauses(gated):
    sends(gated._page, type="escape")
    assert not gated.playing


def test_stepping_back_and_forward_through_what_is_there(toy):
    generation = toy._worker._generation
    for step in (5, 4, 3):
        clicks(toy, "nn-step-back")
        assert toy.made.step == step
        assert the(toy, "toy").value == f"{toy.made.value} among 7"
    assert toy._status.words.endswith("step 3 of 6 · paused")
    clicks(toy, "nn-step-forward")
    assert toy.digest() == f"value {values(toy)[4]}\nstep 4 of 6"
    assert toy._worker._generation == generation, "nothing is computed"
    for _ in range(9):
        toy.step_back()
    assert toy.frame == 0


def test_stepping_back_while_it_plays_pauses_there(gated):
    clicks(gated, "nn-step-back")
    assert (gated.frame, gated.playing) == (1, False)
    assert let_go(gated).made.step == 1


def test_the_slider_moves_through_the_frames(gated):
    sets(the(gated, "nn-frame-number"), value=1)
    assert (gated.made.step, gated.playing) == (1, False)
    assert let_go(gated).frame == 1


def test_a_frame_that_is_not_there_yet_is_waited_for(gated):
    let_go(gated)
    gated.frame = 4
    assert (gated.made.step, gated.playing) == (4, False)
    with pytest.raises(ValueError, match="frame must be a whole number from 0 to 6; got 7"):
        gated.frame = 7


def test_a_step_forward_at_the_end_of_what_is_there_makes_one_more_frame(gated, toy):
    let_go(gated)
    for step in (3, 4):
        clicks(gated, "nn-step-forward")
        assert gated.digest() == f"value {values(toy)[step]}\nstep {step} of 6"
        assert not gated.playing
        assert gated._status.words.endswith("paused")
    gated.play()
    assert values(gated.drain()) == values(toy)
    clicks(gated, "nn-step-forward")
    assert gated.drain().frame == 6


def test_playing_on_from_an_earlier_frame_shows_those_between_again(gated, toy):
    let_go(gated)
    gated.frame = 0
    seen = []
    paint = gated._paint_frame
    gated._paint_frame = lambda frame, film: (seen.append(frame.step), paint(frame, film))
    gated.play()
    gated.drain()
    assert seen[0] == 1
    assert seen == sorted(seen)
    assert seen[-1] == 6
    assert values(gated) == values(toy)


def test_playing_at_the_end_shows_the_film_again_each_time(toy):
    for _ in range(2):
        seen = []
        toy._paint_frame = lambda frame, film, seen=seen: seen.append(frame.step)
        toy.play()
        toy.drain()
        assert (seen[0], seen[-1]) == (0, 6)
        assert len(seen) > 3
        del toy._paint_frame
    assert toy.from_the_start == 1


def test_another_choice_makes_another_film_and_the_first_one_is_remembered(toy):
    first = toy.digest()
    sets(the(toy, "seed"), value=7)
    assert toy.drain().made.value != 1
    assert toy.digest() != first
    clicks(toy, "nn-reset")
    assert toy.digest() == first
    assert toy.from_the_start == 2


def test_pausing_before_a_new_film_has_begun_does_not_mix_the_two(gated):
    sets(the(gated, "seed"), value=7)
    gated.pause()
    let_go(gated)
    assert gated._status.words == "Paused before the first picture."
    assert repr(gated) == "Paused before the first picture."
    gated.play()
    assert gated.drain()._outcome.value.frames[0] == Number(0, 6, 7)


def test_pausing_before_a_new_film_has_begun_dims_the_picture_of_before(gated):
    sets(the(gated, "seed"), value=7)
    gated.pause()
    assert len(found(gated, "nn-stale")) == 1
    gated.tickets.all()
    gated.play()
    gated.drain()
    assert not found(gated, "nn-stale")


def test_an_error_is_said_in_place_and_the_next_choice_works(toy):
    before = toy.digest()
    sets(the(toy, "seed"), value=13)
    assert toy.drain().digest() == "Toy: 13."
    assert not toy.playing
    assert the(toy, "nn-play").description == "Play"
    (pictures,) = found(toy, "nn-stale")
    sets(the(toy, "seed"), value=-4)
    assert toy.digest().startswith("Toy: seed must be at least 0; got -4.")
    sets(the(toy, "seed"), value=1)
    assert toy.digest() == before
    assert "nn-stale" not in pictures._dom_classes


def test_an_error_stays_while_it_played(gated):
    gated._refuse(ValueError("No."))
    gated.tickets.all()
    assert gated.drain().digest() == "No."
    clicks(gated, "nn-play")
    assert gated.digest().endswith("step 6 of 6")


def test_an_error_of_before_takes_nothing_newer_with_it(gated):
    sets(the(gated, "seed"), value=13)
    gated.tickets.release()
    wait_for(lambda: gated._outcome.value.selected == 13)
    sets(the(gated, "seed"), value=2)
    gated.tickets.all()
    assert gated.digest().endswith("step 6 of 6")
    assert gated._outcome.value.selected == 2


def test_progress_is_that_of_this_work(gated):
    seen = []
    gated._status.advance = lambda what, done, of, seconds: seen.append((what, done, of))
    let_go(gated)
    gated.play()
    gated.drain()
    assert seen == [("Toy", 3, 6), ("Toy", 4, 6), ("Toy", 5, 6)]


def test_the_copied_cell_looks_at_the_same_frame(toy, opened):
    assert copied(toy) == "import nni_widgets as nni\n\ntoy(1)"
    toy.frame = 2
    cell = copied(toy)
    assert cell.endswith("explorer = toy(1)\nexplorer.frame = 2\nexplorer")
    again = opened(Toy())
    again.frame = 2
    assert again.digest() == toy.digest()


def test_save(toy, monkeypatch):
    toy.frame = 3
    saved = downloads(toy, monkeypatch)
    clicks(toy, "nn-save-png")
    clicks(toy, "nn-save-numbers")
    assert list(saved) == ["number.png", "number.npz"]
    assert np.load(io.BytesIO(saved["number.npz"]))["value"] == values(toy)[3]


def test_what_a_notebook_keeps(toy):
    toy.frame = 4
    bundle = toy._repr_mimebundle_()
    assert bundle["image/png"] == toy._frame_pngs(toy.made)["number.png"]
    assert bundle["text/plain"] == toy.digest()
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_paused_one_is_displayed_as_it_stands(gated):
    let_go(gated)
    assert gated._repr_mimebundle_()["text/plain"].endswith("step 2 of 6")


def test_closing_leaves_no_thread_and_no_widget():
    Toy().drain().close()
    threads, widgets_open = threading.active_count(), registered()
    for _ in range(5):
        Toy().drain().close()
    assert (threading.active_count(), registered()) == (threads, widgets_open)


class Forgetful(Toy):
    """Keeps of a frame what is to be seen; the last one is whole."""

    def _kept(self, frame):
        return replace(frame, whole=False)


def test_what_is_kept_of_a_frame_when_the_next_one_is_there(opened, toy):
    explorer = opened(Forgetful())
    *before, last = explorer._outcome.value.frames
    assert [frame.whole for frame in before] == [False] * 6
    assert last.whole
    assert values(explorer) == values(toy)


class Weighted(Toy):
    """The numbers depend on a weight, too."""

    weight = 1

    def _weights(self):
        return self.weight

    def _frames(self, selected, last):
        for frame in super()._frames(selected, last):
            yield replace(frame, value=frame.value * self.weight)


def test_with_other_weights_another_film_is_made(opened):
    explorer = opened(Weighted())
    before, digest = values(explorer), explorer.digest()
    explorer.weight = 2
    assert explorer.digest() == digest, "the picture on the screen is still that one"
    clicks(explorer, "nn-play")
    explorer.drain()
    assert values(explorer)[0] == 2 * before[0]
    explorer.weight = 3
    clicks(explorer, "nn-reset")
    assert values(explorer.drain())[0] == 3 * before[0]
    explorer.weight = 4
    clicks(explorer, "nn-step-forward")
    assert values(explorer.drain()) == [4 * before[0]]


class Breaking(Toy):
    """Fails at a step as long as it is broken."""

    broken = True

    def _frames(self, selected, last):
        for frame in super()._frames(selected, last):
            if frame.step == 4 and self.broken:
                raise ValueError("Toy: broken.")
            yield frame


@pytest.fixture
def breaking(opened):
    explorer = opened(Breaking())
    assert explorer.digest() == "Toy: broken."
    return explorer


def test_what_was_made_before_an_error_can_be_looked_at(breaking, toy):
    assert the(breaking, "nn-frame-number").max == breaking.frame == 3
    assert found(breaking, "nn-stale")
    clicks(breaking, "nn-step-back")
    assert breaking.drain().digest() == f"value {values(toy)[2]}\nstep 2 of 6"
    assert not found(breaking, "nn-stale")
    assert breaking.from_the_start == 1


def test_it_goes_on_after_an_error_where_it_was(breaking, toy):
    clicks(breaking, "nn-step-forward")
    assert breaking.drain().digest() == "Toy: broken."
    breaking.broken = False
    clicks(breaking, "nn-step-forward")
    assert breaking.drain().digest() == f"value {values(toy)[4]}\nstep 4 of 6"
    breaking.play()
    assert values(breaking.drain()) == values(toy)
    assert breaking.from_the_start == 1


def test_a_frame_can_be_looked_at_after_something_was_mistyped(toy):
    undone = []
    toy._refuse(Mistyped(ValueError("No."), lambda: undone.append(True)))
    assert toy.digest() == "No."
    sets(the(toy, "nn-frame-number"), value=2)
    assert (undone, toy.drain().digest()) == ([True], f"value {values(toy)[2]}\nstep 2 of 6")


def test_stepping_back_before_a_new_film_has_begun_leaves_the_picture_dimmed(gated):
    sets(the(gated, "seed"), value=7)
    clicks(gated, "nn-step-back")
    assert gated._status.words == "Paused before the first picture."
    assert len(found(gated, "nn-stale")) == 1


@pytest.mark.parametrize("number", ["2", None, 1.5, -1])
def test_a_frame_that_is_no_number_is_refused(toy, number):
    with pytest.raises(ValueError, match="frame must be a whole number from 0 to 6; got"):
        toy.frame = number


class Patient(Toy):
    """Shows the first frame and waits for Play."""

    plays_at_once = False


def test_one_that_waits_for_play(opened):
    explorer = opened(Patient())
    assert explorer.digest() == "value 1\nstep 0 of 6"
    assert not explorer.playing
    sets(the(explorer, "seed"), value=5)
    assert explorer.digest() == "value 5\nstep 0 of 6"
    assert copied(explorer).endswith("toy(5)")
    explorer.play()
    assert explorer.drain().made.step == 6
    assert copied(explorer).endswith("explorer.frame = 6\nexplorer")
    explorer.play()
    assert explorer.drain().made.step == 6
    assert [frame.step for frame in explorer._outcome.value.frames] == list(range(7))
