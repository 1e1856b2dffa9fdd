"""Our own OpenAI-compatible API as a program meets it, over a scripted backend: shapes, refusals, keys, leaving."""

from __future__ import annotations

import base64
import json
import logging
import socket
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from ovis_app.api.openai import files, replies, serving
from ovis_app.api.openai.routes import routes
from ovis_app.backend import Phase, Status
from ovis_app.conversation import Detail
from ovis_app.generation import Event, Request, Waiting
from ovis_app.media.fetch import fetch
from ovis_app.settings import Settings
from ovis_app.stop import Stop
from ovis_app.zoo import find, resolve
from tests.canary import canary
from tests.media.made_pdf import pdf, quarters
from tests.media.test_fetch import saying
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served, served_api
from tests.ui.test_http_guard import run
from tests.waiting import PATIENCE, until

KEYS = ("first-key-of-two", "second-key-of-two")
PICTURE = "data:image/png;base64," + base64.b64encode((EXAMPLES / "shapes.png").read_bytes()).decode()


def user(text: str, *urls: str, kind: str = "image_url") -> dict[str, Any]:
    parts = [{"type": kind, kind: {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def body(text: str = "hello", *urls: str, **changes: Any) -> dict[str, Any]:
    return {"messages": [user(text, *urls)], **changes}


@dataclass
class Program:
    """A program that asks, with or without a key."""

    served: Served
    key: str = ""

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.http = httpx.Client(base_url=self.served.url, timeout=PATIENCE, headers=headers, verify=False)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def ask(self, sent: Any, path: str = "v1/chat/completions") -> httpx.Response:
        content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        return self.http.post(path, content=content)

    def chunks(self, sent: dict[str, Any]) -> list[dict[str, Any]]:
        """What a stream says, without the mark of its end."""
        answer = self.ask({**sent, "stream": True})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def here() -> Iterator[Served]:
    with served(HeldBackend()) as there:
        yield there


@pytest.fixture
def program(here: Served) -> Program:
    here.backend.requests.clear()
    return Program(here)


def asked(program: Program) -> Request:
    """What the backend was asked last."""
    request = program.served.backend.requests[-1]
    assert isinstance(request, Request)
    return request


def refused(answer: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """The error of an answer, which has the standard shape and one sentence."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".") and "\n" not in error["message"]
    for word in words:
        assert word in error["message"], error
    return dict(error)


# --- answers --------------------------------------------------------------------------------------------------------


def test_an_answer_at_once(program: Program) -> None:
    answer = program.ask(body("think of it", PICTURE)).json()
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "You said: think of it (with image 1) "
    assert choice["message"]["reasoning"] == "I look at the picture. I see it. "
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion" and answer["model"] == "Ovis-mini"
    used = answer["usage"]
    assert used["prompt_tokens"] == 12 + 64 and used["prompt_tokens_details"]["image_tokens"] == 64
    assert used["completion_tokens_details"] == {"reasoning_tokens": 8}
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]


def test_a_stream_says_the_same_in_parts(program: Program) -> None:
    chunks = program.chunks(body("think of it", stream_options={"include_usage": True}))
    *parts, end, figures = chunks
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [part["choices"][0]["delta"] for part in parts[1:]]
    assert "".join(delta.get("reasoning", "") for delta in deltas) == "I look at the picture. I see it. "
    assert "".join(delta.get("content", "") for delta in deltas) == "You said: think of it "
    assert end["choices"][0]["finish_reason"] == "stop" and end["choices"][0]["delta"] == {}
    assert figures["choices"] == [] and figures["usage"]["completion_tokens_details"]["reasoning_tokens"] == 8
    assert len({part["id"] for part in chunks}) == 1
    assert {part["object"] for part in chunks} == {"chat.completion.chunk"}
    assert not any("usage" in part for part in program.chunks(body()))


def test_a_stop_ends_the_answer_before_it(program: Program) -> None:
    for stop in ("two", ["nothing", "two"]):
        answer = program.ask(body("one two three", stop=stop)).json()
        assert answer["choices"][0]["message"]["content"] == "You said: one "
        assert answer["choices"][0]["finish_reason"] == "stop"
    said = program.chunks(body("one two three", stop="two"))
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in said) == "You said: one "


def test_a_conversation_with_its_system_prompt_and_history(program: Program) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        user("What is this?", PICTURE, PICTURE),
        {"role": "assistant", "content": "Shapes.", "reasoning": "I see shapes."},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "now?"}]},
    ]
    assert program.ask({"messages": history}).status_code == 200
    request = asked(program)
    assert request.settings.system == "Be brief.\n\nBe kind."
    said = request.conversation.messages
    assert [one.role for one in said] == ["user", "assistant", "assistant", "user"]
    assert [len(one.media) for one in said] == [2, 0, 0, 0]
    assert said[1].thinking == "I see shapes." and said[-1].text == "And\nnow?"


def test_settings_that_are_named_are_taken_and_the_others_are_the_models_own(program: Program) -> None:
    named = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7, "repetition_penalty": 1.1, "max_tokens": 300}
    program.ask(body(**named, thinking_token_budget=100, chat_template_kwargs={"enable_thinking": True}))
    settings = asked(program).settings
    assert (settings.temperature, settings.top_p, settings.top_k, settings.seed) == (0.5, 0.9, 5, 7)
    assert (settings.repetition_penalty, settings.max_new_tokens) == (1.1, 300)
    assert settings.thinking and settings.thinking_budget == 100
    program.ask(body())
    defaults = find("ovis-mini").defaults
    assert asked(program).settings == defaults, "Ovis-mini doesn't think unless it is asked to"
    program.ask(body(max_completion_tokens=17, max_tokens=5000, top_k=-1))
    settings = asked(program).settings
    assert (settings.max_new_tokens, settings.top_k, settings.thinking_budget) == (17, 0, None)


def test_a_model_that_thinks_does_unless_it_is_told_not_to() -> None:
    with served_api(HeldBackend(model=find("Ovis2.5-2B"))) as there:
        program = Program(there)
        for told, thinks in ((None, True), ({}, True), ({"enable_thinking": False}, False)):
            program.ask(body(chat_template_kwargs=told))
            settings = asked(program).settings
            assert settings.thinking == thinks and settings.max_new_tokens == 3072
            assert settings.thinking_budget == 2048


@pytest.mark.parametrize(
    "kwargs",
    [{"images_kwargs": {"min_pixels": 1024, "max_pixels": 1792**2}}, {"min_pixels": 1024, "max_pixels": 1792**2}],
)
def test_pixels_are_what_the_model_was_made_for(program: Program, kwargs: dict[str, Any]) -> None:
    program.ask(body("look", PICTURE, mm_processor_kwargs=kwargs))
    detail = asked(program).conversation.messages[0].media[0].detail
    assert (detail.min_pixels, detail.max_pixels) == (224 * 224, 224 * 224)


def test_files_are_there_as_long_as_the_request_and_no_longer(program: Program) -> None:
    before = set(Path(tempfile.gettempdir()).glob("ovis-api-*"))
    program.ask(body("look", PICTURE))
    path = asked(program).conversation.messages[0].media[0].path
    assert path.parent.name.startswith("ovis-api-")
    assert program.ask(body("look", "data:image/png;base64,AAAA")).status_code == 400
    until(lambda: set(Path(tempfile.gettempdir()).glob("ovis-api-*")) <= before and not path.parent.exists())


def test_tokens_are_counted(program: Program) -> None:
    answer = program.ask(body("look", PICTURE), "tokenize")
    assert answer.json() == {"count": 12 + 64, "max_model_len": 4096}
    refused(program.ask({"prompt": "hello"}, "tokenize"), 422, "messages")
    refused(program.ask({"messages": []}, "tokenize"), 400, "messages")


def test_counting_that_takes_long_keeps_no_answer_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does where the tokens are counted by another server."""
    backend, counting, go_on = HeldBackend(), threading.Semaphore(0), threading.Event()

    def count(_: Request) -> int:
        counting.release()
        go_on.wait()
        return 1

    monkeypatch.setattr(backend, "count", count)
    with served_api(backend) as there:
        asking = [
            threading.Thread(target=Program(there).ask, args=(body(), "tokenize"), daemon=True)
            for _ in range(serving.COUNTERS - 1)
        ]
        for one in asking:
            one.start()
        try:
            assert all(counting.acquire(timeout=PATIENCE) for _ in asking)
            assert Program(there).ask(body()).status_code == 200
        finally:
            go_on.set()
        for one in asking:
            one.join(PATIENCE)


# --- which model ----------------------------------------------------------------------------------------------------


def test_the_model_is_known_by_its_names_and_no_other() -> None:
    spec = find("Ovis2.5-9B")
    with served_api(HeldBackend(model=spec)) as there:
        program = Program(there)
        [card] = program.get("v1/models").json()["data"]
        assert card["id"] == spec.id and card["object"] == "model" and card["max_model_len"] == spec.context
        names = [card["id"], "Ovis2.5-9B", "ovis2.5-9b", "ATH-MaaS/Ovis2.5-9B", "aidc-ai/ovis2.5-9b"]
        for name in names:
            assert program.ask(body(model=name)).status_code == 200, name
            assert program.get(f"v1/models/{name}").json()["id"] == spec.id
        for name in ("Ovis2.5-2B", "gpt-4o", "somebody/Ovis2.5-9B", "", "/etc", str(EXAMPLES), "9B"):
            error = refused(program.ask(body(model=name)), 404, spec.id)
            assert error["code"] == "model_not_found" and error["param"] == "model"
        refused(program.get("v1/models/gpt-4o"), 404)


def test_a_folder_is_called_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"vit_config": {}}')
    with served_api(HeldBackend(model=resolve(str(tmp_path / "mine")))) as there:
        program = Program(there)
        listed = program.get("v1/models").text
        assert '"id":"mine"' in listed and str(tmp_path) not in listed
        assert program.ask(body(model="mine")).status_code == 200
        refused(program.ask(body(model=str(tmp_path / "mine"))), 404)


# --- what is refused ------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [3]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": "x"}] * 1001}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"messages": [user("a"), {"role": "system", "content": "x"}, user("b")]}, "messages[1]"),
    (
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": PICTURE}]}]},
        "messages[0].content",
    ),
    ({"messages": [user("x", *[PICTURE] * 200)]}, "messages[0].content"),
    ({"messages": [user("x", PICTURE)] * 200}, "messages"),
    ({"model": 5}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_completion_tokens": 10**400}, "max_completion_tokens"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**32}, "seed"),
    ({"repetition_penalty": 9}, "repetition_penalty"),
    ({"stop": 5}, "stop"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": ["x", 5]}, "stop"),
    ({"thinking_token_budget": 0}, "thinking_token_budget"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"enable_thinking": "yes"}}, "chat_template_kwargs.enable_thinking"),
    ({"mm_processor_kwargs": {"images_kwargs": 5}}, "mm_processor_kwargs.images_kwargs"),
    ({"mm_processor_kwargs": {"images_kwargs": {"max_pixels": 0}}}, "mm_processor_kwargs.images_kwargs.max_pixels"),
    ({"mm_processor_kwargs": {"min_pixels": 9**6, "max_pixels": 9**5}}, "mm_processor_kwargs.min_pixels"),
    ({"media_io_kwargs": {"video": {"num_frames": 1000}}}, "media_io_kwargs.video.num_frames"),
]


@pytest.mark.parametrize(("changes", "param"), WRONG, ids=lambda value: str(value)[:50])
def test_what_is_wrong_is_named(program: Program, changes: dict[str, Any], param: str) -> None:
    assert refused(program.ask({**body(), **changes}), 400)["param"] == param
    assert program.served.backend.requests == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("logprobs", True), ("top_logprobs", 5), ("n", 2), ("n", True), ("tools", [{"type": "function"}]),
     ("tool_choice", "required"), ("response_format", {"type": "json_object"}), ("logit_bias", {"5": 1}),
     ("presence_penalty", 1), ("frequency_penalty", 0.5), ("modalities", ["text", "audio"]), ("min_p", 0.1)],
)  # fmt: skip
def test_what_isnt_offered_is_refused_clearly(program: Program, name: str, value: object) -> None:
    assert refused(program.ask(body(**{name: value})), 422, name)["param"] == name


