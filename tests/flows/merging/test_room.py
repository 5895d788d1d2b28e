"""Memory for whole groups: lent to one at a time, and used again."""

from __future__ import annotations

import numpy as np

from git_theta.flows.merging.values import Room


def test_memory_that_was_given_back_is_used_again() -> None:
    room = Room(1000)
    with room.lent([100, 200]) as (small, large):
        pass
    with room.lent([90, 200]) as again:
        assert [part.nbytes for part in again] == [90, 200]
        assert np.shares_memory(again[0], small)
        assert np.shares_memory(again[1], large)


def test_memory_is_not_lent_twice_at_a_time() -> None:
    room = Room(1000)
    with room.lent([100]) as (first,), room.lent([100, 100]) as others:
        assert not any(np.shares_memory(first, other) for other in others)


def test_no_more_is_held_than_allowed() -> None:
    room = Room(150)
    with room.lent([100, 100]) as (first, second):
        pass
    with room.lent([100, 100]) as again:
        assert np.shares_memory(again[0], first)
        assert not np.shares_memory(again[1], second)


def test_memory_is_given_back_after_an_error() -> None:
    room = Room(1000)
    try:
        with room.lent([100]) as (first,):
            raise ValueError
    except ValueError:
        pass
    with room.lent([100]) as (again,):
        assert np.shares_memory(again, first)
