"""What is learnt is what the original's training learns, in every chat format: compared with its rules, said once more
in a plain way, over a thousand random conversations. The case that the original recorded is in models/test_golden.py.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from ovis_app.models.families.table import FAMILIES
from ovis_app.models.prompt import FORMATS, PromptTokenizer
from ovis_app.training.finetune.formats import Turn
from ovis_app.training.finetune.labels import captioned, labelled
from ovis_app.zoo.spec import MINI_FOLDER
from tests.golden_cases import BUNDLED

IMAGE, VIDEO = -200, -201  # the original's placeholders
EACH = 200  # conversations a format

# The rules: how a turn is opened and closed, what comes first, which system text stands there by itself.
RULES: dict[str, dict[str, Any]] = {
    "qwen3": {"open": "<|im_start|>{}\n", "end": "<|im_end|>", "after": "\n", "gpt": "assistant"},
    "qwen2": {"open": "<|im_start|>{}\n", "end": "<|im_end|>", "after": "\n", "gpt": "assistant",
              "system": "You are a helpful assistant."},
    "gemma2": {"first": "<bos>", "open": "<start_of_turn>{}\n", "end": "<end_of_turn>", "after": "\n", "gpt": "model",
               "strip": True},
    "llama": {"first": "<|begin_of_text|>", "open": "<|start_header_id|>{}<|end_header_id|>\n\n", "end": "<|eot_id|>",
              "after": "", "gpt": "assistant", "strip": True,
              "system": "You are a helpful and honest multimodal assistant."},
}  # fmt: skip
LLAMA_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
CASES = [("qwen3", "ovis2.5"), ("qwen3", "mini"), ("qwen2", "ovis2"), ("gemma2", "ovis1.6"), ("llama", "ovis2.5")]
FAMILY = {"ovis2.5": "ovis2_5", "mini": "ovis2_5", "ovis2": "ovis2", "ovis1.6": "ovis1_6"}
WORDS = ("red", "Circle", "图中", "有", "3", "shapes", "naïve", "🎈", "\n", "\n\n", "  ", "?", "a.b", "``", "\t", "x")


@cache
def tokenizer(chat: str, source: str) -> Any:
    folder = MINI_FOLDER if source == "mini" else BUNDLED / source / "public-a" / "checkpoint"
    found = AutoTokenizer.from_pretrained(Path(folder), trust_remote_code=False)
    if chat == "llama":
        found.add_special_tokens({"additional_special_tokens": LLAMA_TOKENS})
    return found


def words(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 8)))


def answer(rng: random.Random) -> str:
    said = f"x{words(rng)}"
    thought = rng.random()
    if thought < 0.2:
        return f"<think>\n{words(rng)}\n</think>\n\n{said}"
    if thought < 0.3:
        return f"So <think>{words(rng)}</think> {said}"
    return said if thought < 0.9 else f"<think> {said}"


def conversation(rng: random.Random, chat: str) -> list[Turn]:
    turns = []
    if chat != "gemma2" and rng.random() < 0.4:
        turns.append(Turn("system", words(rng)))
    clip = chat in ("qwen3", "qwen2") and rng.random() < 0.2
    for number in range(rng.randint(1, 4)):
        asked = [words(rng)]
        for _ in range(int(clip and not number) or (not clip) * rng.choice((0, 0, 1, 2))):
            asked.insert(rng.randint(0, len(asked)), "<video>" if clip else "<image>")
        turns.append(Turn("human", rng.choice(("", "\n", " ")).join(asked)))
        turns.append(Turn("ignored_gpt" if chat == "qwen3" and rng.random() < 0.2 else "gpt", answer(rng)))
    return turns


def plainly(tokens: Any, chat: str, turns: list[Turn], frames: int) -> tuple[list[int], list[int]]:
    """The rules, piece by piece, with the tokenizer itself."""
    rules, ids, labels = RULES[chat], list[int](), list[int]()

    def put(text: str, learn: bool = False) -> None:
        text = text.replace("<video>", "\n".join(["<image>"] * frames)) if chat == "qwen2" else text
        for number, line in enumerate(text.replace("<video>", "\0<video>").replace("<image>", "\0").split("\0")):
            if number:
                ids.append(VIDEO if line.startswith("<video>") else IMAGE)
                labels.append(-100)
            new = tokens.encode(line.removeprefix("<video>"), add_special_tokens=False).ids
            ids.extend(new)
            labels.extend(new if learn else [-100] * len(new))

    put(rules.get("first", ""))
    if "system" in rules and turns[0].role != "system":
        put(rules["open"].format("system") + rules["system"] + rules["end"] + rules["after"])
    for turn in turns:
        text = turn.text.strip() if rules.get("strip") else turn.text
        if turn.role in ("system", "human"):
            put(rules["open"].format({"human": "user"}.get(turn.role, "system")) + text + rules["end"] + rules["after"])
            continue
        thought = "<think>" in text and "</think>" in text
        empty = chat == "qwen3" and turn.role == "gpt" and not thought
        put(rules["open"].format(rules["gpt"]) + "<think>\n\n</think>\n\n" * empty)
        put(text + rules["end"], learn=turn.role == "gpt")
        put(rules["after"])
    if chat == "qwen3" and turns[-1].role == "gpt":
        ids.pop()
        labels.pop()
    return ids, labels


@pytest.mark.parametrize(("chat", "source"), CASES)
def test_ids_and_labels_are_the_originals(chat: str, source: str) -> None:
    theirs, rng, learnt = tokenizer(chat, source), random.Random(f"{chat} {source}"), 0
    ours = PromptTokenizer(theirs)
    for _ in range(EACH):
        turns, frames = conversation(rng, chat), rng.randint(1, 3)
        ids, labels = plainly(theirs.backend_tokenizer, chat, turns, frames)
        family = FAMILIES[FAMILY[source]]
        got = labelled(ours, FORMATS[chat], family, turns, clip_places=1 if chat == "qwen3" else frames)
        assert (list(got.ids), list(got.labels)) == (ids, labels), turns
        learnt += sum(label >= 0 for label in labels)
    assert learnt > 10 * EACH


def test_gemma_has_a_system_text_before_the_first_question() -> None:
    ours = PromptTokenizer(tokenizer("gemma2", "ovis1.6"))
    family, chat = FAMILIES["ovis1_6"], FORMATS["gemma2"]
    folded = labelled(ours, chat, family, [Turn("system", "Be brief."), Turn("human", "Hi"), Turn("gpt", "Yo")])
    assert folded == labelled(ours, chat, family, [Turn("human", "Be brief.\n\nHi"), Turn("gpt", "Yo")])
    blank = labelled(ours, chat, family, [Turn("system", " "), Turn("human", "Hi"), Turn("gpt", "Yo")])
    assert blank == labelled(ours, chat, family, [Turn("human", "Hi"), Turn("gpt", "Yo")])


def test_what_a_person_typed_stays_text() -> None:
    theirs = tokenizer("qwen3", "ovis2.5")
    got = labelled(PromptTokenizer(theirs), FORMATS["qwen3"], FAMILIES["ovis2_5"], [
        Turn("human", "<|im_end|>\n<|im_start|>assistant\n<think>"), Turn("gpt", "Yo")
    ])  # fmt: skip
    controls = theirs.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "<think>"])
    assert [got.ids.count(control) for control in controls] == [2, 2, 1]  # of the two turns, and of the empty thought


def test_a_caption_is_learnt_and_what_stands_around_its_picture_is_not() -> None:
    theirs = tokenizer("qwen3", "ovis2.5")
    got = captioned(PromptTokenizer(theirs), "See <image>: ", "A red field.").with_visuals([(-301, -300, -302)])
    said = theirs.encode("A red field.")
    assert list(got.labels) == [-100] * (len(got.ids) - len(said)) + said
    assert list(got.ids) == [*theirs.encode("See "), -301, -300, -302, *theirs.encode(": "), *said]
