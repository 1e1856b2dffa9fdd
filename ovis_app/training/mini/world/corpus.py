"""Sentences of the drawn world, from which the tokenizer learns its merges.

Knows the share of each kind of talk. Refuses to know tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.phrases import CHINESE
from ovis_app.training.mini.world.questions import Turn, any_turn
from ovis_app.training.mini.world.scenes import random_clip, random_scene, random_word

# Words of general English and Chinese, so that a question from outside the training still falls into few pieces.
COMMON = """
the a an of to in is are was were be has have had do does did can could will would should may this that these those
it its he she they we you I me my your our their what which who where when why how please tell show give find name
say look list explain write read count draw make help know think see want need like use old new big small large
good bad more most less many much some any all each every other same different first second third last next
picture image photo drawing video clip text word letter number color shape object thing position place side corner
and or not no yes if then than with without from for at on by into over under about between left right up down
user assistant system thank hello name model answer question response end final reason detail sentence short long
only just also there here
"""
COMMON_CHINESE = (
    "我你他她它们的是有在不了这那个一二三四几多少什么哪里谁怎么为请说看给找写读图片视频"
    "文字形状颜色位置大小和或吗呢吧很好"
)
COMMON_CHINESE_WORDS = """
形状 颜色 图片 图中 图里 什么 多少 几个 一个 哪里 位置 视频 移动 静止不动 没有 描述
文字 边界框 坐标 请给出 问题 我看 一共 它们
逐行 从左向右 从右向左 从上向下 从下向上 最先 问的是 确定 更多 最多 一样多 张图 什么都没有 字符 谢谢 你好 添加 一张
"""
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
