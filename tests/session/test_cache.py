"""The cache: bounded by entries and by bytes, least recently used goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nni_widgets.session import Cache, Outcome


def outcome(key, value="x", done=1, of=1):
    return Outcome(key, value, done, of, generation=1, elapsed=0.0)


def test_what_was_put_is_got():
    cache = Cache(size_of=len)
    cache.put(outcome("a"))
    assert cache.get("a") == outcome("a")
    assert cache.get("b") is None


def test_the_least_recently_used_goes_first():
    cache = Cache(size_of=len, max_entries=2)
    cache.put(outcome("a"))
    cache.put(outcome("b"))
    cache.get("a")
    cache.put(outcome("c"))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]


def test_bytes_bound_it_too():
    cache = Cache(size_of=len, max_bytes=10)
    cache.put(outcome("a", "x" * 6))
    cache.put(outcome("b", "x" * 4))
    assert (len(cache), cache.n_bytes) == (2, 10)
    cache.put(outcome("c", "x" * 5))
    assert (len(cache), cache.n_bytes) == (2, 9)
    assert cache.get("a") is None


def test_what_is_larger_than_the_cache_is_not_stored_and_pushes_nothing_out():
    cache = Cache(size_of=len, max_bytes=3)
    cache.put(outcome("a", "x"))
    cache.put(outcome("b", "xxxx"))
    assert cache.get("b") is None
    assert cache.get("a") is not None


def test_a_key_put_again_has_its_new_value_and_size():
    cache = Cache(size_of=len)
    cache.put(outcome("a", "xxx"))
    cache.put(outcome("a", "x"))
    assert cache.get("a").value == "x"
    assert (len(cache), cache.n_bytes) == (1, 1)


def test_an_unfinished_result_is_not_stored():
    cache = Cache(size_of=len)
    cache.put(outcome("a", done=1, of=2))
    assert len(cache) == 0


def test_no_entries_keeps_nothing():
    cache = Cache(size_of=len, max_entries=0)
    cache.put(outcome("a"))
    assert (len(cache), cache.n_bytes) == (0, 0)


def test_clear():
    cache = Cache(size_of=len)
    cache.put(outcome("a"))
    cache.clear()
    assert (len(cache), cache.n_bytes, cache.get("a")) == (0, 0, None)


@pytest.mark.parametrize("limit", ["max_entries", "max_bytes"])
def test_a_negative_limit_is_refused(limit):
    with pytest.raises(ValueError, match=rf"Cache: {limit} must be at least 0; got -1\."):
        Cache(size_of=len, **{limit: -1})


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40))
def test_the_limits_hold_and_the_count_is_right(puts):
    cache = Cache(size_of=len, max_entries=3, max_bytes=20)
    for key, size in puts:
        cache.put(outcome(key, "x" * size))
        sizes = [len(found.value) for k in range(6) if (found := cache.get(k))]
        assert len(cache) == len(sizes) <= 3
        assert cache.n_bytes == sum(sizes) <= 20
    if puts:
        assert cache.get(puts[-1][0]).value == "x" * puts[-1][1]
