"""Questions about one scene, with the true answer, a short thought and a final word, in English or Chinese.

Knows scenes and wordings. Refuses to know tokens, torch, clips, several images or earlier turns (see dialogues.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ovis_app.training.mini.world.phrases import TONGUES, Tongue
from ovis_app.training.mini.world.scenes import CELLS, COLORS, KINDS, Scene, Shape

Thing = TypeVar("Thing")
SAME = ("same_color", "same_kind", "same_where", "same_box")


@dataclass(frozen=True)
class Turn:
    """One question and its answer. `final` is what follows 'Final answer: ' when the user asks for that."""

    kind: str
    question: str
    answer: str
    thought: str = ""
    final: str = ""


class Speaker:
    """Says things in one language; `rng` picks the wording of questions, answers have one form."""

    def __init__(self, language: str, rng: random.Random) -> None:
        self.language, self.rng = language, rng
        self.tongue: Tongue = TONGUES[language]

    @property
    def gap(self) -> str:
        """What stands between two sentences."""
        return " " if self.language == "en" else ""

    def ask(self, row: str, /, **names: str) -> str:
        question = self.rng.choice(self.tongue.asks[row]).format(**names)
        luck = self.rng.random()
        if "<ref>" in question:
            return question
        if luck < 0.12:
            question = question[0].lower() + question[1:]
        elif luck < 0.2:
            question = question.lower()
        return question.rstrip("?？.。!") if 0.1 < luck < 0.3 else question

    def say(self, row: str, /, **values: object) -> str:
        return self.tongue.answers[row].format(**values)

    def cell(self, cell: int) -> str:
        return self.tongue.cells[CELLS[cell]][0]

    def asked_cell(self, cell: int) -> str:
        names = self.tongue.cells[CELLS[cell]]
        return names[0] if self.rng.random() < 0.5 else self.rng.choice(names)

    def color(self, color: str) -> str:
        return self.tongue.colors[color][0]

    def kind(self, kind: str) -> str:
        return self.tongue.kinds[kind][0]

    def asked_kind(self, kind: str) -> str:
        names = self.tongue.kinds[kind]
        return names[0] if self.rng.random() < 0.7 else self.rng.choice(names)

    def name(self, shape: Shape) -> str:
        return self.named(shape.color, shape.kind)

    def named(self, color: str, kind: str) -> str:
        return f"{self.color(color)} {kind}" if self.language == "en" else self.color(color) + self.kind(kind)

    def asked_name(self, shape: Shape) -> str:
        if self.language == "en":
            return self.name(shape)
        color = self.color(shape.color)
        return color + self.rng.choice(("", "", "的")) + self.asked_kind(shape.kind)

    def a(self, name: str) -> str:
        if self.language != "en":
            return name
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"

    def join(self, parts: Sequence[str]) -> str:
        """a / a and b / a, b and c."""
        if len(parts) == 1:
            return parts[0]
        return self.say("comma").join(parts[:-1]) + self.say("and") + parts[-1]

    def things(self, scene: Scene) -> str:
        """Everything in the scene, in row-major order."""
        if scene.word is not None:
            return self.say("a_text", text=scene.word.text)
        parts = [
            self.say("thing", a_name=self.a(self.name(s)), name=self.name(s), cell=self.cell(s.cell))
            for s in scene.shapes
        ]
        return self.join(parts) if self.language == "en" else "，".join(parts)

    def names(self, shapes: Sequence[Shape]) -> str:
        return self.join([self.a(self.name(s)) for s in shapes])

    def count(self, row: str, n: int, /, **values: object) -> str:
        return self.say(row if n > 1 else f"{row}_one" if n else f"{row}_none", n=n, **values)

    def seen(self, scene: Scene) -> str:
        """The thought that goes over a scene row by row."""
        if scene.word is not None:
            return self.say("think_text", letters=" ".join(scene.word.text))
        parts = [
            self.say("seen", Cell=self.cell(s.cell).capitalize(), cell=self.cell(s.cell), name=self.name(s))
            for s in scene.shapes
        ]
        return self.say("think_scene", seen=self.gap.join(parts))

    def counted(self, scene: Scene, n: int) -> str:
        if scene.word is not None:
            return self.say("seen_nothing")
        return self.seen(scene) + self.gap + self.say("total", n=n)


def describe(scene: Scene, say: Speaker) -> Turn:
    final = f'"{scene.word.text}"' if scene.word else say.names(scene.shapes)
    return Turn("describe", say.ask("describe"), say.say("describe", things=say.things(scene)), say.seen(scene), final)


def count(scene: Scene, say: Speaker) -> Turn:
    n = len(scene.shapes)
    return Turn("count", say.ask("count"), say.count("count", n), say.counted(scene, n), str(n))


def count_of(scene: Scene, say: Speaker) -> Turn:
    """How many circles, or how many red shapes, with a name that is there two times out of three."""
    kind = _likely(say.rng, [s.kind for s in scene.shapes], KINDS)
    n = sum(s.kind == kind for s in scene.shapes)
    asked = say.ask("count_of", name=say.asked_kind(kind))
    return Turn("count", asked, say.count("count_of", n, name=say.kind(kind)), say.counted(scene, n), str(n))


def at(scene: Scene, say: Speaker, cell: int | None = None, asked: str = "at") -> Turn:
    if cell is None:
        cell = _likely(say.rng, [s.cell for s in scene.shapes], range(9))
    return Turn("at", say.ask(asked, cell=say.asked_cell(cell)), *_is_at(scene, say, cell))


def _is_at(scene: Scene, say: Speaker, cell: int) -> tuple[str, str, str]:
    shape = scene.at(cell)
    if shape is None:
        nothing = say.say("at_none", cell=say.cell(cell))
        return nothing, say.seen(scene), "nothing"
    return say.say("at", a_name=say.a(say.name(shape)), name=say.name(shape)), say.seen(scene), say.name(shape)


def color(scene: Scene, say: Speaker, kind: str | None = None, asked: str = "color") -> Turn:
    kind = kind or _likely(say.rng, [s.kind for s in scene.shapes], KINDS, 0.85)
    name, colors = say.kind(kind), [say.color(s.color) for s in scene.shapes if s.kind == kind]
    if not colors:
        answer = say.say("none", name=name)
    elif len(colors) == 1:
        answer = say.say("color", kind=name, color=colors[0])
    else:
        answer = say.say("color_many", kind=name, colors=say.join(colors))
    question = say.ask(asked, kind=say.asked_kind(kind))
    return Turn("color", question, answer, say.seen(scene), say.join(colors or ["none"]))


def shape_of(scene: Scene, say: Speaker) -> Turn:
    color = _likely(say.rng, [s.color for s in scene.shapes], tuple(COLORS), 0.85)
    kinds = [say.kind(s.kind) for s in scene.shapes if s.color == color]
    row = "shape_of" if len(kinds) == 1 else "shape_of_many" if kinds else "shape_of_none"
    parts = [say.a(kind) for kind in kinds] or ["none"]
    values = {"color": say.color(color), "kind": "".join(kinds[:1]), "a_kind": parts[0], "kinds": say.join(parts)}
    question = say.ask("shape_of", color=say.color(color))
    return Turn("shape", question, say.say(row, **values), say.seen(scene), say.join(parts))


def exists(scene: Scene, say: Speaker, asked: str = "exists") -> Turn:
    """Is there a red circle, or a circle: there half of the time, else near misses."""
    rng = say.rng
    if rng.random() < 0.3:
        kind = _likely(rng, [s.kind for s in scene.shapes], KINDS, 0.5)
        found = [s for s in scene.shapes if s.kind == kind]
        name, wording = say.kind(kind), say.asked_kind(kind)
    else:
        colors, kinds = [s.color for s in scene.shapes], [s.kind for s in scene.shapes]
        wish = rng.choice(scene.shapes) if scene.shapes and rng.random() < 0.5 else None
        color = wish.color if wish else _likely(rng, colors, tuple(COLORS), 0.5)
        kind = wish.kind if wish else _likely(rng, kinds, KINDS, 0.5)
        found = [s for s in scene.shapes if (s.color, s.kind) == (color, kind)]
        name = wording = say.named(color, kind)
    question = say.ask(asked, name=wording, a_name=say.a(wording))
    if len(found) > 1:
        return Turn("exists", question, say.say("yes_many", n=len(found), name=name), say.seen(scene), "yes")
    if not found:
        return Turn("exists", question, say.say("no", name=name), say.seen(scene), "no")
    full = say.name(found[0])
    answer = say.say("yes", a_name=say.a(full), name=full, cell=say.cell(found[0].cell))
    return Turn("exists", question, answer, say.seen(scene), "yes")


def where(scene: Scene, say: Speaker, shape: Shape | None = None, asked: str = "where") -> Turn:
    """Where is the red circle, or the circle."""
    if not scene.shapes or (shape is None and say.rng.random() < 0.1):
        name = say.named(say.rng.choice(tuple(COLORS)), say.rng.choice(KINDS))
        if all(say.name(s) != name for s in scene.shapes):
            return Turn("position", say.ask(asked, name=name), say.say("none", name=name), say.seen(scene), "nowhere")
    shape = shape or say.rng.choice(scene.shapes)
    alike = [s for s in scene.shapes if s.kind == shape.kind]
    if say.rng.random() < 0.3:
        name, wording = say.kind(shape.kind), say.asked_kind(shape.kind)
    else:
        name, wording, alike = say.name(shape), say.asked_name(shape), [shape]
    cells = say.join([say.cell(s.cell) for s in alike])
    answer = say.say("where" if len(alike) == 1 else "where_many", name=name, cell=cells, cells=cells)
    return Turn("position", say.ask(asked, name=wording), answer, say.seen(scene), cells)


def boxed(scene: Scene, shape: Shape) -> str:
    numbers = [f"{min(max(v, 0.0), 0.99):.2f}" for v in scene.relative_box(shape)]
    return f"({numbers[0]},{numbers[1]}),({numbers[2]},{numbers[3]})"


def box(scene: Scene, say: Speaker, shape: Shape | None = None, asked: str = "box") -> Turn:
    if not scene.shapes:
        return where(scene, say)
    shape = shape or say.rng.choice(scene.shapes)
    name = say.name(shape)
    answer = f"<ref>{name}</ref><box>{boxed(scene, shape)}</box>"
    return Turn("box", say.ask(asked, name=name), answer, say.seen(scene), boxed(scene, shape))


def text(scene: Scene, say: Speaker) -> Turn:
    if scene.word is None:
        return Turn("no text", say.ask("text"), say.say("text_none"), say.seen(scene), "none")
    return Turn("text", say.ask("text"), say.say("text", text=scene.word.text), say.seen(scene), scene.word.text)


SCENE_KINDS: dict[Callable[[Scene, Speaker], Turn], float] = {
    describe: 0.6, count: 0.6, count_of: 1.2, at: 0.8, color: 1.8, shape_of: 1.6, exists: 1.8, where: 1.8, box: 2.8,
    text: 0.1,
}  # fmt: skip
WORD_KINDS: dict[Callable[[Scene, Speaker], Turn], float] = {
    text: 4.0, describe: 1.0, count: 0.15, at: 0.1, color: 0.1, exists: 0.15, where: 0.1,
}  # fmt: skip


def about_it(shape: Shape, scene: Scene, say: Speaker, rows: Sequence[str] = SAME) -> Turn:
    """A question about the shape that is meant by "it"."""
    row = say.rng.choice(rows)
    if row == "same_box":
        return box(scene, say, shape, "same_box")
    kind = say.kind(shape.kind)
    answer, final = {
        "same_color": (say.say("it_color", color=say.color(shape.color)), say.color(shape.color)),
        "same_kind": (say.say("it_kind", kind=kind, a_kind=say.a(kind)), kind),
        "same_where": (say.say("it_where", cell=say.cell(shape.cell)), say.cell(shape.cell)),
    }[row]
    return Turn("history", say.ask(row), answer, say.seen(scene), final)


def any_turn(scene: Scene, say: Speaker) -> Turn:
    """A question that suits the scene."""
    if len(scene.shapes) == 1 and say.rng.random() < 0.06:
        return about_it(scene.shapes[0], scene, say, SAME[:3])
    rows = SCENE_KINDS if scene.word is None else WORD_KINDS
    return say.rng.choices(tuple(rows), tuple(rows.values()))[0](scene, say)


def _likely(rng: random.Random, there: Sequence[Thing], every: Sequence[Thing], chance: float = 0.66) -> Thing:
    """Something of the scene with this chance, else anything."""
    return rng.choice(there) if there and rng.random() < chance else rng.choice(every)
