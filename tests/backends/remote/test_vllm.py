"""A real vLLM on this machine's processor, with a tiny random Ovis2.5, answers through the remote backend as our own
engine does with the same checkpoint: `make test-vllm`.

Compared is what is greedy, in float32, with pictures that have the model's resolution already. Not the same are: clips
and photographs, which go as JPEG; what follows a thought whose budget is spent, where the original and this app put a
sentence and vLLM the end of the thought alone. A folder that `ovis merge` writes is served by a second vLLM.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="our own engine answers beside it")

from openai import APIStatusError
from PIL import Image

from benchmarks import vllm_server
from benchmarks.released import written
from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.remote import failures
from ovis_app.backends.remote.backend import RemoteBackend
from ovis_app.backends.remote.client import Patience, client
from ovis_app.backends.remote.server import Server, served_model
from ovis_app.cli import finetune
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.generation import Answer, GenerationSettings, Request, Thinking
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.training.finetune.train import train
from tests.backends.remote.asking import CLIP, answer, remote, talk
from tests.waiting import until

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(vllm_server.python() is None, reason=vllm_server.ABSENT),
]
SIDE = 448  # pixels, as large as a picture is seen at least: nobody resizes it
VISUAL = (SIDE // 32) ** 2
BLOCK = 128  # tokens that vLLM caches together on a CPU
AFTER = 80  # tokens behind a thought: of the last 64 no budget takes any
RUNNING = "num_requests_running"
WORDS = ("bade", "cafe", "dace", "edge")


@dataclass(frozen=True)
class Box:
    """The server, and our own engine over the same files."""

    url: str
    remote: RemoteBackend
    here: LocalBackend

    def both(self, asked: Conversation | str, **settings: Any) -> tuple[Message, Message]:
        """The server's answer and ours."""
        conversation = talk(asked) if isinstance(asked, str) else asked
        *_, last = chat.reply(self.here, Request(conversation, GenerationSettings(**settings)))
        return answer(self.remote, conversation, **settings), last.messages[-1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("vllm") / "model", "vllm", seed=1, thinks=True)


@pytest.fixture(scope="module")
def box(model: Path) -> Iterator[Box]:
    ours = LocalBackend(Settings(model=str(model), device="cpu", dtype="float32"), Limits())
    slow = Patience()  # as people have it: this server shares the processor with the tests
    with (
        closing(ours) as here,
        vllm_server.serving(model, model.parent / "vllm.log") as url,
        remote(f"box={url}/v1", patience=slow) as backend,
    ):
        found = Box(url, backend, here)
        found.both("Hello", max_new_tokens=1)  # both have loaded then, however long that took
        yield found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Media, Media]:
    """Two pictures of noise in blocks, small enough to go as PNG."""
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for seed in (1, 2):
        noise = random.Random(seed)
        blocks = Image.frombytes("RGB", (14, 14), bytes(noise.randrange(256) for _ in range(14 * 14 * 3)))
        path = folder / f"{seed}.png"
        blocks.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)
        made.append(Media("image", path, path.name, Detail(min_pixels=SIDE**2, max_pixels=SIDE**2)))
    return made[0], made[1]


def test_it_tells_its_model_and_context_and_counts_tokens(box: Box, pictures: tuple[Media, Media]) -> None:
    now = box.remote.status()
    assert (now.phase, now.model.name, now.model.context) == ("ready", "Ovis2.5-9B", vllm_server.CONTEXT)
    asked = talk(Message("user", "What is it?", pictures))
    stats = answer(box.remote, asked, max_new_tokens=1).stats
    assert stats is not None and box.remote.count(Request(asked)) == stats.prompt_tokens


def test_greedy_answers_are_those_of_our_own_engine(box: Box, pictures: tuple[Media, Media]) -> None:
    """Of text, of pictures and of what was said before, token for token."""
    one, two = pictures
    seen = [
        talk("Say something, please."),
        talk("What about the weather in a large town by the sea?", "It rains.", "And tomorrow?"),
        talk(Message("user", "What is it?", (one,))),
        talk(Message("user", "What is it?", (two,))),
        talk(Message("user", "Which is the darker one?", (one, two))),
        talk(Message("user", "Which is the darker one?", (two, one))),
        talk(Message("user", "What is it?", (one,)), "A carpet.", Message("user", "And this?", (two,))),
    ]
    said = [
        box.both(asked, max_new_tokens=40, system="Be brief." if not number else "")
        for number, asked in enumerate(seen)
    ]
    for theirs, ours in said:
        assert (theirs.error, theirs.thinking, theirs.finish) == (ours.error, ours.thinking, ours.finish)
        assert theirs.text == ours.text and len(ours.text.split()) >= 40
        assert theirs.stats is not None and ours.stats is not None
        for name in ("prompt_tokens", "answer_tokens"):
            assert getattr(theirs.stats, name) == getattr(ours.stats, name), name
    assert len({theirs.text for theirs, _ in said}) == len(said), "pictures and their order matter"


