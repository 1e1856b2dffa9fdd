"""Questions of the kinds that Ovis-mini knows, drawn by its own world: old samples that keep it from forgetting.

Knows scenes and who asks about them. Refuses to know tokens and models.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ovis_app.conversation import Media
from ovis_app.training.finetune.formats import IMAGE, VIDEO, tags
from ovis_app.training.finetune.formats import Turn as Said
from ovis_app.training.finetune.samples import Sample
from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.paint import painted, varied, varied_clip, worn
from ovis_app.training.mini.world.questions import Speaker, Turn, any_turn
from ovis_app.training.mini.world.scenes import Scene, draw, random_clip, random_scene, random_word

FILE = "Ovis-mini's own"  # in place of a file's name
FRAMES = 8  # of a clip
THINKING = 0.12  # of the last answers come with their thought
# How often each kind is asked: as in its training, one picture most of all.
SHARES = {"scene": 0.34, "word": 0.13, "talk": 0.12, "images": 0.2, "clip": 0.08, "chat": 0.13}
# Questions about the same picture: to see it takes longer than to answer.
TURNS = {"scene": 3, "word": 2, "images": 2, "clip": 2, "chat": 2}
HISTORY, REPEATED = 0.3, 0.4  # of several pictures' conversations lean on what was said; of small talk is said after


def drawn(number: int, folder: Path, *, seed: int) -> tuple[Sample, ...]:
    """So many samples, the same for the same seed; their pictures are written into the folder."""
    rng = random.Random(f"finetune {seed}")
    return tuple(_sample(f"drawn-{place}", folder, rng) for place in range(1, number + 1))


def _sample(id: str, folder: Path, rng: random.Random) -> Sample:
    """One of any kind. Small talk asks what `<video>` means, where a sample's words have their files: that is drawn
    anew."""
    while True:
        sample = _any_sample(id, folder, rng)
        if sum(sum(tags(turn.text)) for turn in sample.turns) == len(sample.pictures) + bool(sample.frames):
            return sample


def _any_sample(id: str, folder: Path, rng: random.Random) -> Sample:
    kind, say = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0], dialogues.speaker(rng)
    if kind == "chat":
        ways = rng.choices((dialogues.repeated, dialogues.chat), (REPEATED, 1 - REPEATED), k=TURNS[kind])
        return Sample(FILE, id, _said([way(say) for way in ways], "", rng))
    if kind == "clip":
        clip = varied_clip(random_clip(rng), rng)
        picks = [min(int((place + 0.5) * clip.frames / FRAMES), clip.frames - 1) for place in range(FRAMES)]
        frames = _written([draw(clip.frame(pick)) for pick in picks], id, folder)
        turns = [media_talk.about_clip(clip, say) for _ in range(TURNS[kind])]
        return Sample(FILE, id, _said(turns, f"{VIDEO}\n", rng), frames=frames)
    several = rng.choice((2, 2, 3)) if kind == "images" else 1
    scenes = [random_word(rng) if kind == "word" else varied(random_scene(rng), rng) for _ in range(several)]
    pictures = _written([worn(painted(scene, rng), rng) for scene in scenes], id, folder)
    return Sample(FILE, id, _said(_turns(kind, scenes, say), f"{IMAGE}\n" * several, rng), pictures=pictures)


def _turns(kind: str, scenes: Sequence[Scene], say: Speaker) -> list[Turn]:
    """What is asked about pictures."""
    if kind == "talk":
        return dialogues.talk(scenes[0], say)
    if kind == "images":
        if say.rng.random() < HISTORY:
            return dialogues.talk_images(scenes, say)
        return [media_talk.about_images(scenes, say) for _ in range(TURNS[kind])]
    return [any_turn(scenes[0], say) for _ in range(TURNS[kind])]


def _said(turns: Sequence[Turn], shown: str, rng: random.Random) -> tuple[Said, ...]:
    """Questions and answers; the first question shows the pictures."""
    said = list[Said]()
    for number, turn in enumerate(turns):
        thinks = number == len(turns) - 1 and turn.thought and rng.random() < THINKING
        answer = f"<think>\n{turn.thought}\n</think>\n\n{turn.answer}" if thinks else turn.answer
        said += [Said("human", ("" if number else shown) + turn.question), Said("gpt", answer)]
    return tuple(said)


def _written(pictures: Sequence[Image.Image], id: str, folder: Path) -> tuple[Media, ...]:
    media = list[Media]()
    for number, picture in enumerate(pictures, 1):
        path = folder / f"{id}-{number}.png"
        picture.save(path)
        media.append(Media("image", path, path.name))
    return tuple(media)
