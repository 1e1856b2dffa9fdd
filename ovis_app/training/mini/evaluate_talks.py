"""Holds long mixed conversations with a checkpoint, its own answers as their history, and counts what it got right.

Knows how a conversation goes on. Refuses to know tokens; its seeds begin with "evaluate", as evaluate.py's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import Turn as PromptTurn
from ovis_app.training.mini.data_mixture import exchange, last_question, opening
from ovis_app.training.mini.evaluate import Answerer, Case, Figure, Steady, moving, right, still
from ovis_app.training.mini.world.conversations import Medium, Said, converse
from ovis_app.training.mini.world.scenes import Clip, Scene, random_clip, random_scene, random_word

TURNS = 12
THINKING = 0.2  # chance that a turn is asked with thinking on
SMALL_TALK = ("chat", "repeat", "no image")


@dataclass
class Talk:
    """A conversation under way."""

    said: Sequence[Said]
    media: Sequence[Medium]
    rng: random.Random
    history: list[PromptTurn]
    visuals: list[Visual] = field(default_factory=list)

    def case(self, number: int) -> Case:
        """Turn `number` as a question."""
        said = self.said[number]
        new = [self._seen(self.media[n]) for n in said.attached]
        self.visuals += new
        asked = last_question(self.history, said.turn, [visual.kind for visual in new], Steady())
        thinking = bool(said.turn.thought) and self.rng.random() < THINKING
        return Case(said.turn.kind, replace(asked, thinking=thinking), tuple(self.visuals))

    def hear(self, number: int, answer: str) -> None:
        said = self.said[number]
        kinds = [visual.kind for visual in self.visuals[len(self.visuals) - len(said.attached) :]]
        self.history += exchange(replace(said.turn, answer=answer), kinds)

    def _seen(self, medium: Medium) -> Visual:
        (visual,) = moving(medium, self.rng) if isinstance(medium, Clip) else still(medium)
        return visual


def talk(number: int) -> Talk:
    """The same conversation every time."""
    rng = random.Random(f"evaluate-conversation-{number}")
    scenes: list[Scene] = [*(random_scene(rng) for _ in range(5)), random_word(rng)]
    media: list[Medium] = [*scenes, random_clip(rng), random_clip(rng)]
    return Talk(converse(media, rng, turns=TURNS), media, rng, opening(rng))


def evaluate_talks(answerer: Answerer, *, number: int = 40, say: Callable[[str], None] = print) -> list[Figure]:
    """Of `number` conversations: all answers, those of the last three turns, small talk behind the third turn, and
    conversations without a wrong answer."""
    talks = [talk(n) for n in range(number)]
    judged: list[tuple[int, int, Case, str]] = []  # conversation, turn, what was asked, what was said
    for turn in range(TURNS):
        cases = [talk.case(turn) for talk in talks]
        for n, (case, answer) in enumerate(zip(cases, answerer.answers(cases), strict=True)):
            judged.append((n, turn, case, answer))
            talks[n].hear(turn, answer)
    late = [row for row in judged if row[1] >= TURNS - 3]
    small = [row for row in judged if row[1] >= 3 and row[2].kind in SMALL_TALK]
    figures = [
        _figure(f"conversation of {TURNS} turns", judged, say),
        _figure("conversation, last three turns", late, say),
        _figure("conversation, small talk", small, say),
    ]
    broken = {n for n, _, case, answer in judged if not right(case, answer)}
    return [*figures, Figure("whole conversations", number - len(broken), number, ())]


def _figure(kind: str, rows: Sequence[tuple[int, int, Case, str]], say: Callable[[str], None]) -> Figure:
    wrong = [(turn, case, said) for _, turn, case, said in rows if not right(case, said)]
    examples = "".join(f"\n    turn {turn + 1}: {said!r} not {case.asked.answer!r}" for turn, case, said in wrong[:8])
    say(f"{kind}: {len(rows) - len(wrong)} of {len(rows)}{examples}")
    return Figure(kind, len(rows) - len(wrong), len(rows), tuple((s, c.asked.answer) for _, c, s in wrong[:4]))
