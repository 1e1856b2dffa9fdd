"""One question and what comes of it, as values: a request goes in, events come out.

Knows how an answer may be asked for, and which settings make sense. Knows no torch, no Gradio, no files, and not who
answers (backend.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ovis_app.conversation import Conversation, Detail, Finish, Stats
from ovis_app.errors import RequestError
from ovis_app.request_id import NO_ID, RequestId
from ovis_app.stop import Haste


@dataclass(frozen=True)
class GenerationSettings:
    """How to answer. `None` means the model's recommended value. `check` refuses what is out of range."""

    max_new_tokens: int = 1024  # thinking included
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 0.95
    top_k: int = 20
    repetition_penalty: float = 1.0
    seed: int | None = None
    cot: bool = False
    boxes: bool = False  # ask for coordinates of what is named
    thinking: bool = False
    thinking_budget: int | None = None  # tokens; None is no budget
    system: str = ""
    min_pixels: int | None = None  # per image, as the model sees it
    max_pixels: int | None = None
    max_partition: int | None = None  # tiles of one picture at most, where the model cuts tiles
    frames: int | None = None  # per clip
    split: bool = False  # very long pictures are looked at in pieces
    stop: tuple[str, ...] = ()  # texts before which the answer ends; a thought goes on past them
    drop_old_turns: bool = False  # where the conversation is longer than the context; else it is refused

    @property
    def detail(self) -> Detail:
        """How closely to look at what is attached to the question."""
        return Detail(self.min_pixels, self.max_pixels, self.max_partition, self.frames, self.split)

    def check(self) -> GenerationSettings:
        """The same with every number of its right type. Raises RequestError naming the first value that isn't sane."""
        for name in ("cot", "boxes", "thinking", "split", "drop_old_turns"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(f"{name} must be true or false.")
        if not isinstance(self.system, str) or len(self.system) > MAX_TEXT:
            raise RequestError(f"The system prompt must be text of at most {MAX_TEXT:,} characters.")
        if not isinstance(self.stop, tuple) or len(self.stop) > MOST_STOPS or not all(map(_stop_text, self.stop)):
            raise RequestError(f"stop must be at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters.")
        settings = replace(self, **{spec.name: spec.checked(getattr(self, spec.name)) for spec in _RANGES})
        if settings.min_pixels and settings.max_pixels and settings.min_pixels > settings.max_pixels:
            raise RequestError(PIXELS_CROSSED)
        return settings


MOST_STOPS, LONGEST_STOP = 16, 200
MAX_TEXT = 200_000  # characters of one message; the context limit of most models lies below
PIXELS_CROSSED = "Min pixels is larger than max pixels: lower the one or raise the other."
DROPPED_FOR = 256  # new tokens that must fit once old turns are dropped to make room


def _stop_text(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST_STOP


@dataclass(frozen=True)
class _Range:
    name: str
    low: float
    high: float
    whole: bool = True
    optional: bool = False

    def checked(self, value: object) -> Any:
        """The value as an int or a float. Raises RequestError when it is no number in the range."""
        if value is None and self.optional:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high or (self.whole and value != int(value)):  # type: ignore[operator, call-overload]
            kind = "a whole number" if self.whole else "a number"
            raise RequestError(f"{self.name} must be {kind} from {self.low:.15g} to {self.high:.15g}.")
        return int(value) if self.whole else float(value)  # type: ignore[call-overload, arg-type]


_RANGES = (
    _Range("max_new_tokens", 1, 65536),
    _Range("temperature", 0, 5, whole=False),
    _Range("top_p", 0.01, 1, whole=False),
    _Range("top_k", 0, 100_000),
    _Range("repetition_penalty", 0.5, 2, whole=False),
    _Range("seed", 0, 2**32 - 1, optional=True),
    _Range("thinking_budget", 1, 65536, optional=True),
    _Range("min_pixels", 1, 2**26, optional=True),
    _Range("max_pixels", 1024, 2**26, optional=True),
    _Range("max_partition", 1, 64, optional=True),
    _Range("frames", 1, 256, optional=True),
)


@dataclass(frozen=True)
class Request:
    """One question: the conversation up to and with the user's last message, and how to answer it. A conversation that
    ends with an answer's beginning is continued from there: its events are what follows."""

    conversation: Conversation
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    client: str = ""  # who asks: the page's session, a key's digest; answers are given in turn between clients
    haste: Haste | None = field(default=None, compare=False)  # of whoever may want less of a thought
    model: str = ""  # which of several answers this one, as `backend.Several` names it; empty: whichever answers all
    id: RequestId = field(default=NO_ID, compare=False)  # by which its lines are found in the log


@dataclass(frozen=True)
class Waiting:
    """Nothing to read yet. `note` says what is going on ("Loading the model"), in a few words."""

    note: str


@dataclass(frozen=True)
class Thinking:
    """More of the thought, which has so many tokens with it; 0 where nobody counts."""

    text: str
    tokens: int = 0


@dataclass(frozen=True)
class Answer:
    """More of the answer."""

    text: str


@dataclass(frozen=True)
class Recast:
    """What was said so far turns out to have been the thought: it ended without having been opened."""


@dataclass(frozen=True)
class Done:
    """The last event of every answer that wasn't closed and didn't raise."""

    finish: Finish
    stats: Stats


Event = Waiting | Thinking | Answer | Recast | Done
