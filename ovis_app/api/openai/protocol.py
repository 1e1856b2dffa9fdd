"""What a request asks for and what an answer looks like, as OpenAI's API and vLLM write it.

Pure values: JSON in, a conversation's messages and settings out; events in, JSON out. Knows no HTTP and no files.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ovis_app.api.openai.fields import ApiError, Fields, wrong
from ovis_app.api.openai.messages import Dialogue, parse
from ovis_app.backend import Status
from ovis_app.conversation import Detail, Finish, Stats
from ovis_app.errors import RequestError
from ovis_app.generation import MOST_STOPS, GenerationSettings
from ovis_app.limits import Limits
from ovis_app.zoo import ModelSpec

# Below this many new tokens the model's own thinking budget is left out: a thought would be cut off at once.
BUDGET_FROM = 256
MOST = 65536  # tokens, where a request names them
# What is well-formed and isn't done here: each with the values that ask for nothing.
NOT_DONE: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "structured_outputs": ({},),
    "modalities": (["text"],),
    "audio": (),
    "echo": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "min_p": (0,),
}
FINISH: dict[Finish, str] = {"end": "stop", "length": "length"}


@dataclass(frozen=True)
class ChatRequest:
    """A chat completion that was asked for. `detail` is how closely to look at what is attached."""

    dialogue: Dialogue
    settings: GenerationSettings
    stream: bool = False
    include_usage: bool = False

    @property
    def detail(self) -> Detail:
        return self.settings.detail


def chat_request(body: object, spec: ModelSpec, limits: Limits) -> ChatRequest:
    """A request to the model of `spec`. Raises ApiError."""
    asked = Fields.of(body)
    check_model(asked, spec)
    for name, nothing in NOT_DONE.items():
        if asked.has(name) and not any(_same(asked.values[name], value) for value in nothing):
            raise ApiError(422, f"{name} isn't offered here: leave it out.", param=name, code="unsupported_parameter")
    stream = asked.flag("stream") or False
    if asked.has("stream_options") and not stream:
        raise wrong("stream_options", "left out where stream isn't true")
    dialogue = parse(asked.values.get("messages"), limits, continues=_continues(asked))
    settings = _settings(asked, spec, dialogue.system)
    return ChatRequest(dialogue, settings, stream, asked.sub("stream_options").flag("include_usage") or False)


def _continues(asked: Fields) -> bool:
    """Whether the last message is to be continued, as transformers and vLLM name it. Raises ApiError."""
    continues, prompts = asked.flag("continue_final_message") or False, asked.flag("add_generation_prompt")
    if continues and prompts is not False:
        raise wrong("add_generation_prompt", "false where continue_final_message is true")
    if prompts is False and not continues:
        raise wrong("add_generation_prompt", "true or left out where continue_final_message isn't true")
    return continues


def check_model(asked: Fields, spec: ModelSpec) -> None:
    """Raises ApiError, 404, where another model is meant than the one that answers."""
    name = asked.text("model")
    if name is not None and not spec.is_called(name):
        sentence = f"There is no such model here: {spec.public_id} answers."
        raise ApiError(404, sentence, param="model", code="model_not_found")


def _same(value: object, other: object) -> bool:
    """Whether two JSON values are the same: true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _settings(asked: Fields, spec: ModelSpec, system: str) -> GenerationSettings:
    """The model's own values, with what is asked for in their place."""
    named = next((name for name in ("max_completion_tokens", "max_tokens") if asked.has(name)), "max_tokens")
    tokens = asked.number(named, 1, MOST, whole=True)
    wanted = {
        "max_new_tokens": tokens,
        "temperature": asked.number("temperature", 0, 5),
        "top_p": asked.number("top_p", 0.01, 1),
        "top_k": _top_k(asked),
        "repetition_penalty": asked.number("repetition_penalty", 0.5, 2),
        "seed": asked.number("seed", 0, 2**32 - 1, whole=True),
        **_sizes(asked, spec),
    }
    settings = replace(spec.defaults, **{name: value for name, value in wanted.items() if value is not None})
    settings = replace(settings, system=system, stop=_stop(asked), **_thinking(asked, spec, tokens))
    try:
        return settings.check()
    except RequestError as error:
        raise ApiError(400, str(error)) from error


def _top_k(asked: Fields) -> int | None:
    wanted: int | None = asked.number("top_k", -1, 100_000, whole=True)
    return 0 if wanted == -1 else wanted  # both are all of them


