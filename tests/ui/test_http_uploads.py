"""Whose an upload is, and what stays of it, as strangers try it over HTTP."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ovis_app.limits import Limits
from ovis_app.media import file_store, incoming_file
from ovis_app.ui.http_named_files import NOT_HERE
from tests.media.made import clip, numbered, told_in_metadata
from tests.ui.raw_http import (
    MEGABYTE,
    a_file,
    answer,
    ask,
    chunks,
    file,
    form,
    opened,
    stored,
    upload,
)
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served
from tests.waiting import PATIENCE, until

SHAPES = EXAMPLES / "shapes.png"
GONE = "no longer here: attach it again"


def leave(server: Served, *wires: Wire) -> None:
    """Each tab was open, and is closed."""
    for wire in wires:
        with wire.http.stream("GET", f"/heartbeat/{wire.session}") as alive:
            next(alive.iter_raw())
    until(lambda: not server.store._here)


def test_what_one_session_sent_another_cant_use_by_path_or_content(server: Served, wire: Wire) -> None:
    mine = wire.upload(SHAPES)
    path = Path(mine)
    wire.ask("mine", [mine])
    with closing(Wire(server)) as other:
        theirs = other.upload(SHAPES)
        around = Path(theirs).parent / ".." / path.parent.name / path.name
        forged = map(str, (path, path.parent, path.with_name("x"), around))
        for one in forged:
            assert GONE in other.bring(one)["refused"], one
            assert Wire(server, other.session).ask("forged", [one])["kind"] == "missing", one
            assert server.backend.requests[-1].conversation.messages[-1].text != "forged"
        assert other.ask("own", [theirs])["kind"] == "done"
    for guess in (f"{'0' * 32}/{path.name}", path.name, f"{path.parent.name}/..", "lock", ""):
        assert file(server, server.store.folder / guess).status == 404, guess
    called = httpx.post(
        f"{server.url}gradio_api/run/describe", json={"data": [{"path": mine, "meta": {"_type": "gradio.FileData"}}]}
    )
    assert called.status_code == 400 and called.json() == {"error": NOT_HERE}


def test_a_name_is_shown_to_its_owner_and_lies_on_no_disk(server: Served, wire: Wire, tmp_path: Path) -> None:
    named = shutil.copy(SHAPES, tmp_path / "Bericht für Jürgen (privat).png")
    assert "Bericht für Jürgen (privat).png" in wire.ask("what?", [wire.upload(Path(named))])["text"]
    walked = [name for folder, folders, names in os.walk(server.store.folder) for name in (*folders, *names)]
    assert walked and not any("Bericht" in name for name in walked)


CANARY = "canary-7b1d"


def test_what_a_camera_and_a_person_wrote_goes_nowhere(
    server: Served, wire: Wire, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither into what is sent back, nor into a name on the disk, nor into a log; of refused files, too."""
    caplog.set_level(logging.INFO)
    pictures = told_in_metadata(tmp_path, CANARY)
    moving = clip(tmp_path / f"{CANARY}.mp4", map(numbered, range(5)), title=CANARY)
    for path in (*pictures, moving):
        assert CANARY.encode() in path.read_bytes() and CANARY in path.name
        stored_at = wire.upload(path)
        wire.ask(f"{CANARY}: what is it?", [stored_at])
        wire.said = []
        said = file(server, stored_at)
        assert said.status == 200 and CANARY.encode() not in said.body, path
        assert CANARY not in str(said.headers)
    broken = tmp_path / f"{CANARY}-broken.jpg"
    broken.write_bytes((tmp_path / f"{CANARY}.jpg").read_bytes()[:200])
    assert wire.bring(wire.upload(broken))["refused"]
    assert wire.ask(CANARY, [wire.upload(broken)])["kind"] == "failed"
    walked = [name for _, folders, names in os.walk(server.store.folder) for name in (*folders, *names)]
    printed = capfd.readouterr()
    assert not any(CANARY in text for text in (*walked, caplog.text, printed.out, printed.err))


@pytest.mark.parametrize(("uploads", "aborted"), [(12, 4), pytest.param(200, 50, marks=pytest.mark.long)])
def test_nothing_stays_of_uploads_whose_sessions_are_over(
    server: Served, monkeypatch: pytest.MonkeyPatch, uploads: int, aborted: int
) -> None:
    monkeypatch.setattr(file_store, "LEFT_SECONDS", 0.0)
    before = set(stored(server))
    wires = [Wire(server) for _ in range(4)]
    for number in range(uploads):
        wire = wires[number % len(wires)]
        assert wire.bring(wire.upload(SHAPES))["files"]
    kind, body = form(('name="files"; filename="b.png"', b"x" * 1_500_000))
    for _ in range(aborted):
        with closing(opened(server, "/gradio_api/upload", kind, f"Content-Length: {len(body)}")) as connection:
            connection.sendall(body[:1_000_000])
    until(lambda: not any(path.name == "coming" for path in stored(server)))
    assert len(set(stored(server)) - before) >= uploads
    monkeypatch.setattr(file_store, "UNUSED_SECONDS", 0.0)  # a tab sent its first, and left others unsent
    leave(server, *wires)
    until(lambda: server.store.sweep() or not set(stored(server)) - before)
    for wire in wires:
        wire.close()


