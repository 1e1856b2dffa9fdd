"""A scripted backend: answers without a model, for tests, benchmarks and looking at the page.

The question steers it: "think" adds a thought, "ponder" one that uses its budget up, "slow" waits between tokens,
"fail" raises, "crash" breaks unexpectedly, "long" answers at length. Anything else is echoed, with the names of what
was attached. What had begun goes on where it ended. It pretends to change models too: what is fetched takes `fetching`
seconds, the largest are too big, and unknown names come to nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ovis_app import zoo
from ovis_app.backend import Change, FileWeight, Offer, Status, Way, Weight, answering
from ovis_app.backends.sights import outlined
from ovis_app.conversation import Media, Message, Size, Stats
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Done, Event, Request, Thinking, Waiting
from ovis_app.limits import Limits
from ovis_app.models.preprocess.smart_resize import smart_resize
from ovis_app.sight import Sight
from ovis_app.stop_strings import StopStrings
from ovis_app.zoo import ModelSpec

FREE = 24e9  # bytes that the scripted machine has
SPEED = 1e12  # bytes a second that it reads
TEXT_TOKENS, VISUAL_TOKENS = 12, 64  # of a question, and of each file
SHARES = {"none": 1.0, "int8": 0.6, "int4": 0.4}  # of its memory that a model takes, by how it is quantized
STEPS = 40  # of a pretended download
BUDGET, ENDING = 256, 9  # tokens of a thought, and of what is said where it is cut short


@dataclass
class FakeBackend:
    """`delay` is seconds a token; `tokens` is the length of a long answer. `live` counts streams that are open."""

    delay: float = 0.0
    tokens: int = 400
    live: int = 0
    requests: list[Request] = field(default_factory=list)
    model: ModelSpec = zoo.MINI
    fetching: float = 2.0
    others: tuple[ModelSpec, ...] = ()  # that answer beside it, where a request names them
    coming: Change | None = None
    problem: str = ""
    quantize: str = "none"
    cancelled: threading.Event = field(default_factory=threading.Event)

    def warm(self) -> None:
        """A script needs nothing."""

    def status(self) -> Status:
        return Status(self.model, "ready", "ready", self.coming, self.problem, quantize=self.quantize)

    def offers(self) -> list[Offer]:
        return [_offer(row) for row in zoo.MODELS]

    def offers_on(self, memory: int) -> list[Offer]:
        return [_offer(row, memory) for row in zoo.MODELS]

    def change(self, name: str, quantize: str | None = None) -> None:
        spec, quantize = zoo.resolve(name), quantize or "none"
        self.problem = ""
        if spec.id == self.model.id and quantize == self.quantize:
            raise BackendError(f"{spec.name} answers already.")
        if _way(spec, quantize, FREE).verdict == "too big":
            raise BackendError(f"{spec.name} needs more than the {FREE / 1e9:.0f} GB that are free: try Ovis2.5-9B.")
        if self.coming is not None:
            raise BackendError(f"{self.coming.name} is on its way: wait for it, or cancel it first.")
        self.coming = Change(spec.name, f"Looking for {spec.name}")
        self.cancelled.clear()
        threading.Thread(target=self._fetch, args=(spec, quantize), daemon=True).start()

    def cancel_change(self) -> None:
        self.cancelled.set()

    def _fetch(self, spec: ModelSpec, quantize: str) -> None:
        known = zoo.find(spec.id) is not None
        for step in range(1, STEPS + 1):
            if self.cancelled.wait(self.fetching / STEPS) or not known:
                break
            size = spec.bytes / 1e9
            words = f"Downloading {spec.name}: {size * step / STEPS:.1f} of {size:.1f} GB"
            self.coming = Change(spec.name, words, step / STEPS)
        else:
            self.model, self.quantize = spec, quantize
        self.problem = "" if known else f"There is no model called {spec.name}: check the spelling."
        self.coming = None

    def several(self) -> dict[str, ModelSpec]:
        """See `backend.Several`."""
        return {spec.public_id: spec for spec in (self.model, *self.others)} if self.others else {}

    def close(self) -> None:
        """Nothing to end."""

    def stream(self, request: Request) -> Iterator[Event]:
        request.settings.check()
        self.requests.append(request)
        self.live += 1
        start = time.monotonic()
        try:
            yield Waiting("Reading the question")
            yield from self._script(request, start)
        finally:
            self.live -= 1

    def count(self, request: Request) -> int:
        """As many as `stream` says."""
        return _prompt_tokens(request)

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """How the model that it pretends to be divides a picture."""
        yield Waiting("Looking at the picture")
        yield outlined(request, place, answering(self, request.model), Limits())

    def weigh(self, request: Request) -> Weight:
        """The same, file by file, each seen as the model that it stands for would."""
        files = _asked(request).media
        each = tuple(FileWeight(VISUAL_TOKENS, _seen(file, self.model)) for file in files)
        return Weight(_prompt_tokens(request), VISUAL_TOKENS * len(files), self.model.context, each)

    def _script(self, request: Request, start: float) -> Iterator[Event]:
        question, begun = _asked(request), request.conversation.begun or Message("assistant")
        words = question.text.lower()
        if "fail" in words:
            raise BackendError("The model is out of memory: lower max pixels and try again.")
        if "crash" in words:
            raise RuntimeError("scripted crash")
        pause = 0.05 if "slow" in words else self.delay
        thinks = request.settings.thinking or "think" in words
        thought = ["I", "look", "at", "the", "picture.", "I", "see", "it."] if thinks else []
        names = ", ".join(media.label for media in question.media)
        echo = f"You said: {question.text}" + (f" (with {names})" if names else "")
        pieces = [f"word{i}" for i in range(self.tokens)] if "long" in words or "slow" in words else echo.split(" ")
        budget = request.settings.thinking_budget or BUDGET
        if "ponder" in words:
            thinks, thought = True, ["hm"] * (budget + ENDING)
        thought = [] if begun.text else _left(thought, begun.thinking)
        ended = threading.Event()
        if thinks and request.haste is not None:
            request.haste.offer(budget, ended.set)
        pieces = _left(pieces, begun.text)
        for number, piece in enumerate(thought, 1):
            if ended.is_set():
                thought = thought[: number - 1]
                break
            yield Thinking(piece + " ", number)
            _rest(pause)
        thinking_seconds = time.monotonic() - start
        stops, said = StopStrings(request.settings.stop), 0
        for piece in pieces:
            yield Answer(stops.feed(piece + " "))
            said += 1
            if stops.found:
                break
            _rest(pause)
        yield Answer(stops.rest())
        seconds = max(time.monotonic() - start, 1e-6)
        count = len(thought) + said
        yield Done(
            "end",
            Stats(
                prompt_tokens=_prompt_tokens(request),
                visual_tokens=VISUAL_TOKENS * len(question.media),
                answer_tokens=count,
                thinking_tokens=len(thought),
                first_token_seconds=0.01,
                thinking_seconds=thinking_seconds if thought else None,
                tokens_per_second=count / seconds,
            ),
        )


def _asked(request: Request) -> Message:
    return request.conversation.messages[request.conversation.last_user() or 0]


def _left(pieces: list[str], said: str) -> list[str]:
    """The pieces that don't stand in `said`."""
    while pieces and said.startswith(f"{pieces[0]} "):
        said, pieces = said.removeprefix(f"{pieces[0]} "), pieces[1:]
    return pieces


def _prompt_tokens(request: Request) -> int:
    return TEXT_TOKENS + VISUAL_TOKENS * len(_asked(request).media)


def _seen(file: Media, spec: ModelSpec) -> tuple[int, int]:
    size, detail = file.told or Size(1, 1), spec.detail(file, several=False)
    most = {"min_pixels": detail.min_pixels or 1, "max_pixels": detail.max_pixels or 1}
    height, width = smart_resize(size.height, size.width, factor=32, **most)
    return width, height


def _offer(spec: ModelSpec, free: float = FREE) -> Offer:
    ways = tuple(_way(spec, quantize, free) for quantize in SHARES)
    llm = spec.llm
    read = 2e9 * ((llm.active or llm.linears) + llm.head) if llm is not None and llm.head else 0
    return Offer(spec, ways[0].verdict, ways[0].needed, int(free), ways=ways, speed=SPEED / read if read else None)


def _way(spec: ModelSpec, quantize: str, free: float) -> Way:
    needed = round(spec.bytes * SHARES[quantize])
    return Way(quantize, "fits" if needed < 0.7 * free else "tight" if needed < free else "too big", needed)


def _rest(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