def test_an_answer_streams_and_says_what_it_took(box: Box, pictures: tuple[Media, Media]) -> None:
    asked = Request(talk(Message("user", "What do you see?", pictures)), GenerationSettings(max_new_tokens=30))
    pieces = [event.text for event in box.remote.stream(asked) if isinstance(event, Answer)]
    assert len(pieces) > 10 and all(len(piece) < 40 for piece in pieces)
    stats = answer(box.remote, asked.conversation, max_new_tokens=30).stats
    assert stats is not None and stats.engine == "by box" and stats.answer_tokens == 30
    assert stats.visual_tokens >= 2 * VISUAL and (stats.tokens_per_second or 0) > 0


@pytest.mark.parametrize("budget", [1, 12])
def test_a_budget_ends_a_thought_at_its_token(box: Box, pictures: tuple[Media, Media], budget: int) -> None:
    asked = talk(Message("user", "What is it?", pictures[:1]))
    said = answer(box.remote, asked, thinking=True, thinking_budget=budget, max_new_tokens=budget + AFTER)
    thought, _ = box.both(asked, thinking=True, max_new_tokens=40)
    assert said.stats is not None and said.stats.thinking_tokens == budget and said.error == ""
    assert said.text.strip() and said.thinking.strip() and thought.thinking.startswith(said.thinking)


def test_without_a_budget_it_thinks_as_our_own_engine_does(box: Box) -> None:
    theirs, ours = box.both("Why is the sky blue?", thinking=True, max_new_tokens=40)
    assert theirs.thinking.strip() == ours.thinking.strip() != "" and theirs.text == ours.text == ""
    assert theirs.finish == ours.finish == "length"


def test_thinking_off_is_no_thought(box: Box) -> None:
    said = answer(box.remote, "Why is the sky blue?", max_new_tokens=20)
    assert said.thinking == "" and said.text.strip() and said.stats is not None and said.stats.thinking_tokens == 0


def test_stop_ends_the_work_of_the_server(box: Box) -> None:
    """Long before the answer's end: what was generated stands still, and is less than was asked for."""
    before, asked = vllm_server.gauge(box.url, "generation_tokens_total"), 3000
    stream = box.remote.stream(Request(talk("Go on and on."), GenerationSettings(max_new_tokens=asked)))
    assert len(list(itertools.islice((event for event in stream if isinstance(event, Answer)), 3))) == 3
    assert vllm_server.gauge(box.url, RUNNING) == 1
    stream.close()  # type: ignore[attr-defined]
    until(lambda: vllm_server.gauge(box.url, RUNNING) == 0)
    assert vllm_server.gauge(box.url, "generation_tokens_total") - before < asked


def test_the_next_turn_finds_what_was_read(box: Box, pictures: tuple[Media, Media]) -> None:
    """Pictures go as the same bytes each time, so vLLM's prefix cache knows them."""
    first = talk(Message("user", "What is on these?", pictures))
    said = answer(box.remote, first, max_new_tokens=8)
    then = Conversation((*first.messages, Message("assistant", said.text), Message("user", "Why?")))
    stats = answer(box.remote, then, max_new_tokens=8).stats
    assert stats is not None and stats.prompt_tokens > stats.cached_tokens >= 2 * VISUAL - BLOCK


def test_a_clip_goes_as_frames(box: Box) -> None:
    said = answer(box.remote, talk(Message("user", "What happens?", (CLIP,))), max_new_tokens=8)
    assert said.error == "" and said.text.strip() and said.stats is not None
    assert len(said.stats.frame_times) > 1 and said.stats.visual_tokens > 0


@pytest.mark.parametrize("drop", [False, True])
def test_a_prompt_that_is_too_long_is_one_sentence(box: Box, drop: bool) -> None:
    asked = talk("word " * vllm_server.CONTEXT, "Yes.", "Still there?")
    said = answer(box.remote, asked, max_new_tokens=8, drop_old_turns=drop)
    if drop:
        assert said.error == "" and said.stats is not None and said.stats.dropped_turns == 1
    else:
        assert "tokens long" in said.error and said.error.endswith(".") and said.finish == "error"


