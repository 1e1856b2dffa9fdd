"""Sentences of the drawn world, from which the tokenizer learns its merges.

Knows the share of each kind of talk. Refuses to know tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.everyday import COMMON, COMMON_CHINESE, COMMON_CHINESE_WORDS
from ovis_app.training.mini.world.phrases import CHINESE
from ovis_app.training.mini.world.questions import Turn, any_turn
from ovis_app.training.mini.world.scenes import random_clip, random_scene, random_word

NAMES = (row for names in (CHINESE.cells, CHINESE.colors, CHINESE.kinds) for row in names.values())
# Chinese is cut into these words, longest first, so that merges stay inside words.
WORDS = sorted({name for row in NAMES for name in row} | set(COMMON_CHINESE_WORDS.split()), key=lambda w: (-len(w), w))
CUT = re.compile("|".join([*WORDS, r"[\u3000-\u9fff\uff00-\uffef]", r"[^\u3000-\u9fff\uff00-\uffef]+"]))


def sentences(seed: str, amount: int) -> Iterator[str]:
    """What the tokenizer learns from: `amount` conversations and the common words."""
    yield from ("user", "assistant", "system", "\n\n", "user\n", "Final answer: ") * 50
    for sentence in _sentences(seed, amount):
        yield from CUT.findall(sentence)


def _sentences(seed: str, amount: int) -> Iterator[str]:
    rng = random.Random(seed)
    for word in COMMON.split():
        yield from (f" {word}",) * 3
        yield from (word.capitalize(),) * 2
    yield from (*COMMON_CHINESE,) * 3
    for _ in range(amount):
        for turn in _turns(rng):
            # a word that is read keeps its letters apart: no merge may come from it
            answer, thought = (re.sub(r"[A-Z0-9 ]{1,11}(?=[\"”.。])", "", part) for part in (turn.answer, turn.thought))
            yield f"{turn.question}\n{answer if turn.kind == 'text' else turn.answer}"
            yield thought if turn.kind in ("text", "describe") else turn.thought


def _turns(rng: random.Random) -> list[Turn]:
    say = dialogues.speaker(rng, 0.35)
    luck = rng.random()
    if luck < 0.5:
        turn = any_turn(random_scene(rng), say)
        return [dialogues.final_form(turn) if rng.random() < 0.1 else turn]
    if luck < 0.65:
        return dialogues.talk(random_scene(rng), say)
    if luck < 0.7:
        return [any_turn(random_word(rng), say)]
    if luck < 0.85:
        return [media_talk.about_images([random_scene(rng) for _ in range(rng.randint(2, 4))], say)]
    if luck < 0.93:
        return [media_talk.about_clip(random_clip(rng), say)]
    return [dialogues.chat(say)]
