"""What explorers of pictures that are *made* are made of: a film that is computed while it plays.

The studio has everything that ``live`` has, and play, pause, one frame back, one frame forward. A
film is a tuple of *frames*: any frozen values that have ``step`` and ``of``, such as a Synthesis
or a value of the explorer's own around one. Whatever is selected makes one film, always the same:
pausing keeps the frames, playing on computes the frames after the last one, exactly as if there had
been no pause. At the end, playing shows the film again.

An explorer is a subclass: its ``__init__`` makes its widgets, calls ``super().__init__`` and then
``self._begin()``; its widgets call ``self._ask`` when something new is to be made, ``self._look``
when the frame is to be painted otherwise, and ``self._refuse`` with an error. It fills in

==================  ==============================================================================
``opener``          the function that opens it, as copied code calls it
``_stage``          its widgets, each in its place
``_selected``       what is selected now: a frozen value, equal if the same film is to be made
``_frames``         the frames of that film as they are made, all or those after a given last one;
                    the first one soon, the last one with ``step`` equal to ``of``; runs in the
                    thread
``_paint_frame``    show a frame; ``film.frames`` are those made so far, for a curve over steps
``_said``           a frame in a few words, for the status line
``_digest_of``      the numbers of a frame that matter, the same in every run
``_frame_pngs``     its pictures to save, the first one stays in a saved notebook
``_frame_npzs``     its numbers to save
``_bytes_of``       about how many bytes a frame takes
``_arguments``      the arguments of the opener, as code
``_forget``         set its own controls back, without calling back
==================  ==============================================================================

and may override ``_kept`` (what is kept of a frame when the next one is there: to go on only needs
the last one), ``_weights`` (the state of the networks that make the frames: with other weights
another film is made), ``_preparation`` (lines of copied code before the call), ``_settings``
(attributes to set after it), ``_at_work`` (what progress is called), ``captions`` (accessible names
by CSS class) and ``plays_at_once``: without it a change shows the first frame of its film and waits
for Play.
``explorers/prototypes`` and ``explorers/codes`` are two to begin with; of ``parts``,
``objective.ObjectiveCurve`` draws how far a Synthesis has come, ``classes.ClassPicker`` lets one
choose a class, and ``classes.ForAClass`` is the ``target`` of such an explorer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import ipywidgets as widgets

from nni_widgets.params import as_code, is_whole
from nni_widgets.session import Outcome, Request, Status, Step
from nni_widgets.widgets.bases.live import Live, opened, request_of
from nni_widgets.widgets.parts.controls import Stepper, button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.film import F, Film

_SECONDS_A_FRAME = 0.04
_PATIENCE = 120.0


@dataclass(frozen=True, eq=False)
class Stage:
    """The widgets of an explorer: its pictures, what stands beside them, below the buttons.

    Pictures are dimmed while they are not those that were asked for.
    """

    pictures: Sequence[widgets.Widget]
    choices: Sequence[widgets.Widget] = ()
    controls: Sequence[widgets.Widget] = ()


class Studio(Live[Film[F]]):
    """The common part of the explorers that make pictures step by step.

    ``play``, ``pause``, ``step_back``, ``step_forward`` and ``frame`` are what the buttons and the
    slider do. ``drain`` waits until nothing plays; ``made`` is the frame shown; ``digest`` is its
    short text form. Errors are shown in the explorer, which stays usable. ``close`` ends its thread
    and its widgets.
    """

    plays_at_once: ClassVar[bool] = True

    def __init__(self, large: bool = False) -> None:
        self._playing, self._follows = False, True
        self._painted_at, self._unpainted = 0.0, cast("Film[F] | None", None)
        self._frame = Stepper("frame", 1, self._moved, "nn-frame-number")
        self._play = button("Play", self._toggle, width="72px")
        super().__init__(large)

    # what an explorer fills in

    def _stage(self) -> Stage:
        raise NotImplementedError

    def _selected(self) -> Any:
        raise NotImplementedError

    def _frames(self, selected: Any, last: F | None) -> Iterator[F]:
        raise NotImplementedError

    def _paint_frame(self, frame: F, film: Film[F]) -> None:
        raise NotImplementedError

    def _said(self, frame: F) -> str:
        raise NotImplementedError

    def _digest_of(self, frame: F) -> str:
        raise NotImplementedError

    def _frame_pngs(self, frame: F) -> dict[str, bytes]:
        raise NotImplementedError

    def _frame_npzs(self, frame: F) -> dict[str, bytes]:
        raise NotImplementedError

    def _bytes_of(self, frame: F) -> int:
        raise NotImplementedError

    def _kept(self, frame: F) -> F:
        return frame

    def _weights(self) -> Any:
        return ()

    def _arguments(self, names: Names) -> list[str]:
        raise NotImplementedError

    def _preparation(self) -> str:
        return ""

    def _settings(self, names: Names) -> dict[str, str]:
        return {}

    # what can be asked and told from code

    @property
    def made(self) -> F | None:
        """The frame on the screen; ``None`` before the first one."""
        outcome = self._outcome
        return None if outcome is None else self._shown(outcome.value)

    @property
    def playing(self) -> bool:
        """Whether the film plays."""
        return self._playing

    @property
    def frame(self) -> int:
        """The number of the frame shown, from 0. To set it waits until that frame is there."""
        return self._frame.value

    @frame.setter
    def frame(self, number: int) -> None:
        self.drain(_PATIENCE)
        film = self._film_of_now()
        if is_whole(number) and number >= len(film.frames) and not film.finished:
            self.play()
            self.drain(_PATIENCE)
        self._frame.value = number

    def play(self) -> None:
        """Play on from the frame shown, and make the frames that are not there yet.

        At the end the film plays again from its beginning.
        """
        if not self._playing:
            self._follows = True
            self._set_playing(True)
            self._submit(self._going_on)

    def pause(self) -> None:
        """Stop playing. What is made stays, and playing on goes on exactly there."""
        self._worker.cancel()
        if self._playing:
            self._set_playing(False)
            self._say_cancelled()

    def step_back(self) -> None:
        """Pause at the frame before."""
        self.pause()
        self._go_to(max(self.frame - 1, 0))

    def step_forward(self) -> None:
        """Pause at the next frame; if it is not there yet, make it."""
        self.pause()
        film = self._film_of_now()
        if self.frame + 1 < len(film.frames):
            self._go_to(self.frame + 1)
        elif not film.finished:
            self._follows = True
            self._submit(self._one_more)

    def code(self) -> str:
        """The cell that makes this picture again."""
        names = Names()
        arguments, settings = ", ".join(self._arguments(names)), self._settings(names)
        if not self._is_shown_first(self._film_of_now()):
            settings = {**settings, "frame": as_code(self.frame)}
        call = opened(f"{self.opener}({arguments})", settings)
        return f"{names.comment()}import nni_widgets as nni\n\n{self._preparation()}{call}"

    def _is_shown_first(self, film: Film[F]) -> bool:
        """Whether the frame on the screen is the one that the explorer would open with."""
        if not self.plays_at_once:
            return self.frame == 0
        return not film.frames or (film.finished and self.frame == len(film.frames) - 1)

    # where it all stands

    def _layout(self) -> list[widgets.Widget]:
        stage = self._stage()
        self._pictures = tuple(stage.pictures)
        transport = [
            button("Step back", self.step_back),
            self._play,
            button("Step forward", self.step_forward),
            self._frame.widget,
        ]
        return self._stacked([[*stage.pictures, *stage.choices], transport], stage.controls)

    # from a change to a film

    def _ask(self) -> None:
        """What is to be made has changed: make it from its beginning."""
        self._follows = True
        self._set_playing(self.plays_at_once)
        super()._ask()

    def _submit(self, make: Callable[[], Request[Film[F]] | None]) -> None:
        self._painted_at = 0.0  # the first frame is shown at once
        super()._submit(make)

    def _request(self) -> Request[Film[F]]:
        film: Film[F] = Film(self._selected(), self._weights())
        return self._request_to_play(film, -1) if self.plays_at_once else self._request_one(film)

    def _going_on(self) -> Request[Film[F]]:
        film = self._film_of_now()
        at_the_end = film.finished and self.frame == len(film.frames) - 1
        return self._request_to_play(film, -1 if at_the_end or not film.frames else self.frame)

    def _one_more(self) -> Request[Film[F]]:
        return self._request_one(self._film_of_now())

    def _request_to_play(self, film: Film[F], at: int) -> Request[Film[F]]:
        again = object() if film.finished else None  # a finished one is to be seen again
        key = (film.selected, film.weights, again)
        return request_of(key, lambda: self._played(film, at))

    def _request_one(self, film: Film[F]) -> Request[Film[F]]:
        key = (film.selected, film.weights, "and one more frame", len(film.frames))
        return request_of(key, lambda: self._grown_by_one(film))

    def _played(self, film: Film[F], at: int) -> Iterator[Step[Film[F]]]:
        film = replace(film, begun=film.frames[max(at, 0)].step if film.frames else 0)
        for number in range(at + 1, len(film.frames)):
            yield _step(replace(film, at=number))
            time.sleep(_SECONDS_A_FRAME)
        if film.finished:
            return
        for frame in self._frames(film.selected, film.last):
            film = film.grown(frame, self._kept)
            yield _step(film)

    def _grown_by_one(self, film: Film[F]) -> Iterator[Step[Film[F]]]:
        frame = next(iter(self._frames(film.selected, film.last)))
        yield Step(film.grown(frame, self._kept))

    def _film_of_now(self) -> Film[F]:
        """The film of what is selected, as far as it is made with the weights of now."""
        film: Film[F] = Film(self._selected(), self._weights())
        if self._outcome is None:
            return film
        shown = self._outcome.value
        is_it = (shown.selected, shown.weights) == (film.selected, film.weights)
        return shown if is_it else film

    @property
    def _made_for(self) -> Any:
        """What was selected when the film on the screen was asked for."""
        return self._selected() if self._outcome is None else self._outcome.value.selected

    def _show(self, outcome: Outcome[Film[F]]) -> None:
        """Keep every frame, and paint as many as one can see."""
        with self._painting:
            self._outcome, self._unpainted = outcome, outcome.value
            now = time.perf_counter()
            if outcome.finished or now - self._painted_at >= _SECONDS_A_FRAME:
                self._paint(outcome.value)
                self._tell(outcome)
                self._painted_at = now

    def _paint(self, shown: Film[F]) -> None:
        self._unpainted = None
        count = len(shown.frames)
        self._frame.fit(count, shown.at if self._follows else min(self.frame, count - 1))
        for picture in self._pictures:
            picture.remove_class("nn-stale")
        self._paint_frame(self._shown(shown), shown)

    def _look(self) -> None:
        """Show what there is of the film that is selected, also if the work went wrong after it."""
        is_there = False
        with suppress(ValueError):  # what is selected may be wrong itself
            is_there = bool(self._film_of_now().frames)
        if is_there:
            self._forgive()
        super()._look()
        if self._outcome is None or self._status.refused:
            return
        if is_there or self._playing:
            self._tell(self._outcome)
        else:
            self._say_cancelled()

    def _shown(self, film: Film[F]) -> F:
        return film.frames[min(self.frame, len(film.frames) - 1)]

    def _size_of(self, shown: Film[F]) -> int:
        return sum(map(self._bytes_of, shown.frames))

    def _pngs(self, shown: Film[F]) -> dict[str, bytes]:
        return self._frame_pngs(self._shown(shown))

    def _npzs(self, shown: Film[F]) -> dict[str, bytes]:
        return self._frame_npzs(self._shown(shown))

    # words

    def _tell(self, outcome: Outcome[Film[F]]) -> None:
        film, frame = outcome.value, self._shown(outcome.value)
        words = [self._said(frame), f"step {frame.step} of {frame.of}"]
        if frame is not film.last or not film.finished:
            words.append("playing" if self._playing else "paused")
        elif not film.begun:
            words.append(f"{outcome.elapsed:.1f} s")
        self._status.say(" · ".join(words), outcome.generation)

    def _text_of(self, shown: Film[F]) -> str:
        frame = self._shown(shown)
        return f"{self._digest_of(frame)}\nstep {frame.step} of {frame.of}"

    def _settled(self, outcome: Outcome[Film[F]]) -> bool:
        return not self._playing and outcome.value.selected == self._selected()

    def _advance(self, outcome: Outcome[Film[F]]) -> None:
        film = outcome.value
        frame = film.frames[film.at]
        if frame.step > film.begun:
            seconds = outcome.elapsed * frame.step / (frame.step - film.begun)
            self._status.advance(self._at_work(), frame.step, frame.of, seconds)

    def _progress(self, status: Status) -> None:
        if status.generation < self._newest:
            return
        super()._progress(status)
        if not self._busy:
            self._set_playing(False)

    def _say_cancelled(self) -> None:
        outcome = self._outcome
        if self._status.refused:
            return
        if outcome is None or not self._film_of_now().frames:
            self._status.say("Paused before the first picture.")
            self._dim()
            return
        with self._painting:
            self._paint(outcome.value)
            self._tell(outcome)

    def _refuse(self, error: BaseException) -> None:
        self._set_playing(False)
        super()._refuse(error)

    def _fail(self, error: BaseException, request: Request[Film[F]]) -> None:
        with self._painting:
            if self._unpainted is not None and request == self._wanted:
                with suppress(ValueError):
                    self._paint(self._unpainted)
            super()._fail(error, request)

    def _dim(self) -> None:
        for picture in self._pictures:
            picture.add_class("nn-stale")

    # what the user does

    def _cancel(self) -> None:
        self.pause()

    def _toggle(self) -> None:
        if self._playing:
            self.pause()
        else:
            self.play()

    def _go_to(self, number: int) -> None:
        self._frame.value = number

    def _forgive(self) -> None:
        """What was wrong is wanted no more."""
        with self._asking:
            while self._mistyped:
                self._mistyped.pop().undo()
            self._status.refused = False

    def _moved(self) -> None:
        """The slider was moved: look at that frame."""
        self._follows = False
        self.pause()
        self._look()

    def _set_playing(self, playing: bool) -> None:
        self._playing = playing
        self._play.description = "Pause" if playing else "Play"


def _step(film: Film[F]) -> Step[Film[F]]:
    """The frame that plays as a step of the work; one before any step counts, too."""
    frame = film.frames[film.at]
    return Step(film, frame.step + 1, frame.of + 1)
