"""The worker with fakes: work that waits for the test's word, so that no test sleeps."""

import contextvars
import gc
import itertools
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from queue import Queue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nni_widgets.session import Cache, Outcome, Phase, Request, Step, Worker

PATIENCE = 20.0


class Recorder:
    """Remembers what a worker said, in order, as (name, generation, payload)."""

    def __init__(self):
        self.events = []
        self.outcomes = []
        self.statuses = []
        self.failures = []
        self.threads = set()

    def show(self, outcome):
        self.threads.add(threading.current_thread())
        self.outcomes.append(outcome)

    def fail(self, exception, request):
        self.threads.add(threading.current_thread())
        self.failures.append((exception, request))

    def status(self, status):
        self.threads.add(threading.current_thread())
        self.statuses.append(status)

    @property
    def values(self):
        return [outcome.value for outcome in self.outcomes]

    def phases(self, generation):
        return [s.phase for s in self.statuses if s.generation == generation]


class Gate:
    """Work of ``of`` steps, each of which announces itself and waits until it is let through."""

    def __init__(self, key, of=3):
        self.key, self.of = key, of
        self.entered = Queue()
        self.passes = threading.Semaphore(0)
        self.left = threading.Event()

    @property
    def request(self):
        return Request(self.key, self.work)

    def work(self):
        try:
            for done in range(1, self.of + 1):
                self.entered.put(done)
                assert self.passes.acquire(timeout=PATIENCE)
                yield Step(f"{self.key}{done}", done, self.of)
        finally:
            self.left.set()

    def wait_for_step(self, number):
        assert self.entered.get(timeout=PATIENCE) == number

    def let(self, n=1):
        self.passes.release(n)


def at_once(key, value=None):
    return Request(key, lambda: iter([Step(key if value is None else value)]))


def raising(key, error):
    def work():
        raise error
        yield

    return Request(key, work)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def make(recorder):
    workers = []

    def make(**changes):
        callbacks = {"show": recorder.show, "fail": recorder.fail, "status": recorder.status}
        workers.append(Worker(**(callbacks | changes)))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_one_request_shows_every_step_in_order(make, recorder):
    steps = [Step("rough", 1, 3), Step("better", 2, 3), Step("fine", 3, 3)]
    worker = make()
    generation = worker.submit(Request("a", lambda: iter(steps)))
    worker.drain(PATIENCE)
    assert recorder.values == ["rough", "better", "fine"]
    assert [o.finished for o in recorder.outcomes] == [False, False, True]
    assert {(o.key, o.generation, o.of, o.from_cache) for o in recorder.outcomes} == {
        ("a", generation, 3, False)
    }
    elapsed = [o.elapsed for o in recorder.outcomes]
    assert elapsed == sorted(elapsed)
    assert elapsed[0] >= 0
    assert [(s.phase, s.done, s.of) for s in recorder.statuses] == [
        (Phase.QUEUED, 0, 0),
        (Phase.WORKING, 1, 3),
        (Phase.WORKING, 2, 3),
        (Phase.DONE, 3, 3),
    ]


def test_everything_is_said_in_one_thread_which_is_not_the_callers(make, recorder):
    worker = make()
    worker.submit(at_once("a"))
    worker.submit(raising("b", ValueError()))
    worker.drain(PATIENCE)
    assert len(recorder.threads) == 1
    assert threading.current_thread() not in recorder.threads


def test_the_newest_of_thirty_is_shown_and_the_others_are_never_computed(make, recorder):
    computed = []

    def counted(key):
        def work():
            computed.append(key)
            yield Step(key)

        return Request(key, work)

    first = Gate("first", of=1)
    worker = make()
    worker.submit(first.request)
    first.wait_for_step(1)
    for i in range(30):
        worker.submit(counted(i))
    first.let()
    worker.drain(PATIENCE)
    assert computed == [29]
    assert recorder.values == ["first1", 29]


def test_a_newer_request_stops_the_work_after_one_shown_result(make, recorder):
    old = Gate("old")
    worker = make()
    generation = worker.submit(old.request)
    old.wait_for_step(1)
    worker.submit(at_once("new"))
    old.let(3)
    worker.drain(PATIENCE)
    assert recorder.values == ["old1", "new"]
    assert old.entered.empty()
    assert old.left.is_set()
    assert recorder.phases(generation) == [Phase.QUEUED, Phase.WORKING]


def test_a_step_computed_while_a_newer_request_came_is_not_shown_if_one_was(make, recorder):
    old = Gate("old")
    worker = make()
    worker.submit(old.request)
    old.let()
    old.wait_for_step(1)
    old.wait_for_step(2)
    worker.submit(at_once("new"))
    old.let(2)
    worker.drain(PATIENCE)
    assert recorder.values == ["old1", "new"]


