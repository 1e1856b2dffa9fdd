"""The log as JSON: a line for whatever happened, found by the number that a person reports, and with nobody's words."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from ovis_app import logs, serve
from ovis_app.request_id import RequestId
from tests.ui.raw_http import form
from tests.ui.serving import Served, Wire, free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent
CANARY = "CanaryMarmalade"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What a page that was asked all kinds of things has printed, and the numbers that it has told."""
    port = free_port()
    command = [sys.executable, "app.py", "--backend", "fake", "--port", str(port), "--log-format", "json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as page:
        assert page.stderr is not None
        first = page.stderr.readline()
        try:
            numbers = list(asked(f"http://127.0.0.1:{port}/", tmp_path_factory.mktemp(CANARY)))
        finally:
            page.terminate()
        out, rest = page.communicate(timeout=PATIENCE)
    yield [out, *numbers, first, *rest.splitlines()]


def asked(url: str, folder: Path) -> Iterator[str]:
    """The numbers of an answer, of two that break unexpectedly, and of a refusal."""
    wire = Wire(Served(url, None, None))
    picture, exif = folder / f"{CANARY}.png", Image.Exif()
    exif[0x010E] = CANARY
    Image.new("RGB", (64, 48), "teal").save(picture, exif=exif)
    broken = folder / f"{CANARY}-broken.png"
    broken.write_bytes(picture.read_bytes()[:80])
    with httpx.Client(base_url=url, timeout=PATIENCE, headers={"x-request-id": CANARY}) as client:
        question = wire.asked(f"{CANARY}?", [wire.upload(picture)])
        answer = client.post("gradio_api/call/ask", json={"data": [question]})
        assert list(wire.frames(answer.json()["event_id"]))[-1]["kind"] == "done"
        yield answer.headers["x-request-id"]
        crash = [{"role": "user", "content": f"crash {CANARY}"}]
        for stream in (False, True):
            refused = client.post("v1/chat/completions", json={"messages": crash, "stream": stream})
            yield refused.headers["x-request-id"]
            assert f"Say this number when you report it: {refused.headers['x-request-id']}." in refused.text
        failed = wire.ask(f"crash {CANARY}")
        assert failed["kind"] == "failed"
        yield failed["sentence"].rpartition(" ")[2].rstrip(".")
        wire.said = []
        wire.bring(wire.upload(broken))
        wire.bring(f"/tmp/{CANARY}")
        wire.ask(CANARY, [wire.upload(broken)])
        kind, body = form((f'name="files"; filename="{CANARY}"', b"x"), (f'name="{CANARY}"', b"x"))
        client.post("gradio_api/upload", headers=dict([kind.split(": ")]), content=body)
        client.post(f"gradio_api/run/{CANARY}", json={"data": [CANARY], "session_hash": CANARY})
        client.post("gradio_api/call/chat", json={"data": [{CANARY: CANARY}, CANARY]})
        client.post("gradio_api/call/locate", json={"data": [{"path": f"/{CANARY}"}, CANARY]})
        client.post("v1/chat/completions", json={"messages": CANARY}, headers={"authorization": f"Bearer {CANARY}"})
        gone = client.get(f"{CANARY}?{CANARY}={CANARY}", headers={"host": f"127.0.0.1:1{CANARY}", "cookie": CANARY})
        yield gone.headers["x-request-id"]
    wire.close()


def test_every_line_is_an_object_and_nobody_wrote_any_of_it(said: list[str]) -> None:
    out, lines = said[0], [json.loads(line) for line in said[6:]]
    assert CANARY not in " ".join(said) and out == ""
    assert all({"time", "level", "event", "logger"} <= set(line) for line in lines)
    assert not re.search(r"127\.0\.0\.1|/tmp|/home|\.py\b|Bearer", " ".join(said[6:]))
    assert lines[0]["event"].startswith("ready on port") and len(lines) > 8


def test_what_a_person_reports_is_found(said: list[str]) -> None:
    answer, whole, streamed, page, gone = said[1:6]
    lines = [json.loads(line) for line in said[6:]]

    def of(number: str) -> list[dict[str, Any]]:
        assert re.fullmatch(r"[0-9a-f]{8}", number)
        return [line for line in lines if line.get("request") == number]

    [done] = of(answer)
    assert done["event"] == "answer" and done["finish"] == "end" and done["files"] == 1
    assert done["seconds"] >= done["first_token_seconds"] >= 0 and done["answer_tokens"] > 0 < done["prompt_tokens"]
    for number in (whole, streamed, page):
        failed = next(line for line in of(number) if "errors" in line)
        assert failed["level"] == "error" and failed["errors"] == ["RuntimeError"]
        assert failed["trace"][-1].startswith("ovis_app.backends.fake:")
        assert [line["error"] for line in of(number) if line["event"] == "answer"] == ["unexpected"]
    [refused] = of(gone)
    assert refused["status"] == 400 and refused["seconds"] >= 0 and refused["event"] == "a request was refused"
    assert len({answer, whole, streamed, page, gone}) == 5


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger(logs.OURS)
    before = root.handlers[:], root.level, ours.level
    stream = io.StringIO()
    logs.start(stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:], level, own = before
    root.setLevel(level), ours.setLevel(own)


def test_others_lines_tell_where_they_come_from_and_no_words(written: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("%s asked for /%s", "203.0.113.9", CANARY)
    logging.getLogger("gradio").warning(f"{CANARY} is odd")
    warnings.warn(CANARY, stacklevel=1)
    print(f"Traceback of {CANARY}", file=logs.Printed(written))
    ours = logging.getLogger("ovis_app.somewhere")
    ours.info("%s: %d of %.1f s, %s (request %s)", CANARY, 3, 2.25, "ValueError", RequestId("3f9a01bc"))
    try:
        raise ValueError(CANARY) from KeyError(CANARY)
    except ValueError:
        ours.exception("it failed: %r", CANARY)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert CANARY not in written.getvalue() and "203" not in written.getvalue()
    assert [line["logger"] for line in lines[:3]] == ["uvicorn.error", "gradio", "py"]
    assert all(line["at"].startswith("test_logs:") for line in lines[:2])
    assert lines[4]["event"] == "…: 3 of 2.2 s, ValueError" and lines[4]["request"] == "3f9a01bc"
    assert lines[5]["errors"] == ["ValueError", "KeyError"] and lines[5]["event"] == "it failed: …"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device there")
def test_a_log_that_cannot_be_written_breaks_no_answer() -> None:
    """A full disk, or a reader of the log that is gone."""
    port = free_port()
    command = [sys.executable, "app.py", "--backend", "fake", "--port", str(port), "--log-format", "json"]
    asked = {"messages": [{"role": "user", "content": "Hello"}]}
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=full) as page,
        httpx.Client(base_url=f"http://127.0.0.1:{port}/", timeout=PATIENCE) as client,
    ):
        try:
            until(lambda: listens(port) and client.get("readyz").status_code == 200)
            answers = [client.post("v1/chat/completions", json=asked).status_code for _ in range(3)]
        finally:
            page.terminate()
    assert (answers, page.returncode) == ([200] * 3, 0)


def listens(port: int) -> bool:
    with closing(socket.socket()) as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_what_keeps_it_from_starting_is_said_to_the_operator(
    written: io.StringIO, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--backend", "fake", "--port", "0", "--log-format", "json", "--auth-file", str(tmp_path / "none")]
    assert serve.main(words, program="ovis serve") == 1
    said = capsys.readouterr().err
    assert said.startswith("ovis serve: The file of --auth-file can't be read") and len(said.splitlines()) == 1


def test_our_lines_are_words_of_the_source() -> None:
    """And values beside them, which the log knows to hide."""

    def constant(node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=str()):
                return True
            case ast.Name(id=name):
                return name.isupper()
            case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, right=other):
                return constant(one) and constant(other)
        return False

    for file in (ROOT / "ovis_app").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=how), args=[first, *_]):
                    if how in ("debug", "info", "warning", "error", "exception", "critical"):
                        looked_up = file.name == "logs.py" and isinstance(first, ast.Subscript)
                        assert constant(first) or looked_up, f"{file.name}:{node.lineno}"
