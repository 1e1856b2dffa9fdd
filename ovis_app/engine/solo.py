"""One request at a time: embeddings in, tokens into a streamer, and a flag that stops it.

Two ways with the same tokens: `generate` of transformers, which serves everything, and our own loop around a Decoder,
which keeps a GPU busy. Knows the model and the sampling rules; refuses to know conversations, files and threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.decode import Decoder
from ovis_app.engine.loop import Drawn, Prompt, run
from ovis_app.engine.sampling import COLD, Draw, Drawing
from ovis_app.engine.static_cache import CACHE
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis

# Tokens of a prompt that are read at a time: more take memory, and Stop would have to wait for them. Fewer take longer.
PIECE, GPU_PIECE = 2048, 8192


class StopsGenerate(StoppingCriteria):
    """Ends generate before the next token once `stop()` says so or the limit is reached. A budget's forced text is
    always finished, as in the original, even where it goes past the limit."""

    def __init__(self, stop: Callable[[], bool], limit: int, budget: ThinkingBudget | None) -> None:
        self.stop, self.limit, self.budget = stop, limit, budget

    def over(self, generated: Tensor) -> bool:
        """Whether nothing comes after `generated` [tokens]."""
        over = self.stop() or len(generated) >= self.limit
        if over and self.budget is not None and self.budget.forces(generated):
            over = self.stop()
        return over

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        over = self.over(input_ids[0])
        return torch.full((len(input_ids),), over, dtype=torch.bool, device=input_ids.device)


def generation_config(settings: GenerationSettings, ending: Ending, max_new_tokens: int) -> GenerationConfig:
    """Only what `settings` ask for: a checkpoint's own sampling defaults stay out."""
    sampling = (
        {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        if settings.temperature >= COLD
        else {"do_sample": False}
    )
    return GenerationConfig(  # type: ignore[no-untyped-call]
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
    decoder: Decoder | None = None,
) -> Tensor:
    """New token ids [tokens] after a prompt [1, tokens, hidden] with its `mask` [tokens]. `stop` is asked before every
    token and every piece of the prompt; `processors` see generated ids only. What `cache` holds of the prompt's
    beginning isn't computed again. `decoder` makes the tokens after the first where it has room for them. Raises
    BackendError for bad settings."""
    settings = settings.check()
    limit = settings.max_new_tokens
    room = limit if budget is None else max(limit, budget.forced_until)
    mask = torch.ones(inputs_embeds.shape[1], dtype=torch.long) if mask is None else mask
    own = LogitsProcessorList([*processors, *([budget] if budget is not None else [])])
    if settings.temperature >= COLD:
        own.append(Drawing(Draw.of(settings), len(mask)))
    halt = StopsGenerate(stop, limit, budget)
    cache = DynamicCache(config=model.llm.config) if cache is None else cache
    if not read_beginning(model, inputs_embeds, mask, cache, stop):
        if streamer is not None:
            streamer.end()  # type: ignore[no-untyped-call]
        return torch.tensor([], dtype=torch.long)
    if decoder is not None and decoder.fits(len(mask) + room):
        prompt = Prompt(cache, mask, read(model, inputs_embeds, mask, cache, len(mask)))
        drawn = Drawn(room, rules_of(settings, own), decoder.device)
        return torch.tensor(run(decoder, prompt, drawn, over=halt.over, eos=ending.eos, streamer=streamer))
    with few_threads(model.llm):
        ids = model.llm.generate(
            inputs_embeds=inputs_embeds,
            attention_mask=mask[None].to(inputs_embeds.device),
            generation_config=generation_config(replace(settings, temperature=0.0), ending, room),  # `own` draws
            logits_processor=own,
            stopping_criteria=StoppingCriteriaList([halt]),
            streamer=streamer,
            **{CACHE: cache},
        )
    return ids[0]  # type: ignore[no-any-return]


def read_beginning(
    model: Ovis, inputs_embeds: Tensor, mask: Tensor, cache: DynamicCache, stop: Callable[[], bool]
) -> bool:
    """Reads a prompt [1, tokens, hidden] into `cache`, piece by piece, until at most one piece is left; False once
    `stop()` says so."""
    piece = GPU_PIECE if inputs_embeds.is_cuda else PIECE
    for end in range(cache.get_seq_length() + piece, len(mask), piece):
        if stop():
            return False
        read(model, inputs_embeds, mask, cache, end)
    return not stop()


def read(model: Ovis, inputs_embeds: Tensor, mask: Tensor, cache: DynamicCache, end: int) -> Tensor:
    """Reads a prompt [1, tokens, hidden] with its `mask` [tokens] from where `cache` stops up to the token `end`, with
    the positions that `generate` gives. Logits [1, vocabulary] of the last token read, in float32."""
    held, device = cache.get_seq_length(), inputs_embeds.device
    positions = (mask.cumsum(0) - 1).masked_fill(mask == 0, 0)
    out = model.llm(
        inputs_embeds=inputs_embeds[:, held:end],
        attention_mask=None if mask[:end].all() else mask[None, :end].to(device),
        position_ids=positions[None, held:end].to(device),
        use_cache=True,
        logits_to_keep=1,
        **{CACHE: cache},
    )
    return out.logits[:, -1].float()  # type: ignore[no-any-return]


def rules_of(settings: GenerationSettings, own: LogitsProcessorList) -> LogitsProcessorList:
    """The logits processors that `generate` makes of `generation_config`, in its order, with `own` in their place."""
    penalty = float(settings.repetition_penalty)
    return LogitsProcessorList([*([RepetitionPenaltyLogitsProcessor(penalty)] if penalty != 1.0 else []), *own])