def test_what_asks_for_nothing_is_fine(program: Program) -> None:
    nothing = {"n": 1, "logprobs": False, "tools": [], "tool_choice": "auto", "response_format": {"type": "text"},
               "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": None, "user": "me", "metadata": {},
               "stop": None, "stream": None, "parallel_tool_calls": True}  # fmt: skip
    assert program.ask(body(**nothing)).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"{", b"[]", b'"x"', b"\xff\xfe{\x00}\x00", '{"messages": "ä"}'.encode("latin-1"), b'{"temperature": NaN}',
     b'{"max_tokens": ' + b"9" * 5000 + b"}", b"[" * 15_000, b'{"a":' * 15_000, json.dumps(body()).encode("utf-16")],
    ids=lambda sent: repr(sent[:20]),
)  # fmt: skip
def test_what_isnt_json_is_refused_readably(program: Program, sent: bytes) -> None:
    refused(program.ask(sent), 400)


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
    return f"data:{kind};base64," + base64.b64encode(pdf([quarters() for _ in range(pages)])).decode()


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


def test_bodies_are_counted_as_they_come() -> None:
    with served_api(HeldBackend(), api_bytes=200_000) as there:
        program = Program(there)
        refused(program.ask(body("x" * 200_000)), 413)
        pieces = (b'{"a": "', *[b"x" * 10_000] * 30)
        refused(program.http.post("v1/chat/completions", content=iter(pieces)), 413)
        refused(program.ask(b"[" + b"{}," * 30_000 + b"{}]"), 413)
        assert program.ask(body("x" * 150_000)).status_code == 200