def test_an_unbroken_stream_of_requests_still_paints_each_time(make, recorder):
    worker = make()
    gates = [Gate(i) for i in range(5)]
    worker.submit(gates[0].request)
    for gate, following in itertools.pairwise(gates):
        gate.wait_for_step(1)
        worker.submit(following.request)
        gate.let()
    gates[-1].let(3)
    worker.drain(PATIENCE)
    assert recorder.values == ["01", "11", "21", "31", "41", "42", "43"]


def test_the_same_request_again_leaves_the_work_alone_and_drops_the_waiting_one(make, recorder):
    gate = Gate("a", of=2)
    worker = make()
    generation = worker.submit(gate.request)
    gate.wait_for_step(1)
    worker.submit(at_once("b"))
    assert worker.submit(Gate("a").request) == generation
    gate.let(2)
    worker.drain(PATIENCE)
    assert recorder.values == ["a1", "a2"]


def test_the_same_request_after_a_cancel_is_computed_again(make, recorder):
    gate = Gate("a", of=1)
    worker = make()
    worker.submit(gate.request)
    gate.wait_for_step(1)
    worker.cancel()
    again = worker.submit(at_once("a", "again"))
    gate.let()
    worker.drain(PATIENCE)
    assert recorder.values == ["again"]
    assert recorder.phases(again)[-1] is Phase.DONE


def test_the_same_request_asked_again_while_its_work_is_being_left_is_computed(make, recorder):
    worker = make()
    announced, go_on = threading.Event(), threading.Event()

    def work():
        try:
            yield Step("old1", 1, 2)
            announced.set()
            assert go_on.wait(PATIENCE)
            yield Step("old2", 2, 2)
        finally:
            worker.submit(at_once("old", "again"))

    worker.submit(Request("old", work))
    assert announced.wait(PATIENCE)
    worker.submit(at_once("new"))
    go_on.set()
    worker.drain(PATIENCE)
    assert recorder.values == ["old1", "again"]


def test_a_request_submitted_from_show_is_served(make, recorder):
    worker = make(show=lambda outcome: (recorder.show(outcome), follow(outcome)))

    def follow(outcome):
        if outcome.key == "a":
            worker.submit(at_once("b"))

    worker.submit(at_once("a"))
    worker.drain(PATIENCE)
    assert recorder.values == ["a", "b"]


def test_cancel_stops_at_the_step_boundary_and_shows_nothing_more(make, recorder):
    gate = Gate("a")
    worker = make()
    generation = worker.submit(gate.request)
    gate.let()
    gate.wait_for_step(1)
    gate.wait_for_step(2)
    worker.cancel()
    gate.let(2)
    worker.drain(PATIENCE)
    assert recorder.values == ["a1"]
    assert gate.left.is_set()
    assert recorder.phases(generation)[-1] is Phase.CANCELLED
    assert recorder.failures == []


def test_cancel_before_the_start_drops_the_waiting_request(make, recorder):
    gate = Gate("a", of=1)
    worker = make()
    first = worker.submit(gate.request)
    gate.wait_for_step(1)
    second = worker.submit(at_once("b"))
    worker.cancel()
    gate.let()
    worker.drain(PATIENCE)
    assert recorder.values == []
    assert recorder.phases(first)[-1] is Phase.CANCELLED
    assert recorder.phases(second) == [Phase.CANCELLED]


def test_cancel_of_an_idle_worker_says_nothing(make, recorder):
    worker = make()
    worker.cancel()
    worker.submit(at_once("a"))
    worker.drain(PATIENCE)
    worker.cancel()
    worker.drain(PATIENCE)
    assert [s.phase for s in recorder.statuses] == [Phase.QUEUED, Phase.DONE]


def test_cancel_while_the_last_result_is_shown_comes_too_late(make, recorder):
    worker = make(show=lambda outcome: worker.cancel())
    generation = worker.submit(at_once("a"))
    worker.drain(PATIENCE)
    assert recorder.phases(generation) == [Phase.QUEUED, Phase.DONE]


@pytest.mark.parametrize(
    "error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()]
)
def test_whatever_the_work_raises_is_reported_and_the_worker_goes_on(make, recorder, error):
    worker = make()
    request = raising("a", error)
    generation = worker.submit(request)
    worker.drain(PATIENCE)
    assert recorder.failures == [(error, request)]
    assert recorder.phases(generation) == [Phase.QUEUED, Phase.FAILED]
    worker.submit(at_once("b"))
    worker.drain(PATIENCE)
    assert recorder.values == ["b"]


