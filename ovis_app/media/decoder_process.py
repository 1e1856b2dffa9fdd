"""Runs the decoder in a process of its own and hands on its records. Knows pipes, clocks and kills; nothing of clips.

Whatever ends the reading, the process is dead, reaped and its pipes closed before control returns.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ovis_app.limits import Limits
from ovis_app.stop import Stop

DECODER = Path(__file__).with_name("video_decoder.py")
POLL = 0.05  # seconds between two looks at `stop` and the clock
MOST_HEADER = 65_536  # bytes; a decoder that sends more has been taken over by its file

Record = tuple[dict[str, Any], bytes]

_places = threading.BoundedSemaphore(4)  # decoders at a time; more only slow each other down


class OutOfTime(Exception):
    """The decoder was killed because its time was over."""


class Broken(Exception):
    """The decoder died or sent what is not a record."""


def records(file: BinaryIO, job: Mapping[str, Any], limits: Limits, stop: Stop) -> Generator[Record, None, None]:
    """The records for `file`, as they come. Raises OutOfTime, Stopped or Broken; closing kills the decoder."""
    with _place(stop):
        process = subprocess.Popen(
            [sys.executable, "-P", str(DECODER), json.dumps(dict(job))],  # -P: this folder stays off the child's path
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        arrived: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        most = 3 * limits.clip_pixels  # bytes of RGB
        pump = threading.Thread(target=_pump, args=(process.stdout, arrived, most), name="clip-pipe", daemon=True)
        try:
            pump.start()
            yield from _arrivals(arrived, time.monotonic() + limits.decode_seconds, stop)
        finally:
            process.kill()
            process.wait()
            pump.join()
            process.stdout.close()


@contextmanager
def _place(stop: Stop) -> Iterator[None]:
    """One of the few decoders that may run at a time; waits for it until `stop` is set."""
    while not _places.acquire(timeout=POLL):
        stop.check()
    try:
        yield
    finally:
        _places.release()


def _arrivals(arrived: queue.SimpleQueue[Record | None], deadline: float, stop: Stop) -> Iterator[Record]:
    """What the pump reads, up to and without the record that ends it."""
    while True:
        stop.check()
        if time.monotonic() > deadline:
            raise OutOfTime
        try:
            record = arrived.get(timeout=POLL)
        except queue.Empty:
            continue
        if record is None:
            raise Broken
        if record[0].get("end"):
            return
        yield record


def _pump(pipe: BinaryIO, arrived: queue.SimpleQueue[Record | None], most: int) -> None:
    """Reads records until the pipe ends, breaks or brings more than `most` bytes of pixels; then says None."""
    try:
        while (length := int.from_bytes(_exactly(pipe, 4), "big")) <= MOST_HEADER:
            record = json.loads(_exactly(pipe, length))
            size = record.get("bytes", 0)
            most -= max(size, 0)
            if size < 0 or most < 0:
                break
            arrived.put((record, _exactly(pipe, size)))
    except (OSError, ValueError, EOFError, AttributeError, TypeError):
        pass  # None says it
    finally:
        arrived.put(None)


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