def test_a_large_body_keeps_nobody_waiting(program: Program) -> None:
    """A picture of many megabytes in JSON: read, refused by its content, while others ask."""
    large = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20_000_000)).decode()
    sending = threading.Thread(target=lambda: refused(program.ask(body("x", large)), 400, "image 1"))
    sending.start()
    assert Program(program.served).ask(body()).status_code == 200
    sending.join(PATIENCE)
    assert not sending.is_alive()


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the parts of requests that were taken in, as they come."""
    taken: list[int] = []
    add = serving.Load.add

    def counted(load: serving.Load, size: int) -> None:
        add(load, size)
        taken.append(size)

    monkeypatch.setattr(serving.Load, "add", counted)
    return taken


def test_requests_that_are_on_their_way_take_only_so_much_memory(
    monkeypatch: pytest.MonkeyPatch, arrived: list[int]
) -> None:
    """Of what is still being sent; running answers hold none of it."""
    monkeypatch.setattr(serving, "REQUESTS", 2)
    backend = HeldBackend()
    with served_api(backend, api_bytes=300_000) as there, served_part(there, 200_000):
        until(lambda: sum(arrived) >= 200_000)
        answer = Program(there).ask(body("x" * 150_000))
        refused(answer, 503, "Too much", "again")
        assert int(answer.headers["retry-after"]) > 0
        until(lambda: Program(there).ask(body("x" * 50_000)).status_code == 200)  # what was refused is let go of first
    backend = HeldBackend()
    with served_api(backend, api_bytes=300_000) as there:
        held = threading.Thread(target=Program(there).ask, args=(body("held" + "x" * 150_000),), daemon=True)
        held.start()
        until(lambda: backend.live == 1)
        for _ in range(3):
            until(lambda: Program(there).ask(body("x" * 170_000)).status_code == 200)
        backend.answer.set(), backend.finish.set()
        held.join(PATIENCE)


def test_a_body_in_small_parts_takes_no_more_memory() -> None:
    settings, left = Settings(), 60_000
    api = Starlette(routes=routes(HeldBackend(), settings, settings.limits()))
    asked = {"type": "http", "method": "POST", "path": "/tokenize", "headers": [], "query_string": b"", "root_path": ""}

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": left.to_bytes(3, "big"), "more_body": left > 0}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 400) == 400

    tracemalloc.start()
    try:
        run(api, asked, receive, send)
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


def test_one_client_leaves_memory_to_the_others(monkeypatch: pytest.MonkeyPatch, arrived: list[int]) -> None:
    """However much it sends, and however slowly."""
    monkeypatch.setattr(serving, "REQUESTS", 2)
    with served_api(HeldBackend(), api_bytes=300_000, api_key=KEYS) as there:
        one, two = (Program(there, key) for key in KEYS)
        with ExitStack() as parts:
            for _ in range(2):
                parts.enter_context(served_part(there, 290_000, KEYS[0]))
                until(lambda: sum(arrived) >= 290_000)
            until(lambda: one.ask(body("x" * 150_000)).status_code == 503)
            until(lambda: two.ask(body("x" * 100_000)).status_code == 200)  # what is refused is let go


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


@contextmanager
def served_part(served: Served, size: int, key: str = "") -> Iterator[None]:
    """A request of which `size` bytes were sent, and the rest isn't while the block runs."""
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {size + 1}\r\n"
        head += f"Authorization: Bearer {key}\r\n\r\n"
        connection.sendall(head.encode() + b'{"a": "' + b"x" * (size - 7))
        yield


