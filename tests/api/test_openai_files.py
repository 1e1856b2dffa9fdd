"""Pictures, clips and documents in a request: taken, refused, fetched, and gone with it."""

from __future__ import annotations

import base64
import logging
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ovis_app.api.openai import files, serving
from ovis_app.conversation import Detail
from ovis_app.errors import MediaError
from ovis_app.media.fetch import fetch
from ovis_app.stop import Stop
from ovis_app.zoo import MINI
from tests.api.openai_program import KEYS, PICTURE, Program, asked, body, refused, user
from tests.canary import canary
from tests.media.made import told_in_metadata
from tests.media.made_pdf import pdf, quarters
from tests.media.test_fetch import saying
from tests.ui.serving import EXAMPLES, HeldBackend, served_api
from tests.waiting import PATIENCE, until


@pytest.mark.parametrize(
    "kwargs",
    [{"images_kwargs": {"min_pixels": 1024, "max_pixels": 1792**2}}, {"min_pixels": 1024, "max_pixels": 1792**2}],
)
def test_pixels_are_what_the_model_was_made_for(program: Program, kwargs: dict[str, Any]) -> None:
    program.ask(body("look", PICTURE, mm_processor_kwargs=kwargs))
    detail = asked(program).conversation.messages[0].media[0].detail
    assert (detail.min_pixels, detail.max_pixels) == MINI.single.made_for


def test_a_picture_without_a_wish_is_looked_at_as_the_model_likes(program: Program) -> None:
    program.ask(body("look", PICTURE))
    assert asked(program).conversation.messages[0].media[0].detail == Detail(frames=8)


def test_files_are_there_as_long_as_the_request_and_no_longer(program: Program) -> None:
    before = set(Path(tempfile.gettempdir()).glob("ovis-api-*"))
    program.ask(body("look", PICTURE))
    path = asked(program).conversation.messages[0].media[0].path
    assert path.parent.name.startswith("ovis-api-")
    assert program.ask(body("look", "data:image/png;base64,AAAA")).status_code == 400
    until(lambda: set(Path(tempfile.gettempdir()).glob("ovis-api-*")) <= before and not path.parent.exists())


CANARY = "canary-7b1d"


