"""What is wrong in a request is named, what isn't offered is refused, and what fails later is an error too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ovis_app.backend import Phase, Status
from ovis_app.generation import Event, Request
from tests.api.openai_program import PICTURE, Program, body, refused, user
from tests.ui.serving import HeldBackend, served_api

SAID = {"role": "assistant", "content": "x"}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
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
    ({"continue_final_message": "yes"}, "continue_final_message"),
    ({"continue_final_message": True, "messages": [user("a"), SAID]}, "add_generation_prompt"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({**CONTINUE, "messages": [user("a")]}, "messages"),
    ({**CONTINUE, "messages": [SAID]}, "messages"),
    ({**CONTINUE, "messages": [user("a"), {"role": "assistant", "content": ""}]}, "messages"),
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


def test_the_limits_of_a_number_are_named_to_the_last_digit(program: Program) -> None:
    said = refused(program.ask(body(seed=-1)), 400)["message"]
    assert "from 0 to 4294967295" in said


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


@pytest.mark.parametrize("name", ["max_tokens", "temperature", "top_p", "top_k", "seed", "repetition_penalty"])
def test_no_number_past_a_limit_runs(program: Program, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Also those that JSON hasn't got, and Python reads."""
    odd = ("NaN", "Infinity", "-Infinity", "1e999", "1e10", "-1e9", '"abc"', "[5]", "{}", "true", '"\\u0000"')
    for value in odd:
        sent = json.dumps(body())[:-1] + f', "{name}": {value}}}'
        refused(program.ask(sent.encode()), 400)
    assert program.ask(body(**{name: None})).status_code == 200, "null is what isn't said"
    assert len(program.served.backend.requests) == 1 and "Traceback" not in capfd.readouterr().err


def test_megabytes_of_text_are_refused_and_asked_of_nobody(program: Program, capfd: pytest.CaptureFixture[str]) -> None:
    refused(program.ask({"messages": [user("x" * 5_000_000)]}), 400)
    assert program.served.backend.requests == [] and "Traceback" not in capfd.readouterr().err


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
