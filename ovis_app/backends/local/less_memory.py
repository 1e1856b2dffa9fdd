"""An answer for which memory ran out, asked again by itself: with what is attached looked at less closely, step by
step, as long as nothing was said yet and there is something to lower. What was goes with the answer's figures.

Before that the session has let go of what it remembered, and the engine has read the prompt in smaller pieces. Knows
details and models' rows; refuses to know how memory is used, and who answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from ovis_app.conversation import Conversation, Detail, Media, Message, Shortage
from ovis_app.engine.answer import out_of_memory
from ovis_app.errors import OUT_OF_MEMORY
from ovis_app.generation import Done, Request
from ovis_app.limits import Limits
from ovis_app.media import upright_size
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

STEPS = 3  # of looking less closely, at most
SMALLER = 4  # times fewer pixels in each: half as wide, half as high
FEWER = 2  # times fewer frames, or tiles


def answered(
    attempt: Callable[[Request], Done], request: Request, spec: ModelSpec, limits: Limits, *,
    may_begin_again: Callable[[], bool],
) -> Done:  # fmt: skip
    """What `attempt` returns for the request, or for less of it where memory runs out. `may_begin_again` is asked
    before, and sees to what is in the way. Raises what `attempt` does, and torch.OutOfMemoryError where nothing
    helped."""
    lowered: Shortage | None = None
    for step in range(STEPS + 1):
        done = _tried(attempt, request)
        if done is not None:
            return _told(done, lowered)
        # Here the exception is gone, and with it what its traceback held.
        less = less_closely(request.conversation, spec, limits) if step < STEPS and may_begin_again() else None
        if less is None:
            break
        conversation, lowered = less
        request = replace(request, conversation=conversation)
        log.info("asked again, since memory ran out: %s", lowered.remark)
    raise torch.OutOfMemoryError(OUT_OF_MEMORY)


def _tried(attempt: Callable[[Request], Done], request: Request) -> Done | None:
    """None where memory ran out."""
    try:
        return attempt(request)
    except Exception as error:
        if not out_of_memory(error):
            raise
        log.warning("out of memory", exc_info=error)
        return None


def _told(done: Done, lowered: Shortage | None) -> Done:
    if lowered is None:
        return done
    piece = None if done.stats.shortage is None else done.stats.shortage.piece
    return replace(done, stats=replace(done.stats, shortage=replace(lowered, piece=piece)))


def less_closely(conversation: Conversation, spec: ModelSpec, limits: Limits) -> tuple[Conversation, Shortage] | None:
    """The conversation with a part of the pixels or tiles and frames of all that is attached, and how many those are at
    most; None where the model can't make do with fewer. Raises MediaError."""
    most = Detail()
    for message in conversation.messages:
        for media in message.media:
            most = _larger(most, _taken(media, spec, limits, several=len(message.media) > 1))
    least = Detail(max_pixels=_least(conversation, spec), max_partition=1, frames=1)
    cap = Detail(
        max_pixels=_lower(most.max_pixels, least.max_pixels, SMALLER),
        max_partition=_lower(most.max_partition, least.max_partition, FEWER),
        frames=_lower(most.frames, least.frames, FEWER),
    )
    if cap == Detail():
        return None
    messages = tuple(_capped(message, cap, spec) for message in conversation.messages)
    return Conversation(messages), Shortage(None, cap.max_pixels, cap.max_partition, cap.frames)


def _taken(media: Media, spec: ModelSpec, limits: Limits, *, several: bool) -> Detail:
    """How large the model sees a file; of pixels and tiles only what decides that for this model."""
    detail = spec.detail(media, several=several)
    if spec.tiles:
        return Detail(max_partition=detail.max_partition, frames=detail.frames)
    pixels = detail.max_pixels or 0
    if detail.frames is None:
        width, height = upright_size(media, limits)
        pixels = min(pixels, max(width * height, detail.min_pixels or 0))
    return Detail(max_pixels=pixels, frames=detail.frames)


def _larger(one: Detail, other: Detail) -> Detail:
    return Detail(
        max_pixels=_most(one.max_pixels, other.max_pixels),
        max_partition=_most(one.max_partition, other.max_partition),
        frames=_most(one.frames, other.frames),
    )


def _most(one: int | None, other: int | None) -> int | None:
    return max(one or 0, other or 0) or None


def _least(conversation: Conversation, spec: ModelSpec) -> int:
    """Pixels below which the model wasn't made to see."""
    kinds = {(media.kind, len(m.media) > 1) for m in conversation.messages for media in m.media}
    rows = [spec.resolution(kind, several=several) for kind, several in kinds]
    return max((row.made_for[0] if row.made_for else row.min_pixels for row in rows), default=0)


def _lower(most: int | None, least: int | None, times: int) -> int | None:
    """A part of `most`; None where that is no less."""
    lower = max((most or 0) // times, least or 0)
    return lower if most is not None and lower < most else None


def _capped(message: Message, cap: Detail, spec: ModelSpec) -> Message:
    several = len(message.media) > 1
    return replace(message, media=tuple(_seen_smaller(media, cap, spec, several=several) for media in message.media))


def _seen_smaller(media: Media, cap: Detail, spec: ModelSpec, *, several: bool) -> Media:
    full, detail = spec.detail(media, several=several), media.detail
    if cap.max_pixels is not None and full.max_pixels is not None:
        pixels = min(full.max_pixels, cap.max_pixels)
        detail = replace(detail, max_pixels=pixels, min_pixels=min(full.min_pixels or pixels, pixels))
    if cap.max_partition is not None and full.max_partition is not None:
        detail = replace(detail, max_partition=min(full.max_partition, cap.max_partition))
    if cap.frames is not None and full.frames is not None:
        detail = replace(detail, frames=min(full.frames, cap.frames))
    return replace(media, detail=detail)
