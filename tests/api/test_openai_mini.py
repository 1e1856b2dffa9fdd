"""The API with the bundled model: what the documentation promises, and many who ask at once."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from ovis_app.backends.local import prompt_builder
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from tests.ui.serving import EXAMPLES, Served, served_api
from tests.waiting import PATIENCE, until

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
HOME = "http://localhost:7860"
CLIENTS, LEAVING = 64, 10


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def example(name: str) -> str:
    return uri((EXAMPLES / name).read_bytes())


def body(text: str, url: str = "", kind: str = "image_url", **changes: Any) -> dict[str, Any]:
    parts = [{"type": kind, kind: {"url": url}}] if url else []
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], **changes}


@pytest.fixture(scope="module")
def mini() -> Iterator[Served]:
    backend = LocalBackend(Settings(device="cpu"), Limits())
    backend.warm()
    until(lambda: backend.status().phase == "ready")
    with served_api(backend) as there:
        yield there
    backend.close()


@pytest.fixture(scope="module")
def http(mini: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mini.url, timeout=PATIENCE, limits=httpx.Limits(max_connections=CLIENTS)) as client:
        yield client


def ask(http: httpx.Client, sent: dict[str, Any]) -> dict[str, Any]:
    answer = http.post("v1/chat/completions", json=sent)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def test_the_examples_of_the_documentation_run(mini: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its folder, with nothing changed but the address."""
    pytest.importorskip("openai")
    monkeypatch.chdir(DOCUMENT.parents[1])
    code = "\n".join(blocks("python"))
    assert code.count(HOME) == 1
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code.replace(f"{HOME}/", mini.url), str(DOCUMENT), "exec"), {})
    said = printed.getvalue()
    assert "There are 3 shapes." in said and "That makes 3." in said
    assert "'min_pixels': 65536, 'max_pixels': 65536" in said, "Ovis-mini's one size"
    assert said.count("CompletionUsage") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="runs a shell")
def test_the_command_of_the_documentation_runs(mini: Served) -> None:
    [curl] = [block for block in blocks("bash") if block.startswith("curl")]
    done = subprocess.run(
        ["bash", "-c", "curl() { printf '%s\\n' \"$1\" \"${@: -1}\"; }; " + curl],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    address, sent = done.stdout.split("\n", 1)
    answer = httpx.post(address.replace(f"{HOME}/", mini.url), json=json.loads(sent), timeout=PATIENCE)
    assert answer.json()["choices"][0]["message"]["content"]


def test_what_was_computed_before_is_said_and_counts_agree(http: httpx.Client) -> None:
    sent = body("Describe the image, please.", example("shapes.png"))
    first, second = ask(http, sent), ask(http, sent)
    assert first["choices"] == second["choices"]
    tokens = first["usage"]["prompt_tokens"]
    assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "image_tokens": 64}
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == (tokens - 1) // 16 * 16
    other = body("Is it red? Say yes or no.", example("word.png"))
    counted = [http.post("tokenize", json=one).json()["count"] for one in (sent, other)]
    assert counted == [tokens, ask(http, other)["usage"]["prompt_tokens"]], "also of a picture that nobody has read"


