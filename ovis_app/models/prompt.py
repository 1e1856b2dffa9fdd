"""Messages to token ids with negative placeholders where pictures go; one row per chat format.

Typed text is text: control strings in what a user wrote are encoded as the characters they are. Knows tokenizers,
refuses to know pixels and weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

# Placeholder ids of the original: negative, because some language models have no spare vocabulary rows.
IMAGE, VIDEO, VISUAL_ATOM, FIRST_INDICATOR = -200, -201, -300, -301
PLACEHOLDERS = {"<image>": IMAGE, "<video>": VIDEO}

Part = str | int  # plain text, or an id: a control token's or a placeholder


@dataclass(frozen=True)
class ChatFormat:
    """How a family writes its turns. `{}` is where a turn's content goes; control tokens are written as themselves."""

    system: str
    user: str
    assistant: str
    opening: str  # what the model continues
    start: str = ""  # what every conversation begins with
    no_thinking: str = ""  # follows `opening` when thinking is off
    default_system: str = ""
    takes_system: bool = True  # Gemma has no system turn: its text goes before the first question
    strips: bool = False  # white space around a message is dropped
    thought: str = ""  # how a thought stands before its answer
    think_end: str = ""  # ends a thought; earlier answers go back as what follows the last one, from their first line
    early_stop: str = ""  # ends a thought whose budget is spent


QWEN3 = ChatFormat(
    system="<|im_start|>system\n{}<|im_end|>\n",
    user="<|im_start|>user\n{}<|im_end|>\n",
    assistant="<|im_start|>assistant\n{}<|im_end|>\n",
    opening="<|im_start|>assistant\n",
    no_thinking="<think>\n\n</think>\n\n",
    thought="<think>\n{}</think>\n\n",
    think_end="</think>",
    early_stop="\n\nConsidering the limited time by the user, I have to give the solution based on the thinking"
    " directly now.\n</think>\n\n",
)


QWEN2 = ChatFormat(
    system=QWEN3.system,
    user=QWEN3.user,
    assistant=QWEN3.assistant,
    opening=QWEN3.opening,
    default_system="You are a helpful assistant.",
)
GEMMA2 = ChatFormat(
    start="<bos>",
    system="{}\n\n",
    user="<start_of_turn>user\n{}<end_of_turn>\n",
    assistant="<start_of_turn>model\n{}<end_of_turn>\n",
    opening="<start_of_turn>model\n",
    takes_system=False,
    strips=True,
)
LLAMA3 = ChatFormat(
    start="<|begin_of_text|>",
    system="<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
    user="<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
    assistant="<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    opening="<|start_header_id|>assistant<|end_header_id|>\n\n",
    default_system="You are a helpful and honest multimodal assistant.",
    strips=True,
)
# By the language model's model_type.
FORMATS = {"qwen3": QWEN3, "qwen3_moe": QWEN3, "qwen2": QWEN2, "gemma2": GEMMA2, "llama": LLAMA3}


@dataclass(frozen=True)
class Turn:
    """One message as the prompt sees it: its text, with placeholders where its media stand."""

    role: str  # system, user or assistant
    content: tuple[Part, ...]


@dataclass(frozen=True)
class Begun:
    """An answer's beginning as tokens; `thought` are those of its thought, which is `open` where it hasn't ended."""

    ids: tuple[int, ...] = ()
    thought: int = 0
    open: bool = False


NOTHING_BEGUN = Begun()


class PromptTokenizer:
    """Encodes templates with their control tokens and everything else as plain text. Safe to share between threads:
    both tokenizers are used with one fixed set of options."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a transformers fast tokenizer."""
        self.with_controls: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._plain = _without_controls(self.with_controls)
        self.pad: int | None = tokenizer.pad_token_id
        self.controls: dict[str, int] = dict(tokenizer.get_added_vocab())
        longest_first = sorted(self.controls, key=len, reverse=True)
        self._control = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def control(self, token: str) -> int:
        """The id of a control token. Raises KeyError when the checkpoint has none of that name."""
        return self.controls[token]

    def trusted(self, text: str) -> list[int]:
        """Ids of our own text, in which control strings are control tokens."""
        return list(self.with_controls.encode(text, add_special_tokens=False).ids)

    def encode(self, parts: Iterable[Part]) -> list[int]:
        """Ids of parts; neighbouring text is encoded in one piece, as the original does."""
        ids: list[int] = []
        text = ""
        for part in (*parts, None):
            if isinstance(part, str):
                text += part
                continue
            if text:
                ids += self._plain.encode(text, add_special_tokens=False).ids
                text = ""
            if part is not None:
                ids.append(part)
        return ids

    def fill(self, template: str, content: Sequence[Part]) -> list[Part]:
        """The template's parts with `content` in its place; only the template's own control strings become ids."""
        before, _, after = template.partition("{}")
        return [*self._split(before), *content, *self._split(after)]

    def _split(self, template: str) -> list[Part]:
        return [self.controls.get(piece, piece) for piece in self._control.split(template) if piece]


