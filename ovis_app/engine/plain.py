"""transformers' `generate`, unprepared: what ours is compared with, and what answers where nothing else can.

One request at a time, everything computed anew each time. Knows the model and the sampling rules; refuses to know
conversations, files and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.answer import EncodedPrompt
from ovis_app.engine.sampling import Draw, Drawing
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis


class Behind(LogitsProcessor):
    """Processors that are to see the beginning of the answer, ids `begun` [tokens], before what is generated."""

    def __init__(self, begun: Tensor, inner: Sequence[LogitsProcessor]) -> None:
        self.begun, self.inner = begun, inner

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        whole = torch.cat([self.begun.to(input_ids)[None], input_ids], 1)
        for processor in self.inner:
            scores = processor(whole, scores)  # type: ignore[arg-type]
        return scores


class StopsGenerate(StoppingCriteria):
    """Ends generate before the next token once `stop()` says so or the limit is reached. A budget's forced text is
    always finished, as in the original, even where it goes past the limit."""

    def __init__(
        self, stop: Callable[[], bool], limit: int, budget: ThinkingBudget | None, begun: Sequence[int] = ()
    ) -> None:  # fmt: skip
        self.stop, self.limit, self.budget, self.begun = stop, limit, budget, begun

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        over = self.stop()
        if not over and input_ids.shape[1] >= self.limit:
            over = self.budget is None or self.budget.forced([*self.begun, *input_ids[0].tolist()]) is None
        return torch.full((len(input_ids),), over, dtype=torch.bool, device=input_ids.device)


@torch.inference_mode()
def generate(
    model: Ovis,
    prompt: EncodedPrompt,
    settings: GenerationSettings,
    *,
    ending: Ending,
    budget: ThinkingBudget | None = None,
    streamer: BaseStreamer | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """New token ids [tokens] after a prompt, put into `streamer` as they come. `stop` is asked before every token.
    Raises BackendError for bad settings."""
    settings = settings.check()
    limit = settings.max_new_tokens
    draw = Draw.of(settings)
    begun = prompt.ids[len(prompt.ids) - prompt.begun :]
    own: list[LogitsProcessor] = [] if budget is None else [budget]
    if settings.repetition_penalty != 1:
        own.insert(0, RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if not draw.greedy:
        own.append(Drawing(draw))
    model.set_attention(model.config.attention)  # the engine has set its own
    embeddings = model.embed(prompt.ids, prompt.visual)
    with few_threads(model.llm):
        ids = model.llm.generate(
            inputs_embeds=embeddings,
            attention_mask=prompt.mask[None].to(embeddings.device),
            generation_config=GenerationConfig(
                do_sample=False,  # `own` draws
                max_new_tokens=limit if budget is None else budget.longest(limit, len(begun)),
                eos_token_id=list(ending.eos),
                pad_token_id=ending.pad,
            ),
            logits_processor=LogitsProcessorList([Behind(begun, own)] if own else []),
            stopping_criteria=StoppingCriteriaList([StopsGenerate(stop, limit, budget, begun.tolist())]),
            streamer=streamer,
        )
    return ids[0]  # type: ignore[no-any-return]