def test_a_stop_ends_the_work_too(http: httpx.Client) -> None:
    whole = ask(http, body("Describe the image.", example("shapes.png")))
    said = whole["choices"][0]["message"]["content"]
    stop = said[len(said) // 2 :][:6]
    short = ask(http, body("Describe the image.", example("shapes.png"), stop=stop))
    assert short["choices"][0]["message"]["content"] == said[: said.index(stop)]
    assert short["choices"][0]["finish_reason"] == "stop"
    assert 0 < short["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]


def test_an_answer_that_is_cut_says_so(http: httpx.Client) -> None:
    cut = ask(http, body("Describe the image.", example("shapes.png"), max_tokens=3))
    assert cut["choices"][0]["finish_reason"] == "length" and cut["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("thinking", [False, True])
def test_an_answer_goes_on_from_its_beginning(http: httpx.Client, thinking: bool) -> None:
    """Cut in the thought or in the answer, behind a whole word; what is sent back is what follows."""
    sent = body("How many shapes are there?" if thinking else "Describe the image, please.", example("shapes.png"))
    sent["chat_template_kwargs"] = {"enable_thinking": thinking}
    whole = ask(http, sent)["choices"][0]["message"]
    part = "reasoning" if thinking else "content"
    said = whole[part]
    cut = said.index(" ", len(said) // 2)
    begun = {"role": "assistant", "content": "", part: said[:cut]}
    sent |= {"continue_final_message": True, "add_generation_prompt": False, "messages": [*sent["messages"], begun]}
    rest = ask(http, sent)
    message = rest["choices"][0]["message"]
    assert said[:cut] + message[part] == said and message["content"] == (whole["content"] if thinking else said[cut:])
    assert rest["usage"]["prompt_tokens"] == http.post("tokenize", json=sent).json()["count"]


def test_a_conversation_that_is_too_long_is_400_before_a_stream_begins(http: httpx.Client) -> None:
    for stream in (False, True):
        answer = http.post("v1/chat/completions", json=body("word " * 5000, stream=stream))
        assert answer.status_code == 400 and "tokens long" in answer.json()["error"]["message"]


def test_of_a_clip_that_comes_as_frames_each_is_seen(http: httpx.Client) -> None:
    frames = []
    for number in range(5):
        picture = Image.new("RGB", (128, 128), "white")
        picture.paste((255, 0, 0), (10 + 20 * number, 50, 40 + 20 * number, 80))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=95)
        frames.append(base64.b64encode(data.getvalue()).decode())
    url = "data:video/jpeg;base64,"
    right = ask(http, body("Which way does it move?", url + ",".join(frames), "video_url"))
    left = ask(http, body("Which way does it move?", url + ",".join(reversed(frames)), "video_url"))
    assert "from left to right" in right["choices"][0]["message"]["content"]
    assert "from right to left" in left["choices"][0]["message"]["content"]
    assert right["usage"]["prompt_tokens_details"]["image_tokens"] == 5 * 16
    assert right["usage"]["images_kwargs"] == {"min_pixels": 128 * 128, "max_pixels": 128 * 128}


def questions() -> list[dict[str, Any]]:
    """What the many ask: text, pictures and clips, greedy and drawn, some with a thought."""
    shapes, counting, word = (example(name) for name in ("shapes.png", "counting.png", "word.png"))
    clip = uri((EXAMPLES / "clip.mp4").read_bytes(), "video/mp4")
    thinking = {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 64}
    return [
        body("Describe the image.", shapes),
        body("How many shapes are there?", counting, **thinking),
        body("What does the text say?", word),
        body("Which way does it move?", clip, "video_url"),
        body("Hello!", temperature=0.8, seed=1, max_tokens=24),
        body("Describe the image.", counting, temperature=0.7, seed=2, max_tokens=40),
        body("What is red?", shapes, temperature=1.0, seed=3, max_tokens=24),
        body("Who are you?", max_tokens=24),
    ]


def test_many_at_once_get_what_each_gets_alone_though_some_leave(mini: Served, http: httpx.Client) -> None:
    """64 at a time, every sixth leaves midway: the others get the answers that they get alone."""
    asked = questions()
    alone = [ask(http, one)["choices"][0]["message"] for one in asked]
    together = threading.Barrier(CLIENTS)

    def client(number: int) -> None:
        sent, expected = asked[number % len(asked)], alone[number % len(asked)]
        together.wait(PATIENCE)
        if number < LEAVING:
            with http.stream("POST", "v1/chat/completions", json={**sent, "stream": True}) as answer:
                assert answer.status_code == 200
                next(answer.iter_bytes())
        elif number % 2:
            message = ask(http, sent)["choices"][0]["message"]
            assert message == expected
        else:
            answer = http.post("v1/chat/completions", json={**sent, "stream": True})
            lines = [line[6:] for line in answer.text.split("\n\n") if line.startswith("data: {")]
            deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
            assert "".join(delta.get("content", "") for delta in deltas) == expected["content"]
            assert "".join(delta.get("reasoning", "") for delta in deltas) == (expected["reasoning"] or "")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    engine = mini.backend._session.engine
    until(lambda: not engine.blocks.held, "somebody who left is still answered")


def test_text_that_no_context_holds_is_refused_before_anybody_tokenizes_it(
    mini: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokenized(*_: object, **__: object) -> Any:
        raise AssertionError("it was tokenized")

    turn = [{"role": "user", "content": "word " * 20_000}, {"role": "assistant", "content": "ok"}]
    sent = {"messages": [*turn, *turn, *body("hello")["messages"]], "max_tokens": 1}
    with monkeypatch.context() as patched:
        patched.setattr(prompt_builder, "encode_turns", tokenized)
        for path in ("v1/chat/completions", "tokenize"):
            answer = http.post(path, json=sent)
            assert answer.status_code == 400, answer.text
            assert "conversation is longer than Ovis-mini can read" in answer.text
    settings = GenerationSettings(max_new_tokens=1, drop_old_turns=True)
    messages = tuple(Message(one["role"], one["content"]) for one in [*turn, *turn, {"role": "user", "content": "hi"}])
    *_, done = mini.backend.stream(Request(Conversation(messages), settings))
    assert done.stats.dropped_turns == 2