def _without_controls(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with nothing but plain text in its eyes; runs of white space stay the tokens that they are."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if not token["content"].strip(" \n\t\u2581")]
    state["post_processor"] = None
    return Tokenizer.from_str(json.dumps(state))


def encode_turns(tokenizer: PromptTokenizer, chat: ChatFormat, turns: Sequence[Turn], *, thinking: bool) -> list[int]:
    """The prompt of a conversation that ends with a user's turn. Earlier answers go back without their thoughts."""
    parts = tokenizer.fill(chat.start, ())
    templates = {"system": chat.system, "user": chat.user, "assistant": chat.assistant}
    for turn in with_system(chat, turns):
        content = stripped(turn.content) if chat.strips else turn.content
        if turn.role == "assistant" and chat.think_end:
            content = without_thought(content, chat.think_end)
        parts += tokenizer.fill(templates[turn.role], content)
    parts += tokenizer.fill(chat.opening + ("" if thinking else chat.no_thinking), ())
    return tokenizer.encode(parts)


def encode_begun(tokenizer: PromptTokenizer, chat: ChatFormat, *, thought: str, text: str) -> Begun:
    """What the model has said of an answer, thought included where the format has any, for it to go on from there. Its
    words stand in tokens of their own, as they were generated: behind a prompt, not in one piece with its end."""
    if not thought or not chat.thought:
        return Begun(tuple(tokenizer.encode((text,))))
    parts = tokenizer.fill(chat.thought, (thought,))
    if text:
        said = tokenizer.encode(parts)
        return Begun((*said, *tokenizer.encode((text,))), len(said))
    end = parts.index(tokenizer.control(chat.think_end))
    said = tokenizer.encode(parts[:end])
    return Begun(tuple(said), len(said), open=True)


def with_system(chat: ChatFormat, turns: Sequence[Turn]) -> list[Turn]:
    """The turns with the format's own system text where none is given, or with a given one folded into the first
    question where the format has no system turn."""
    given = [turn for turn in turns if turn.role == "system"]
    rest = [turn for turn in turns if turn.role != "system"]
    if not given and chat.default_system:
        given = [Turn("system", (chat.default_system,))]
    if chat.takes_system or not given:
        return [*given, *rest]
    asked = next((number for number, turn in enumerate(rest) if turn.role == "user"), 0)
    rest[asked] = Turn("user", (*given[0].content, "\n\n", *rest[asked].content))
    return rest


def stripped(content: Sequence[Part]) -> tuple[Part, ...]:
    """The content without white space at its two ends."""
    parts = list(content)
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return tuple(parts)


def without_thought(content: Sequence[Part], think_end: str) -> tuple[Part, ...]:
    """What follows the last thought, without newlines before it, as Ovis2.5's released template repeats answers."""
    parts = list(content)
    ends = [number for number, part in enumerate(parts) if isinstance(part, str) and think_end in part]
    if ends:
        parts = [str(parts[ends[-1]]).rpartition(think_end)[2], *parts[ends[-1] + 1 :]]
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip("\n")
    return tuple(parts)


def encode_original(tokenizer: PromptTokenizer, prompt: str) -> list[int]:
    """A prompt string with the original's habit: `<image>` and `<video>` are placeholders and control strings are
    control tokens wherever they stand. For comparisons; never for what a user typed."""
    pieces = re.split("(<image>|<video>)", prompt)
    return [
        token
        for piece in pieces
        for token in ([PLACEHOLDERS[piece]] if piece in PLACEHOLDERS else tokenizer.trusted(piece))
    ]


def expand(ids: Sequence[int], spans: Sequence[Sequence[int]]) -> list[int]:
    """Placeholders replaced by their spans of indicators and visual tokens, in order. Raises ValueError when places and
    spans differ in number."""
    places = sum(token in (IMAGE, VIDEO) for token in ids)
    if places != len(spans):
        raise ValueError(f"the prompt has {places} places for {len(spans)} pictures or clips")
    remaining = iter(spans)
    return [part for token in ids for part in (next(remaining) if token in (IMAGE, VIDEO) else (token,))]