def _stop(asked: Fields) -> tuple[str, ...]:
    value = asked.values.get("stop")
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(one, str) for one in stops):
        raise wrong("stop", f"text, or a list of at most {MOST_STOPS} texts")
    return tuple(one for one in stops if one)


def _thinking(asked: Fields, spec: ModelSpec, tokens: int | None) -> dict[str, Any]:
    """Whether to think, as the model's template does where nobody says, and for how long."""
    told = asked.sub("chat_template_kwargs").flag("enable_thinking")
    names = [name for name in ("thinking_token_budget", "thinking_budget") if asked.has(name)]
    budget = asked.number(names[0], 1, MOST, whole=True) if names else spec.defaults.thinking_budget
    if not names and tokens is not None and tokens < BUDGET_FROM:
        budget = None
    return {"thinking": spec.thinks_unasked if told is None else told, "thinking_budget": budget}


def _sizes(asked: Fields, spec: ModelSpec) -> dict[str, int | None]:
    """How closely to look, as far as the model was made for it: vLLM's places for it, the nested ones first."""
    processor = asked.sub("mm_processor_kwargs")
    pictures = processor.sub("images_kwargs")
    most = 2**31
    found = {}
    for name in ("min_pixels", "max_pixels", "max_partition"):
        inner = pictures if pictures.has(name) else processor
        found[name] = inner.number(name, 1, most, whole=True)
    if found["min_pixels"] and found["max_pixels"] and found["min_pixels"] > found["max_pixels"]:
        raise wrong("mm_processor_kwargs.min_pixels", "at most max_pixels")
    frames = asked.sub("media_io_kwargs").sub("video").number("num_frames", 1, 256, whole=True)
    return asdict(spec.single.clamped(Detail(**found, frames=frames)))


# --- what is said back ----------------------------------------------------------------------------------------------


def model_card(status: Status, started: int) -> dict[str, Any]:
    """A row of /v1/models."""
    spec = status.model
    return {
        "id": spec.public_id,
        "object": "model",
        "created": started,
        "owned_by": spec.repository.partition("/")[0] or "ovis-app",
        "root": spec.public_id,
        "parent": None,
        "max_model_len": context(status),
    }


def context(status: Status) -> int:
    """Tokens of a prompt and its answer together, at most."""
    held = status.resources.tokens if status.resources is not None else 0
    return min(status.model.context, held or status.model.context)


@dataclass(frozen=True)
class Completion:
    """One answer's envelope: what all its parts have in common."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, *, text: str, reasoning: str, finish: Finish, stats: Stats) -> dict[str, Any]:
        """The answer at once."""
        message = {"role": "assistant", "content": text, "reasoning": reasoning or None, "refusal": None}
        return self._of(
            "chat.completion",
            [{"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH.get(finish, "stop")}],
            usage(stats),
        )

    def chunk(self, delta: Mapping[str, Any], finish: Finish | None = None) -> dict[str, Any]:
        """A part of it."""
        reason = None if finish is None else FINISH.get(finish, "stop")
        return self._of(
            "chat.completion.chunk", [{"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}]
        )

    def last(self, stats: Stats) -> dict[str, Any]:
        """The part that has the figures and nothing else."""
        return self._of("chat.completion.chunk", [], usage(stats))

    def _of(self, kind: str, choices: list[dict[str, Any]], used: dict[str, Any] | None = None) -> dict[str, Any]:
        body = {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}
        return body if used is None else {**body, "usage": used}


def usage(stats: Stats) -> dict[str, Any]:
    """The figures of an answer. `images_kwargs` says what pixel limits the last picture was read with, `images_seen` at
    what size the model saw each that the question brought, and how large it is; `notes` are sentences for people about
    what was seen small or in part."""
    used: dict[str, Any] = {
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.answer_tokens,
        "total_tokens": stats.prompt_tokens + stats.answer_tokens,
        "prompt_tokens_details": {"cached_tokens": stats.cached_tokens, "image_tokens": stats.visual_tokens},
        "completion_tokens_details": {"reasoning_tokens": stats.thinking_tokens},
    }
    if stats.max_pixels is not None:
        used["images_kwargs"] = {"min_pixels": stats.min_pixels, "max_pixels": stats.max_pixels}
    if stats.seen:
        used["images_seen"] = [
            {"width": one.width, "height": one.height, "own_width": one.own_width, "own_height": one.own_height,
             "pictures": one.pictures, "frames": one.frames}
            for one in stats.seen
        ]  # fmt: skip
    if said := [*stats.notes, *(f"{remark}." for remark in stats.remarks)]:
        used["notes"] = said
    return used