def test_on_a_full_disk_text_is_answered_and_files_are_again_once_there_is_room(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(server.store.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    refused = upload(server, a_file("a.png"))
    assert refused.status == 507 and refused.body.decode().endswith("Questions without files are answered.")
    with closing(Wire(server)) as wire:
        assert "You said: still there?" in wire.ask("still there?")["text"]
        monkeypatch.undo()
        assert "with shapes.png" in wire.ask("and now?", [wire.upload(SHAPES)])["text"]


def test_what_was_never_sent_goes_with_its_session(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "LEFT_SECONDS", 0.0)
    before = set(stored(server))
    with closing(Wire(server)) as wire, closing(Wire(server)) as other:
        unsent, sent = (wire.upload(SHAPES) for _ in range(2))
        for path in (unsent, sent, "/etc/passwd", "x" * 5000):
            wire.bring(path)
        assert other.ask("mine?", [unsent])["kind"] == "missing" and GONE in other.bring(unsent)["refused"]
        assert "with shapes.png" in wire.ask("and mine?", [sent])["text"]
        leave(server, wire)
    until(lambda: server.store.sweep() or not set(stored(server)) - before)


def test_where_nothing_can_be_written_text_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    nowhere = tmp_path / "file" / "folder"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(nowhere))
    monkeypatch.setattr(tempfile, "tempdir", str(nowhere))
    picture = "data:image/png;base64," + base64.b64encode(SHAPES.read_bytes()).decode()
    with served(HeldBackend()) as server, closing(Wire(server)) as wire:
        assert "You said: still there?" in wire.ask("still there?")["text"]
        refused = upload(server, a_file("a.png"))
        assert refused.status == 507 and b"whoever runs this page" in refused.body
        said = httpx.post(f"{server.url}v1/chat/completions", json=body("hello"), timeout=PATIENCE)
        assert said.status_code == 200
        said = httpx.post(f"{server.url}v1/chat/completions", json=body("look", picture), timeout=PATIENCE)
        assert said.status_code == 507 and "no room for files" in said.json()["error"]["message"]
        for data, sentence in (({"question": "hello"}, "You said: hello"), ({"files": [picture]}, "no room for files")):
            values = [data.get("question", "look"), data.get("files"), None, False, None, None, None]
            said = httpx.post(f"{server.url}gradio_api/run/chat", json={"data": values}, timeout=PATIENCE)
            assert sentence in said.text and str(tmp_path) not in said.text


def body(text: str, *pictures: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": one}} for one in pictures]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]}


def test_uploads_have_their_own_limits(server: Served) -> None:
    assert upload(server, a_file("a.png"), a_file("b.png")).status == 200
    assert upload(server, *(a_file(f"{i}.png") for i in range(64))).status == 200
    many = upload(server, *(a_file(f"{i}.png") for i in range(65)))
    assert many.status == 413 and b"fewer" in many.body
    for named in ('name="files"', 'name="x"', 'name="files"; filename*=', ""):
        assert upload(server, a_file("a.png"), (named, b"x" * 100)).status in (400, 413), named
    assert ask(server, "/gradio_api/upload", "Content-Type: text/plain", method="POST", body=b"x").status == 400
    assert (
        ask(server, "/gradio_api/upload", "Content-Type: multipart/form-data", method="POST", body=b"x").status == 400
    )
    for edge in ("x" * 257, "x" * 10_000, '""', "\xff" * 300):
        kind = f"Content-Type: multipart/form-data; boundary={edge}"
        said = ask(server, "/gradio_api/upload", kind, method="POST", body=b"x")
        assert said.status == 400 and said.body.endswith(b"."), edge
    length = f"Content-Length: {900 * MEGABYTE}"
    with closing(opened(server, "/gradio_api/upload", form()[0], length)) as connection:
        assert answer(connection).status == 413


def limited(limits: Limits) -> Any:
    return served(HeldBackend(), image_bytes=limits.image_bytes, video_bytes=limits.video_bytes,
                  files_per_turn=limits.files_per_turn)  # fmt: skip


def test_an_upload_that_is_refused_midway_leaves_nothing(server: Served, wire: Wire) -> None:
    limits = Limits(image_bytes=1, video_bytes=1, files_per_turn=1)
    with limited(limits) as small:
        kind, body = form(a_file("a.png"), ('name="files"; filename="b.png"', b"x" * 300_000))
        for headers, sent in ((f"Content-Length: {len(body)}", body), ("Transfer-Encoding: chunked", chunks(body))):
            with closing(opened(small, "/gradio_api/upload", kind, headers)) as connection:
                connection.sendall(sent)
                assert answer(connection).status == 413
        assert stored(small) == []


def test_an_upload_whose_sender_leaves_stays_on_no_disk(server: Served, capfd: Any) -> None:
    before = set(stored(server))
    kind, body = form(('name="files"; filename="b.png"', b"x" * 3_000_000))
    for length in (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"):
        with closing(opened(server, "/gradio_api/upload", kind, length)) as connection:
            connection.sendall(body[:2_000_000] if "Content" in length else b"%x\r\n%b" % (len(body), body[:2_000_000]))
            until(lambda: set(stored(server)) - before)
        until(lambda: not set(stored(server)) - before, "half an upload stays")
    assert "Traceback" not in capfd.readouterr().err


def test_uploads_leave_some_of_the_disk(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(stored(server))
    usage = shutil.disk_usage(server.store.folder)

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))

    free(0)
    full = upload(server, a_file("a.png"))
    assert full.status == 507 and b"no room" in full.body
    free(usage.total)
    monkeypatch.setattr(incoming_file, "LOOK", MEGABYTE)
    kind, body = form(('name="files"; filename="b.png"', b"x" * 3 * MEGABYTE))
    with closing(opened(server, "/gradio_api/upload", kind, f"Content-Length: {len(body)}")) as connection:
        connection.sendall(body[:MEGABYTE])
        until(lambda: set(stored(server)) - before)
        free(0)
        with suppress(OSError):
            connection.sendall(body[MEGABYTE:])
        assert answer(connection).status == 507
    until(lambda: not set(stored(server)) - before, "a refused upload stays")
    free(usage.total)
    assert upload(server, a_file("a.png")).status == 200
