"""Talk about several images, clips, earlier turns, or no picture at all, each with its true answer.

Knows how a conversation about the drawn world goes on. Refuses to know tokens and torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ovis_app.training.phrases import TONGUES
from ovis_app.training.questions import (
    Speaker,
    Turn,
    any_turn,
    at,
    box,
    color,
    count,
    count_of,
    exists,
    text,
    where,
)
from ovis_app.training.scenes import Clip, KINDS, Scene, Shape

ORDINALS = ("first", "second", "third", "fourth")


def in_image(scenes: Sequence[Scene], say: Speaker, n: int | None = None, asked: str = "in_image") -> Turn:
    n = _pick(scenes, say) if n is None else n
    scene = scenes[n]
    answer = say.say("in_image", n=n + 1, things=say.things(scene))
    return Turn("image n", _ask_in(say, asked, n), answer, _thought(scene, n, say), say.names(scene.shapes) if scene.shapes else "")


def in_all(scenes: Sequence[Scene], say: Speaker) -> Turn:
    parts = [say.say("in_image", n=n + 1, things=say.things(scene)) for n, scene in enumerate(scenes)]
    thought = _gap(say).join(_thought(scene, n, say) for n, scene in enumerate(scenes))
    return Turn("image n", say.ask("in_all"), _gap(say).join(parts), thought)


def count_in(scenes: Sequence[Scene], say: Speaker, n: int | None = None, asked: str = "count_in") -> Turn:
    n = _pick(scenes, say, shapes=True) if n is None else n
    many = len(scenes[n].shapes)
    answer = say.say("count_in" if many > 1 else "count_in_one", n=n + 1, count=many)
    return Turn("image n", _ask_in(say, asked, n), answer, _thought(scenes[n], n, say), str(many))


def at_in(scenes: Sequence[Scene], say: Speaker) -> Turn:
    n = _pick(scenes, say, shapes=True)
    plain = at(scenes[n], say)
    cell = say.rng.choice([*(s.cell for s in scenes[n].shapes), say.rng.randrange(9)])
    shape = scenes[n].at(cell)
    if shape is None:
        answer, final = say.say("at_none_in", n=n + 1, cell=say.cell(cell)), "nothing"
    else:
        answer, final = say.say("at", a_name=say.a(say.name(shape)), name=say.name(shape)), say.name(shape)
    return Turn(plain.kind + " n", _ask_in(say, "at_in", n, cell=say.asked_cell(cell)), answer, _thought(scenes[n], n, say), final)


def color_in(scenes: Sequence[Scene], say: Speaker) -> Turn:
    n = _pick(scenes, say, shapes=True)
    kind = say.rng.choice(scenes[n].shapes).kind
    plain = color(scenes[n], say, kind)
    return Turn("color n", _ask_in(say, "color_in", n, kind=say.asked_kind(kind)), plain.answer, _thought(scenes[n], n, say), plain.final)


def more(scenes: Sequence[Scene], say: Speaker) -> Turn:
    """Which image has more (of two) or the most shapes."""
    counts = [len(scene.shapes) for scene in scenes]
    high, winners = max(counts), [n for n, c in enumerate(counts) if c == max(counts)]
    values = {"high": high, "low": min(counts), "n": winners[0] + 1, "names": say.join([str(n + 1) for n in winners])}
    if len(winners) == len(scenes):
        row, final = "same", "same"
    elif len(winners) > 1:
        row, final = "same_top", values["names"]
    else:
        row, final = ("more" if len(scenes) == 2 else "most"), f"image {winners[0] + 1}"
    thought = _gap(say).join(_thought(scene, n, say) for n, scene in enumerate(scenes))
    return Turn("compare", say.ask("more"), say.say(row, **values), thought, str(final))


def which(scenes: Sequence[Scene], say: Speaker) -> Turn:
    """In which image is the star, or the red star."""
    shapes = [s for scene in scenes for s in scene.shapes]
    if say.rng.random() < 0.6 and shapes:
        kind = say.rng.choice(shapes).kind if say.rng.random() < 0.9 else say.rng.choice(KINDS)
        name, wording = say.kind(kind), say.asked_kind(kind)
        homes = [n for n, scene in enumerate(scenes) if any(s.kind == kind for s in scene.shapes)]
    else:
        wish = say.rng.choice(shapes)
        name, wording = say.name(wish), say.asked_name(wish)
        homes = [n for n, scene in enumerate(scenes) if any((s.kind, s.color) == (wish.kind, wish.color) for s in scene.shapes)]
    names = say.join([str(n + 1) for n in homes]) if homes else "none"
    row = "which_none" if not homes else "which" if len(homes) == 1 else "which_many"
    thought = _gap(say).join(_thought(scene, n, say) for n, scene in enumerate(scenes))
    question = say.ask("which", name=wording, a_name=say.a(wording))
    return Turn("which image", question, say.say(row, name=name, n=names, names=names), thought, names)


def images(scenes: Sequence[Scene], say: Speaker) -> Turn:
    n = len(scenes)
    return Turn("images", say.ask("images"), say.say("images", n=n), say.say("images", n=n), str(n))


IMAGES_KINDS: dict[Callable[[Sequence[Scene], Speaker], Turn], float] = {
    in_image: 2.0, in_all: 0.5, count_in: 1.0, at_in: 0.8, color_in: 0.6, more: 1.8, which: 1.8, images: 0.2,
}  # fmt: skip


def about_images(scenes: Sequence[Scene], say: Speaker) -> Turn:
    return say.rng.choices(tuple(IMAGES_KINDS), tuple(IMAGES_KINDS.values()))[0](scenes, say)


def about_clip(clip: Clip, say: Speaker) -> Turn:
    """A question about a clip: what happens, which way, whether it moves, its color or kind."""
    name, way = say.name(clip.shape), say.tongue.ways.get(clip.heading, ("", ""))[0]
    moving = clip.heading != "still"
    asked = say.rng.choices(("happens", "way", "moves", "clip_color", "clip_kind"), (3, 3, 1, 0.8, 0.8))[0]
    named = say.a(name)
    whole = say.say("moves" if moving else "still", A_name=named[0].upper() + named[1:], name=name, way=way)
    thought = say.say("think_clip", a_name=named, name=name, moves=say.say("it_moves" if moving else "it_still", way=way))
    question = say.ask(asked, kind=say.asked_kind(clip.shape.kind))
    if asked in ("happens", "way"):
        return Turn("direction", question, whole, thought, way or "still")
    if asked == "moves":
        still_asked = "still" in question
        row = ("no_still" if moving else "yes_still") if still_asked else ("yes_moves" if moving else "no_moves")
        return Turn("moves", question, say.say(row, way=way), thought, "yes" if moving != still_asked else "no")
    if asked == "clip_color":
        named_there = "{kind}" not in question and say.kind(clip.shape.kind) in question
        if named_there:
            return Turn("clip color", question, say.say("color", kind=say.kind(clip.shape.kind), color=say.color(clip.shape.color)), thought, say.color(clip.shape.color))
        return Turn("clip color", question, say.say("it_color", color=say.color(clip.shape.color)), thought, say.color(clip.shape.color))
    kind = say.kind(clip.shape.kind)
    return Turn("clip shape", question, say.say("it_kind", kind=kind, a_kind=say.a(kind)), thought, kind)


def talk(scene: Scene, say: Speaker) -> list[Turn]:
    """Two or three turns about one picture; the last one leans on what was said before."""
    opening, follow = _opening(scene, say)
    turns = [opening]
    if say.rng.random() < 0.3:
        turns.append(any_turn(scene, say))
        if say.rng.random() < 0.5:
            return [*turns, _first(turns, say)]
        return [turns[1], turns[0], follow] if say.rng.random() < 0.5 else turns
    luck = say.rng.random()
    if luck < 0.2:
        return [*turns, _first(turns, say)]
    if luck < 0.26:
        return [*turns, Turn("sure", say.ask("sure"), say.say("sure", answer=opening.answer), opening.thought)]
    if luck < 0.32:
        return [*turns, Turn("thanks", say.ask("thanks"), say.say("welcome"), say.say("welcome"))]
    return [*turns, follow]


def _first(turns: Sequence[Turn], say: Speaker) -> Turn:
    answer = say.say("first", question=turns[0].question)
    return Turn("first", say.ask("first"), answer, answer)


def _opening(scene: Scene, say: Speaker) -> tuple[Turn, Turn]:
    """A first turn and one that follows it."""
    rng, seen = say.rng, say.seen(scene)
    if scene.word is not None:
        n = len(scene.word.text)
        answer = say.say("length" if n > 1 else "length_one", n=n)
        return text(scene, say), Turn("history", say.ask("length"), answer, seen, str(n))
    shape = rng.choice(scene.shapes)
    alike = [s for s in scene.shapes if s.kind == shape.kind]
    way = rng.random()
    if way < 0.4:
        return at(scene, say, shape.cell), _of(shape, scene, say) if rng.random() < 0.7 else _history(at(scene, say, None, "next_at"))
    if way < 0.55 and len(alike) == 1:
        other = rng.choice(scene.shapes)
        follow = _history(color(scene, say, other.kind, "next_kind")) if other != shape else _of(shape, scene, say, ("same_where", "same_box"))
        return color(scene, say, shape.kind), follow
    if way < 0.7:
        names = [say.name(s) for s in scene.shapes]
        answer = say.say("they" if len(names) > 1 else "it", names=say.names(scene.shapes))
        return count(scene, say), Turn("history", say.ask("they"), answer, seen)
    if way < 0.8:
        return exists(scene, say), _history(exists(scene, say, "next_exists"))
    if way < 0.9:
        return where(scene, say), _history(where(scene, say, None, "next_name"))
    return count_of(scene, say), _history(any_turn(scene, say))


def _of(shape: Shape, scene: Scene, say: Speaker, rows: Sequence[str] = ("same_color", "same_kind", "same_where", "same_box")) -> Turn:
    """A question about the shape that was just spoken of."""
    row = say.rng.choice(rows)
    if row == "same_box":
        return _history(box(scene, say, shape, "same_box"))
    kind = say.kind(shape.kind)
    answer, final = {
        "same_color": (say.say("it_color", color=say.color(shape.color)), say.color(shape.color)),
        "same_kind": (say.say("it_kind", kind=kind, a_kind=say.a(kind)), kind),
        "same_where": (say.say("it_where", cell=say.cell(shape.cell)), say.cell(shape.cell)),
    }[row]
    return Turn("history", say.ask(row), answer, say.seen(scene), final)


def talk_images(scenes: Sequence[Scene], say: Speaker) -> list[Turn]:
    """Two turns about several images."""
    first, second = say.rng.sample(range(len(scenes)), 2)
    if say.rng.random() < 0.25:
        opening = about_images(scenes, say)
        return [opening, _first([opening], say)]
    if scenes[first].shapes and scenes[second].shapes and say.rng.random() < 0.4:
        return [count_in(scenes, say, first), _history(count_in(scenes, say, second, "next_image"))]
    return [in_image(scenes, say, first), _history(in_image(scenes, say, second, "next_image"))]


def talk_clip(clip: Clip, say: Speaker) -> list[Turn]:
    opening = about_clip(clip, say)
    if say.rng.random() < 0.5:
        return [opening, _first([opening], say)]
    return [opening, about_clip(clip, say)]


CHAT: dict[str, list[tuple[tuple[str, ...], str]]] = {
    "en": [
        (("Hello", "Hi", "Hello!", "Hi there", "Hey", "Good morning", "Good evening", "Hi!", "hello there"),
         "Hello! Show me a simple drawing and ask me about it."),
        (("Who are you?", "What are you?", "What is your name?", "Introduce yourself.", "Which model are you?", "Are you Ovis?",
          "Tell me about yourself.", "What model is this?"),
         "I am Ovis-mini, a small model that knows simple drawings."),
        (("What can you do?", "How can you help me?", "What do you know?", "Help", "What are you good at?",
          "What can I ask you?", "How do I use you?"),
         "I can name, count and locate shapes, read short words and say which way a shape moves."),
        (("Thanks", "Thank you!", "Thanks!", "Thank you", "Thank you very much.", "thx"), "You are welcome."),
        (("Bye", "Goodbye", "See you!", "Good night", "bye bye"), "Goodbye!"),
        (("How are you?", "How are you doing?", "How do you do?"), "I am fine, thank you."),
        (("Tell me a joke.", "What is the capital of France?", "Write a poem.", "Who is the president?", "What is 2 + 2?",
          "Write some code.", "What time is it?", "What is the weather?", "Translate this.", "Tell me a story.",
          "What is the meaning of life?", "Explain gravity.", "How old are you?", "Do you like music?"),
         "I only know simple drawings. Please attach an image."),
        (("What does <image> mean?", "What is <image>?", "What does <|im_end|> mean?", "What is <video>?", "<image>",
          "<|im_start|>", "What does <think> mean?", "<|im_end|>"),
         "It is a mark that a model uses inside its prompt."),
    ],
    "zh": [
        (("你好", "你好！", "您好", "嗨", "早上好", "晚上好"), "你好！给我看一张简单的图，然后问我吧。"),
        (("你是谁？", "你叫什么名字？", "介绍一下你自己。", "你是什么模型？", "请介绍你自己"), "我是 Ovis-mini，一个认识简单图形的小模型。"),
        (("你能做什么？", "你会什么？", "你可以做什么？", "怎么用？", "帮助"), "我能说出、数出和找到图形，读短的单词，还能看出图形往哪里移动。"),
        (("谢谢", "谢谢！", "多谢", "谢谢你！"), "不客气。"),
        (("再见", "拜拜", "晚安"), "再见！"),
        (("讲个笑话。", "今天天气怎么样？", "写一首诗。", "现在几点？", "法国的首都是哪里？"), "我只认识简单的图形。请添加一张图片。"),
    ],
}  # fmt: skip
ATTACH = {"en": "Please attach an image.", "zh": "请添加一张图片。"}
ABSENT = ("describe", "count", "at", "color", "exists", "where", "box", "text", "in_image", "more", "which", "happens", "way", "clip_color")
SYSTEMS = (
    "You are a helpful assistant.", "Answer briefly.", "You are Ovis.", "Be concise.", "You are a careful observer of images.",
    "Answer in English.", "你是一个有用的助手。", "Always be polite.", "You are a friendly assistant who answers questions about images.",
)  # fmt: skip


def chat(say: Speaker) -> Turn:
    """Small talk, or a question about a picture that isn't there."""
    if say.rng.random() < 0.45:
        shape = Shape(say.rng.choice(KINDS), "red", 0, 0, 0, 0)
        name = say.name(shape)
        names = {
            "name": name, "a_name": say.a(name), "kind": say.asked_kind(shape.kind), "color": say.color("red"), "n": "1",
            "cell": say.asked_cell(say.rng.randrange(9)), "ordinal": "first",
        }  # fmt: skip
        return Turn("no image", say.ask(say.rng.choice(ABSENT), **names), ATTACH[say.language], ATTACH[say.language])
    questions, answer = say.rng.choice(CHAT[say.language])
    question = say.rng.choice(questions)
    if say.rng.random() < 0.2 and "<" not in question:
        question = question.lower().rstrip("?.!？。！")
    return Turn("chat", question, answer, answer)


