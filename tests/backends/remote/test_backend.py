"""Servers in place of a model here: what is sent, what is chosen, who is up, and what Stop does."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from ovis_app import chat
from ovis_app.backends import many
from ovis_app.backends.fake import FakeBackend
from ovis_app.backends.remote import loop
from ovis_app.backends.remote.backend import RemoteBackend
from ovis_app.backends.remote.beside import BesideServers
from ovis_app.conversation import Message
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Event, GenerationSettings, Request, Waiting
from tests.backends.remote.asking import CLIP, PICTURE, QUICK, answer, remote, talk
from tests.backends.remote.loopback import CHAT, DONE, HELLO, MODELS, TOKENIZE, Loopback, Reply, chunk, listing
from tests.waiting import PATIENCE, until


def body(server: Loopback) -> dict[str, Any]:
    return dict(server.chats()[-1].body)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_thinking_is_always_said_and_its_budget_only_with_it() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        answer(backend, "What?", thinking_budget=100)
        assert body(server)["chat_template_kwargs"] == {"enable_thinking": False}
        assert "thinking_token_budget" not in body(server)
        answer(backend, "What?", thinking=True, thinking_budget=100)
        assert body(server)["chat_template_kwargs"] == {"enable_thinking": True}
        assert body(server)["thinking_token_budget"] == 100
        answer(backend, "What?", thinking=True)
        assert "thinking_token_budget" not in body(server)
        answer(backend, "What?", thinking=True, thinking_budget=2000, max_new_tokens=1000)
        assert body(server)["thinking_token_budget"] < 1000, "the answer has room behind the thought"


def test_a_model_that_does_not_think_is_told_not_to() -> None:
    with Loopback(model="AIDC-AI/Ovis2-8B") as server, remote(f"box={server.url}") as backend:
        answer(backend, "What?", thinking=True, thinking_budget=100)
        assert body(server)["chat_template_kwargs"] == {"enable_thinking": False}
        assert "thinking_token_budget" not in body(server)


def test_the_knobs_are_sent_where_they_matter() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        answer(backend, "What?", max_new_tokens=77)
        plain = body(server)
        assert (plain["model"], plain["max_tokens"], plain["temperature"]) == ("AIDC-AI/Ovis2.5-9B", 77, 0.0)
        assert plain["stream"] is True and plain["stream_options"] == {"include_usage": True}
        assert not {"top_k", "top_p", "seed", "repetition_penalty", "mm_processor_kwargs"} & plain.keys()
        answer(backend, "What?", temperature=0.7, top_p=0.8, top_k=5, repetition_penalty=1.1, seed=7)
        drawn = {name: body(server)[name] for name in ("temperature", "top_p", "top_k", "repetition_penalty", "seed")}
        assert drawn == {"temperature": 0.7, "top_p": 0.8, "top_k": 5, "repetition_penalty": 1.1, "seed": 7}


def test_pictures_and_clips_go_as_data_never_as_an_address() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        conversation = talk(Message("user", "What?", (PICTURE, PICTURE)), "Shapes.", Message("user", "And?", (CLIP,)))
        said = answer(backend, conversation, frames=4, max_new_tokens=32)
        parts = [part for m in body(server)["messages"] if m["role"] == "user" for part in m["content"]]
    urls = [part[part["type"]]["url"] for part in parts if part["type"] != "text"]
    assert len(urls) == 3 and all(url.startswith("data:") for url in urls)
    assert said.stats is not None and len(said.stats.frame_times) == 4


def test_stop_strings_are_sent_and_tokens_counted_by_the_server() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        answer(backend, "What?", stop=("END", "\n\n"))
        assert body(server)["stop"] == ["END", "\n\n"]
        server.says(Reply.recorded("vllm/tokenize"), at=TOKENIZE)
        asked = Request(talk(Message("user", "What?", (PICTURE,))))
        both = BesideServers(FakeBackend(), backend)
        assert backend.count(asked) == 211 and both.count(asked) == FakeBackend().count(asked)
        both.change(both.offers()[-1].model.id)
        assert both.count(asked) == 211
        server.says(Reply.json({}, 404), at=TOKENIZE)
        assert backend.count(asked) is None


def test_an_answer_of_a_server_is_not_continued_and_the_sentence_says_what_to_do() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        *_, last = chat.reply(backend, Request(talk("What?", "It is")))
        assert last.messages[-1].error == (
            "An answer of box can't be continued from here: ask again, or ask it to go on."
        )
        assert last.messages[-1].text == "It is" and server.chats() == []


def test_a_conversation_keeps_its_session() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        for conversation in (talk("One?"), talk("One?", "Yes.", "Two?"), talk("Other?")):
            answer(backend, conversation)
        one, two, other = (asked.headers["x-session-id"] for asked in server.chats())
        assert one == two != other


def test_bad_settings_are_refused_before_anything_is_sent() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        assert "temperature must be" in answer(backend, "What?", temperature=9.0).error
        assert "takes pictures or clips" in answer(backend, talk(Message("user", "?", (PICTURE, CLIP)))).error
        assert "watches one clip a question" in answer(backend, talk(Message("user", "?", (CLIP, CLIP)))).error
        assert server.chats() == []


# --- what fits -------------------------------------------------------------------------------------------------------

LONG = Reply.json({"error": {"message": "maximum context length is 4096 tokens", "code": 400}}, 400)


def test_where_nobody_counts_the_answer_has_what_is_left() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(LONG, HELLO)
        assert answer(backend, "What?" * 500, max_new_tokens=3000).text == "Hello there."
        first, second = (asked.body for asked in server.chats())
        assert first["max_tokens"] == 3000 and "max_tokens" not in second
        answer(backend, "What?" * 500, max_new_tokens=3000)
        assert len([asked for asked in server.asked if asked.path == TOKENIZE]) == 1, "it isn't asked for again"


def test_the_oldest_turns_are_left_out_only_where_that_is_allowed() -> None:
    conversation = talk("One?" * 1000, "Yes.", "Two?" * 1000, "No.", "Three?")
    count = [Reply.json({"count": number}) for number in (5000, 4000)]
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(*count, at=TOKENIZE)
        said = answer(backend, conversation, max_new_tokens=1024, drop_old_turns=True)
        assert said.text == "Hello there." and said.stats is not None and said.stats.dropped_turns == 2
        assert [m["content"] for m in body(server)["messages"]] == ["Three?"]
        server.says(*count, at=TOKENIZE)
        error = answer(backend, conversation, max_new_tokens=4000).error
        assert error.startswith("This conversation is 5,000 tokens long, 905 more than Ovis2.5-9B can read")


def test_turns_are_left_out_also_where_only_the_server_says_that_it_is_too_long() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(LONG, LONG, HELLO)
        said = answer(backend, talk("One?", "Yes.", "Two?"), drop_old_turns=True)
        assert said.text == "Hello there." and said.stats is not None and said.stats.dropped_turns == 1


# --- who answers -----------------------------------------------------------------------------------------------------


def test_the_status_says_who_is_up() -> None:
    with (
        Loopback() as up,
        Loopback(model="other") as other,
        remote(f"a={up.url}", f"b={other.url}", "c=http://127.0.0.1:9") as backend,
    ):
        assert backend.status().phase == "starting"
        assert backend.status().model.licence == "", "nobody knows yet whose model it is"
        until(lambda: all(server.up is not None for server in backend.status().servers))
        now = backend.status()
        assert (now.phase, now.model.name, now.model.context) == ("ready", "Ovis2.5-9B", 4096)
        assert [(server.name, server.up) for server in now.servers] == [("a", True), ("b", True), ("c", False)]
        up.end()
        until(lambda: backend.status().phase == "failed")
        assert backend.status().words == "a can't be reached" and backend.status().model.name == "Ovis2.5-9B"


def test_the_server_named_first_is_asked_though_another_told_sooner() -> None:
    told = threading.Event()

    def late() -> Iterator[bytes]:
        while not told.wait(0.02):
            yield b" "
        yield json.dumps({"object": "list", "data": [{"id": "Ovis2.5-9B", "max_model_len": 4096}]}).encode()

    with Loopback() as slow, Loopback(model="other") as other, remote(f"a={slow.url}", f"b={other.url}") as backend:
        slow.says(Reply(b"", kind="application/json", more=late), at=MODELS)
        until(lambda: backend.status().model.name == "other")
        told.set()
        until(lambda: backend.status().model.name == "Ovis2.5-9B")


def test_a_server_that_went_silent_keeps_nobody_from_the_list() -> None:
    asked, answered = threading.Event(), threading.Event()

    def held() -> Iterator[bytes]:
        asked.set()
        while not answered.wait(0.02):
            yield b" "

    with Loopback() as server, remote(f"box={server.url}", patience=replace(QUICK, fresh=0.0, listing=1e6)) as backend:
        assert len(backend.offers()) == 1
        server.says(Reply(b"", more=held), at=MODELS)
        until(lambda: backend.status() and asked.is_set())
        listing = threading.Thread(target=backend.offers, daemon=True)
        listing.start()
        until(lambda: not listing.is_alive(), "the list waits for it")
        answered.set()


def test_a_model_of_any_server_can_be_chosen() -> None:
    with Loopback() as one, Loopback(model="Ovis2-8B") as two, remote(f"a={one.url}", f"b={two.url}") as backend:
        offers = backend.offers()
        assert [(o.model.name, o.server and o.server.name) for o in offers] == [("Ovis2.5-9B", "a"), ("Ovis2-8B", "b")]
        assert answer(backend, "What?").text and len(one.chats()) == 1
        backend.change(offers[1].model.id)
        assert backend.status().model.name == "Ovis2-8B"
        assert answer(backend, "What?").stats.engine == "by b" and len(two.chats()) == 1  # type: ignore[union-attr]
        with pytest.raises(BackendError, match="answers already"):
            backend.change("Ovis2-8B")
        with pytest.raises(
            BackendError, match=r"No server offers Ovis7: choose one of AIDC-AI/Ovis2\.5-9B, Ovis2-8B\."
        ):
            backend.change("Ovis7")


@pytest.mark.parametrize("name", ["Ovis2-8B", "aidc-ai/ovis2-8b", "AIDC-AI/Ovis2-8B on b"])
def test_the_model_that_was_named_is_asked(name: str) -> None:
    with (
        Loopback() as one,
        Loopback(model="AIDC-AI/Ovis2-8B") as two,
        remote(f"a={one.url}", f"b={two.url}", model=name) as backend,
    ):
        assert answer(backend, "What?").text and body(two)["model"] == "AIDC-AI/Ovis2-8B" and not one.chats()


def test_a_model_that_no_server_has_is_said() -> None:
    with Loopback() as server, remote(f"box={server.url}", model="Ovis7") as backend:
        assert answer(backend, "What?").error == "No server offers Ovis7: choose one of AIDC-AI/Ovis2.5-9B."
        assert backend.status().phase == "failed"


def test_a_server_without_a_list_is_asked_for_the_model_that_was_named() -> None:
    with Loopback() as server, remote(f"box={server.url}", model="my-tune") as backend:
        server.says(Reply.json({}, 404), at=MODELS)
        assert answer(backend, "What?").text == "Hello there." and body(server)["model"] == "my-tune"
        assert backend.status().phase == "ready"


def test_its_context_is_the_one_that_it_lists_last() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        assert answer(backend, "What?").text
        server.says(listing("AIDC-AI/Ovis2.5-9B", max_model_len=32768), at=MODELS)
        until(lambda: backend.status().model.context == 32768)


# --- streaming and Stop ----------------------------------------------------------------------------------------------


def slow(count: int = 100_000) -> Iterator[bytes]:
    for _ in range(count):
        time.sleep(0.02)
        yield chunk(content="on ")


def events(backend: RemoteBackend, text: str = "What?") -> Iterator[Event]:
    return backend.stream(Request(talk(text), GenerationSettings(max_new_tokens=4096)))


def test_stop_stops_the_servers_work() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(replace(HELLO, body=b"", more=slow))
        stream = events(backend)
        assert next(event for event in stream if isinstance(event, Answer)).text == "on "
        assert backend.status().phase == "answering"
        stream.close()  # type: ignore[attr-defined]
        until(server.left.is_set, "the server still works")
        assert backend.status().phase == "ready"


@pytest.mark.parametrize("path", [MODELS, TOKENIZE, CHAT])
def test_a_reader_is_woken_and_can_leave_whatever_is_waited_for(path: str) -> None:
    """Also before the first byte: an event comes all the time, and closing doesn't wait."""
    asked, answered = threading.Event(), threading.Event()

    def held() -> Iterator[bytes]:
        asked.set()
        while not answered.wait(0.02):
            yield b" "

    with Loopback() as server, remote(f"box={server.url}", patience=replace(QUICK, fresh=100.0)) as backend:
        if path != MODELS:
            backend.wait_for_model()
        server.says(Reply(b"", more=held), at=path)
        stream = events(backend, "What?" * 200)
        woken = list(itertools.islice(stream, 5))
        until(lambda: next(stream) and asked.is_set())
        assert all(isinstance(event, Waiting) and event.note for event in woken)
        stream.close()  # type: ignore[attr-defined]
        if path != MODELS:  # the list serves the next question too
            until(server.left.is_set, "the server still works")
        answered.set()


