"""A conversation becomes the prompt that the chat template released with Ovis2.5-9B gives: 200 of them are recorded.

One difference is on purpose. The template removes `<image>` and `<video>` from what people typed; here typed text is
text, and those tags stay the characters that they are. The recorded texts hold none, so they are compared as they are;
the last test types tags into them, and accounts for that difference and no other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.local.prompt_builder import turns_of
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine.encoder_cache import EncodedMedia, EncodedPart
from ovis_app.generation import GenerationSettings
from ovis_app.models.inputs import chat_format
from ovis_app.models.prompt import IMAGE, PLACEHOLDERS, VIDEO, encode_original, encode_turns
from tests.models_on_cpu import loaded_on_cpu

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2.5"
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "released_prompts.json").read_text(encoding="utf-8"))["cases"]
NUMBERED = pytest.mark.parametrize("case", CASES, ids=map(str, range(len(CASES))))
TAGS = {placeholder: tag for tag, placeholder in PLACEHOLDERS.items()}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return loaded_on_cpu(zoo.resolve(str(GOLDEN / "public-a" / "checkpoint")), "float32")


def message(turn: dict[str, Any]) -> Message:
    media = (Media("video", Path("clip.mp4")),) if turn.get("video") else ()
    media += (Media("image", Path("a.png")),) * turn.get("images", 0)
    return Message(turn["role"], turn["text"], media, thinking=turn.get("thinking", ""))


def prompt(loaded: LoadedModel, turns: list[dict[str, Any]], *, thinking: bool) -> list[int]:
    """The app's own way from a conversation to ids, media left at one placeholder each."""
    system = "".join(turn["text"] for turn in turns if turn["role"] == "system")
    settings = GenerationSettings(system=system, thinking=thinking)
    conversation = Conversation(tuple(message(turn) for turn in turns if turn["role"] != "system"))
    encoded = [
        tuple(EncodedMedia(item.kind, (EncodedPart((), torch.empty(0), 0),)) for item in said.media)
        for said in conversation.messages
    ]
    return encode_turns(
        loaded.tokenizer.prompts,
        chat_format(loaded.model.config),
        turns_of(loaded, conversation, encoded, settings),
        thinking=thinking,
    )


def read_back(loaded: LoadedModel, ids: list[int]) -> str:
    """The text of a prompt, placeholders as tags."""
    text, start = "", 0
    for end in [n for n, token in enumerate(ids) if token in TAGS]:
        text += loaded.tokenizer.decoder.decode(ids[start:end], skip_special_tokens=False) + TAGS[ids[end]]
        start = end + 1
    return text + loaded.tokenizer.decoder.decode(ids[start:], skip_special_tokens=False)


@NUMBERED
def test_a_prompt_is_what_the_released_template_gives(loaded: LoadedModel, case: dict[str, Any]) -> None:
    ids = prompt(loaded, case["turns"], thinking=case["enable_thinking"])
    assert read_back(loaded, ids) == case["prompt"]
    assert ids == encode_original(loaded.tokenizer.prompts, case["prompt"])


@pytest.mark.parametrize(
    ("said", "repeated"),
    [
        ("\n\nTwo.\n", "Two.\n"),
        ("Let me see.</think>\n\nTwo.", "Two."),
        ("<think>a</think>b</think>\nTwo.", "Two."),
        (" \nTwo.", " \nTwo."),
        ("Let me see.</think>", ""),
    ],
)
def test_an_earlier_answer_goes_back_as_what_follows_its_last_thought(
    loaded: LoadedModel, said: str, repeated: str
) -> None:
    turns = [{"role": "user", "text": "How many?"}, {"role": "assistant", "text": said}, {"role": "user", "text": "Ok"}]
    assert read_back(loaded, prompt(loaded, turns, thinking=True)) == (
        "<|im_start|>user\nHow many?<|im_end|>\n"
        f"<|im_start|>assistant\n{repeated}<|im_end|>\n"
        "<|im_start|>user\nOk<|im_end|>\n<|im_start|>assistant\n"
    )


@NUMBERED
def test_typed_tags_are_the_one_difference(loaded: LoadedModel, case: dict[str, Any]) -> None:
    """Where the template would give the recorded prompt, the tags being removed, ours holds their characters where they
    were typed, and not one more place for a picture."""
    first = next(n for n, turn in enumerate(case["turns"]) if turn["role"] == "user")
    text = case["turns"][first]["text"]
    typed = "<video>" + text[: len(text) // 2] + "<image>" + text[len(text) // 2 :]
    turns = [{**turn, "text": typed} if n == first else turn for n, turn in enumerate(case["turns"])]
    ids = prompt(loaded, turns, thinking=case["enable_thinking"])
    media = "<video>\n" * case["turns"][first]["video"] + "<image>\n" * case["turns"][first]["images"]
    question = f"<|im_start|>user\n{media}{text}<|im_end|>"
    assert question in case["prompt"]
    assert read_back(loaded, ids) == case["prompt"].replace(question, f"<|im_start|>user\n{media}{typed}<|im_end|>", 1)
    recorded = encode_original(loaded.tokenizer.prompts, case["prompt"])
    assert [token for token in ids if token < 0] == [token for token in recorded if token in (IMAGE, VIDEO)]