def test_what_fails_in_the_answer_is_an_error_too(program: Program) -> None:
    refused(program.ask(body("fail")), 500, "out of memory")
    crash = refused(program.ask(body("crash")), 500)
    assert "scripted" not in crash["message"]
    for text in ("fail", "crash"):
        refused(program.ask(body(text, stream=True)), 500)


@dataclass
class Breaking(HeldBackend):
    """Fails in the middle of an answer."""

    def stream(self, request: Request) -> Iterator[Event]:
        events = super().stream(request)
        for _ in range(4):
            yield next(events)
        raise RuntimeError("scripted crash")


def test_an_error_in_the_middle_of_a_stream_is_its_last_event() -> None:
    with served_api(Breaking()) as there:
        *_, last = Program(there).chunks(body("long"))
        assert set(last["error"]) == {"message", "type", "param", "code"} and "scripted" not in str(last)


@dataclass
class Phased(HeldBackend):
    phase: Phase = "loading"

    def status(self) -> Status:
        return Status(self.model, self.phase, "Loading Ovis-mini")


def test_while_a_model_loads_a_client_is_told_when_to_come_back() -> None:
    backend = Phased()
    with served_api(backend) as there:
        program = Program(there)
        for path in ("v1/chat/completions", "tokenize"):
            answer = program.ask(body(), path)
            refused(answer, 503, "Loading Ovis-mini")
            assert int(answer.headers["retry-after"]) > 0
        assert program.get("v1/models").status_code == 200
        refused(program.ask(body(model="gpt-4o")), 404)
        backend.phase = "ready"
        assert program.ask(body()).status_code == 200


