"""Ending soon after Ctrl-C; that a merge method does not keep the process alive is in e2e/test_merge_faults.py."""

from __future__ import annotations

import signal
import threading

import pytest

from git_theta.cli import interrupting
from git_theta.cli.interrupting import ending_soon


def test_an_interruption_that_is_obeyed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(interrupting, "_GRACE", 0.05)
    monkeypatch.setattr(interrupting, "_end", ended.set)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ending_soon():
        signal.raise_signal(signal.SIGINT)
    assert not ended.wait(0.2)
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_is_not_obeyed_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(interrupting, "_GRACE", 0.05)
    monkeypatch.setattr(interrupting, "_end", ended.set)
    with ending_soon():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            assert ended.wait(10)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ending_soon():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
