"""What was said: media, messages and conversations, as frozen values that pickle and travel as JSON.

Knows nothing of models, pages or pixels: a `Media` is a path and a name, never a decoded picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

Role = Literal["system", "user", "assistant"]
MediaKind = Literal["image", "video"]

# Why an answer ended: the model's end of turn, the token limit, the user's Stop, or an error.
Finish = Literal["end", "length", "stopped", "error"]

MOST_NUMBER = 2**53  # what every reader of JSON takes for the same number


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
class Media:
    """One attached file. `name` is what the user called it, `path` is where the checked copy lies, `detail` is how
    it was sent, and stays when settings change later. `shown` is the copy that people see, None where the file itself
    may be shown. `pictures` is how many an image file holds: an animation's frames, or pages; an animation is a clip,
    unless it stands beside other pictures. `missing` is how many more frames an animation claims than it has.
    `place` is how many characters of its message's text stand before it; None is before all of it."""

    kind: MediaKind
    path: Path
    name: str = ""
    detail: Detail = Detail()
    shown: Path | None = None
    pictures: int = 1
    missing: int = 0
    place: int | None = None

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
    def remark(self) -> str:
        """What people should hear of it; empty where it was seen well. Below half its size a letter of a screen's usual
        16 pixels is lower than 8, which is the least that can be read."""
        if self.missing:
            return f"“{self.name}” is incomplete: {self.missing:,} frames of it are missing or damaged"
        if self.frames is not None:
            return ""
        said = [f"1 of {self.pictures:,} pictures of “{self.name}” seen"] if self.pictures > 1 else []
        if 4 * self.width * self.height < self.own_width * self.own_height:
            said.append(f"“{self.name}” seen at {self.width} × {self.height} of {self.own_width} × {self.own_height}")
        return ", ".join(said)


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
    frame_times: tuple[float, ...] = ()  # seconds into the clip of the frames that the model saw
    engine: str = ""  # "plain" where the engine can't serve the model
    dropped_turns: int = 0  # oldest questions that were left out because the context was full
    cached_tokens: int = 0  # of the prompt, whose keys and values were known from before
    begun_tokens: int = 0  # of the prompt: the beginning of the answer, where that was continued
    begun_thinking_tokens: int = 0  # of those
    min_pixels: int | None = None  # that the last picture or clip was read with
    max_pixels: int | None = None
    seen: tuple[Seen, ...] = ()  # what was attached to the question, in order
    notes: tuple[str, ...] = ()  # what people should hear of pages that were drawn for the question

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people should hear of what was seen, each once."""
        return tuple(dict.fromkeys(one.remark for one in self.seen if one.remark))


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

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; paths become strings."""
        plain = asdict(self)
        for message in plain["messages"]:
            for media in message["media"]:
                media["path"] = str(media["path"])
                media["shown"] = media["shown"] and str(media["shown"])
        return plain

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Conversation:
        """The inverse of `to_json`. Raises NotAConversation, which names the first entry that isn't right."""
        if isinstance(data, Mapping) and "messages" not in data:
            raise NotAConversation("messages is missing.")
        read: Conversation = _read(Conversation, data, "")
        return read


class NotAConversation(ValueError):
    """What is no conversation. Its text names the entry, as `messages[2].media[0].kind`, and repeats nothing of it."""


def _read(kind: Any, value: object, where: str) -> Any:
    """`value`, which came as JSON, as a `kind`: one of the types that the classes above have. Raises
    NotAConversation."""
    if is_dataclass(kind):
        return _read_fields(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, "a list")
        return tuple(_read(inner[0], one, f"{where}[{place}]") for place, one in enumerate(value))
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise _wrong(where, f"one of {', '.join(inner)}")
        return value
    if type(None) in inner:
        return None if value is None else _read(inner[0], value, where)
    if kind is Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise _wrong(where, "a path")
        return Path(value)
    if kind is str and not isinstance(value, str):
        raise _wrong(where, "text")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and not (number and -MOST_NUMBER <= value <= MOST_NUMBER):  # type: ignore[operator]
        raise _wrong(where, "a number")
    if kind is int and not (isinstance(value, int) and number and -MOST_NUMBER <= value <= MOST_NUMBER):
        raise _wrong(where, "a whole number")
    return value


def _read_fields(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(where, "an object")
    hints, before = get_type_hints(kind), f"{where}." if where else ""
    if not set(value) <= set(hints):
        raise NotAConversation(f"{where or 'The conversation'} has a field that is unknown here.")
    for one in fields(kind):
        if one.name not in value and one.default is MISSING:
            raise NotAConversation(f"{before}{one.name} is missing.")
    return kind(**{name: _read(hints[name], inner, f"{before}{name}") for name, inner in value.items()})


def _wrong(where: str, what: str) -> NotAConversation:
    return NotAConversation(f"{where or 'The conversation'} must be {what}.")
