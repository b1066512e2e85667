"""Requests to stop (SIGTERM, SIGHUP, Ctrl-C) in every command and every process of a run."""

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
# Seconds. torchrun forwards a signal that its whole process group has received already: not a second request.
PASSED_ON = 1.0
# Seconds from a request until the process is ended in any case: in a step of training, which has a checkpoint to save;
# elsewhere; and after a second request.
IN_A_STEP, ELSEWHERE, AT_ONCE = 45.0, 8.0, 2.0


class Stopped(BaseException):
    """A request to stop. Like ``KeyboardInterrupt`` not an ``Exception``, so that nothing handles it as an error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


class StopRequest:
    """Turns signals into :class:`Stopped`, at once, or if ``deferred`` into a number that is read between steps.

    Python runs a signal's handler only between two of its own instructions, and a call into a library may take long or
    wait for ever. So a thread receives the signals too, and ends the process when its time is over.

    Attributes:
        number: the signal's number; 0 before there is one.
        deferred: training reads ``number`` between steps and saves a checkpoint.
        continues: the same command would continue from here.
    """

    def __init__(self) -> None:
        self.number = 0
        self.deferred = self.continues = False
        self._since = float("inf")
        self._process = os.getpid()
        self._printed = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds since the request; negative infinity if there was none."""
        return time.monotonic() - self._since

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal."""
        if os.getpid() != self._process:
            return  # a forked child has our handlers until it sets its own
        again = self.seconds >= PASSED_ON
        if self.number and not again:
            return
        if not self.number:
            self.number, self._since = number, time.monotonic()
        if again or not self.deferred:
            raise Stopped(self.number)

    def report(self, number: int | None = None) -> None:
        """Print the one line of a stopped command, once, in the first process of the run."""
        if is_leader() and self._printed.acquire(blocking=False):
            then = "; the same command continues" if self.continues else ""
            with contextlib.suppress(OSError, ValueError):
                print(f"stopped by {signal.Signals(number or self.number).name}{then}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def listening(self, *, ends_process: bool = True) -> Iterator[None]:
        """Handle signals in this block; a signal that ``nohup`` ignores stays ignored.

        Args:
            ends_process: a thread ends the process where the main thread waits inside a library for too long.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in NUMBERS}
        for number in NUMBERS:
            if number != signal.SIGHUP or before[number] != signal.SIG_IGN:
                signal.signal(number, self.handle)
        try:
            with self._watched() if ends_process else contextlib.nullcontext():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptor = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        watch = threading.Thread(target=self._watch, args=(theirs,), name="stop", daemon=True)
        watch.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            ours.shutdown(socket.SHUT_RDWR)  # closing is not enough: a process forked meanwhile has it open too
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
                self.report(number)
                os._exit(128 + number)


_now: StopRequest | None = None
_for_good = contextlib.ExitStack()


@contextlib.contextmanager
def listening(*, ends_process: bool = True) -> Iterator[StopRequest]:
    """The process's request to stop, with signals handled until the outermost such block ends.

    Args:
        ends_process: as of :meth:`StopRequest.listening`; false where the process is not ours.
    """
    global _now
    if _now is not None:
        yield _now
        return
    _now = StopRequest()
    try:
        with _now.listening(ends_process=ends_process):
            yield _now
    finally:
        _now = None


def listen() -> None:
    """Handle signals until the process ends; commands call it first, because imports take seconds."""
    _for_good.enter_context(listening())


def ignore_requests(worker: int = 0) -> None:
    """Ignore requests to stop in a loading process; the training process receives them too and ends the others.

    A terminal's Ctrl-C, ``docker stop`` and schedulers signal all processes at once. Only a SIGTERM from the training
    process itself counts: Python sends it at its end to the processes it started, and waits for them.
    """
    signal.set_wakeup_fd(-1)
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _print_unless_disconnected
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(128 + signal.SIGTERM)


def _print_unless_disconnected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print no error of a closed connection, which the threads of a loader meet whenever a run ends."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def is_leader() -> bool:
    """True in the first process of a run."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))
