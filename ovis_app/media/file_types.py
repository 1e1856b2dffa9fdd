"""What a file is, told from its first bytes and never from its name. Decodes nothing.

A row names the only decoder that may open such a file, so that a text file can never reach a playlist reader,
nor a picture Ghostscript.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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


def _image(name: str) -> Kind:
    return Kind("image", (name,), mime=f"image/{name.lower()}")


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


def _markup(*words: bytes) -> Callable[[bytes], bool]:
    def matches(head: bytes) -> bool:
        text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        return text.startswith(b"<") and any(word in text for word in words)

    return matches


def _plain_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    return bool(text) and not any(c < " " and c not in "\t\r\n\f" for c in text)


UNKNOWN = _other("is not a picture or a clip that can be read here: attach a PNG, JPEG, WebP, MP4 or WebM file.")
_PLAYLIST = _other("is a list of links to clips, not a clip: attach the video file itself.")
_AUDIO = _other("is a sound recording without pictures: attach a video or an image instead.")
_HEIC_ADVICE = "is a HEIC photo, which can't be read here: save it as JPEG and attach that."
HEIC: Literal["HEIF"] = "HEIF"  # the plugin's name once the optional pillow-heif is there

# The first row that matches decides, so the still-picture brands stand before the video containers.
_KINDS: tuple[tuple[Callable[[bytes], bool], Kind], ...] = (
    (_starts(b"\x89PNG\r\n\x1a\n"), _image("PNG")),
    (_starts(b"\xff\xd8\xff"), _image("JPEG")),
    (_starts(b"GIF87a", b"GIF89a"), _image("GIF")),
    (_riff(b"WEBP"), _image("WEBP")),
    (_starts(b"BM"), _image("BMP")),
    (_starts(b"II*\0", b"MM\0*"), _image("TIFF")),
    (_brand(b"avif", b"avis"), _image("AVIF")),
    (_brand(b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1"), Kind("image", (HEIC,), _HEIC_ADVICE, "image/heic")),
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
    (_starts(b"%PDF-"), _other("is a PDF document: save the pages you need as pictures and attach those.")),
    (_starts(b"%!PS"), _other("is a PostScript drawing, which can't be read here: save it as PNG and attach that.")),
    (_starts(b"PK\x03\x04"), _other("is an archive or an office document: attach the pictures or clips inside it.")),
    (_markup(b"<svg"), _other("is an SVG drawing, which can't be read here: save it as PNG and attach that.")),
    (_markup(b"<mpd"), _PLAYLIST),
    (_starts(b"#EXTM3U", b"ffconcat", b"v=0\r", b"v=0\n"), _PLAYLIST),
    (_plain_text, _other("holds text, not a picture or a clip: paste the text into your message instead.")),
)
