"""The seam between whoever asks and whoever answers.

`Backend.stream` is the seam of the whole app, and closing its iterator is Stop. What a backend as a whole is doing, and
what else it could do, are values here. Knows no torch, no Gradio, no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ovis_app.errors import RequestError
from ovis_app.generation import Event, Request, Waiting
from ovis_app.sight import Sight
from ovis_app.zoo import ModelSpec

# A model that nobody asks may be unloaded. The next question has it returning: whoever asks meanwhile waits, as nobody
# does for one that loads for the first time.
Phase = Literal["starting", "loading", "ready", "answering", "unloaded", "returning", "failed"]


@dataclass(frozen=True)
class Change:
    """A switch to another model that is under way."""

    name: str  # of the model that is coming
    words: str  # "Downloading Ovis2.5-2B: 1.2 of 5.1 GB, 3 min left"
    share: float | None = None  # how far that is, 0 to 1; None: nobody knows
    cancellable: bool = True


@dataclass(frozen=True)
class Resources:
    """Who gets how much of a device's memory, in bytes."""

    weights: int
    conversations: int  # keys and values
    tokens: int  # of conversations that have room in these
    pictures: int  # while they are encoded, and all else that works


@dataclass(frozen=True)
class ServerStatus:
    """A server of others that may answer."""

    name: str
    up: bool | None  # None: it wasn't asked yet
    problem: str = ""  # why it is down, in a few words


@dataclass(frozen=True)
class Examination:
    """How a checkpoint did when `ovis doctor` last looked."""

    day: str  # 2026-11-27
    lines: int
    judged: int  # of them
    unexpected: int  # of those that were judged
    quick: bool  # at its files alone


@dataclass(frozen=True)
class Status:
    """What a backend as a whole is doing. Whoever decides by it asks for the `phase`; the `words` are for people."""

    model: ModelSpec  # that answers, or will once it is loaded
    phase: Phase
    words: str  # "ready", "Loading Ovis2.5-2B"
    change: Change | None = None
    problem: str = ""  # why the last change came to nothing, as a sentence
    resources: Resources | None = None  # once a model is loaded
    engine: str = ""  # how its tokens are made here, in a few words
    servers: tuple[ServerStatus, ...] = ()  # all that were named
    quantize: str = "none"  # in how many bits the model's weights are, as a `Way` has it
    examined: Examination | None = None  # of these very files
    why: str = ""  # it failed, as a sentence, where `Backend.warm` may be worth another try


Verdict = Literal["fits", "tight", "too big"]


@dataclass(frozen=True)
class Way:
    """A model's weights as released ("none") or quantized ("int8", "int4"), and how its memory would do."""

    quantize: str
    verdict: Verdict
    needed: int  # bytes
    obstacle: str = ""  # why it can't be, as a sentence


@dataclass(frozen=True)
class Offer:
    """A model that a backend could switch to, and how its memory would do."""

    model: ModelSpec
    verdict: Verdict
    needed: int  # bytes
    available: int  # bytes, what the present model holds included
    resources: Resources | None = None  # of `needed`, for all of its context
    server: ServerStatus | None = None  # whose it is; None: it would run on this machine
    ways: tuple[Way, ...] = ()  # to choose among; none where there is nothing to choose
    speed: float | None = None  # tokens a second of one answer at most, by how fast memory is read; None: not known

    @property
    def pace(self) -> str:
        """The speed for people, as the estimate that it is; empty where it isn't known."""
        if self.speed is None:
            return ""
        return f"{self.speed:.1f}" if self.speed < 9.95 else f"{float(f'{self.speed:.2g}'):,.0f}"


