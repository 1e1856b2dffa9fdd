"""What a loaded model is asked: three questions about bundled drawings whose answers any sound model knows, and a few
more that have it say enough.

Knows questions and answers; refuses to know how they are given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ovis_app import bundled
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.doctor.finding import Finding, judged


@dataclass(frozen=True)
class Question:
    text: str
    picture: str
    answer: str = ""  # a pattern that any right answer holds; where empty the question has no right one
    name: str = ""

    @property
    def conversation(self) -> Conversation:
        file = bundled.folder("examples") / self.picture
        return Conversation((Message("user", self.text, (Media("image", file, self.picture),)),))


ASKED = (
    Question("How many shapes are there?", "shapes.png", r"\b(4|four)\b", "counting"),
    Question("What does the text say?", "word.png", r"\bhello\b", "reading"),
    Question("What color is the circle?", "shapes.png", r"\bred\b", "seeing a color"),
)
LONGER = tuple(Question("Describe the image.", name) for name in ("shapes.png", "counting.png", "right.png"))


def judged_answer(question: Question, said: str) -> Finding:
    """Whether an answer is right; pictures that are seen wrong, or a prompt that is read wrong, show here first."""
    right = re.search(question.answer, said[:2000], re.IGNORECASE) is not None
    return judged(
        question.name, f"{said[:80]!r}", f"an answer with {question.answer.strip(chr(92) + 'b')}", same=right,
        does="answers by these weights, whatever they say",
    )  # fmt: skip
