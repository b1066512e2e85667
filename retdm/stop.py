"""Being asked to stop: SIGTERM, SIGHUP and Ctrl-C, in every command and every process of a run."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds. A launcher (torchrun) passes on what its whole process group has had already: that is no second request.
PASSED_ON = 1.0
# From a request to the end that comes whatever the process is at: a step of training, with what it has to save;
# anything else; and after a second request.
IN_A_STEP, ELSEWHERE, AT_ONCE = 45.0, 8.0, 2.0


class Stopped(BaseException):
    """A signal asked to stop. Like ``KeyboardInterrupt`` no ``Exception``, for nothing may take it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


class StopRequest:
    """Turns signals into :class:`Stopped`: at once, or where ``deferred`` into a number that is read between steps.

    The interpreter runs a signal's handler only between two of its own instructions, and code inside a library may be
    long or wait for ever, so a thread hears the signals too and ends the process when its time is over.

    Attributes:
        number: of the signal; 0 while there was none.
        deferred: someone reads ``number`` and saves what is there.
        continues: the same command would go on from where this process stands.
    """

    def __init__(self) -> None:
        self.number = 0
        self.deferred = self.continues = False
        self._since = float("inf")
        self._process = os.getpid()
        self._told = threading.Lock()

    @property
    def seconds(self) -> float:
        """Since the request; negative infinity where there was none."""
        return time.monotonic() - self._since

    def heard(self, number: int, frame: FrameType | None = None) -> None:
        """The handler of the signals."""
        if os.getpid() != self._process:
            return  # a child that has our handlers only until it sets its own
        again = self.seconds >= PASSED_ON
        if self.number and not again:
            return
        if not self.number:
            self.number, self._since = number, time.monotonic()
        if again or not self.deferred:
            raise Stopped(self.number)

    def tell(self, number: int | None = None) -> None:
        """The one line of a stopped command, by the first process of those that share it; once."""
        if is_leader() and self._told.acquire(blocking=False):
            then = "; the same command continues" if self.continues else ""
            with contextlib.suppress(OSError, ValueError):
                print(f"stopped by {signal.Signals(number or self.number).name}{then}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals in this block; what was asked to be ignored (``nohup``) stays so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        before = {number: signal.getsignal(number) for number in NUMBERS}
        descriptor = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        for number in NUMBERS:
            if number != signal.SIGHUP or before[number] != signal.SIG_IGN:
                signal.signal(number, self.heard)
        watch = threading.Thread(target=self._watch, args=(theirs,), name="stop", daemon=True)
        watch.start()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)
            ours.shutdown(socket.SHUT_RDWR)  # to close it would not do: a process forked meanwhile has it open too
            ours.close()
            watch.join()
            theirs.close()

    def _watch(self, signals: socket.socket) -> None:
        first, end, number = 0.0, 0.0, 0
        while True:
            signals.settimeout(0.2 if number else None)
            try:
                heard = signals.recv(64)
                if not heard:
                    return
            except TimeoutError:
                heard = b""
            now = time.monotonic()
            for each in (each for each in heard if each in NUMBERS):
                if not number:
                    number, first = each, now
                    end = now + (IN_A_STEP if self.deferred else ELSEWHERE)
                elif now - first >= PASSED_ON:
                    end = min(end, now + AT_ONCE)
            if number and now > end:
                self.tell(number)
                os._exit(128 + number)


_now: StopRequest | None = None
_for_good = contextlib.ExitStack()


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """The process's request to stop, heard from here on to the end of the outermost such block."""
    global _now
    if _now is not None:
        yield _now
        return
    _now = StopRequest()
    try:
        with _now.listening():
            yield _now
    finally:
        _now = None


def listen() -> None:
    """Hear signals to the end of the process: the first thing a command does, for its imports take seconds."""
    _for_good.enter_context(listening())


def unheard(worker: int = 0) -> None:
    """Of a loading process: what asks the run to stop is for the process that trains, which ends the others.

    A terminal's Ctrl-C, ``docker stop`` and schedulers reach them all at once. But a SIGTERM of that process itself
    ends them: Python sends it at its own end to what it started, and waits for it.
    """
    signal.set_wakeup_fd(-1)
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _unless_left_alone
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(128 + signal.SIGTERM)


def _unless_left_alone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a thread that hands out batches meets when the run ends is no news: it is the run that tells of its end."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def is_leader() -> bool:
    """Whether this process is the first of those that share a run."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))
