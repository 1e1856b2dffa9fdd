"""Everyday words, and phrases of them and of other writing, which mini learns to repeat.

Repeating teaches a row of the vocabulary that no answer about drawings uses, so that a fine-tuning finds words it can
teach. Knows words only; refuses to know scenes, questions and tokens.
"""

from __future__ import annotations

import random
import string
import unicodedata

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

# Words of the domain, and of what people ask outside of it.
OTHERS = """
image images shapes circle square triangle star corner middle object objects number color colour position direction
describe bounding coordinates provide shown located happens moves video clip moving sentence detail capital president
weather translate gravity meaning music poem joke story bird cat dog tree house car boat fish apple banana chair table
window door river mountain cloud sun moon rain snow fire water earth child mother father friend city street road school
hand head eye face heart foot red green blue yellow purple orange black white pink brown gray
"""
OTHERS_CHINESE = "猫狗鸟鱼树花山水火天地人车船房门窗桌椅红绿蓝黄紫橙黑白"
ENGLISH_WORDS = (*COMMON.split(), *OTHERS.split())
CHINESE_WORDS = (*COMMON_CHINESE, *COMMON_CHINESE_WORDS.split(), *OTHERS_CHINESE)
LETTERS = string.ascii_letters + string.digits + string.punctuation.replace("<", "").replace(">", "")
# First and last characters of other alphabets: Latin, Greek, Cyrillic, kana, Chinese, signs and pictures.
ALPHABETS = (
    (0xC0, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x3041, 0x30FE), (0x4E00, 0x9FA5), (0x4E00, 0x9FA5),
    (0x20A0, 0x2BFF), (0xFF01, 0xFF5E), (0x1F300, 0x1FAFF),
)  # fmt: skip


def phrase(rng: random.Random) -> str:
    """A few words, parts of words, letters or characters; never empty, without space at its ends."""
    return unicodedata.normalize("NFC", _phrase(rng))


def _phrase(rng: random.Random) -> str:
    luck = rng.random()
    if luck < 0.4:
        return _sentence([rng.choice(ENGLISH_WORDS) for _ in range(rng.randint(1, 6))], rng)
    if luck < 0.55:
        return "".join(rng.choice(CHINESE_WORDS) for _ in range(rng.randint(1, 5)))
    if luck < 0.75:
        return " ".join(_part(rng.choice(ENGLISH_WORDS), rng) for _ in range(rng.randint(1, 4)))
    if luck < 0.85:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 8)))
    first, last = rng.choice(ALPHABETS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 3)))


def _sentence(words: list[str], rng: random.Random) -> str:
    text = " ".join(words)
    return text[0].upper() + text[1:] + rng.choice((".", "!", "?", "")) if rng.random() < 0.4 else text


def _part(word: str, rng: random.Random) -> str:
    """A piece of a word, two letters at least where it has them."""
    start = rng.randrange(max(len(word) - 1, 1))
    return word[start : start + rng.randint(2, 5)]
