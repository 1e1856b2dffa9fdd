"""What people, cameras and programs put into the headers of a clip's streams isn't shown to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from tests.media.test_shown import CANARY, folder, located, played, secrets_in, shown

__all__ = ["folder"]  # a fixture

SEI = b"\x06\x05" + bytes([16 + len(CANARY)]) + bytes(range(1, 17)) + CANARY + b"\x80"  # what people write into H.264


def unit(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def with_header(plain: Path, path: Path, **headers: bytes) -> Path:
    """The same clip with other headers of its streams, by their types."""
    with av.open(str(plain)) as given, av.open(str(path), "w") as out:
        copies: list[Any] = [out.add_stream_from_template(stream, opaque=True) for stream in given.streams]
        for copy in copies:
            copy.codec_context.extradata = headers.get(copy.type, copy.codec_context.extradata)
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    assert CANARY in path.read_bytes()
    return path


def headers_of(path: Path) -> dict[str, bytes]:
    with av.open(str(path)) as clip:
        return {stream.type: bytes(stream.codec_context.extradata or b"") for stream in clip.streams}


@pytest.mark.parametrize("place", ["first list", "second list", "behind"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
def test_what_stands_among_the_parameters_of_h264_goes(tmp_path: Path, folder: Path, place: str, suffix: str) -> None:
    plain = located(tmp_path / "plain.mp4")
    header = headers_of(plain)["video"]
    first = header[6 : 8 + int.from_bytes(header[6:8], "big")]
    rest = header[6 + len(first) + 1 :]
    second = rest[: 2 + int.from_bytes(rest[:2], "big")]
    made = {
        "first list": header[:5] + b"\xe2" + first + unit(SEI) + b"\1" + rest,
        "second list": header[:5] + b"\xe1" + first + b"\2" + second + unit(SEI) + rest[len(second) :],
        "behind": header + CANARY,
    }
    copy = shown(with_header(plain, tmp_path / f"a.{suffix}", video=made[place]), folder)
    assert secrets_in(copy) == [] and len(played(copy)) == 20 and headers_of(copy)["video"] == header
    assert headers_of(copy)["audio"]  # taken over, not encoded anew


def test_what_stands_in_the_headers_of_webm_and_of_sound_goes(tmp_path: Path, folder: Path) -> None:
    plain = located(tmp_path / "plain.webm", codec="libvpx-vp9", sound="libopus")
    copy = shown(with_header(plain, tmp_path / "a.webm", video=CANARY), folder)
    assert secrets_in(copy) == [] and len(played(copy)) == 20 and copy.suffix == ".webm"
    plain = located(tmp_path / "plain.mp4")
    sound = headers_of(plain)["audio"] + bytes(80) + CANARY
    copy = shown(with_header(plain, tmp_path / "a.mkv", audio=sound), folder)
    assert secrets_in(copy) == [] and len(played(copy)) == 20