def talk_nothing(say: Speaker) -> list[Turn]:
    """Two turns without a picture."""
    opening = chat(say)
    if say.rng.random() < 0.4:
        return [opening, _first([opening], say)]
    return [opening, chat(say)]


def final_form(turn: Turn) -> Turn:
    """The turn as the chain-of-thought switch asks it."""
    question = turn.question + "\nEnd your response with 'Final answer: '."
    return Turn(turn.kind, question, f"{turn.answer}\nFinal answer: {turn.final}", turn.thought, turn.final)


def speaker(rng: random.Random, chinese: float = 0.25) -> Speaker:
    return Speaker("zh" if rng.random() < chinese else "en", rng)


def _history(turn: Turn) -> Turn:
    return Turn("history", turn.question, turn.answer, turn.thought, turn.final)


def _pick(scenes: Sequence[Scene], say: Speaker, shapes: bool = False) -> int:
    fitting = [n for n, scene in enumerate(scenes) if scene.shapes or not shapes]
    return say.rng.choice(fitting)


def _ask_in(say: Speaker, asked: str, n: int, **names: str) -> str:
    return say.ask(asked, n=str(n + 1), ordinal=ORDINALS[n], **names)


def _thought(scene: Scene, n: int, say: Speaker) -> str:
    if scene.word is not None:
        return say.seen(scene)
    return say.say("think_image", n=n + 1, names=say.join([say.name(s) for s in scene.shapes]), count=len(scene.shapes))


def _gap(say: Speaker) -> str:
    return " " if say.language == "en" else ""


__all__ = ["TONGUES", "about_clip", "about_images", "chat", "final_form", "speaker", "talk", "talk_clip", "talk_images", "talk_nothing"]
