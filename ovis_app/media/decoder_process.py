"""Runs a decoder in a process of its own and hands on its records. Knows pipes, clocks and kills; nothing of clips,
pictures and documents.

Whatever ends the reading, the process is dead, reaped and its pipes closed before control returns.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ovis_app import bounded_process
from ovis_app.limits import Limits
from ovis_app.stop import Stop, Stopped

DECODER = Path(__file__).with_name("video_decoder.py")
IMAGE_DECODER = Path(__file__).with_name("image_decoder.py")
DOCUMENT_DECODER = Path(__file__).with_name("document_decoder.py")
COPY_ENCODER = Path(__file__).with_name("copy_encoder.py")
POLL = 0.05  # seconds between two looks at `stop` and the clock
CHUNK = 1 << 18  # bytes of a file that are handed on at once
MOST_HEADER = 65_536  # bytes; a decoder that sends more has been taken over by its file
_ALL = 1 << 20  # records, more than there are
_OUT_OF_CPU = -getattr(signal, "SIGXCPU", 1 << 20)  # how a decoder ends that has used its processor time up

Record = tuple[dict[str, Any], bytes]

_places = threading.BoundedSemaphore(4)  # clips at a time; more only slow each other down
_image_places = threading.BoundedSemaphore(2)  # messages whose pictures are checked; each takes `image_memory` at most
_document_places = threading.BoundedSemaphore(2)  # documents whose pages are drawn
_copy_places = threading.BoundedSemaphore(2)  # clips, or messages with pictures, of which copies are made


class OutOfTime(Exception):
    """The decoder was killed because its time was over."""


class Broken(Exception):
    """The decoder died or sent what is not a record."""


def records(file: BinaryIO, job: Mapping[str, Any], limits: Limits, stop: Stop) -> Generator[Record, None, None]:
    """The records for a clip, as they come. Raises OutOfTime, Stopped or Broken; closing kills the decoder."""
    with _place(_places, stop), _child(DECODER, job, file) as process:
        yield from _records(process, 3 * limits.clip_pixels, limits.decode_seconds, stop)  # bytes of RGB


def page_records(
    file: BinaryIO, job: Mapping[str, Any], limits: Limits, stop: Stop
) -> Generator[Record, None, None]:  # fmt: skip
    """The records for a document: its number of pages, then each page in its own time. The decoder draws at most two
    pages ahead of whoever takes them. Raises as `records` does."""
    most = 4 * limits.page_most_pixels  # bytes of RGB, and what rounding up adds
    with _place(_document_places, stop), _child(DOCUMENT_DECODER, job, file) as process:
        yield from _records(process, most, limits.decode_seconds, stop, each=True, ahead=2)


def animation_records(
    file: BinaryIO, job: Mapping[str, Any], limits: Limits, stop: Stop
) -> Generator[Record, None, None]:
    """The records for an animation, as they come: a colour profile and frames with their transparency. Raises as
    `records` does."""
    with _place(_places, stop), _child(IMAGE_DECODER, job, file) as process:
        yield from _records(process, 4 * limits.clip_pixels, limits.decode_seconds, stop)


def image_records(
    files: Sequence[tuple[Path, int]], job: Mapping[str, Any], limits: Limits, stop: Stop
) -> Generator[Record, None, None]:
    """A record for each picture, given as its path and size in bytes: one process looks at all of them, each in its own
    time. Raises as `records` does."""
    with _place(_image_places, stop), _child(IMAGE_DECODER, job, subprocess.PIPE) as process:
        assert process.stdin is not None
        feeder = threading.Thread(target=_feed, args=(process.stdin, files), name="picture-pipe", daemon=True)
        feeder.start()
        try:
            yield from _records(process, 0, limits.decode_seconds, stop, each=True)
        finally:
            process.kill()  # so that the feeder isn't left writing
            feeder.join()


def copy_records(
    given: BinaryIO | bytes, job: Mapping[str, Any], folder: Path, limits: Limits, stop: Stop
) -> Generator[Record, None, None]:
    """A record for each copy that is made in `folder`: of a clip, which is an open file, or of the pictures that bytes
    of JSON name. Raises as `records` does."""
    stdin = subprocess.PIPE if isinstance(given, bytes) else given
    with _place(_copy_places, stop), _child(COPY_ENCODER, job, stdin, folder=folder) as process:
        if isinstance(given, bytes):
            assert process.stdin is not None
            with suppress(OSError), process.stdin:  # its end shows in the records
                process.stdin.write(given)
        yield from _records(process, 0, limits.decode_seconds, stop, each=True)


@contextmanager
def _place(places: threading.BoundedSemaphore, stop: Stop) -> Iterator[None]:
    """One of the few decoders that may run at a time; waits for it until `stop` is set."""
    while not places.acquire(timeout=POLL):
        stop.check()
    try:
        yield
    finally:
        places.release()


@contextmanager
def _child(
    program: Path, job: Mapping[str, Any], stdin: BinaryIO | int, *, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A decoder that runs, in `folder` if it writes there; killed and reaped at the end of the block. Raises Stopped
    where this process ends."""
    command = [sys.executable, "-P", str(program), json.dumps(dict(job))]  # -P: this folder stays off the child's path
    try:
        with bounded_process.child(command, stdin=stdin, folder=folder) as process:
            yield process
    except bounded_process.Killed:
        raise Stopped from None


