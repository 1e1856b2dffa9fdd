"""Made-up conversations about made-up pictures, and the app's own backend asked about them.

Knows the backend's contract alone, so that whatever the engine becomes is measured as a user has it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from ovis_app.backend import Backend
from ovis_app.backends import open_backend
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.generation import Answer, Done, GenerationSettings, Request, Thinking
from ovis_app.limits import Limits
from ovis_app.settings import Settings

WORDS = ("what", "shape", "color", "is", "the", "left", "right", "above", "circle", "square", "red", "blue", "many")
ANSWER = "There are three shapes in the image: a red circle, a blue square and a green circle above it."
TOKENS_A_SIDE = 28  # visual tokens along an 896-pixel side, as large as a picture among several is seen


def picture(folder: Path, tokens: int, seed: int) -> Media:
    """A picture of coloured blocks, of about `tokens` visual tokens in Ovis2.5 (32 x 32 pixels each)."""
    side = max(round(tokens**0.5), 1)
    noise = random.Random(seed)
    blocks = Image.new("RGB", (side, side))
    blocks.putdata([(noise.randrange(256), noise.randrange(256), noise.randrange(256)) for _ in range(side * side)])
    path = folder / f"{tokens}-{seed}.png"
    blocks.resize((side * 32, side * 32), Image.Resampling.NEAREST).save(path)
    return Media("image", path, path.name, Detail(min_pixels=1024, max_pixels=1 << 23))


def pictures(folder: Path, tokens: int, seed: int) -> tuple[Media, ...]:
    """Pictures of `tokens` visual tokens in all: one, or several of 896 x 896 where one would be larger than 1,100."""
    if tokens <= 1100:
        return (picture(folder, tokens, seed),)
    count = round(tokens / TOKENS_A_SIDE**2)
    return tuple(picture(folder, TOKENS_A_SIDE**2, seed * 100 + index) for index in range(count))


def question(seed: int, *media: Media, words: int = 16) -> Message:
    """A question of `words` words, another for each seed."""
    noise = random.Random(seed)
    return Message("user", " ".join(noise.choice(WORDS) for _ in range(words)) + "?", media)


def conversation(turns: int, media: tuple[Media, ...], *, seed: int = 0) -> Conversation:
    """`turns` questions, all but the last answered; the media stand in the first."""
    messages: list[Message] = []
    for turn in range(turns):
        messages.append(question(seed * 1000 + turn, *(media if turn == 0 else ())))
        if turn < turns - 1:
            messages.append(Message("assistant", ANSWER, finish="end"))
    return Conversation(tuple(messages))


@contextmanager
def backend(folder: Path, **settings: object) -> Iterator[Backend]:
    """The app's backend over a checkpoint folder, loaded."""
    chosen = Settings(model=str(folder), **settings)  # type: ignore[arg-type]
    opened = open_backend(chosen, Limits())
    try:
        first_token(opened, Conversation((Message("user", "Hello"),)))
        yield opened
    finally:
        opened.close()


def first_token(asked: Backend, talk: Conversation) -> float:
    """Seconds from a question to its first token, as the backend's caller sees it."""
    start = time.perf_counter()
    heard: float | None = None
    for event in asked.stream(Request(talk, GenerationSettings(max_new_tokens=1))):
        if heard is None and isinstance(event, Answer | Thinking | Done):
            heard = time.perf_counter() - start
    if heard is None:
        raise RuntimeError("no answer came")
    return heard
