"""Long conversations of mixed turns: small talk, questions about what was attached so far, and what follows from them.

Knows what may be asked when: images are numbered through the whole conversation; what names no image is about the
newest picture or clip; images are compared while there are two to four of them. Refuses to know tokens and torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.questions import Speaker, Turn, any_turn
from ovis_app.training.mini.world.scenes import Clip, Scene

Medium = Scene | Clip

ATTACHED_FIRST, ATTACHED, CLIPS = 0.75, 0.35, 0.25  # chance of the first turn and of later ones; of these, a clip
AMOUNTS = {1: 0.72, 2: 0.18, 3: 0.06, 4: 0.04}  # images at a time
SWITCHED = 0.1  # chance that a turn changes the language
COMPARED = 4  # images, at most


@dataclass(frozen=True)
class Said:
    """One turn of a conversation, the numbers of what was attached with it, and what else might have been asked."""

    turn: Turn
    attached: tuple[int, ...] = ()
    instead: tuple[Turn, ...] = ()


@dataclass
class Dialogue:
    """What was said and attached so far. Each ask_* is a way to go on that suits it."""

    media: Sequence[Medium]
    rng: random.Random
    language: str
    said: list[Said] = field(default_factory=list)
    images: list[Scene] = field(default_factory=list)
    newest: list[Medium] = field(default_factory=list)
    clip: Clip | None = None
    waiting: Turn | None = None  # follows what was just said

    def speaker(self) -> Speaker:
        if self.rng.random() < SWITCHED:
            self.language = "zh" if self.language == "en" else "en"
        return Speaker(self.language, self.rng)

    def attach(self, numbers: Sequence[int]) -> None:
        self.newest = [self.media[number] for number in numbers]
        self.waiting = None
        for medium in self.newest:
            if isinstance(medium, Clip):
                self.clip = medium
            else:
                self.images.append(medium)

    def ask(self) -> Turn:
        """Something that suits what was said and attached."""
        say = self.speaker()
        if self.waiting is not None and self.rng.random() < 0.8:
            turn, self.waiting = self.waiting, None
            return turn
        self.waiting = None
        ways = self._ways()
        return self.rng.choices(tuple(ways), tuple(ways.values()))[0](say)

    def _ways(self) -> dict[Callable[[Speaker], Turn], float]:
        ways: dict[Callable[[Speaker], Turn], float] = {self._small_talk: 1.6}
        if self.said:
            ways |= {self._first: 0.4, self._sure: 0.15}
        if not self.newest:
            return {**ways, self._absent: 1.2}
        if isinstance(self.newest[-1], Clip):
            ways[self._of_clip] = 3.0
        elif len(self.newest) == 1:
            ways |= {self._of_image: 3.0, self._opened: 1.6}
        if self.clip is not None:
            ways[self._of_video] = 0.5
        if self.images:
            ways[self._of_numbered] = 0.8 if len(self.newest) == 1 else 3.0
        if 2 <= len(self.images) <= COMPARED:
            ways[self._of_several] = 2.5 if len(self.newest) == 1 else 4.0
        return ways

    def _small_talk(self, say: Speaker) -> Turn:
        return dialogues.repeated(say) if say.rng.random() < 0.12 else dialogues.small_talk(say)

    def _absent(self, say: Speaker) -> Turn:
        return dialogues.absent(say)

    def _first(self, say: Speaker) -> Turn:
        return dialogues.first(self.said[0].turn, say)

    def _sure(self, say: Speaker) -> Turn:
        before = self.said[-1].turn
        if before.kind in ("sure", "chat", "repeat", "no image", "box"):
            return self._small_talk(say)
        return dialogues.sure(before, Speaker("en" if before.answer.isascii() else "zh", say.rng))

    def _of_image(self, say: Speaker) -> Turn:
        return any_turn(self.images[-1], say)

    def _opened(self, say: Speaker) -> Turn:
        opening, self.waiting = dialogues.lead_in(self.images[-1], say)
        return opening

    def _of_clip(self, say: Speaker) -> Turn:
        assert self.clip is not None
        return media_talk.about_clip(self.clip, say)

    def _of_video(self, say: Speaker) -> Turn:
        """Names the video, so that it may be older than an image."""
        assert self.clip is not None
        return media_talk.about_clip(self.clip, say, by_name=True)

    def _of_numbered(self, say: Speaker) -> Turn:
        kinds = (media_talk.in_image, media_talk.count_in, media_talk.at_in, media_talk.color_in)
        kind = say.rng.choices(kinds, (1.0, 0.6, 0.6, 0.8))[0]
        if kind is not media_talk.in_image and not any(scene.shapes for scene in self.images):
            kind = media_talk.in_image
        return kind(self.images, say)

    def _of_several(self, say: Speaker) -> Turn:
        drawn = any(scene.shapes for scene in self.images)
        return media_talk.about_images(self.images, say) if drawn else media_talk.in_all(self.images, say)


def converse(
    media: Sequence[Medium], rng: random.Random, *, turns: int, chance: float = ATTACHED, chinese: float = 0.25
) -> list[Said]:
    """A conversation of so many turns about some of `media`, each attached once at most, with this chance a turn."""
    talk = Dialogue(media, rng, "zh" if rng.random() < chinese else "en")
    left = rng.sample(range(len(media)), len(media))
    for number in range(turns):
        attached = _chosen(media, left, rng) if rng.random() < (chance if number else ATTACHED_FIRST) else []
        if attached:
            talk.attach(attached)
        before = talk.waiting
        turn, follows = talk.ask(), talk.waiting
        talk.waiting = before
        instead, talk.waiting = talk.ask(), follows
        talk.said.append(Said(turn, tuple(attached), (instead,)))
    return talk.said


def _chosen(media: Sequence[Medium], left: list[int], rng: random.Random) -> list[int]:
    """Takes a clip, or one to four images, from what is left."""
    clips = [number for number in left if isinstance(media[number], Clip)]
    images = [number for number in left if not isinstance(media[number], Clip)]
    if clips and (rng.random() < CLIPS or not images):
        taken = clips[:1]
    else:
        taken = images[: rng.choices(tuple(AMOUNTS), tuple(AMOUNTS.values()))[0]]
    for number in taken:
        left.remove(number)
    return taken