def test_many_are_answered_at_once() -> None:
    together = threading.Barrier(8, timeout=30)

    def meet() -> Iterator[bytes]:
        together.wait()
        yield chunk(content="Hi") + chunk(finish="stop") + DONE

    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(Reply(b"", more=meet))
        said = many.answers(backend, [talk(f"Question {n}") for n in range(8)], GenerationSettings())
    assert [(one.text, one.error) for one in said] == [("Hi", "")] * 8


def test_closing_ends_what_is_running() -> None:
    with Loopback() as server, remote(f"box={server.url}") as backend:
        server.says(replace(HELLO, body=b"", more=slow))
        stream = events(backend)
        next(event for event in stream if isinstance(event, Answer))
        backend.close()
        with pytest.raises(BackendError, match="The app is ending"):
            list(stream)
        until(server.left.is_set, "the server still works")
        backend.close()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_once_it_is_closed_nothing_begins_and_nobody_waits() -> None:
    """The command line asks for the status then, when the list of models may be old."""
    with Loopback() as server, remote(f"box={server.url}", patience=replace(QUICK, fresh=0.0)) as backend:
        backend.wait_for_model()
        backend.close()
        assert backend.status().model.name == "Ovis2.5-9B"
        with pytest.raises(BackendError, match="The app is ending"):
            assert len(list(itertools.islice(events(backend), 20))) < 20, "it waits for ever"
        with pytest.raises(BackendError, match="The app is ending"):
            backend.count(Request(talk("What?")))
        gc.collect()


