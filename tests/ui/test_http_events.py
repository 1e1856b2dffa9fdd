"""What an event may bring, and how many at a time: refused in a sentence, before Gradio parses, opens or queues it."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest

from ovis_app.errors import UNEXPECTED
from ovis_app.media import decoder_process
from ovis_app.ui import endpoints, http_crowd
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_events import Events, parsed
from tests.ui.raw_http import ask, brings, post, sentence
from tests.ui.serving import EXAMPLES, Served, Wire
from tests.waiting import PATIENCE, until

CANARY = "canary-5f3a"
OF_SESSION = http_crowd.events().of_session


@pytest.fixture(scope="module")
def events(server: Served) -> Events:
    return Events(server.blocks.get_config_file(), server.blocks.get_api_info())


def sent(wire: Wire, **changes: Any) -> dict[str, Any]:
    """A look at what goes on."""
    event = wire.event("models", "look")
    data = [None, CANARY]
    return {"fn_index": event["id"], "session_hash": wire.session, "data": data} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [CANARY]}, {"data": []}, {"data": None}, {"data": {}}, {"data": [CANARY] * 12},
        {"data": [[CANARY], None, None]}, {"data": CANARY},
        {"session_hash": 5}, {"session_hash": "x" * 101}, {"session_hash": "../x"}, {"session_hash": ["a"]},
        {"fn_index": True}, {"fn_index": "1"}, {"fn_index": 1.0}, {"fn_index": [1]}, {"fn_index": -1},
        {"fn_index": 10**9},
        {"data": [None]}, {"trigger_id": CANARY}, {"trigger_id": math.nan}, {"trigger_id": math.inf},
        {"oauth_token": math.inf},
        {"event_id": [CANARY]}, {"batched": CANARY},
        {"simple_format": [CANARY]}, {"oauth_token": {"a": CANARY}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("route", ["run/predict", "queue/join"])
def test_what_fits_no_event_is_a_sentence_and_leaves_nothing_in_the_log(
    server: Served, wire: Wire, capfd: pytest.CaptureFixture[str], route: str, changes: dict[str, Any]
) -> None:
    said = post(server, f"/gradio_api/{route}", json.dumps(sent(wire, **changes)).encode())
    assert said.status in (400, 413) and sentence(said).endswith(".") and CANARY.encode() not in said.body
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and CANARY not in printed.err + printed.out


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 5000, b'{"data": ' + b"[" * 500 + b"]" * 500 + b"}"]
)
@pytest.mark.parametrize("route", ["run/predict", "queue/join", "call/chat", "call/v2/chat"])
def test_what_is_no_object_or_too_deep_is_a_sentence(
    server: Served, capfd: pytest.CaptureFixture[str], route: str, body: bytes
) -> None:
    said = post(server, f"/gradio_api/{route}", body)
    assert said.status == 400 and b"GET /gradio_api/info" in said.body
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("again", ['"data": []', '"d\\u0061ta": []', '"fn_index": 0'])
def test_a_name_that_stands_there_twice_is_refused(server: Served, wire: Wire, again: str) -> None:
    """What is checked could be the one that doesn't count."""
    body = json.dumps(sent(wire))
    assert post(server, "/gradio_api/run/predict", body.encode()).status == 200
    for doubled in (f"{{{again}, {body[1:]}", f"{body[:-1]}, {again}}}", body.replace('"data"', '"data": 1, "data"')):
        said = post(server, "/gradio_api/run/predict", doubled.encode())
        assert said.status == 400 and "/gradio_api/info" in sentence(said)


