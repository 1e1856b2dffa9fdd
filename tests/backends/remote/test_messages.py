"""What a server gets of a conversation: answers plain, pictures and frames as data at the chosen resolution."""

from __future__ import annotations

import base64
import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app import zoo
from ovis_app.api.openai.messages import parse
from ovis_app.backends.remote import pictures
from ovis_app.backends.remote.messages import Written, session_id, written
from ovis_app.backends.remote.pictures import Pictures
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.errors import MediaError
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.places import in_place, joined
from ovis_app.stop import Stop, Stopped
from tests.backends.remote.asking import CLIP, PICTURE, talk

OVIS = zoo.resolve("Ovis2.5-9B")
TILES = zoo.resolve("Ovis2-8B")


def write(conversation: Conversation, spec: Any = OVIS, **settings: Any) -> Written:
    noted: list[str] = []
    wanted = GenerationSettings(**settings)
    return written(conversation, wanted, spec, Pictures(Limits()), note=noted.append, stop=Stop())


def opened(part: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a part of a message."""
    head, _, data = part[part["type"]]["url"].partition(";base64,")
    assert head in ("data:image/png", "data:image/jpeg", "data:video/jpeg")
    return [Image.open(io.BytesIO(base64.b64decode(one, validate=True))) for one in data.split(",")]


def picture(folder: Path, width: int, height: int, *, noise: bool = False) -> Media:
    image = Image.new("RGB", (width, height), "white")
    image.paste("red", (0, 0, width // 2, height // 2))
    if noise:
        image = Image.frombytes("RGB", (width, height), random.Random(1).randbytes(width * height * 3))
    image.save(folder / f"{width}x{height}.png")
    return Media("image", folder / f"{width}x{height}.png")


def test_turns_are_messages() -> None:
    failed = Message("assistant", error="It broke.", finish="error")
    thought = Message("assistant", "A cat.", thinking="I look.")
    wrote = write(talk("One?", failed, "Two?", thought, "Three?"), system="Be brief.", boxes=True, cot=True)
    assert wrote.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "\n".join(("Three?", OVIS.boxes_suffix, OVIS.cot_suffix))},
    )


def test_pictures_stand_before_their_question(tmp_path: Path) -> None:
    two = (picture(tmp_path, 640, 480), picture(tmp_path, 900, 900))
    wrote = write(talk(Message("user", "What is it?", (PICTURE,)), "A cat.", Message("user", "And these?", two)))
    kinds = [[part["type"] for part in m["content"]] for m in wrote.messages if m["role"] == "user"]
    assert kinds == [["image_url", "text"], ["image_url", "image_url", "text"]]


def test_pictures_within_a_question_are_sent_in_their_places(tmp_path: Path) -> None:
    """As parts in order: who reads them as we do has the same text and places again."""
    two = (picture(tmp_path, 640, 480), picture(tmp_path, 900, 900))
    for order in ("tit", "titi", "iti", "tiit", "ti"):
        texts = iter(("First:", "Now:", "Which?"))
        said, places = joined([None if part == "i" else next(texts) for part in order])
        asked = in_place(Message("user", said, two[: order.count("i")]), places, [1] * order.count("i"))
        [message] = write(talk(asked), boxes=order == "tit").messages
        sent = ["t" if part["type"] == "text" else "i" for part in message["content"]]
        assert "".join(sent) == order
        again = parse([message], Limits()).said[0]
        assert again.places == places
        assert again.text == said + (f"\n{OVIS.boxes_suffix}" if order == "tit" else "")
    spaced = in_place(Message("user", "See , or ", two), (4, 9), (1, 1))
    wrote = write(talk(spaced))
    assert [part.get("text") for part in wrote.messages[0]["content"]] == ["See ", None, ", or ", None]
    longer = write(talk(replace(spaced, text="See , or " + "x" * 50)))
    assert longer.tokens == wrote.tokens + 50


@pytest.mark.parametrize(
    ("size", "detail", "seen"),
    [
        ((1000, 500), Detail(), (992, 512)),  # as it is, in whole tokens
        ((40, 20), Detail(), (640, 320)),  # enlarged to the least
        ((4500, 1500), Detail(), (3072, 1024)),  # reduced to the most
        ((1000, 1000), Detail(max_pixels=512 * 512), (512, 512)),
        ((100, 100), Detail(min_pixels=800 * 800), (800, 800)),
        ((3000, 10), Detail(), None),
    ],
)
def test_the_resolution_is_chosen_here(
    tmp_path: Path, size: tuple[int, int], detail: Detail, seen: tuple[int, int] | None
) -> None:
    media = replace(picture(tmp_path, *size), detail=detail)
    wrote = write(talk(Message("user", "What?", (media,))))
    (image,) = opened(wrote.messages[0]["content"][0])
    assert image.width % 32 == image.height % 32 == 0 and image.mode == "RGB"
    assert image.width * image.height <= (detail.max_pixels or OVIS.single.max_pixels)
    assert seen is None or image.size == seen
    assert image.width * image.height / 1024 < wrote.tokens < image.width * image.height / 1024 + 100


@pytest.mark.parametrize(
    ("spec", "side", "own_filter"),
    [(OVIS, 480, Image.Resampling.BILINEAR), (TILES, 447, Image.Resampling.BICUBIC)],
    ids=["Ovis2.5", "Ovis2"],
)
def test_pictures_are_resized_as_the_family_was_trained(
    tmp_path: Path, spec: zoo.ModelSpec, side: int, own_filter: Image.Resampling
) -> None:
    media = picture(tmp_path, 500, 500, noise=True)
    asked = replace(media, detail=Detail(max_pixels=side**2, max_partition=1))
    (sent,) = opened(write(talk(Message("user", "What?", (asked,))), spec).messages[0]["content"][0])
    assert sent.format == "PNG" and sent.tobytes() == Image.open(media.path).resize(sent.size, own_filter).tobytes()
    assert sent.size != (500, 500)


def test_where_the_server_would_make_another_size_of_it_the_picture_keeps_its_shape(tmp_path: Path) -> None:
    """Ovis-mini sees pictures at one size only: made 4:3 of it, rounding down, they would be enlarged again."""
    sizes, most = [], zoo.MINI.single.max_pixels
    for size in ((320, 240), (3000, 2250)):
        media = picture(tmp_path, *size)
        (image,) = opened(write(talk(Message("user", "?", (media,))), zoo.MINI).messages[0]["content"][0])
        sizes.append((image.size, round(image.width / image.height, 2), image.width * image.height <= 4 * most))
    assert sizes[0][0] == (320, 240) and [one[1:] for one in sizes] == [(1.33, True)] * 2


def test_where_a_model_cuts_tiles_no_picture_is_larger_than_its_tiles(tmp_path: Path) -> None:
    large, small = picture(tmp_path, 3000, 1500), picture(tmp_path, 301, 199)
    for media, tiles, seen in ((large, None, 9), (large, 4, 4), (small, None, None)):
        asked = replace(media, detail=Detail(max_partition=tiles))
        (image,) = opened(write(talk(Message("user", "What?", (asked,))), TILES).messages[0]["content"][0])
        assert image.size == (301, 199) if seen is None else 0.9 < image.width * image.height / (seen * 448**2) <= 1


def test_drawings_go_without_loss_and_photographs_small(tmp_path: Path) -> None:
    drawing, photograph = picture(tmp_path, 640, 640), picture(tmp_path, 960, 960, noise=True)
    for media, kind in ((drawing, "PNG"), (photograph, "JPEG")):
        part = write(talk(Message("user", "What?", (media,)))).messages[0]["content"][0]
        (image,) = opened(part)
        assert image.format == kind and len(part["image_url"]["url"]) < 3_000_000
        if kind == "PNG":
            assert image.tobytes() == Image.open(media.path).tobytes()


def test_a_clip_is_its_sampled_frames() -> None:
    clip = replace(CLIP, detail=Detail(frames=5, max_pixels=640 * 640))
    wrote = write(talk(Message("user", "Which way?", (clip,))))
    part = wrote.messages[0]["content"][0]
    frames = opened(part)
    assert part["type"] == "video_url" and part["video_url"]["url"].startswith("data:video/jpeg;base64,")
    assert len(frames) == len(wrote.frame_times) == 5 and len({frame.size for frame in frames}) == 1
    assert frames[0].width % 32 == 0 and 448 * 448 <= frames[0].width * frames[0].height <= 640 * 640
    assert list(wrote.frame_times) == sorted(wrote.frame_times)
    [seen] = wrote.seen
    assert (seen.width, seen.height) == frames[0].size and seen.frames == 5 and not seen.remark


def test_the_next_turn_sends_the_same_bytes_and_encodes_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pictures(Limits())
    first = talk(Message("user", "What is it?", (PICTURE,)))
    settings, nothing = GenerationSettings(), lambda _: None
    before = written(first, settings, OVIS, kept, note=nothing, stop=Stop()).messages
    monkeypatch.setattr(pictures, "open_image", lambda *_: pytest.fail("opened again"))
    later = talk(*first.messages, "A cat.", "Which colour?")
    after = written(later, settings, OVIS, kept, note=nothing, stop=Stop()).messages
    assert after[0] == before[0] and len(after) == 3


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    kept = Pictures(Limits(), kept=200_000)
    sent = [picture(tmp_path, 320 + 32 * n, 640, noise=True) for n in range(4)]
    for media in sent:
        kept.encode(media, OVIS, several=True, stop=Stop())
    assert kept.size <= 200_000


def test_a_question_that_nobody_waits_for_opens_nothing() -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        Pictures(Limits()).encode(PICTURE, OVIS, several=False, stop=stop)


def test_a_file_that_is_gone_is_named() -> None:
    gone = Media("image", Path("/nowhere/cat.png"), "cat.png")
    with pytest.raises(MediaError, match=r"cat\.png"):
        write(talk(Message("user", "What?", (gone,))))


def test_a_conversation_keeps_its_session_and_the_session_tells_nothing() -> None:
    first = talk("My secret question")
    later = talk("My secret question", "Yes.", "And?")
    assert session_id(first) == session_id(later) != session_id(talk("Another"))
    assert session_id(first).isalnum() and len(session_id(first)) == 32
