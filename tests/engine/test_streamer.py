"""What a reader of the stream sees: whole characters at once, thoughts apart from answers, and always an end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ovis_app.conversation import Stats
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Done, Event, Recast, Thinking, Waiting

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
DONE = Done("end", Stats())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return AutoTokenizer.from_pretrained(CHECKPOINT, trust_remote_code=False).backend_tokenizer


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def events(
    tokenizer: Tokenizer, tokens: list[int], *, thinking: bool = False, stop: tuple[str, ...] = ()
) -> list[Event]:  # fmt: skip
    streamer = TokenStreamer()
    streamer.begin(
        tokenizer,
        thinking=thinking,
        stop=stop,
        think_start=tokenizer.token_to_id("<think>"),
        think_end=tokenizer.token_to_id("</think>"),
    )
    for token in tokens:
        streamer.put(torch.tensor([token]))
    streamer.end()
    streamer.done(DONE)
    return list(streamer)


def said(found: list[Event], kind: type) -> str:
    return "".join(event.text for event in found if isinstance(event, kind))


@pytest.mark.parametrize("text", ["你好，世界", "ภาษาไทย", "日本語です", "👩‍👩‍👧 and 🎉 done", "plain words here"])
def test_every_script_streams_in_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    found = events(tokenizer, ids(tokenizer, text))
    assert said(found, Answer) == text
    assert all("\ufffd" not in event.text for event in found if isinstance(event, Answer))


def test_a_stop_ends_the_answer_and_no_thought(tokenizer: Tokenizer) -> None:
    """What was begun of a stop is said once it turns out to be none; tokens behind a stop are nobody's."""
    think, answer = "I say end here.", "So the ending is near. Now end it all."
    tokens = [tokenizer.token_to_id("<think>"), *ids(tokenizer, think), tokenizer.token_to_id("</think>")]
    found = events(tokenizer, [*tokens, *ids(tokenizer, answer)], thinking=True, stop=(" end ", "all"))
    assert said(found, Thinking) == think and said(found, Answer) == "So the ending is near. Now"
    assert said(events(tokenizer, ids(tokenizer, "to the en"), stop=("end",)), Answer) == "to the en"
    streamer = TokenStreamer()
    streamer.begin(tokenizer, stop=("b",))
    for token in ids(tokenizer, "a b c d e f"):
        streamer.put(torch.tensor([token]))
    assert streamer.enough and streamer.count < len(ids(tokenizer, "a b c d e f"))


def test_chinese_does_not_wait_for_a_space(tokenizer: Tokenizer) -> None:
    found = [event.text for event in events(tokenizer, ids(tokenizer, "你好世界")) if isinstance(event, Answer)]
    assert len(found) >= 3


def test_half_a_character_at_the_end_is_not_shown(tokenizer: Tokenizer) -> None:
    found = events(tokenizer, ids(tokenizer, "ok 🎉")[:-1])
    assert said(found, Answer).strip() == "ok"


def test_a_thought_streams_apart_from_the_answer(tokenizer: Tokenizer) -> None:
    found = events(tokenizer, ids(tokenizer, "<think>\nhm, two\n</think>\n\nTwo."), thinking=True)
    assert said(found, Thinking).strip() == "hm, two"
    assert said(found, Answer) == "Two."
    kinds = [type(event) for event in found]
    assert kinds.index(Answer) > max(i for i, kind in enumerate(kinds) if kind is Thinking)


def test_a_thought_that_was_never_opened_is_recast(tokenizer: Tokenizer) -> None:
    found = events(tokenizer, ids(tokenizer, "hm</think>\n\nTwo."), thinking=True)
    assert Recast() in found
    assert said(found[found.index(Recast()) :], Answer) == "Two."


def test_a_spelled_tag_is_text(tokenizer: Tokenizer) -> None:
    spelled = [token for piece in ("</th", "ink>") for token in ids(tokenizer, piece)]
    found = events(tokenizer, ids(tokenizer, "<think>") + spelled + ids(tokenizer, "</think>yes"), thinking=True)
    assert said(found, Thinking) == "</think>"
    assert said(found, Answer) == "yes"


def test_a_failure_in_the_thread_reaches_the_reader_at_once(tokenizer: Tokenizer) -> None:
    streamer = TokenStreamer()
    threading.Timer(0.05, streamer.fail, ["The model broke."]).start()
    with pytest.raises(BackendError, match="The model broke"):
        list(streamer)


def test_waiting_wakes_so_that_stop_lands() -> None:
    streamer = TokenStreamer()
    streamer.note = "Loading"
    assert next(streamer) == Waiting("Loading")


def test_a_worker_that_never_speaks_is_given_up() -> None:
    streamer = TokenStreamer(deadline=time.monotonic())
    with pytest.raises(BackendError, match="too long"):
        next(streamer)


def test_only_an_unfinished_character_is_held_back(tokenizer: Tokenizer) -> None:
    """What is kept to decode again stays short however long the answer grows."""
    streamer = TokenStreamer()
    streamer.begin(tokenizer)
    for token in ids(tokenizer, "step by step 你好 🎉 " * 100):
        streamer.put(torch.tensor([token]))
        assert len(streamer._pending) <= 4
