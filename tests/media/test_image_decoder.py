"""The process that checks pictures: one for a message, few at a time, never more memory than it was given, and whatever
ends it is a sentence about one picture."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import (
    attach,
    attach_all,
    decoder_memory,
    decoder_process,
    image_decoder,
    images,
    open_image,
    picture_opening,
    upright_size,
)
from tests.media.made import clip, corner_names, corners, crowded_tiff, encoded, numbered, raw_png, scanned_jpeg
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("no_leaks")

register_heif_opener()  # to write such files
PNG = encoded(corners(), "PNG")
TURNED = Image.Exif()
TURNED[0x0112] = 6
FAKE = """
import json, os, sys, time, struct
def send(record):
    head = json.dumps(record).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(head)) + head)
    sys.stdout.buffer.flush()
for file in json.loads(sys.argv[1])["files"]:
    data = sys.stdin.buffer.read(file["bytes"])
    if b"CRASH" in data: os.abort()
    if b"HANG" in data: time.sleep(60)
    if b"LIE" in data: send({"end": True}); sys.exit()
    if b"FLOOD" in data:
        for _ in range(100): send({})
    send({})
send({"end": True})
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    script = tmp_path / "decoder.py"
    script.write_text(FAKE)
    monkeypatch.setattr(decoder_process, "IMAGE_DECODER", script)
    return script


def bomb(side: int = 7740) -> bytes:
    """60 million pixels in a few kB."""
    return raw_png(side, side, bits=8, colour=2, row=bytes(3 * side))


def test_one_process_looks_at_all_pictures_of_a_message(write: Callable[..., Path], children: list[Any]) -> None:
    files = [(write(f"secret-{i}.png", PNG), f"secret-{i}.png") for i in range(5)]
    good, refused = attach_all(files, Limits())
    assert len(good) == 5 and not refused
    [child] = children
    assert child.returncode is not None  # dead and reaped
    assert not [word for word in child.args if "secret" in word or "hidden-folder" in word]


def test_a_picture_that_ends_its_process_does_not_end_the_others(
    write: Callable[..., Path], fake: Path, children: list[Any]
) -> None:
    kinds = ("fine", "CRASH", "also", "LIE", "HANG", "good")
    files = [(write(f"{kind}.png", PNG + kind.encode()), f"{kind}.png") for kind in kinds]
    good, refused = attach_all(files, Limits(decode_seconds=1.5))
    assert [media.name for media in good] == ["fine.png", "also.png", "good.png"]
    assert [sentence.partition(" ")[0] for sentence in refused] == ["“CRASH.png”", "“LIE.png”", "“HANG.png”"]
    assert "takes too long" in refused[2] and all(child.returncode is not None for child in children)


def test_a_process_that_says_too_much_is_believed_for_what_was_asked(write: Callable[..., Path], fake: Path) -> None:
    good, refused = attach_all([(write("a.png", PNG + b"FLOOD"), "a.png")], Limits())
    assert len(good) == 1 and not refused


def test_damaged_pictures_among_good_ones_are_named(write: Callable[..., Path], children: list[Any]) -> None:
    files = [(write("a.png", PNG), "a.png"), (write("b.png", PNG[:100]), "b.png"), (write("c.png", PNG), "c.png")]
    files += [(write("d.txt", b"text"), "d.txt"), (write("e.png", PNG), "e.png")]
    good, refused = attach_all(files, Limits())
    assert [media.name for media in good] == ["a.png", "c.png", "e.png"] and len(children) == 1
    assert refused[0].startswith("“b.png” is damaged") and refused[1].startswith("“d.txt” holds text")


def test_pictures_beside_a_clip_are_not_even_looked_at(
    write: Callable[..., Path], tmp_path: Path, children: list[Any]
) -> None:
    movie = clip(tmp_path / "m.mp4", map(numbered, range(3)))
    good, refused = attach_all(
        [(movie, "m.mp4"), *((write(f"{i}.png", bomb()), f"{i}.png") for i in range(3))], Limits()
    )
    assert [media.kind for media in good] == ["video"] and len(refused) == 3 and len(children) == 1


def test_too_little_memory_is_a_sentence(write: Callable[..., Path]) -> None:
    with pytest.raises(MediaError, match=r"^“a.png” needs too much memory to read: scale it down"):
        attach(write("a.png", bomb()), "a.png", Limits(check_memory=128 * 1024 * 1024))


