"""A server that is down, slow, half-dead or lying: one sentence, the question kept, no key leaks, Retry works."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import logging
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from ovis_app.conversation import Message
from tests.backends.remote.asking import QUICK, answer, remote
from tests.backends.remote.loopback import CHAT, DONE, HELLO, MODELS, Loopback, Reply, chunk, event
from tests.ui.serving import free_port, served_api
from tests.waiting import PATIENCE, until

UNREACHABLE = "box can't be reached: see that the server runs and can be reached from here, then try again."
KEY = "sk-verysecret-0123456789"
KEYED: dict[str, Any] = {"environment": {"BOX_KEY": KEY}, "api_key_env": ("BOX_KEY",)}
PAGE = b"<!doctype html><html><body><h1>502 Bad Gateway</h1><script>alert(1)</script></body></html>"
MANY = 10 * 1024 * 1024


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    """A collection within a parser as deep as Python goes can run no finalizer, which pytest takes for a failure."""
    gc.disable()
    yield
    gc.enable()


def bad(**changes: Any) -> Reply:
    return replace(HELLO, **changes)


BEGUN = chunk(content="Hello")
SILENT = bad(body=b"", more=lambda: itertools.chain([b": ping\n\n"], (_ping() for _ in itertools.count())))


def _ping() -> bytes:
    time.sleep(0.02)
    return b": ping\n\n"


def endless() -> Iterator[bytes]:
    return itertools.repeat(chunk(content="and on and on " * 100))


# What the server does, what is read of it, and the sentence.
BAD: dict[str, tuple[Reply, str, str]] = {
    "drops midway": (bad(body=BEGUN, broken=True), "Hello", "broke"),
    "ends midway": (bad(body=BEGUN), "Hello", "broke off in the middle of its answer: try again."),
    "says nothing": (bad(body=DONE), "", "broke off in the middle of its answer: try again."),
    "invalid JSON": (bad(body=BEGUN + b"data: {nonsense\n\n"), "Hello", "sent something that is no answer"),
    "deep JSON": (bad(body=BEGUN + b"data: " + b"[" * 200_000 + b"\n\n"), "Hello", "sent something that is no answer"),
    "no UTF-8": (bad(body=BEGUN + b'data: {"a": "\xff\xfe"}\n\n'), "Hello", "sent something that is no answer"),
    "numbers": (bad(body=b"data: 7\n\ndata: [1]\n\ndata: null\n\n"), "", "broke off"),
    "odd fields": (bad(body=event({"choices": "x"}) + event({"choices": [{"delta": 3}], "usage": 4})), "", "broke off"),
    "a page": (bad(body=PAGE, kind="text/html"), "", "sent text/html where an answer was expected"),
    "a page with 502": (bad(body=PAGE, kind="text/html", status=502), "", "isn't ready"),
    "a page with 404": (bad(body=PAGE, kind="text/html", status=404), "", "has no API at its address"),
    "a page with 500": (bad(body=PAGE, kind="text/html", status=500), "", "failed: try again, and see its log."),
    "wrong content type": (bad(kind="image/png"), "", "sent image/png where an answer was expected"),
    "no content type": (bad(kind=""), "", "sent something unnamed where an answer was expected"),
    "10 MB in a delta": (bad(body=BEGUN + chunk(content="x" * MANY)), "Hello", "sent more at once than an answer can"),
    "10 MB of a line": (bad(body=b"data: " + b"x" * MANY), "", "sent more at once than an answer can be"),
    "10 MB of an error": (bad(body=b"x" * MANY, status=500), "", "sent more at once than an answer can be"),
    "a bomb": (bad(body=gzip.compress(HELLO.body), headers={"content-encoding": "gzip"}), "", "packs its answers"),
    "an error in the stream": (
        bad(body=BEGUN + event({"error": {"message": "Too many video tokens", "code": 400}}) + DONE),
        "Hello",
        "failed while it answered: Too many video tokens.",
    ),
    "an error as a string": (bad(body=event({"error": "no memory"})), "", "failed while it answered: no memory."),
    "an error in plain JSON": (Reply.json({"error": {"message": "Not now"}}), "", "failed while it answered: Not now."),
    "too much to do": (Reply.json({"error": {"message": "Queue full"}}, 429), "", "has too much to do: try again"),
    "loading": (Reply.json({"error": {"message": "Loading"}}, 503), "", "isn't ready: it is starting"),
    "too large": (Reply.json({"detail": "too large"}, 413), "", "takes no question of this size: attach less"),
    "an error of many lines": (
        Reply.json({"error": {"message": "a\nb\x1b[31m\u202e" + "c" * 5000}}, 400), "", "the question: a b [31m ccc"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_a_server_does_badly_is_one_sentence(case: str, caplog: pytest.LogCaptureFixture) -> None:
    reply, text, sentence = BAD[case]
    with caplog.at_level(logging.DEBUG), Loopback() as server, remote(f"box={server.url}", **KEYED) as backend:
        server.says(reply)
        said = answer(backend, "What?")
        assert said.text == text and said.finish == "error"
        assert said.error.startswith("box ") and sentence in said.error and "\n" not in said.error
        assert len(said.error) < 500 and "<" not in said.error and said.error.endswith((".", "…"))
        server.says(HELLO)
        assert answer(backend, "What?").text == "Hello there.", "Retry works"
        assert all(one.headers["authorization"] == f"Bearer {KEY}" for one in server.asked)
    assert KEY not in caplog.text and KEY not in said.error


def test_half_a_character_of_ours_is_not_held_against_a_server() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        assert answer(backend, "What?", system="\ud83d", stop=("\ud83d",)).text == "Hello there."


def test_whatever_a_server_counts_and_writes_can_be_passed_on() -> None:
    """Numbers that are no counts, halves of characters: to the page and to programs alike."""
    odd = chunk(content="Hello\ud83d", reasoning="\ud83d") + chunk(finish="stop")
    figures = [{"prompt_tokens": many, "completion_tokens": many} for many in (10**4000, -5, 2**64)]
    with Loopback() as server, remote(f"box={server.url}") as backend, served_api(backend) as there:
        backend.wait_for_model()
        server.says(*(bad(body=odd + event({"choices": [], "usage": usage}) + DONE) for usage in figures))
        for stream in (False, True, False):
            sent = {"messages": [{"role": "user", "content": "What?"}], "stream": stream}
            options = {"stream_options": {"include_usage": True}} if stream else {}
            said = httpx.post(f"{there.url}v1/chat/completions", json=sent | options, timeout=PATIENCE)
            assert said.status_code == 200 and "Hello?" in said.text, said.text[:300]
            assert '"prompt_tokens":0,"completion_tokens":0' in said.text
        said = answer(backend, "What?")
        said.text.encode(), said.thinking.encode()


def test_a_server_that_says_the_key_again_is_not_quoted() -> None:
    with Loopback() as server, remote(f"box={server.url}", **KEYED) as backend:
        server.says(Reply.json({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "x"}}, 400))
        said = answer(backend, "What?")
    assert KEY not in said.error and "Incorrect API key provided: …" in said.error


@pytest.mark.parametrize("reply", [Reply.json({"error": "Unauthorized"}, 401), Reply.json({"detail": "no"}, 403)])
def test_a_wrong_key_is_named_by_its_flag(reply: Reply) -> None:
    with Loopback() as server, remote(f"box={server.url}", **KEYED) as backend:
        server.says(reply)
        assert answer(backend, "What?").error == (
            "box doesn't take the key: see that --api-key-env names the variable of the right one."
        )
        server.says(reply, at=MODELS)
        until(lambda: backend.status().phase == "failed")
        assert backend.status().words == "box refuses the key"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    """Neither to another host, which would get the key and the question, nor to another address of the same."""
    with Loopback() as server, Loopback() as other, remote(f"box={server.url}", **KEYED) as backend:
        there = other.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        server.says(Reply(b"", status, "text/html", {"location": there}))
        error = answer(backend, "What?").error
        assert error.startswith("box sends on to another address, to localhost, and nothing was sent there: give the")
        server.says(Reply(b"", status, "text/html", {"location": other.url}), at=MODELS)
        until(lambda: backend.status().phase == "failed")
    assert other.asked == []


def test_a_server_that_is_not_there_is_down_and_then_up() -> None:
    port = free_port()
    with remote(f"box=http://127.0.0.1:{port}") as backend:
        assert answer(backend, "What?").error == UNREACHABLE
        assert backend.status().phase == "failed" and backend.status().words == "box can't be reached"
        assert [server.up for server in backend.status().servers] == [False]


def test_a_server_that_goes_away_is_down() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        assert answer(backend, "What?").text == "Hello there."
        server.end()
        assert answer(backend, "What?").error == UNREACHABLE
        until(lambda: backend.status().phase == "failed")


def test_silence_ends_and_heartbeats_that_say_nothing_are_silence() -> None:
    with Loopback() as server, remote(f"box={server.url}", patience=replace(QUICK, first=0.3)) as backend:
        server.says(SILENT)
        assert answer(backend, "What?").error.startswith("box went silent and was left: try again")
        until(server.left.is_set, "the server still sends")
    with Loopback() as server, remote(f"box={server.url}", patience=replace(QUICK, silence=0.3)) as backend:
        server.says(replace(SILENT, body=BEGUN))
        said = answer(backend, "What?")
        assert said.text == "Hello" and said.error.startswith("box went silent and was left: try again")


def test_a_stream_that_never_ends_is_ended() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(bad(body=b"", more=endless))
        said = answer(backend, "What?", max_new_tokens=64)
        assert said.error == "box went on past the longest answer that was asked for: try again." and said.text
        until(server.left.is_set, "the server still sends")


def test_an_answer_that_takes_too_long_is_stopped() -> None:
    with Loopback() as server, remote(f"box={server.url}", deadline=0.5) as backend:
        server.says(replace(SILENT, body=BEGUN))
        said = answer(backend, "What?")
        assert said.text == "Hello" and said.error.startswith("The answer took too long and was stopped")
        until(server.left.is_set, "the server still sends")


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """One that nobody vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=box"]
    subprocess.run([*new, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_a_certificate_that_nobody_vouches_for_is_refused(own_certificate: ssl.SSLContext) -> None:
    with Loopback(tls=own_certificate) as server, remote(f"box={server.url}", **KEYED) as backend:
        error = answer(backend, "What?").error
        assert error.startswith("No secure connection to box can be made: see that its address and its certificate are")
        assert backend.status().words == "no secure connection to box" and server.asked == []


def test_tls_where_there_is_none() -> None:
    with Loopback() as server, remote(f"box={server.url.replace('http', 'https')}") as backend:
        assert answer(backend, "What?").error.startswith("No secure connection to box can be made: see that its")
        assert server.asked == []


BAD_LISTS = {
    "a page": Reply(PAGE, 200, "text/html"),
    "no JSON": Reply(b"{", 200, "application/json"),
    "deep JSON": Reply(b"[" * 200_000, 200, "application/json"),
    "a number": Reply.json(7),
    "no list": Reply.json({"data": {"id": "x"}}),
    "odd rows": Reply.json({"data": [None, 3, {"id": 5}, {"id": ""}, {"id": "\x00\n"}]}),
    "too long": Reply(b" " * MANY, 200, "application/json"),
    "500": Reply.json({"error": "x"}, 500),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_list_of_models_that_makes_no_sense_is_a_server_that_is_down(case: str) -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(BAD_LISTS[case], at=MODELS)
        said = answer(backend, "What?")
        assert said.error.startswith("box ") and said.error.endswith(".") and "\n" not in said.error
        assert server.chats() == [] and backend.status().phase == "failed" and not backend.offers()


def test_what_a_list_says_of_a_model_is_shown_on_one_line() -> None:
    name = "ev\nil\x1b[31m\u202e" + "<script>" * 100
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(Reply.json({"data": [{"id": name, "max_model_len": -5}]}), at=MODELS)
        answer(backend, "What?")
        spec = backend.status().model
        assert len(spec.name) <= 80 and len(spec.id) < 300 and "\n" not in spec.id + spec.name and spec.context > 0
        assert json.loads(json.dumps(server.chats()[0].body["model"])) == name, "asked for by its own name"


def test_nothing_of_the_sdk_or_this_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"secret-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: secret-header")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with Loopback() as server, remote(f"box={server.url}") as backend:
        assert answer(backend, "What?").text == "Hello there."
        told = json.dumps([one.headers for one in server.asked])
    assert "secret" not in told and "authorization" not in told and "stainless" not in told
    assert {one.headers["user-agent"] for one in server.asked} == {"ovis-app"}


# --- another attempt -------------------------------------------------------------------------------------------------

BROKEN = [
    bad(body=b"", broken=True),
    bad(body=b": hello\n\n"),
    Reply.json({"error": {"message": "Queue full"}}, 429),
    Reply(PAGE, 502, "text/html"),
    Reply.json({"error": {"message": "Loading"}}, 503),
]


@pytest.mark.parametrize("reply", BROKEN, ids=["broken", "ended", "429", "502", "503"])
def test_before_the_first_token_it_is_tried_again(reply: Reply) -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(reply, reply, HELLO)
        said = answer(backend, "What?")
        assert (said.text, said.error) == ("Hello there.", "") and len(server.chats()) == 3


def test_after_the_first_token_and_what_will_not_pass_is_not_tried_again() -> None:
    final = [bad(body=BEGUN, broken=True), bad(body=BEGUN), Reply.json({"error": "no"}, 400), Reply.json({}, 500)]
    for reply in final:
        with Loopback() as server, remote(f"box={server.url}") as backend:
            server.says(reply, HELLO)
            said: Message = answer(backend, "What?")
            assert said.error and len([one for one in server.asked if one.path == CHAT]) == 1
