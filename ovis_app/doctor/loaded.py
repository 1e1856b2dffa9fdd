"""What a loaded model does, against what was planned: it is asked, watched and asked again in the plain way.

Knows sessions and a deadline, past which what is left isn't judged; refuses to know files.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.local.session import Session
from ovis_app.backends.validation import checked
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.doctor import both_ways, speed
from ovis_app.doctor.both_ways import TOKENS, Answered
from ovis_app.doctor.finding import REPORT, Finding, judged, not_judged
from ovis_app.doctor.memory_used import Peak, judged_peak
from ovis_app.doctor.questions import ASKED, LONGER, judged_answer
from ovis_app.engine.answer import out_of_memory
from ovis_app.engine.capabilities import NOT_RECORDED, Capabilities
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import UserError
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.models import memory_speed
from ovis_app.settings import Settings
from ovis_app.stop import NEVER, Stop, Stopped

log = logging.getLogger(__name__)

GREEDY = GenerationSettings(max_new_tokens=TOKENS)
OVER = "its time was over before it came to that"
ENOUGH = 16  # tokens of an answer that tell how fast they come
SHARE = 0.5  # of a first question that the second is to find again


def survived(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; where what they look at fails, a line that says so in place of the rest. Raises Stopped."""
    try:
        yield from findings
    except Stopped:
        raise
    except UserError as error:
        yield Finding("loaded", "failed", str(error), does="doesn't answer")
    except Exception as error:  # what drivers and kernels raise is of many kinds, and worth a report
        log.exception("looking a loaded model over failed")
        full = out_of_memory(error)
        what = "memory ran out" if full else f"{type(error).__name__}, whose traceback is in the log"
        yield Finding("loaded", "failed", what, does="fails, or answers with less", report="" if full else REPORT)


class Heard(TokenStreamer):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[int] = []

    def put(self, value: Tensor) -> None:
        self.ids += [int(token) for token in value.flatten()]
        super().put(value)


class Examined:
    """A session under examination. `end` is the time.monotonic() at which it is to be over."""

    def __init__(
        self, loaded: LoadedModel, settings: Settings, limits: Limits, *, end: float, once: bool, stop: Stop = NEVER
    ) -> None:  # fmt: skip
        """`once` is for a process that has its device for a moment. Raises BackendError, as `Session`."""
        self._loaded, self._limits, self._end, self._wanted = loaded, limits, end, stop
        self._settings = settings
        self._session = Session(loaded, settings, limits, thread=False, once=once)
        self._answers: list[Answered] = []
        self._rate: float | None = None
        self._context = 0

    @property
    def device(self) -> str:
        return str(self._loaded.model.device)

    def findings(self, peak: Peak) -> Iterator[Finding]:
        """`peak` has watched since before the model was loaded. Raises Stopped where nobody wants them any more."""
        try:
            if self._session.engine is not None:
                self._session.engine.make_ready(self._stop().is_set)
                self._wanted.check()
            yield new_tokens(self._session.capabilities, self.device)
            yield from self._asked()
            yield self._reuse()
            yield self._memory(peak)
            yield from self._speed()
        finally:
            self._session.close()
        yield self._engine()

    def _asked(self) -> Iterator[Finding]:
        """Three questions with answers, and as many more as it takes for tokens to compare."""
        for question in (*ASKED, *LONGER):
            if not question.name and sum(len(one.ids) for one in self._answers) >= 2 * TOKENS:
                break
            said = self._said(question.conversation)
            if isinstance(said, str):
                yield from [not_judged(question.name, said)] if question.name else []
            elif question.name:
                yield judged_answer(question, said.text)

    def _said(self, conversation: Conversation) -> Message | str:
        """An answer, or why there is none."""
        stop, streamer, started = self._stop(), Heard(), time.monotonic()

        def begin() -> None:
            stop.deadline = self._end  # the engine lets the clock stand

        try:
            request = checked(Request(conversation, GREEDY), self._loaded.spec, self._limits)
            prepared = self._session.prepare(request, streamer, stop)
            done = self._session.answer(prepared, streamer, stop, begin=begin, started=started)
        except Stopped:
            self._wanted.check()
            return OVER
        except UserError as error:
            return str(error)
        if done.finish == "stopped":
            self._wanted.check()
            return OVER
        ids, stats = tuple(streamer.ids), done.stats
        self._answers.append(Answered(prepared, ids))
        if len(ids) >= ENOUGH:
            self._rate = max(self._rate or 0.0, stats.tokens_per_second or 0.0) or None
            self._context = max(self._context, stats.prompt_tokens + len(ids) // 2)
        text = self._loaded.tokenizer.decoder.decode(list(ids), skip_special_tokens=True)
        return Message("assistant", text, stats=stats)

    def _reuse(self) -> Finding:
        """Whether a question that goes on finds the one before in the cache."""
        if self._session.engine is None or not self._settings.prefix_cache:
            return not_judged("prefix reuse", "nothing is remembered between questions here")
        first = self._said(ASKED[0].conversation)
        if isinstance(first, str):
            return not_judged("prefix reuse", first)
        asked = (*ASKED[0].conversation.messages, replace(first, stats=None), Message("user", "And how many are red?"))
        second = self._said(Conversation(asked))
        if isinstance(second, str):
            return not_judged("prefix reuse", second)
        return reused(first.stats or Stats(), second.stats or Stats())

    def _memory(self, peak: Peak) -> Finding:
        plan = self._session.plan
        if plan is None:
            return not_judged("memory at work", "nothing is planned where transformers' generate answers")
        return judged_peak(peak.look(), plan, self._settings.visual_cache)

    def _speed(self) -> Iterator[Finding]:
        if time.monotonic() > self._end:
            yield not_judged("tokens a second", OVER)
            return
        found = memory_speed.measured(self.device)
        if found is None:
            yield not_judged("tokens a second", "no memory for a copy that tells how fast it is")
            return
        yield speed.bandwidth(found, memory_speed.sheet(self.device))
        yield speed.tokens(self._rate, speed.needed_bytes(self._loaded.model, self._context), found, self.device)

    def _engine(self) -> Finding:
        if self._session.engine is None:
            return not_judged("engine", "transformers' generate answers here, there is nothing to compare")
        found = both_ways.compared(self._loaded, self._answers, self._stop())
        self._wanted.check()
        return found

    def _stop(self) -> Stop:
        """Of a piece of it: for all that is left of the time, as long as somebody waits."""
        stop = Stop(self._wanted)
        stop.deadline = self._end
        return stop


def new_tokens(can: Capabilities, device: str) -> Finding:
    """How new tokens are made, and what keeps a faster way out."""
    slower = device.startswith("cuda") and can.decode != "fused" and can.why != NOT_RECORDED
    return judged(
        "new tokens", str(can), "decode fused, recorded, attention in triton" if slower else "decode by hand",
        same=not slower and can.decode != "plain", does=f"answers the same, more slowly: {can.why}",
    )  # fmt: skip


def reused(first: Stats, second: Stats) -> Finding:
    return judged(
        "prefix reuse", f"{second.cached_tokens} of {second.prompt_tokens} tokens were known from the question before",
        f"most of its {first.prompt_tokens}", same=second.cached_tokens >= SHARE * first.prompt_tokens,
        does="reads the conversation anew for each question",
    )  # fmt: skip