# --- beside a model of this machine ----------------------------------------------------------------------------------


def test_servers_stand_beside_the_models_of_this_machine() -> None:
    with Loopback() as server, remote(f"box={server.url}") as servers:
        here = FakeBackend(fetching=0.05)
        both = BesideServers(here, servers)
        assert both.status().model.name == "Ovis-mini" and both.status().phase == "ready"
        until(lambda: both.status().servers[0].up)
        offers = both.offers()
        assert [o.server is None for o in offers] == [True] * (len(offers) - 1) + [False]
        away = offers[-1].model.id

        def ask() -> Message:
            return answer(both, "Hi")  # type: ignore[arg-type]

        assert ask().text.startswith("You said: Hi")
        both.change(away)
        assert both.status().model.id == away and ask().text == "Hello there."
        both.change("ovis-mini")
        assert both.status().model.name == "Ovis-mini" and ask().text.startswith("You said"), (
            "it was loaded all the time"
        )


def test_one_question_is_answered_by_another_model_and_all_others_as_before() -> None:
    with Loopback() as server, remote(f"box={server.url}") as servers:
        server.says(listing("AIDC-AI/Ovis2.5-9B", "AIDC-AI/Ovis2-1B"), at=MODELS)
        both = BesideServers(FakeBackend(), servers)
        until(lambda: len(both.several()) == 3)
        assert set(both.several()) == {"Ovis-mini", "AIDC-AI/Ovis2.5-9B on box", "AIDC-AI/Ovis2-1B on box"}

        def ask(model: str) -> Message:
            *_, last = chat.reply(both, Request(talk("Hi"), model=model))
            return last.messages[-1]

        assert ask("AIDC-AI/Ovis2-1B on box").text == "Hello there." and body(server)["model"] == "AIDC-AI/Ovis2-1B"
        assert both.status().model.name == "Ovis-mini" and ask("").text.startswith("You said: Hi")
        both.change("AIDC-AI/Ovis2.5-9B on box")
        assert ask("Ovis-mini").text.startswith("You said: Hi") and ask("").text == "Hello there."
        assert body(server)["model"] == "AIDC-AI/Ovis2.5-9B"
        assert "doesn't answer here" in ask("AIDC-AI/Ovis2-8B on box").error