def _records(
    process: subprocess.Popen[bytes], most: int, seconds: float, stop: Stop, *, each: bool = False, ahead: int = _ALL
) -> Generator[Record, None, None]:
    """What a decoder writes, with at most `most` bytes of pixels, in `seconds`: for all of it, or for each record. So
    many are read ahead of whoever takes them."""
    assert process.stdout is not None
    arrived: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
    room, over = threading.Semaphore(ahead), threading.Event()

    def wanted() -> bool:
        return room.acquire() and not over.is_set()

    arguments = (process.stdout, arrived, most, each, wanted)
    pump = threading.Thread(target=_pump, args=arguments, name="decoder-pipe", daemon=True)
    pump.start()
    try:
        for record in _arrivals(arrived, seconds, stop, each=each):
            room.release()
            yield record
    except Broken as error:
        process.kill()
        if process.wait() == _OUT_OF_CPU:
            raise OutOfTime from error
        raise
    finally:
        process.kill()
        over.set()
        room.release()
        pump.join()


def _arrivals(arrived: queue.SimpleQueue[Record | None], seconds: float, stop: Stop, *, each: bool) -> Iterator[Record]:
    """What the pump reads, up to and without the record that ends it."""
    deadline = time.monotonic() + seconds
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
        if each:
            deadline = time.monotonic() + seconds


def _feed(pipe: BinaryIO, files: Sequence[tuple[Path, int]]) -> None:
    """Writes the files one after the other, each as long as it was said to be; a shorter one ends it."""
    with suppress(OSError), pipe:  # the decoder's end, or the file's, shows in the records
        for path, size in files:
            with path.open("rb") as file:
                while size and (data := file.read(min(size, CHUNK))):
                    pipe.write(data)
                    size -= len(data)
            if size:
                return


def _pump(
    pipe: BinaryIO, arrived: queue.SimpleQueue[Record | None], most: int, each: bool, wanted: Callable[[], bool]
) -> None:
    """Reads records while they are wanted, until the pipe ends, breaks or brings more than `most` bytes of pixels, in
    all or in `each`; then says None. `wanted` waits until there is room for one more."""
    try:
        while wanted() and (length := int.from_bytes(_exactly(pipe, 4), "big")) <= MOST_HEADER:
            record = json.loads(_exactly(pipe, length))
            size = record.get("bytes", 0)
            if not 0 <= size <= most:
                break
            most -= 0 if each else size
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
