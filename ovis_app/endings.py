"""A process that is told to end: heard at any moment, and over in a few seconds whatever is going on.

Knows signals and threads; refuses to know what is ended.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # the last one where a terminal is closed; Windows has none
LOOK_SECONDS = 0.1  # between two looks at whether there was one
END_SECONDS = 3.0  # from a signal until the process is left, whatever its threads are at
TIDY_SECONDS = 0.7  # that what is still done then may take
INTERRUPTED = 130  # the exit code of a command that was told to end

_last: list[Callable[[], object]] = []


def signals() -> list[signal.Signals]:
    """Those that end a process here. One that whoever started it had ignored, as `nohup` does, isn't among them."""
    found = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    return [one for one in found if signal.getsignal(one) is not signal.SIG_IGN or one is signal.SIGINT]


class Watch:
    """Leaves the process END_SECONDS behind the first of some signals, until it is closed. The system itself writes
    into a socket that there was one, and a thread reads there: the main one may be in a step of torch or an import,
    where it hears nothing. To be made and closed on the main thread."""

    def __init__(self, code: int, heard: Collection[int]) -> None:
        self._code, self._heard = code, heard
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._read, name="ovis-end", daemon=True).start()

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        with suppress(OSError):
            self._writer.shutdown(socket.SHUT_RDWR)  # by which the thread ends, also where a forked process has it too
        self._writer.close()

    def _read(self) -> None:
        with self._reader:
            deadline: float | None = None
            while deadline is None or deadline > time.monotonic():
                self._reader.settimeout(deadline and max(deadline - time.monotonic(), 0.001))
                try:
                    told = self._reader.recv(64)  # a byte a signal
                except TimeoutError:
                    break
                if not told:
                    return
                if deadline is None and any(one in self._heard for one in told):
                    deadline = time.monotonic() + END_SECONDS
        leave(self._code)


def _forked() -> None:
    """What ends a process that was forked doesn't end the one that it comes from."""
    with suppress(ValueError):  # of a thread that isn't the main one
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Ending:
    """Set by the first signal that ends the process, while it is entered; more of them change nothing. As long as it is
    `at_once`, that raises SystemExit too, wherever the main thread is: nothing has begun that would need an order. What
    hasn't come to its end in END_SECONDS is left, with 0.

    No lock is in it, as an Event has one: a signal is heard in the midst of whatever the main thread does, and would
    wait for itself where that is this."""

    def __init__(self) -> None:
        self.at_once, self._set = True, False
        self._before: dict[signal.Signals, Any] = {}
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others hear no signals
            self._before = {one: signal.signal(one, self._hear) for one in signals()}
            self._watch = Watch(0, self._before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():  # told once is enough, until the interpreter is gone
            signal.signal(one, signal.SIG_IGN if self.is_set() else handler)
        if self._watch is not None:
            self._watch.close()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self) -> None:
        """Returns soon after it is set."""
        while not self._set:
            time.sleep(LOOK_SECONDS)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first = not self._set
        self.set()
        if first and self.at_once:
            raise SystemExit(0)


@contextmanager
def as_ctrl_c() -> Iterator[None]:
    """While the block runs, whatever ends a process is heard as Ctrl-C is: KeyboardInterrupt, on the main thread. What
    hasn't ended END_SECONDS behind a SIGTERM is left; Ctrl-C may be pressed once more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {one: signal.signal(one, hear) for one in signals() if one is not signal.SIGINT}
    watch = Watch(INTERRUPTED, [signal.SIGTERM])
    try:
        yield
    finally:
        watch.close()
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def at_last(act: Callable[[], object]) -> Iterator[None]:
    """While the block runs, a process that is left does this before, of several the last first. It may come twice."""
    _last.append(act)
    try:
        yield
    finally:
        _last.remove(act)


def within(seconds: float, close: Callable[[], None]) -> None:
    """Calls `close` and waits for its end, but no longer: it may stand behind an import, or a step of torch."""
    closer = threading.Thread(target=close, name="ovis-close", daemon=True)
    closer.start()
    closer.join(seconds)


def leave(code: int) -> NoReturn:
    """The end of the process, wherever its threads are: an interpreter that goes down waits for those of libraries, and
    aborts under one inside torch. To be told once was enough."""
    with suppress(ValueError):  # of a thread that isn't the main one
        for one in signals():
            signal.signal(one, signal.SIG_IGN)
    with suppress(RuntimeError):  # no thread begins any more
        within(TIDY_SECONDS, _tidy)
    os._exit(code)


def _tidy() -> None:
    for act in reversed(_last):
        with suppress(Exception):  # the others are done all the same
            act()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
