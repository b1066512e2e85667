"""Requests to stop, in processes of every kind."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from retdm import stop
from retdm.stop import Stopped, ignore_requests, listening

FORK: Any = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """Not ignored, as it is where the tests themselves were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def ended(work: Callable[[], Any]) -> int:
    """Exit code of ``work`` in a process of its own."""
    process = FORK.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode is not None, "the process hangs"
    return int(process.exitcode)


def waits_for_ever(number: int, times: int = 1) -> None:
    """Signals, in a process that is deaf to their handler, as one inside a library is."""
    with listening() as request:
        request.deferred = True
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(stop.PASSED_ON + 0.1 if times > 1 else 0)
            request.handle = lambda *_: None  # type: ignore[method-assign]
            for each in stop.NUMBERS:
                signal.signal(each, lambda *_: None)
        time.sleep(60)


@pytest.mark.parametrize("number", stop.NUMBERS)
def test_a_process_that_comes_to_no_steps_end_is_ended(
    number: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stop, "IN_A_STEP", 0.3)
    assert ended(lambda: waits_for_ever(number)) == 128 + number
    assert capfd.readouterr().err == f"stopped by {signal.Signals(number).name}\n"


def test_a_second_request_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "AT_ONCE", 0.0)
    monkeypatch.setattr(stop, "PASSED_ON", 0.2)
    started = time.monotonic()
    assert ended(lambda: waits_for_ever(signal.SIGTERM, times=2)) == 143
    assert time.monotonic() - started < 20  # IN_A_STEP is 45


@pytest.mark.parametrize("number", stop.NUMBERS)
def test_outside_a_step_the_signal_is_raised_and_no_error_handling_keeps_it(number: int) -> None:
    before = [signal.getsignal(each) for each in stop.NUMBERS]

    def work() -> None:
        with contextlib.suppress(Exception):
            os.kill(os.getpid(), number)
            time.sleep(5)

    with listening() as request, pytest.raises(Stopped) as stopped:
        work()
    assert (stopped.value.exit_code, request.number) == (128 + number, number)
    assert [signal.getsignal(each) for each in stop.NUMBERS] == before


def test_a_hangup_that_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert not request.number
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("prepare", [ignore_requests, lambda: None])  # also before it has come to that
def test_a_loading_process_goes_on(prepare: Callable[[], None]) -> None:
    def load() -> None:
        prepare()
        for number in stop.NUMBERS:
            os.kill(os.getpid(), number)
        time.sleep(0.05)
        os._exit(7)

    with listening():
        assert ended(load) == 7


def test_a_loading_process_ends_when_the_process_that_started_it_says_so() -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def load() -> None:
        ignore_requests()
        ready.set()
        time.sleep(60)

    process = context.Process(target=load)
    process.start()
    assert ready.wait(30)
    process.terminate()  # as Python does at its end with what is still there, and waits for it
    process.join(30)
    assert process.exitcode == 128 + signal.SIGTERM


def test_a_block_inside_another_hears_the_same_request() -> None:
    with listening() as outer, listening() as inner:
        assert inner is outer


def test_a_loading_process_that_is_left_alone_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    def load() -> None:
        ignore_requests()
        for error in (ConnectionResetError(), EOFError(), ValueError("a bug")):
            sys.excepthook(type(error), error, None)

    assert ended(load) == 0
    assert capfd.readouterr().err == "ValueError: a bug\n"


def test_a_block_ends_although_a_process_that_was_forked_inside_lives_on() -> None:
    def block() -> None:
        with listening():
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
        os.kill(child, signal.SIGKILL)
        os._exit(7)

    assert ended(block) == 7
