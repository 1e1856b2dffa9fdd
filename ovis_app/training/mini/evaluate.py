"""Measures a checkpoint on fresh scenes, greedy, one kind of question at a time.

Knows how an answer is judged. Its seeds begin with "evaluate" and training's with "train", so the scenes never meet.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer

from ovis_app.checkpoints.load import load
from ovis_app.models.inputs import assemble
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import QWEN3, PromptTokenizer, encode_turns
from ovis_app.training.mini.architecture import CLIP_PIXELS, IMAGE_PIXELS
from ovis_app.training.mini.data_mixture import frames_of, question
from ovis_app.training.mini.packing import END, Question
from ovis_app.training.mini.world import dialogues, media_talk, questions
from ovis_app.training.mini.world.paint import painted, varied, worn
from ovis_app.training.mini.world.questions import Speaker, Turn
from ovis_app.training.mini.world.scenes import Clip, Scene, draw, random_clip, random_scene, random_word

BATCH = 12
LONGEST = 200  # tokens of an answer


Ask = Callable[[random.Random, str], tuple[list[Turn], tuple[Visual, ...]]]  # draws a conversation in a language


@dataclass(frozen=True)
class Case:
    """A conversation with its pictures, and the turn whose answer is judged."""

    kind: str
    asked: Question
    visuals: tuple[Visual, ...]


def still(*scenes: Scene) -> tuple[Visual, ...]:
    return tuple(map(shown, map(draw, scenes)))


def shown(image: Image.Image) -> Visual:
    return Visual("image", (image,), IMAGE_PIXELS, IMAGE_PIXELS)


def moving(clip: Clip, rng: random.Random) -> tuple[Visual, ...]:
    frames: tuple[Image.Image, ...] = tuple(frames_of(clip, rng))
    return (Visual("video", frames, CLIP_PIXELS, CLIP_PIXELS),)


def _one(ask: Callable[[Scene, Speaker], Turn], scene: Callable[[random.Random], Scene] = random_scene) -> Ask:
    def case(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
        here = scene(rng)
        return [ask(here, Speaker(language, rng))], still(here)

    return case


def _painted(ask: Callable[[Scene, Speaker], Turn], scene: Callable[[random.Random], Scene] = random_scene) -> Ask:
    """As `_one`, of a drawing that another program made or spoilt."""

    def case(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
        here = varied(scene(rng), rng)
        return [ask(here, Speaker(language, rng))], (shown(worn(painted(here, rng), rng)),)

    return case


def _several(ask: Callable[[Sequence[Scene], Speaker], Turn]) -> Ask:
    def case(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
        here = [random_scene(rng) for _ in range(rng.choice((2, 2, 3, 4)))]
        return [ask(here, Speaker(language, rng))], still(*here)

    return case


def _clip(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
    clip = random_clip(rng)
    return [media_talk.about_clip(clip, Speaker(language, rng))], moving(clip, rng)


def _talk(wanted: Callable[[str], bool]) -> Ask:
    def case(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
        while True:
            here = random_scene(rng)
            turns = dialogues.talk(here, Speaker(language, rng))
            if wanted(turns[-1].kind):
                return turns, still(here)

    return case


def _talk_images(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
    here = [random_scene(rng) for _ in range(rng.choice((2, 2, 3)))]
    return dialogues.talk_images(here, Speaker(language, rng)), still(*here)


def _chat(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
    return [dialogues.chat(Speaker(language, rng))], ()


def _repeat(rng: random.Random, language: str) -> tuple[list[Turn], tuple[Visual, ...]]:
    return [dialogues.repeated(Speaker(language, rng))], ()


KINDS: dict[str, Ask] = {
    "color": _one(questions.color),
    "shape of a color": _one(questions.shape_of),
    "what is at": _one(questions.at),
    "position": _one(questions.where),
    "count": _one(questions.count),
    "count of a kind": _one(questions.count_of),
    "is there": _one(questions.exists),
    "description": _one(questions.describe),
    "box (IoU > 0.5)": _one(questions.box),
    "word": _one(questions.text, random_word),
    "what is in image n": _several(media_talk.in_image),
    "which image has more": _several(media_talk.more),
    "in which image": _several(media_talk.which),
    "clip": _clip,
    "history": _talk(lambda kind: kind == "history"),
    "first question": _talk(lambda kind: kind == "first"),
    "history, several images": _talk_images,
    "no image": _chat,
    "repeat": _repeat,
    "description, other paint": _painted(questions.describe),
    "shape of a color, other paint": _painted(questions.shape_of),
    "box, other paint": _painted(questions.box),
    "word, worn": _painted(questions.text, random_word),
}


def cases(kind: str, number: int, *, language: str = "en", thinking: bool = False) -> list[Case]:
    """The fresh questions of one kind, the same every time."""
    made = []
    for i in range(number):
        rng = random.Random(f"evaluate-{kind}-{language}-{i}")
        turns, visuals = KINDS[kind](rng, language)
        asked = question(turns, [visual.kind for visual in visuals], Steady())
        if thinking:
            asked = replace(asked, thinking=True)
        made.append(Case(kind, asked, visuals))
    return made


class Steady(random.Random):
    """Never lucky: no thinking and no final-answer switch."""

    def random(self) -> float:
        return 1.0


class Answerer:
    """A loaded checkpoint that answers many conversations greedily, a batch at a time."""

    def __init__(self, folder: Path) -> None:
        self.model: Ovis = load(folder)
        self.tokenizer = PromptTokenizer(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))

    @torch.inference_mode()
    def answers(self, asked: Sequence[Case]) -> list[str]:
        said: dict[int, str] = {}
        embedded = [self._embed(case) for case in asked]
        order = sorted(range(len(asked)), key=lambda i: len(embedded[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for i, text in zip(chosen, self._generate([embedded[i] for i in chosen]), strict=True):
                said[i] = text
        return [said[i] for i in range(len(asked))]

    def _embed(self, case: Case) -> Tensor:
        asked = case.asked
        ids = encode_turns(self.tokenizer, QWEN3, asked.turns, thinking=asked.thinking)
        prompt = assemble(self.model.config, self.tokenizer, ids, case.visuals)
        visual = None if prompt.pixel_values is None else self.model.encode(prompt.pixel_values, prompt.grids)
        return self.model.embed(prompt.ids, visual)[0]

    def _generate(self, rows: Sequence[Tensor]) -> list[str]:
        length = max(map(len, rows))
        inputs = torch.stack([torch.nn.functional.pad(row, (0, 0, length - len(row), 0)) for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        end, pad = self.tokenizer.control(END), self.tokenizer.control("<|endoftext|>")
        out = self.model.llm.generate(
            inputs_embeds=inputs, attention_mask=mask, do_sample=False, max_new_tokens=LONGEST,
            eos_token_id=[end, pad], pad_token_id=pad,
        )  # fmt: skip
        return [self._text(ids.tolist()) for ids in out]

    def _text(self, ids: list[int]) -> str:
        control = {self.tokenizer.control(END), self.tokenizer.control("<|endoftext|>")}
        kept = [token for token in ids if token not in control]
        return self.tokenizer.with_controls.decode(kept, skip_special_tokens=False)


def right(case: Case, said: str) -> bool:
    """Whether an answer is right: the whole answer, a box by its overlap, a thought by being closed."""
    if case.asked.thinking:
        if not said.startswith("<think>\n") or "</think>" not in said:
            return False
        said = said.partition("</think>")[2].lstrip("\n")
    if case.kind.startswith("box") or "<box>" in case.asked.answer:
        return _boxes_agree(said, case.asked.answer)
    return said.strip() == case.asked.answer


def _boxes_agree(said: str, want: str) -> bool:
    numbers = [list(map(float, re.findall(r"\d\.\d\d", text))) for text in (said, want)]
    if any(len(four) != 4 for four in numbers) or said.partition("<box>")[0] != want.partition("<box>")[0]:
        return said == want
    return overlap(numbers[0], numbers[1]) > 0.5


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / max(sum(areas) - shared, 1e-9)


@dataclass(frozen=True)
class Figure:
    kind: str
    right: int
    number: int
    wrong: tuple[tuple[str, str], ...]  # a few: what was said, what was wanted


def evaluate(answerer: Answerer, *, number: int = 100, say: Callable[[str], None] = print) -> list[Figure]:
    """The figures of every kind, in English, then a few kinds in Chinese and with thinking."""
    rows = [(kind, "en", False) for kind in KINDS]
    rows += [(kind, "zh", False) for kind in ("color", "what is at", "count", "description", "word", "clip")]
    rows += [(kind, "en", True) for kind in ("count", "which image has more", "what is at", "word")]
    figures = []
    for kind, language, thinking in rows:
        asked = cases(kind, number, language=language, thinking=thinking)
        said = answerer.answers(asked)
        wrong = [(s, c.asked.answer) for s, c in zip(said, asked, strict=True) if not right(c, s)]
        label = kind + (", Chinese" if language == "zh" else "") + (", thinking" if thinking else "")
        figures.append(Figure(label, number - len(wrong), number, tuple(wrong[:4])))
        examples = "".join(f"\n    {s!r} not {w!r}" for s, w in wrong[:4])
        say(f"{label}: {100 * (1 - len(wrong) / number):.1f} %{examples}")
    return figures


def table(figures: Sequence[Figure]) -> str:
    lines = ["| kind | right | of |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {f.kind} | {100 * f.right / f.number:.1f} % | {f.number} |" for f in figures)])
