"""The checkpoint's own chat template against the prompts that the app writes: fifty conversations, both ways.

They hold no tags and no thoughts that somebody typed, which templates read and the app leaves as text, on purpose.
Knows chat formats and templates; refuses to know pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

from ovis_app.checkpoints.tokenizer import ChatTokenizer
from ovis_app.doctor import files
from ovis_app.doctor.finding import Finding, judged, not_judged
from ovis_app.doctor.known import KNOWN, USES_TEMPLATE, row_of
from ovis_app.doctor.templates import rendered
from ovis_app.doctor.tokens import CONTROL
from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.inputs import chat_format
from ovis_app.models.prompt import PLACEHOLDERS, Turn, encode_original, encode_turns, with_system

CONVERSATIONS = 50
TEXTS = (
    "What is this?", "这是什么？", "Two  spaces, a\ttab\nand a line.", "def f(x):\n    return x + 1", "Ça va? 🙂 №5",
    "1. One\n2. Two\n\n3. Three", "Is 3 < 4 & 5 > 2?",
)  # fmt: skip
ANSWERS = ("A red circle.", "它是红色的。", "- one\n- two\n\nThat is all.")
SYSTEMS = ("You are brief.", "", "Answer in German.\nBe kind.")
TAGS = {number: tag for tag, number in PLACEHOLDERS.items()}
OWN = "follows the original's own code, which writes prompts without this template"
WRITES = "writes its prompts as {family} was released with them"


@dataclass(frozen=True)
class Asked:
    """A conversation of which both ways make a prompt."""

    turns: tuple[Turn, ...]
    texts: tuple[str, ...]  # of the turns, without what stands for media
    media: tuple[tuple[str, ...], ...]  # kinds, of each turn
    thinking: bool

    def messages(self, *, parts: bool) -> list[dict[str, Any]]:
        """As a template takes them: media as parts, or as tags in a text."""
        return [
            {"role": turn.role, "content": _parts(kinds, text) if kinds and parts else _text(turn)}
            for turn, kinds, text in zip(self.turns, self.media, self.texts, strict=True)
        ]


def findings(folder: Path, config: OvisConfig, tokenizer: ChatTokenizer, raw: Mapping[str, Any]) -> Iterator[Finding]:
    found = files.templates(folder)
    if not found:
        yield without_template(config, raw)
    told = files.read(folder, "tokenizer_config.json")
    different = {template: file for file, template in reversed(found.items())}
    for number, (template, file) in enumerate(reversed(different.items()), start=1):
        finding = against(template, file, config, tokenizer, told)
        yield finding if number == 1 else replace(finding, name=f"{finding.name} {number}")


def without_template(config: OvisConfig, raw: Mapping[str, Any]) -> Finding:
    """Where there is none to render: the class of the original's code that config.json names, if it does."""
    named, known = raw.get("conversation_formatter_class"), KNOWN[config.llm_config.model_type].formatter
    if named is None:
        return not_judged("chat template", "the checkpoint has none, and names no formatter")
    return judged(
        "chat template", f"none; {named}", known, same=named == known, does=WRITES.format(family=config.family)
    )  # fmt: skip


def against(
    template: str, file: str, config: OvisConfig, tokenizer: ChatTokenizer, told: Mapping[str, Any]
) -> Finding:  # fmt: skip
    """A template's prompts against ours, handed over in the way of which it makes most of them."""
    asked = list(islice(conversations(config), CONVERSATIONS))
    tokens = {name: files.token(told.get(name)) for name in ("bos_token", "eos_token")}
    ours = [encode_turns(tokenizer.prompts, chat_format(config), one.turns, thinking=one.thinking) for one in asked]
    best: list[int] | None = None
    refused = 0
    for parts in (True, False):
        jobs = [{"messages": one.messages(parts=parts), "enable_thinking": one.thinking} for one in asked]
        texts = None if len(template) > files.TEMPLATE else rendered(template, jobs, tokens)
        if texts is None:
            return not_judged("chat template", f"{file} holds no template that can be rendered here")
        wrong = [
            number for number, (text, ids) in enumerate(zip(texts, ours, strict=True))
            if text is None or encode_original(tokenizer.prompts, text) != ids
        ]  # fmt: skip
        if best is None or len(wrong) < len(best):
            best, refused = wrong, sum(text is None for text in texts)
            first = ("", "")
            if wrong:
                both = texts[wrong[0]], _decoded(tokenizer, ours[wrong[0]])
                first = _apart(*both, wrong[0] + 1, tokenizer.prompts.controls)
    assert best is not None
    return _verdict(file, config, len(best), refused, len(asked), first)


