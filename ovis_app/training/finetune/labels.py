"""A sample to token ids and labels: what the model is to say, and nothing else, in every chat format.

Labels are the original's: each answer and the token that ends its turn, not the header before it and the newline after.
What a person wrote is encoded as the app does, typed control strings staying text; an answer may hold control tokens,
since a thought's ends are some. Knows prompts; refuses to know pixels, files and weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ovis_app.models.families.base import Family
from ovis_app.models.prompt import (
    IMAGE,
    PLACEHOLDERS,
    ChatFormat,
    Part,
    PromptTokenizer,
    expand,
    stripped,
    with_system,
)
from ovis_app.models.prompt import Turn as PromptTurn
from ovis_app.training.finetune.formats import Turn

UNLEARNT = -100
THOUGHT = ("<think>", "</think>")
ROLES = {"human": "user", "gpt": "assistant"}
TAG = re.compile("(" + "|".join(map(re.escape, PLACEHOLDERS)) + ")")


@dataclass(frozen=True)
class Labelled:
    """Token ids, with a place for each picture or clip, and for each id what is learnt of it: itself or UNLEARNT."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    def with_visuals(self, spans: Sequence[Sequence[int]]) -> Labelled:
        """The same with the ids of visual tokens in their places. Raises ValueError where they differ in number."""
        nothing = [(UNLEARNT,) * len(span) for span in spans]
        places = [id if id in PLACEHOLDERS.values() else label for id, label in zip(self.ids, self.labels, strict=True)]
        return Labelled(tuple(expand(self.ids, spans)), tuple(expand(places, nothing)))


def labelled(
    tokenizer: PromptTokenizer, chat: ChatFormat, family: Family, turns: Sequence[Turn], *, clip_places: int = 1
) -> Labelled:
    """The ids and labels of a conversation. A clip has as many places as its family gives it: one a frame, or one."""
    said = [PromptTurn(ROLES.get(turn.role, turn.role), _content(turn, family, clip_places)) for turn in turns]
    if not chat.takes_system:
        said = [turn for turn in said if turn.role != "system" or any(map(str.strip, map(str, turn.content)))]
    pieces = [(tokenizer.encode(tokenizer.fill(chat.start, ())), False)]
    for turn in with_system(chat, said):
        content = stripped(turn.content) if chat.strips else turn.content
        if turn.role in ("assistant", "ignored_gpt"):
            pieces += _answer(tokenizer, chat, "".join(map(str, content)), learnt=turn.role == "assistant")
        else:
            template = chat.system if turn.role == "system" else chat.user
            pieces.append((tokenizer.encode(tokenizer.fill(template, content)), False))
    if chat.no_thinking and said[-1].role == "assistant":
        pieces.pop()  # the original of 2.5 leaves out the newline after the last answer, its forerunners don't
    return _joined(pieces)


def captioned(tokenizer: PromptTokenizer, template: str, caption: str) -> Labelled:
    """The ids and labels of a caption: no chat format, and no end."""
    head, _, tail = template.partition("<image>")
    before = [*tokenizer.encode([head]), IMAGE, *tokenizer.encode([tail])]
    return _joined([(before, False), (tokenizer.encode([caption]), True)])


def _content(turn: Turn, family: Family, clip_places: int) -> tuple[Part, ...]:
    """The words of a turn, with placeholders for tags, as the app writes them within a text."""
    if turn.role != "human":
        return (turn.text,)
    clip = family.inline("video", clip_places)
    parts: list[Part] = []
    for piece in TAG.split(turn.text):
        parts += clip if piece == "<video>" else [PLACEHOLDERS.get(piece, piece)] if piece else []
    return tuple(parts)


def _answer(tokenizer: PromptTokenizer, chat: ChatFormat, said: str, *, learnt: bool) -> list[tuple[list[int], bool]]:
    """An answer's header, itself with its end, and the newline. One without a thought follows the empty thought."""
    header, _, closing = chat.assistant.partition("{}")
    end = closing.rstrip("\n")
    thinks = all(tag in said for tag in THOUGHT)
    opening = header if thinks or not learnt else header + chat.no_thinking
    newline = tokenizer.trusted(closing[len(end) :])
    whole = tokenizer.trusted(said) + tokenizer.trusted(end)
    return [(tokenizer.trusted(opening), False), (whole, learnt), (newline, False)]


def _joined(pieces: Sequence[tuple[Sequence[int], bool]]) -> Labelled:
    ids = tuple(id for piece, _ in pieces for id in piece)
    return Labelled(ids, tuple(id if learnt else UNLEARNT for piece, learnt in pieces for id in piece))