def test_an_event_that_fails_is_a_sentence(
    server: Served, wire: Wire, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Gradio says {"error": null} of it, in which nobody reads anything."""
    monkeypatch.setattr(endpoints, "brought", lambda *_, **__: 1 // 0)
    said = post(server, "/gradio_api/run/bring", brings(wire, wire.upload(EXAMPLES / "shapes.png")))
    assert (
        said.status == 500
        and sentence(said).startswith(UNEXPECTED)
        and said.headers["x-content-type-options"] == "nosniff"
    )
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["form", "text"])
def test_what_is_sent_as_something_else_is_a_sentence(server: Served, wire: Wire, how: str) -> None:
    kind = {"form": "application/x-www-form-urlencoded", "text": "text/plain"}[how]
    body = json.dumps(sent(wire)).encode()
    said = ask(server, "/gradio_api/run/predict", f"Content-Type: {kind}", method="POST", body=body)
    assert said.status == 400 and CANARY.encode() not in said.body


@pytest.mark.parametrize("body", [{}, [CANARY], {"session_hash": [CANARY]}, {"event_id": [CANARY], "fn_index": CANARY}])
@pytest.mark.parametrize("route", ["cancel", "reset"])
def test_what_ends_no_event_is_a_sentence(server: Served, route: str, body: object) -> None:
    said = post(server, f"/gradio_api/{route}", json.dumps(body).encode())
    assert said.status == 400 and said.body.endswith(b".") and CANARY.encode() not in said.body


def test_a_named_call_may_leave_out_what_has_a_value_of_its_own(server: Served) -> None:
    """As people call it by hand: {"data": ["What is it?"]}."""
    for data in (["one"], ["one", []], ["one", None, None], ["one", [], [], False, None, None, 3]):
        joined = post(server, "/gradio_api/call/chat", json.dumps({"data": data}).encode())
        said = ask(server, f"/gradio_api/call/chat/{json.loads(joined.body)['event_id']}")
        assert b'event: complete\ndata: ["You said: one' in said.body, data
        direct = post(server, "/gradio_api/run/chat", json.dumps({"data": data}).encode())
        assert json.loads(direct.body)["data"][0].startswith("You said: one"), data


def test_a_named_call_with_too_few_values_is_a_sentence(server: Served, capfd: pytest.CaptureFixture[str]) -> None:
    for route, data in (("call/chat", []), ("run/chat", []), ("call/locate", [CANARY]), ("run/ask_video", [CANARY])):
        said = post(server, f"/gradio_api/{route}", json.dumps({"data": data}).encode())
        assert said.status == 400 and b"/gradio_api/info" in said.body
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and CANARY not in printed.err + printed.out


def test_what_the_page_sends_fits(events: Events, wire: Wire) -> None:
    """Every event of the page, with what stands in it when nobody has touched it."""
    for event in wire.config["dependencies"]:
        body = {"fn_index": event["id"], "session_hash": wire.session, "data": wire.defaults(event)}
        if event["backend_fn"] and event["api_visibility"] == "private":
            found = events.check("/gradio_api/queue/join", json.dumps(body).encode())
            assert found == (wire.session, json.dumps(body).encode()), event["api_name"]


@pytest.mark.parametrize(
    ("named", "found"), [("a-tab-of-its-own", "a-tab-of-its-own"), ("../x", ""), (5, ""), (None, "")]
)
def test_a_question_of_the_page_is_its_tabs(events: Events, named: object, found: str) -> None:
    body = {"data": [{"session": named, "request": {"messages": []}}]}
    assert events.check("/gradio_api/call/ask", json.dumps(body).encode()).session == found


def test_nesting_is_measured_without_recursion() -> None:
    assert parsed(b'{"a": ' + b"[" * 30 + b"]" * 30 + b"}")
    with pytest.raises(Refused):
        parsed(b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}")


def test_whoever_sends_too_much_at_once_is_told_so_and_others_are_not(
    server: Served, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def waiting(files: Any, *_: Any) -> Any:
        assert gate.wait(PATIENCE)
        yield from (({}, b"") for _ in files)

    monkeypatch.setattr(decoder_process, "image_records", waiting)
    body = brings(wire, wire.upload(EXAMPLES / "shapes.png"))
    statuses: list[int] = []
    retry: list[str] = []

    def send() -> None:
        said = post(server, "/gradio_api/run/bring", body)
        statuses.append(said.status)
        retry.append(said.headers.get("retry-after", ""))

    senders = [threading.Thread(target=send) for _ in range(OF_SESSION + 4)]
    for sender in senders:
        sender.start()
    try:
        until(lambda: statuses == [429] * 4)
        assert all(map(int, retry))
        other = Wire(server)
        assert "text alone" in other.ask("text alone")["text"]
        other.close()
    finally:
        gate.set()
        for sender in senders:
            sender.join()
    assert sorted(statuses) == [200] * OF_SESSION + [429] * 4


@pytest.mark.parametrize(
    ("route", "body"),
    [("call/nothing", b'{"data": []}'), ("run/nothing", b'{"data": []}'), ("call/v2/nothing", b"{}"),
     ("call/v2/chat", b"{}"), ("call/v2/chat", b'{"question": "x", "y": 1}'), ("call/v2/chat", b"\xff{"),
     ("queue/join", b'{"data": [], "fn_index": 99999, "session_hash": "x"}'),
     ("queue/join", b'{"data": [], "fn_index": -1, "session_hash": "x"}'),
     ("run/predict", b'{"data": []}'), ("run/predict", b'{"data": [], "fn_index": 99999}')],
)  # fmt: skip
def test_an_event_that_is_none_is_refused_and_leaves_no_trace_in_the_log(
    server: Served, route: str, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = () if b"\xff" in body else ("Content-Type: application/json",)
    said = ask(server, f"/gradio_api/{route}", *kind, method="POST", body=body)
    assert said.status == 400 and b"GET /gradio_api/info" in said.body
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("route", ["call/chat/nothing", "call/v2/chat/nothing", "queue/data?session_hash=nothing"])
def test_a_stream_that_is_none_ends_and_leaves_no_trace_in_the_log(
    server: Served, route: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = ask(server, f"/gradio_api/{route}")
    assert said.status == 200 and b"event: complete" not in said.body
    assert "Traceback" not in capfd.readouterr().err
