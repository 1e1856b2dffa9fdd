"""An answer that was cut goes on as if it never had been: the same words, whoever else is answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine.thinking_budget import resumed
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FAMILIES = ["ovis2.5", "ovis2", "ovis1.6"]
TOKENS = 24
GREEDY = GenerationSettings(max_new_tokens=TOKENS)
DRAWN = replace(GREEDY, temperature=1.0, top_k=2, seed=7, repetition_penalty=1.1)


def separate(tokenizer: Tokenizer, most: int = 16) -> list[int]:
    """Tokens of one character that stay these tokens in any order: what is said in them reads back as it was said."""
    found: list[tuple[int, str]] = []
    for token in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([token])
        pairs = [(token, text), *found]
        if (
            len(text) == 1
            and text.isalnum()
            and all(
                tokenizer.encode(one + other, add_special_tokens=False).ids == [first, second]
                for first, one in pairs
                for second, other in pairs
                if token in (first, second)
            )
        ):
            found.append((token, text))
        if len(found) == most:
            break
    return [token for token, _ in found]


def saying(family: str, folder: Path) -> Path:
    """A tiny checkpoint that says nothing but such tokens."""
    made = folder / family
    shutil.copytree(GOLDEN / family / "public-a" / "checkpoint", made)
    allowed = separate(Tokenizer.from_file(str(made / "tokenizer.json")))
    assert len(allowed) >= 8
    for file in made.glob("*.safetensors"):
        tensors = load_file(file)
        name = next(name for name in tensors if name.endswith("embed_tokens.weight"))  # the head's too
        rows = tensors[name].clone()
        tensors[name] *= 0.01  # scores near 0; of a row and its opposite one always has more
        for one, other in zip(allowed[::2], allowed[1::2], strict=False):
            tensors[name][one], tensors[name][other] = rows[one], -rows[one]
        save_file(tensors, file, metadata={"format": "pt"})
    return made


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("saying")
    return {family: saying(family, folder) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def backend(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Iterator[LocalBackend]:
    with closing(LocalBackend(Settings(model=str(checkpoints[request.param]), device="cpu"), Limits())) as made:
        yield made


@pytest.fixture
def question(tmp_path: Path) -> Conversation:
    Image.linear_gradient("L").resize((90, 70)).convert("RGB").save(tmp_path / "ramp.png")
    return Conversation((Message("user", "What is it?", (Media("image", tmp_path / "ramp.png", "ramp.png"),)),))


def answered(backend: LocalBackend, settings: GenerationSettings, asked: Conversation) -> Message:
    *_, last = chat.reply(backend, Request(asked, settings))
    assert last.messages[-1].error == ""
    return last.messages[-1]


def joined(message: Message) -> tuple[str, str]:
    return message.thinking, message.text


@pytest.mark.parametrize("settings", [GREEDY, DRAWN], ids=["greedy", "drawn by a seed"])
def test_a_continued_answer_is_the_answer_that_was_never_cut(
    backend: LocalBackend, question: Conversation, settings: GenerationSettings
) -> None:
    """Many cuts at once, beside one another, and the whole answer again."""
    whole = answered(backend, settings, question)
    assert whole.finish == "length" and len(whole.text) == TOKENS  # a character a token
    cuts = [1, 2, 5, 11, TOKENS - 1]
    begun = [question.add(Message("assistant", whole.text[:cut], finish="stopped")) for cut in cuts]
    rest = [TOKENS - cut for cut in cuts]
    with ThreadPoolExecutor(len(cuts) + 1) as threads:
        other = threads.submit(answered, backend, settings, question)
        tried = [replace(settings, max_new_tokens=left) for left in rest]
        found = list(threads.map(partial(answered, backend), tried, begun))
        assert joined(other.result()) == joined(whole)
    assert [joined(one) for one in found] == [joined(whole)] * len(cuts)
    for one, left in zip(found, rest, strict=True):
        assert one.stats is not None
        assert (one.stats.answer_tokens, one.stats.begun_tokens) == (left, TOKENS - left)
        assert one.stats.cached_tokens > 0 and one.stats.seen and one.stats.visual_tokens == whole.stats.visual_tokens


def test_without_the_engine_it_is_the_same(checkpoints: dict[str, Path], question: Conversation) -> None:
    settings = replace(DRAWN, thinking=True, thinking_budget=12, max_new_tokens=96)
    thought = question.add(Message("assistant", thinking="a"))
    engine, without = (
        LocalBackend(Settings(model=str(checkpoints["ovis2.5"]), device="cpu", engine=name), Limits())
        for name in ("auto", "plain")
    )
    with closing(engine) as ours, closing(without) as plain:
        assert joined(answered(plain, settings, thought)) == joined(answered(ours, settings, thought))


def test_a_thought_goes_on_where_it_was_cut_and_its_budget_counts_from_its_beginning(
    checkpoints: dict[str, Path], question: Conversation
) -> None:
    """Cut in the thought, in the text that ends it when its budget is spent, and behind it."""
    settings = replace(GREEDY, thinking=True, thinking_budget=12, max_new_tokens=96)
    with closing(LocalBackend(Settings(model=str(checkpoints["ovis2.5"]), device="cpu"), Limits())) as backend:
        seed = answered(backend, replace(GREEDY, max_new_tokens=2), question).text
        whole = answered(backend, settings, question.add(Message("assistant", thinking=seed)))
        assert whole.text and "Considering the limited time" in whole.thinking and whole.thinking.startswith(seed)
        early = whole.thinking.index("Considering") + len("Considering the limited")
        cuts = [(whole.thinking[:cut], "") for cut in (len(seed) + 1, len(seed) + 4, early)]
        for thinking, text in [*cuts, (whole.thinking, whole.text[:1]), (whole.thinking, whole.text[:9])]:
            off = replace(settings, thinking=not text)  # behind a thought nobody thinks again, whatever is asked
            found = answered(backend, off, question.add(Message("assistant", text, thinking=thinking)))
            assert found.thinking == whole.thinking and found.text.startswith(whole.text)
            assert found.stats is not None and (found.stats.begun_thinking_tokens > 0)


def test_a_budget_that_is_spent_ends_a_thought_that_goes_on() -> None:
    early = [7, 8, 9]
    assert resumed(10, [1, 2, 3], early) == 10
    assert resumed(2, [1, 2, 3], early) == 3  # past it: at once
    assert resumed(2, [1, 2, 7, 8], early) == 2  # in the middle of being cut
    assert resumed(10, [1, 2, 7], early) == 10  # it only looks like that


def test_what_never_began_is_not_continued(checkpoints: dict[str, Path], question: Conversation) -> None:
    with closing(LocalBackend(Settings(model=str(checkpoints["ovis2"]), device="cpu"), Limits())) as backend:
        *_, last = chat.reply(backend, Request(question.add(Message("assistant")), GREEDY))
        assert "nothing of this answer to continue" in last.messages[-1].error
        *_, last = chat.reply(backend, Request(Conversation((Message("assistant", "x"),)), GREEDY))
        assert "no question" in last.messages[-1].error
