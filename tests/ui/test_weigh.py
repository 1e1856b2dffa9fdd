"""A question is weighed before it is asked: what the page is told then is what the answer's figures say, and what a
stranger sends as a question or as a size does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.backends.local.backend import LocalBackend
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from tests.golden_cases import BUNDLED
from tests.ui.serving import EXAMPLES, Wire, served

CLIP, SHAPES = EXAMPLES / "clip.mp4", EXAMPLES / "shapes.png"


def weighed(wire: Wire, request: Any, session: str | None = None) -> dict[str, Any]:
    body = {"data": [{"session": session or wire.session, "request": request}], "session_hash": wire.session}
    answer = wire.http.post("/run/weigh", json=body)
    assert answer.status_code == 200
    return dict(answer.json()["data"][0])


def question(*sizes: str, text: str = "What is it?", **more: Any) -> dict[str, Any]:
    parts = [_part("video_url" if size.count("x") == 2 else "image_url", f"size:{size}") for size in sizes]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], **more}


def _part(kind: str, url: object) -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}}


def size_of(said: dict[str, Any]) -> str:
    return "x".join(map(str, said["files"][0]["size"]))


def test_what_is_said_before_is_what_the_answer_took(tmp_path: Path) -> None:
    long = tmp_path / "long.png"
    Image.new("RGB", (60, 1200), "white").save(long)
    settings = Settings(model=str(BUNDLED / "ovis2" / "public-a" / "checkpoint"), device="cpu")
    with served(LocalBackend(settings, Limits())) as here:
        wire = Wire(here)
        few = {"max_tokens": 2}
        assert weighed(wire, question()) == {}  # nobody is there yet who could tell
        assert wire.ask("hello", **few)["stats"]["prompt_tokens"] == weighed(wire, question(text="hello"))["prompt"]
        wire.said = []
        for file, split in ((SHAPES, False), (long, False), (long, True), (CLIP, False)):
            path = wire.upload(file)
            told = weighed(wire, question(size_of(wire.bring(path)), **few, ovis={"split": split}))
            content = [_part("video_url" if file == CLIP else "image_url", f"/gradio_api/file={path}")]
            request = {"messages": [{"role": "user", "content": [*content, {"type": "text", "text": "What is it?"}]}]}
            asked = {"session": wire.session, "request": {**request, **few, "ovis": {"split": split}}}
            *_, last = wire.frames(str(wire.join(asked).json()["event_id"]))
            stats = last["stats"]
            assert (told["prompt"], told["visual"]) == (stats["prompt_tokens"], stats["visual_tokens"])
            assert (told["files"][0]["pieces"] > 1) == split
        wire.close()


def test_a_long_picture_that_is_seen_small_would_be_split(wire: Wire) -> None:
    told = weighed(wire, question("640x480", "1080x20000"))
    assert told["prompt"] == 12 + 2 * 64 and told["room"] == 4096
    assert [one["split"] for one in told["files"]] == [1, 8]  # sixteen files a question
    assert weighed(wire, question("1080x20000"))["files"][0]["split"] == 16
    assert weighed(wire, question("1080x20000", ovis={"split": True}))["files"][0]["split"] == 1
    assert weighed(wire, question("640x480x20"))["files"][0]["tokens"] == 64


@pytest.mark.parametrize(
    "url",
    ["", "size:0x5", "size:5x0", "size:-5x5", "size:5", "size:5x5x0", "size:5x5x5x5", "size:1e9x1", "size:٣x٣",
     "size:9999999x9999999", "size:5x5\n", "/gradio_api/file=/etc/passwd", "https://example.org/a.png",
     "data:image/png;base64,AAAA", None, 5, ["size:5x5"]],
)  # fmt: skip
def test_what_is_no_size_is_refused_in_a_sentence(wire: Wire, url: object) -> None:
    request = {"messages": [{"role": "user", "content": [_part("image_url", url), {"type": "text", "text": "x"}]}]}
    said = weighed(wire, request)["refused"]
    assert said.endswith((".", "?")) and "passwd" not in said and "Traceback" not in said


@pytest.mark.parametrize(
    "request_",
    [None, [], "x", {}, {"messages": []}, {"messages": [{"role": "user"}]},
     {"messages": [{"role": "user", "content": "x" * 1_000_001}]},
     {**question(), "temperature": "hot"}, {**question(), "max_tokens": -1}],
)  # fmt: skip
def test_what_is_no_question_is_refused_in_a_sentence(wire: Wire, request_: Any) -> None:
    said = weighed(wire, request_)["refused"]
    assert said.endswith((".", "?")) and len(said) < 300
    assert "refused" in weighed(wire, question(), session="../x")


def test_files_are_told_with_their_sizes_when_they_are_chosen(wire: Wire, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on a side
    Image.new("RGB", (40, 20), "red").save(turned, exif=exif)
    assert wire.bring(wire.upload(turned))["files"][0]["size"] == [20, 40]
    clip = wire.bring(wire.upload(CLIP))["files"][0]["size"]
    assert len(clip) == 3 and clip[2] > 8
    gif = tmp_path / "moves.gif"
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue", "green")]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=100)
    [told] = wire.bring(wire.upload(gif))["files"]
    assert (told["size"], told["moves"]) == ([30, 20, 3], True)
