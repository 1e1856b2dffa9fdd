"""What was said: media, messages and conversations, as frozen values that pickle.

Knows nothing of models, pages or pixels: a `Media` is a path and a name, never a decoded picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
MediaKind = Literal["image", "video"]

# Why an answer ended: the model's end of turn, the token limit, the user's Stop, or an error.
Finish = Literal["end", "length", "stopped", "error"]


@dataclass(frozen=True)
class Excerpt:
    """The part of a clip that is watched, in seconds from its beginning."""

    start: float = 0.0
    end: float | None = None  # None is the clip's own
    dropped: tuple[float, ...] = ()  # frames that are left out, by when each begins


WHOLE_CLIP = Excerpt()


@dataclass(frozen=True)
class Detail:
    """How closely the model looks at one attached file. `None` is what its model recommends."""

    min_pixels: int | None = None  # per picture or frame, as the model sees it
    max_pixels: int | None = None
    max_partition: int | None = None  # tiles
    frames: int | None = None  # of a clip
    split: bool = False  # a very long picture is looked at in pieces
    piece: tuple[int, int] | None = None  # which one, from 1, of how many
    excerpt: Excerpt | None = None  # of a clip

    def over(self, other: Detail) -> Detail:
        """The other one, but for what is asked for here."""
        return replace(other, **{one.name: own for one in fields(self) if (own := getattr(self, one.name))})


@dataclass(frozen=True)
class Size:
    """Of a file as people see it, upright, in pixels; and how many frames a clip has."""

    width: int
    height: int
    frames: int = 1


@dataclass(frozen=True)
class Media:
    """One attached file. `name` is what the user called it, `path` is where the checked copy lies, `detail` is how
    it was sent, and stays when settings change later. `shown` is the copy that people see, None where the file itself
    may be shown. `pictures` is how many an image file holds: an animation's frames, or pages; an animation is a clip,
    unless it stands beside other pictures. `missing` is how many more frames an animation claims than it has.
    `place` is how many characters of its message's text stand before it; None is before all of it. `told` is its size
    where that stands in for the file, which isn't opened then: only what is weighed has it."""

    kind: MediaKind
    path: Path
    name: str = ""
    detail: Detail = Detail()
    shown: Path | None = None
    pictures: int = 1
    missing: int = 0
    place: int | None = None
    told: Size | None = None

    @property
    def label(self) -> str:
        """The name to show to people: never a server path."""
        return self.name or self.path.name

    @property
    def moves(self) -> bool:
        """Whether it is an image file that is watched as a clip."""
        return self.kind == "video" and self.pictures > 1

    @property
    def still(self) -> Media:
        """The same, an animation as one of its pictures."""
        return replace(self, kind="image") if self.moves else self


@dataclass(frozen=True)
class Seen:
    """At what size the model saw a picture of the question, or the frames of its clip; and what the file has. A piece
    of a picture that was split is a picture."""

    name: str
    width: int
    height: int
    own_width: int
    own_height: int
    pictures: int = 1  # that the file holds, of which one was looked at
    frames: int | None = None  # of a clip that were looked at
    missing: int = 0  # frames that the file claims and doesn't have

    @property
    def small(self) -> bool:
        """Whether fine print is lost: below half its size a letter of a screen's usual 16 pixels is lower than 8, which
        is the least that can be read."""
        return 4 * self.width * self.height < self.own_width * self.own_height

    @property
    def remark(self) -> str:
        """What people should hear of it; empty where it was seen well."""
        if self.missing:
            return f"“{self.name}” is incomplete: {self.missing:,} frames of it are missing or damaged"
        if self.frames is not None:
            return ""
        said = [f"1 of {self.pictures:,} pictures of “{self.name}” seen"] if self.pictures > 1 else []
        if self.small:
            said.append(f"“{self.name}” seen at {self.width} × {self.height} of {self.own_width} × {self.own_height}")
        return ", ".join(said)


