"""One thread per explorer that computes only what is wanted now.

Callbacks of one explorer arrive on several threads, depending on the version of the kernel; the
worker's thread alone computes and shows. It is started in a copy of the creator's context, without
which some kernels refuse a widget's message from a new thread.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, replace
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Generic, TypeVar

from nni_widgets.errors import invalid, sentence
from nni_widgets.session.cache import Cache
from nni_widgets.session.messages import Outcome, Phase, Request, Status, Step

T = TypeVar("T")


@dataclass
class _Job(Generic[T]):
    request: Request[T]
    generation: int
    live: bool = True  # until it has its last result, failed, or is left
    cancelled: bool = False


class Worker(Generic[T]):
    """Computes the newest request step by step and shows every step.

    A request that waits is replaced by a newer one. A request at work is left for a newer one as
    soon as one of its results was shown, so that an unbroken stream of requests still paints.

    ``show(outcome)``, ``fail(exception, request)`` and ``status(status)`` are called in the
    worker's thread, one at a time. Whatever the work or ``show`` raises goes to ``fail``, and the
    worker goes on. Nothing is printed.
    """

    def __init__(
        self,
        show: Callable[[Outcome[T]], None],
        fail: Callable[[BaseException, Request[T]], None],
        status: Callable[[Status], None] | None = None,
        cache: Cache[T] | None = None,
    ) -> None:
        self._show = show
        self._fail = fail
        self._status = status or _ignore
        self._cache = cache
        self._changed = threading.Condition()
        self._generation = 0
        self._waiting: _Job[T] | None = None
        self._running: _Job[T] | None = None
        self._closed = False
        self._lost: BaseException | None = None
        self._wakeups: SimpleQueue[bool] = SimpleQueue()
        self._stop = weakref.finalize(self, self._wakeups.put, False)
        self._thread = threading.Thread(
            target=copy_context().run,
            args=(_serve, self._wakeups, weakref.ref(self)),
            name="nni-worker",
            daemon=True,
        )
        self._thread.start()
        _open.add(self)

    def submit(self, request: Request[T]) -> int:
        """Ask for this request instead of any other; returns its generation at once."""
        with self._changed:
            if self._closed:
                raise RuntimeError(
                    sentence(
                        "Worker",
                        "submit",
                        "called before close",
                        "a request after it",
                        "Create a new explorer.",
                    )
                )
            running = self._running
            if running is not None and running.live and running.request == request:
                self._waiting = None
                return running.generation
            self._generation += 1
            self._waiting = _Job(request, self._generation)
            generation = self._generation
        self._wakeups.put(True)
        return generation

    def cancel(self) -> None:
        """Drop what waits and stop what is at work before its next step is shown."""
        with self._changed:
            for job in (self._running, self._waiting):
                if job is not None and job.live:
                    job.live, job.cancelled = False, True

    def drain(self, timeout: float) -> None:
        """Wait until nothing waits and nothing is at work.

        Raises ``TimeoutError`` after ``timeout`` seconds, and what ``fail`` or ``status`` itself
        has raised since the last call: nobody else could have heard of it.
        """
        if threading.current_thread() is self._thread:
            action = "Wait in the thread that submits."
            raise RuntimeError(
                sentence("Worker", "drain", "called by another thread", "the worker's own", action)
            )
        with self._changed:
            idle = self._changed.wait_for(self._is_idle, timeout)
            lost, self._lost = self._lost, None
        if lost is not None:
            raise lost
        if not idle:
            raise TimeoutError(
                sentence(
                    "Worker",
                    "the work",
                    f"done within {timeout:g} s",
                    "work that still runs",
                    "Wait longer, or call cancel().",
                )
            )

    def close(self, timeout: float = 5.0) -> None:
        """End the thread; waits at most ``timeout`` seconds for the step that is being computed."""
        with self._changed:
            self._closed = True
            self._waiting = None
            if self._running is not None:
                self._running.live = False
        self._stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _is_idle(self) -> bool:
        return self._waiting is None and self._running is None

    def _serve_newest(self) -> None:
        with self._changed:
            job = self._running = self._waiting
            self._waiting = None
        if job is None:
            return
        try:
            self._attempt(job)
        except BaseException as error:  # noqa: BLE001 - the thread outlives whatever is raised
            self._lost = error
        finally:
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _attempt(self, job: _Job[T]) -> None:
        try:
            self._run(job)
        except BaseException as error:  # noqa: BLE001 - also an interrupt belongs to fail
            job.live = False
            self._fail(error, job.request)
            self._status(Status(Phase.FAILED, job.generation))

    def _run(self, job: _Job[T]) -> None:
        if job.live:
            self._status(Status(Phase.QUEUED, job.generation))
            known = self._cache.get(job.request.key) if self._cache is not None else None
            if known is None:
                self._compute(job)
            else:
                self._deliver(job, replace(known, generation=job.generation, from_cache=True))
        if job.cancelled:
            self._status(Status(Phase.CANCELLED, job.generation))

    def _compute(self, job: _Job[T]) -> None:
        elapsed, since = 0.0, perf_counter()
        steps = job.request.work()
        shown = False
        try:
            while not self._leaves(job, shown):
                step = next(steps, None)
                if step is None:
                    raise _unfinished()
                elapsed += perf_counter() - since
                if not self._leaves(job, shown):
                    self._deliver(job, _outcome(job, step, elapsed))
                    shown, since = True, perf_counter()
        finally:
            getattr(steps, "close", _ignore)()

    def _leaves(self, job: _Job[T], shown: bool) -> bool:
        with self._changed:
            if shown and self._waiting is not None:
                job.live = False
            return not job.live

    def _deliver(self, job: _Job[T], outcome: Outcome[T]) -> None:
        if outcome.finished:
            job.live = False
            if self._cache is not None and not outcome.from_cache:
                self._cache.put(outcome)
        self._show(outcome)
        phase = Phase.DONE if outcome.finished else Phase.WORKING
        self._status(Status(phase, job.generation, outcome.done, outcome.of))


_open: weakref.WeakSet[Worker[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Let every thread come to an end: one that the interpreter leaves inside torch aborts it."""
    workers = list(_open)
    for worker in workers:
        worker.close(timeout=0)
    for worker in workers:
        worker.close()


def _serve(wakeups: SimpleQueue[bool], reference: weakref.ref[Worker[Any]]) -> None:
    """The thread: it holds its worker only while it serves it, so that a forgotten one ends."""
    while wakeups.get():
        worker = reference()
        if worker is None:
            return
        worker._serve_newest()
        del worker


def _outcome(job: _Job[T], step: Step[T], elapsed: float) -> Outcome[T]:
    return Outcome(job.request.key, step.value, step.done, step.of, job.generation, elapsed)


def _unfinished() -> ValueError:
    return invalid(
        "Request",
        "the last step of the work",
        "finished (done equal to of)",
        "the end of the work without one",
        "Yield the complete result last.",
    )


def _ignore(*_: object) -> None:
    """Stands for a callback that nobody asked for."""
