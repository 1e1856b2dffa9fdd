"""What a file is, told from its first bytes and never from its name. Decodes nothing.

A row names the only decoder that may open such a file, so that a text file can never reach a playlist reader,
nor a picture Ghostscript.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ovis_app.conversation import MediaKind

HEAD = 1024  # bytes that `kind_of` looks at


@dataclass(frozen=True)
class Kind:
    """`media` is None for files that can't be attached; `advice` then ends the sentence that says so.

    `formats` names Pillow plugins for an image, and one FFmpeg demuxer for a video. `mime` is what a browser is told,
    empty for what it shouldn't open.
    """

    media: MediaKind | None
    formats: tuple[str, ...] = ()
    advice: str = ""
    mime: str = ""


def kind_of(head: bytes) -> Kind:
    """The kind of a file that starts with `head`."""
    return next((kind for matches, kind in _KINDS if matches(head)), UNKNOWN)


def _image(name: str, mime: str = "") -> Kind:
    return Kind("image", (name,), mime=f"image/{mime or name.lower()}")


def _video(demuxer: str, mime: str = "") -> Kind:
    return Kind("video", (demuxer,), mime=mime)


def _other(advice: str) -> Kind:
    return Kind(None, advice=advice)


def _starts(*prefixes: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(prefixes, at)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(b"RIFF") and head[8:12] == form


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """An ISO media file whose major or first compatible brands hold one of `brands`."""

    def matches(head: bytes) -> bool:
        if head[4:8] != b"ftyp":
            return False
        end = min(int.from_bytes(head[:4], "big"), 64)
        listed = [head[8:12], *(head[i : i + 4] for i in range(16, end, 4))]
        return any(brand in listed for brand in brands)

    return matches


def _transport_stream(head: bytes) -> bool:
    spacings = ((0, 188), (4, 192))  # plain, and behind the times that Blu-ray and camcorders add
    return any(len(head) > at + step and head[at] == head[at + step] == 0x47 for at, step in spacings)


def _bare(*units: bytes) -> Callable[[bytes], bool]:
    """A video stream without a container, which starts with a start code and one of these units."""
    return _starts(*(code + unit for code in (b"\0\0\x01", b"\0\0\0\x01") for unit in units))


def _pdf(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf\0 \t\r\n").startswith(b"%PDF-")


def _markup(*words: bytes) -> Callable[[bytes], bool]:
    def matches(head: bytes) -> bool:
        text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        return text.startswith(b"<") and any(word in text for word in words)

    return matches


def _bitmap(head: bytes) -> bool:
    """A BMP: its second header has one of a few sizes. Texts begin with BM too."""
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _portable(head: bytes) -> bool:
    """A PBM, PGM or PPM, plain or raw, or a PFM: width and height follow, as text, after comments."""
    if head[:2] not in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf") or not head[2:3].isspace():
        return False
    lines = (line.partition(b"#")[0] for line in head[2:].split(b"\n"))
    words = b" ".join(lines).split(maxsplit=2)
    return len(words) > 1 and words[0].isdigit() and words[1].isdigit()


def _icon(head: bytes) -> bool:
    """An ICO or CUR whose index is followed by its first picture."""
    if head[:4] not in (b"\0\0\1\0", b"\0\0\2\0") or len(head) < 22:
        return False
    pictures = int.from_bytes(head[4:6], "little")
    return pictures > 0 and head[9] == 0 and int.from_bytes(head[18:22], "little") >= 6 + 16 * pictures


def _targa(head: bytes) -> bool:
    """A TGA, which has no signature: every field of its header must make sense."""
    if len(head) < 18:
        return False
    mapped, kind, depth, flags = head[1], head[2], head[16], head[17]
    length = int.from_bytes(head[5:7], "little")
    if mapped == 0:
        sound = not any(head[3:8]) and (kind, depth) in _TARGAS
    else:
        sound = mapped == 1 and kind in (1, 9) and depth == 8 and 0 < length <= 256 and head[7] in (16, 24, 32)
    return sound and any(head[12:14]) and any(head[14:16]) and not flags & 0b11010000


_TARGAS = {(kind, depth) for kind in (2, 10) for depth in (16, 24, 32)} | {(3, 8), (11, 8), (3, 16), (11, 16)}


def _paintbrush(head: bytes) -> bool:
    """A PCX: version, run lengths, bits of a pixel, and a reserved byte far behind."""
    return (
        len(head) > 65
        and head[0] == 10
        and head[1] in (0, 2, 3, 5)
        and head[2] == 1
        and head[3] in (1, 2, 4, 8)
        and not head[64]
    )


def _plain_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    return bool(text) and not any(c < " " and c not in "\t\r\n\f" for c in text)


UNKNOWN = _other("is not a picture or a clip that can be read here: attach a PNG, JPEG, WebP, MP4 or WebM file.")
PDF = _other("is a PDF document: save the pages you need as pictures and attach those.")
_PLAYLIST = _other("is a list of links to clips, not a clip: attach the video file itself.")
_AUDIO = _other("is a sound recording without pictures: attach a video or an image instead.")

# The first row that matches decides, so the still-picture brands stand before the video containers.
_KINDS: tuple[tuple[Callable[[bytes], bool], Kind], ...] = (
    (_starts(b"\x89PNG\r\n\x1a\n"), _image("PNG")),
    (_starts(b"\xff\xd8\xff"), _image("JPEG")),
    (_starts(b"GIF87a", b"GIF89a"), _image("GIF")),
    (_riff(b"WEBP"), _image("WEBP")),
    (_bitmap, _image("BMP")),
    (_starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _image("TIFF")),
    (_brand(b"avif", b"avis"), _image("AVIF")),
    (_brand(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"), _image("HEIF", "heic")),
    (_starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _image("JPEG2000", "jp2")),
    (_starts(b"8BPS\0\1"), _image("PSD", "vnd.adobe.photoshop")),
    (_starts(b"DDS \x7c\0\0\0"), _image("DDS", "vnd.ms-dds")),
    (_icon, Kind("image", ("ICO", "CUR"), mime="image/x-icon")),
    (_portable, _image("PPM", "x-portable-anymap")),
    (_paintbrush, _image("PCX", "x-pcx")),
    (_brand(b"M4A ", b"M4B "), _AUDIO),
    (_starts(b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", at=4), _video("mov", "video/mp4")),
    (_starts(b"\x1aE\xdf\xa3"), _video("matroska", "video/webm")),
    (_riff(b"AVI "), _video("avi", "video/x-msvideo")),
    (_transport_stream, _video("mpegts", "video/mp2t")),
    (_starts(b"\0\0\x01\xba"), _video("mpeg", "video/mpeg")),
    (_starts(b"FLV\x01"), _video("flv", "video/x-flv")),
    (_starts(b"OggS"), _video("ogg", "video/ogg")),
    (_starts(b"0&\xb2u\x8ef\xcf\x11"), _video("asf", "video/x-ms-asf")),
    (_bare(b"\x67", b"\x27", b"\x47", b"\x09"), _video("h264")),  # a parameter set, or a delimiter before one
    (_bare(b"\x40\x01", b"\x42\x01", b"\x46\x01"), _video("hevc")),
    (_bare(b"\xb3"), _video("mpegvideo")),
    (_bare(b"\xb0"), _video("m4v")),
    (_bare(b"\x0f"), _video("vc1")),
    (_starts(b"\x12\0\x0a"), _video("obu")),
    (_starts(b"DKIF"), _video("ivf")),
    (_starts(b"YUV4MPEG2 "), _video("yuv4mpegpipe")),
    (_starts(b"\x1f\x07\0\x3f", b"\x1f\x07\0\xbf"), _video("dv")),
    (_starts(b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01"), _video("mxf")),
    (_starts(b".RMF"), _video("rm")),
    (_starts(b"\xb7\xd8\0\x20\x37\x49\xda\x11"), _video("wtv")),
    (_starts(b"nut/multimedia container\0"), _video("nut")),
    (_starts(b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1"), _AUDIO),
    (_riff(b"WAVE"), _AUDIO),
    (_pdf, PDF),
    (_starts(b"%!PS"), _other("is a PostScript drawing, which can't be read here: save it as PNG and attach that.")),
    (_starts(b"PK\x03\x04"), _other("is an archive or an office document: attach the pictures or clips inside it.")),
    (_markup(b"<svg"), _other("is an SVG drawing, which can't be read here: save it as PNG and attach that.")),
    (_markup(b"<mpd"), _PLAYLIST),
    (_starts(b"#EXTM3U", b"ffconcat", b"v=0\r", b"v=0\n"), _PLAYLIST),
    (_targa, _image("TGA", "x-tga")),
    (_plain_text, _other("holds text, not a picture or a clip: paste the text into your message instead.")),
)
