"""A process that is told to end: heard at any moment, and over in a few seconds whatever is going on.

Knows signals and threads; refuses to know what is ended.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # the last one where a terminal is closed; Windows has none
LOOK_SECONDS = 0.1  # between two looks at whether there was one


def signals() -> list[signal.Signals]:
    """Those that end a process here. One that whoever started it had ignored, as `nohup` does, isn't among them."""
    found = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    return [one for one in found if signal.getsignal(one) is not signal.SIG_IGN or one is signal.SIGINT]


class Ending:
    """Set by the first signal that ends the process, while it is entered; more of them change nothing. As long as it is
    `at_once`, that raises SystemExit too, wherever the main thread is: nothing has begun that would need an order.

    No lock is in it, as an Event has one: a signal is heard in the midst of whatever the main thread does, and would
    wait for itself where that is this."""

    def __init__(self) -> None:
        self.at_once, self._set = True, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others hear no signals
            self._before = {one: signal.signal(one, self._hear) for one in signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():  # told once is enough, until the interpreter is gone
            signal.signal(one, signal.SIG_IGN if self.is_set() else handler)

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
    """While the block runs, whatever ends a process is heard as Ctrl-C is: KeyboardInterrupt, on the main thread."""

    def hear(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    heard = signals() if threading.current_thread() is threading.main_thread() else []
    before = {one: signal.signal(one, hear) for one in heard if one is not signal.SIGINT}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def within(seconds: float, close: Callable[[], None]) -> None:
    """Calls `close` and waits for its end, but no longer: it may stand behind an import, or a step of torch."""
    closer = threading.Thread(target=close, name="ovis-close", daemon=True)
    closer.start()
    closer.join(seconds)


def leave(code: int) -> NoReturn:
    """The end of the process, behind all that has to be in order: an interpreter that goes down waits for threads of
    libraries, and aborts under one inside torch."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
