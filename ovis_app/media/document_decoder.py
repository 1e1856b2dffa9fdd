"""The child process that draws pages: a PDF on stdin, a job as JSON in argv, records on stdout.

Runs as a script and imports nothing of the project, so that it starts fast and a document that unpacks to gigabytes,
hangs or crashes PDFium costs the app nothing. It knows no path and no name. Forms are drawn as they were filled in;
nothing of a document is ever run, followed or unpacked: no JavaScript, no XFA, no link, no embedded file. Records are
as `video_decoder` has them.
"""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

with suppress(ImportError):  # not on Windows
    import resource

INCH = 72  # points
MOST_SIDE = 16_384  # pixels; PDFium is slow on longer ones, and a strip of a page is no page
TAIL = 4096  # bytes at the end among which PDFium looks for where the table of contents begins
MOST_POINTS = 1e7  # 3.5 km: what a page of a broken document may say, and no page has


class Refused(Exception):
    """The document or a page can't be drawn; the text is one of the codes that `documents.py` has a sentence for."""


def opened(file: BinaryIO) -> pdfium.PdfDocument:
    """The document, mapped into memory: PDFium reads it at random places. Raises Refused."""
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # ctypes takes no other; nothing is written
    if b"startxref" not in content[-TAIL:]:  # PDFium would show what is left of a document as if it were all of it
        raise Refused("cut")
    try:
        document = pdfium.PdfDocument((ctypes.c_ubyte * len(content)).from_buffer(content))
    except pdfium.PdfiumError as error:
        codes = {pdfium_c.FPDF_ERR_PASSWORD: "locked", pdfium_c.FPDF_ERR_SECURITY: "sealed"}
        raise Refused("empty" if not error.err_code else codes.get(error.err_code, "damaged")) from error
    document.init_forms(pdfium_c.FPDF_FORMFILLINFO(version=2, xfa_disabled=True))  # without a platform for JavaScript
    return document


def scale_of(width: float, height: float, job: dict[str, Any]) -> float:
    """Pixels for each point of a page: as many as are asked for, within what a picture may have."""
    area = width * height
    wanted: float = job["dpi"] / INCH if job["dpi"] else min(math.sqrt(job["pixels"] / area), job["sharpest"] / INCH)
    return min(wanted, math.sqrt(job["most_pixels"] / area), MOST_SIDE / max(width, height))


def drawn(document: pdfium.PdfDocument, number: int, job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The record of page `number`, and its pixels as packed RGB rows."""
    page = document[number - 1]
    try:
        width, height = page.get_size()
        if not (0 < width < MOST_POINTS and 0 < height < MOST_POINTS):
            raise Refused("size")
        scale = scale_of(width, height, job)
        picture = page.render(scale=scale, force_bitmap_format=pdfium_c.FPDFBitmap_BGR, rev_byteorder=True)
        raw = bytes(picture.buffer)
        picture.close()
    finally:
        page.close()
    size = {"width": picture.width, "height": picture.height, "bytes": len(raw)}
    return {"page": number, "points": (width, height), "dpi": scale * INCH, **size}, raw


def read(job: dict[str, Any], file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    """First how many pages there are, then those that are wanted. Raises Refused."""
    start_clock(job)
    document = opened(file)
    yield {"pages": len(document)}, b""
    for first, last in job["spans"]:
        for number in range(first, min(last, len(document)) + 1):
            start_clock(job)
            try:
                yield drawn(document, number, job)
            except (Refused, pdfium.PdfiumError, MemoryError) as error:
                code = {MemoryError: "memory", Refused: str(error)}.get(type(error), "damaged")
                yield {"page": number, "refused": code}, b""


def limit_resources(job: dict[str, Any]) -> None:
    """The memory that a document can take. Not on Windows."""
    for name, value in {"RLIMIT_AS": job["memory"], "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}.items():
        with suppress(ValueError, OSError, NameError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def start_clock(job: dict[str, Any]) -> None:
    """Gives what follows its processor time; past that the process ends by SIGXCPU, wherever PDFium is just then."""
    used = math.ceil(time.process_time())
    with suppress(ValueError, OSError, NameError, AttributeError):
        resource.setrlimit(resource.RLIMIT_CPU, (used + job["page_seconds"], resource.RLIM_INFINITY))


def send(out: BinaryIO, record: dict[str, Any], raw: bytes = b"") -> None:
    head = json.dumps(record).encode()
    out.write(struct.pack(">I", len(head)) + head)
    out.write(raw)
    out.flush()


def main() -> None:
    job = json.loads(sys.argv[1])
    limit_resources(job)
    out = sys.stdout.buffer
    try:
        for record, raw in read(job, sys.stdin.buffer):
            send(out, record, raw)
        send(out, {"end": True})
    except Refused as error:
        send(out, {"refused": str(error)})
    except MemoryError:
        send(out, {"refused": "memory"})
    except Exception as error:  # the edge of the process: any failure of PDFium is the same to the user
        send(out, {"refused": "damaged", "cause": type(error).__name__})


if __name__ == "__main__":
    main()
