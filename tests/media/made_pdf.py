"""PDF documents made on the spot, byte by byte: pages with a colour in each corner, and documents that are broken on
purpose. Knows nothing of the app."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from tests.media.made import CORNERS

PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
IDENTITY = b"0123456789abcdef"


@dataclass(frozen=True)
class Sheet:
    """One page: its size in points, what is drawn on it, and further entries of its dictionary."""

    width: float = 300
    height: float = 200
    content: bytes = b""
    rotated: int = 0
    entries: bytes = b""


def quarters(width: float = 300, height: float = 200, **options: int) -> Sheet:
    """A page with the colours of `made.CORNERS` in its quarters."""
    spots = ((0, 1), (1, 1), (0, 0), (1, 0))  # from the lower left corner
    drawn = (
        b"%g %g %g rg %g %g %g %g re f\n"
        % (*(part / 255 for part in colour), x * width / 2, y * height / 2, width / 2, height / 2)
        for (x, y), colour in zip(spots, CORNERS.values(), strict=True)
    )
    return Sheet(width, height, b"".join(drawn), **options)


def pdf(sheets: Sequence[Sheet], *, catalog: bytes = b"", objects: Sequence[bytes] = ()) -> bytes:
    """A document. Object 1 is its catalog, 2 the table of pages, then come `objects`, and then two for each page."""
    first = 3 + len(objects)
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(sheets)))
    bodies = [b"<</Type/Catalog/Pages 2 0 R %s>>" % catalog]
    bodies += [b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(sheets), kids), *objects]
    for sheet in sheets:
        box = b"/MediaBox[0 0 %g %g]/Rotate %d" % (sheet.width, sheet.height, sheet.rotated)
        content = len(bodies) + 2
        bodies.append(b"<</Type/Page/Parent 2 0 R%s/Contents %d 0 R %s>>" % (box, content, sheet.entries))
        bodies.append(stream(sheet.content))
    return _file(bodies)


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<</Length %d %s>>stream\n%s\nendstream" % (len(content), entries, content)


def _file(bodies: Sequence[bytes], trailer: bytes = b"") -> bytes:
    out = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(bodies) + 1
    end = b"trailer<</Size %d/Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + end


def locked(sheet: Sheet, password: bytes) -> bytes:
    """A document of one page that opens with a password, which may be empty: the oldest of PDF's ways, RC4 with 40
    bits (PDF 32000-1:2008, 7.6)."""
    padded = (password + PADDING)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + b"\xfc\xff\xff\xff" + IDENTITY).digest()[:5]
    box = b"/MediaBox[0 0 %g %g]" % (sheet.width, sheet.height)
    content = _rc4(hashlib.md5(key + b"\4\0\0" + b"\0\0").digest()[:10], sheet.content)  # object 4, generation 0
    lock = b"<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>" % (owner.hex().encode(), _rc4(key, PADDING).hex().encode())
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R%s/Contents 4 0 R>>" % box,
        stream(content),
        lock,
    ]
    return _file(bodies, b"/Encrypt 5 0 R/ID[<%s><%s>]" % (IDENTITY.hex().encode(), IDENTITY.hex().encode()))


def _rc4(key: bytes, data: bytes) -> bytes:
    box = list(range(256))
    j = 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) % 256
        box[i], box[j] = box[j], box[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + box[i]) % 256
        box[i], box[j] = box[j], box[i]
        out.append(byte ^ box[(box[i] + box[j]) % 256])
    return bytes(out)


def image_bomb(side: int = 30_000) -> bytes:
    """A first page with a picture of `side` x `side` pixels in about 10 kB, and a second with quarters."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    about = b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8/ColorSpace/DeviceGray" % (side, side)
    picture = stream(zlib.compress(packed), about + b"/Filter[/FlateDecode/FlateDecode]")
    page = Sheet(300, 200, b"q 300 0 0 200 0 0 cm /I Do Q", entries=b"/Resources<</XObject<</I 3 0 R>>>>")
    return pdf([page, quarters()], objects=[picture])


def endless() -> bytes:
    """A first page that takes hours to draw, in a few kB: each form draws the next forty times. The second is fine."""
    depth = 12
    about = b"/Type/XObject/Subtype/Form/BBox[0 0 300 200]"
    forms = [
        stream(b"/A Do " * 40, about + b"/Resources<</XObject<</A %d 0 R>>>>" % (number + 1))
        for number in range(3, 3 + depth)
    ]
    last = stream(b"0 0 10 10 re f", about)
    page = Sheet(300, 200, b"/A Do", entries=b"/Resources<</XObject<</A 3 0 R>>>>")
    return pdf([page, quarters()], objects=[*forms, last])