def test_a_full_queue_is_429() -> None:
    backend = HeldBackend()
    with served_api(backend, engine="solo", queue_size=1) as there:
        programs = [Program(there) for _ in range(5)]
        asking = [threading.Thread(target=one.ask, args=(body("held"),), daemon=True) for one in programs]
        for thread in asking:
            thread.start()
        until(lambda: backend.live == 4)

        def full() -> bool:
            with Program(there).http.stream("POST", "v1/chat/completions", json=body("held", stream=True)) as answer:
                if answer.status_code != 429:
                    return False
                answer.read()
                refused(answer, 429, "try again")
                return int(answer.headers["retry-after"]) > 0

        # The fifth may not be in the line yet; whoever is there too early leaves again.
        until(full)
        backend.answer.set(), backend.finish.set()
        for thread in asking:
            thread.join(PATIENCE)


# --- leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("text", ["held", "long"])
def test_a_client_that_leaves_stops_the_work(stream: bool, text: str) -> None:
    """While it waits for the first word, or in the middle of the answer."""
    backend = HeldBackend(delay=0.02, tokens=100_000)
    with served_api(backend) as there:
        place = urlsplit(there.url)
        content = json.dumps(body(text, stream=stream)).encode()
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            until(lambda: backend.live == 1)
            if stream and text == "long":
                assert b"200" in connection.recv(100)
        until(lambda: backend.live == 0, "nobody stopped it")