def test_what_a_camera_and_a_person_wrote_is_in_no_log_and_on_no_disk(
    program: Program, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither words nor metadata, of what is answered, of what is refused and of what fails; nor in what is said."""
    caplog.set_level(logging.DEBUG, logger="ovis_app")
    for path in told_in_metadata(tmp_path, CANARY):
        content = path.read_bytes()
        assert CANARY.encode() in content
        whole, cut = (base64.b64encode(data).decode() for data in (content, content[: len(content) // 2]))
        said = program.ask(body(CANARY, f"data:image/{path.suffix[1:]};base64,{whole}"))
        assert said.status_code == 200 and said.text.count(CANARY) == 1, "the echo of the words alone"
        named = asked(program).conversation.messages[0].media[0]
        assert CANARY not in f"{named.path} {named.label}"
        refused(program.ask(body(CANARY, f"data:image/png;base64,{cut}")), 400)
        refused(program.ask(body(f"{CANARY} fail", f"data:image/png;base64,{whole}")), 500)
    folders = [Path(tempfile.gettempdir()), program.served.store.folder]
    names = [one.name for folder in folders for one in folder.glob("ovis-*/**/*")]
    printed = capfd.readouterr()
    assert not any(CANARY in text for text in (*names, caplog.text, printed.out, printed.err))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.org/x.png", "--allow-urls"),
        ("HTTPS://example.org/x.png", "--allow-urls"),
        ("file:///etc/passwd", "data: URI"),
        ("/etc/passwd", "data: URI"),
        ("data:image/png,abc", "data: URI"),
        ("data:image/png;base64,@@@", "base64"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,AAAA", "image 1"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg></svg>").decode(), "SVG"),
        ("data:video/jpeg;base64," + ",".join(["AAAA"] * 257), "frames"),
        ("data:video/jpeg;base64," + PICTURE.partition(",")[2], "JPEG"),
    ],
)
def test_pictures_that_cant_be_taken(program: Program, url: str, words: str) -> None:
    refused(program.ask(body("look", url)), 400, words)
    assert program.served.backend.requests == []


def test_a_clip_and_a_picture_dont_go_together(program: Program) -> None:
    clip = "data:video/mp4;base64," + base64.b64encode((EXAMPLES / "clip.mp4").read_bytes()).decode()
    message = user("look", PICTURE)
    message["content"].insert(0, {"type": "video_url", "video_url": {"url": clip}})
    refused(program.ask({"messages": [message]}), 400, "clip")
    assert program.ask({"messages": [user("look", clip, kind="video_url")]}).status_code == 200
    assert asked(program).conversation.messages[0].media[0].kind == "video"


def pdf_uri(pages: int, kind: str = "application/pdf") -> str:
    return f"data:{kind};base64," + base64.b64encode(pdf([quarters(30, 20) for _ in range(pages)])).decode()


def file_part(**file: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": [{"type": "file", "file": file}, {"type": "text", "text": "sum"}]}]
    }


def test_pages_of_a_document_are_pictures(program: Program) -> None:
    """Wherever it stands, and whatever it is said to be."""
    sent = file_part(file_data=pdf_uri(2), filename="../report.pdf")
    sent["messages"][0]["content"].insert(0, {"type": "image_url", "image_url": {"url": PICTURE}})
    assert program.ask(sent).status_code == 200
    media = asked(program).conversation.messages[0].media
    assert [(one.kind, one.name) for one in media] == [
        ("image", "image 1"), ("image", "file 2 page 1"), ("image", "file 2 page 2")
    ]  # fmt: skip
    assert program.ask(body("look", pdf_uri(1, "image/png"))).status_code == 200
    assert [one.name for one in asked(program).conversation.messages[0].media] == ["image 1 page 1"]
    assert program.ask(file_part(file_data=PICTURE)).status_code == 200


def test_parts_keep_their_order(program: Program) -> None:
    """Pages of a document stand where it stood; what has no text before it is asked as ever."""
    image = {"type": "image_url", "image_url": {"url": PICTURE}}
    page = {"type": "file", "file": {"file_data": pdf_uri(2)}}
    text = [{"type": "text", "text": f"Text {n}."} for n in range(2)]
    message = {"role": "user", "content": [text[0], image, text[1], page, image]}
    earlier = {"role": "user", "content": [image, image, *text]}
    talk = [earlier, {"role": "assistant", "content": "Yes."}, message]
    assert program.ask({"messages": talk}).status_code == 200
    before, _, asking = asked(program).conversation.messages
    assert (before.text, [one.place for one in before.media]) == ("Text 0.\nText 1.", [None, None])
    assert asking.text == "Text 0.\n\nText 1.\n\n\n"
    assert [(one.name, one.place) for one in asking.media] == [
        ("image 3", 8), ("file 4 page 1", 17), ("file 4 page 2", 18), ("image 5", 19)
    ]  # fmt: skip
    typed = {"role": "user", "content": [{"type": "text", "text": "What is <image> here?"}, image]}
    assert program.ask({"messages": [typed]}).status_code == 200
    [message] = asked(program).conversation.messages
    assert (message.text, message.media[0].place) == ("What is <image> here?\n", 22)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"file_data": pdf_uri(17)}, "has 17 pages to look at, and a question holds at most 16 pictures: send"),
        ({"file_data": pdf_uri(0)}, "has no pages"),
        ({"file_data": pdf_uri(1)[:201]}, "base64"),
        ({"file_data": pdf_uri(1)[:200]}, "is incomplete"),
        ({"file_data": "https://example.org/x.pdf"}, "--allow-urls"),
        ({"file_id": "file-123"}, "file.file_data must be a data: URI"),
        ({}, "file.file_data must be a data: URI"),
    ],
    ids=["long", "empty", "damaged", "cut", "address", "id", "nothing"],
)  # fmt: skip
def test_documents_that_cant_be_taken(program: Program, file: dict[str, str], words: str) -> None:
    refused(program.ask(file_part(**file)), 400, words)
    assert program.served.backend.requests == []


def test_a_conversation_holds_so_many_pages(program: Program) -> None:
    [asking] = file_part(file_data=pdf_uri(13))["messages"]
    turns = [asking, {"role": "assistant", "content": "so"}] * 5
    refused(program.ask({"messages": turns[:-1]}), 400, "at most 64 pictures")


def test_clients_who_name_slow_addresses_leave_readers_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = threading.Semaphore(0), threading.Event()

    def fetch(*_: object, stop: Stop, **__: object) -> None:
        begun.release()
        over.wait(PATIENCE)

    monkeypatch.setattr(files, "fetch", fetch)
    with served_api(HeldBackend(), allow_urls=True, api_key=KEYS) as there:
        one, two = (Program(there, key) for key in KEYS)
        slow = body("look", "http://example.org/x.png")
        asking = [threading.Thread(target=who.ask, args=(slow,)) for who in (one, two) for _ in range(8)]
        for thread in asking:
            thread.start()
        assert all(begun.acquire(timeout=PATIENCE) for _ in range(serving.FETCHERS))
        try:
            assert (
                two.http.post("v1/chat/completions", json=body("hello", PICTURE), timeout=PATIENCE / 2).status_code
                == 200
            )
        finally:
            over.set()
        for thread in asking:
            thread.join(PATIENCE)


def test_a_question_without_files_waits_for_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = threading.Semaphore(0), threading.Event()

    def save(*_: object) -> None:
        begun.release()
        over.wait(PATIENCE)
        raise MediaError("That can't be read.")

    monkeypatch.setattr(files, "save", save)
    with served_api(HeldBackend(), api_key=KEYS) as there:
        one, two = (Program(there, key) for key in KEYS)
        asking = [threading.Thread(target=who.ask, args=(body("look", PICTURE),)) for who in (one, two) for _ in "1234"]
        for thread in asking:
            thread.start()
        assert all(begun.acquire(timeout=PATIENCE) for _ in range(serving.READERS))
        try:
            said = two.http.post("v1/chat/completions", json=body("hello"), timeout=PATIENCE / 2)
            assert said.status_code == 200
        finally:
            over.set()
        for thread in asking:
            thread.join(PATIENCE)


def test_all_addresses_of_a_request_have_a_size_and_a_time_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fetch", partial(fetch, allowed=lambda _: True))
    picture = (EXAMPLES / "shapes.png").read_bytes()
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(picture), picture)
    with (
        saying(said, said) as web,
        served_api(HeldBackend(), allow_urls=True, video_bytes=len(picture) * 3 // 2) as there,
    ):
        refused(Program(there).ask(body("look", f"{web}/a", f"{web}/b")), 400, "image 2", "larger")
    monkeypatch.setattr(files, "FETCH_SECONDS", 0.3)
    with saying(b"", ends=False) as web, served_api(HeldBackend(), allow_urls=True) as there:
        refused(Program(there).ask(body("look", f"{web}/a")), 400, "image 1", "too long")


def test_addresses_are_fetched_where_that_is_allowed_but_never_from_here() -> None:
    with canary() as bird, served_api(HeldBackend(), allow_urls=True) as there:
        for host in (bird.address, f"localhost:{bird.address.rpartition(':')[2]}"):
            error = refused(Program(there).ask(body("look", f"http://{host}/x.png")), 400, "private network")
            assert bird.address not in error["message"]
        assert bird.hits == [] and there.backend.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_to_be_said_of_a_page_stands_in_the_usage(program: Program, stream: bool) -> None:
    small = base64.b64encode(pdf([quarters(6000, 6000)])).decode()
    part = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{small}"}}
    asked_for = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "look"}]}], "stream": stream}
    answer = program.ask(asked_for | ({"stream_options": {"include_usage": True}} if stream else {}))
    assert "Page 1 of “file 1” is 212 x 212 cm large and was drawn at 22 dpi: small print may be lost." in answer.text
    assert ('"notes"' in program.ask(body("look", PICTURE)).text) is False
