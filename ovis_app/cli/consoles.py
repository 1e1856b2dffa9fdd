"""What is printed, on any console: no text is too odd for it, and whoever reads may leave.

Knows standard output and error. Knows no command.
"""

from __future__ import annotations

import errno
import io
import os
import sys

NOBODY_READS = 141  # what a shell says of a program that a closed pipe ended


def take_any_text() -> None:
    """UTF-8 where a program or a file reads, as Windows and old locales would have another encoding; on a terminal its
    own, with a mark for what that lacks. Where one is closed, what is said goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


def nobody_reads(error: OSError) -> bool:
    """Whether printing failed since whoever read has enough, as `head`. Windows has another word for that."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


def nothing_fits(error: OSError) -> bool:
    """Whether printing failed since the disk is full where it goes."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def abandoned() -> int:
    """Writes to nowhere from here on, so that the end of the process says nothing of a closed pipe either. Returns the
    exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    return NOBODY_READS