@dataclass(frozen=True)
class Shortage:
    """Memory ran out, and the answer came all the same: with what follows at most, where that was lowered for it."""

    piece: int | None = None  # tokens of the conversation that were read at a time
    max_pixels: int | None = None  # of what is attached
    max_partition: int | None = None
    frames: int | None = None  # of each clip

    @property
    def remark(self) -> str:
        """What people should hear of it."""
        side = round(math.sqrt(self.max_pixels or 0))
        said = [f"read in pieces of {self.piece:,} tokens"] if self.piece else []
        said += [f"pictures seen at {side} × {side} pixels at most"] if self.max_pixels else []
        said += [f"pictures seen in at most {self.max_partition} tiles"] if self.max_partition else []
        said += [f"clips seen by at most {self.frames} frames"] if self.frames else []
        return f"memory ran out: {', '.join(said)}" if said else "memory ran out for a moment: nothing was left out"


@dataclass(frozen=True)
class Stats:
    """The figures of one answer. Seconds are wall-clock; `None` means not measured."""

    prompt_tokens: int = 0  # text and visual tokens together
    visual_tokens: int = 0
    answer_tokens: int = 0  # thinking included
    thinking_tokens: int = 0
    first_token_seconds: float | None = None
    thinking_seconds: float | None = None
    tokens_per_second: float | None = None
    frame_times: tuple[float, ...] = ()  # seconds into the one clip of the question of the frames that the model saw
    engine: str = ""  # "plain" where the engine can't serve the model
    dropped_turns: int = 0  # oldest questions that were left out because the context was full
    cached_tokens: int = 0  # of the prompt, whose keys and values were known from before
    begun_tokens: int = 0  # of the prompt: the beginning of the answer, where that was continued
    begun_thinking_tokens: int = 0  # of those
    min_pixels: int | None = None  # that the last picture or clip was read with
    max_pixels: int | None = None
    seen: tuple[Seen, ...] = ()  # what was attached to the question, in order
    shortage: Shortage | None = None  # of memory, where it ran out
    notes: tuple[str, ...] = ()  # what people should hear of pages that were drawn for the question

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people should hear of what was seen and of what memory ran out for, each once."""
        clips = [one for one in self.seen if one.frames is not None]
        said = [
            f"1 frame of “{one.name}” seen" if one.frames == 1 else f"{one.frames} frames of “{one.name}” seen"
            for one in clips
            if len(clips) > 1
        ]
        said += [*(one.remark for one in self.seen), "" if self.shortage is None else self.shortage.remark]
        return tuple(dict.fromkeys(remark for remark in said if remark))


@dataclass(frozen=True)
class Message:
    """One turn of one side. An assistant's `error` is a sentence for people, in place of or after the text."""

    role: Role
    text: str = ""
    media: tuple[Media, ...] = ()
    thinking: str = ""
    status: str = ""  # what is happening while nothing is said yet ("Loading the model"); empty once text flows
    error: str = ""
    finish: Finish | None = None
    stats: Stats | None = None


@dataclass(frozen=True)
class Conversation:
    """One path of turns from the first message to the last. Every change returns a new conversation."""

    messages: tuple[Message, ...] = field(default=())

    def add(self, message: Message) -> Conversation:
        return Conversation((*self.messages, message))

    def replace_last(self, **changes: Any) -> Conversation:
        """The same conversation with fields of its last message changed. Raises IndexError when empty."""
        return Conversation((*self.messages[:-1], replace(self.messages[-1], **changes)))

    def until(self, index: int) -> Conversation:
        """The first `index` messages."""
        return Conversation(self.messages[:index])

    @property
    def begun(self) -> Message | None:
        """The beginning of an answer that is to be continued, where the conversation ends with one."""
        last = self.messages[-1] if self.messages else None
        return last if last is not None and last.role == "assistant" else None

    def last_user(self) -> int | None:
        """Index of the last user message, or None."""
        return next((i for i in reversed(range(len(self.messages))) if self.messages[i].role == "user"), None)

    def without_oldest(self) -> Conversation | None:
        """Without the first question and what was said to it; None where that is the only one."""
        asked = [index for index, message in enumerate(self.messages) if message.role == "user"]
        return Conversation(self.messages[asked[1] :]) if len(asked) > 1 else None


def whole(text: str) -> str:
    """The text with a mark for each half of a character. JSON can bring them; no tokenizer, file or connection takes
    them."""
    return text.encode("utf-8", "replace").decode("utf-8")
