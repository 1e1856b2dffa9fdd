"""What real servers sent, byte by byte in random pieces, through the real client."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from ovis_app.conversation import Message
from tests.backends.remote.asking import PICTURE, answer, remote, talk
from tests.backends.remote.loopback import CHAT, RECORDINGS, TOKENIZE, Loopback, Reply

THOUGHT = " Let me look at the~ picture~ first . It shows simple shapes , so answer plainly"
TEXT = " The image~ contains several coloured shapes~ on white paper <ref> box </ref> ( done )"
PLAIN = "istant" * 6
# What a user reads of each: thought, answer, how it ended, and figures (prompt, visual, answer, thinking tokens).
ANSWERS: dict[str, tuple[str, str, str, tuple[int, int, int, int]]] = {
    "transformers_serve/image": ("", PLAIN, "length", (38, 0, 6, 0)),
    "transformers_serve/nostream": ("", PLAIN, "length", (38, 0, 6, 0)),
    "transformers_serve/stream_options": ("", PLAIN, "length", (9, 0, 6, 0)),
    "vllm/cont_usage": ("", " The image~ contains", "length", (14, 0, 3, 0)),
    "vllm/history_images": ("", TEXT, "end", (461, 410, 16, 0)),
    "vllm/nostream": (THOUGHT, TEXT, "end", (211, 198, 34, 16)),
    "vllm/nothink_text": ("", TEXT, "end", (14, 0, 16, 0)),
    "vllm/think_budget": (" Let me look at", TEXT, "end", (10, 0, 22, 4)),
    "vllm/think_image": (THOUGHT, TEXT, "end", (211, 198, 34, 16)),
    "vllm/think_image_cached": (THOUGHT, TEXT, "end", (211, 198, 34, 16)),
    "vllm/think_length_cut": (" Let me look at the~", "", "length", (10, 0, 6, 5)),
    "vllm/unknown_field": ("", TEXT, "end", (14, 0, 16, 0)),
}
# The sentence for each refusal.
REFUSALS = {
    "transformers_serve/bad_model": "box refuses the question: Server is pinned to",
    "transformers_serve/mm_kwargs": "box refuses the question: Unexpected fields in the request",
    "transformers_serve/unknown_field": "box refuses the question: Unexpected fields in the request",
    "vllm/err_auth": "box wants a key: name the variable that holds it with --api-key-env.",
    "vllm/err_bad_image": "box refuses the question: Failed to load image",
    "vllm/err_context": "This conversation is longer than Ovis2.5-9B can read",
    "vllm/err_mm_kwargs": "box refuses the question: Per-request mm_processor_kwargs are disabled",
    "vllm/err_model": "box doesn't find AIDC-AI/Ovis2.5-9B: The model `nope` does not exist.",
    "vllm/err_url_domain": "box refuses the question: The URL must be from one of the allowed domains",
}
COUNTED = "vllm/tokenize"


def test_every_recording_is_replayed() -> None:
    there = {str(file.relative_to(RECORDINGS).with_suffix("")) for file in RECORDINGS.rglob("*.txt")}
    assert there == {*ANSWERS, *REFUSALS, COUNTED}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_reads_as_it_was_given(name: str, seed: int) -> None:
    thought, text, finish, figures = ANSWERS[name]
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.random = random.Random(seed)
        server.says(Reply.recorded(name))
        said = answer(backend, "What?", thinking="think_" in name or name == "vllm/nostream")
    assert (said.thinking, said.text, said.finish, said.error) == (thought, text, finish, "")
    stats = said.stats
    assert stats is not None and stats.engine == "by box" and stats.first_token_seconds is not None
    assert (stats.prompt_tokens, stats.visual_tokens, stats.answer_tokens, stats.thinking_tokens) == figures
    assert (stats.thinking_seconds is not None) == bool(thought)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_sentence(name: str) -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(Reply.recorded(name))
        said = answer(backend, "What?", temperature=0.5)
        assert said.error.startswith(REFUSALS[name]) and said.error.endswith((".", "…")) and said.finish == "error"
        server.says(Reply.recorded("vllm/nothink_text"))
        assert answer(backend, "What?").text == TEXT, "and the next question is answered"


@pytest.mark.parametrize("name", [name for name in ANSWERS if "nostream" not in name])
def test_an_answer_without_its_done_is_whole(name: str) -> None:
    whole = Reply.recorded(name)
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(replace(whole, body=whole.body.replace(b"data: [DONE]\n\n", b"")))
        said = answer(backend, "What?", thinking=True)
    assert (said.text, said.finish, said.error) == (ANSWERS[name][1], ANSWERS[name][2], "")


def test_tokens_are_counted_where_they_might_not_fit() -> None:
    """What /tokenize counted leaves the answer what the context has left, pictures included."""
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(Reply.recorded(COUNTED), at=TOKENIZE)
        server.says(Reply.recorded("vllm/think_image"))
        answer(backend, talk(Message("user", "What is it?", (PICTURE,))), max_new_tokens=4000)
        counted, asked = (one for one in server.asked if one.path in (TOKENIZE, CHAT))
    assert counted.path == TOKENIZE and counted.body["messages"] == asked.body["messages"]
    assert asked.body["max_tokens"] == 4096 - 211


def test_no_tokens_are_counted_where_all_fits() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        answer(backend, "Hello?", max_new_tokens=1000)
        assert [one.path for one in server.asked if one.path == TOKENIZE] == []


def fields(server: Loopback) -> dict[str, Any]:
    return dict(server.chats()[-1].body)


def test_a_server_that_takes_no_more_than_openai_does_is_asked_without() -> None:
    """The 422 of `transformers serve` names what it doesn't take; from then on that isn't sent."""
    refusal = Reply.recorded("transformers_serve/unknown_field")
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(refusal, Reply.recorded("transformers_serve/image"))
        assert answer(backend, "What?", temperature=0.5, seed=1).text == PLAIN
        before, after = (one.body for one in server.chats())
        assert "top_k" in before and {**before, "top_k": None} == {**after, "top_k": None} and "top_k" not in after
        answer(backend, "And?", temperature=0.5)
        assert "top_k" not in fields(server) and len(server.chats()) == 3
