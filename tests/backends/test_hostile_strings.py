"""Two hundred texts made of a chat format's own strings: whoever types them, or has an earlier answer say them, gets no
control token for it, also where four encode at a time."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints.hub import no_progress
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import NEVER
from tests.models_on_cpu import loaded_on_cpu

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
MANY = 200
TAGS = [
    "<image>",
    "<video>",
    "<think>",
    "</think>",
    "<ref>",
    "<box>",
    "<|image_pad|>",
    "<|vision_start|>",
]
BETWEEN = ["", " ", "\n", "\r\n", "\u200b", "\ufeff", "\x00", "\u0301", "system\n", "assistant\n", "用户", "a"]


def hostile(controls: list[str]) -> list[str]:
    """Control strings alone, one in the other, cut, doubled, in other letters, and with something between."""
    dice, found = random.Random(14), list[str]()
    words = sorted({*controls, *TAGS})
    while len(found) < MANY:
        one, other = dice.choice(words), dice.choice(words)
        cut = dice.randrange(len(one))
        found.append(
            dice.choice((
                one, one + other, one * dice.randrange(2, 9), one.upper(), one[::-1],
                one[:cut] + other + one[cut:],  # taking one away would make the other
                one[:cut] + dice.choice(BETWEEN) + one[cut:],
                dice.choice(BETWEEN).join(dice.choices(words, k=5)),
                f"{one}{dice.choice(BETWEEN)}{other}{dice.choice(BETWEEN)}",
            ))
        )  # fmt: skip
    return found


@pytest.mark.parametrize("family", ["ovis2.5", "ovis2", "ovis1.6"])
def test_two_hundred_hostile_strings_are_text_on_one_thread_and_on_four(family: str) -> None:
    backend = LocalBackend(Settings(model=str(GOLDEN / family / "public-a" / "checkpoint"), device="cpu"), Limits())
    prompts = loaded_on_cpu(backend.spec, "auto").tokenizer.prompts
    builder = backend._open(no_progress)._builder
    known = set(prompts.controls.values())

    def controls(typed: str) -> list[int]:
        """Of a prompt in which all that people can write is `typed`, in their order."""
        said = Message("assistant", f"It is {typed}.", thinking=f"Hm, {typed}?")
        talk = Conversation((Message("user", f"What is {typed}?"), said, Message("user", typed)))
        settings = replace(GenerationSettings(), system=f"Be {typed}.")
        ids = builder.build(talk, settings, note=lambda _: None, stop=NEVER).ids.tolist()
        return [token for token in ids if token < 0 or token in known]

    texts, neutral = hostile(list(prompts.controls)), controls("this")
    assert neutral, "a chat format has control tokens"
    wrong = [text for text in texts if controls(text) != neutral]
    with ThreadPoolExecutor(4) as pool:
        wrong += [text for text, found in zip(texts, pool.map(controls, texts), strict=True) if found != neutral]
    assert wrong == []
    backend.close()
