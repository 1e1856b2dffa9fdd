"""Questions of the kinds that Ovis-mini knows, drawn by its own world: old samples that keep it from forgetting.

Knows scenes and who asks about them. Refuses to know tokens and models.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ovis_app.conversation import Media
from ovis_app.training.finetune.formats import IMAGE, VIDEO
from ovis_app.training.finetune.formats import Turn as Said
from ovis_app.training.finetune.samples import Sample
from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.questions import Turn, any_turn
from ovis_app.training.mini.world.scenes import draw, random_clip, random_scene, random_word

FILE = "Ovis-mini's own"  # in place of a file's name
FRAMES = 8  # of a clip
THINKING = 0.12  # of the answers come with their thought
# How often each kind is asked: as in its training, one picture most of all.
SHARES = {"scene": 0.34, "word": 0.13, "talk": 0.12, "images": 0.2, "clip": 0.08, "chat": 0.13}


def drawn(number: int, folder: Path, *, seed: int) -> tuple[Sample, ...]:
    """So many samples, the same for the same seed; their pictures are written into the folder."""
    rng = random.Random(f"finetune {seed}")
    return tuple(_sample(f"drawn-{place}", folder, rng) for place in range(1, number + 1))


def _sample(id: str, folder: Path, rng: random.Random) -> Sample:
    kind, say = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0], dialogues.speaker(rng)
    if kind == "chat":
        return Sample(FILE, id, _said([dialogues.chat(say)], "", rng))
    if kind == "clip":
        clip = random_clip(rng)
        picks = [min(int((place + 0.5) * clip.frames / FRAMES), clip.frames - 1) for place in range(FRAMES)]
        frames = _written([draw(clip.frame(pick)) for pick in picks], id, folder)
        return Sample(FILE, id, _said([media_talk.about_clip(clip, say)], f"{VIDEO}\n", rng), frames=frames)
    if kind == "images":
        scenes = [random_scene(rng, count=rng.randint(1, 4)) for _ in range(rng.choice((2, 2, 3)))]
        turns = [media_talk.about_images(scenes, say)]
    else:
        scenes = [random_word(rng) if kind == "word" else random_scene(rng)]
        talks = kind == "talk" and scenes[0].shapes
        turns = dialogues.talk(scenes[0], say) if talks else [any_turn(scenes[0], say)]
    pictures = _written([draw(scene) for scene in scenes], id, folder)
    return Sample(FILE, id, _said(turns, f"{IMAGE}\n" * len(pictures), rng), pictures=pictures)


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