def test_the_same_request_is_computed_again_after_it_failed(make, recorder):
    worker = make()
    worker.submit(raising("a", ValueError()))
    worker.drain(PATIENCE)
    worker.submit(at_once("a"))
    worker.drain(PATIENCE)
    assert recorder.values == ["a"]


def test_what_show_raises_is_reported_and_stops_the_work(make, recorder):
    error = RuntimeError("no such widget")

    def show(outcome):
        raise error

    gate = Gate("a")
    worker = make(show=show)
    gate.let(3)
    worker.submit(gate.request)
    worker.drain(PATIENCE)
    assert [failure[0] for failure in recorder.failures] == [error]
    assert gate.entered.qsize() == 1
    assert gate.left.is_set()


def test_what_fail_itself_raises_comes_out_of_drain_once(make, recorder):
    def fail(exception, request):
        raise LookupError("fail failed")

    worker = make(fail=fail)
    worker.submit(raising("a", ValueError()))
    with pytest.raises(LookupError, match="fail failed"):
        worker.drain(PATIENCE)
    worker.submit(at_once("b"))
    worker.drain(PATIENCE)
    assert recorder.values == ["b"]


@pytest.mark.parametrize("steps", [[], [Step("a", 1, 2)]])
def test_work_that_ends_without_a_finished_step_fails(make, recorder, steps):
    worker = make()
    worker.submit(Request("a", lambda: iter(steps)))
    worker.drain(PATIENCE)
    assert "last step of the work must be finished" in str(recorder.failures[0][0])


def test_a_worker_prints_nothing(make, capfd):
    worker = make()
    for error in (ValueError("bad"), SystemExit(1)):
        worker.submit(raising("a", error))
        worker.drain(PATIENCE)
    worker.close()
    assert capfd.readouterr() == ("", "")


def test_a_known_result_is_shown_at_once_as_finished_and_not_computed(make, recorder):
    cache = Cache(size_of=lambda value: 1)
    worker = make(cache=cache)
    worker.submit(at_once("a", "result"))
    worker.drain(PATIENCE)
    again = worker.submit(raising("a", AssertionError("computed again")))
    worker.drain(PATIENCE)
    first, second = recorder.outcomes
    assert second == replace(first, generation=again, from_cache=True)
    assert second.finished
    assert recorder.phases(again) == [Phase.QUEUED, Phase.DONE]
    assert recorder.failures == []


def test_only_finished_results_are_kept(make, recorder):
    cache = Cache(size_of=lambda value: 1)
    left, cancelled = Gate("left"), Gate("cancelled")
    worker = make(cache=cache)
    worker.submit(left.request)
    left.wait_for_step(1)
    worker.submit(cancelled.request)
    left.let()
    cancelled.let()
    cancelled.wait_for_step(1)
    cancelled.wait_for_step(2)
    worker.cancel()
    cancelled.let()
    worker.drain(PATIENCE)
    assert recorder.values == ["left1", "cancelled1"]
    assert len(cache) == 0


def test_drain_gives_up_with_a_sentence(make):
    gate = Gate("a", of=1)
    worker = make()
    worker.submit(gate.request)
    gate.wait_for_step(1)
    with pytest.raises(TimeoutError, match=r"must be done within 0 s; .*\."):
        worker.drain(0)
    gate.let()
    worker.drain(PATIENCE)


def test_drain_in_the_workers_own_thread_is_refused_instead_of_waiting_for_ever(make, recorder):
    worker = make(show=lambda outcome: worker.drain(PATIENCE))
    worker.submit(at_once("a"))
    worker.drain(PATIENCE)
    assert isinstance(recorder.failures[0][0], RuntimeError)


def test_submit_after_close_is_refused(make):
    worker = make()
    worker.close()
    with pytest.raises(RuntimeError, match="Worker: submit must be called before close"):
        worker.submit(at_once("a"))


def test_close_during_work_ends_the_thread_and_says_no_more(make, recorder):
    gate = Gate("a")
    worker = make()
    worker.submit(gate.request)
    gate.wait_for_step(1)
    worker.submit(at_once("b"))
    worker.close(timeout=0)
    gate.let(3)
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()
    assert gate.left.is_set()
    assert recorder.values == []
    assert [s.phase for s in recorder.statuses] == [Phase.QUEUED]
    worker.drain(0)


def test_close_twice_and_cancel_after_it(make):
    worker = make()
    worker.close()
    worker.close()
    worker.cancel()
    worker.drain(0)


def test_close_from_its_own_thread(make, recorder):
    worker = make(show=lambda outcome: worker.close())
    worker.submit(at_once("a"))
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()
    assert recorder.failures == []