class Backend(Protocol):
    """Who answers: one model at a time. One backend serves many requests at once, from any thread."""

    def warm(self) -> None:
        """Begins what can be done before the first question, such as loading, and returns at once. Where that failed it
        begins anew."""
        ...

    def status(self) -> Status:
        """What is going on. Quick: the page asks often."""
        ...

    def offers(self) -> list[Offer]:
        """The models that `change` knows by name; none where there is nothing to choose."""
        ...

    def change(self, name: str, quantize: str | None = None) -> None:
        """Begins to switch to a name, repository or folder for everybody, in one of its ways, else as the process was
        told to; returns at once, and `status` tells how it goes. The present model answers until the new one is
        fetched, and again if that fails. Raises BackendError when it can't begin."""
        ...

    def cancel_change(self) -> None:
        """Ends a change that is under way; the present model stays."""
        ...

    def close(self) -> None:
        """Ends what is running, before the process does."""
        ...

    def stream(self, request: Request) -> Iterator[Event]:
        """Events until `Done`. Wakes at least every 0.1 s with an event, so that closing it always lands; closing it
        stops the work within one token. Raises BackendError."""
        ...


@dataclass(frozen=True)
class Occupancy:
    """How much is taken just now; None where nobody can tell."""

    running: int | None = None  # requests
    waiting: int | None = None
    blocks: int | None = None  # of keys and values, all there are
    blocks_used: int | None = None  # that running answers hold
    blocks_cached: int | None = None  # that are remembered for who asks again
    device_bytes: int | None = None  # that this process holds of its GPUs


@runtime_checkable
class Occupied(Protocol):
    """A backend that can tell how much of it is taken."""

    def occupancy(self) -> Occupancy:
        """Quick, from any thread."""
        ...


def occupancy(backend: Backend) -> Occupancy:
    """See `Occupied`; nothing is known of a backend that can't tell."""
    return backend.occupancy() if isinstance(backend, Occupied) else Occupancy()


@runtime_checkable
class OffersElsewhere(Protocol):
    """A backend that can tell how its models would do on another machine."""

    def offers_on(self, memory: int) -> list[Offer]:
        """As `offers`, for a graphics card with so many bytes."""
        ...


@dataclass(frozen=True)
class FileWeight:
    """What one file of a question takes."""

    tokens: int  # visual
    seen: tuple[int, int]  # width and height at which the model sees it, or its largest piece
    pieces: int = 1  # in which a very long picture is looked at


@dataclass(frozen=True)
class Weight:
    """What a request would take of a model's context, in tokens."""

    prompt: int  # visual tokens included
    visual: int
    room: int  # that prompt and answer have together
    files: tuple[FileWeight, ...] = ()  # of the question, in order
    dropped: int = 0  # of the oldest questions, left out to make room


@runtime_checkable
class Weighs(Protocol):
    """A backend that can tell what a request would take before it is asked."""

    def weigh(self, request: Request) -> Weight | None:
        """Of a request whose files are told by their sizes: nothing is opened or decoded for it. None where nobody can
        tell. Raises BackendError."""
        ...


@runtime_checkable
class Counts(Protocol):
    """A backend that can tell how long a prompt is."""

    def count(self, request: Request) -> int | None:
        """Tokens of the request's prompt, pictures included, as the model reads it; None where nobody can tell. Takes a
        moment where pictures must be read. Raises BackendError, MediaError."""
        ...


@runtime_checkable
class Several(Protocol):
    """A backend that has several models at once, each of which can answer one request alone."""

    def several(self) -> dict[str, ModelSpec]:
        """The models by the names that `Request.model` has for them, without one that can't answer now. Quick."""
        ...


GONE = "That model doesn't answer here just now: ask without it, or try again in a moment."


def several(backend: Backend) -> dict[str, ModelSpec]:
    """See `Several`; none where one model answers all."""
    return backend.several() if isinstance(backend, Several) else {}


def answering(backend: Backend, name: str) -> ModelSpec:
    """The model that answers a request which names `name`; where it names none, the one that answers. Raises
    RequestError."""
    found = several(backend).get(name) if name else backend.status().model
    if found is None:
        raise RequestError(GONE)
    return found


@runtime_checkable
class Sees(Protocol):
    """A backend that can tell how it sees a picture."""

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """`Sight` at the end, of the picture at a place among the question's files, from 0; before it `Waiting` as
        `stream` has it. Nothing is answered. Closing it stops the work. Raises BackendError, MediaError."""
        ...
