"""One request at a time: `generate` with embeddings in, tokens into a streamer, and a flag that stops it.

Knows the model and the sampling rules; refuses to know conversations, files and threads: it runs in the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from ovis_app.engine.budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis

COLD = 0.01  # temperatures below this are greedy: logits over them would overflow


@dataclass(frozen=True)
class Ending:
    """The ids that end an answer, and the id that fills a batch."""

    eos: tuple[int, ...]
    pad: int


class Stop(StoppingCriteria):
    """Ends generate before the next token once `stop()` says so or the limit is reached. A budget's forced text is
    always finished, as in the original, even where it goes past the limit."""

    def __init__(self, stop: Callable[[], bool], limit: int, budget: ThinkingBudget | None) -> None:
        self.stop, self.limit, self.budget = stop, limit, budget

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        over = self.stop() or len(input_ids[0]) >= self.limit
        if over and self.budget is not None and self.budget.forces(input_ids[0]):
            over = self.stop()
        return torch.full((len(input_ids),), over, dtype=torch.bool, device=input_ids.device)


def generation_config(settings: GenerationSettings, ending: Ending, max_new_tokens: int) -> GenerationConfig:
    """Only what `settings` ask for: a checkpoint's own sampling defaults stay out."""
    sampling = (
        {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        if settings.temperature >= COLD
        else {"do_sample": False}
    )
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        repetition_penalty=settings.repetition_penalty,
        eos_token_id=list(ending.eos),
        pad_token_id=ending.pad,
        **sampling,
    )


@torch.inference_mode()
def embeddings(model: Ovis, ids: Tensor, visual: Tensor | None) -> Tensor:
    """The prompt as the language model takes it, [1, tokens, hidden], from ids [tokens] and encoded pictures."""
    return model.embed(ids.to(model.device), visual)


@torch.inference_mode()
def generate(
    model: Ovis,
    inputs_embeds: Tensor,
    settings: GenerationSettings,
    *,
    mask: Tensor | None = None,
    cache: DynamicCache | None = None,
    ending: Ending,
    budget: ThinkingBudget | None = None,
    streamer: BaseStreamer | None = None,
    stop: Callable[[], bool] = lambda: False,
    processors: tuple[LogitsProcessor, ...] = (),
) -> Tensor:
    """New token ids [tokens] after a prompt [1, tokens, hidden] with its `mask` [tokens]. `stop` is asked before every
    token; `processors` see generated ids only. What `cache` holds of the prompt's beginning isn't computed again."""
    limit = settings.max_new_tokens
    room = limit if budget is None else max(limit, budget.forced_until)
    if settings.seed is not None:
        torch.manual_seed(settings.seed)  # global, which is sound because one request runs at a time
    else:
        torch.seed()
    rules: list[LogitsProcessor] = [*processors, *([budget] if budget is not None else [])]
    mask = torch.ones(inputs_embeds.shape[1], dtype=torch.long) if mask is None else mask
    ids = model.llm.generate(
        inputs_embeds=inputs_embeds,
        attention_mask=mask[None].to(inputs_embeds.device),
        generation_config=generation_config(settings, ending, room),
        logits_processor=LogitsProcessorList(rules),
        stopping_criteria=StoppingCriteriaList([Stop(stop, limit, budget)]),
        streamer=streamer,
        past_key_values=cache,
    )
    return ids[0]