@pytest.mark.parametrize(
    ("kind", "options", "bytes"),
    [
        ("WEBP", {}, 16),
        ("AVIF", {}, 10.5),
        ("HEIF", {"chroma": 420}, 7.3),
        ("HEIF", {"chroma": 444}, 9.4),
        ("TIFF", {"compression": "tiff_lzw"}, 7),
        ("TIFF", {"exif": TURNED}, 8),
        ("TIFF", {}, 4),
    ],
)
def test_a_picture_whose_decoder_would_take_too_much_memory_is_told_how_large_it_may_be(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any], bytes: float
) -> None:
    data, area = encoded(corners(64, 64), kind, **options), 64 * 64
    monkeypatch.setattr(decoder_memory, "MOST", 1.1 * bytes * area)
    assert image_decoder.answer(data, [kind], 10_000) == {"pictures": 1, "size": (64, 64)}
    monkeypatch.setattr(decoder_memory, "MOST", 0.9 * bytes * area)
    told = image_decoder.answer(data, [kind], 10_000)
    assert told["refused"] == "memory" and 0.8 * area < told["most"] < area


HALVED = [
    ("JPEG", {}, 4, 1),
    ("JPEG", {"progressive": True}, 7, 4),
    ("JPEG", {"progressive": True, "subsampling": 0}, 10, 7),
    ("JPEG2000", {}, 19, 4.75),
]


@pytest.mark.parametrize(("kind", "options", "whole", "half"), HALVED)
def test_what_would_take_too_much_memory_whole_is_read_at_half_its_size(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any], whole: float, half: float
) -> None:
    data, area = encoded(corners(400, 300), kind, **options), 400 * 300
    for most, size in ((1.1 * whole * area, (400, 300)), (1.1 * half * area + len(data), (200, 150))):
        monkeypatch.setattr(decoder_memory, "MOST", most)
        assert image_decoder.answer(data, [kind], area) == {"pictures": 1, "size": size}
    monkeypatch.setattr(decoder_memory, "MOST", 1000)
    assert image_decoder.answer(data, [kind], area)["refused"] == "memory"


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("JPEG2000", "jp2")])
def test_a_picture_of_more_pixels_than_are_read_is_read_smaller(
    write: Callable[..., Path], kind: str, suffix: str
) -> None:
    """As of a phone with 200 million."""
    picture = write(f"a.{suffix}", encoded(corners(401, 300), kind))
    limits = Limits(image_pixels=31_000)
    media = attach(picture, picture.name, limits)
    read = open_image(media, limits)
    assert read.size == upright_size(media, limits) == (201, 150)
    assert corner_names(read) == corner_names(corners())
    with pytest.raises(MediaError, match=r"has more than 0\.03 million pixels"):
        attach(picture, picture.name, Limits(image_pixels=30_000))


