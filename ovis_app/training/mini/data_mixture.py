"""What mini is asked in stages 2 and 3: pictures, clips and conversations about them, in fixed shares.

Knows the shares. Refuses to know tokens; seeds that begin with "train" and "evaluate" never meet.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import Image

from ovis_app.models.families.ovis2_5 import user_content
from ovis_app.models.prompt import Part
from ovis_app.models.prompt import Turn as PromptTurn
from ovis_app.training.mini.architecture import FRAMES, look
from ovis_app.training.mini.packing import Picture, Question, Sample
from ovis_app.training.mini.probe import worn
from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.questions import Speaker, Turn, any_turn
from ovis_app.training.mini.world.scenes import Clip, Scene, draw, random_clip, random_scene, random_word

SCENES, WORDS = 4, 2  # pictures of a step in each training process
THINKING, FINAL, SYSTEM, GREETED = 0.12, 0.05, 0.1, 0.06


def step(rng: random.Random, *, simple: bool = False) -> tuple[list[Picture], list[Sample]]:
    """The pictures and samples of one training step; `simple` leaves out all but single pictures."""
    scenes = [random_scene(rng) for _ in range(SCENES + simple)] + [random_word(rng) for _ in range(WORDS)]
    pictures = [picture(scene, rng) for scene in scenes]
    samples = [one_image(n, scene, rng) for n, scene in enumerate(scenes)]
    if simple:
        return pictures, samples
    for _ in range(2):
        samples.append(several_images(scenes, rng))
    for _ in range(rng.choice((1, 2))):
        moving = random_clip(rng)
        pictures.append(film(moving, rng))
        samples.append(one_clip(len(pictures) - 1, moving, rng))
    if rng.random() < 0.6:
        samples.append(no_image(rng) if rng.random() < 0.35 else later_image(scenes, rng))
    return pictures, samples


def picture(scene: Scene, rng: random.Random) -> Picture:
    return Picture("image", *look([worn(draw(scene), rng)]))


def film(clip: Clip, rng: random.Random) -> Picture:
    return Picture("video", *look(frames_of(clip, rng), clip=True))


def frames_of(clip: Clip, rng: random.Random) -> list[Image.Image]:
    """FRAMES pictures, evenly spread, from the first frame on or from the middle of each part."""
    if rng.random() < 0.5:
        picks = [round(i * (clip.frames - 1) / (FRAMES - 1)) for i in range(FRAMES)]
    else:
        picks = [min(int((i + 0.5) * clip.frames / FRAMES), clip.frames - 1) for i in range(FRAMES)]
    kind, wear = rng.random() < 0.3, rng.getrandbits(32)
    frames = [draw(clip.frame(i)) for i in picks]
    return [worn(frame, random.Random(wear)) for frame in frames] if kind else frames


def user_turn(text: str, kinds: Sequence[str]) -> tuple[Part, ...]:
    """A user's turn as the app writes it: each picture or clip, then the question."""
    return user_content(text, [(kind, 1) for kind in kinds])


def question(
    turns: Sequence[Turn], media: Sequence[str], rng: random.Random, *, before: Sequence[PromptTurn] = ()
) -> Question:
    """A conversation whose first user turn carries `media`, with thinking or the final-answer switch now and then."""
    last, thinking = turns[-1], False
    if rng.random() < FINAL and last.final:
        last = dialogues.final_form(last)
    answer = last.answer
    if rng.random() < THINKING and last.thought:
        thinking, answer = True, f"<think>\n{last.thought}\n</think>\n\n{answer}"
    prompt = list(before)
    for number, turn in enumerate([*turns[:-1], last]):
        prompt.append(PromptTurn("user", user_turn(turn.question, media if number == 0 else ())))
        prompt.append(PromptTurn("assistant", (turn.answer,)))
    return Question(tuple(prompt[:-1]), answer, thinking)


def opening(rng: random.Random) -> list[PromptTurn]:
    """A system prompt or a greeting, now and then."""
    before = []
    if rng.random() < SYSTEM:
        before.append(PromptTurn("system", (rng.choice(dialogues.SYSTEMS),)))
    if rng.random() < GREETED:
        turn = dialogues.chat(dialogues.speaker(rng))
        before += [PromptTurn("user", (turn.question,)), PromptTurn("assistant", (turn.answer,))]
    return before


def one_image(number: int, scene: Scene, rng: random.Random) -> Sample:
    before = opening(rng)
    asked: list[list[Turn]] = [[any_turn(scene, dialogues.speaker(rng))] for _ in range(6 if scene.shapes else 3)]
    asked += [dialogues.talk(scene, dialogues.speaker(rng)) for _ in range(rng.randint(1, 2) if scene.shapes else 1)]
    return Sample((number,), tuple(question(turns, ["image"], rng, before=before) for turns in asked))


def several_images(scenes: Sequence[Scene], rng: random.Random) -> Sample:
    drawn = [n for n, scene in enumerate(scenes) if scene.shapes]
    amount = min(rng.choices((2, 3, 4), (0.6, 0.25, 0.15))[0], len(drawn))
    chosen = rng.sample(drawn, amount)
    if rng.random() < 0.12:
        chosen[rng.randrange(amount)] = rng.choice([n for n in range(len(scenes)) if n not in chosen])
    here = [scenes[n] for n in chosen]
    asked: list[list[Turn]] = [[media_talk.about_images(here, dialogues.speaker(rng))] for _ in range(5)]
    asked.append(dialogues.talk_images(here, dialogues.speaker(rng)))
    before = opening(rng)
    return Sample(tuple(chosen), tuple(question(turns, ["image"] * amount, rng, before=before) for turns in asked))


def later_image(scenes: Sequence[Scene], rng: random.Random) -> Sample:
    """A second picture that comes with the second turn."""
    chosen = rng.sample([n for n, scene in enumerate(scenes) if scene.shapes], 2)
    here = [scenes[n] for n in chosen]
    first = any_turn(here[0], dialogues.speaker(rng))
    before = [
        *opening(rng),
        PromptTurn("user", user_turn(first.question, ["image"])),
        PromptTurn("assistant", (first.answer,)),
    ]  # fmt: skip
    asked = [media_talk.about_images(here, dialogues.speaker(rng)) for _ in range(4)]
    return Sample(tuple(chosen), tuple(question([turn], ["image"], rng, before=before) for turn in asked))


def one_clip(number: int, clip: Clip, rng: random.Random) -> Sample:
    before = opening(rng)
    asked: list[list[Turn]] = [[media_talk.about_clip(clip, dialogues.speaker(rng))] for _ in range(5)]
    asked.append(dialogues.talk_clip(clip, dialogues.speaker(rng)))
    return Sample((number,), tuple(question(turns, ["video"], rng, before=before) for turns in asked))


def no_image(rng: random.Random) -> Sample:
    before = opening(rng)
    asked: list[list[Turn]] = [[dialogues.chat(dialogues.speaker(rng))] for _ in range(6)]
    asked.append(dialogues.talk_nothing(dialogues.speaker(rng)))
    return Sample((), tuple(question(turns, [], rng, before=before) for turns in asked))


__all__ = ["Speaker", "film", "frames_of", "picture", "question", "step"]