def test_a_client_that_leaves_while_its_picture_is_fetched_stops_that(monkeypatch: pytest.MonkeyPatch) -> None:
    fetching, ended = threading.Event(), threading.Event()

    def fetch(*_: object, stop: Stop, **__: object) -> None:
        fetching.set()
        until(stop.is_set)
        ended.set()
        stop.check()

    monkeypatch.setattr(files, "fetch", fetch)
    backend = HeldBackend()
    with served_api(backend, allow_urls=True) as there:
        place, content = urlsplit(there.url), json.dumps(body("look", "http://example.org/x.png")).encode()
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            until(fetching.is_set)
        until(ended.is_set)
        assert Program(there).ask(body()).status_code == 200
        assert len(backend.requests) == 1


def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_error(
    here: Served, caplog: pytest.LogCaptureFixture
) -> None:
    place = urlsplit(here.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n\r\n{{"
        connection.sendall(head.encode())
    assert Program(here).ask(body()).status_code == 200
    assert "Traceback" not in caplog.text


@dataclass
class Slow(HeldBackend):
    """Says nothing until `answer` is set."""

    def stream(self, request: Request) -> Iterator[Event]:
        while not self.answer.wait(0.02):
            yield Waiting("Reading")
        yield from super().stream(request)


def test_a_stream_that_waits_long_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no proxy takes it for dead; before that a refusal has its own status."""
    monkeypatch.setattr(replies, "HOLD_SECONDS", 0.3)
    monkeypatch.setattr(replies, "HEARTBEAT_SECONDS", 0.1)
    backend = Slow()
    with (
        served_api(backend) as there,
        Program(there).http.stream("POST", "v1/chat/completions", json=body(stream=True)) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": waiting", "", ": waiting", ""]
        backend.answer.set()
        rest = "".join(lines)
        assert "hello" in rest and rest.endswith("data: [DONE]")


# --- keys -----------------------------------------------------------------------------------------------------------


def test_keys_are_asked_for_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with served_api(HeldBackend(), api_key=KEYS) as there:
        for key in KEYS:
            assert Program(there, key).ask(body()).status_code == 200
        for key in ("", "x", KEYS[0][:-1], KEYS[0] + "x", KEYS[0].upper(), " ".join(KEYS), "k" * 9000):
            for answer in (
                Program(there, key).ask(body()),
                Program(there, key).ask(b"x" * 100),
                Program(there, key).get("v1/models"),
                Program(there, key).ask(body(), "tokenize"),
            ):
                error = refused(answer, 401)
                assert error["code"] == "invalid_api_key" and answer.headers["www-authenticate"] == "Bearer"
        basic = httpx.get(there.url + "v1/models", headers={"Authorization": f"Basic {KEYS[0]}"})
        refused(basic, 401)
        clients = {request.client for request in there.backend.requests}
        assert len(clients) == 2 and not any(key in client for key in KEYS for client in clients)
    assert not any(key in caplog.text for key in KEYS)


def test_on_this_machine_alone_no_key_is_needed_and_any_is_fine(here: Served) -> None:
    assert Program(here, "EMPTY").ask(body()).status_code == 200


def test_where_strangers_come_and_no_key_is_set_there_is_no_api(caplog: pytest.LogCaptureFixture) -> None:
    with served(HeldBackend(), server_name="0.0.0.0") as there:
        assert httpx.get(there.url).status_code == 200, "the page is there"
        program = Program(there)
        refused(program.get("v1/models"), 404)
        refused(program.ask(body()), 404)
        refused(program.ask(body(), "tokenize"), 404)
    told = [record.getMessage() for record in caplog.records if "/v1" in record.getMessage()]
    assert len(told) == 1 and "--api-key-file" in told[0] and told[0].endswith(".")
    with served_api(HeldBackend(), server_name="0.0.0.0", api_key=KEYS) as there:
        refused(Program(there).get("v1/models"), 401)
        assert Program(there, KEYS[1]).ask(body()).status_code == 200


def test_whoever_comes_through_a_proxy_on_this_machine_needs_a_key() -> None:
    """A proxy asks from here, for strangers."""
    strangers = ({"X-Forwarded-For": "192.0.2.7"}, {"Host": "chat.example.org"}, {"Via": "1.1 proxy"})
    with served_api(HeldBackend(), allowed_hosts="chat.example.org") as there:
        for headers in strangers:
            answer = httpx.post(f"{there.url}v1/chat/completions", headers=headers, json=body(), timeout=PATIENCE)
            refused(answer, 404, "set no key")
        assert Program(there).ask(body()).status_code == 200
    with served_api(HeldBackend(), allowed_hosts="chat.example.org", api_key=KEYS) as there:
        for headers in strangers:
            keyed = {**headers, "Authorization": f"Bearer {KEYS[0]}"}
            assert httpx.get(f"{there.url}v1/models", headers=keyed, timeout=PATIENCE).status_code == 200


def test_another_sites_page_may_not_ask(here: Served) -> None:
    answer = httpx.post(here.url + "v1/chat/completions", json=body(), headers={"Origin": "https://evil.example"})
    refused(answer, 403)
    answer = httpx.get(here.url + "v1/models", headers={"Host": "evil.example"})
    refused(answer, 421)


def test_nothing_of_a_request_is_logged(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="ovis_app")
    program.ask(body("a secret question", "data:image/png;base64,c2VjcmV0"))
    program.ask(b'{"a secret": ')
    program.ask(body("secret", temperature="secret"))
    program.ask(body("secret fail"))
    assert "secret" not in caplog.text and "c2VjcmV0" not in caplog.text


def test_addresses_are_fetched_where_that_is_allowed_but_never_from_here() -> None:
    with canary() as bird, served_api(HeldBackend(), allow_urls=True) as there:
        for host in (bird.address, f"localhost:{bird.address.rpartition(':')[2]}"):
            error = refused(Program(there).ask(body("look", f"http://{host}/x.png")), 400, "private network")
            assert bird.address not in error["message"]
        assert bird.hits == [] and there.backend.requests == []


def test_the_page_and_programs_wait_in_one_line_as_different_clients() -> None:
    backend = HeldBackend()
    with served(backend, api_key=KEYS) as there:
        wire = Wire(there)
        wire.ask("from the page")
        for key in KEYS:
            Program(there, key).ask(body("from a program"))
        wire.close()
        clients = [request.client for request in backend.requests]
        assert clients[0] == f"page:{wire.session}" and len(set(clients)) == 3


@pytest.mark.parametrize(("trusted", "clients"), [(("127.0.0.1",), 2), ((), 1)])
def test_without_keys_an_address_counts_where_a_trusted_proxy_says_it(trusted: tuple[str, ...], clients: int) -> None:
    basic = "Basic " + base64.b64encode(b"anna:secret").decode()
    with served_api(HeldBackend(), auth=("anna:secret",), trusted_proxies=trusted) as there:
        for address in ("203.0.113.5", "203.0.113.9", "198.51.100.1, 203.0.113.9"):
            headers = {"Authorization": basic, "X-Forwarded-For": address}
            answer = httpx.post(f"{there.url}v1/chat/completions", json=body(), headers=headers, timeout=PATIENCE)
            assert answer.status_code == 200
        assert len({request.client for request in there.backend.requests}) == clients


def test_a_picture_without_a_wish_is_looked_at_as_the_model_likes(program: Program) -> None:
    program.ask(body("look", PICTURE))
    assert asked(program).conversation.messages[0].media[0].detail == Detail(frames=8)
