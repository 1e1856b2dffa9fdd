"""Conversations of several turns, and small talk without a picture, each with its true answer.

Knows how a conversation about the drawn world goes on. Refuses to know tokens and torch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ovis_app.training.mini.world.everyday import phrase
from ovis_app.training.mini.world.media_talk import about_clip, about_images, count_in, in_image
from ovis_app.training.mini.world.phrases import TONGUES
from ovis_app.training.mini.world.questions import (
    SAME,
    Speaker,
    Turn,
    about_it,
    any_turn,
    at,
    color,
    count,
    count_of,
    exists,
    text,
    where,
)
from ovis_app.training.mini.world.scenes import KINDS, Clip, Scene

SYSTEMS = (*TONGUES["en"].systems, *TONGUES["zh"].systems)
# What people ask before they have attached anything.
ABSENT = (
    "describe", "count", "at", "color", "exists", "where", "box", "text", "in_image", "more", "which", "happens", "way",
    "clip_color",
)  # fmt: skip


def talk(scene: Scene, say: Speaker) -> list[Turn]:
    """Two or three turns about one picture; the last one leans on what was said before."""
    begun, follow = lead_in(scene, say)
    if say.rng.random() < 0.3:
        other = any_turn(scene, say)
        if say.rng.random() < 0.5:
            return [begun, other, first(begun, say)]
        return [other, begun, follow] if say.rng.random() < 0.5 else [begun, other]
    luck = say.rng.random()
    if luck < 0.2:
        return [begun, first(begun, say)]
    if luck < 0.26:
        return [begun, sure(begun, say)]
    if luck < 0.32:
        return [begun, Turn("thanks", say.ask("thanks"), say.say("welcome"), say.say("welcome"))]
    return [begun, follow]


def first(begun: Turn, say: Speaker) -> Turn:
    answer = say.say("first", question=begun.question)
    return Turn("first", say.ask("first"), answer, answer)


def sure(before: Turn, say: Speaker) -> Turn:
    """The answer that was given, once more."""
    return Turn("sure", say.ask("sure"), say.say("sure", answer=before.answer), before.thought)


def lead_in(scene: Scene, say: Speaker) -> tuple[Turn, Turn]:
    """A first turn and one that follows it."""
    rng, seen = say.rng, say.seen(scene)
    if scene.word is not None:
        n = len(scene.word.text)
        answer = say.say("length" if n > 1 else "length_one", n=n)
        return text(scene, say), Turn("history", say.ask("length"), answer, seen, str(n))
    shape, way = rng.choice(scene.shapes), rng.random()
    if way < 0.4:
        follow = (
            _history(about_it(shape, scene, say)) if rng.random() < 0.7 else _history(at(scene, say, None, "next_at"))
        )
        return at(scene, say, shape.cell), follow
    if way < 0.55 and [s.kind for s in scene.shapes].count(shape.kind) == 1:
        other = rng.choice(scene.shapes)
        if other == shape:
            return color(scene, say, shape.kind), _history(about_it(shape, scene, say, SAME[2:]))
        return color(scene, say, shape.kind), _history(color(scene, say, other.kind, "next_kind"))
    if way < 0.7:
        answer = say.say("they" if len(scene.shapes) > 1 else "it", names=say.names(scene.shapes))
        return count(scene, say), Turn("history", say.ask("they"), answer, seen)
    if way < 0.8:
        return exists(scene, say), _history(exists(scene, say, "next_exists"))
    if way < 0.9:
        return where(scene, say), _history(where(scene, say, None, "next_name"))
    return count_of(scene, say), _history(any_turn(scene, say))


def talk_images(scenes: Sequence[Scene], say: Speaker) -> list[Turn]:
    """Two turns about several images."""
    one, other = say.rng.sample(range(len(scenes)), 2)
    if say.rng.random() < 0.25:
        begun = about_images(scenes, say)
        return [begun, first(begun, say)]
    if scenes[one].shapes and scenes[other].shapes and say.rng.random() < 0.4:
        return [count_in(scenes, say, one), _history(count_in(scenes, say, other, "next_image"))]
    return [in_image(scenes, say, one), _history(in_image(scenes, say, other, "next_image"))]


def talk_clip(clip: Clip, say: Speaker) -> list[Turn]:
    begun = about_clip(clip, say)
    return [begun, first(begun, say) if say.rng.random() < 0.5 else about_clip(clip, say)]


def talk_nothing(say: Speaker) -> list[Turn]:
    """Two turns without a picture."""
    begun = chat(say)
    return [begun, first(begun, say) if say.rng.random() < 0.4 else chat(say)]


def chat(say: Speaker) -> Turn:
    """Small talk, or a question about a picture that isn't there."""
    return absent(say) if say.rng.random() < 0.45 else small_talk(say)


def absent(say: Speaker) -> Turn:
    """A question about a picture, where none was attached."""
    kind = say.rng.choice(KINDS)
    name = say.named("red", kind)
    names = {
        "name": name, "a_name": say.a(name), "kind": say.asked_kind(kind), "color": say.color("red"), "n": "1",
        "cell": say.asked_cell(say.rng.randrange(9)), "ordinal": "first",
    }  # fmt: skip
    return Turn("no image", say.ask(say.rng.choice(ABSENT), **names), say.tongue.attach, say.tongue.attach)


def small_talk(say: Speaker) -> Turn:
    row = say.rng.choice(say.tongue.chat)
    asked: list[str] = list(row["asked"])  # type: ignore[call-overload]
    question, answer = say.rng.choice(asked), str(row["answer"])
    if say.rng.random() < 0.2 and "<" not in question:
        question = question.lower().rstrip("?.!？。！")
    return Turn("chat", question, answer, answer)


def repeated(say: Speaker) -> Turn:
    """Something to say after the user, whatever it is."""
    text = phrase(say.rng)
    return Turn("repeat", say.rng.choice(say.tongue.asks["repeat"]).format(text=text), text, text)


def final_form(turn: Turn) -> Turn:
    """The turn as the chain-of-thought switch asks it."""
    question = turn.question + "\nEnd your response with 'Final answer: '."
    return Turn(turn.kind, question, f"{turn.answer}\nFinal answer: {turn.final}", turn.thought, turn.final)


def speaker(rng: random.Random, chinese: float = 0.25) -> Speaker:
    return Speaker("zh" if rng.random() < chinese else "en", rng)


def _history(turn: Turn) -> Turn:
    return Turn("history", turn.question, turn.answer, turn.thought, turn.final)