def test_fifty_workers_leave_no_thread(make, recorder):
    before = threading.active_count()
    workers = [make() for _ in range(50)]
    for i, worker in enumerate(workers):
        worker.submit(at_once(i))
    assert threading.active_count() == before + 50
    for worker in workers:
        worker.drain(PATIENCE)
        worker.close()
    assert threading.active_count() == before
    assert sorted(recorder.values) == list(range(50))


class Explorer:
    """Holds a worker that holds it, as the real ones do."""

    def __init__(self):
        self.shown = []
        self.worker = Worker(self.show, self.fail)

    def show(self, outcome):
        self.shown.append(outcome)

    def fail(self, exception, request):
        self.exception = exception


def test_an_abandoned_explorers_thread_ends():
    explorer = Explorer()
    explorer.worker.submit(raising("a", ValueError()))
    explorer.worker.drain(PATIENCE)
    assert explorer.exception
    thread, reference = explorer.worker._thread, weakref.ref(explorer)
    del explorer
    gc.collect()
    thread.join(PATIENCE)
    assert reference() is None
    assert not thread.is_alive()


BUSY = """
import time
import torch
import nni_widgets as nni

torch.set_num_threads(1)
model, x = nni.models.load("digits-cnn"), nni.data.digits("test")[:1][0]
explorer = nni.explore(model, x, nni.SmoothGrad(n_samples=5000))
while explorer.explanation is None:
    time.sleep(0.001)
"""


def test_an_interpreter_with_a_busy_explorer_ends_well():
    """Three times: a thread that is left inside torch aborts most ends, not all."""
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_the_thread_has_the_context_of_its_creator(make):
    variable = contextvars.ContextVar("variable")
    token = variable.set("creator")
    seen = []
    worker = make(show=lambda outcome: seen.append(variable.get()))
    variable.reset(token)
    worker.submit(at_once("a"))
    worker.drain(PATIENCE)
    assert seen == ["creator"]


def test_requests_from_many_threads(make, recorder):
    worker = make()
    barrier = threading.Barrier(8)

    def press(i):
        barrier.wait()
        for j in range(50):
            worker.submit(at_once((i, j)))

    threads = [threading.Thread(target=press, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = worker.submit(at_once("last"))
    worker.drain(PATIENCE)
    generations = [outcome.generation for outcome in recorder.outcomes]
    assert generations == sorted(generations)
    assert recorder.outcomes[-1].key == "last"
    assert recorder.outcomes[-1].generation == newest == 401


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("step"), st.integers(1, 3), st.none()),
        st.tuples(st.just("cancel"), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, cached=st.booleans())
def test_any_order_of_submit_step_and_cancel(actions, cached):
    recorder = Recorder()
    cache = Cache(size_of=lambda value: 1, max_entries=2) if cached else None
    worker = Worker(recorder.show, recorder.fail, recorder.status, cache)
    passes = threading.Semaphore(0)
    asked = None

    def work(key, of):
        for done in range(1, of + 1):
            assert passes.acquire(timeout=PATIENCE)
            yield Step((key, done), done, of)

    try:
        for action, first, second in actions:
            if action == "submit":
                key = (first, second)
                worker.submit(Request(key, lambda key=key, of=second: work(key, of)))
                asked = key
            elif action == "step":
                passes.release(first)
            else:
                worker.cancel()
                asked = None
        passes.release(1000)
        worker.drain(PATIENCE)
    finally:
        worker.close()

    assert recorder.failures == []
    generations = [outcome.generation for outcome in recorder.outcomes]
    assert generations == sorted(generations)
    ended = [s.generation for s in recorder.statuses if s.phase in (Phase.DONE, Phase.CANCELLED)]
    assert len(ended) == len(set(ended))
    if asked is not None:
        assert recorder.outcomes[-1].key == asked
        assert recorder.outcomes[-1].finished


def test_requests_are_equal_by_key_and_need_a_hashable_one():
    assert at_once("a") == raising("a", ValueError())
    assert hash(at_once("a")) == hash(raising("a", ValueError()))
    with pytest.raises(TypeError, match="Request: key must be hashable; got list"):
        Request(["a"], lambda: iter([]))


@pytest.mark.parametrize(("done", "of"), [(0, 1), (2, 1), (1, 0)])
def test_a_step_counts_from_one(done, of):
    with pytest.raises(ValueError, match="Step: done must be from 1 to of"):
        Step("value", done, of)


def test_outcomes_are_values():
    outcome = Outcome("a", "value", 1, 1, 1, 0.0)
    with pytest.raises(AttributeError):
        outcome.value = "other"
