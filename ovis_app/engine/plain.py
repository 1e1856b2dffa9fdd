"""transformers' `generate`, unprepared: what ours is compared with, and what answers where nothing else can.

One request at a time, everything computed anew each time. Knows the model and the sampling rules; refuses to know
conversations, files and threads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.answer import EncodedPrompt
from ovis_app.engine.sampling import Draw, Drawing
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis


class StopsGenerate(StoppingCriteria):
    """Ends generate before the next token once `stop()` says so or the limit is reached. A budget's forced text is
    always finished, as in the original, even where it goes past the limit."""

    def __init__(self, stop: Callable[[], bool], limit: int, budget: ThinkingBudget | None) -> None:
        self.stop, self.limit, self.budget = stop, limit, budget

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        over = self.stop()
        if not over and input_ids.shape[1] >= self.limit:
            over = self.budget is None or self.budget.forced(input_ids[0].tolist()) is None
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
    own = LogitsProcessorList([] if budget is None else [budget])
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
                max_new_tokens=limit if budget is None else max(limit, budget.forced_until),
                repetition_penalty=settings.repetition_penalty,
                eos_token_id=list(ending.eos),
                pad_token_id=ending.pad,
            ),
            logits_processor=own,
            stopping_criteria=StoppingCriteriaList([StopsGenerate(stop, limit, budget)]),
            streamer=streamer,
        )
    return ids[0]  # type: ignore[no-any-return]