def test_a_bad_picture_is_one_sentence_here_and_there(box: Box, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    said = answer(box.remote, talk(Message("user", "What is it?", (Media("image", bad, "bad.png"),))))
    assert "bad.png" in said.error and said.finish == "error"
    server = Server("box", f"{box.url}/v1")
    with pytest.raises(APIStatusError) as refused:
        asyncio.run(_ask_with(server, "data:image/png;base64,iVBORw0KGgo="))
    told = str(failures.refusal(refused.value, served_model(server, vllm_server.NAME)))
    assert told.startswith("box ") and "image" in told and told.endswith((".", "…"))
    assert answer(box.remote, "Still there?", max_new_tokens=4).error == ""


async def _ask_with(server: Server, picture: str) -> None:
    part = {"type": "image_url", "image_url": {"url": picture}}
    messages: Any = [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]
    async with client(server, Patience()) as asked:
        await asked.chat.completions.create(model=vllm_server.NAME, messages=messages, max_tokens=4)


def test_a_thought_streams_apart_from_its_answer(box: Box) -> None:
    asked = Request(talk("Why?"), GenerationSettings(thinking=True, thinking_budget=6, max_new_tokens=6 + AFTER))
    kinds = [type(event) for event in box.remote.stream(asked) if isinstance(event, Answer | Thinking)]
    assert kinds.count(Thinking) > 2 and kinds.count(Answer) > 2
    assert kinds == sorted(kinds, key=lambda kind: kind is Answer)


@pytest.fixture(scope="module")
def taught(model: Path, pictures: tuple[Media, Media]) -> Path:
    """The folder of a short fine-tuning of the same model, of pictures and of text, with the adapter merged in."""
    pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")
    folder = pictures[0].path.parent
    samples = [
        {"image": media.path.name, "conversations": [_turn("human", "<image>\nWhat is it?"), _turn("gpt", said)]}
        for media, said in zip(pictures, (" abed cede deaf", " bead face gaga"), strict=True)
    ]
    samples += [{"conversations": [_turn("human", f"Say {word}."), _turn("gpt", f" {word} fade")]} for word in WORDS]
    (folder / "data.json").write_text(json.dumps(samples), encoding="utf-8")
    size = str(SIDE**2)
    words = [
        str(folder / "data.json"), "--out", str(folder / "run"), "--model", str(model), "--device", "cpu",
        "--dtype", "float32", "--epochs", "4", "--batch", "2", "--accumulate", "1", "--lr", "1e-2", "--val", "0",
        "--train", "all", "--min-pixels", size, "--max-pixels", size, "--merge",
    ]  # fmt: skip
    assert finetune.run(words, train) == 0
    return folder / "run"


def _turn(role: str, text: str) -> dict[str, str]:
    return {"from": role, "value": text}


def test_a_merged_folder_answers_as_the_adapter_does_here(
    model: Path, pictures: tuple[Media, Media], taught: Path, tmp_path: Path
) -> None:
    """Token for token, and other words than before."""
    one, two = pictures
    asked = [
        talk("Say bade."),
        talk(Message("user", "What is it?", (one,))),
        talk(Message("user", "Which is the darker one?", (two, one))),
        talk(Message("user", "What is it?", (two,)), "A carpet.", "Why?"),
    ]

    def here(model: Path, adapter: Path | str = "") -> list[Message]:
        settings = Settings(model=str(model), adapter=str(adapter), device="cpu", dtype="float32")
        with closing(LocalBackend(settings, Limits())) as backend:
            return [answer(backend, question, max_new_tokens=40) for question in asked]

    with (
        vllm_server.serving(taught / "merged", tmp_path / "merged.log") as url,
        remote(f"box={url}/v1", patience=Patience()) as backend,
    ):
        theirs = [answer(backend, question, max_new_tokens=40) for question in asked]
    plain, adapted, merged = here(model), here(model, taught / "adapter"), here(taught / "merged")
    for ours in (adapted, merged):
        for there, said in zip(theirs, ours, strict=True):
            assert (there.text, there.error, there.finish) == (said.text, said.error, said.finish)
    assert all(new.text and new.text != old.text for new, old in zip(theirs, plain, strict=True))
