"""The ids of control tokens: whether the files of a checkpoint agree on them, and whether they are those that its kind
was released with.

Knows tokenizers and ids; refuses to know prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ovis_app.checkpoints.tokenizer import ChatTokenizer
from ovis_app.doctor.files import added_tokens
from ovis_app.doctor.finding import Finding, judged
from ovis_app.doctor.known import KNOWN
from ovis_app.models.config import OvisConfig
from ovis_app.models.inputs import chat_format
from ovis_app.models.prompt import ChatFormat

CONTROL = re.compile(r"<[^<>\s{}]{1,40}>")
DOES = "writes prompts with the ids that transformers makes of these files"


def findings(folder: Path, config: OvisConfig, tokenizer: ChatTokenizer) -> Iterator[Finding]:
    yield control_tokens(added_tokens(folder), config, tokenizer.prompts.controls)
    yield ends(config, tokenizer)


def control_tokens(files: Mapping[str, Mapping[str, int]], config: OvisConfig, used: Mapping[str, int]) -> Finding:
    """Those that prompts are written with: there, below the table's last row, the same in every file, and the released
    ids where the table is a released one's."""
    known, rows = KNOWN[config.llm_config.model_type], int(config.llm_config.vocab_size)
    released = dict(known.ids) if rows in known.vocabularies else {}
    wrong = [f"{token} is missing" for token in written(chat_format(config)) if token not in used]
    wrong += [
        f"{token} is {number} and the table has {rows:,} rows" for token, number in used.items() if number >= rows
    ]
    for file, tokens in files.items():
        others = [token for token, number in tokens.items() if used.get(token, number) != number]
        wrong += [f"{file} says {token} {tokens[token]}, {used[token]} is used" for token in others]
    others = [token for token, number in released.items() if used.get(token, number) != number]
    wrong += [f"{token} is {used[token]}, released {released[token]}" for token in others]
    shown = ", ".join(f"{token} {used[token]}" for token in written(chat_format(config)) if token in used)
    return judged(
        "special ids", "; ".join(wrong[:4]) or shown, f"one id a token in {' and '.join(files) or 'its tokenizer'}",
        same=not wrong, does=DOES,
    )  # fmt: skip


def ends(config: OvisConfig, tokenizer: ChatTokenizer) -> Finding:
    """What ends an answer, as any of the files has it."""
    allowed = KNOWN[config.llm_config.model_type].ends
    names = {number: token for token, number in tokenizer.prompts.controls.items()}
    found = [names.get(number, f"id {number}") for number in tokenizer.ending.eos]
    odd = [name for name in found if name not in allowed]
    shown = ", ".join(f"{names.get(number, 'no control token')} {number}" for number in tokenizer.ending.eos)
    return judged(
        "ends of answers", shown, f"some of {', '.join(sorted(allowed))}", same=not odd,
        does="ends an answer at each of them",
    )  # fmt: skip


def written(chat: ChatFormat) -> list[str]:
    """The control tokens that a chat format writes."""
    whole = "".join((chat.start, chat.system, chat.user, chat.assistant, chat.opening, chat.no_thinking))
    return list(dict.fromkeys(CONTROL.findall(whole)))
