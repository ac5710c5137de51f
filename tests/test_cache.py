"""The cache holds no more bytes than it may, and lets go of what was used longest ago."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from memsci.store.cache import Cache


@dataclass
class Value:
    nbytes: int


def fill(cache: Cache, **sizes: int) -> list[str]:
    """Ask for keys, one after the other; returns those that had to be made."""
    made = []
    for key, size in sizes.items():
        cache.get(key, lambda: made.append(key) or Value(size))
    return made


def test_what_was_used_longest_ago_goes_first():
    cache = Cache(10)
    assert fill(cache, a=4, b=4) == ["a", "b"]
    assert fill(cache, a=4, c=4) == ["c"]
    assert fill(cache, a=4, c=4) == [] and fill(cache, b=4) == ["b"]
    assert len(cache) == 2 and cache.nbytes == 8


def test_bytes_count_and_not_values():
    cache = Cache(10)
    fill(cache, **{f"v{i}": 1 for i in range(30)})
    assert len(cache) == cache.nbytes == 10
    fill(cache, large=9)
    assert len(cache) == 2 and cache.nbytes == 10


def test_what_is_larger_than_the_cache_drives_nothing_out():
    cache = Cache(10)
    fill(cache, a=6)
    assert fill(cache, huge=11, a=6) == ["huge"] and cache.nbytes == 6
    assert fill(Cache(0), a=1) == ["a"]


def test_the_value_is_handed_on():
    cache = Cache(1)
    small, large = Value(1), Value(2)
    assert cache.get("s", lambda: small) is small and cache.get("s", lambda: large) is small
    assert cache.get("l", lambda: large) is large


def test_what_cannot_be_made_leaves_no_trace():
    cache = Cache(10)
    with pytest.raises(KeyError):
        cache.get("a", lambda: {}["a"])
    assert fill(cache, a=3) == ["a"]


def test_only_what_is_wanted_is_kept():
    cache = Cache(10)
    fill(cache, a=1, b=2, c=3)
    cache.keep(lambda key: key != "b")
    assert cache.nbytes == 4 and fill(cache, a=1, b=2, c=3) == ["b"]