def test_the_server_answers_until_the_model_of_this_machine_is_there() -> None:
    with Loopback() as server, remote(f"box={server.url}") as servers:
        here = FakeBackend(fetching=30)
        both = BesideServers(here, servers)
        both.change(both.offers()[-1].model.id)
        both.change("Ovis2.5-2B")
        now = both.status()
        assert now.model.name == "Ovis2.5-9B" and now.change is not None and now.change.name == "Ovis2.5-2B"
        assert answer(both, "Hi").text == "Hello there."  # type: ignore[arg-type]
        both.cancel_change()
        until(lambda: both.status().change is None)
        assert both.status().model.name == "Ovis2.5-9B", "nothing came of it"
        here.fetching = 0.05
        both.change("Ovis2.5-2B")
        until(lambda: both.status().model.name == "Ovis2.5-2B")
        assert answer(both, "Hi").text.startswith("You said")  # type: ignore[arg-type]
        with pytest.raises(BackendError, match="needs more than"):
            both.change("Ovis2-34B")


def test_what_does_not_hear_that_it_is_to_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "END_SECONDS", 0.1)
    begun, over = threading.Event(), threading.Event()

    async def deaf() -> None:
        begun.set()
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    running = loop.Loop("deaf")
    running.start(deaf())
    assert begun.wait(PATIENCE)
    running.close()
    over.set()