def test_a_phones_largest_picture_is_opened_at_half_its_size(write: Callable[..., Path]) -> None:
    data = encoded(corners(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    path = write("a.jpg", data[:at] + struct.pack(">2H", 12240, 16320) + data[at + 4 :])
    assert upright_size(Media("image", path), Limits()) == (8160, 6120)


def test_a_turned_picture_is_read_smaller_too(write: Callable[..., Path]) -> None:
    picture, limits = write("a.jpg", encoded(corners(401, 300), "JPEG", exif=TURNED)), Limits(image_pixels=31_000)
    media = attach(picture, picture.name, limits)
    assert open_image(media, limits).size == upright_size(media, limits) == (150, 201)


def test_the_limit_of_what_takes_much_memory_is_named(write: Callable[..., Path]) -> None:
    data = encoded(corners().convert("CMYK"), "JPEG", progressive=True, subsampling=0)
    at = data.index(b"\xff\xc2") + 5
    claims = data[:at] + struct.pack(">2H", 8000, 7400) + data[at + 4 :]
    with pytest.raises(MediaError, match=r"^“a.jpg” has more than the 33.3 million pixels .* as it is: save it as PNG"):
        attach(write("a.jpg", claims), "a.jpg", Limits())


LOOKED_AT = """
import re, sys
from pathlib import Path
from ovis_app.conversation import Media
from ovis_app.limits import Limits
from ovis_app.media import open_image
def most(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
path = Path(sys.argv[1])
open_image(Media("image", path.with_name("small-" + path.name)), Limits())  # what the libraries take once
before = most()
print(open_image(Media("image", path), Limits()).size, (most() - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is told by Linux")
@pytest.mark.parametrize("kind", ["turned", "transparent", "deep"])
def test_a_large_picture_takes_little_more_than_itself_and_its_bytes(write: Callable[..., Path], kind: str) -> None:
    def picture(width: int, height: int) -> bytes:
        if kind == "deep":
            return encoded(Image.new("F", (width, height), 0.5), "TIFF", compression="tiff_lzw", strip_size=1 << 20)
        if kind == "turned":
            return encoded(Image.new("RGB", (width, height)), "PNG", exif=TURNED, compress_level=1)
        return raw_png(width, height, bits=8, colour=6, row=b"abc\x80" * width)

    path = write(f"a-{kind}", picture(5000, 4000))
    path.with_name(f"small-{path.name}").write_bytes(picture(64, 48))
    told = subprocess.run([sys.executable, "-c", LOOKED_AT, path], capture_output=True, text=True, check=True).stdout
    size, _, taken = told.strip().rpartition(" ")
    assert size == ("(4000, 5000)" if kind == "turned" else "(5000, 4000)")
    assert float(taken) < 170  # MB; the pixels are 76, their bytes as RGB 57


def test_tags_that_claim_the_same_bytes_are_damage_and_cost_nothing(write: Callable[..., Path]) -> None:
    attach(write("a.tif", crowded_tiff(tags=1, size=3000)), "a.tif", Limits())
    assert attach(write("a.tif", crowded_tiff(tags=0, size=0, pages=3)), "a.tif", Limits()).pictures == 3
    with pytest.raises(MediaError, match="is damaged"):
        attach(write("a.tif", crowded_tiff(tags=60, size=3000)), "a.tif", Limits())


def test_a_picture_that_takes_long_to_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a million chunks would be opened by the app too, again and again."""
    assert "size" in image_decoder.answer(PNG, ["PNG"], 10_000)
    monkeypatch.setattr(picture_opening, "OPEN_SECONDS", 0.0)
    assert image_decoder.answer(PNG, ["PNG"], 10_000) == {"refused": "odd"}


def test_each_picture_has_its_own_processor_time(write: Callable[..., Path]) -> None:
    files = [(write("a.jpg", scanned_jpeg(5_000)), "a.jpg"), (write("b.png", PNG), "b.png")]
    began = time.monotonic()
    good, refused = attach_all(files, Limits(picture_seconds=1, decode_seconds=PATIENCE))
    assert [media.name for media in good] == ["b.png"] and "“a.jpg” takes too long to read" in refused[0]
    assert time.monotonic() - began < PATIENCE


def test_slow_pictures_take_no_longer_together_than_files_may(
    write: Callable[..., Path], fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LOOK_SECONDS", 0.0)
    files = [(write(f"{name}.png", PNG + name.encode()), f"{name}.png") for name in ("a", "b", "c")]
    good, refused = attach_all(files, Limits())
    assert [media.name for media in good] == ["a.png"]
    assert len(refused) == 2 and all("wasn't looked at" in sentence for sentence in refused)


def test_a_webp_that_claims_too_much_is_refused_before_it_takes_memory(write: Callable[..., Path]) -> None:
    for lossless in (True, False):
        data = encoded(Image.new("RGB", (64, 48)), "WEBP", lossless=lossless)
        attach(write("a.webp", data), "a.webp", Limits(image_pixels=64 * 48))
        with pytest.raises(MediaError, match="million pixels"):
            attach(write("a.webp", data), "a.webp", Limits(image_pixels=64 * 48 - 1))
    two = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    animated = io.BytesIO()
    two[0].save(animated, "WEBP", save_all=True, append_images=two[1:])
    with pytest.raises(MediaError, match="million pixels"):
        attach(write("a.webp", animated.getvalue()), "a.webp", Limits(image_pixels=64 * 48 - 1))


def test_two_messages_at_a_time_are_looked_at(
    write: Callable[..., Path], fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living: list[int] = []
    lock = threading.Lock()

    class Counted(subprocess.Popen):  # type: ignore[type-arg]
        live = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with lock:
                Counted.live += 1
                living.append(Counted.live)
            super().__init__(*args, **kwargs)

        def wait(self, timeout: float | None = None) -> int:
            code = super().wait(timeout)
            with lock:
                Counted.live -= 1
            return code

    monkeypatch.setattr(decoder_process.subprocess, "Popen", Counted)
    path = write("a.png", PNG)
    threads = [threading.Thread(target=attach, args=(path, "a.png", Limits())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(living) == 10 and max(living) <= 2


def test_no_number_of_messages_takes_the_apps_memory(write: Callable[..., Path]) -> None:
    path, me = write("bomb.png", bomb()), psutil.Process()
    before = me.memory_info().rss
    most = [before]
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            most.append(me.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=attach, args=(path, "bomb.png", Limits())) for _ in range(4)]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    watcher.join()
    assert max(most) - before < 100 * 1024 * 1024  # one such picture is 240 MB


def test_pictures_larger_than_a_pipe_arrive_whole(write: Callable[..., Path]) -> None:
    noise = encoded(Image.effect_noise((2000, 1500), 90), "PNG")
    assert len(noise) > 1_000_000
    good, refused = attach_all([(write(f"{i}.png", noise), f"{i}.png") for i in range(3)], Limits())
    assert len(good) == 3 and not refused
    until(lambda: not [one for one in threading.enumerate() if one.name == "picture-pipe"])
