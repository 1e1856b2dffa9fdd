"""What mini is asked in the stages after the first: pictures, clips and conversations about them, in fixed shares.

Knows the shares. Refuses to know tokens; seeds that begin with "train" and "evaluate" never meet.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from PIL import Image

from ovis_app.models.families.ovis2_5 import user_content
from ovis_app.models.prompt import Part
from ovis_app.models.prompt import Turn as PromptTurn
from ovis_app.training.mini.architecture import FRAMES, look
from ovis_app.training.mini.packing import Picture, Question, Sample
from ovis_app.training.mini.world import dialogues, media_talk
from ovis_app.training.mini.world.conversations import ATTACHED, Medium, converse
from ovis_app.training.mini.world.paint import painted, varied, varied_clip, worn
from ovis_app.training.mini.world.questions import Turn, any_turn
from ovis_app.training.mini.world.scenes import COLORS, KINDS, Clip, Scene, draw, random_clip, random_scene, random_word

SCENES, WORDS = 4, 4  # pictures of a step in each training process
LONG = 0.08  # chance of a conversation of twelve turns of which nearly all bring pictures
THINKING, FINAL, SYSTEM, GREETED = 0.12, 0.05, 0.1, 0.06
NAMES = {f"{color} {kind}": n for n, (kind, color) in enumerate((k, c) for k in KINDS for c in COLORS)}


def step(rng: random.Random, *, simple: bool = False) -> tuple[list[Picture], list[Sample]]:
    """The pictures and samples of one training step; `simple` leaves out all but single pictures."""
    scenes: list[Medium] = [varied(random_scene(rng), rng) for _ in range(SCENES + simple)]
    scenes += [random_word(rng) for _ in range(WORDS)]
    stills = [scene for scene in scenes if isinstance(scene, Scene)]
    samples = [one_image(n, scene, rng) for n, scene in enumerate(stills)]
    if simple:
        return [picture(scene, rng) for scene in stills], samples
    for _ in range(2):
        samples.append(several_images(stills, rng))
    media = [*scenes, *(varied_clip(random_clip(rng), rng) for _ in range(rng.choice((1, 2))))]
    samples += [one_clip(n, medium, rng) for n, medium in enumerate(media) if isinstance(medium, Clip)]
    if rng.random() < 0.4:
        samples.append(no_image(rng) if rng.random() < 0.5 else later_image(stills, rng))
    for turns in (rng.randint(2, 6), rng.randint(5, 12)):
        samples.append(conversation(media, rng, turns=turns))
    if rng.random() < LONG:
        media += [varied(random_scene(rng), rng) for _ in range(4)] + [random_clip(rng) for _ in range(4)]
        samples.append(conversation(media, rng, turns=12, chance=0.85))
    return [picture(m, rng) if isinstance(m, Scene) else film(m, rng) for m in media], samples


def picture(scene: Scene, rng: random.Random) -> Picture:
    shown = frozenset(NAMES[shape.name] for shape in scene.shapes)
    return Picture("image", *look([worn(painted(scene, rng), rng)]), shown)


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
    history = list(before)
    for number, turn in enumerate(turns[:-1]):
        history += exchange(turn, media if number == 0 else ())
    return last_question(history, turns[-1], media if len(turns) == 1 else (), rng)


def exchange(turn: Turn, media: Sequence[str] = ()) -> list[PromptTurn]:
    """A turn as a history has it."""
    return [PromptTurn("user", user_turn(turn.question, media)), PromptTurn("assistant", (turn.answer,))]


def last_question(history: Iterable[PromptTurn], turn: Turn, media: Sequence[str], rng: random.Random) -> Question:
    """The turn asked behind a history, with thinking or the final-answer switch now and then."""
    thinking = False
    if rng.random() < FINAL and turn.final:
        turn = dialogues.final_form(turn)
    answer = turn.answer
    if rng.random() < THINKING and turn.thought:
        thinking, answer = True, f"<think>\n{turn.thought}\n</think>\n\n{answer}"
    return Question((*history, PromptTurn("user", user_turn(turn.question, media))), answer, thinking)


def conversation(media: Sequence[Medium], rng: random.Random, *, turns: int, chance: float = ATTACHED) -> Sample:
    """A long conversation of which every answer is asked for, and at each turn something else too."""
    pictures: list[int] = []
    asked: list[Question] = []
    history = opening(rng)
    for said in converse(media, rng, turns=turns, chance=chance):
        pictures += said.attached
        kinds = ["video" if isinstance(media[n], Clip) else "image" for n in said.attached]
        asked += [last_question(history, turn, kinds, rng) for turn in (said.turn, *said.instead)]
        history += exchange(said.turn, kinds)
    return Sample(tuple(pictures), tuple(asked))


def opening(rng: random.Random) -> list[PromptTurn]:
    """A system prompt or a greeting, now and then."""
    before = []
    if rng.random() < SYSTEM:
        before.append(PromptTurn("system", (rng.choice(dialogues.SYSTEMS),)))
    if rng.random() < GREETED:
        turn = dialogues.chat(dialogues.speaker(rng))
        before += exchange(turn)
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
    before = [*opening(rng), *exchange(first, ["image"])]
    asked = [media_talk.about_images(here, dialogues.speaker(rng)) for _ in range(4)]
    return Sample(tuple(chosen), tuple(question([turn], ["image"], rng, before=before) for turn in asked))


def one_clip(number: int, clip: Clip, rng: random.Random) -> Sample:
    before = opening(rng)
    asked: list[list[Turn]] = [[media_talk.about_clip(clip, dialogues.speaker(rng))] for _ in range(5)]
    asked.append(dialogues.talk_clip(clip, dialogues.speaker(rng)))
    return Sample((number,), tuple(question(turns, ["video"], rng, before=before) for turns in asked))


def no_image(rng: random.Random) -> Sample:
    before = opening(rng)
    asked: list[list[Turn]] = [[dialogues.chat(dialogues.speaker(rng))] for _ in range(4)]
    asked += [[dialogues.repeated(dialogues.speaker(rng))] for _ in range(4)]
    asked.append(dialogues.talk_nothing(dialogues.speaker(rng)))
    return Sample((), tuple(question(turns, [], rng, before=before) for turns in asked))