def _verdict(
    file: str, config: OvisConfig, wrong: int, refused: int, asked: int, first: tuple[str, str]
) -> Finding:  # fmt: skip
    """`first` is where the first of them differs, and in which words."""
    if not wrong:
        return Finding("chat template", "ok", f"{file}: {asked} of {asked} conversations the same")
    count, (where, words) = f", {refused} of them refused" if refused else "", first
    found = f"{file}: {wrong} of {asked} conversations differ{count}; {where}"
    if config.family not in USES_TEMPLATE:  # what its language model came with
        return Finding("chat template", "not judged", found, does=OWN, quoted=words)
    does = WRITES.format(family=config.family)
    return replace(judged("chat template", found, "the same prompts", same=False, does=does), quoted=words)


def conversations(config: OvisConfig) -> Iterator[Asked]:
    """Of one to three questions, with and without a system prompt, with what the family can look at."""
    family, chat, row = FAMILIES[config.family], chat_format(config), row_of(config)
    kinds: list[tuple[str, ...]] = [(), ("image",)]
    if config.family in USES_TEMPLATE:  # the others have numbers or lines, which their code writes
        kinds += [("image", "image")] if row.several_images else []
        kinds += [("video",)] if row.video else []
    ways = list(product(range(len(TEXTS)), (True, False), kinds, SYSTEMS, (1, 2, 3)))
    for first, thinking, media, system, questions in ways[:: len(ways) // CONVERSATIONS]:  # some of each kind
        turns = [Turn("system", (system,))] if system else []
        texts, shown = [system] if system else [], [()] if system else list[tuple[str, ...]]()
        for place in range(questions):
            text, seen = TEXTS[(first + place) % len(TEXTS)], media if place == questions - 1 else ()
            turns.append(Turn("user", family.user_content(text, [(kind, 1) for kind in seen])))
            texts, shown = [*texts, text], [*shown, seen]
            if place < questions - 1:
                turns.append(Turn("assistant", (ANSWERS[(first + place) % len(ANSWERS)],)))
                texts, shown = [*texts, ""], [*shown, ()]
        whole = tuple(with_system(chat, turns))
        if len(whole) > len(turns):  # the format's own system prompt
            texts, shown = ["", *texts], [(), *shown]
        elif len(whole) < len(turns):  # folded into the first question
            texts, shown = texts[1:], shown[1:]
        yield Asked(whole, tuple(texts), tuple(shown), thinking)


def _parts(kinds: tuple[str, ...], text: str) -> list[dict[str, str]]:
    return [*({"type": kind} for kind in kinds), {"type": "text", "text": text}]


def _text(turn: Turn) -> str:
    return "".join(part if isinstance(part, str) else TAGS[part] for part in turn.content)


def _decoded(tokenizer: ChatTokenizer, ids: list[int]) -> str:
    text, start = "", 0
    for end in [number for number, token in enumerate(ids) if token in TAGS] + [len(ids)]:
        text += tokenizer.decoder.decode(ids[start:end], skip_special_tokens=False)
        text += TAGS[ids[end]] if end < len(ids) else ""
        start = end + 1
    return text


def _apart(theirs: str | None, ours: str, number: int, controls: Collection[str]) -> tuple[str, str]:
    """Where the texts of a conversation begin to differ and which control tokens stand there; and a few letters of
    each."""
    if theirs is None:
        return f"number {number} is refused", ""
    same = next((at for at, pair in enumerate(zip(theirs, ours, strict=False)) if len({*pair}) > 1), -1)
    apart = min(len(theirs), len(ours)) if same < 0 else same
    at = max(apart - 12, 0)
    shown = [text[at : at + 40] for text in (theirs, ours)]
    near = [" ".join(one for one in CONTROL.findall(text) if one in controls) or "no control token" for text in shown]
    where = f"number {number} from character {apart + 1} on, at {near[0]} in place of {near[1]}"
    return where, f"{shown[0]!r} in place of {shown[1]!r}"
