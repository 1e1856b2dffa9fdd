"""Questions about several images, or about a clip, with their true answers.

Knows how images are numbered and clips told. Refuses to know tokens, earlier turns and torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ovis_app.training.mini.world.questions import Speaker, Turn, color
from ovis_app.training.mini.world.scenes import KINDS, Clip, Scene

ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip


def in_image(scenes: Sequence[Scene], say: Speaker, n: int | None = None, asked: str = "in_image") -> Turn:
    n = _pick(scenes, say) if n is None else n
    scene = scenes[n]
    answer = say.say("in_image", n=n + 1, things=say.things(scene))
    final = say.names(scene.shapes) if scene.shapes else ""
    return Turn("image n", _ask_in(say, asked, n), answer, _thought(scene, n, say), final)


def in_all(scenes: Sequence[Scene], say: Speaker) -> Turn:
    parts = [say.say("in_image", n=n + 1, things=say.things(scene)) for n, scene in enumerate(scenes)]
    return Turn("image n", say.ask("in_all"), say.gap.join(parts), _thoughts(scenes, say))


def count_in(scenes: Sequence[Scene], say: Speaker, n: int | None = None, asked: str = "count_in") -> Turn:
    n = _pick(scenes, say, shapes=True) if n is None else n
    many = len(scenes[n].shapes)
    answer = say.say("count_in" if many > 1 else "count_in_one", n=n + 1, count=many)
    return Turn("image n", _ask_in(say, asked, n), answer, _thought(scenes[n], n, say), str(many))


def at_in(scenes: Sequence[Scene], say: Speaker) -> Turn:
    n = _pick(scenes, say, shapes=True)
    cell = say.rng.choice([*(s.cell for s in scenes[n].shapes), say.rng.randrange(9)])
    shape = scenes[n].at(cell)
    if shape is None:
        answer, final = say.say("at_none_in", n=n + 1, cell=say.cell(cell)), "nothing"
    else:
        answer, final = say.say("at", a_name=say.a(say.name(shape)), name=say.name(shape)), say.name(shape)
    question = _ask_in(say, "at_in", n, cell=say.asked_cell(cell))
    return Turn("image n", question, answer, _thought(scenes[n], n, say), final)


def color_in(scenes: Sequence[Scene], say: Speaker) -> Turn:
    n = _pick(scenes, say, shapes=True)
    kind = say.rng.choice(scenes[n].shapes).kind
    plain = color(scenes[n], say, kind)
    question = _ask_in(say, "color_in", n, kind=say.asked_kind(kind))
    return Turn("image n", question, plain.answer, _thought(scenes[n], n, say), plain.final)


def more(scenes: Sequence[Scene], say: Speaker) -> Turn:
    """Which image has more (of two) or the most shapes."""
    counts = [len(scene.shapes) for scene in scenes]
    winners = [str(n + 1) for n, c in enumerate(counts) if c == max(counts)]
    if len(winners) == len(scenes):
        row, final = "same", "same"
    elif len(winners) > 1:
        row, final = "same_top", say.join(winners)
    else:
        row, final = ("more" if len(scenes) == 2 else "most"), f"image {winners[0]}"
    answer = say.say(row, high=max(counts), low=min(counts), n=winners[0], names=say.join(winners))
    return Turn("compare", say.ask("more"), answer, _thoughts(scenes, say), final)


def which(scenes: Sequence[Scene], say: Speaker) -> Turn:
    """In which image is the star, or the red star: mostly one that only one image has."""
    kind_only = say.rng.random() < 0.6
    names: dict[str, list[str]] = {}  # what can be asked for, and the numbers of the images that have it
    for n, scene in enumerate(scenes, 1):
        for asked in dict.fromkeys(s.kind if kind_only else s.name for s in scene.shapes):
            names.setdefault(asked, []).append(str(n))
    alone = [asked for asked, homes in names.items() if len(homes) == 1]
    wish = say.rng.choice(alone if alone and say.rng.random() < 0.7 else list(names))
    if kind_only and say.rng.random() < 0.06:
        wish = say.rng.choice(KINDS)
    homes = names.get(wish, [])
    shape = next((s for scene in scenes for s in scene.shapes if wish in (s.kind, s.name)), None)
    name = say.name(shape) if shape and not kind_only else say.kind(wish)
    wording = say.asked_name(shape) if shape and not kind_only else say.asked_kind(wish)
    numbers = say.join(homes) if homes else "none"
    row = "which_none" if not homes else "which" if len(homes) == 1 else "which_many"
    question = say.ask("which", name=wording, a_name=say.a(wording))
    answer = say.say(row, name=name, n=numbers, names=numbers)
    return Turn("which image", question, answer, _thoughts(scenes, say), numbers)


def images(scenes: Sequence[Scene], say: Speaker) -> Turn:
    n = len(scenes)
    return Turn("images", say.ask("images"), say.say("images", n=n), say.say("images", n=n), str(n))


IMAGES_KINDS: dict[Callable[[Sequence[Scene], Speaker], Turn], float] = {
    in_image: 0.8, in_all: 0.3, count_in: 0.7, at_in: 0.6, color_in: 0.8, more: 3.0, which: 4.0, images: 0.1,
}  # fmt: skip


def about_images(scenes: Sequence[Scene], say: Speaker) -> Turn:
    return say.rng.choices(tuple(IMAGES_KINDS), tuple(IMAGES_KINDS.values()))[0](scenes, say)


CLIP_KINDS = {"happens": 3.0, "way": 3.0, "moves": 1.0, "clip_color": 0.8, "clip_kind": 0.8, "count": 0.3}


def about_clip(clip: Clip, say: Speaker, *, by_name: bool = False) -> Turn:
    """A question about a clip: what happens, which way, whether it moves, its color or kind. `by_name`: it says that it
    means the video, since other pictures came later."""
    chances = {row: chance for row, chance in CLIP_KINDS.items() if row != "count" or not by_name}
    asked = say.rng.choices(tuple(chances), tuple(chances.values()))[0]
    shape, moving = clip.shape, clip.heading != "still"
    name, kind, color = say.name(shape), say.kind(shape.kind), say.color(shape.color)
    way = say.tongue.ways[clip.heading][0] if moving else ""
    told = say.say("it_moves" if moving else "it_still", way=way)
    thought = say.say("think_clip", a_name=say.a(name), name=name, moves=told)
    question = say.ask(f"video_{asked}" if by_name else asked, kind=say.asked_kind(shape.kind))
    if asked in ("happens", "way"):
        named = say.a(name)[0].upper() + say.a(name)[1:]
        answer = say.say("moves" if moving else "still", A_name=named, name=name, way=way)
        return Turn("direction", question, answer, thought, way or "still")
    if asked == "moves":
        stands = "still" in question
        row = ("no_still" if moving else "yes_still") if stands else ("yes_moves" if moving else "no_moves")
        return Turn("moves", question, say.say(row, way=way), thought, "yes" if moving != stands else "no")
    if asked == "clip_color":
        says_kind = kind in question.lower()
        answer = say.say("color", kind=kind, color=color) if says_kind else say.say("it_color", color=color)
        return Turn("clip color", question, answer, thought, color)
    if asked == "count":
        return Turn("clip count", question, say.count("count", 1), thought, "1")
    return Turn("clip shape", question, say.say("it_kind", kind=kind, a_kind=say.a(kind)), thought, kind)


def _pick(scenes: Sequence[Scene], say: Speaker, shapes: bool = False) -> int:
    return say.rng.choice([n for n, scene in enumerate(scenes) if scene.shapes or not shapes])


def _ask_in(say: Speaker, asked: str, n: int, **names: str) -> str:
    return say.ask(asked, n=str(n + 1), ordinal=ORDINALS[n], **names)


def _thought(scene: Scene, n: int, say: Speaker) -> str:
    if scene.word is not None:
        return say.seen(scene)
    names = say.join([say.name(s) for s in scene.shapes])
    return say.say("think_image", n=n + 1, names=names, count=len(scene.shapes))


def _thoughts(scenes: Sequence[Scene], say: Speaker) -> str:
    return say.gap.join(_thought(scene, n, say) for n, scene in enumerate(scenes))
